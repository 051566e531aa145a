"""Pruning: which legal requests the planner ignores, since another one for the same chunk is as good or better.

The docstring of a rule proves that the best schedule of the remaining requests is as good as the best of all, and says
under which conditions; the planner applies it without them, too. Legality is decided in `core.actions`.
"""

from collections.abc import Sequence

import numpy as np

from ppgym.core.actions import Mask
from ppgym.core.content import content_s
from ppgym.core.decoders import expected_decode_s
from ppgym.core.jit import kernel, noinline
from ppgym.core.observation import unit_backlog_s
from ppgym.core.state import I4, LOOKAHEAD, NO_ENTRY, SLOTS, CatalogArrays, Params, StateRecord
from ppgym.planning_view import PlanningView, writeable_fields

RULES = ("dominated_unit", "dominated_representation")  # in the order in which they are applied
GONE = 2  # in a mask: removed by the rule that is being applied


def is_coupled(params: Params) -> bool:
    """Whether every job affects others, or the return: contention, throttling, a price on energy, decoders to load."""
    coupled = params.parallel_downloads > 1 or params.throttle > 1.0 or params.weight_energy > 0.0
    return coupled or bool((params.contention != 1.0).any() or params.option_load_s.any())


@kernel
def is_harmless(params: Params, state: StateRecord, option: int, decode_s: float) -> bool:
    """Whether decoding a request cannot delay any other chunk, whatever the rate of the link.

    The unit is free before anything can arrive, and it decodes the chunk within a round trip of its arrival. With one
    transfer at a time, the next chunk is requested at that arrival at the earliest and arrives a round trip later: it
    finds the unit free. This holds where jobs are not coupled, see `is_coupled`.
    """
    return unit_backlog_s(state, params.option_unit[option]) <= params.rtt_s and decode_s <= params.rtt_s


@kernel
def dominates_as_unit(params: Params, option: int, decode_s: float, other: int, other_s: float) -> bool:
    """Whether a harmless request dominates another of the same representation: it decodes at least as fast.

    Safe if decoding takes the profile's seconds, patience is endless and the session is not truncated. Proof: in every
    schedule the viewer then plays the same chunks in the same order. So quality and switches depend on representations
    only, and stall and waste do not grow if all events happen sooner. Take any schedule that decodes the chunk on
    unit B, and decode it on the harmless unit A instead, where it takes no longer. Then this chunk is ready no later,
    the other jobs of B start no later, and the jobs of A start at the same times. Units serve jobs in the order of
    requests, which does not change. So no later event is delayed, and no later request of the schedule.
    """
    faster = decode_s < other_s or (decode_s == other_s and params.option_unit[option] < params.option_unit[other])
    return faster and params.option_representation[option] == params.option_representation[other]


@kernel
def dominates_as_representation(
    params: Params,
    catalog: CatalogArrays,
    slot: int,
    chunk: int,
    option: int,
    decode_s: float,
    other: int,
    other_s: float,
) -> bool:
    """Whether a harmless request dominates another of the same quality: fewer bytes, and it decodes at least as fast.

    Safe under the conditions of `dominates_as_unit`. Proof: the qualities are equal, so quality and switches do not
    change. Bytes are fewer, so the chunk arrives no later, the link is free no later, and waste does not grow. Memory
    is not larger, so later requests remain legal. The unit is harmless as in that proof. A representation of higher
    quality does not dominate: it may cost two switches.
    """
    mine, its = params.option_representation[option], params.option_representation[other]
    alike = catalog.quality[slot, chunk, mine] == catalog.quality[slot, chunk, its]
    smaller = catalog.chunk_bytes[slot, chunk, mine] < catalog.chunk_bytes[slot, chunk, its]
    lighter = catalog.memory_bytes_per_s[mine] <= catalog.memory_bytes_per_s[its]
    return alike and smaller and lighter and decode_s <= other_s


@noinline
def remove_dominated(
    params: Params, catalog: CatalogArrays, state: StateRecord, candidates: I4, by_unit: bool, mask: Mask
) -> int:
    """Apply a rule: remove the legal requests that a harmless legal one for the same chunk dominates.

    Args:
        params: The scenario's constants.
        catalog: The visible videos, by slot.
        state: Record of `STATE_DTYPE`.
        candidates: [S, L] of chunk indices.
        by_unit: Whether the rule is `dominates_as_unit`; else it is `dominates_as_representation`.
        mask: [1 + S * L * O] of 0 and 1; becomes 0 where a request is removed.

    Returns:
        How many are removed.
    """
    options, removed = params.option_unit.shape[0], 0
    for place in range(SLOTS * LOOKAHEAD):
        slot, first = place // LOOKAHEAD, 1 + place * options
        chunk = candidates[slot, place % LOOKAHEAD]
        if chunk == NO_ENTRY:
            continue
        seconds = content_s(params, catalog, slot, chunk)
        for option in range(options):
            decode_s = expected_decode_s(params, state, option, seconds)
            if mask[first + option] == 0 or not is_harmless(params, state, option, decode_s):
                continue
            for other in range(options):
                if mask[first + other] != 1:
                    continue
                other_s = expected_decode_s(params, state, other, seconds)
                if by_unit:
                    gone = dominates_as_unit(params, option, decode_s, other, other_s)
                else:
                    gone = dominates_as_representation(params, catalog, slot, chunk, option, decode_s, other, other_s)
                if gone:
                    mask[first + other] = GONE
        for option in range(options):
            if mask[first + option] == GONE:
                mask[first + option] = 0
                removed += 1
    return removed


def prune(view: PlanningView, rules: Sequence[str] = RULES) -> tuple[Mask, dict[str, int]]:
    """Remove the legal requests that the rules find, one rule after the other.

    Args:
        view: The planning view.
        rules: Of `RULES`.

    Returns:
        int8 [1 + S * L * O], 1 for `WAIT` and the requests that remain; and how many each rule removed.
    """
    mask, candidates = np.array(view.action_mask), np.array(view.candidates)
    if is_coupled(view.params):
        return mask, dict.fromkeys(rules, 0)
    params, catalog = writeable_fields(view.params), writeable_fields(view.catalog)
    removed = {
        rule: remove_dominated(params, catalog, view.state, candidates, rule == "dominated_unit", mask)
        for rule in rules
    }
    return mask, removed
