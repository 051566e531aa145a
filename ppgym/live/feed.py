"""A feed on disk and on the wire: the manifest with size, hash and measured quality of each chunk, and its world.

The folder of a feed holds `manifest.json`, the chunks that it names, and for the simulator `ladder.json`,
`videos.json` and `scenario.yml`; `profile` adds `device.json`.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len

from ppgym.core.observation import make_features
from ppgym.core.state import UNIT_NAMES, CatalogArrays
from ppgym.files import parse_json, read_text
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario, World, make_world
from ppgym.world.schemas import JsonFile, NotNegative, Positive, Rule, Text, checked

MANIFEST = "manifest.json"
CATALOG = "videos.json"
LADDER = "ladder.json"
SCENARIO = "scenario.yml"
DEVICE = "device.json"

MAX_MANIFEST_BYTES = 1 << 24
MAX_CHUNK_BYTES = 1 << 26
MAX_VIDEOS = 1000
MAX_CHUNKS = 1000  # of a video

ChunkPath = Annotated[str, Rule(lambda core: core.str_schema(pattern=r"^[\w-]+(/[\w-]+)*\.[\w-]+$", max_length=200))]
Digest = Annotated[str, Rule(lambda core: core.str_schema(pattern=r"^[0-9a-f]{64}$"))]


@checked
class ChunkFile:
    """A chunk in one representation.

    Attributes:
        path: Relative to the manifest; letters, digits, "_", "-" and one dot before the suffix.
        size_bytes: Of the file.
        sha256: Of the file, in hexadecimal digits.
        quality: As measured, in the unit of the ladder.
    """

    path: ChunkPath
    size_bytes: Annotated[int, Ge(1), Le(MAX_CHUNK_BYTES)]
    sha256: Digest
    quality: NotNegative


@checked
class FeedVideo:
    """A video.

    Attributes:
        name: Label.
        duration_s: Content seconds.
        chunks: For each second a file of each of the ladder's representations, in its order.
    """

    name: Text
    duration_s: Positive
    chunks: Annotated[tuple[tuple[ChunkFile, ...], ...], Len(1, MAX_CHUNKS)]


@checked
class Manifest(JsonFile):
    """What a feed consists of.

    Attributes:
        name: Label.
        provenance: Of the chunks, in a sentence.
        generator: Name by which the generator that draws the prompts is loaded; None of a feed without prompts.
        ladder: The representations; bitrates and qualities are means over the chunks.
        videos: At least one.

    Raises:
        ValueError: A chunk count that does not fit the duration, a chunk that lacks a representation, or a path twice.
    """

    SCHEMA: ClassVar[str] = "ppgym-feed/1"

    name: Text
    provenance: Text
    generator: Text | None = None
    ladder: Ladder
    videos: Annotated[tuple[FeedVideo, ...], Len(1, MAX_VIDEOS)]

    def __post_init__(self) -> None:
        """Check the rules between fields."""
        chunk_s, count = self.ladder.chunk_s, len(self.ladder.representations)
        for index, video in enumerate(self.videos):
            if not (len(video.chunks) - 1) * chunk_s < video.duration_s <= len(video.chunks) * chunk_s:
                raise ValueError(
                    f"videos[{index}].duration_s: expected {len(video.chunks)} chunks of {chunk_s:g} s, the last "
                    f"perhaps short, got {video.duration_s:g} s"
                )
            for place, chunk in enumerate(video.chunks):
                if len(chunk) != count:
                    raise ValueError(f"videos[{index}].chunks[{place}]: expected {count} files, got {len(chunk)}")
        paths: set[str] = set()
        for file in self.files():
            if file.path in paths:
                raise ValueError(f"videos: expected every path once, got {file.path!r} again")
            paths.add(file.path)

    def files(self) -> list[ChunkFile]:
        """Every chunk in every representation."""
        return [file for video in self.videos for chunk in video.chunks for file in chunk]


def read_manifest(text: str, where: str) -> Manifest:
    """A manifest as it came over the wire.

    Args:
        text: JSON of at most `MAX_MANIFEST_BYTES`, which the caller has checked.
        where: Names it in messages.

    Raises:
        ValueError: No such manifest.
    """
    content = parse_json(text, where)
    if not isinstance(content, dict) or content.get("schema") != Manifest.SCHEMA:
        raise ValueError(f"{where}: schema: expected {Manifest.SCHEMA!r}")
    return Manifest.from_json(content, where)


def load_manifest(folder: Path) -> Manifest:
    """Read a feed's manifest; its chunks are not looked at.

    Args:
        folder: Of the feed.

    Raises:
        FileNotFoundError: No manifest.
        ValueError: No such manifest, or one above `MAX_MANIFEST_BYTES`; names the file.
    """
    path = folder / MANIFEST
    return read_manifest(read_text(path, MAX_MANIFEST_BYTES), str(path))


def check_feed(folder: Path) -> Manifest:
    """Read a feed's manifest and check every chunk against it.

    Args:
        folder: Of the feed.

    Raises:
        FileNotFoundError: No manifest, or a chunk is missing.
        ValueError: No such manifest, or a chunk that is a link, of another size or another hash; names the file.
    """
    manifest = load_manifest(folder)
    for file in manifest.files():
        check_chunk(read_chunk(folder, file), file, str(folder / file.path))
    return manifest


def open_chunk(folder: Path, file: ChunkFile) -> BinaryIO:
    """Open a chunk's file.

    Args:
        folder: Of the feed.
        file: Of its manifest.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: A link leads out of the folder.
    """
    path = folder / file.path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: expected a file inside the feed's folder, got a link to {path.resolve()}")
    return path.open("rb")


def read_chunk(folder: Path, file: ChunkFile) -> bytes:
    """The bytes of a chunk's file, and one more where it is larger than the manifest says; raises as `open_chunk`."""
    with open_chunk(folder, file) as opened:
        return opened.read(file.size_bytes + 1)


def check_chunk(data: bytes, file: ChunkFile, where: str) -> None:
    """Compare a chunk with its manifest.

    Raises:
        ValueError: Another size or hash; names the file.
    """
    if len(data) != file.size_bytes:
        raise ValueError(f"{where}: expected {file.size_bytes} bytes, got {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise ValueError(f"{where}: expected SHA-256 {file.sha256}, got {found}")


def feed_world(manifest: Manifest, scenario: Scenario, split: str) -> World:
    """The world of a feed: a scenario with the sizes and qualities of each chunk as measured.

    Args:
        manifest: Of the feed.
        scenario: Its ladder and videos are those of the manifest, see `feed_scenario`.
        split: Of the network's traces.

    Returns:
        The world, on which simulator and live environment draw the same episodes from the same seeds.
    """
    world = make_world(scenario, split)
    arrays = _measured(manifest, world.catalog)
    present = [unit in world.profile.units for unit in UNIT_NAMES]
    features = make_features(world.params, arrays, world.distribution, unit_present=present)
    world = dataclasses.replace(world, catalog=arrays, features=features)
    _ = world.made  # hashed before anybody can reach it
    return world


def _measured(manifest: Manifest, catalog: CatalogArrays) -> CatalogArrays:
    chunk_bytes, quality = np.zeros_like(catalog.chunk_bytes), np.zeros_like(catalog.quality)
    for k, video in enumerate(manifest.videos):
        for c, chunk in enumerate(video.chunks):
            chunk_bytes[k, c] = [file.size_bytes for file in chunk]
            quality[k, c] = [file.quality for file in chunk]
    return catalog._replace(chunk_bytes=chunk_bytes, quality=quality)


def feed_scenario(folder: Path, **overrides: Any) -> Scenario:
    """The scenario that lies in a feed's folder, decoded by the device that `profile` has measured there.

    Args:
        folder: Of the feed.
        **overrides: Fields of `Scenario`.

    Raises:
        FileNotFoundError: `profile` has not run yet, or a file is missing.
        ValueError: A wrong field.
    """
    if "device" not in overrides and not (folder / DEVICE).is_file():
        raise FileNotFoundError(
            f"{folder / DEVICE}: no such file; make it with `python -m ppgym.live profile {folder}`"
        )
    return Scenario.parse(str(folder / SCENARIO), **{"device": str(folder / DEVICE)} | overrides)
