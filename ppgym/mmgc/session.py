"""A session of the official simulator: one viewer, one trace, seven videos, and what a policy may see of it."""

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from ppgym.core.state import I8
from ppgym.entries.player import MMGCPlayer
from ppgym.mmgc import kernel
from ppgym.mmgc.dataset import MMGCDataset, Seeds, check_seeds
from ppgym.mmgc.kernel import (
    ABORT_QOE,
    BANDWIDTH_WEIGHT,
    CHUNK_MS,
    NO_RUNG,
    OVER,
    RATES_KBPS,
    REFUSED,
    RUNGS,
    STATE_DTYPE,
    VIDEOS,
    WINDOW,
)

ABORT_SCORE = -1e9


class MMGCStep(NamedTuple):
    """What one step has brought.

    Attributes:
        delay_ms: Whole milliseconds that the step took, the round trip of 80 ms included.
        rebuffer_ms: Milliseconds of it in which the viewer waited.
        chunk_bytes: Size of the chunk downloaded, 0 for a sleep.
        end_of_video: After a download, whether that video has no more chunks to download (a video that the viewer has
            left has none); after a sleep, the same of the video playing now, and true at the session's end.
        playing_video: The video playing now, 7 at the session's end.
        wasted_bytes: Waste of this step alone.
        qoe: Quality, rebuffering and switch of this step, weighted and summed; bandwidth is not in it.
    """

    delay_ms: int
    rebuffer_ms: float
    chunk_bytes: int
    end_of_video: bool
    playing_video: int
    wasted_bytes: int
    qoe: float


class MMGCResult(NamedTuple):
    """The official five figures of a session.

    Attributes:
        score: QoE minus 0.5 per megabit downloaded, or -1e9 where the QoE fell below -1e4.
        qoe: Sum over the steps.
        bandwidth_bytes: Every byte downloaded.
        wasted_bytes: Sum over the steps.
        download_watch_ratio: Seconds downloaded / seconds that the viewer meant to watch of the videos that have
            entered the window.
    """

    score: float
    qoe: float
    bandwidth_bytes: int
    wasted_bytes: int
    download_watch_ratio: float


class MMGCSession:
    """One viewer, one trace, seven videos.

    Attributes:
        playing_video: The video playing now, 7 once the viewer has left the last one.
        done: Whether the session is over: the viewer has left, or the QoE has fallen below -1e4.
    """

    def __init__(
        self,
        dataset: MMGCDataset,
        trace_class: str,
        trace_index: int,
        seeds: Seeds,
        *,
        carried_rungs: I8 | None = None,
    ) -> None:
        """Start a session.

        Args:
            dataset: Videos, retention curves and traces.
            trace_class: Class of the trace, such as `"low"`.
            trace_index: Place in the class, from 0.
            seeds: Seven pairs (a, b) that draw the viewer, see `MMGCDataset.draw_watch_ms`.
            carried_rungs: int64 [V], the rung that the session before remembers of each video (`kernel.NO_RUNG` where
                none). The session starts with them, and every step updates them. The official runner never resets
                these rungs from one session to the next. None starts without any.

        Raises:
            ValueError: No such class or trace, or bad seeds.
        """
        trace = dataset.trace(trace_class, trace_index)
        self.playing_video = 0
        self.done = False
        self._dataset = dataset
        self._seeds = check_seeds(seeds)
        self._watch_ms = dataset.draw_watch_ms(self._seeds)
        self._carried_rungs = carried_rungs
        self._state = np.zeros(1, STATE_DTYPE)
        self._rungs = np.zeros((VIDEOS, dataset.chunk_bytes.shape[2]), dtype=np.int8)
        self._players: list[MMGCPlayer] = []
        self._window: list[MMGCPlayer] = []
        # Numba dispatches faster on a tuple made once than on attributes fetched at every step.
        self._arrays = (
            self._state,
            self._rungs,
            dataset.chunk_bytes,
            dataset.chunk_counts,
            trace.stamps_s,
            trace.rates_mbps,
            self._watch_ms,
        )
        self._state["trace_row"] = 1
        self._state["trace_time_s"] = trace.stamps_s[0]
        self._state["last_rung"] = NO_RUNG if carried_rungs is None else carried_rungs

    def step(self, video: int, rung: int, sleep_ms: float, *, judged: bool = True) -> MMGCStep:
        """Download the next chunk of a video, or sleep.

        Args:
            video: Video to download from: the playing one or one of the four after it.
            rung: 0, 1 or 2 for 750, 1200 or 1850 kbit/s.
            sleep_ms: Milliseconds to sleep instead, cut to whole ones; 0 downloads. For a sleep, video and rung mean
                nothing and are not looked at.
            judged: Whether a download earns its quality and costs its switch.

        Returns:
            What the step brought.

        Raises:
            ValueError: An illegal action; the message says what was legal. The session has not changed.
            RuntimeError: The session is over.
        """
        if self.done:
            raise RuntimeError(
                f"the session is over ({'the viewer has left' if self.playing_video == VIDEOS else 'aborted'}); "
                "start another MMGCSession"
            )
        try:
            # Quirk: a sleep is cut to whole milliseconds, and one below a millisecond is no download either.
            whole_ms = int(sleep_ms)
            action = (0, 0) if sleep_ms > 0 else (operator.index(video), operator.index(rung))
        except (TypeError, ValueError, OverflowError):
            raise self._illegal(video, rung, sleep_ms) from None
        if sleep_ms < 0:
            raise self._illegal(video, rung, sleep_ms)
        status, fields = kernel.step(*self._arrays, *action, whole_ms, sleep_ms > 0, judged)
        if status == REFUSED:
            raise self._illegal(video, rung, sleep_ms)
        step = MMGCStep._make(fields)
        before, self.playing_video = self.playing_video, step.playing_video
        self.done = status == OVER
        if self._players:
            self._show(before)
            if sleep_ms > 0 and self._window:
                self._window[0].get_remain_video_num()  # Quirk: the official runner asks so after a sleep
        if self._carried_rungs is not None:
            self._carried_rungs[:] = self._state["last_rung"][0]
        return step

    def players(self) -> list[MMGCPlayer]:
        """The videos of the window, the playing one first.

        Returns:
            At most five, read-only and live. The same list at every call, kept up to date as the official one is.
        """
        if not self._players:
            for sizes, curve in zip(self._dataset.chunk_sizes(), self._dataset.retention, strict=True):
                self._players.append(MMGCPlayer(sizes, curve.times_ms, curve.shares))
            self._show(0)
        self._window[:] = self._players[self.playing_video : self.playing_video + WINDOW]
        return self._window

    def draws(self, first: int) -> list[tuple[int, int, bool]]:
        """How the viewer of videos that have entered the window was drawn, for `player.reseed`.

        Args:
            first: The first of these videos.

        Returns:
            Two seeds, and whether the second one was used, of each video up to the window's last.
        """
        last = min(self.playing_video + WINDOW, VIDEOS)
        ends = [curve.times_ms[-2] for curve in self._dataset.retention]
        return [(*self._seeds[video], bool(self._watch_ms[video] != ends[video])) for video in range(first, last)]

    def _show(self, first: int) -> None:
        """Bring the players from a video to the window's last up to date."""
        state = self._state[0]
        chunks, loaded, asked = state.chunks.tolist(), state.preload_bytes.tolist(), state.asked.tolist()
        position_ms, buffer_ms, recorded = state.position_ms.tolist(), state.buffer_ms.tolist(), state.recorded.tolist()
        for video in range(first, min(self.playing_video + WINDOW, VIDEOS)):
            rungs = self._rungs[video, : recorded[video]].tolist()
            self._players[video].show(
                chunks[video], rungs, position_ms[video], buffer_ms[video], loaded[video], asked[video]
            )
        self._window[:] = self._players[self.playing_video : self.playing_video + WINDOW]

    def result(self) -> MMGCResult:
        """The official five figures, of the session so far where it is not over."""
        state = self._state[0]
        entered = min(self.playing_video + WINDOW, VIDEOS)
        bandwidth_bytes = int(state.bandwidth_bytes)
        qoe = float(state.qoe)
        score = qoe - BANDWIDTH_WEIGHT * bandwidth_bytes * 8 / 1e6
        return MMGCResult(
            score=ABORT_SCORE if qoe < ABORT_QOE else score,
            qoe=qoe,
            bandwidth_bytes=bandwidth_bytes,
            wasted_bytes=int(state.wasted_bytes),
            download_watch_ratio=float(state.downloads * CHUNK_MS / self._watch_ms[:entered].sum()),
        )

    def judged_kbps(self) -> tuple[int, int]:
        """Sums of quality and switch over all downloads, in kbit/s. Not for policies: they tell of the future."""
        return int(self._state["quality_kbps"].item()), int(self._state["switch_kbps"].item())

    def totals(self) -> dict[str, float]:
        """Totals since the start under the names that the info of ppgym's environments has.

        Returns:
            Seconds, bytes and counts; `quality` and `switch` are unweighted sums in Mbit/s over downloaded chunks.
        """
        state = self._state  # its fields are an order of magnitude faster to read than those of its one record
        return {
            "time_s": state["time_ms"].item() / 1000,
            "played_s": state["position_ms"].sum().item() / 1000,
            "rebuffer_s": state["rebuffer_ms"].item() / 1000,
            "quality": state["quality_kbps"].item() / 1000,
            "switch": state["switch_kbps"].item() / 1000,
            "downloaded_bytes": float(state["bandwidth_bytes"].item()),
            "wasted_bytes": float(state["wasted_bytes"].item()),
            "decode_busy_s": 0.0,
            "energy_j": 0.0,
            "videos_watched": float(self.playing_video),
            "videos_abandoned": 0.0,
        }

    def _illegal(self, video: Any, rung: Any, sleep_ms: Any) -> ValueError:
        """What was wrong with an action, and what would have been legal."""
        first, last = self.playing_video, min(self.playing_video + WINDOW, VIDEOS) - 1
        if not isinstance(sleep_ms, int | float | np.number) or not 0 <= sleep_ms < math.inf:
            return ValueError(f"sleep_ms: expected 0 to download or a finite number above 0 to sleep, got {sleep_ms!r}")
        if not isinstance(video, int | np.integer) or not first <= video <= last:
            return ValueError(f"video {video!r} is outside the window: legal are {first} to {last}")
        if not isinstance(rung, int | np.integer) or not 0 <= rung < RUNGS:
            legal = ", ".join(f"{rung} ({rate} kbit/s)" for rung, rate in enumerate(RATES_KBPS))
            return ValueError(f"rung {rung!r} does not exist: legal are {legal}")
        counts = self._dataset.chunk_counts
        chunks = self._state["chunks"][0]
        unfinished = [str(other) for other in range(first, last + 1) if chunks[other] < counts[other]]
        legal = f"the videos {', '.join(unfinished)} and a sleep" if unfinished else "a sleep alone"
        return ValueError(f"video {video} has all its {counts[video]} chunks: legal is {legal}")
