"""How a rule without a search of its own chooses the rung of a chunk: RobustMPC, by throughput, by quality."""

import numpy as np

from agents.rules.forecast import Legal, Outlook, first_ready
from agents.rules.pdas import Start, Weights, Window, search_rungs
from ppgym.core.jit import njit
from ppgym.core.state import CHUNK_S, F8, NO_ENTRY, CatalogArrays, Params
from ppgym.planning_view import PlanningView

MPC_CHUNKS = 5  # RobustMPC looks so far ahead, and its estimate rests on as many throughputs


@njit
def robust_bps(throughput_bps: F8, default_bps: float) -> float:
    """RobustMPC's estimate: the harmonic mean of the last 5 throughputs / (1 + largest of the last 5 relative errors).

    Args:
        throughput_bps: [n] of the last transfers, oldest first. The errors are those of the means that they give; with
            n = 8 the oldest of these means rest on fewer than 5.
        default_bps: Before the first transfer.

    Returns:
        Bits per second.
    """
    seen = throughput_bps.shape[0]
    if seen == 0:
        return default_bps
    worst = 0.0
    for i in range(max(seen - MPC_CHUNKS, 1), seen):
        before = throughput_bps[max(i - MPC_CHUNKS, 0) : i]
        estimate = before.shape[0] / (1.0 / before).sum()
        worst = max(worst, abs(estimate - throughput_bps[i]) / throughput_bps[i])
    last = throughput_bps[max(seen - MPC_CHUNKS, 0) :]
    return float(last.shape[0] / (1.0 / last).sum() / (1.0 + worst))


@njit
def choose_by_mpc(
    params: Params, catalog: CatalogArrays, outlook: Outlook, legal: Legal, slot: int, bps: float, stall_weight: float
) -> int:
    """RobustMPC: PDAS's search for a window of one video whose viewer never swipes.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        outlook: What is foreseen.
        legal: [O] options for the slot's next chunk.
        slot: The video, as if it played.
        bps: Expected rate of a transfer.
        stall_weight: Per second, where a Mbit/s of quality or of a switch weighs 1.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    one = slice(slot, slot + 1)
    window = Window(
        catalog.n_chunks[one],
        catalog.chunk_bytes[one],
        catalog.quality[one],
        np.ones((1, catalog.retention.shape[1])),
        np.zeros(1, np.int32),
        1.0,
    )
    start = Start(0, outlook.next_chunk[slot], outlook.quality[slot], outlook.needed_s[one], outlook.free_s, legal, bps)
    _, option = search_rungs(params, window, start, Weights(1.0, 1.0, stall_weight, 0.0, 0.0), MPC_CHUNKS)
    return option


@njit
def choose_by_quality(
    params: Params, catalog: CatalogArrays, outlook: Outlook, legal: Legal, slot: int, bps: float, least_quality: float
) -> int:
    """Of the rungs of a quality or above it, the smallest that is decoded in time; else the first to be decoded.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        outlook: What is foreseen.
        legal: [O] options for the slot's next chunk.
        slot: The video.
        bps: Expected rate of a transfer.
        least_quality: The quality.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    chunk = outlook.next_chunk[slot]
    quality, size_bytes = catalog.quality[slot, chunk], catalog.chunk_bytes[slot, chunk]
    best, best_bytes, first, first_s = NO_ENTRY, np.inf, NO_ENTRY, np.inf
    for representation in range(quality.shape[0]):
        if quality[representation] < least_quality:
            continue
        arrival_s = params.rtt_s + 8.0 * size_bytes[representation] / bps
        option, ready_s = first_ready(params, legal, outlook.free_s, representation, arrival_s)
        if ready_s < first_s:
            first, first_s = option, ready_s
        if ready_s <= max(outlook.needed_s[slot], CHUNK_S) and size_bytes[representation] < best_bytes:
            best, best_bytes = option, size_bytes[representation]
    return best if best != NO_ENTRY else first


@njit
def choose_by_throughput(
    params: Params, catalog: CatalogArrays, outlook: Outlook, legal: Legal, slot: int, bps: float
) -> int:
    """The best quality that is decoded in the time that is buffered, one second at least; else the first to be decoded.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        outlook: What is foreseen.
        legal: [O] options for the slot's next chunk.
        slot: The video.
        bps: Expected rate of a transfer.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    chunk = outlook.next_chunk[slot]
    best = 0.0
    for representation in range(catalog.quality.shape[2]):
        arrival_s = params.rtt_s + 8.0 * catalog.chunk_bytes[slot, chunk, representation] / bps
        _, ready_s = first_ready(params, legal, outlook.free_s, representation, arrival_s)
        if ready_s <= max(outlook.needed_s[slot], CHUNK_S):
            best = max(best, catalog.quality[slot, chunk, representation])
    return choose_by_quality(params, catalog, outlook, legal, slot, bps, best)


def ladder_quality(view: PlanningView, slot: int, chunk: int, legal: Legal, level: float) -> float:
    """Quality of a rung of the legal ladder.

    Args:
        view: The planning view.
        slot: Visible slot.
        chunk: Its next chunk.
        legal: [O], at least one.
        level: 0 for the lowest rung, 0.5 for the middle one, 1 for the top.

    Returns:
        Mbit/s-equivalent.
    """
    rungs = sorted({float(view.catalog.quality[slot, chunk, r]) for r in view.params.option_representation[legal]})
    return rungs[round(level * (len(rungs) - 1))]
