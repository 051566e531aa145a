"""What is unwise, as named rules: which legal requests the planner need not look at.

A *safe* rule carries its proof: the best schedule of what remains is as good as the best of all. An unsafe one carries
its caveat; what it costs is measured. Legality is hard and belongs to `core.actions`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.observation import position_s, unit_backlog_s
from ppgym.core.state import CHUNK_S, F8, LOOKAHEAD, SLOTS, UNITS
from ppgym.view import PlanningView

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


class Requests(NamedTuple):
    """The requests that are still looked at, and what a client expects of each; all arrays [A]."""

    action: Indices
    slot: Indices
    lookahead: Indices
    option: Indices
    unit: Indices
    representation: Indices
    is_prompt: Flags
    size_bytes: F8
    quality: F8
    decode_s: F8
    arrival_s: F8  # from now, at the expected rate
    free_s: F8  # until the unit has done what it has been given
    ready_s: F8  # until the chunk is decoded
    due_s: F8  # until it plays, if nothing stalls; of a later video, from the viewer's coming
    played: F8  # P(it is played)


class Rule(NamedTuple):
    """A way to tell requests that need not be looked at."""

    name: str
    safe: bool
    find: Callable[[PlanningView, Requests], Flags]  # [A] true where a request can go


def survival(view: PlanningView, slot: int, second: float) -> float:
    """P(a visible video is watched at least so long), linear between whole seconds."""
    curve = view.catalog.retention[slot]
    return float(np.interp(second, np.arange(len(curve)), curve))


def expect_requests(view: PlanningView, bps: float) -> Requests:
    """All legal requests and what is expected of them.

    Args:
        view: The planning view.
        bps: Expected rate of a transfer, bits per second.

    Returns:
        The requests, by action.
    """
    params, state, options = view.params, view.state, len(view.options)
    action = np.flatnonzero(view.action_mask)
    action = action[action != WAIT]
    place, option = (action - 1) // options, (action - 1) % options
    slot, lookahead = place // LOOKAHEAD, place % LOOKAHEAD
    chunk = view.candidates[slot, lookahead]
    representation, unit = params.option_representation[option], params.option_unit[option]
    backlog_s = np.array([unit_backlog_s(state, u) for u in range(UNITS)])
    arrival_s = params.rtt_s + 8.0 * view.catalog.chunk_bytes[slot, chunk, representation] / bps

    here_s = position_s(state)
    begun_s = here_s if state.playing else float(state.playhead)
    due_s = np.where(slot == 0, np.maximum(chunk * CHUNK_S - begun_s, 0.0), chunk * CHUNK_S)
    alive = np.where(slot == 0, max(survival(view, 0, here_s), 1e-12), 1.0)
    played = (1.0 - view.law.leave_p) ** slot * np.minimum(view.catalog.retention[slot, chunk] / alive, 1.0)
    return Requests(
        action=action,
        slot=slot,
        lookahead=lookahead,
        option=option,
        unit=unit.astype(np.intp),
        representation=representation.astype(np.intp),
        is_prompt=np.array([view.options[o].codec == "prompt" for o in range(options)])[option],
        size_bytes=view.catalog.chunk_bytes[slot, chunk, representation],
        quality=view.catalog.quality[slot, chunk, representation],
        decode_s=params.option_decode_s[option],
        arrival_s=arrival_s,
        free_s=backlog_s[unit],
        ready_s=np.maximum(arrival_s, backlog_s[unit]) + params.option_decode_s[option],
        due_s=due_s,
        played=played,
    )


def same_chunk(requests: Requests) -> Flags:
    """Which pairs of requests are for the same chunk, [A, A]."""
    place = requests.slot * LOOKAHEAD + requests.lookahead
    flags: Flags = place[:, None] == place[None, :]
    return flags


def find_dominated_units(view: PlanningView, requests: Requests) -> Flags:
    """The same chunk in the same representation is decoded earlier elsewhere, by a unit that nobody will miss.

    Safe where decoding takes what the profile says, at no contention, with one transfer at a time, and no price on
    busy seconds. Proof: let the unit A be free when the chunk arrives and done with it within the round trip of the
    next request. No chunk requested later can arrive before that, and none queues for A before this one, so whatever a
    schedule does on A later starts at the same instant. Take any schedule that decodes the chunk on B and decode it on
    A instead: this chunk is ready no later, B's other jobs start no later, nothing else changes; the return is no less.
    """
    params = view.params
    alone = params.parallel_downloads == 1 and bool((params.contention == 1.0).all())
    if not alone or params.weight_compute.any():
        return np.zeros(len(requests.action), np.bool_)
    harmless = (requests.free_s <= requests.arrival_s) & (requests.decode_s <= params.rtt_s)
    same = same_chunk(requests) & (requests.representation[:, None] == requests.representation[None, :])
    earlier = (requests.ready_s[None, :] < requests.ready_s[:, None]) | (
        (requests.ready_s[None, :] == requests.ready_s[:, None]) & (requests.unit[None, :] < requests.unit[:, None])
    )
    dominated: Flags = (same & harmless[None, :] & earlier).any(axis=1)
    return dominated


def find_dominated_representations(view: PlanningView, requests: Requests) -> Flags:
    """Another representation looks the same, has fewer bytes and is ready no later, by a unit that nobody will miss.

    Safe under the conditions of `find_dominated_units`. Proof: qualities are equal, so quality and switches are; bytes
    are no more, so the link is free no later, waste is no more and all that follows can be asked for at the same
    instants; the unit is missed by nobody, as there. A better-looking representation does not count: it may cost two
    switches.
    """
    params = view.params
    alone = params.parallel_downloads == 1 and bool((params.contention == 1.0).all())
    if not alone or params.weight_compute.any():
        return np.zeros(len(requests.action), np.bool_)
    harmless = (requests.free_s <= requests.arrival_s) & (requests.decode_s <= params.rtt_s)
    smaller = requests.size_bytes[None, :] < requests.size_bytes[:, None]
    sooner = requests.ready_s[None, :] <= requests.ready_s[:, None]
    alike = requests.quality[None, :] == requests.quality[:, None]
    lighter = (
        view.catalog.memory_bytes[requests.representation][None, :]
        <= view.catalog.memory_bytes[requests.representation][:, None]
    )
    dominated: Flags = (same_chunk(requests) & smaller & sooner & alike & lighter & harmless[None, :]).any(axis=1)
    return dominated


NEGLIGIBLE = 0.05  # P(played) below which a chunk of a later video is left alone


def find_negligible_stalls(view: PlanningView, requests: Requests) -> Flags:
    """The chunk is of a later video and will hardly be played: its absence threatens no stall worth mention.

    Caveat: on an idle link a chunk of probability p and quality q still gains p q - (1 - p) times its waste, which is
    above 0 for prompts at p above a seventh; at `NEGLIGIBLE` it is below.
    """
    flags: Flags = (requests.slot > 0) & (requests.played < NEGLIGIBLE)
    return flags


def find_late_prompts(view: PlanningView, requests: Requests) -> Flags:
    """A prompt of the current video that will be ready after its chunk is due, where pixels would be ready sooner.

    Caveat: expectations only. On a link so slow that the pixels are late as well, a prompt that is later by less than
    its quality and the link's time are worth can be the better choice.
    """
    soonest_s = np.full(SLOTS * LOOKAHEAD, np.inf)
    place = requests.slot * LOOKAHEAD + requests.lookahead
    pixels = ~requests.is_prompt
    np.minimum.at(soonest_s, place[pixels], requests.ready_s[pixels])
    late = requests.ready_s > np.maximum(requests.due_s, soonest_s[place])
    flags: Flags = (requests.slot == 0) & requests.is_prompt & late
    return flags


def find_uncanonical_orders(view: PlanningView, requests: Requests) -> Flags:
    """Pixels of a later chunk of a video while an earlier one can be had as pixels too.

    Two downloads of one video commute: both orders end the second at about the same time, and the order of playing has
    the first one sooner. So only the order of playing is kept, but for prompts: they decode long, and may be sent ahead
    of pixels that play first. Caveat: chunks differ in size, and who will fetch the earlier chunk as a prompt loses the
    choice to let it wait for a unit.
    """
    place = requests.slot * LOOKAHEAD + requests.lookahead
    pixels = np.zeros(SLOTS * LOOKAHEAD, np.bool_)
    pixels[place[~requests.is_prompt]] = True
    flags: Flags = (requests.lookahead > 0) & ~requests.is_prompt & pixels[np.maximum(place - 1, 0)]
    return flags


RULES = (
    Rule("dominated_unit", True, find_dominated_units),
    Rule("dominated_representation", True, find_dominated_representations),
    Rule("late_prompt", False, find_late_prompts),
    Rule("negligible_stall", False, find_negligible_stalls),
    Rule("canonical_order", False, find_uncanonical_orders),
)
"""In the order in which they are applied: what one removes, the next does not see."""
