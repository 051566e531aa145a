"""The challenge's two official policies, to the letter, as official-style `Algorithm` classes.

They see players through the official methods alone, so they also run in the official simulator. Their constants are
their authors'. Source: github.com/AItransCompetition/Short-Video-Streaming-Challenge, the quickstart and the baseline.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.state import F8
from ppgym.entries.player import Action, MMGCPlayer

SLEEP_MS = 500.0

MAX_PRELOADED_CHUNKS = 4  # of a video that does not play yet
MIN_CONDITIONAL_RETENTION = 0.65
RUNG_1_ABOVE_MS = 1000.0
RUNG_2_ABOVE_MS = 2000.0

PRELOAD_BYTES = 800_000  # per video and round
SAMPLES = 5
HORIZON = 5
STALL_WEIGHT = 4.3  # per second
SEARCH_RATES_KBPS = (750, 1200, 1850)
SEARCH_CHUNK_MS = 1000.0


class Algorithm(Protocol):
    """What the official runner asks of a solution."""

    def Initialize(self) -> None:  # noqa: N802, official name
        """Prepare for a session."""

    def run(
        self,
        delay: float,
        rebuf: float,
        video_size: float,
        end_of_video: bool,
        play_video_id: int,
        Players: Sequence[MMGCPlayer],  # noqa: N803, official name
        first_step: bool = False,
    ) -> Action:
        """Decide.

        Args:
            delay: Milliseconds that the last action took.
            rebuf: Milliseconds of rebuffering in it.
            video_size: Bytes that it downloaded.
            end_of_video: Whether its video has no chunk left to download.
            play_video_id: Video playing now.
            Players: Videos of the window, the playing one first.
            first_step: Whether this is the first decision of the session.

        Returns:
            Video, rung and milliseconds of sleep (0: download).
        """


AlgorithmFactory = Callable[[], Algorithm]


class FixedPreload:
    """Fixed-Preload: the current video first, then up to four likely chunks of each video after it."""

    def Initialize(self) -> None:  # noqa: N802, official name
        """Nothing to prepare."""

    def run(
        self,
        delay: float,
        rebuf: float,
        video_size: float,
        end_of_video: bool,
        play_video_id: int,
        Players: Sequence[MMGCPlayer],  # noqa: N803, official name
        first_step: bool = False,
    ) -> Action:
        """Decide; see `Algorithm.run`."""
        if first_step:
            return 0, 0, 0.0
        for seq, player in enumerate(Players):
            if player.get_remain_video_num() == 0 or (seq > 0 and not self._is_likely(player)):
                continue
            buffer_ms = player.get_buffer_size()
            rung = 2 if buffer_ms > RUNG_2_ABOVE_MS else 1 if buffer_ms > RUNG_1_ABOVE_MS else 0
            return play_video_id + seq, rung, 0.0
        return play_video_id, 0, SLEEP_MS

    @staticmethod
    def _is_likely(player: MMGCPlayer) -> bool:
        """Whether a viewer at the play position is likely enough to reach the next chunk to preload."""
        chunk = player.get_chunk_counter()
        if chunk >= MAX_PRELOADED_CHUNKS:
            return False
        _, shares = player.get_user_model()
        return float(shares[chunk]) / float(shares[int(player.get_play_chunk())]) > MIN_CONDITIONAL_RETENTION


class NoSave:
    """No-Save: the current video first, then 800 kB more of each video after it in turn, rungs by RobustMPC."""

    def __init__(self) -> None:
        """Start without history."""
        self.Initialize()

    def Initialize(self) -> None:  # noqa: N802, official name
        """Forget the samples of the session before."""
        self._slept = False
        self._samples: deque[float] = deque(maxlen=SAMPLES)  # Mbyte/s, of all videos
        self._errors: deque[float] = deque(maxlen=SAMPLES)  # relative
        self._estimate: float | None = None  # Mbyte/s, of the decision before

    def run(
        self,
        delay: float,
        rebuf: float,
        video_size: float,
        end_of_video: bool,
        play_video_id: int,
        Players: Sequence[MMGCPlayer],  # noqa: N803, official name
        first_step: bool = False,
    ) -> Action:
        """Decide; see `Algorithm.run`."""
        if first_step:
            return 0, 2, 0.0
        if not self._slept:
            self._samples.append(video_size / 1e6 / (delay / 1000.0))
        seq = self._target(Players)
        self._slept = seq is None
        if seq is None:
            return play_video_id, 0, SLEEP_MS
        return play_video_id + seq, self._rung(Players[seq]), 0.0

    @staticmethod
    def _target(players: Sequence[MMGCPlayer]) -> int | None:
        """Place in the window of the video to download from, None where all are full."""
        if players[0].get_remain_video_num() > 0:
            return 0
        unfinished = [seq for seq in range(1, len(players)) if players[seq].get_remain_video_num() > 0]
        # The smallest m with a video below 800 kB x m is the one that the video with the fewest full rounds asks for.
        return min(unfinished, key=lambda seq: players[seq].get_preload_size() // PRELOAD_BYTES, default=None)

    def _rung(self, player: MMGCPlayer) -> int:
        sizes = np.array(player.get_undownloaded_video_size(min(HORIZON, player.get_remain_video_num())))
        downloaded = player.get_downloaded_bitrate()
        last_rung = downloaded[-1] if downloaded else 0
        return search_rung(sizes, self._bandwidth(), float(player.get_buffer_size()), last_rung)

    def _bandwidth(self) -> float:
        """RobustMPC's estimate in Mbyte/s: the harmonic mean of the samples, lowered by the largest recent error."""
        sample = self._samples[-1]
        mean = 1.0 / (sum([1.0 / sample for sample in self._samples]) / len(self._samples))
        # Quirk: the estimator runs twice on one sample, so that its second error is that of the mean just made.
        for estimate in (self._estimate, mean):
            self._errors.append(0.0 if estimate is None else abs(estimate - sample) / sample)
        self._estimate = mean
        return mean / (1.0 + max(self._errors))


@njit
def search_rung(sizes_bytes: F8, bandwidth: float, buffer_ms: float, last_rung: int) -> int:
    """First rung of the best sequence of rungs, as No-Save searches it.

    Args:
        sizes_bytes: float64 [R, H], sizes of the next H chunks.
        bandwidth: Estimate in Mbyte/s.
        buffer_ms: Milliseconds buffered.
        last_rung: Rung of the video's previous chunk.

    Returns:
        The rung of the next chunk.
    """
    rungs, horizon = sizes_bytes.shape
    download_ms = 1000.0 * (sizes_bytes / 1e6) / bandwidth
    best_reward = -np.inf
    best_rung = 0
    for sequence in range(rungs**horizon):  # its digits are the rungs; the last one changes fastest
        level_ms, stall_ms, rate_kbps, switch_kbps = buffer_ms, 0.0, 0, 0
        for chunk in range(horizon):
            rung = sequence // rungs ** (horizon - 1 - chunk) % rungs
            surplus_ms = level_ms - download_ms[rung, chunk]
            stall_ms += max(-surplus_ms, 0.0)
            level_ms = max(surplus_ms, 0.0) + SEARCH_CHUNK_MS
            rate_kbps += SEARCH_RATES_KBPS[rung]
            switch_kbps += abs(SEARCH_RATES_KBPS[rung] - SEARCH_RATES_KBPS[last_rung])
            # Quirk: never reset, so that each sequence but the first is charged a switch from the one tried before it.
            last_rung = rung
        reward = rate_kbps / 1000.0 - STALL_WEIGHT * stall_ms / 1000.0 - switch_kbps / 1000.0
        if reward >= best_reward:  # the last of equals wins
            best_reward = reward
            best_rung = sequence // rungs ** (horizon - 1)
    return best_rung


OFFICIAL_POLICIES: dict[str, AlgorithmFactory] = {"fixed_preload": FixedPreload, "no_save": NoSave}
