"""The commands of `python -m ppgym.codec`: their arguments, and the calls that each makes.

PyTorch, diffusers and FFmpeg are imported within the commands, so that `--help` is quick.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ppgym.codec import profiler, speed, studies
from ppgym.codec.bitstream import PpvFile, PromptChunk, write_ppv
from ppgym.codec.metrics import bitrate_bps, quality
from ppgym.commandline import command_line
from ppgym.core.state import U1
from ppgym.files import write_bytes, write_json

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

app = tyro.extras.SubcommandApp()


@dataclass(frozen=True)
class Search:
    """How prompts are found.

    Attributes:
        keyframe_interval: Frames from one keyframe to the next.
        bits: Of a value, 4 to 8.
        steps: Of the search, for each chunk.
        shared_v: Whether all keyframes of a chunk have one and the same V, which costs fewer bytes.
    """

    keyframe_interval: int = 10
    bits: int = 8
    steps: int = 150
    shared_v: bool = False


DEFAULT_SEARCH = Search()


def _invert(frames: U1, fps: float, generator: "Generator", rank: int, search: Search) -> PromptChunk:
    from ppgym.codec.prompt import invert_prompt

    return invert_prompt(frames, generator, fps=fps, rank=rank, progress=True, **asdict(search))


def _load(name: str, clip: Path) -> "tuple[Generator, U1, float]":
    """A generator, and a clip of its size with the frames per second."""
    from ppgym.codec.generator import load_generator
    from ppgym.codec.pixel import fit_frames, read_clip

    generator = load_generator(name)
    frames, fps = read_clip(clip)
    return generator, fit_frames(frames, *generator.resolution), fps


@app.command
def encode(
    clip: Positional[Path],
    output: Positional[Path],
    rank: int = 8,
    generator: str = "tiny",
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
) -> None:
    """Find the prompts of a clip, a chunk for each second, and write them as a `.ppv` file.

    Args:
        clip: Video file, or folder of PNG frames; cut about its centre and scaled to what the generator draws.
        output: File to write.
        rank: Of the prompts.
        generator: Name, diffusers folder or hub id.
        search: How prompts are found.
    """
    from ppgym.codec.pixel import split_seconds

    model, frames, fps = _load(generator, clip)
    chunks = [_invert(second, fps, model, rank, search) for second in split_seconds(frames, fps)]
    write_ppv(output, chunks)
    result = np.concatenate([model.decode(chunk) for chunk in chunks])
    print(f"{output}: {_describe(output.stat().st_size, result, frames, fps)}")


@app.command
def decode(prompts: Positional[Path], output: Positional[Path], generator: str = "tiny") -> None:
    """Turn a `.ppv` file into a video.

    Args:
        prompts: The `.ppv` file.
        output: MP4 file to write.
        generator: Name, diffusers folder or hub id: the one that the prompts were made for.
    """
    from ppgym.codec.generator import load_generator
    from ppgym.codec.pixel import write_mp4

    file = PpvFile(prompts)
    first = file[0]
    model = load_generator(generator)
    frames = np.concatenate([model.decode(chunk) for chunk in file])
    write_mp4(output, frames, first.fps)
    print(f"{output}: {len(frames)} frames of {first.height_px} x {first.width_px}")


@app.command
def compare(
    clip: Positional[Path],
    output: Path = Path("compare.png"),
    rank: int = 8,
    generator: str = "tiny",
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    codecs: tuple[str, ...] = ("h264", "hevc"),
    columns: int = 5,
) -> None:
    """Draw the first second of a clip beside its prompt, and beside pixels of the same bytes.

    Args:
        clip: Video file, or folder of PNG frames; cut about its centre and scaled to what the generator draws.
        output: PNG file to write.
        rank: Of the prompt.
        generator: Name, diffusers folder or hub id.
        search: How prompts are found.
        codecs: Of the pixels.
        columns: Moments to draw.
    """
    from ppgym.codec.picture import side_by_side
    from ppgym.codec.pixel import decode_pixels, encode_within, split_seconds

    model, frames, fps = _load(generator, clip)
    second = split_seconds(frames, fps)[0]
    chunk = _invert(second, fps, model, rank, search)
    room = len(chunk.to_bytes())
    decoded = [(f"prompt of rank {rank}", room, model.decode(chunk))]
    for codec in codecs:
        data, fits = encode_within(second, codec, room, fps)
        decoded.append((codec if fits else f"{codec} (cannot go lower)", len(data), decode_pixels(data)))
    rows = [("original", second)]
    for name, size, result in decoded:
        label = f"{name}: {_describe(size, result, second, fps)}"
        print(label)
        rows.append((label, result))
    write_bytes(output, side_by_side(rows, columns))
    print(output)


def _describe(size_bytes: int, result: U1, original: U1, fps: float) -> str:
    kbps = bitrate_bps(size_bytes, len(original), fps) / 1e3
    return f"{size_bytes} bytes, {kbps:.1f} kbit/s, {quality(result, original)}"


@app.command
def ladder(
    clip: Positional[Path],
    generator: str = "tiny",
    output: Path = Path("ladder.json"),
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
) -> None:
    """Encode a clip in every representation and write the table that a scenario takes as its `ladder`.

    Args:
        clip: Video file, or folder of PNG frames; cut about its centre and scaled to what the generator draws.
        generator: Name, diffusers folder or hub id.
        output: JSON file to write.
        search: How prompts are found.
    """
    from ppgym.codec.ladder import measure_ladder

    model, frames, fps = _load(generator, clip)
    table = measure_ladder(
        clip.name,
        frames,
        fps,
        model,
        lambda second, rank: _invert(second, fps, model, rank, search),
        generator_name=generator,
        command=command_line("python -m ppgym.codec ladder", clip.name, generator=generator, **asdict(search)),
        report=print,
    )
    write_json(output, table)
    print(output)


@app.command
def train_tiny(
    output: Positional[Path] = Path(__file__).parent / "weights" / "tiny",
    *,
    checkpoint: Path = Path("runs/tiny/checkpoint.pt"),
    stages: tuple[int, int, int] = (1400, 500, 3600),
    warm_start: Path | None = None,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Train the tiny generator, or go on where a checkpoint ends.

    The same seed draws the same clips, ranks and noise at each step, wherever training was interrupted.

    Args:
        output: Directory for the trained model, in diffusers' layout.
        checkpoint: File of weights and optimizer, written as training goes; resumed from where it exists.
        stages: Steps of each stage; more of the last one resume a finished training.
        warm_start: Directory of a trained model, as wide or narrower, to begin with; for stage 3 alone.
        seed: Of weights and batches.
        threads: CPU threads.
    """
    from ppgym.codec.train_tiny import train

    train(checkpoint, stages, warm_start, seed, threads).save(output)


for command in (profiler.profile, studies.heldout, studies.inversion, studies.chaining, speed.speed):
    app.command(command)
