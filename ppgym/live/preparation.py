"""Feeds from clips: real chunks of pixel codecs and prompts, each with its size, hash and measured quality.

A chunk is worth its H.264-equivalent bitrate, as in a measured ladder: the rate at which H.264 reaches the same SSIM on
the same second, here by a curve of `CRFS` at full size.
"""

import hashlib
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from ppgym.codec.clips import FAMILIES, FPS, draw_frames
from ppgym.codec.ladder import REFERENCE_CODEC
from ppgym.codec.metrics import measure
from ppgym.codec.pixel import ENCODERS, decode_pixels, encode_chunks
from ppgym.codec.rate_curve import RateCurve
from ppgym.codec.search import Search
from ppgym.codec.shapes import FULL
from ppgym.codec.video import Clip, Size
from ppgym.core.state import MAX_REPRESENTATIONS, U1
from ppgym.files import check_free, suggest, write_bytes, write_json, write_text
from ppgym.live.feed import CATALOG, LADDER, MANIFEST, SCENARIO, ChunkFile, FeedVideo, Manifest
from ppgym.progress import Progress
from ppgym.world.ladders import GENERATIVE, PIXEL, PIXEL_BPS, Ladder, Representation
from ppgym.world.videos import CatalogFile

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

JUDGE = "ssim"
CRFS = (51, 43, 35, 27, 19)  # of the curve of H.264
CHUNK_S = 1.0
MAX_SECONDS = 120  # of a clip
DEMO_SECONDS = (3, 4, 5)  # of the clips, in turn


class Rung(NamedTuple):
    """A representation as it is asked for: "h264-150k" is H.264 at 150 kbit/s, "prompt-r8" a prompt of rank 8."""

    name: str
    codec: str
    bitrate_bps: float  # of pixels
    rank: int  # of prompts; 0 of pixels

    @classmethod
    def parse(cls, name: str) -> "Rung":
        """Read a rung.

        Raises:
            ValueError: Not written as above, or an unknown codec.
        """
        match = re.fullmatch(r"(\w+)-(?:([\d.]+)k|r(\d+))", name)
        if match is None or (match[3] is not None) != (match[1] == "prompt"):
            raise ValueError(f"--ladder {name}: expected CODEC-RATEk or prompt-rRANK, such as h264-150k or prompt-r8")
        if match[3] is None and match[1] not in ENCODERS:
            raise ValueError(f"--ladder {name}: unknown codec; {suggest(match[1], ENCODERS)}")
        return cls(name, match[1], float(match[2] or 0) * 1e3, int(match[3] or 0))


class Source(NamedTuple):
    """A clip to prepare.

    Attributes:
        name: Label; letters, digits, "_" and "-".
        fps: Frames per second.
        read: Returns its frames by seconds, uint8 [T, H, W, 3] each.
    """

    name: str
    fps: float
    read: Callable[[], Iterator[U1]]


@dataclass(frozen=True)
class Preparation:
    """How a feed is made.

    Attributes:
        ladder: Rungs such as h264-150k, hevc-94k, av1-94k or prompt-r8.
        generator: Name of what draws the prompts, or a folder.
        search: How prompts are found; its steps are gradient steps for each chunk.
    """

    ladder: tuple[str, ...]
    generator: str
    search: Search

    def rungs(self) -> list[Rung]:
        """The ladder.

        Raises:
            ValueError: A wrong rung, one twice, none or too many.
        """
        if len(set(self.ladder)) < len(self.ladder) or not 1 <= len(self.ladder) <= MAX_REPRESENTATIONS:
            raise ValueError(f"--ladder: expected 1 to {MAX_REPRESENTATIONS} rungs, each once, got {self.ladder}")
        return [Rung.parse(name) for name in self.ladder]


def clip_sources(paths: Sequence[Path], size: Size) -> list[Source]:
    """Clips of files.

    Args:
        paths: Video files, or folders of PNG frames.
        size: To cut about the centre and scale to.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No clips, no video, or clips of several frame rates.
    """
    if not paths:
        raise ValueError("clips: expected at least one video file or folder, got none")
    clips = [Clip(path, size) for path in paths]
    rates = sorted({clip.fps for clip in clips})
    if len(rates) > 1:
        raise ValueError(f"clips: expected one frame rate, got {rates}; a ladder has one")
    stems = [re.sub(r"[^\w-]+", "-", path.stem, flags=re.ASCII) or "clip" for path in paths]
    names = [f"{index:02}-{stem}" for index, stem in enumerate(stems)]
    return [Source(name, clip.fps, clip.seconds) for name, clip in zip(names, clips, strict=True)]


def demo_sources(count: int) -> list[Source]:
    """The project's own generated clips, of the split that no generator was trained on."""
    families = list(FAMILIES)

    def read(family: str, seed: int, seconds: int) -> Iterator[U1]:
        for second in range(seconds):
            yield draw_frames(family, seed, range(second * FPS, (second + 1) * FPS), split="heldout")

    return [
        Source(
            f"{index:02}-{families[index % len(families)]}",
            float(FPS),
            partial(read, families[index % len(families)], 100 + index, DEMO_SECONDS[index % len(DEMO_SECONDS)]),
        )
        for index in range(count)
    ]


def prepare_feed(
    folder: Path, sources: Sequence[Source], wanted: Preparation, generator: "Generator", command: str
) -> Manifest:
    """Encode clips in every representation, measure each chunk, and write the feed.

    Args:
        folder: To write; it must not hold a feed.
        sources: The clips, of the generator's size.
        wanted: What to make.
        generator: What draws the prompts, and says how large the pictures are.
        command: What makes the feed again.

    Returns:
        The manifest, which is written last.

    Raises:
        ValueError: The folder holds a feed, a clip is longer than `MAX_SECONDS`, or a codec refuses the size.
    """
    check_free(folder, (MANIFEST, CATALOG, LADDER, SCENARIO))
    rungs = wanted.rungs()
    videos, frame_counts = [], []
    with Progress("Preparing", len(sources)) as progress:
        for source in sources:
            seconds = [frames for frames, _ in zip(source.read(), range(MAX_SECONDS + 1), strict=False)]
            if len(seconds) > MAX_SECONDS:
                raise ValueError(f"{source.name}: expected at most {MAX_SECONDS} s")
            count = sum(map(len, seconds))
            chunks = _chunks(folder, source, seconds, rungs, wanted, generator)
            videos.append(FeedVideo(name=source.name, duration_s=count / source.fps, chunks=tuple(chunks)))
            frame_counts.append(count)
            progress.advance(note=source.name)
    height_px, width_px = generator.resolution
    ladder = _ladder(folder.name, rungs, videos, sources[0].fps, height_px, width_px, command)
    provenance = f"measured: {command}; PyAV {av.__version__}, {time.strftime('%Y-%m-%d')}"
    manifest = Manifest(
        name=folder.name,
        provenance=provenance,
        generator=wanted.generator if any(rung.rank for rung in rungs) else None,
        ladder=ladder,
        videos=tuple(videos),
    )
    ladder.write(folder / LADDER)
    _catalog(rungs, videos, ladder, provenance).write(folder / CATALOG)
    lines = [
        f"# A world for the feed {folder.name}: the published ladder's link, scaled by the top bitrates",
        f"label: {json.dumps(folder.name)}",
        f"ladder: {LADDER}",
        f"videos: {CATALOG}",
        "audio_bps: 0",
        f"bandwidth_scale: {ladder.b_mbps / PIXEL_BPS[-1] * 1e6:.4g}",
    ]
    write_text(folder / SCENARIO, "\n".join(lines) + "\n")
    write_json(folder / MANIFEST, manifest.to_json())
    return manifest


def _chunks(
    folder: Path,
    source: Source,
    seconds: Sequence[U1],
    rungs: Sequence[Rung],
    wanted: Preparation,
    generator: "Generator",
) -> Iterator[tuple[ChunkFile, ...]]:
    """Make, measure and write the chunks of a clip: for each second a file of each rung."""
    pixels = {}
    for rung in rungs:
        if rung.rank == 0:
            pixels[rung] = encode_chunks(np.concatenate(seconds), rung.codec, rung.bitrate_bps, source.fps)
    for second, frames in enumerate(seconds):
        curve = RateCurve.measure(frames, REFERENCE_CODEC, source.fps, (JUDGE,), crfs=CRFS, shapes=(FULL,))
        files = []
        for rung in rungs:
            if rung.rank == 0:
                data = pixels[rung][second]
                decoded = decode_pixels(data)
            else:
                data, decoded = _prompt(frames, rung.rank, source.fps, wanted.search, generator)
            score = measure(decoded, frames, source.fps, (JUDGE,))[JUDGE]
            quality_bps = curve.bitrate_for(score, JUDGE).value
            path = f"{source.name}/{second:03}-{rung.name.replace('.', '_')}.{'ppc' if rung.rank else rung.codec}"
            write_bytes(folder / path, data)
            digest = hashlib.sha256(data).hexdigest()
            files.append(ChunkFile(path=path, size_bytes=len(data), sha256=digest, quality=round(quality_bps) / 1e6))
        yield tuple(files)


def _prompt(frames: U1, rank: int, fps: float, search: Search, generator: "Generator") -> tuple[bytes, U1]:
    from ppgym.codec.prompt import invert_prompt

    chunk = invert_prompt(frames, generator, rank=rank, fps=fps, **asdict(search))
    return chunk.to_bytes(), generator.decode(chunk)


def _ladder(
    name: str,
    rungs: Sequence[Rung],
    videos: Sequence[FeedVideo],
    fps: float,
    height_px: int,
    width_px: int,
    command: str,
) -> Ladder:
    content_s = sum(video.duration_s for video in videos)
    rows = []
    for r, rung in enumerate(rungs):
        files = [chunk[r] for video in videos for chunk in video.chunks]
        rows.append(
            Representation(
                name=rung.name,
                codec=rung.codec,
                kind=GENERATIVE if rung.rank else PIXEL,
                bitrate_bps=round(sum(file.size_bytes for file in files) * 8 / content_s),
                quality=round(statistics.fmean(file.quality for file in files), 6),
                width=width_px,
                height=height_px,
                fps=fps,
                source=f"measured: {command}",
            )
        )
    return Ladder(
        name=name,
        description=f"Measured on the {len(videos)} clips of a feed: quality is the rate of H.264 at the same {JUDGE}.",
        provenance=f"measured: {command}",
        chunk_s=CHUNK_S,
        representations=tuple(rows),
    )


def _catalog(rungs: Sequence[Rung], videos: Sequence[FeedVideo], ladder: Ladder, provenance: str) -> CatalogFile:
    """The sizes of the pixel rungs of one codec, by rising bitrate; of prompts where there are no pixels."""
    codec = next((rung.codec for rung in rungs if rung.rank == 0), rungs[0].codec)
    rates: dict[float, int] = {}
    for r, (rung, row) in enumerate(zip(rungs, ladder.representations, strict=True)):
        if rung.codec == codec:
            rates.setdefault(row.bitrate_bps, r)
    columns = [rates[bps] for bps in sorted(rates)]
    return CatalogFile(
        provenance=provenance,
        chunk_s=ladder.chunk_s,
        bitrates_bps=tuple(sorted(rates)),
        videos={
            video.name: tuple(tuple(float(chunk[r].size_bytes) for chunk in video.chunks) for r in columns)
            for video in videos
        },
        durations_s={video.name: video.duration_s for video in videos},
    )
