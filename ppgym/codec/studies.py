"""Studies of a generator on clips that it has never seen; the commands `heldout`, `chaining` and `inversion`.

All clips are of the split "heldout" of `clips.py`. Pixel codecs are at their best (`pixel.py`: veryslow, tuned for
SSIM, no messages, bytes of the raw stream). Their quality at the prompt's bytes is read off a measured rate curve.
PyTorch and FFmpeg are imported only when a study runs.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from ppgym.codec.clips import FAMILIES, FPS, Frames, draw_frames
from ppgym.codec.metrics import Quality, bitrate_bps, psnr_db, quality
from ppgym.commandline import command_line
from ppgym.files import write_text
from ppgym.progress import track

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

PIXEL_CODECS: Final = ("h264", "hevc")
RATE_FACTORS: Final = range(51, 18, -3)
BUDGET_BPS: Final = 12_000  # the rate at which prompts have to beat pixels
BIT_PRICE: Final = 0.003  # as for `invert_prompt`, where bytes are scarce
LEARNING_RATES: Final = {"features": 0.03, "neutral": 0.1}  # a start that is farther away needs larger steps
CHAINED_S: Final = 3  # seconds of a clip in the comparison of closed with chained chunks


class Rival(NamedTuple):
    """A clip in a pixel codec, at the size of its prompt.

    Attributes:
        quality: At that size; of the codec's smallest stream where that is larger.
        too_large: Whether it is larger.
        needed_bytes: What the codec takes for the prompt's SSIM.
    """

    quality: Quality
    too_large: bool
    needed_bytes: float


def contest(frames: Frames, generator: "Generator", **settings: int) -> tuple[int, Quality, list[Rival]]:
    """Encode one second as a prompt, and compare it with pixels of the same size.

    Args:
        frames: uint8 [T, H, W, 3].
        generator: Generator.
        **settings: Of `invert_prompt`.

    Returns:
        Bytes of the prompt, its quality, and a rival for each of `PIXEL_CODECS`.
    """
    from ppgym.codec.bitstream import PromptChunk
    from ppgym.codec.prompt import invert_prompt
    from ppgym.codec.rate_curve import CLAMPED_LOW, RateCurve

    chosen: dict[str, Any] = settings | {"shared_v": True, "bit_price": BIT_PRICE}
    data = invert_prompt(frames, generator, **chosen).to_bytes()
    prompt = quality(generator.decode(PromptChunk.from_bytes(data)), frames)
    rate_bps = bitrate_bps(len(data), len(frames), FPS)
    rivals = []
    for codec in PIXEL_CODECS:
        curve = RateCurve.measure(frames, codec, FPS, RATE_FACTORS)
        similarity, flag = curve.quality_at(rate_bps)
        reached = Quality(curve.quality_at(rate_bps, "psnr_db").value, similarity)
        needed_bytes = curve.bitrate_for(prompt.ssim).value * len(frames) / FPS / 8
        rivals.append(Rival(reached, flag == CLAMPED_LOW, needed_bytes))
    return len(data), prompt, rivals


def heldout(
    generator: str = "tiny",
    *,
    clips: int = 3,
    rank: int = 6,
    keyframe_interval: int = 6,
    bits: int = 4,
    steps: int = 60,
    output: Path | None = None,
) -> None:
    """Compare prompts with H.264 and HEVC at equal bytes on held-out clips, family by family.

    Args:
        generator: Name, diffusers folder or hub id.
        clips: Clips of each family: seeds 0, 1, ...
        rank: Components of U V.
        keyframe_interval: Frames from one keyframe to the next.
        bits: Of a value.
        steps: Of gradient descent.
        output: Markdown file for the table.
    """
    given = locals().copy()
    from ppgym.codec.generator import load_generator

    model = load_generator(generator)
    settings = {"rank": rank, "keyframe_interval": keyframe_interval, "bits": bits, "steps": steps}
    rows = []
    for family in FAMILIES:
        results = [
            contest(draw_frames(family, seed, split="heldout"), model, **settings)
            for seed in track(range(clips), family)
        ]
        sizes, prompts, rivals = zip(*results, strict=True)
        row = [family, f"{fmean(sizes):.0f}", f"{max(sizes) * 8 / 1000:.1f}", *_mean(prompts)]
        for of_codec in zip(*rivals, strict=True):
            row += _mean(rival.quality for rival in of_codec)
            row += [str(sum(rival.too_large for rival in of_codec)), f"{fmean(r.needed_bytes for r in of_codec):.0f}"]
        wins = sum(all(prompt.ssim > rival.quality.ssim for rival in of_clip) for _, prompt, of_clip in results)
        rows.append([*row, f"{wins} of {clips}"])
    head = ["family", "bytes", "kbit/s at most", "prompt SSIM", "PSNR dB"]
    for codec in PIXEL_CODECS:
        head += [f"{codec} SSIM", "PSNR dB", "cannot go so low", "bytes for the same SSIM"]
    notes = (
        f"One second of {FPS} frames, {model.resolution[0]} x {model.resolution[1]}; means over {clips} held-out clips "
        f"of a family. The budget is {BUDGET_BPS / 1000:.0f} kbit/s. *Cannot go so low* counts clips whose smallest "
        "stream is larger than the prompt; the quality of that larger stream is then shown.",
        f"Generator {model.identity[:16]}. The last column counts clips where the prompt's SSIM is above both.",
    )
    _publish("Held-out clips: prompts and pixels at equal bytes", [*head, "above both"], rows, notes, "heldout", given)


def chaining(
    generator: str = "tiny",
    *,
    rank: int = 8,
    keyframe_intervals: tuple[int, ...] = (5, 10),
    bits: int = 6,
    steps: int = 150,
    output: Path | None = None,
) -> None:
    """Compare chunks that have a closing keyframe of their own with chunks that share it with the next one.

    Args:
        generator: Name, diffusers folder or hub id.
        rank: Components of U V.
        keyframe_intervals: Frames from one keyframe to the next.
        bits: Of a value.
        steps: Of gradient descent, for each second.
        output: Markdown file for the table.
    """
    given = locals().copy()
    from ppgym.codec.generator import load_generator
    from ppgym.codec.prompt import invert_prompt

    model = load_generator(generator)
    clips = [draw_frames(family, 0, range(CHAINED_S * FPS), split="heldout") for family in FAMILIES]
    rows = []
    for interval in keyframe_intervals:
        for seconds, name in ((1, "closed"), (CHAINED_S, "chained")):
            settings: dict[str, Any] = {"rank": rank, "keyframe_interval": interval, "bits": bits}
            settings |= {"steps": steps * seconds, "shared_v": True, "bit_price": BIT_PRICE}
            sizes, qualities = [], []
            for clip in track(clips, f"{name}, interval {interval}"):
                pieces = np.split(clip, range(seconds * FPS, len(clip), seconds * FPS))
                chunks = [invert_prompt(piece, model, **settings) for piece in pieces]
                sizes.append(sum(len(chunk.to_bytes()) for chunk in chunks) / CHAINED_S)
                qualities.append(quality(np.concatenate([model.decode(chunk) for chunk in chunks]), clip))
            keyframes = sum(len(chunk.keyframes) for chunk in chunks) / CHAINED_S
            rows.append([str(interval), name, f"{keyframes:.2f}", f"{fmean(sizes):.0f}", *_mean(qualities)])
    notes = (
        f"{CHAINED_S} seconds of one held-out clip of each family, means. *Closed*: every second is a chunk with a "
        "closing keyframe of its own, and decodes alone. *Chained*: one keyframe serves as the end of a second and the "
        "start of the next, and no second decodes without its neighbour. Both with as many gradient steps a second.",
        f"Generator {model.identity[:16]}.",
    )
    head = ["interval", "chunks", "keyframes a second", "bytes a second", "SSIM", "PSNR dB"]
    _publish("Closed and chained chunks", head, rows, notes, "chaining", given)


def inversion(
    generator: str = "tiny",
    *,
    start: str = "features",
    ranks: tuple[int, ...] = (4, 8, 16),
    bits: tuple[int, ...] = (4, 6, 8),
    keyframe_interval: int = 10,
    steps: int = 150,
    output: Path | None = None,
) -> None:
    """Measure what inversion gains on held-out clips, by rank (at the most bits) and by bits (at the largest rank).

    Args:
        generator: Name, diffusers folder or hub id.
        start: Where gradient descent begins, "features" or "neutral".
        ranks: Components of U V.
        bits: Of a value.
        keyframe_interval: Frames from one keyframe to the next.
        steps: Of gradient descent.
        output: Markdown file for the table.
    """
    given = locals().copy()
    from ppgym.codec.generator import load_generator
    from ppgym.codec.prompt import invert_prompt

    model = load_generator(generator)
    clips = [draw_frames(family, 0, split="heldout") for family in FAMILIES]

    rows = []
    for rank, bit in [*((rank, max(bits)) for rank in ranks), *((max(ranks), bit) for bit in sorted(bits)[-2::-1])]:
        settings: dict[str, Any] = {"rank": rank, "keyframe_interval": keyframe_interval, "bits": bit, "bit_price": 0.0}
        neutral, before, after, seconds, sizes = [], [], [], [], []
        for clip in track(clips, f"rank {rank}, {bit} bits"):
            chunk = invert_prompt(clip, model, steps=0, start="neutral", **settings)
            neutral.append(psnr_db(model.decode(chunk), clip))
            chunk = invert_prompt(clip, model, steps=0, start=start, **settings)
            before.append(psnr_db(model.decode(chunk), clip))
            rate = LEARNING_RATES[start]
            began_s = time.perf_counter()
            chunk = invert_prompt(clip, model, steps=steps, start=start, learning_rate=rate, **settings)
            seconds.append(time.perf_counter() - began_s)
            after.append(psnr_db(model.decode(chunk), clip))
            sizes.append(len(chunk.to_bytes()))
        means = [fmean(values) for values in (neutral, before, after)]
        figures = [*means, means[2] - means[1], means[2] - means[0]]
        gains = ", ".join(f"{y - x:.1f}" for x, y in zip(before, after, strict=True))
        shown = [str(rank), str(bit), f"{fmean(sizes):.0f}", *(f"{figure:.2f}" for figure in figures)]
        rows.append([*shown, gains, f"{max(seconds):.0f}"])
    notes = (
        f"PSNR in dB, means over one held-out second of each family ({', '.join(FAMILIES)}). The start is "
        f"{'the guess from the frames' if start == 'features' else 'the neutral prompt'}. Each keyframe has a V of its "
        "own, and bits cost nothing.",
        f"Generator {model.identity[:16]}.",
    )
    head = ["rank", "bits", "bytes", "neutral", "start", "end", "gain", "over neutral", "gain of each"]
    _publish(f"Gains of inversion from {start}", [*head, "seconds at most"], rows, notes, "inversion", given)


def _mean(qualities: Iterable[Quality]) -> list[str]:
    psnrs_db, ssims = zip(*qualities, strict=True)
    return [f"{fmean(ssims):.4f}", f"{fmean(psnrs_db):.2f}"]


def _publish(
    title: str, head: list[str], rows: list[list[str]], notes: tuple[str, ...], command: str, given: dict[str, Any]
) -> None:
    """Print a table, and write it as Markdown where the command's arguments name a file as `output`."""
    table = Table(*head, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if given["output"] is not None:
        made_by = command_line(f"python -m ppgym.codec {command}", **given | {"output": None})
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
        text = "\n\n".join([f"# {title}", *notes, "\n".join(lines), f"Made by `{made_by}`."])
        write_text(given["output"], text + "\n")
