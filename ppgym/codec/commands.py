"""The commands of `python -m ppgym.codec`: their arguments, and the calls that each makes.

PyTorch, diffusers and FFmpeg are imported within the commands, so that `--help` is quick.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ppgym.codec import profiler, speed, studies
from ppgym.codec.metrics import METRICS, bitrate_bps, check_metrics, describe, mean_scores, measure
from ppgym.codec.search import Search
from ppgym.commandline import command_line
from ppgym.core.state import U1
from ppgym.files import write_bytes, write_json, write_text
from ppgym.world.ladders import PROMPT_RANKS, Ladder

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

app = tyro.extras.SubcommandApp()


@dataclass(frozen=True)
class Model:
    """What draws, and on what.

    Attributes:
        generator: Name (tiny, sd-turbo-random), folder in diffusers' layout, or hub id.
        vae: Folder of another autoencoder, such as TAESD's.
        torch_device: Torch's name, such as cpu or cuda.
        dtype: Of the weights and the sums; prompts and losses are float32 always.
    """

    generator: str = "tiny"
    vae: Path | None = None
    torch_device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    def load(self) -> "Generator":
        """Load it."""
        from ppgym.codec.generator import load_generator

        return load_generator(self.generator, device=self.torch_device, dtype=self.dtype, vae=self.vae)


DEFAULT_MODEL, DEFAULT_SEARCH = Model(), Search()
DEFAULT_METRICS = ("ssim", "psnr")


@app.command
def encode(
    clip: Positional[Path],
    output: Positional[Path],
    rank: int = 8,
    model: OmitArgPrefixes[Model] = DEFAULT_MODEL,
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    metrics: tuple[str, ...] = DEFAULT_METRICS,
) -> None:
    """Find the prompts of a clip, a chunk for each second, and write them as a .ppv file, with its AAC or Opus sound.

    A command that was stopped or killed goes on where it was: results are kept in OUTPUT.parts.

    Example: python -m ppgym.codec encode clip.mp4 clip.ppv --rank 8

    Args:
        clip: Video file, or folder of PNG frames; cut about its centre and scaled to what the generator draws.
        output: File to write.
        rank: Of the prompts.
        model: What draws.
        search: How prompts are found.
        metrics: psnr, ssim, vmaf, cvvdp or lpips.
    """
    from ppgym.codec.encoding import describe_job, every_second, find_prompts, found_prompt, places
    from ppgym.codec.parts import Parts
    from ppgym.codec.ppv import write_ppv
    from ppgym.codec.sound import read_sound
    from ppgym.codec.video import Clip, Size

    check_metrics(metrics)
    generator = model.load()
    clips = [Clip(clip, Size(*generator.resolution))]
    job = describe_job(clips, generator, search, rank=rank)
    parts = Parts(output, job)
    find_prompts(clips, generator, (rank,), search, parts, job)
    chunks = [found_prompt(parts, place, rank).chunk for place in places(job)]
    write_ppv(output, chunks, read_sound(clip))
    scores = [
        measure(generator.decode(chunk, batch_size=search.batch_size), frames, one.fps, metrics)
        for (_, one, frames), chunk in zip(every_second(clips), chunks, strict=True)
    ]
    kbps = bitrate_bps(output.stat().st_size, sum(chunk.frame_count for chunk in chunks), clips[0].fps) / 1e3
    print(f"{output}: {output.stat().st_size} bytes, {kbps:.1f} kbit/s, {describe(mean_scores(scores))}")


@app.command
def decode(
    prompts: Positional[Path],
    output: Positional[Path],
    model: OmitArgPrefixes[Model] = DEFAULT_MODEL,
    batch_size: int = 10,
) -> None:
    """Turn a .ppv file into a video.

    Example: python -m ppgym.codec decode clip.ppv out.mp4

    Args:
        prompts: The .ppv file.
        output: MP4 file to write.
        model: What draws: the generator that the prompts were made for.
        batch_size: Frames of a pass.
    """
    from ppgym.codec.ppv import PpvFile
    from ppgym.codec.video import write_mp4

    file = PpvFile(prompts)
    first = file[0]
    generator = model.load()
    count = write_mp4(output, (generator.decode(chunk, batch_size=batch_size) for chunk in file), first.fps, file.sound)
    print(f"{output}: {count} frames of {first.height_px} x {first.width_px}")


@app.command
def compare(
    clip: Positional[Path],
    output: Path = Path("compare.png"),
    rank: int = 8,
    model: OmitArgPrefixes[Model] = DEFAULT_MODEL,
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    codecs: tuple[str, ...] = ("h264", "hevc"),
    metrics: tuple[str, ...] = DEFAULT_METRICS,
    columns: int = 5,
) -> None:
    """Draw the first second of a clip beside its prompt, and beside pixels of the same bytes at their best shape.

    Example: python -m ppgym.codec compare clip.mp4 --codecs h264 hevc av1 --metrics vmaf ssim

    Args:
        clip: Video file, or folder of PNG frames; cut about its centre and scaled to what the generator draws.
        output: PNG file to write.
        rank: Of the prompt.
        model: What draws.
        search: How prompts are found.
        codecs: Of the pixels: h264, hevc, av1.
        metrics: psnr, ssim, vmaf, cvvdp or lpips; the first one says which size and frame rate is best for pixels.
        columns: Moments to draw.
    """
    from ppgym.codec.picture import side_by_side
    from ppgym.codec.prompt import invert_prompt
    from ppgym.codec.shapes import encode_within
    from ppgym.codec.video import Clip, Size
    from ppgym.progress import Progress

    check_metrics(metrics)
    generator = model.load()
    opened = Clip(clip, Size(*generator.resolution))
    second, fps = next(opened.seconds()), opened.fps
    with Progress("Inverting", search.steps) as progress:
        chunk = invert_prompt(
            second, generator, rank=rank, fps=fps, callback=lambda step, loss: progress.advance(), **asdict(search)
        )
    room = len(chunk.to_bytes())
    decoded = [(f"prompt of rank {rank}", room, generator.decode(chunk, batch_size=search.batch_size))]
    for codec in codecs:
        fitted = encode_within(second, codec, room, fps, metrics[0])
        name = f"{codec}, {fitted.shape}" if fitted.fits else f"{codec} (cannot go lower)"
        decoded.append((name, len(fitted.data), fitted.decode(second)))
    rows: list[tuple[str, U1]] = [("original", second)]
    for name, size, result in decoded:
        kbps = bitrate_bps(size, len(second), fps) / 1e3
        label = f"{name}: {size} bytes, {kbps:.1f} kbit/s, {describe(measure(result, second, fps, metrics))}"
        print(label)
        rows.append((label, result))
    write_bytes(output, side_by_side(rows, columns))
    print(output)


@app.command
def ladder(
    clips: Positional[tuple[Path, ...]],
    model: OmitArgPrefixes[Model] = DEFAULT_MODEL,
    ranks: tuple[int, ...] = PROMPT_RANKS,
    codecs: tuple[str, ...] = ("h264",),
    metrics: tuple[str, ...] = DEFAULT_METRICS,
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    output: Path = Path("ladder.json"),
) -> None:
    """Encode clips in every representation; write the table that a scenario takes as its ladder, and the scenario.

    A command that was stopped or killed goes on where it was: results are kept in OUTPUT.parts. Pixels run at the best
    of several sizes and frame rates.

    Example: python -m ppgym.codec ladder a.mp4 b.mp4 --generator DIR --torch-device cuda --dtype bfloat16
    --batch-size 16 --metrics vmaf cvvdp ssim

    Args:
        clips: Video files, or folders of PNG frames; cut about their centre and scaled to what the generator draws.
        model: What draws.
        ranks: Of the prompts.
        codecs: Of the pixels: h264, hevc, av1; three rates each.
        metrics: psnr, ssim, vmaf, cvvdp or lpips; the first one says which rate of H.264 a chunk is worth.
        search: How prompts are found.
        output: JSON file to write; the scenario is written beside it, as .yml.
    """
    from ppgym.codec.encoding import describe_job
    from ppgym.codec.ladder import Measurement, measure_ladder, scenario_for
    from ppgym.codec.parts import Parts
    from ppgym.codec.video import Clip, Size

    check_metrics(metrics)
    if not clips:
        raise ValueError("clips: expected at least one video file or folder, got none")
    wanted = Measurement(ranks, codecs, metrics)
    generator = model.load()
    opened = [Clip(path, Size(*generator.resolution)) for path in clips]
    job = describe_job(opened, generator, search, **asdict(wanted))
    options = {**asdict(model), **asdict(wanted), **asdict(search)}
    command = command_line("python -m ppgym.codec ladder", *(path.name for path in clips), **options)
    table = measure_ladder(output.stem, opened, generator, search, wanted, Parts(output, job), job, command=command)
    content = Ladder.from_json(table, str(output)).to_json()
    write_json(output, content)
    _show(Ladder.load(content), metrics[0])
    sound_bps = [clip["sound_bps"] for clip in job["clips"] if clip["sound_bps"]]
    fields = scenario_for(output.name, *generator.resolution, opened[0].fps, np.mean(sound_bps) if sound_bps else None)
    scenario = output.with_suffix(".yml")
    lines = [f"# A world for {output.name}: link and sound scaled to the size of its pictures", *_yaml(fields)]
    write_text(scenario, "\n".join(lines) + "\n")
    print(f"{output}\n{scenario}, for: python evaluate.py ask {scenario}")
    print("\n".join(lines[1:]))


def _yaml(fields: dict[str, object]) -> list[str]:
    return [f"{name}: {value}" for name, value in fields.items()]


def _show(table: Ladder, judge: str) -> None:
    """Print a measured ladder."""
    from rich.console import Console
    from rich.table import Column, Table

    shown = Table(Column("representation", no_wrap=True), "kbit/s", "size", "fps", judge)
    for title in ("as H.264 at kbit/s", "spread over clips", "clamped"):
        shown.add_column(title)
    for one in table.representations:
        assert one.measured is not None
        found = one.measured
        spread = f"{1e3 * np.std(found.clip_quality, ddof=1):.0f}" if len(found.clip_quality) > 1 else "one clip"
        figures = f"{one.bitrate_bps / 1e3:.1f}", f"{one.width} x {one.height}", f"{one.fps:g}"
        scores = METRICS[judge].show(found.scores[judge]), f"{1e3 * one.quality:.0f}", spread
        shown.add_row(one.name, *figures, *scores, f"{found.clamped_chunks} of {len(found.chunk_bytes)}")
    Console().print(shown)


@app.command(name="import")
def import_(
    prompts: Positional[Path],
    output: Positional[Path],
    *,
    generator: str | None = None,
    vae: Path | None = None,
    fps: float = 30.0,
    side_px: int = 512,
) -> None:
    """Turn prompts that Promptus has found into a .ppv file.

    Example: python -m ppgym.codec import data/sky/results/rank8_interval10 sky.ppv

    Args:
        prompts: Folder of .prompt files and init.pth as Promptus writes them, or a safetensors file of such prompts.
        output: File to write.
        generator: The model that they were found for, whose identity is written into the file: SD-Turbo's folder.
        vae: Folder of the autoencoder that they were found for: TAESD's.
        fps: Frames per second.
        side_px: Of the square pictures.
    """
    from ppgym.codec.bitstream import UNKNOWN_GENERATOR
    from ppgym.codec.ppv import write_ppv
    from ppgym.codec.promptus import read_promptus

    identity = UNKNOWN_GENERATOR if generator is None else Model(generator, vae).load().identity
    chunk = read_promptus(prompts, generator=identity, fps=fps, side_px=side_px)
    write_ppv(output, [chunk])
    count = len(chunk.keyframes)
    print(
        f"{output}: {count} keyframes, {chunk.frame_count} frames, {len(chunk.to_bytes()) / count:.0f} bytes a keyframe"
    )
    if chunk.anchor is None:
        print("the start latent (init.pth) is missing: the file cannot be decoded to pictures")


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

    Example: python -m ppgym.codec train-tiny runs/tiny/model

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


for command in (
    profiler.profile,
    studies.heldout,
    studies.objectives,
    studies.inversion,
    studies.chaining,
    speed.speed,
):
    app.command(command)
