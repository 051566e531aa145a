"""Videos: how many bytes each of their chunks has in each representation of a ladder.

A `Catalog` is a set of videos from which feeds are drawn: shipped, generated, or read from the files of the
MMGC 2022 challenge. In which order a feed shows them is drawn in `scenario.py`.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen

from ppgym.core.state import F8, CatalogArrays
from ppgym.files import suggest
from ppgym.world.generators import PUBLIC, digest_of, generate_sizes, stream
from ppgym.world.ladders import PIXEL_BPS, Ladder
from ppgym.world.networks import SPLITS
from ppgym.world.readers.dash import read_dash
from ppgym.world.readers.hls import read_hls
from ppgym.world.readers.mmgc2022 import folder_entries, read_chunk_bytes
from ppgym.world.readers.pensieve_video import is_video_folder, read_video_sizes
from ppgym.world.readers.video_sizes import VideoSizes
from ppgym.world.schemas import JsonFile, Positive, Text, checked, shipped_or_path
from ppgym.world.viewers import RetentionCurve

VIDEOS = {"train": 200, "validation": 60, "test": 100}  # of each split

LEAST_CHUNK_S = 1e-3  # a shorter rest of a video belongs to the chunk before it
MAX_CHUNKS = 2**15 - 1  # of a video: a State counts chunks in 16 bits
MAX_CELLS = 2**24  # of an array of a catalog, whose rows are as long as the longest video


@dataclass(frozen=True, eq=False)
class Video:
    """A video's chunks in pixels, at the bitrates at which their sizes are known.

    Attributes:
        name: Label.
        chunk_bytes: float64 [C, P], bytes above 0 of each chunk at each bitrate; copied and read-only.
        chunk_s: Content seconds of these chunks; the last one may be shorter.
        duration_s: Content seconds; NaN: all chunks are whole.
        bitrates_bps: [P] rising labels of the columns.

    Raises:
        ValueError: The array breaks a rule above, or does not fit the duration or the bitrates.
    """

    name: str
    chunk_bytes: F8
    chunk_s: float = 1.0
    duration_s: float = math.nan
    bitrates_bps: tuple[float, ...] = PIXEL_BPS

    def __post_init__(self) -> None:
        """Copy, freeze and check the array."""
        chunk_bytes = np.array(self.chunk_bytes, dtype=np.float64)
        where = f"video {self.name!r}"
        if chunk_bytes.ndim != 2 or chunk_bytes.shape[0] == 0 or chunk_bytes.shape[1] != len(self.bitrates_bps):
            raise ValueError(f"{where}: expected sizes of shape [C, {len(self.bitrates_bps)}], got {chunk_bytes.shape}")
        if not np.isfinite(chunk_bytes).all() or (chunk_bytes <= 0).any():
            raise ValueError(f"{where}: expected finite chunk sizes above 0 bytes")
        if len(self.bitrates_bps) == 0 or (np.diff(self.bitrates_bps) <= 0).any() or self.bitrates_bps[0] <= 0:
            raise ValueError(f"{where}: expected bitrates above 0 that rise, got {self.bitrates_bps}")
        whole_s = len(chunk_bytes) * self.chunk_s
        duration_s = whole_s if math.isnan(self.duration_s) else self.duration_s
        if not whole_s - self.chunk_s < duration_s <= whole_s:
            raise ValueError(
                f"{where}: expected a duration of {len(chunk_bytes)} chunks of {self.chunk_s:g} s, the last perhaps "
                f"short, got {duration_s:g} s"
            )
        chunk_bytes.flags.writeable = False
        object.__setattr__(self, "chunk_bytes", chunk_bytes)
        object.__setattr__(self, "duration_s", duration_s)


def count_chunks(duration_s: float, chunk_s: float) -> int:
    """Chunks of a video.

    Args:
        duration_s: Content seconds.
        chunk_s: Of a chunk.

    Returns:
        At least 1; a rest below `LEAST_CHUNK_S` makes none.
    """
    return max(int(np.ceil((duration_s - LEAST_CHUNK_S) / chunk_s)), 1)


def cut(video: Video, chunk_s: float) -> F8:
    """A video's sizes in chunks of another length: within a chunk its bytes are spread evenly over its seconds.

    Args:
        video: The video.
        chunk_s: Content seconds of a chunk.

    Returns:
        float64 [chunks, P].
    """
    if chunk_s == video.chunk_s:
        return video.chunk_bytes
    known_s = np.minimum(np.arange(len(video.chunk_bytes) + 1) * video.chunk_s, video.duration_s)
    edges_s = np.append(np.arange(count_chunks(video.duration_s, chunk_s)) * chunk_s, video.duration_s)
    total = np.vstack([np.zeros(video.chunk_bytes.shape[1]), np.cumsum(video.chunk_bytes, axis=0)])
    return np.stack([np.diff(np.interp(edges_s, known_s, column)) for column in total.T], axis=1)


def sizes_at(chunk_bytes: F8, known_bps: Sequence[float], bps: float) -> F8:
    """Sizes at another bitrate: their logarithms are linear in its logarithm, beyond the known ones in proportion.

    Args:
        chunk_bytes: float64 [C, P] at the known bitrates.
        known_bps: [P], rising.
        bps: The bitrate.

    Returns:
        float64 [C]; at a known bitrate its column, and more at every higher bitrate where the columns rise.
    """
    known = np.asarray(known_bps)
    place = int(np.searchsorted(known, bps))
    nearest = min(place, len(known) - 1)
    sizes: F8 = chunk_bytes[:, nearest] * (bps / known[nearest])
    if 0 < place < len(known) and bps < known[place]:
        share = np.log(bps / known[place - 1]) / np.log(known[place] / known[place - 1])
        sizes = chunk_bytes[:, place - 1] * (chunk_bytes[:, place] / chunk_bytes[:, place - 1]) ** share
    return sizes


@dataclass(frozen=True, eq=False)
class Catalog:
    """Videos in the representations of a ladder.

    Attributes:
        videos: At least one.
        ladder: The ladder.

    Raises:
        ValueError: No video, or one of more chunks than `MAX_CHUNKS`.
    """

    videos: tuple[Video, ...]
    ladder: Ladder

    def __post_init__(self) -> None:
        """Check the counts."""
        if not self.videos:
            raise ValueError("catalog: expected at least one video")
        for video in self.videos:
            chunks = count_chunks(video.duration_s, self.ladder.chunk_s)
            if chunks > MAX_CHUNKS:
                raise ValueError(
                    f"video {video.name!r}: expected at most {MAX_CHUNKS} chunks, got {chunks} of "
                    f"{self.ladder.chunk_s:g} s"
                )

    @property
    def durations_s(self) -> tuple[float, ...]:
        """Content seconds of each video."""
        return tuple(video.duration_s for video in self.videos)

    def arrays(self, curves: Sequence[RetentionCurve], audio_bps: float = 0.0) -> CatalogArrays:
        """The kernel's form of the catalog.

        Args:
            curves: One retention curve for each video, of its duration.
            audio_bps: Bits per second of sound, which every representation brings along.

        Returns:
            New arrays, zero past a video's end; C is the largest chunk count. Quality is the same for every chunk of a
            representation, since encoders spread bytes unevenly to keep it constant. The arrays are writeable: Numba
            would compile the kernel again for read-only ones.

        Raises:
            ValueError: Another number of curves, or a curve of another duration.
        """
        if len(curves) != len(self.videos):
            raise ValueError(f"expected a retention curve for each of {len(self.videos)} videos, got {len(curves)}")
        chunk_s, rows = self.ladder.chunk_s, self.ladder.representations
        counts = [count_chunks(seconds, chunk_s) for seconds in self.durations_s]
        shape = (len(self.videos), max(counts), len(rows))
        seconds = max(len(curve.survival) for curve in curves)
        if shape[0] * max(shape[1] * shape[2], seconds) > MAX_CELLS:
            raise ValueError(
                f"videos: expected at most {MAX_CELLS:,} numbers, got {shape[0]:,} videos of up to {shape[1]:,} chunks "
                f"in {shape[2]} representations, or {seconds:,} s; leave the longest videos out"
            )
        chunk_bytes, quality = np.zeros(shape), np.zeros(shape)
        retention = np.zeros((shape[0], seconds))
        for k, (video, curve, chunks) in enumerate(zip(self.videos, curves, counts, strict=True)):
            if abs(curve.duration_s - video.duration_s) > LEAST_CHUNK_S:
                raise ValueError(
                    f"video {video.name!r}: expected a retention curve of {video.duration_s:g} s, "
                    f"got {curve.duration_s:g} s"
                )
            pixels = cut(video, chunk_s)
            content_s = np.diff(np.append(np.arange(chunks) * chunk_s, video.duration_s))
            for r, row in enumerate(rows):
                if row.is_generative:
                    sizes = row.bitrate_bps * content_s / 8
                else:
                    sizes = sizes_at(pixels, video.bitrates_bps, row.bitrate_bps)
                chunk_bytes[k, :chunks, r] = sizes + audio_bps * content_s / 8
                quality[k, :chunks, r] = row.quality
            retention[k, : len(curve.survival)] = curve.survival
        return CatalogArrays(
            n_chunks=np.array(counts, dtype=np.int32),
            duration_s=np.minimum(self.durations_s, np.array(counts) * chunk_s),
            chunk_bytes=chunk_bytes,
            quality=quality,
            memory_bytes_per_s=np.array([row.memory_bytes_per_s for row in rows]),
            retention=retention,
        )


def read_mmgc(
    sizes_dir: str | Path, curves_dir: str | Path | None = None
) -> tuple[tuple[Video, ...], tuple[RetentionCurve, ...]]:
    """Read videos and viewers in the layout of the MMGC 2022 challenge.

    Args:
        sizes_dir: Folder with `NAME/video_size_0`, `_1` and `_2` for each video: the bytes of its 1-s chunks at
            750, 1200 and 1850 kbit/s, one whole number a line.
        curves_dir: Folder with a retention table NAME for each video (`RetentionCurve.read`), or None.

    Returns:
        The videos in the order of their names, and their retention curves (none without `curves_dir`).

    Raises:
        FileNotFoundError: A folder, a file of sizes or a curve is missing.
        ValueError: A line that is not a size, unequal chunk counts between files or between sizes and curve, or
            no videos; names file, line, value and what was expected.
    """
    sizes_dir = Path(sizes_dir)
    folders = sorted(entry for entry in folder_entries(sizes_dir) if entry.is_dir())
    if not folders:
        raise ValueError(f"{sizes_dir}: expected a folder for each video, with files video_size_0 and so on")
    videos = tuple(Video(folder.name, read_chunk_bytes(folder).T.astype(np.float64)) for folder in folders)
    if curves_dir is None:
        return videos, ()
    curves = []
    for video in videos:
        path = Path(curves_dir) / video.name
        curve = RetentionCurve.read(path)
        if curve.duration_s != video.duration_s:
            raise ValueError(
                f"{path}: expected a curve of {video.duration_s:g} s, the chunks in {sizes_dir / video.name}, "
                f"got {curve.duration_s:g} s"
            )
        curves.append(curve)
    return videos, tuple(curves)


def generate_videos(split: str, secret: int = PUBLIC) -> tuple[Video, ...]:
    """Draw synthetic videos in the three pixel representations of the default ladder.

    Args:
        split: One of `SPLITS`; splits share no stream of random numbers.
        secret: What they are drawn from; see `ppgym.world.generators`.

    Returns:
        As many as `VIDEOS` says, named `SPLIT-INDEX`, whole bytes, more at every higher bitrate. Video number INDEX is
        `generate_sizes(stream(secret, 1, S, INDEX))`, with the place S of the split in `SPLITS`.

    Raises:
        ValueError: Unknown split or a negative secret.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; {suggest(split, SPLITS)}")
    streams = [stream(secret, 1, SPLITS.index(split), index) for index in range(VIDEOS[split])]
    return tuple(Video(f"{split}-{index}", generate_sizes(rng).astype(np.float64)) for index, rng in enumerate(streams))


def videos_digest(videos: Iterable[Video]) -> str:
    """A digest of videos: that of their sizes in bytes.

    Args:
        videos: Videos of whole bytes, such as generated ones.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: A size that is not whole.
    """
    return digest_of(video.chunk_bytes for video in videos)


def read_videos(path: str | Path) -> tuple[Video, ...]:
    """Videos of a user.

    Args:
        path: A file of ppgym's own format; a DASH manifest `.mpd` or an HLS playlist `.m3u8` that states its segments'
            sizes; a folder `video_size_0` and so on of one video, or a folder of such folders or manifests.

    Returns:
        The videos, in the order of their names.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: Not such a file; names it and what was expected.
    """
    path = Path(path)
    if not path.is_dir():
        reader = {".mpd": read_dash, ".m3u8": read_hls}.get(path.suffix)
        return load_videos(path) if reader is None else (_known(reader(path)),)
    if is_video_folder(path):
        return (_known(read_video_sizes(path)),)
    inside = sorted(one for one in path.iterdir() if one.suffix in (".mpd", ".m3u8") or one.is_dir())
    if not inside:
        raise ValueError(f"{path}: expected folders with files video_size_0 and so on, or manifests .mpd or .m3u8")
    return tuple(video for one in inside for video in read_videos(one))


def _known(sizes: VideoSizes) -> Video:
    duration_s = min(sizes.duration_s, len(sizes.chunk_bytes) * sizes.chunk_s)
    return Video(sizes.name, sizes.chunk_bytes, sizes.chunk_s, duration_s, sizes.bitrates_bps)


Sizes = Annotated[tuple[Positive, ...], MinLen(1)]


@checked
class CatalogFile(JsonFile):
    """A file of videos.

    Attributes:
        provenance: Where the sizes come from.
        chunk_s: Content seconds of a chunk.
        bitrates_bps: Of pixels, rising; at these the sizes are known.
        videos: For each name a list of bytes per bitrate, a number for each chunk.
        durations_s: Content seconds of videos whose last chunk is shorter.
    """

    SCHEMA: ClassVar[str] = "ppgym-catalog/2"

    provenance: Text
    chunk_s: Annotated[float, Ge(0.5), Le(10)]
    bitrates_bps: Annotated[tuple[Positive, ...], MinLen(1), MaxLen(64)]
    videos: Annotated[dict[str, tuple[Sizes, ...]], MinLen(1)]
    durations_s: dict[str, Positive] | None = None

    def __post_init__(self) -> None:
        """Check that the lists of a video are equally long, and as many as bitrates."""
        for name, columns in self.videos.items():
            if len(columns) != len(self.bitrates_bps):
                raise ValueError(
                    f"videos.{name}: expected {len(self.bitrates_bps)} lists, one for each bitrate, got {len(columns)}"
                )
            lengths = [len(sizes) for sizes in columns]
            if len(set(lengths)) > 1:
                raise ValueError(
                    f"videos.{name}: expected as many chunks in every list, got {', '.join(map(str, lengths))}"
                )
        for name in self.durations_s or {}:
            if name not in self.videos:
                raise ValueError(f"durations_s.{name}: expected a video; {suggest(name, self.videos)}")


@functools.lru_cache(maxsize=16)
def load_videos(split_or_path: str | Path, secret: int = PUBLIC) -> tuple[Video, ...]:
    """Generated videos, or those of a file (format: traces/videos/README.md); results are cached.

    Args:
        split_or_path: "train", "validation" or "test" (which share no video and no seed), or a JSON file's path.
        secret: What a split's videos are drawn from; the public ones are shipped as files.

    Returns:
        The videos.

    Raises:
        FileNotFoundError: No such split or file.
        ValueError: Not such a file; names file, video and what was expected.
    """
    if secret != PUBLIC and split_or_path in SPLITS:
        return generate_videos(str(split_or_path), secret)
    path = shipped_or_path("videos", split_or_path, SPLITS)
    content = CatalogFile.read(path)
    durations_s = content.durations_s or {}
    try:
        return tuple(
            Video(name, np.array(columns).T, content.chunk_s, durations_s.get(name, math.nan), content.bitrates_bps)
            for name, columns in content.videos.items()
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
