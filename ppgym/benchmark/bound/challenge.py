r"""An upper bound on the official score of the 2022 challenge, and a schedule with full knowledge that comes near it.

**Notation.** The draw fixes how long each video is watched, and so the chunks n = 0 .. N - 1 that a session can earn
quality for, in the order in which they play, and the content C_n that plays before chunk n. Rung r of chunk n earns q_r
and has b_nr bytes. A chunk is *needed* if the viewer waits for it. The last chunk of a video whose watch time is a
whole second earns its quality but never plays: it may be left out.

**Value.** Score = sum of q_r - 0.5 Mbit - switches over the downloads, less 1.85 a second of stall. Bytes of other
chunks only cost. Within a video the switch is |q_r - q_r'|. From one video to the next it depends on which download
came first: |q_r - q_r'|, or, by the runner's quirk, q_r' of the next video's first chunk; the less of the two is a
bound. It is 0 where the runner remembers no rung of the video before. A download with a sleep below 0 is not judged: no
quality, no switch.

**Time.** The trace stands still during round trips and sleeps, so what it has carried depends on the time spent on
transfers alone. Let S be the stall in all. Chunk n begins at C_n + S at the latest. By then the needed chunks up to n
have arrived, one after the other, each after a round trip of 80 ms, and a delay is rounded to whole milliseconds, by
0.5 ms at most. So with m_n needed chunks up to n

    sum_{i <= n} b_i <= carried(C_n + S - m_n x 79.5 ms).    (*)

**Bound.** V(S), the largest value under (*), does not fall with S. So for every interval, stalls within [a, b] score at
most V(b) - 1.85 a, and the largest of these over intervals that cover all stalls is a bound; the interval that has it
is halved until it is short. V is a dynamic programme over chunk, bytes above the least so far, and rung. Bytes are
counted in cells, rounded down chunk by chunk, which only lets more through.
"""

import heapq
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.state import F8, I8
from ppgym.entries.player import Action
from ppgym.mmgc.dataset import MMGCDataset, MMGCTrace, Seeds
from ppgym.mmgc.kernel import (
    BANDWIDTH_WEIGHT,
    CHUNK_MS,
    PAYLOAD_SHARE,
    RATES_KBPS,
    REBUFFER_WEIGHT,
    RTT_MS,
    RUNGS,
    VIDEOS,
    WINDOW,
)
from ppgym.mmgc.session import MMGCSession

CELLS = 4096  # of the largest number of bytes above the least
SHORT_S = 0.01  # stalls of an interval that is not halved any more
ROUNDING = 1e-9  # of the bound, relative
# What becomes of a chunk: fetched at a rung (0 .. R - 1), the same without being judged (R .. 2 R - 1), or
LEFT_OUT = 2 * RUNGS
CHOICES = LEFT_OUT + 1


class Chunks(NamedTuple):
    """The chunks that can earn quality, in the order in which they play."""

    video: I8  # [N]
    size_bytes: F8  # [N, R]
    before_ms: F8  # [N] C_n
    needed: I8  # [N] 1 where the viewer waits for it
    link: I8  # [N] 2: the chunk before is of the same video; 1: of the video before, and remembered; 0: neither


def list_chunks(dataset: MMGCDataset, watch_ms: F8) -> Chunks:
    """The chunks of a session.

    Args:
        dataset: The dataset.
        watch_ms: float64 [V], how long the viewer watches each video.

    Returns:
        The chunks.
    """
    rows = []
    content_ms, remembered = 0.0, 0
    for video in range(VIDEOS):
        count, last = int(dataset.chunk_counts[video]), math.floor(watch_ms[video] / CHUNK_MS)
        for chunk in range(min(last + 1, count)):
            start_ms = chunk * CHUNK_MS
            needed = int(start_ms < watch_ms[video])
            link = 2 if chunk else remembered
            rows.append((video, dataset.chunk_bytes[video, :, chunk], content_ms + start_ms, needed, link))
        content_ms += watch_ms[video]
        remembered = int(last < count)
    video_of, sizes, before_ms, needed_of, link_of = zip(*rows, strict=True)
    return Chunks(
        np.array(video_of),
        np.array(sizes, dtype=np.float64),
        np.array(before_ms),
        np.array(needed_of),
        np.array(link_of),
    )


def carried_bytes(trace: MMGCTrace, until_s: float) -> tuple[F8, F8]:
    """What a trace carries.

    Args:
        trace: The trace.
        until_s: Seconds of transfers that are looked at.

    Returns:
        Seconds and bytes carried by then, both float64 and never falling, up to `until_s` at least.
    """
    stamps_s = trace.stamps_s
    first_s, later_s = np.diff(stamps_s), np.diff(np.concatenate([[0.0], stamps_s[1:]]))
    laps = 1 + max(0, math.ceil((until_s - first_s.sum()) / later_s.sum()))
    durations_s = np.concatenate([first_s, *[later_s] * laps])
    rates = np.tile(trace.rates_mbps[1:] * 1e6 / 8.0 * PAYLOAD_SHARE, 1 + laps)
    return np.concatenate([[0.0], durations_s.cumsum()]), np.concatenate([[0.0], (durations_s * rates).cumsum()])


@njit
def switch_mbps(link: int, before: int, choice: int) -> float:
    """The least switch that a choice can cost after the one before."""
    if link == 0 or before == LEFT_OUT or (link == 1 and before >= RUNGS):
        return 0.0
    quality = RATES_KBPS[choice] / 1000.0
    switch = abs(quality - RATES_KBPS[before % RUNGS] / 1000.0)
    return min(switch, quality) if link == 1 else switch


@njit
def best_choices(
    size_bytes: F8, least_bytes: F8, room_bytes: F8, needed: I8, link: I8, cell_bytes: float, up: bool, choices: I8
) -> float:
    """The dynamic programme.

    Args:
        size_bytes: float64 [N, R].
        least_bytes: float64 [N], the least that the needed chunks up to each one have.
        room_bytes: float64 [N], what may be carried by the time that a chunk begins.
        needed: int64 [N].
        link: int64 [N].
        cell_bytes: Size of a cell.
        up: Whether bytes are rounded up, for a schedule, in place of down, for a bound.
        choices: int64 [N], output: what becomes of each chunk.

    Returns:
        The largest value; minus infinity where the room is too small for all.
    """
    count = len(needed)
    most, spare, others = 0.0, 0.0, 0.0  # bytes above the least that can be spent, that fit, and that need not fit
    for n in range(count):
        most += size_bytes[n].max() - (size_bytes[n].min() if needed[n] else 0.0)
        spare = max(spare, room_bytes[n] - least_bytes[n])
        others += 0.0 if needed[n] else size_bytes[n].max()
    cells = int(min(most, spare + others) / cell_bytes) + 2 + (count if up else 0)
    value = np.full((CHOICES, cells), -np.inf)
    value[LEFT_OUT, 0] = 0.0
    before = np.full((count, CHOICES, cells), np.int8(-1))
    steps = np.zeros((count, CHOICES), np.int64)
    for n in range(count):
        after = np.full((CHOICES, cells), -np.inf)
        least = size_bytes[n].min() if needed[n] else 0.0
        last = cells - 1
        if needed[n]:
            last = min(last, math.floor((room_bytes[n] - least_bytes[n]) / cell_bytes))
        for choice in range(CHOICES):
            gain, step = 0.0, 0
            if choice < LEFT_OUT:
                size = size_bytes[n, choice % RUNGS]
                more = (size - least) / cell_bytes
                step = math.ceil(more) if up else math.floor(more)
                gain = -BANDWIDTH_WEIGHT * 8.0 * size / 1e6
                if choice < RUNGS:
                    gain += RATES_KBPS[choice] / 1000.0
            elif needed[n]:
                continue
            steps[n, choice] = step
            for other in range(CHOICES):
                earned = gain - (switch_mbps(link[n], other, choice) if choice < RUNGS else 0.0)
                for cell in range(step, last + 1):
                    total = value[other, cell - step] + earned
                    if total > after[choice, cell]:
                        after[choice, cell] = total
                        before[n, choice, cell] = other
        value = after
    best, choice, cell = -np.inf, 0, 0
    for other in range(CHOICES):
        for place in range(cells):
            if value[other, place] > best:
                best, choice, cell = value[other, place], other, place
    if best > -np.inf:
        for n in range(count - 1, -1, -1):
            choices[n] = choice
            choice, cell = before[n, choice, cell], cell - steps[n, choice]
    return best


class Problem:
    """The relaxed problem of one session."""

    def __init__(self, dataset: MMGCDataset, trace: MMGCTrace, watch_ms: F8) -> None:
        """State it.

        Args:
            dataset: The dataset.
            trace: The trace.
            watch_ms: float64 [V], how long the viewer watches each video.
        """
        self.chunks = chunks = list_chunks(dataset, watch_ms)
        least = chunks.size_bytes.min(axis=1) * chunks.needed
        self._least_bytes = least.cumsum()
        self._cell_bytes = max(1.0, float((chunks.size_bytes.max(axis=1) - least).sum()) / CELLS)
        self._trace = trace
        self._paid_ms = (RTT_MS - 0.5) * chunks.needed.cumsum()
        self._carried = carried_bytes(trace, 0.0)

    def solve(self, stall_s: float, up: bool = False) -> tuple[float, I8]:
        """The largest value with a stall, infinity included, and its choices; see `best_choices`."""
        chunks = self.chunks
        room = np.full(len(chunks.needed), chunks.size_bytes.max(axis=1).sum() + len(chunks.needed))
        if stall_s < math.inf:
            until_s = np.maximum((chunks.before_ms - self._paid_ms) / 1000.0 + stall_s, 0.0)
            if until_s.max() > self._carried[0][-1]:
                self._carried = carried_bytes(self._trace, 2.0 * float(until_s.max()))
            room = np.interp(until_s, *self._carried) * (1.0 + ROUNDING)
        choices = np.zeros(len(room), dtype=np.int64)
        sizes, cell_bytes = chunks.size_bytes, self._cell_bytes
        value = best_choices(sizes, self._least_bytes, room, chunks.needed, chunks.link, cell_bytes, up, choices)
        return float(value), choices

    def bound(self) -> tuple[float, float]:
        """The bound, and the stall from which it comes."""
        free, longest_s = self.solve(math.inf)[0], 1.0
        while (value := self.solve(longest_s)[0]) < free - ROUNDING:
            longest_s *= 2.0
        intervals = [(-value, 0.0, longest_s, value)]  # minus the bound, its ends, V at the end
        while True:
            limit, begin_s, end_s, value = heapq.heappop(intervals)
            if end_s - begin_s < SHORT_S:
                return -limit + ROUNDING * (1.0 + abs(limit)), end_s
            middle_s = (begin_s + end_s) / 2.0
            lower = self.solve(middle_s)[0]
            heapq.heappush(intervals, (REBUFFER_WEIGHT * middle_s - value, middle_s, end_s, value))
            if lower > -math.inf:
                heapq.heappush(intervals, (REBUFFER_WEIGHT * begin_s - lower, begin_s, middle_s, lower))


def challenge_bound(
    dataset: MMGCDataset, trace_class: str, trace_index: int, seeds: Seeds
) -> tuple[float, list[Action]]:
    """A number that no policy's official score exceeds in a session without carried rungs, and a schedule near it.

    Args:
        dataset: The dataset.
        trace_class: Class of the trace.
        trace_index: Place in the class.
        seeds: The viewer.

    Returns:
        The bound, and the actions of the best schedule that was tried.

    Raises:
        ValueError: No such class or trace, or bad seeds.
    """
    pairs = [(int(a), int(b)) for a, b in seeds]
    watch_ms = dataset.draw_watch_ms(pairs)
    problem = Problem(dataset, dataset.trace(trace_class, trace_index), watch_ms)
    limit, stall_s = problem.bound()
    tried = []
    for up in (False, True):
        for more_s in (0.0, 0.05, 0.2):
            value, choices = problem.solve(stall_s + more_s, up)
            if value > -math.inf:
                session = MMGCSession(dataset, trace_class, trace_index, pairs)
                actions = list(_follow(session, problem.chunks, choices, watch_ms))
                tried.append((session.result().score, actions))
    return limit, max(tried)[1]


def _follow(session: MMGCSession, chunks: Chunks, choices: I8, watch_ms: F8) -> Iterator[Action]:
    """Download the chunks in their order, each as soon as its video is in the window; yields what was done."""

    def sleep() -> Action:
        """Until the video that plays now ends, as far as it is there."""
        video = session.playing_video
        left_ms = watch_ms[video] - CHUNK_MS * session.players()[0].get_play_chunk()
        action = video, 0, float(max(math.ceil(left_ms), 1))
        session.step(*action)
        return action

    for video, choice in zip(chunks.video.tolist(), choices.tolist(), strict=True):
        while video >= session.playing_video + WINDOW:
            yield sleep()
        if choice != LEFT_OUT and video >= session.playing_video and not session.done:
            judged = choice < RUNGS
            session.step(video, choice % RUNGS, 0, judged=judged)
            yield video, choice % RUNGS, 0.0 if judged else -1.0
    while not session.done:
        yield sleep()
