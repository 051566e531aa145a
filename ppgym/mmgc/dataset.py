"""The challenge's data, and the viewers drawn from it.

`ppgym.world.readers.mmgc2022` reads the files. This module refuses what the official simulator cannot run.
"""

import math
import operator
import os
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8, I8
from ppgym.files import suggest
from ppgym.mmgc.kernel import RUNGS, VIDEOS
from ppgym.world.readers.mmgc2022 import folder_entries, read_chunk_bytes, read_retention, read_trace, trace_files

Seeds = Iterable[Sequence[int]]
"""Seven pairs (a, b), one per video: a draws the second in which the viewer leaves, b the millisecond within it."""

VIEWER_SEED_LIMIT = 10_000  # exclusive, as in the official runner


def viewer_seeds(seed: int | np.random.Generator) -> list[list[int]]:
    """Seeds of one viewer draw.

    Args:
        seed: Any whole number of at least 0, or the source of randomness itself.

    Returns:
        Seven pairs, for `MMGCSession`.
    """
    pairs: list[list[int]] = np.random.default_rng(seed).integers(VIEWER_SEED_LIMIT, size=(VIDEOS, 2)).tolist()
    return pairs


def check_seeds(seeds: Seeds) -> list[tuple[int, int]]:
    """Seeds of a viewer draw as plain numbers.

    Args:
        seeds: Seven pairs (a, b); a within [0, 2**32).

    Returns:
        The pairs.

    Raises:
        ValueError: Not seven pairs of whole numbers, or an a out of range.
    """
    try:
        pairs = [(operator.index(a), operator.index(b)) for a, b in seeds]
    except (TypeError, ValueError) as error:
        raise ValueError(f"seeds: expected {VIDEOS} pairs of whole numbers, got {seeds!r}") from error
    if len(pairs) != VIDEOS:
        raise ValueError(f"seeds: expected {VIDEOS} pairs, one per video, got {len(pairs)}")
    for video, (a, _) in enumerate(pairs):
        if not 0 <= a < 2**32:
            raise ValueError(f"seeds: video {video}: expected a first seed from 0 to 2**32 - 1, got {a}")
    return pairs


class MMGCTrace(NamedTuple):
    """One network trace.

    Attributes:
        stamps_s: float64 [T], seconds, never falling. Row t's rate holds *until* its stamp.
        rates_mbps: float64 [T], Mbit/s. The first row's is never used.
    """

    stamps_s: F8
    rates_mbps: F8


class MMGCRetention(NamedTuple):
    """One video's retention curve.

    Attributes:
        times_ms: Milliseconds, rising.
        shares: Share of viewers who watch at least that long, as the file spells it, for policies are given the text.
        leave_cdf: Probability that the viewer has left by each time but the first.
    """

    times_ms: tuple[float, ...]
    shares: tuple[str, ...]
    leave_cdf: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class MMGCDataset:
    """Videos, retention curves and network traces of the MMGC 2022 challenge.

    Attributes:
        root: Folder that was read.
        videos: The seven names, in the order of the feed.
        chunk_bytes: int64 [V, R, C], 0 behind a video's end.
        chunk_counts: int64 [V].
        retention: One curve per video.
        traces: Traces per class, in the order of their numbers.
    """

    root: Path
    videos: tuple[str, ...]
    chunk_bytes: I8
    chunk_counts: I8
    retention: tuple[MMGCRetention, ...]
    traces: Mapping[str, tuple[MMGCTrace, ...]]

    def chunk_sizes(self) -> list[list[list[float]]]:
        """Bytes per video, rung and chunk as policies are given them: lists of floats, of each video's own length."""
        counts = self.chunk_counts.tolist()
        sizes: list[list[list[float]]] = self.chunk_bytes.astype(np.float64).tolist()
        return [[row[:count] for row in rungs] for rungs, count in zip(sizes, counts, strict=True)]

    @classmethod
    def load(cls, root: str | os.PathLike[str]) -> "MMGCDataset":
        """Read a dataset.

        Args:
            root: Folder with `short_video_size`, `user_ret` and `network_traces`, or a checkout of the challenge, which
                has it as `data`.

        Returns:
            The dataset.

        Raises:
            FileNotFoundError: A folder or file is missing.
            ValueError: A file breaks the format; the message names file, line and what was expected.
        """
        root = Path(root)
        if not (root / "short_video_size").is_dir() and (root / "data").is_dir():
            root /= "data"
        videos = tuple(sorted(entry.name for entry in folder_entries(root / "short_video_size") if entry.is_dir()))
        if len(videos) != VIDEOS:
            raise ValueError(
                f"{root / 'short_video_size'}: expected {VIDEOS} video folders, got {len(videos)}: {', '.join(videos)}"
            )
        sizes = [read_chunk_bytes(root / "short_video_size" / video) for video in videos]
        chunk_bytes = np.zeros((VIDEOS, RUNGS, max(size.shape[1] for size in sizes)), dtype=np.int64)
        for video, size in enumerate(sizes):
            chunk_bytes[video, :, : size.shape[1]] = size
        classes = sorted(entry.name for entry in folder_entries(root / "network_traces") if entry.is_dir())
        if not classes:
            raise FileNotFoundError(f"{root / 'network_traces'}: expected one folder per class, got none")
        return cls(
            root=root,
            videos=videos,
            chunk_bytes=chunk_bytes,
            chunk_counts=np.array([size.shape[1] for size in sizes], dtype=np.int64),
            retention=tuple(_read_retention(root / "user_ret" / video) for video in videos),
            traces={
                name: tuple(MMGCTrace(*read_trace(file)) for file in trace_files(root / "network_traces" / name))
                for name in classes
            },
        )

    def trace(self, trace_class: str, trace_index: int) -> MMGCTrace:
        """One trace.

        Args:
            trace_class: Class, such as `"low"`.
            trace_index: Place in the class, from 0.

        Returns:
            The trace.

        Raises:
            ValueError: No such class or trace.
        """
        if trace_class not in self.traces:
            raise ValueError(f"{self.root}: no trace class {trace_class!r}; {suggest(trace_class, self.traces)}")
        traces = self.traces[trace_class]
        if not 0 <= trace_index < len(traces):
            raise ValueError(
                f"{self.root}: class {trace_class!r} has the traces 0 to {len(traces) - 1}, got {trace_index}"
            )
        return traces[trace_index]

    def draw_watch_ms(self, seeds: Seeds) -> F8:
        """Draw how long the viewer watches each video.

        Equal, draw for draw, to `RandomState(a).choice(times_ms[:-1], p=...)` followed by
        `random.Random(b).uniform(...)`, which is how the official simulator draws.

        Args:
            seeds: See `check_seeds`.

        Returns:
            float64 [V], whole milliseconds where the curve's times are.
        """
        pairs = check_seeds(seeds)
        # One uniform and a bisection are all that `choice` does; reseeding costs much less than a new generator.
        legacy, standard = np.random.RandomState(0), random.Random()
        watch_ms = np.empty(VIDEOS)
        for video, ((a, b), curve) in enumerate(zip(pairs, self.retention, strict=True)):
            legacy.seed(a)
            second = bisect_right(curve.leave_cdf, legacy.random_sample())
            start_ms = curve.times_ms[second]
            # Quirk: the last time but one stands for "watched to the end" and is not spread over its second.
            if second < len(curve.leave_cdf) - 1:
                standard.seed(b)
                start_ms = int(standard.uniform(start_ms, start_ms + 1000))
            watch_ms[video] = start_ms
        return watch_ms


def _read_retention(path: Path) -> MMGCRetention:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected one retention curve per folder of short_video_size")
    table = read_retention(path)
    if len(table) < 2:
        raise ValueError(f"{path}: expected at least 2 rows, got {len(table)}")
    shares = tuple(row.share for row in table)
    leave = np.diff(1.0 - np.array(shares).astype(np.float64))
    # The tolerance is that of NumPy's `choice`, which the official simulator draws with.
    if abs(math.fsum(leave) - 1.0) > math.sqrt(np.finfo(np.float64).eps):
        raise ValueError(f"{path}: expected a curve that falls from 1 to 0, got one from {shares[0]} to {shares[-1]}")
    cdf = leave.cumsum()
    cdf /= cdf[-1]
    return MMGCRetention(tuple(float(row.second) * 1000.0 for row in table), shares, tuple(cdf.tolist()))
