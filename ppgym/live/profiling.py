"""The device profile of this machine for one feed: its workers decode its chunks, one unit alone and all at once.

What is timed is what a session waits for: from the chunk's bytes in the client to the worker's answer.
"""

import asyncio
import math
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.core.state import UNIT_NAMES, UNITS
from ppgym.live.feed import DEVICE, Manifest, check_feed, read_chunk
from ppgym.live.units import Unit
from ppgym.live.worker import BATCH
from ppgym.progress import Progress
from ppgym.world.devices import DecodeRow, DeviceProfile
from ppgym.world.ladders import Representation
from ppgym.world.options import PIXEL_UNITS
from ppgym.world.this_machine import software, this_machine

CHUNKS = 12  # of each codec that a unit decodes alone
TOGETHER = 6  # decodes of each unit while all are busy
LIMIT_S = 60.0  # of one decode


class Work(NamedTuple):
    """A chunk to decode."""

    data: bytes
    generative: bool
    content_s: float


def measure_profile(folder: Path) -> DeviceProfile:
    """Measure this machine with a feed, and write the profile into its folder.

    Args:
        folder: Of the feed.

    Returns:
        The profile, whose rows hold at the size of the feed's pictures.

    Raises:
        FileNotFoundError: See `check_feed`.
        ValueError: See `check_feed`.
        OSError: A worker does not start.
    """
    manifest = check_feed(folder)
    profile = asyncio.run(_measure(folder, manifest))
    profile.write(folder / DEVICE)
    return profile


def live_units(representation: Representation) -> tuple[str, ...]:
    """The units of this machine that decode a representation."""
    if not representation.is_generative:
        return PIXEL_UNITS
    return ("cpu", "gpu") if this_machine().gpu else ("cpu",)


async def _measure(folder: Path, manifest: Manifest) -> DeviceProfile:
    pairs: dict[tuple[str, str], list[Work]] = {}
    for r, one in enumerate(manifest.ladder.representations):
        for unit in live_units(one):
            pairs.setdefault((one.codec, unit), []).extend(_works(folder, manifest, r))
    names = [name for name in UNIT_NAMES if any(unit == name for _, unit in pairs)]
    generator = manifest.generator or ""
    units = {name: Unit(name, generator if name in BATCH else "") for name in names}
    try:
        await asyncio.gather(*(unit.start() for unit in units.values()))
        alone: dict[tuple[str, str], list[float]] = {}
        with Progress("Decoding", sum(len(_spread(works)) for works in pairs.values())) as progress:
            for (codec, unit), works in pairs.items():
                alone[codec, unit] = []
                for work in _spread(works):
                    alone[codec, unit].append(await _timed(units[unit], work))
                    progress.advance(note=f"{codec} on {unit}")
        together = await _together(units, pairs, alone)
    finally:
        await asyncio.gather(*(unit.close() for unit in units.values()))
    return _profile(folder, manifest, alone, together)


def _works(folder: Path, manifest: Manifest, r: int) -> list[Work]:
    generative, chunk_s = manifest.ladder.representations[r].is_generative, manifest.ladder.chunk_s
    return [
        Work(read_chunk(folder, chunk[r]), generative, min(chunk_s, video.duration_s - c * chunk_s))
        for video in manifest.videos
        for c, chunk in enumerate(video.chunks)
    ]


def _spread(works: list[Work]) -> list[Work]:
    """`CHUNKS` of them, evenly."""
    return [works[place] for place in np.unique(np.linspace(0, len(works) - 1, CHUNKS).round().astype(int))]


async def _timed(unit: Unit, work: Work) -> float:
    """Seconds for a second of content."""
    began_s = time.monotonic()
    await unit.decode(work.data, work.generative, LIMIT_S)
    return (time.monotonic() - began_s) / work.content_s


async def _together(
    units: dict[str, Unit], pairs: dict[tuple[str, str], list[Work]], alone: dict[tuple[str, str], list[float]]
) -> dict[str, float]:
    """Factor on each unit's seconds while all are busy with their slowest codec; 1 where noise says less."""
    slowest = {
        name: max((pair for pair in pairs if pair[1] == name), key=lambda pair: statistics.median(alone[pair]))
        for name in units
    }
    seconds: dict[str, list[float]] = {name: [] for name in units}

    async def work(name: str) -> None:
        works = _spread(pairs[slowest[name]])
        while min(map(len, seconds.values())) < TOGETHER:  # nobody rests before the last
            seconds[name].append(await _timed(units[name], works[len(seconds[name]) % len(works)]))

    if len(units) > 1:
        await asyncio.gather(*map(work, units))
    return {
        name: max(statistics.median(found) / statistics.median(alone[slowest[name]]), 1.0) if found else 1.0
        for name, found in seconds.items()
    }


def _profile(
    folder: Path, manifest: Manifest, alone: dict[tuple[str, str], list[float]], together: dict[str, float]
) -> DeviceProfile:
    machine, size = this_machine(), manifest.ladder.representations[0]
    command = f"python -m ppgym.live profile {folder.name}"
    versions = ", ".join(f"{name} {version}" for name, version in software().items())
    source = f"{machine.cpu}, {machine.cores} cores; {versions}; {time.strftime('%Y-%m-%d')}; {command}"
    rows = [
        DecodeRow(
            codec=codec,
            unit=unit,
            seconds=float(f"{statistics.median(seconds):.5g}"),
            provenance="measured",
            source=source,
            formula=f"median of {len(seconds)} chunks, from bytes to a decoded chunk, over their content seconds",
            width=size.width,
            height=size.height,
            fps=size.fps,
        )
        for (codec, unit), seconds in alone.items()
    ]
    logs = np.concatenate([np.log(seconds) - np.log(statistics.median(seconds)) for seconds in alone.values()])
    factors = {unit: round(factor, 4) for unit, factor in together.items()}
    return DeviceProfile(
        name=f"live-{manifest.name}",
        description=f"{machine.cpu}, {machine.cores} cores, as worker processes decode the feed {manifest.name}.",
        provenance=f"Measured by {command}.",
        rows=tuple(rows),
        jitter_sigma=round(float(math.sqrt(np.mean(logs**2))), 4),
        jitter_provenance="measured",
        jitter_source="Root mean square of log(seconds / median) over the chunks of all rows.",
        contention=tuple((1.0, 1.0) + (factors.get(unit, 1.0),) * (UNITS - 1) for unit in UNIT_NAMES),
        contention_provenance="measured",
        contention_source=f"Median seconds of {TOGETHER} chunks with all units busy, over those alone.",
    )
