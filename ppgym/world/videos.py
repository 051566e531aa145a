"""Videos: how many bytes each of their chunks has in each representation of a ladder.

A `Catalog` is a set of videos from which feeds are drawn: shipped, generated, or read from the files of the
MMGC 2022 challenge. In which order a feed shows them is drawn in `scenario.py`.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import MinLen

from ppgym.core.state import CHUNK_S, F8, CatalogArrays
from ppgym.files import suggest
from ppgym.world.generators import PUBLIC, digest_of, generate_sizes, stream
from ppgym.world.ladders import PIXEL_BPS, Representation, default_ladder, load_ladder
from ppgym.world.networks import SPLITS
from ppgym.world.readers.mmgc2022 import folder_entries, read_chunk_bytes
from ppgym.world.schemas import JsonFile, Positive, Text, checked, shipped_or_path
from ppgym.world.viewers import RetentionCurve

VIDEOS = {"train": 200, "validation": 60, "test": 100}  # of each split


@dataclass(frozen=True, eq=False)
class Video:
    """A video's chunks of 1 s in pixels; the sizes of prompts follow from their rank.

    Attributes:
        name: Label.
        chunk_bytes: float64 [C, P], bytes above 0 of each chunk in the P pixel representations of the catalog, in
            their order; copied and read-only.

    Raises:
        ValueError: The array breaks a rule above.
    """

    name: str
    chunk_bytes: F8

    def __post_init__(self) -> None:
        """Copy, freeze and check the array."""
        chunk_bytes = np.array(self.chunk_bytes, dtype=np.float64)
        if chunk_bytes.ndim != 2 or 0 in chunk_bytes.shape:
            raise ValueError(f"video {self.name!r}: expected sizes of shape [C, P], got {chunk_bytes.shape}")
        if not np.isfinite(chunk_bytes).all() or (chunk_bytes <= 0).any():
            raise ValueError(f"video {self.name!r}: expected finite chunk sizes above 0 bytes")
        chunk_bytes.flags.writeable = False
        object.__setattr__(self, "chunk_bytes", chunk_bytes)

    @property
    def n_chunks(self) -> int:
        """Chunks, which is the duration in seconds."""
        return len(self.chunk_bytes)


@dataclass(frozen=True, eq=False)
class Catalog:
    """Videos that all exist in the same representations.

    Attributes:
        videos: At least one.
        representations: At least one; names are unique.

    Raises:
        ValueError: Empty, a name twice, or a video with another number of pixel representations.
    """

    videos: tuple[Video, ...]
    representations: tuple[Representation, ...]

    def __post_init__(self) -> None:
        """Check that videos and representations fit."""
        if not self.videos or not self.representations:
            raise ValueError("catalog: expected at least one video and one representation")
        names = [representation.name for representation in self.representations]
        if len(set(names)) < len(names):
            raise ValueError(f"catalog: expected representations of different names, got {', '.join(names)}")
        pixels = sum(not representation.is_prompt for representation in self.representations)
        for video in self.videos:
            if video.chunk_bytes.shape[1] != pixels:
                raise ValueError(
                    f"video {video.name!r}: expected sizes in {pixels} pixel representations, "
                    f"got {video.chunk_bytes.shape[1]}"
                )

    @property
    def n_chunks(self) -> tuple[int, ...]:
        """Chunks of each video, which are its seconds."""
        return tuple(video.n_chunks for video in self.videos)

    def arrays(self, curves: Sequence[RetentionCurve]) -> CatalogArrays:
        """The kernel's form of the catalog.

        Args:
            curves: One retention curve for each video, of its duration.

        Returns:
            New arrays, zero past a video's end; C is the largest chunk count. Quality is the same for every chunk of a
            representation, since encoders spread bytes unevenly to keep it constant. The arrays are writeable: Numba
            would compile the kernel again for read-only ones.

        Raises:
            ValueError: Another number of curves, or a curve of another duration.
        """
        if len(curves) != len(self.videos):
            raise ValueError(f"expected a retention curve for each of {len(self.videos)} videos, got {len(curves)}")
        shape = (len(self.videos), max(self.n_chunks), len(self.representations))
        chunk_bytes, quality = np.zeros(shape), np.zeros(shape)
        retention = np.zeros((shape[0], shape[1] + 1))
        is_prompt = np.array([r.is_prompt for r in self.representations])
        for k, (video, curve) in enumerate(zip(self.videos, curves, strict=True)):
            chunks = video.n_chunks
            if curve.duration_s != chunks:
                raise ValueError(
                    f"video {video.name!r}: expected a retention curve of {chunks} s, one a chunk, "
                    f"got {curve.duration_s} s"
                )
            chunk_bytes[k, :chunks, ~is_prompt] = video.chunk_bytes.T
            chunk_bytes[k, :chunks, is_prompt] = [
                [r.bitrate_bps * CHUNK_S / 8] for r in self.representations if r.is_prompt
            ]
            quality[k, :chunks] = [r.quality for r in self.representations]
            retention[k, : chunks + 1] = curve.survival
        return CatalogArrays(
            n_chunks=np.array(self.n_chunks, dtype=np.int32),
            chunk_bytes=chunk_bytes,
            quality=quality,
            memory_bytes=np.array([r.memory_bytes for r in self.representations]),
            retention=retention,
        )

    @classmethod
    def read_mmgc(
        cls,
        sizes_dir: str | Path,
        curves_dir: str | Path | None = None,
        prompt_quality_scale: float = 1.0,
        ladder: str | None = None,
    ) -> tuple["Catalog", tuple[RetentionCurve, ...]]:
        """Read the layout of the MMGC 2022 challenge and add the prompts of the default ladder.

        Args:
            sizes_dir: Folder with `NAME/video_size_0`, `_1` and `_2` for each video: the bytes of its 1-s chunks at
                750, 1200 and 1850 kbit/s, one whole number a line.
            curves_dir: Folder with a retention table NAME for each video (`RetentionCurve.read`), or None.
            prompt_quality_scale: As in `default_ladder`.
            ladder: As in `load_catalog`.

        Returns:
            The catalog, its videos in the order of their names, and their retention curves (none without
            `curves_dir`).

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
        catalog = on_ladder(videos, prompt_quality_scale, ladder)
        if curves_dir is None:
            return catalog, ()
        curves = []
        for video in videos:
            path = Path(curves_dir) / video.name
            curve = RetentionCurve.read(path)
            if curve.duration_s != video.n_chunks:
                raise ValueError(
                    f"{path}: expected a curve of {video.n_chunks} s, the chunks in {sizes_dir / video.name}, "
                    f"got {curve.duration_s} s"
                )
            curves.append(curve)
        return catalog, tuple(curves)


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


Sizes = Annotated[tuple[Positive, ...], MinLen(1)]


@checked
class CatalogFile(JsonFile):
    """A file of videos.

    Attributes:
        provenance: Where the sizes come from.
        representations: The pixel representations of the default ladder.
        videos: For each name a list of bytes per representation, a number for each chunk of 1 s.
    """

    SCHEMA: ClassVar[str] = "ppgym-catalog/1"

    provenance: Text
    representations: tuple[Literal["h264-750k"], Literal["h264-1200k"], Literal["h264-1850k"]]
    videos: Annotated[dict[str, tuple[Sizes, Sizes, Sizes]], MinLen(1)]

    def __post_init__(self) -> None:
        """Check that the lists of a video are equally long."""
        for name, rungs in self.videos.items():
            lengths = [len(sizes) for sizes in rungs]
            if len(set(lengths)) > 1:
                raise ValueError(
                    f"videos.{name}: expected as many chunks in every list, got {', '.join(map(str, lengths))}"
                )


@functools.lru_cache(maxsize=16)
def load_catalog(
    split_or_path: str | Path, prompt_quality_scale: float = 1.0, ladder: str | None = None, secret: int = PUBLIC
) -> Catalog:
    """A generated catalog, or one from a file (format: traces/videos/README.md); results are cached.

    Args:
        split_or_path: "train", "validation" or "test" (which share no video and no seed), or a JSON file's path.
        prompt_quality_scale: As in `default_ladder`.
        ladder: File of a measured ladder (`load_ladder`) in place of the default one. Pixel sizes are scaled by the
            ratio of its bitrates to those of the default ladder.
        secret: What a split's videos are drawn from; the public ones are shipped as files.

    Returns:
        The catalog in the representations of the ladder.

    Raises:
        FileNotFoundError: No such split or file.
        ValueError: Not such a file; names file, video and what was expected.
    """
    if secret != PUBLIC and split_or_path in SPLITS:
        videos = generate_videos(str(split_or_path), secret)
    else:
        content = CatalogFile.read(shipped_or_path("videos", split_or_path, SPLITS))
        videos = tuple(Video(name, np.array(rungs).T) for name, rungs in content.videos.items())
    return on_ladder(videos, prompt_quality_scale, ladder)


def on_ladder(videos: tuple[Video, ...], prompt_quality_scale: float, ladder: str | None) -> Catalog:
    """A catalog of videos whose sizes are those of the default ladder's pixels.

    Args:
        videos: The videos.
        prompt_quality_scale: As in `default_ladder`.
        ladder: As in `load_catalog`.

    Returns:
        The catalog in the representations of the ladder.

    Raises:
        ValueError: A measured ladder and another scale than 1.
    """
    if ladder is None:
        return Catalog(videos, default_ladder(prompt_quality_scale))
    if prompt_quality_scale != 1.0:
        raise ValueError(
            f"prompt_quality_scale: expected 1 with the measured ladder {ladder!r}, for it scales an assumption, "
            f"got {prompt_quality_scale:g}"
        )
    representations = load_ladder(ladder)
    scale = np.array([rung.bitrate_bps for rung in representations if not rung.is_prompt]) / np.array(PIXEL_BPS)
    return Catalog(tuple(Video(video.name, video.chunk_bytes * scale) for video in videos), representations)
