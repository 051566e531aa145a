"""A session of the official simulator: one viewer, one trace, seven videos, and what a policy may see of it."""

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from ppgym.core.state import F8, I8
from ppgym.mmgc import kernel
from ppgym.mmgc.dataset import MMGCDataset, Seeds
from ppgym.mmgc.kernel import (
    ABORT_QOE,
    BANDWIDTH_WEIGHT,
    CHUNK_MS,
    I1,
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


class PublicState(NamedTuple):
    """Read-only arrays of a session that policies may know of; their names are those of `STATE_DTYPE`."""

    position_ms: F8  # float64 [V]
    buffer_ms: F8  # float64 [V]
    preload_bytes: I8  # int64 [V]
    chunks: I8  # int64 [V]
    recorded: I8  # int64 [V]
    rungs: I1  # int8 [V, C]


class MMGCPlayer:
    """One video of the window as the official `Player` shows it to a policy, read-only.

    Method names, units and return types are the official ones. Lists are copies.
    """

    __slots__ = ("_public", "_retention", "_sizes", "_video")

    def __init__(self, dataset: MMGCDataset, video: int, public: PublicState) -> None:
        """Look at one video of a session.

        Args:
            dataset: The session's dataset.
            video: Index of the video.
            public: What the session shows, read-only.
        """
        self._video = video
        self._sizes = dataset.sizes_bytes[video]
        self._retention = dataset.retention[video]
        self._public = public

    def get_video_len(self) -> float:
        """Length of the video in milliseconds."""
        return len(self._sizes[0]) * CHUNK_MS

    def get_chunk_sum(self) -> int:
        """Number of its chunks."""
        return len(self._sizes[0])

    def get_chunk_counter(self) -> int:
        """Number of its chunks downloaded so far, which is the index of the next one."""
        return self._public.chunks.item(self._video)

    def get_remain_video_num(self) -> int:
        """Number of its chunks not downloaded yet."""
        return len(self._sizes[0]) - self._public.chunks.item(self._video)

    def get_video_size(self, quality: int) -> float:
        """Bytes of its next chunk at a rung.

        Raises:
            IndexError: All chunks are downloaded, or there is no such rung.
        """
        sizes = self.get_undownloaded_video_size(1)
        if not 0 <= quality < RUNGS:
            raise IndexError(f"rung {quality} does not exist; legal are 0 to {RUNGS - 1}")
        return sizes[quality][0]

    def get_video_quality(self, chunk_id: int) -> int:
        """Rung of a downloaded chunk, -1 for one that is not. Negative indices count from the last download."""
        downloaded = self.get_downloaded_bitrate()
        return downloaded[chunk_id] if chunk_id < len(downloaded) else -1

    def get_downloaded_bitrate(self) -> list[int]:
        """Rungs of the chunks downloaded so far."""
        rungs: list[int] = self._public.rungs[self._video, : self._public.recorded.item(self._video)].tolist()
        return rungs

    def get_preload_size(self) -> int:
        """Bytes downloaded of this video so far, those already played included."""
        return self._public.preload_bytes.item(self._video)

    def get_undownloaded_video_size(self, P: int) -> list[list[float]]:  # noqa: N803, official name
        """Bytes of the next P chunks to download.

        Args:
            P: Number of chunks.

        Returns:
            One list of P sizes per rung.

        Raises:
            IndexError: Fewer than P chunks are left.
        """
        return self._slice(self._public.chunks.item(self._video), P)

    def get_future_video_size(self, P: int) -> list[list[float]]:  # noqa: N803, official name
        """Bytes of the next P chunks to begin playing, downloaded or not.

        Args:
            P: Number of chunks.

        Returns:
            One list of P sizes per rung.

        Raises:
            IndexError: Fewer than P chunks are left.
        """
        return self._slice(math.ceil(self.get_play_chunk()), P)

    def get_play_chunk(self) -> float:
        """Chunks played so far, as a fraction: 1.5 is the middle of the second chunk."""
        return self._public.position_ms.item(self._video) / CHUNK_MS

    def get_buffer_size(self) -> float:
        """Milliseconds buffered."""
        return self._public.buffer_ms.item(self._video)

    def get_user_model(self) -> tuple[list[float], list[str]]:
        """The retention curve: times in milliseconds, and the share of viewers still watching, as text."""
        return list(self._retention.times_ms), list(self._retention.shares)

    def _slice(self, first: int, count: int) -> list[list[float]]:
        if first + count > len(self._sizes[0]):
            raise IndexError(
                f"chunks {first} to {first + count - 1} were asked for; the last one is {len(self._sizes[0]) - 1}"
            )
        return [sizes[first : first + count] for sizes in self._sizes]


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
        self._watch_ms = dataset.draw_watch_ms(seeds)
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

    def step(self, video: int, rung: int, sleep_ms: float) -> MMGCStep:
        """Download the next chunk of a video, or sleep.

        Args:
            video: Video to download from: the playing one or one of the four after it.
            rung: 0, 1 or 2 for 750, 1200 or 1850 kbit/s.
            sleep_ms: Milliseconds to sleep instead, cut to whole ones; 0 downloads. For a sleep, video and rung mean
                nothing and are not looked at.

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
        status, fields = kernel.step(*self._arrays, *action, whole_ms, sleep_ms > 0)
        if status == REFUSED:
            raise self._illegal(video, rung, sleep_ms)
        step = MMGCStep._make(fields)
        self.playing_video = step.playing_video
        self.done = status == OVER
        if self._carried_rungs is not None:
            self._carried_rungs[:] = self._state["last_rung"][0]
        return step

    def players(self) -> list[MMGCPlayer]:
        """The videos of the window, the playing one first.

        Returns:
            At most five live, read-only views. The same list at every call, kept up to date as the official one is.
        """
        if not self._players:
            # broadcast_to gives views that cannot be written to.
            state: kernel.State = np.broadcast_to(self._state, self._state.shape)
            rungs = np.broadcast_to(self._rungs, self._rungs.shape)
            public = PublicState._make([*(state[name][0] for name in PublicState._fields[:-1]), rungs])
            self._players = [MMGCPlayer(self._dataset, video, public) for video in range(VIDEOS)]
        self._window[:] = self._players[self.playing_video : self.playing_video + WINDOW]
        return self._window

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
