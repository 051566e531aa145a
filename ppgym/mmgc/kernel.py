"""The official simulator's arithmetic: link, playing, QoE, one step.

Everything here is compiled and in the units of the official simulator: milliseconds, bytes, kbit/s. The order of every
floating-point operation is the official one, so that figures are equal and not merely close. The constants are the
challenge's own rules and no parameters: another value would be another challenge.

Shape legend: V = 7 videos, R = 3 rungs, C chunks of the longest video, T rows of a trace.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.jit import njit
from ppgym.core.state import F8, I8

I1 = npt.NDArray[np.int8]
State = npt.NDArray[Any]  # one record of STATE_DTYPE

VIDEOS = 7  # V
WINDOW = 5  # the playing video and four more
RATES_KBPS = (750, 1200, 1850)
RUNGS = len(RATES_KBPS)  # R
CHUNK_MS = 1000.0
RTT_MS = 80.0
PAYLOAD_SHARE = 0.95  # of the link's rate; the rest is packet headers
REBUFFER_WEIGHT = 1.85  # per second
BANDWIDTH_WEIGHT = 0.5  # per megabit
ABORT_QOE = -1e4
NO_RUNG = -1

# What a step returns first
RUNNING = 0
OVER = 1
REFUSED = 2

STATE_DTYPE = np.dtype(
    (
        np.record,
        [
            # the session
            ("playing_video", "i8"),  # VIDEOS once the viewer has left the last one
            ("downloads", "i8"),
            ("bandwidth_bytes", "i8"),
            ("wasted_bytes", "i8"),
            ("time_ms", "f8"),
            ("rebuffer_ms", "f8"),
            ("quality_kbps", "f8"),  # sums of the unweighted QoE terms
            ("switch_kbps", "f8"),
            ("qoe", "f8"),
            # the link
            ("trace_row", "i8"),
            ("trace_time_s", "f8"),
            # the players
            ("position_ms", "f8", (VIDEOS,)),  # content played
            ("buffer_ms", "f8", (VIDEOS,)),
            ("preload_bytes", "i8", (VIDEOS,)),
            ("chunks", "i8", (VIDEOS,)),  # downloaded while the video was in the window
            ("recorded", "i8", (VIDEOS,)),  # the same and the one that arrived after the viewer had left
            ("last_rung", "i8", (VIDEOS,)),  # rung of the last chunk that the viewer reaches, or NO_RUNG
            ("asked", "i8", (VIDEOS,)),  # whether it was ever asked to play: from then on, official figures are NumPy's
        ],
    )
)


@njit
def _download_ms(stamps_s: F8, rates_mbps: F8, state: State, size_bytes: float) -> int:
    """Whole milliseconds that a download takes; moves the link's pointer."""
    row = state[0].trace_row
    time_s = state[0].trace_time_s
    sent_bytes = 0.0
    elapsed_s = 0.0
    while True:
        # Quirk: the rate is that of the pointer's own row, though the row's stamp is where its interval ends.
        rate_bytes = rates_mbps[row] * 1e6 / 8.0  # per second
        duration_s = stamps_s[row] - time_s
        payload_bytes = rate_bytes * duration_s * PAYLOAD_SHARE
        if sent_bytes + payload_bytes > size_bytes:
            break
        sent_bytes += payload_bytes
        elapsed_s += duration_s
        time_s = stamps_s[row]
        row += 1
        if row == len(stamps_s):
            # Quirk: the wrap goes back to time 0 even where the trace's first stamp is another.
            row = 1
            time_s = 0.0
    rest_s = (size_bytes - sent_bytes) / rate_bytes / PAYLOAD_SHARE
    elapsed_s += rest_s
    state[0].trace_row = row
    state[0].trace_time_s = time_s + rest_s
    # Quirk: the trace stands still during the round trip (and during sleeps).
    delay_ms: int = math.floor(elapsed_s * 1000.0 + RTT_MS + 0.5)
    return delay_ms


@njit
def _play(state: State, rungs: I1, chunk_bytes: I8, watch_ms: F8, span_ms: float) -> tuple[float, int]:
    """Let the viewer watch for a span.

    Returns:
        Milliseconds of rebuffering, and bytes that the videos left meanwhile have wasted.
    """
    s = state[0]
    wasted_bytes = 0
    surplus_ms = 0.0
    while surplus_ms >= 0.0 and span_ms > 0.0:
        video = s.playing_video
        s.asked[video] = 1
        before_ms = s.position_ms[video]
        unwatched_ms = watch_ms[video] - before_ms
        play_ms = min(span_ms, unwatched_ms)
        surplus_ms = s.buffer_ms[video] - play_ms
        s.position_ms[video] += min(s.buffer_ms[video], play_ms)
        s.buffer_ms[video] = max(surplus_ms, 0.0)
        played_ms = s.position_ms[video] - before_ms
        span_ms -= played_ms
        if played_ms == unwatched_ms:
            # Quirk: only whole chunks behind the watch time are waste, and a recorded chunk still under way is one.
            for chunk in range(math.ceil(watch_ms[video] / CHUNK_MS), s.recorded[video]):
                wasted_bytes += chunk_bytes[video, rungs[video, chunk], chunk]
            s.playing_video += 1
            if s.playing_video == VIDEOS:
                break
    # Quirk: the rebuffering is what is left of the span, not the missing buffer.
    return (span_ms if surplus_ms < 0.0 else 0.0), wasted_bytes


@njit
def _judge(state: State, rungs: I1, watch_ms: F8, video: int, rung: int) -> tuple[int, int]:
    """Quality and switch of a download in kbit/s, judged before it runs."""
    s = state[0]
    chunk = s.chunks[video]
    last_chunk = math.floor(watch_ms[video] / CHUNK_MS)
    if last_chunk < chunk:
        return 0, 0
    quality_kbps = RATES_KBPS[rung]
    switch_kbps = 0
    if chunk == last_chunk:
        s.last_rung[video] = rung
        following = video + 1
        if following < VIDEOS and s.chunks[following] > 0:  # which only videos of the window have
            # Quirk: the official runner compares the next video's first chunk with a quality that is still 0 there.
            switch_kbps += RATES_KBPS[rungs[following, 0]]
    if chunk > 0:
        switch_kbps += abs(quality_kbps - RATES_KBPS[rungs[video, chunk - 1]])
    elif video > 0 and s.last_rung[video - 1] != NO_RUNG:
        switch_kbps += abs(quality_kbps - RATES_KBPS[s.last_rung[video - 1]])
    return quality_kbps, switch_kbps


@njit
def step(
    state: State,
    rungs: I1,
    chunk_bytes: I8,
    chunk_counts: I8,
    stamps_s: F8,
    rates_mbps: F8,
    watch_ms: F8,
    video: int,
    rung: int,
    sleep_ms: int,
    is_sleep: bool,
    judged: bool,
) -> tuple[int, tuple[int, float, int, bool, int, int, float]]:
    """One step of the official simulator and runner.

    Args:
        state: One record of `STATE_DTYPE`, in which `MMGCSession` has put the trace's start and the rungs that are
            remembered; changed in place where the action is legal.
        rungs: int8 [V, C], rungs of the recorded chunks; changed in place.
        chunk_bytes: int64 [V, R, C].
        chunk_counts: int64 [V].
        stamps_s: float64 [T], seconds.
        rates_mbps: float64 [T], Mbit/s.
        watch_ms: float64 [V], the viewer's hidden watch times.
        video: Video to download from.
        rung: Rung to download.
        sleep_ms: Whole milliseconds to sleep.
        is_sleep: Whether to sleep: a sleep of less than a millisecond still is no download.
        judged: Whether a download earns its quality and costs its switch.

    Returns:
        `RUNNING`, `OVER`, or `REFUSED` where nothing has changed and the rest means nothing; and the fields of
        `MMGCStep` in their order.
    """
    s = state[0]
    quality_kbps = 0
    switch_kbps = 0
    size_bytes = 0
    if is_sleep:
        delay_ms = sleep_ms
        rebuffer_ms, wasted_bytes = _play(state, rungs, chunk_bytes, watch_ms, float(delay_ms))
        # Quirk: a sleep tells of the video playing after it, a download of its own.
        end_of_video = s.playing_video == VIDEOS or s.chunks[s.playing_video] == chunk_counts[s.playing_video]
    else:
        in_window = s.playing_video <= video < min(s.playing_video + WINDOW, VIDEOS)
        if not (in_window and 0 <= rung < RUNGS and s.chunks[video] < chunk_counts[video]):
            return REFUSED, (0, 0.0, 0, False, 0, 0, 0.0)
        if judged:
            quality_kbps, switch_kbps = _judge(state, rungs, watch_ms, video, rung)
        size_bytes = chunk_bytes[video, rung, s.chunks[video]]
        delay_ms = _download_ms(stamps_s, rates_mbps, state, float(size_bytes))
        rungs[video, s.recorded[video]] = rung
        s.recorded[video] += 1
        s.preload_bytes[video] += size_bytes
        rebuffer_ms, wasted_bytes = _play(state, rungs, chunk_bytes, watch_ms, float(delay_ms))
        if video < s.playing_video:
            # Quirk: leaving the video has counted the recorded chunk already; it is waste twice.
            wasted_bytes += size_bytes
            end_of_video = True
        else:
            s.buffer_ms[video] += CHUNK_MS
            s.chunks[video] += 1
            end_of_video = s.chunks[video] == chunk_counts[video]
        s.downloads += 1
        s.bandwidth_bytes += size_bytes

    qoe = quality_kbps / 1000.0 - REBUFFER_WEIGHT * rebuffer_ms / 1000.0 - switch_kbps / 1000.0
    s.wasted_bytes += wasted_bytes
    s.time_ms += delay_ms
    s.rebuffer_ms += rebuffer_ms
    s.quality_kbps += quality_kbps
    s.switch_kbps += switch_kbps
    s.qoe += qoe
    status = OVER if s.playing_video == VIDEOS or s.qoe < ABORT_QOE else RUNNING
    return status, (delay_ms, rebuffer_ms, size_bytes, end_of_video, s.playing_video, wasted_bytes, qoe)
