"""The relaxed problem whose optimum bounds every policy: the chunks to play, their use of resources, and the resources.

`bound.py` defines the symbols and proves the bound. All of this reads the hidden draw.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8, I4, SIMULTANEOUS_S, UNITS, Sim
from ppgym.core.transfers import transfer_end

STALL_STEP_S = 0.02  # least width of a cell of cumulative stall
STALL_GROWTH = 0.015  # width of a cell as a share of the stall
LINK = 0  # index of the resource; the units' work and jobs follow
RESOURCES = 1 + 2 * UNITS
TOLERANCE_S = 1e-8  # for each chunk: events within `SIMULTANEOUS_S` count as one


class WatchedChunks(NamedTuple):
    """The N chunks that the viewer plays if they never give up, in the order of playing."""

    video: I4  # [N] feed position
    chunk: I4  # [N]
    play_s: F8  # [N] content seconds watched of it
    before_s: F8  # [N] content seconds watched before it
    mbit: F8  # [N, O] to fetch
    quality: F8  # [N, O]
    decode_s: F8  # [N, O] at the least contention; inf where the device cannot decode it
    value: F8  # [N, O] weighted quality minus the price of bytes and joules; -inf where decode_s is inf


class Relaxation(NamedTuple):
    """The relaxed problem: symbols as in `bound`."""

    chunks: WatchedChunks
    weight: F8  # [K, N, O] seconds of resource k that option o of chunk c takes
    room: F8  # [K, N, G] seconds of it that chunks up to c may take if c begins in a cell of stall
    stall_s: F8  # [G + 1] edges of the cells of cumulative stall
    startup_s: F8  # [O] earliest beginning of the first chunk
    weight_switch: float
    weight_rebuffer: float
    abandon: float  # cost of leaving a video out of impatience; inf where patience has no end


def watched_chunks(sim: Sim) -> WatchedChunks:
    """The chunks that the viewer will play, and the costs and values of their options.

    Args:
        sim: What is constant, and the hidden draw.

    Returns:
        The chunks of all videos up to the one after which the viewer leaves.
    """
    params, episode = sim.params, sim.episode
    last = int(np.argmax(episode.leaves)) if episode.leaves.any() else len(episode.leaves) - 1
    counts = np.maximum(np.ceil((episode.watch_s[: last + 1] - SIMULTANEOUS_S) / params.chunk_s), 1.0).astype(np.int32)
    video = np.repeat(np.arange(last + 1, dtype=np.int32), counts)
    chunk = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    play_s = np.minimum(params.chunk_s, episode.watch_s[video] - chunk * params.chunk_s)
    index = episode.playlist[video]
    representation, unit = params.option_representation, params.option_unit
    usable = params.option_usable.astype(np.bool_)
    mbit = sim.catalog.chunk_bytes[index, chunk][:, representation] * MBIT_PER_BYTE
    quality = sim.catalog.quality[index, chunk][:, representation]
    profile_s = np.where(usable, params.option_decode_s, 0.0) * params.contention[:, 1:].min(axis=1)[unit]
    content_s = np.minimum(params.chunk_s, sim.catalog.duration_s[index] - chunk * params.chunk_s)
    decode_s = profile_s * (episode.jitter[video, chunk] * content_s)[:, None]
    value = params.weight_quality * quality * play_s[:, None]
    value -= params.weight_download * mbit
    value -= params.weight_energy * (params.option_w * decode_s + params.radio_j_per_mbit * mbit)
    return WatchedChunks(
        video=video,
        chunk=chunk,
        play_s=play_s,
        before_s=np.cumsum(play_s) - play_s,
        mbit=mbit,
        quality=quality,
        decode_s=np.where(usable, decode_s, np.inf),
        value=np.where(usable, value, -np.inf),
    )


def relax(sim: Sim, chunks: WatchedChunks) -> Relaxation:
    """Build the relaxed problem.

    Args:
        sim: What is constant, and the hidden draw.
        chunks: The chunks to play.

    Returns:
        The problem; Mbit on the link are expressed in seconds of its mean rate.
    """
    params, episode = sim.params, sim.episode
    count, options = chunks.value.shape
    tolerance_s = (count + 1) * TOLERANCE_S
    stall_s = stall_cells(episode.max_wall_s)
    begin_s = chunks.before_s[:, None] + stall_s[None, 1:] + tolerance_s  # at the latest, of each chunk in each cell
    weight = np.zeros((RESOURCES, count, options))
    room = np.zeros((RESOURCES, *begin_s.shape))

    usable = params.option_usable.astype(np.bool_)
    mbps = params.link_efficiency * 1e-6 * np.diff(episode.link_bits) / np.diff(episode.link_time_s)
    idle_s = max_idle_s(sim, mbps, chunks.mbit[:, usable].min())
    rtt_charge_mbps = rtt_charge(sim, chunks, mbps, idle_s)
    min_decode_s = np.minimum.accumulate(chunks.decode_s.min(axis=1))
    fill_link_room(sim, mbps, idle_s, rtt_charge_mbps, begin_s - min_decode_s[:, None], room[LINK])
    mean_mbps = float(mbps @ np.diff(episode.link_time_s) / episode.link_time_s[-1])
    room[LINK] /= mean_mbps
    weight[LINK] = (chunks.mbit + rtt_charge_mbps * params.rtt_s) / mean_mbps

    for unit in range(UNITS):
        served = usable & (params.option_unit == unit)
        if served.any():
            work, jobs = 1 + unit, 1 + UNITS + unit
            min_bytes = chunks.mbit[:, served].min() / MBIT_PER_BYTE
            free_s = np.maximum(begin_s - transfer_end(sim, params.rtt_s, min_bytes), 0.0)
            shortest_s = chunks.decode_s[:, served].min(axis=1)
            weight[work][:, served] = chunks.decode_s[:, served]
            room[work] = free_s
            weight[jobs][:, served] = shortest_s.mean()
            count_jobs(shortest_s, free_s, room[jobs])
            room[jobs] *= shortest_s.mean()

    arrival_s = np.array([transfer_end(sim, params.rtt_s, m / MBIT_PER_BYTE) for m in chunks.mbit[0]])
    return Relaxation(
        chunks=chunks,
        weight=weight,
        room=room,
        stall_s=stall_s,
        startup_s=arrival_s + chunks.decode_s[0] - tolerance_s,
        weight_switch=params.weight_switch,
        weight_rebuffer=params.weight_rebuffer,
        abandon=np.inf if np.isinf(episode.patience_s).all() else params.weight_abandon,
    )


def stall_cells(limit_s: float) -> F8:
    """Edges of cells of cumulative stall, narrow where stall is short.

    Args:
        limit_s: The last edge.

    Returns:
        [G + 1] seconds from 0.
    """
    edges = [0.0]
    while edges[-1] < limit_s:
        edges.append(edges[-1] + max(STALL_STEP_S, STALL_GROWTH * edges[-1]))
    return np.array([*edges[:-1], limit_s])


def max_idle_s(sim: Sim, mbps: F8, min_mbit: float) -> F8:
    """Seconds of each interval of the trace that RTTs of fetched chunks may fill, with one transfer at a time.

    Args:
        sim: What is constant, and the hidden draw.
        mbps: [T] payload rates.
        min_mbit: The smallest chunk.

    Returns:
        [T] cap.
    """
    seconds = np.diff(sim.episode.link_time_s)
    rtts = np.floor(1.0 + mbps * seconds / min_mbit + TOLERANCE_S)
    return np.minimum(seconds, rtts * sim.params.rtt_s + TOLERANCE_S)


def rtt_charge(sim: Sim, chunks: WatchedChunks, mbps: F8, idle_s: F8) -> float:
    """The rate rho at which an RTT is charged: intervals with lower rates have room for all RTTs of the session.

    Args:
        sim: What is constant, and the hidden draw.
        chunks: The chunks to play.
        mbps: [T] payload rates.
        idle_s: [T] cap.

    Returns:
        rho in Mbit/s; 0 where several transfers may be open, since one may then flow in the RTT of another.
    """
    episode = sim.episode
    if sim.params.parallel_downloads > 1:
        return 0.0
    content_s = chunks.before_s[-1] + chunks.play_s[-1]
    place_s = (episode.link_offset_s + np.arange(0.0, content_s + 1.0, 0.25)) % episode.link_time_s[-1]
    seen = np.searchsorted(episode.link_time_s, place_s, side="right") - 1
    order = seen[np.argsort(mbps[seen])]
    idle_share = np.cumsum(idle_s[order] / np.diff(episode.link_time_s)[order]) / len(order)
    enough = np.searchsorted(idle_share, len(chunks.video) * sim.params.rtt_s / content_s)
    return float(mbps[order[min(enough, len(order) - 1)]])


@njit
def fill_link_room(sim: Sim, mbps: F8, idle_s: F8, rtt_charge_mbps: float, until_s: F8, mbit: F8) -> None:
    """Fill in the room of the link.

    Args:
        sim: What is constant, and the hidden draw.
        mbps: [T] r_i.
        idle_s: [T] cap_i.
        rtt_charge_mbps: rho.
        until_s: [N, G] tau, rising along G.
        mbit: Output [N, G].
    """
    episode = sim.episode
    times = episode.link_time_s
    start_s = sim.params.rtt_s
    first_lap_s = np.floor((episode.link_offset_s + start_s) / times[-1]) * times[-1] - episode.link_offset_s
    for c in range(until_s.shape[0]):
        i, lap_s, since_s, before = 0, first_lap_s, start_s, rtt_charge_mbps * sim.params.rtt_s
        for j in range(until_s.shape[1]):
            while lap_s + times[i + 1] < until_s[c, j]:
                whole_s = max(lap_s + times[i + 1] - since_s, 0.0)
                before += mbps[i] * whole_s + max(rtt_charge_mbps - mbps[i], 0.0) * min(whole_s, idle_s[i])
                since_s += whole_s
                i += 1
                if i == mbps.shape[0]:
                    i = 0
                    lap_s += times[-1]
            part_s = max(until_s[c, j] - since_s, 0.0)
            mbit[c, j] = before + mbps[i] * part_s + max(rtt_charge_mbps - mbps[i], 0.0) * min(part_s, idle_s[i])


@njit
def count_jobs(shortest_s: F8, free_s: F8, jobs: F8) -> None:
    """Count how many of the shortest jobs fit one after the other.

    Args:
        shortest_s: [N] least decode time of each chunk on the unit.
        free_s: [N, G] seconds that the unit has, rising along G.
        jobs: Output [N, G]: jobs of chunks 0 .. c.
    """
    ranked_s = np.empty(shortest_s.shape[0])
    for c in range(shortest_s.shape[0]):
        place = c
        while place > 0 and ranked_s[place - 1] > shortest_s[c]:
            ranked_s[place] = ranked_s[place - 1]
            place -= 1
        ranked_s[place] = shortest_s[c]
        fitting, filled_s = 0, 0.0
        for j in range(free_s.shape[1]):
            while fitting <= c and filled_s + ranked_s[fitting] <= free_s[c, j]:
                filled_s += ranked_s[fitting]
                fitting += 1
            jobs[c, j] = fitting
