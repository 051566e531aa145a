"""Pruning rules: which legal requests the planner ignores.

The docstring of a *safe* rule proves that the best schedule of the remaining requests is as good as the best of all.
The docstring of an unsafe rule states its caveat; studies measure what it costs. Legality is decided in `core.actions`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.content import ROUNDING_S, position_s
from ppgym.core.decoders import throttling
from ppgym.core.observation import unit_backlog_s
from ppgym.core.state import F8, LOOKAHEAD, SLOTS, UNITS
from ppgym.planning_view import PlanningView, writeable_fields

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


class Requests(NamedTuple):
    """The requests that are still considered, and what a client expects of each; all arrays [A]."""

    action: Indices
    slot: Indices
    lookahead: Indices
    option: Indices
    unit: Indices
    representation: Indices
    is_generative: Flags
    size_bytes: F8
    quality: F8
    decode_s: F8
    arrival_s: F8  # from now, at the expected rate
    free_s: F8  # until the unit has finished its queue
    ready_s: F8  # until the chunk is decoded
    due_s: F8  # until it plays, if nothing stalls; for a later video, from that video's start
    played: F8  # P(it is played)


class Rule(NamedTuple):
    """A named rule that finds requests to remove."""

    name: str
    safe: bool
    find: Callable[[PlanningView, Requests], Flags]  # [A] true where a request is removed


def survival(view: PlanningView, slot: Indices, seconds: F8) -> F8:
    """P(visible videos are watched at least so long), as `ppgym.core.content.survival_at`, for many."""
    curve, duration_s = view.catalog.retention, view.catalog.duration_s[slot]
    second = np.minimum(seconds, np.ceil(duration_s - ROUNDING_S) - 1.0).astype(np.intp)
    share = (np.minimum(seconds, duration_s) - second) / np.minimum(duration_s - second, 1.0)
    here: F8 = curve[slot, second]
    return here + share * (curve[slot, second + 1] - here)


def expect_decode_s(view: PlanningView, option: Indices, content_s: F8) -> F8:
    """Expected seconds to decode chunks on idle units; as `ppgym.core.decoders.expected_decode_s`, for many.

    Args:
        view: The planning view.
        option: [A]
        content_s: [A] of the chunks.

    Returns:
        [A].
    """
    params, state = view.params, view.state
    unit = params.option_unit[option]
    loaded = (state.loaded[unit] >> params.option_codec[option]) & 1
    decode_s: F8 = params.option_decode_s[option] * content_s
    if params.throttle > 1.0:
        decode_s = decode_s * np.array([throttling(writeable_fields(params), state, u) for u in range(UNITS)])[unit]
    decode_s = decode_s + np.where(loaded == 1, 0.0, params.option_load_s[option])
    return decode_s


def expect_requests(view: PlanningView, bps: float) -> Requests:
    """All legal requests with their expected times, sizes and qualities.

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
    begin_s = chunk * params.chunk_s
    representation, unit = params.option_representation[option], params.option_unit[option]
    backlog_s = np.array([unit_backlog_s(state, u) for u in range(UNITS)])
    arrival_s = params.rtt_s + 8.0 * view.catalog.chunk_bytes[slot, chunk, representation] / bps
    decode_s = expect_decode_s(view, option, np.minimum(params.chunk_s, view.catalog.duration_s[slot] - begin_s))

    here_s = position_s(params.chunk_s, state)
    due_s = np.where(slot == 0, np.maximum(begin_s - here_s, 0.0), begin_s)
    alive = np.where(slot == 0, np.maximum(survival(view, np.array([0]), np.array([here_s])), 1e-12), 1.0)
    reached = survival(view, slot, begin_s)
    played = (1.0 - view.distribution.leave_p) ** slot * np.minimum(reached / alive, 1.0)
    return Requests(
        action=action,
        slot=slot,
        lookahead=lookahead,
        option=option,
        unit=unit.astype(np.intp),
        representation=representation.astype(np.intp),
        is_generative=np.array([one.is_generative for one in view.options])[option],
        size_bytes=view.catalog.chunk_bytes[slot, chunk, representation],
        quality=view.catalog.quality[slot, chunk, representation],
        decode_s=decode_s,
        arrival_s=arrival_s,
        free_s=backlog_s[unit],
        ready_s=np.maximum(arrival_s, backlog_s[unit]) + decode_s,
        due_s=due_s,
        played=played,
    )


def same_chunk(requests: Requests) -> Flags:
    """Which pairs of requests are for the same chunk, [A, A]."""
    place = requests.slot * LOOKAHEAD + requests.lookahead
    flags: Flags = place[:, None] == place[None, :]
    return flags


def find_harmless(view: PlanningView, requests: Requests) -> Flags:
    """Requests whose decoding cannot delay any other chunk, whatever the rate of the link.

    The unit is free before anything can arrive, and it decodes the chunk within a round trip of its arrival. With one
    transfer at a time, the next chunk is requested at that arrival at the earliest and arrives a round trip later: it
    finds the unit free. With contention or throttling, a price on energy or a decoder to load, every job affects others
    or the return.
    """
    params = view.params
    coupled = params.throttle > 1.0 or params.weight_energy > 0.0 or params.option_load_s.any()
    if params.parallel_downloads > 1 or (params.contention != 1.0).any() or coupled:
        return np.zeros(len(requests.action), np.bool_)
    harmless: Flags = (requests.free_s <= params.rtt_s) & (requests.decode_s <= params.rtt_s)
    return harmless


def find_dominated_units(view: PlanningView, requests: Requests) -> Flags:
    """A harmless request (see `find_harmless`) decodes the same chunk in the same representation at least as fast.

    Safe if decoding takes the profile's seconds, patience is endless and the session is not truncated. Proof: in every
    schedule the viewer then plays the same chunks in the same order. So quality and switches depend on representations
    only, and stall and waste do not grow if all events happen sooner. Take any schedule that decodes the chunk on
    unit B, and decode it on the harmless unit A instead, where it takes no longer. Then this chunk is ready no later,
    the other jobs of B start no later, and the jobs of A start at the same times. Units serve jobs in the order of
    requests, which does not change. So no later event is delayed, and no later request of the schedule.
    """
    same = same_chunk(requests) & (requests.representation[:, None] == requests.representation[None, :])
    faster = (requests.decode_s[None, :] < requests.decode_s[:, None]) | (
        (requests.decode_s[None, :] == requests.decode_s[:, None]) & (requests.unit[None, :] < requests.unit[:, None])
    )
    dominated: Flags = (same & find_harmless(view, requests)[None, :] & faster).any(axis=1)
    return dominated


def find_dominated_representations(view: PlanningView, requests: Requests) -> Flags:
    """A harmless request for the same chunk has the same quality, fewer bytes, and decodes at least as fast.

    Safe under the conditions of `find_dominated_units`. Proof: the qualities are equal, so quality and switches do not
    change. Bytes are fewer, so the chunk arrives no later, the link is free no later, and waste does not grow. Memory
    is not larger, so later requests remain legal. The unit is harmless as in that proof. A representation of higher
    quality does not dominate: it may cost two switches.
    """
    memory_bytes = view.catalog.memory_bytes_per_s[requests.representation]
    alike = same_chunk(requests) & (requests.quality[None, :] == requests.quality[:, None])
    smaller = requests.size_bytes[None, :] < requests.size_bytes[:, None]
    faster = requests.decode_s[None, :] <= requests.decode_s[:, None]
    lighter = memory_bytes[None, :] <= memory_bytes[:, None]
    dominated: Flags = (alike & smaller & faster & lighter & find_harmless(view, requests)[None, :]).any(axis=1)
    return dominated


NEGLIGIBLE = 0.05  # P(played) below which a chunk of a later video is not requested


def find_negligible_stalls(view: PlanningView, requests: Requests) -> Flags:
    """The chunk belongs to a later video and is unlikely to be played: the stall without it is negligible.

    Caveat: on an idle link a chunk of probability p and quality q gains p q - (1 - p) times its waste. For the default
    prompts this is positive at p above 0.18 to 0.23, and negative at `NEGLIGIBLE`.
    """
    flags: Flags = (requests.slot > 0) & (requests.played < NEGLIGIBLE)
    return flags


def find_late_prompts(view: PlanningView, requests: Requests) -> Flags:
    """A prompt of the current video is expected to be ready after its chunk is due, and pixels are ready sooner.

    Caveat: these are expectations. On a link so slow that pixels are late, too, a prompt that is slightly later can
    still be better, since it has a higher quality and takes less of the link's time.
    """
    soonest_s = np.full(SLOTS * LOOKAHEAD, np.inf)
    place = requests.slot * LOOKAHEAD + requests.lookahead
    pixels = ~requests.is_generative
    np.minimum.at(soonest_s, place[pixels], requests.ready_s[pixels])
    late = requests.ready_s > np.maximum(requests.due_s, soonest_s[place])
    flags: Flags = (requests.slot == 0) & requests.is_generative & late
    return flags


def find_uncanonical_orders(view: PlanningView, requests: Requests) -> Flags:
    """Pixels of a later chunk of a video, while an earlier chunk can be requested as pixels, too.

    Two downloads of one video commute: in both orders the second one ends at about the same time, and in the order of
    playing the first chunk arrives sooner. So pixels are requested in the order of playing. Prompts are not: they take
    long to decode and may be requested before pixels that play first. Caveat: chunks differ in size, and a plan that
    fetches the earlier chunk as a prompt can no longer wait for a unit with it.
    """
    place = requests.slot * LOOKAHEAD + requests.lookahead
    pixels = np.zeros(SLOTS * LOOKAHEAD, np.bool_)
    pixels[place[~requests.is_generative]] = True
    flags: Flags = (requests.lookahead > 0) & ~requests.is_generative & pixels[np.maximum(place - 1, 0)]
    return flags


# In the order in which they are applied: each rule sees what the rules before it leave
DEFAULT_RULES = (
    Rule("dominated_unit", True, find_dominated_units),
    Rule("dominated_representation", True, find_dominated_representations),
    Rule("late_prompt", False, find_late_prompts),
    Rule("negligible_stall", False, find_negligible_stalls),
)

# All rules; the planner applies the last one on request only
RULES = (*DEFAULT_RULES, Rule("canonical_order", False, find_uncanonical_orders))


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
