"""How a preloading rule chooses a chunk's representation: by RobustMPC, by throughput, or by quality."""

import numpy as np

from agents.rules.forecast import Forecast, Situation, decode_times, first_ready
from agents.rules.pdas import Start, Window, search_bitrates
from ppgym.core.jit import njit
from ppgym.core.link import mean_throughput
from ppgym.core.state import F8, NO_ENTRY
from ppgym.planning.rollout_parameters import TUNED_QUALITY

MPC_CHUNKS = 5  # look-ahead of RobustMPC, and throughputs of its estimate; published (Yin et al., SIGCOMM'15)


@njit
def robust_bps(throughput_bps: F8, default_bps: float) -> float:
    """RobustMPC's estimate: harmonic mean of the last 5 throughputs / (1 + largest of its last 5 relative errors).

    An error compares a throughput with the harmonic mean of the up to 5 throughputs before it.

    Args:
        throughput_bps: [n] of the last transfers, oldest first.
        default_bps: Returned before the first transfer.

    Returns:
        Bits per second.
    """
    seen, worst = throughput_bps.shape[0], 0.0
    for i in range(max(seen - MPC_CHUNKS, 1), seen):
        estimate = mean_throughput(throughput_bps[:i], i, MPC_CHUNKS, default_bps)
        worst = max(worst, abs(estimate - throughput_bps[i]) / throughput_bps[i])
    return mean_throughput(throughput_bps, seen, MPC_CHUNKS, default_bps) / (1.0 + worst)


def choose_by_mpc(situation: Situation, forecast: Forecast, slot: int, stall_weight: float) -> int:
    """RobustMPC: PDAS's search over one video whose viewer never swipes.

    Args:
        situation: What the rule decides from.
        forecast: What is expected.
        slot: The video; it counts as the current one.
        stall_weight: Per second of stall, on a ladder of `TUNED_QUALITY`; quality and switches have weight 1.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    one, catalog, chunk = slice(slot, slot + 1), situation.catalog, forecast.next_chunk[slot]
    window = Window(
        catalog.n_chunks[one],
        catalog.duration_s[one],
        catalog.chunk_bytes[one],
        catalog.quality[one],
        np.ones((1, catalog.chunk_bytes.shape[1] + 1)),
        np.zeros(1, np.int32),
        1.0,
    )
    chunks = min(MPC_CHUNKS, catalog.n_chunks[slot] - chunk)
    start = Start(
        0,
        chunk,
        forecast.quality[slot],
        forecast.needed_s[one],
        forecast.free_s,
        decode_times(situation.params, catalog, situation.state, slot, chunk, chunks),
        situation.legal[slot],
        situation.bps,
    )
    relative = situation.params.top_quality / TUNED_QUALITY
    params = situation.params._replace(
        weight_quality=1.0,
        weight_switch=1.0,
        weight_rebuffer=stall_weight * relative,
        weight_download=0.0,
        weight_waste=0.0,
    )
    return search_bitrates(params, window, start)[1]


@njit
def choose_by_quality(situation: Situation, forecast: Forecast, slot: int, least_quality: float) -> int:
    """The smallest representation of at least a quality that is decoded in time; else the one that is decoded first.

    In time is before the next chunk is needed, or within the seconds of a chunk, whichever is later.

    Args:
        situation: What the rule decides from.
        forecast: What is expected.
        slot: The video.
        least_quality: The quality.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    params, catalog, chunk = situation.params, situation.catalog, forecast.next_chunk[slot]
    quality, size_bytes = catalog.quality[slot, chunk], catalog.chunk_bytes[slot, chunk]
    decode_s = decode_times(params, catalog, situation.state, slot, chunk, 1)[0]
    best, best_bytes, first, first_s = NO_ENTRY, np.inf, NO_ENTRY, np.inf
    for representation in range(quality.shape[0]):
        if quality[representation] < least_quality:
            continue
        arrival_s = params.rtt_s + 8.0 * size_bytes[representation] / situation.bps
        option, ready_s = first_ready(
            params, situation.legal[slot], decode_s, forecast.free_s, representation, arrival_s
        )
        if ready_s < first_s:
            first, first_s = option, ready_s
        if ready_s <= max(forecast.needed_s[slot], params.chunk_s) and size_bytes[representation] < best_bytes:
            best, best_bytes = option, size_bytes[representation]
    return best if best != NO_ENTRY else first


@njit
def choose_by_throughput(situation: Situation, forecast: Forecast, slot: int) -> int:
    """The best quality that is decoded in time, see `choose_by_quality`; else the chunk that is decoded first.

    Args:
        situation: What the rule decides from.
        forecast: What is expected.
        slot: The video.

    Returns:
        Option; `NO_ENTRY` where none is legal.
    """
    params, catalog, chunk = situation.params, situation.catalog, forecast.next_chunk[slot]
    decode_s = decode_times(params, catalog, situation.state, slot, chunk, 1)[0]
    best = 0.0
    for representation in range(catalog.quality.shape[2]):
        arrival_s = params.rtt_s + 8.0 * catalog.chunk_bytes[slot, chunk, representation] / situation.bps
        _, ready_s = first_ready(params, situation.legal[slot], decode_s, forecast.free_s, representation, arrival_s)
        if ready_s <= max(forecast.needed_s[slot], params.chunk_s):
            best = max(best, catalog.quality[slot, chunk, representation])
    return choose_by_quality(situation, forecast, slot, best)


def ladder_quality(situation: Situation, slot: int, chunk: int, level: float) -> float:
    """Quality of the lowest, the middle or the top of the legal qualities.

    Args:
        situation: What the rule decides from.
        slot: The video, with at least one legal option.
        chunk: Its next chunk.
        level: 0 for the lowest, 0.5 for the middle, 1 for the top.

    Returns:
        Quality in the ladder's unit.
    """
    legal = situation.params.option_representation[situation.legal[slot]]
    qualities = sorted({float(situation.catalog.quality[slot, chunk, r]) for r in legal})
    return qualities[round(level * (len(qualities) - 1))]
