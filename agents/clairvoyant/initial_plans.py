"""Plans to begin a search with: which option each chunk takes, and in which order chunks are fetched.

They are greedy, or rounded from the solution of the relaxed problem; the kernel is not asked. All of this reads the
hidden draw, so only the clairvoyant may use it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.bound.bound import Solution
from ppgym.benchmark.bound.relaxation import Views
from ppgym.core.dynamics import transfer_end
from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8, I4, UNITS, Params, Sim

DROPPED = -1  # the option of a chunk that is never fetched
DUAL_SHARES = (0.0, 1.0)  # of the bound's prices that a draft reckons with ...
LINK_PRICES = (0.0, 0.2, 0.5, 1.0, 2.0)  # ... on top of these for a second of the link ...
UNIT_PRICES = (0.0, 0.1, 0.3, 0.8)  # ... and for a second of decoding


class Plan(NamedTuple):
    """Downloads in the order in which they are wanted."""

    video: I4  # [N] feed position
    chunk: I4  # [N]
    option: I4  # [N] `DROPPED` where the chunk is not fetched


def drafts(sim: Sim, solution: Solution) -> Iterator[Plan]:
    """Plans to begin with.

    Args:
        sim: What is constant, and the hidden draw.
        solution: Of the relaxed problem.

    Yields:
        One that fetches nothing, one for each usable option alone, in the order of playing, the rounded solution, and
        greedy ones.
    """
    params = sim.params
    views, share = solution.relaxed.views, solution.share
    count = len(views.video)
    for option in (DROPPED, *np.flatnonzero(params.option_usable)):
        yield Plan(views.video.copy(), views.chunk.copy(), np.full(count, option, np.int32))
    options, begin_s = round_off(share, views.value > -np.inf), views.before_s.copy()
    yield in_order(params, views, options, begin_s)
    dual_charge = np.einsum("kc,kco->co", solution.price, solution.relaxed.weight)
    usable_s = np.where(params.option_usable, views.decode_s, 0.0)
    for dual_share in DUAL_SHARES:
        for link_price in LINK_PRICES:
            for unit_price in UNIT_PRICES:
                charge = dual_share * dual_charge + unit_price * usable_s
                draft(sim, views, charge, link_price, options, begin_s)
                yield in_order(params, views, options, begin_s)


def round_off(share: F8, usable: npt.NDArray[np.bool_]) -> I4:
    """Whole options from shares: each chunk takes the option that is most in arrears, as in error diffusion.

    Args:
        share: [N, O]; a chunk may have none, where the relaxed problem leaves it.
        usable: [N, O] whether an option can be taken: the first that can where there is no share.

    Returns:
        [N] options.
    """
    arrears = np.zeros(share.shape[1])
    options = np.zeros(len(share), np.int32)
    for c in range(len(share)):
        arrears += share[c]
        wanted = share[c] > 0.01
        options[c] = np.argmax(np.where(wanted, arrears, -np.inf) if wanted.any() else usable[c])
        arrears[options[c]] -= 1.0
    return options


def in_order(params: Params, views: Views, options: I4, begin_s: F8) -> Plan:
    """The plan that fetches chunks in the order in which their units must take them.

    Args:
        params: The scenario's constants.
        views: The chunks to play.
        options: [N] theirs.
        begin_s: [N] when they shall begin.

    Returns:
        The first chunk first, then by the latest time at which the job can start, those after it on its unit in time.
    """
    latest_s = np.full(UNITS, np.inf)
    wanted_s = np.zeros(len(options))
    for c in range(len(options) - 1, -1, -1):
        unit = params.option_unit[options[c]]
        latest_s[unit] = min(latest_s[unit], begin_s[c]) - views.decode_s[c, options[c]]
        wanted_s[c] = latest_s[unit]
    wanted_s[0] = -np.inf
    order = np.argsort(wanted_s, kind="stable")
    return Plan(views.video[order], views.chunk[order], options[order])


@njit
def draft(sim: Sim, views: Views, charge: F8, link_price: float, options: I4, begin_s: F8) -> None:
    """Choose options one chunk after the other, as if chunks were fetched in the order of playing.

    Args:
        sim: What is constant, and the hidden draw.
        views: The chunks to play.
        charge: [N, O] price of an option, besides the link's.
        link_price: Of a second of the link.
        options: Output [N].
        begin_s: Output [N]: when each chunk would begin to play.
    """
    params = sim.params
    link_s, stall_s, chosen = 0.0, 0.0, int(np.argmax(params.option_usable))
    free_s = np.zeros(UNITS)
    for c in range(len(views.video)):
        best = -np.inf
        best_arrival_s, best_ready_s = 0.0, 0.0
        before = chosen
        due_s = views.before_s[c] + stall_s
        for o in range(views.value.shape[1]):
            if views.value[c, o] == -np.inf:
                continue
            arrival_s = transfer_end(sim, link_s + params.rtt_s, views.mbit[c, o] / MBIT_PER_BYTE)
            ready_s = max(arrival_s, free_s[params.option_unit[o]]) + views.decode_s[c, o]
            worth = views.value[c, o] - charge[c, o] - link_price * (arrival_s - link_s)
            worth -= params.weight_rebuffer * max(ready_s - due_s, 0.0)
            if c > 0:
                worth -= params.weight_switch * abs(views.quality[c, o] - views.quality[c - 1, before])
            if worth > best:
                best, chosen, best_arrival_s, best_ready_s = worth, o, arrival_s, ready_s
        options[c] = chosen
        link_s = best_arrival_s
        free_s[params.option_unit[chosen]] = best_ready_s
        stall_s += max(best_ready_s - due_s, 0.0)
        begin_s[c] = views.before_s[c] + stall_s
