"""Initial plans of the annealing: the option of each chunk, and the order in which chunks are fetched.

Some are greedy, one is rounded from the solution of the relaxed problem; none is simulated here. All of this reads the
hidden draw: only the clairvoyant may use it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.bound.bound import Solution
from ppgym.benchmark.bound.relaxation import WatchedChunks
from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8, I4, UNITS, Params, Sim
from ppgym.core.transfers import transfer_end

DROPPED = -1  # the option of a chunk that is never fetched
# Prices that greedy plans charge; all combinations are tried
DUAL_SHARES = (0.0, 1.0)  # of the bound's prices
LINK_PRICES = (0.0, 0.2, 0.5, 1.0, 2.0)  # of a second of the link
UNIT_PRICES = (0.0, 0.1, 0.3, 0.8)  # of a second of decoding


class DownloadPlan(NamedTuple):
    """All chunks that the viewer will watch, in the order in which they are to be fetched."""

    video: I4  # [N] feed position
    chunk: I4  # [N]
    option: I4  # [N] `DROPPED` where the chunk is not fetched


def initial_plans(sim: Sim, solution: Solution) -> Iterator[DownloadPlan]:
    """Make initial plans.

    Args:
        sim: What is constant, and the hidden draw.
        solution: Of the relaxed problem.

    Yields:
        A plan that fetches nothing; in the order of playing, one for each usable option; the rounded solution; greedy
        plans.
    """
    params, chunks, share = sim.params, solution.relaxed.chunks, solution.share
    count = len(chunks.video)
    for option in (DROPPED, *np.flatnonzero(params.option_usable)):
        yield DownloadPlan(chunks.video.copy(), chunks.chunk.copy(), np.full(count, option, np.int32))
    options, begin_s = round_shares(share, chunks.value > -np.inf), chunks.before_s.copy()
    yield order_downloads(params, chunks, options, begin_s)
    dual_charge = np.einsum("kc,kco->co", solution.price, solution.relaxed.weight)
    usable_s = np.where(params.option_usable, chunks.decode_s, 0.0)
    for dual_share in DUAL_SHARES:
        for link_price in LINK_PRICES:
            for unit_price in UNIT_PRICES:
                charge = dual_share * dual_charge + unit_price * usable_s
                plan_greedily(sim, chunks, charge, link_price, options, begin_s)
                yield order_downloads(params, chunks, options, begin_s)


def round_shares(share: F8, usable: npt.NDArray[np.bool_]) -> I4:
    """Round shares to whole options by error diffusion: each chunk takes the option that lags its shares most.

    Args:
        share: [N, O]; all zero for a chunk that the relaxed problem skips.
        usable: [N, O] whether an option can be taken; a chunk without shares takes the first usable one.

    Returns:
        [N] options.
    """
    lag = np.zeros(share.shape[1])
    options = np.zeros(len(share), np.int32)
    for c in range(len(share)):
        lag += share[c]
        wanted = share[c] > 0.01
        options[c] = np.argmax(np.where(wanted, lag, -np.inf) if wanted.any() else usable[c])
        lag[options[c]] -= 1.0
    return options


def order_downloads(params: Params, chunks: WatchedChunks, options: I4, begin_s: F8) -> DownloadPlan:
    """Order downloads by the latest times at which their decoding can start.

    Args:
        params: The scenario's constants.
        chunks: The chunks to play.
        options: [N] their options.
        begin_s: [N] when they should begin to play.

    Returns:
        The plan: the first chunk first, then the others by the latest time at which each job can start without delaying
        a later job on its unit.
    """
    latest_s = np.full(UNITS, np.inf)
    start_s = np.zeros(len(options))
    for c in range(len(options) - 1, -1, -1):
        unit = params.option_unit[options[c]]
        latest_s[unit] = min(latest_s[unit], begin_s[c]) - chunks.decode_s[c, options[c]]
        start_s[c] = latest_s[unit]
    start_s[0] = -np.inf
    order = np.argsort(start_s, kind="stable")
    return DownloadPlan(chunks.video[order], chunks.chunk[order], options[order])


@njit
def plan_greedily(sim: Sim, chunks: WatchedChunks, charge: F8, link_price: float, options: I4, begin_s: F8) -> None:
    """Choose options greedily, one chunk after the other, as if chunks were fetched in the order of playing.

    Args:
        sim: What is constant, and the hidden draw.
        chunks: The chunks to play.
        charge: [N, O] price of an option, besides the link's.
        link_price: Of a second of the link.
        options: Output [N].
        begin_s: Output [N]: when each chunk would begin to play.
    """
    params = sim.params
    link_s, stall_s, chosen = 0.0, 0.0, int(np.argmax(params.option_usable))
    free_s = np.zeros(UNITS)
    for c in range(len(chunks.video)):
        best = -np.inf
        best_arrival_s, best_ready_s = 0.0, 0.0
        before = chosen
        due_s = chunks.before_s[c] + stall_s
        for o in range(chunks.value.shape[1]):
            if chunks.value[c, o] == -np.inf:
                continue
            arrival_s = transfer_end(sim, link_s + params.rtt_s, chunks.mbit[c, o] / MBIT_PER_BYTE)
            ready_s = max(arrival_s, free_s[params.option_unit[o]]) + chunks.decode_s[c, o]
            value = chunks.value[c, o] - charge[c, o] - link_price * (arrival_s - link_s)
            value -= params.weight_rebuffer * max(ready_s - due_s, 0.0)
            if c > 0:
                value -= params.weight_switch * abs(chunks.quality[c, o] - chunks.quality[c - 1, before])
            if value > best:
                best, chosen, best_arrival_s, best_ready_s = value, o, arrival_s, ready_s
        options[c] = chosen
        link_s = best_arrival_s
        free_s[params.option_unit[chosen]] = best_ready_s
        stall_s += max(best_ready_s - due_s, 0.0)
        begin_s[c] = chunks.before_s[c] + stall_s
