"""Clips as prompts, second by second: found once, kept in `parts.py`'s folder, and shown as they are found."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.metrics import bitrate_bps
from ppgym.codec.parts import Parts
from ppgym.codec.search import Search
from ppgym.codec.sound import read_sound
from ppgym.codec.video import Clip
from ppgym.core.state import U1
from ppgym.progress import Progress

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator


class Place(NamedTuple):
    """A second of a clip, by their numbers from 0."""

    clip: int
    second: int

    def part(self, what: str) -> str:
        """Name of a result on this second."""
        return f"clip{self.clip:02}-second{self.second:04}-{what}"


class Found(NamedTuple):
    """A prompt, and the seconds that it took to find; after an interruption, those since."""

    chunk: PromptChunk
    encode_s: float


def describe_job(clips: Sequence[Clip], generator: "Generator", search: Search, **more: Any) -> dict[str, Any]:
    """Everything that results on prompts depend on, for `Parts`. Every clip is read once.

    Args:
        clips: The clips, of the generator's size.
        generator: What draws.
        search: How prompts are found.
        **more: What else results depend on.

    Returns:
        JSON; `clips[...].frame_counts` has the frames of each second.
    """
    described = []
    for clip in clips:
        digest, counts = hashlib.sha256(), []
        for frames in clip.seconds():
            digest.update(frames.data)
            counts.append(len(frames))
        sound = read_sound(clip.path) or b""
        described.append(
            {
                "name": clip.path.name,
                "fps": clip.fps,
                "frame_counts": counts,
                "sha256": digest.hexdigest(),
                "sound_bps": round(bitrate_bps(len(sound), sum(counts), clip.fps)),
            }
        )
    job = {
        "clips": described,
        "generator": {"name": generator.name, "identity": generator.identity},
        "torch": {"device": str(generator.device), "dtype": str(generator.dtype).removeprefix("torch.")},
        "search": asdict(search),
        **more,
    }
    found: dict[str, Any] = json.loads(json.dumps(job))  # lists, where options are tuples
    return found


def places(job: dict[str, Any]) -> list[Place]:
    """Every second of a job's clips."""
    counts = [len(clip["frame_counts"]) for clip in job["clips"]]
    return [Place(clip, second) for clip, count in enumerate(counts) for second in range(count)]


def every_second(clips: Sequence[Clip]) -> Iterator[tuple[Place, Clip, U1]]:
    """The seconds of some clips, one in memory at a time: place, clip and frames uint8 [T, H, W, 3]."""
    for number, clip in enumerate(clips):
        for second, frames in enumerate(clip.seconds()):
            yield Place(number, second), clip, frames


def find_prompts(
    clips: Sequence[Clip],
    generator: "Generator",
    ranks: Sequence[int],
    search: Search,
    parts: Parts,
    job: dict[str, Any],
) -> None:
    """Find the prompts of every second in every rank, where they are not kept yet, and show how far that is.

    Args:
        clips: The clips, of the generator's size.
        generator: What will draw them.
        ranks: Of the prompts.
        search: How they are found.
        parts: Where they are kept.
        job: Of `describe_job`.
    """
    missing = [(place, rank) for place in places(job) for rank in ranks if not parts.has(place.part(f"prompt-r{rank}"))]
    if not missing:
        return
    with Progress("Inverting", len(missing) * search.steps) as progress:
        for place, clip, frames in every_second(clips):
            for rank in ranks:
                name = place.part(f"prompt-r{rank}")
                seconds = len(job["clips"][place.clip]["frame_counts"])
                note = f"clip {place.clip + 1} of {len(clips)}, second {place.second + 1} of {seconds}, rank {rank}"
                checkpoint = parts.checkpoint(name)
                search_one = partial(_find, frames, clip.fps, generator, rank, search, checkpoint, progress, note)
                parts.of(name, search_one)
                checkpoint.unlink(missing_ok=True)


def _find(
    frames: U1,
    fps: float,
    generator: "Generator",
    rank: int,
    search: Search,
    checkpoint: Path,
    progress: Progress,
    note: str,
) -> dict[str, Any]:
    from ppgym.codec.prompt import invert_prompt

    reached = 0

    def show(step: int, loss: float) -> None:
        nonlocal reached
        progress.advance(step - reached, f"{note}, loss {loss:.4f}")
        reached = step

    began_s = time.perf_counter()
    chunk = invert_prompt(frames, generator, fps=fps, rank=rank, checkpoint=checkpoint, callback=show, **asdict(search))
    progress.advance(search.steps - reached, note)
    return {"chunk": chunk.to_bytes().hex(), "encode_s": time.perf_counter() - began_s}


def found_prompt(parts: Parts, place: Place, rank: int) -> Found:
    """A prompt that `find_prompts` has kept.

    Raises:
        ValueError: Its file is damaged; names it.
    """
    name = place.part(f"prompt-r{rank}")
    kept = parts.read(name)
    try:
        return Found(PromptChunk.from_bytes(bytes.fromhex(kept["chunk"])), float(kept["encode_s"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{parts.folder / name}.json: expected a prompt: {error}; delete it") from error
