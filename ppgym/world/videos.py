"""The catalog: in which representations a video exists, how many bytes each of its chunks has, what it is worth.

Also the reader of measured ladders (written by `python -m ppgym.codec ladder`), the seeded generator of synthetic
feeds and the reader of the MMGC 2022 sizes. What decoding costs on a device is `devices.py`; which video follows which
is drawn in `scenario.py`.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.state import CHUNK_S, CatalogArrays
from ppgym.files import check_keys, check_number, check_text, data_root, read_json, suggest
from ppgym.world.networks import SPLITS
from ppgym.world.readers.mmgc2022 import folder_entries, read_chunk_bytes
from ppgym.world.viewers import RetentionCurve

F8 = npt.NDArray[np.float64]

CODECS = ("h264", "hevc", "av1", "prompt")
SCHEMA = "ppgym-catalog/1"
LADDER_SCHEMA = "ppgym-ladder/1"

PIXEL_BPS = (750e3, 1200e3, 1850e3)  # the H.264 rungs of the MMGC 2022 challenge
PROMPT_RANKS = (4, 8, 16)

# A prompt of rank r is U (77 tokens x r) and V (r x 1024 wide), 8 bits a value (Promptus, arXiv 2405.20032)
PROMPT_BYTES_PER_RANK = 77 + 1024
# Promptus keeps a prompt every 10 frames of 30 and interpolates: 3 a second, and a closing one where a chunk has to
# decode alone
PROMPTS_PER_S = 3
PROMPTS_PER_CHUNK = 4


@dataclass(frozen=True, kw_only=True)
class Representation:
    """One way in which every chunk of a catalog exists.

    Attributes:
        codec: "h264", "hevc", "av1" (pixels), or "prompt" (token embeddings for a diffusion model).
        bitrate_bps: Nominal bits per second of content.
        quality: Mbit/s of H.264 of equal perceptual quality.
        rank: Rank of the prompt; 0 for pixels.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.

    Raises:
        ValueError: Unknown codec or a number out of range.
    """

    codec: str
    bitrate_bps: float
    quality: float
    rank: int = 0
    width: int = 512
    height: int = 512
    fps: float = 30.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.codec not in CODECS:
            raise ValueError(f"unknown codec {self.codec!r}; {suggest(self.codec, CODECS)}")
        for key in ("bitrate_bps", "width", "height", "fps"):
            check_number("representation", key, getattr(self, key), 0.0, above=True)
        check_number("representation", "quality", self.quality, 0.0)
        if (self.rank > 0) != self.is_prompt or self.rank < 0:
            raise ValueError(f"representation: expected a rank above 0 for prompts, 0 for pixels, got {self.rank}")

    @property
    def name(self) -> str:
        """Such as "h264-750k" or "prompt-r8"."""
        return f"prompt-r{self.rank}" if self.is_prompt else f"{self.codec}-{self.bitrate_bps / 1e3:g}k"

    @property
    def is_prompt(self) -> bool:
        """Whether a generative decoder is needed."""
        return self.codec == "prompt"

    @property
    def memory_bytes(self) -> float:
        """A decoded chunk in memory: 8-bit YUV 4:2:0, 1.5 bytes a pixel."""
        return self.width * self.height * 1.5 * self.fps * CHUNK_S


def default_ladder(prompt_quality_scale: float = 1.0) -> tuple[Representation, ...]:
    """H.264 at 750, 1200 and 1850 kbit/s, then prompts of rank 4, 8 and 16.

    The quality of a pixel rung is its bitrate in Mbit/s, as in the MMGC 2022 challenge. A prompt of rank r has
    4 x 1101 r bytes a chunk. Its quality is an *assumption*: chained Promptus spends 3 x 1101 r x 8 bit/s, and Promptus
    reports equal perceptual quality at less than a fourth of H.265's bandwidth (arXiv 2405.20032), which we
    take as 4 x, times 1.5 from HEVC to H.264, capped at the top pixel rung, beyond which nothing was compared:

        quality = prompt_quality_scale * min(4 * 1.5 * 26424 r / 1e6, 1.85)

    that is 0.63, 1.27 and 1.85. That a chunk which decodes alone (four prompts instead of three) is as good as a
    chained one is part of the assumption. The scale multiplies the capped value, so below 1 it always lowers the
    quality of every rank, and above 1 it may exceed the top rung: it is the user's knob on the whole assumption.

    Args:
        prompt_quality_scale: At least 0.

    Returns:
        Six representations, pixels first.

    Raises:
        ValueError: A scale that is negative or not finite.
    """
    check_number("ladder", "prompt_quality_scale", prompt_quality_scale, 0.0)
    pixels = [Representation(codec="h264", bitrate_bps=bps, quality=bps / 1e6) for bps in PIXEL_BPS]
    prompts = []
    for rank in PROMPT_RANKS:
        chained_bps = PROMPTS_PER_S * PROMPT_BYTES_PER_RANK * rank * 8
        prompts.append(
            Representation(
                codec="prompt",
                bitrate_bps=PROMPTS_PER_CHUNK * PROMPT_BYTES_PER_RANK * rank * 8 / CHUNK_S,
                quality=prompt_quality_scale * min(4 * 1.5 * chained_bps / 1e6, pixels[-1].quality),
                rank=rank,
            )
        )
    return (*pixels, *prompts)


LADDER_KEYS = ("provenance", "clip", "generator", "representations", "h264_curve")
RUNG_KEYS = (
    *("codec", "rank", "width", "height", "fps", "bitrate_bps", "chunk_bytes", "psnr_db", "ssim", "lpips"),
    *("encode_s", "decode_s", "h264_equivalent_bps", "flag"),
)


def ladder_names() -> tuple[str, ...]:
    """The measured ladders that are shipped."""
    return tuple(sorted(path.stem for path in (data_root() / "ladders").glob("*.json")))


def load_ladder(name_or_path: str | Path) -> tuple[Representation, ...]:
    """A measured ladder, in place of the published one (`default_ladder`).

    A representation's quality is the rate at which H.264 reaches its SSIM on the measured clip.

    Args:
        name_or_path: One of `ladder_names`, or the path of a table that `python -m ppgym.codec ladder` wrote.

    Returns:
        Its representations: three of pixels by ascending bitrate, then prompts of rank 4, 8 and 16, as in the default
        ladder, so that the option table and the observation keep their shape.

    Raises:
        FileNotFoundError: No such name or file.
        ValueError: Not such a table; names file, row, value and what was expected.
    """
    shipped = name_or_path in ladder_names()
    path = data_root() / "ladders" / f"{name_or_path}.json" if shipped else Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no ladder and no file {str(name_or_path)!r}; {suggest(str(name_or_path), ladder_names())}"
        )
    content = read_json(path)
    check_keys(str(path), content, LADDER_KEYS, LADDER_SCHEMA)
    check_text(str(path), "provenance", content["provenance"])
    rows = content["representations"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: key 'representations': expected a list of objects")
    ladder = tuple(_parse_rung(f"{path}, representation {index}", row) for index, row in enumerate(rows))
    pixels = [rung.bitrate_bps for rung in ladder if not rung.is_prompt]
    ranks = tuple(rung.rank for rung in ladder)
    if ranks != (0,) * len(PIXEL_BPS) + PROMPT_RANKS or pixels != sorted(pixels):
        raise ValueError(
            f"{path}: expected {len(PIXEL_BPS)} pixel representations by ascending bitrate and then prompts of rank "
            f"{', '.join(map(str, PROMPT_RANKS))}, got {', '.join(rung.name for rung in ladder)}"
        )
    return ladder


def _parse_rung(where: str, row: dict[str, Any]) -> Representation:
    check_keys(where, row, RUNG_KEYS)
    for key in ("rank", "width", "height"):
        if not isinstance(row[key], int) or isinstance(row[key], bool):
            raise ValueError(f"{where}: key {key!r}: expected a whole number, got {row[key]!r}")
    equivalent_bps = check_number(where, "h264_equivalent_bps", row["h264_equivalent_bps"], 0.0)
    fields = {key: row[key] for key in ("codec", "bitrate_bps", "rank", "width", "height", "fps")}
    try:
        return Representation(**fields, quality=equivalent_bps / 1e6)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


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
            Read-only arrays, zero past a video's end; C is the largest chunk count. Quality is the same
            for every chunk of a representation, for encoders spread bytes unevenly to keep it constant.

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
        arrays = CatalogArrays(
            n_chunks=np.array(self.n_chunks, dtype=np.int32),
            chunk_bytes=chunk_bytes,
            quality=quality,
            memory_bytes=np.array([r.memory_bytes for r in self.representations]),
            retention=retention,
        )
        for array in arrays:
            array.flags.writeable = False
        return arrays

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
            FileNotFoundError: A folder, a rung's file or a curve is missing.
            ValueError: A line that is not a size, unequal chunk counts between rungs or between sizes and curve, or
                no videos; names file, line, value and what was expected.
        """
        sizes_dir = Path(sizes_dir)
        folders = sorted(entry for entry in folder_entries(sizes_dir) if entry.is_dir())
        if not folders:
            raise ValueError(f"{sizes_dir}: expected a folder for each video, with files video_size_0 and so on")
        videos = tuple(Video(folder.name, read_chunk_bytes(folder).T.astype(np.float64)) for folder in folders)
        catalog = _on_ladder(videos, prompt_quality_scale, ladder)
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


# Durations: a log-normal law of two halves with TikTok's median and 10th and 90th percentile
DURATION_S = (7.6, 14.9, 23.8)
DURATION_BOUNDS_S = (3, 60)
_DECILE_Z = 1.2815515655446004  # 90th percentile of the standard normal law

# Sizes, as spreads of logarithms. TikTok's videos differ by p90 / median = 1.8 to 2.2 at one nominal rung (Dashlet's
# data), 0.5 gives 1.9. Within a video MMGC 2022 sizes vary by 0.1 to 0.8 of their mean, rungs nearly in step.
_VIDEO_SIGMA = 0.5
_SCENE_SIGMA = (0.1, 0.5)  # drawn per video
_SCENE_MEMORY = 0.6  # correlation of one second's complexity with the next one's
_RUNG_SIGMA = 0.04


def generate_feed_videos(seed: int, count: int) -> tuple[Video, ...]:
    """Draw synthetic videos in the three pixel rungs of the default ladder.

    Durations have TikTok's 10th, 50th and 90th percentile (7.6, 14.9, 23.8 s; Dashlet's data of January 2022),
    rounded to whole seconds within 3 to 60. A chunk's bytes are the rung's, times a factor of the video, times one of
    the scene (first-order autoregressive, shared by the rungs), times a little of its own; factors are log-normal of
    mean 1, so a rung's mean over many videos is its nominal bitrate.

    Args:
        seed: At least 0.
        count: Videos.

    Returns:
        Videos named `SEED-INDEX`, whole bytes, larger on every higher rung; equal for equal arguments.

    Raises:
        ValueError: A negative seed or a count below 1.
    """
    if seed < 0 or count < 1:
        raise ValueError(f"expected a seed of at least 0 and a count of at least 1, got {seed} and {count}")
    rng = np.random.default_rng(seed)
    return tuple(_generate_video(f"{seed}-{index}", rng) for index in range(count))


def _generate_video(name: str, rng: np.random.Generator) -> Video:
    low_s, median_s, high_s = DURATION_S
    z = rng.standard_normal()
    decile_s = low_s if z < 0 else high_s
    duration_s = median_s * (decile_s / median_s) ** (abs(z) / _DECILE_Z)
    chunks = round(min(max(duration_s, DURATION_BOUNDS_S[0]), DURATION_BOUNDS_S[1]))

    video_log = _VIDEO_SIGMA * rng.standard_normal() - _VIDEO_SIGMA**2 / 2
    scene_sigma = rng.uniform(*_SCENE_SIGMA)
    noise = rng.standard_normal(chunks)
    scene = noise.copy()
    for c in range(1, chunks):
        scene[c] = _SCENE_MEMORY * scene[c - 1] + math.sqrt(1 - _SCENE_MEMORY**2) * noise[c]
    scene_log = scene_sigma * scene - scene_sigma**2 / 2
    rung_log = _RUNG_SIGMA * rng.standard_normal((chunks, len(PIXEL_BPS))) - _RUNG_SIGMA**2 / 2
    factor = np.exp(video_log + scene_log[:, None] + rung_log)
    return Video(name, np.round(np.array(PIXEL_BPS) * CHUNK_S / 8 * factor))


def load_catalog(split_or_path: str | Path, prompt_quality_scale: float = 1.0, ladder: str | None = None) -> Catalog:
    """A shipped catalog, or one from a file (format: traces/videos/README.md); results are cached.

    Args:
        split_or_path: "train", "validation" or "test" (which share no video and no seed), or a JSON file's path.
        prompt_quality_scale: As in `default_ladder`.
        ladder: A measured ladder (`load_ladder`) in place of the default one: the sizes of pixels are scaled from the
            rungs of the default ladder to its own.

    Returns:
        The catalog in the representations of the ladder.

    Raises:
        FileNotFoundError: No such split or file.
        ValueError: Not such a file; names file, video and what was expected.
    """
    return _load(str(split_or_path), prompt_quality_scale, ladder)


@functools.lru_cache(maxsize=16)
def _load(split_or_path: str, prompt_quality_scale: float, ladder: str | None) -> Catalog:
    shipped = split_or_path in SPLITS
    path = data_root() / "videos" / f"{split_or_path}.json" if shipped else Path(split_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"no catalog and no file {split_or_path!r}; {suggest(split_or_path, SPLITS)}")
    pixels = [representation.name for representation in default_ladder() if not representation.is_prompt]
    content = read_json(path)
    check_keys(str(path), content, ("provenance", "representations", "videos"), SCHEMA)
    check_text(str(path), "provenance", content["provenance"])
    if content["representations"] != pixels:
        raise ValueError(f"{path}: key 'representations': expected {pixels}, got {content['representations']!r}")
    if not isinstance(content["videos"], dict) or not content["videos"]:
        raise ValueError(f"{path}: key 'videos': expected an object of one video or more")
    videos = tuple(_parse_video(path, name, rungs, len(pixels)) for name, rungs in content["videos"].items())
    return _on_ladder(videos, prompt_quality_scale, ladder)


def _on_ladder(videos: tuple[Video, ...], prompt_quality_scale: float, ladder: str | None) -> Catalog:
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


def _parse_video(path: Path, name: str, rungs: Any, count: int) -> Video:
    where = f"{path}, video {name!r}"
    if not isinstance(rungs, list) or len(rungs) != count or not all(isinstance(rung, list) for rung in rungs):
        raise ValueError(f"{where}: expected {count} lists of chunk sizes, one a representation")
    if len({len(rung) for rung in rungs}) != 1 or not rungs[0]:
        raise ValueError(f"{where}: expected as many chunks in every list, got {', '.join(str(len(r)) for r in rungs)}")
    for rung in rungs:
        for size in rung:
            check_number(where, "bytes", size, 0.0, above=True)
    return Video(name, np.array(rungs, dtype=np.float64).T)
