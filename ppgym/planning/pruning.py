"""Pruning rules: which legal requests the planner ignores.

The docstring of a *safe* rule proves that the best schedule of the remaining requests is as good as the best of all.
The docstring of an unsafe rule states its caveat; studies measure what it costs. Legality is decided in `core.actions`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.observation import position_s, unit_backlog_s
from ppgym.core.state import CHUNK_S, F8, LOOKAHEAD, SLOTS, UNITS
from ppgym.planning_view import PlanningView

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
    due_s = np.where(slot == 0, np.maximum(chunk * CHUNK_S - here_s, 0.0), chunk * CHUNK_S)
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


def find_harmless(view: PlanningView, requests: Requests) -> Flags:
    """Which requests take a unit in a way that no other chunk can notice, at whatever rate the link runs.

    The unit is free before anything can arrive, and done with the chunk within a round trip of its arrival. With one
    transfer at a time the next chunk is asked for at that arrival at the earliest and arrives a round trip later, so
    none finds the unit taken. Contention and a price on busy seconds make every job felt.
    """
    params = view.params
    if params.parallel_downloads > 1 or (params.contention != 1.0).any() or params.weight_compute.any():
        return np.zeros(len(requests.action), np.bool_)
    harmless: Flags = (requests.free_s <= params.rtt_s) & (requests.decode_s <= params.rtt_s)
    return harmless


def find_dominated_units(view: PlanningView, requests: Requests) -> Flags:
    """The same chunk in the same representation is decoded as fast or faster by a unit that nobody will miss.

    Safe where decoding takes what the profile says, for a viewer who is patient, in a session that is not cut short.
    Proof: such a viewer plays the same chunks in the same order whatever a schedule does, so quality and switches
    depend on the representations alone, and stall and waste do not grow when everything happens sooner. Take any
    schedule that decodes the chunk on B, and decode it on a harmless A instead (see `find_harmless`), where it takes no
    longer: at any arrival this chunk is ready no later, the other jobs of B start no later, and those of A when they
    did. Units serve in the order of requests, which stays; so every later event comes no later, and what the schedule
    asked for after it can be asked for no later.
    """
    same = same_chunk(requests) & (requests.representation[:, None] == requests.representation[None, :])
    faster = (requests.decode_s[None, :] < requests.decode_s[:, None]) | (
        (requests.decode_s[None, :] == requests.decode_s[:, None]) & (requests.unit[None, :] < requests.unit[:, None])
    )
    dominated: Flags = (same & find_harmless(view, requests)[None, :] & faster).any(axis=1)
    return dominated


def find_dominated_representations(view: PlanningView, requests: Requests) -> Flags:
    """Another representation looks the same, has fewer bytes and decodes no slower, by a unit that nobody will miss.

    Safe under the conditions of `find_dominated_units`. Proof: qualities are equal, so quality and switches are; bytes
    are fewer, so the chunk arrives and the link is free no later, and waste is no more; memory is no more, so all that
    follows can be asked for as before; and the unit is as good as there. A better-looking representation does not
    count: it may cost two switches.
    """
    memory_bytes = view.catalog.memory_bytes[requests.representation]
    alike = same_chunk(requests) & (requests.quality[None, :] == requests.quality[:, None])
    smaller = requests.size_bytes[None, :] < requests.size_bytes[:, None]
    faster = requests.decode_s[None, :] <= requests.decode_s[:, None]
    lighter = memory_bytes[None, :] <= memory_bytes[:, None]
    dominated: Flags = (alike & smaller & faster & lighter & find_harmless(view, requests)[None, :]).any(axis=1)
    return dominated


NEGLIGIBLE = 0.05  # P(played) below which a chunk of a later video is left alone


def find_negligible_stalls(view: PlanningView, requests: Requests) -> Flags:
    """The chunk is of a later video and will hardly be played: its absence threatens no stall worth mention.

    Caveat: on an idle link a chunk of probability p and quality q still gains p q - (1 - p) times its waste, which for
    the default prompts is above 0 at p above 0.18 to 0.23; at `NEGLIGIBLE` it is below.
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


DEFAULT_RULES = (
    Rule("dominated_unit", True, find_dominated_units),
    Rule("dominated_representation", True, find_dominated_representations),
    Rule("late_prompt", False, find_late_prompts),
    Rule("negligible_stall", False, find_negligible_stalls),
)
"""In the order in which they are applied: what one removes, the next does not see."""

RULES = (*DEFAULT_RULES, Rule("canonical_order", False, find_uncanonical_orders))
"""All; the planner applies those past the default ones on request only."""


def prune(view: PlanningView, rules: Sequence[Rule], bps: float) -> tuple[Requests, dict[str, int]]:
    """Remove the legal requests that the rules find, one rule after the other.

    Args:
        view: The planning view.
        rules: The rules, in order.
        bps: Expected rate of a transfer, bits per second.

    Returns:
        The requests that remain, and how many each rule removed.
    """
    requests, removed = expect_requests(view, bps), {}
    for rule in rules:
        gone = rule.find(view, requests)
        removed[rule.name] = int(gone.sum())
        if removed[rule.name]:
            columns: Any = [column[~gone] for column in requests]
            requests = Requests(*columns)
    return requests, removed
