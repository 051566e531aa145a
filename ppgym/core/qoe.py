"""What a step is worth: the weighted, signed terms of the reward, from the totals before and after it."""

from typing import NamedTuple

from ppgym.core.jit import kernel
from ppgym.core.state import F8, Params, StateRecord

MBIT_PER_BYTE = 8e-6

REWARD_TERMS = ("quality", "rebuffer", "switch", "waste", "energy")  # their sum, in this order, is the reward
QUALITY, REBUFFER, SWITCH, WASTE, ENERGY = range(len(REWARD_TERMS))


class Totals(NamedTuple):
    """The totals of a state that the reward depends on; see `STATE_DTYPE` for units."""

    quality: float
    rebuffer_s: float
    switch: float
    downloaded_bytes: float
    wasted_bytes: float
    abandoned: float
    energy_j: float


@kernel
def totals_of(state: StateRecord) -> Totals:
    """Read the totals of a state.

    Args:
        state: Record of `STATE_DTYPE`.

    Returns:
        The totals.
    """
    return Totals(
        state.quality,
        state.rebuffer_s,
        state.switch,
        state.downloaded_bytes,
        state.wasted_bytes,
        float(state.abandoned),
        state.energy_j,
    )


@kernel
def reward_terms(params: Params, before: Totals, after: Totals, terms: F8) -> float:
    """The terms of the reward for what happened between two moments.

    Quality earns its weight per unit of quality and second played; stalls, switches, waste and energy cost theirs.
    Leaving a video out of impatience is charged with the stalls.

    Args:
        params: The scenario's constants.
        before: Totals, or a whole state, before.
        after: Totals, or a whole state, after.
        terms: Output [len(REWARD_TERMS)], in the order of `REWARD_TERMS`.

    Returns:
        Their sum.
    """
    rebuffer_s = after.rebuffer_s - before.rebuffer_s
    abandoned = after.abandoned - before.abandoned
    wasted_mbit = (after.wasted_bytes - before.wasted_bytes) * MBIT_PER_BYTE
    downloaded_mbit = (after.downloaded_bytes - before.downloaded_bytes) * MBIT_PER_BYTE
    terms[QUALITY] = params.weight_quality * (after.quality - before.quality)
    terms[REBUFFER] = -(params.weight_rebuffer * rebuffer_s + params.weight_abandon * abandoned)
    terms[SWITCH] = -params.weight_switch * (after.switch - before.switch)
    terms[WASTE] = -(params.weight_waste * wasted_mbit + params.weight_download * downloaded_mbit)
    terms[ENERGY] = -params.weight_energy * (after.energy_j - before.energy_j)
    return terms[QUALITY] + terms[REBUFFER] + terms[SWITCH] + terms[WASTE] + terms[ENERGY]
