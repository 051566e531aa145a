"""Studies of a generator on clips that it has never seen: commands `heldout`, `objectives`, `chaining`, `inversion`.

Clips are of the split "heldout" of `clips.py`, or files. Pixel codecs are at their best: `pixel.py`'s slowest presets,
no messages, bytes of the raw stream, and the best of several sizes and frame rates (`shapes.py`). Their quality at the
prompt's bytes is read off a measured rate curve. PyTorch and FFmpeg are imported only when a study runs.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from ppgym.codec.clips import FAMILIES, FPS, Frames, draw_frames
from ppgym.codec.metrics import METRICS, Scores, bitrate_bps, check_metrics, mean_scores, measure, psnr_db
from ppgym.codec.search import Search
from ppgym.commandline import command_line
from ppgym.files import write_text
from ppgym.progress import track

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

PIXEL_CODECS: Final = ("h264", "hevc", "av1")
RATE_FACTORS: Final = {"h264": range(51, 18, -3), "hevc": range(51, 20, -6), "av1": range(63, 26, -6)}
BUDGET_BPS: Final = 12_000  # the rate at which prompts have to beat pixels
BIT_PRICE: Final = 0.003  # as for `invert_prompt`, where bytes are scarce
LEARNING_RATES: Final = {"features": 0.03, "neutral": 0.1}  # a start that is farther away needs larger steps
CHAINED_S: Final = 3  # seconds of a clip in the comparison of closed with chained chunks
TABLE_METRICS: Final = ("ssim", "psnr")
DEFAULT_SEARCH: Final = Search()


class Rival(NamedTuple):
    """A second in a pixel codec, at the size of its prompt.

    Attributes:
        scores: At that size, each metric at the shape that is best for it; of the smallest stream where that is larger.
        too_large: Whether it is larger.
        smaller: Whether the shape that is best by the first metric is a smaller one than the clip's.
        needed_bytes: What the codec takes for the prompt's score of the first metric.
    """

    scores: Scores
    too_large: bool
    smaller: bool
    needed_bytes: float


def contest(
    frames: Frames, generator: "Generator", metrics: Sequence[str], fps: float = FPS, **settings: Any
) -> tuple[int, Scores, list[Rival]]:
    """Encode one second as a prompt, and compare it with pixels of the same size.

    Args:
        frames: uint8 [T, H, W, 3].
        generator: Generator.
        metrics: Keys of `METRICS` of which higher is better.
        fps: Frames per second.
        **settings: Of `invert_prompt`.

    Returns:
        Bytes of the prompt, its scores, and a rival for each of `PIXEL_CODECS`.
    """
    from ppgym.codec.bitstream import PromptChunk
    from ppgym.codec.prompt import invert_prompt
    from ppgym.codec.rate_curve import CLAMPED_LOW, RateCurve
    from ppgym.codec.shapes import FULL

    data = invert_prompt(frames, generator, fps=fps, **settings).to_bytes()
    prompt = measure(generator.decode(PromptChunk.from_bytes(data)), frames, fps, metrics)
    rate_bps, judge = bitrate_bps(len(data), len(frames), fps), metrics[0]
    rivals = []
    for codec in PIXEL_CODECS:
        curve = RateCurve.measure(frames, codec, fps, metrics, crfs=RATE_FACTORS[codec])
        readings = {name: curve.quality_at(rate_bps, name) for name in metrics}
        low = readings[judge].flag == CLAMPED_LOW
        within = [point for point in curve.points if point.bitrate_bps <= rate_bps] or [curve.points[0]]
        best = max(within, key=lambda point: point.scores[judge])
        needed_bytes = curve.bitrate_for(prompt[judge], judge).value * len(frames) / fps / 8
        scores = {name: reading.value for name, reading in readings.items()}
        rivals.append(Rival(scores, low, best.shape != FULL, needed_bytes))
    return len(data), prompt, rivals


def heldout(
    files: Positional[tuple[Path, ...]] = (),
    generator: str = "tiny",
    *,
    clips: int = 3,
    rank: int = 6,
    keyframe_interval: int = 6,
    bits: int = 4,
    steps: int = 60,
    metrics: tuple[str, ...] = ("ssim", "psnr", "vmaf"),
    output: Path | None = None,
) -> None:
    """Compare prompts with H.264, HEVC and AV1 at equal bytes on held-out clips, or on files of one's own.

    Example: python -m ppgym.codec heldout a.mp4 b.mp4 --output heldout.md

    Args:
        files: Video files, or folders of PNG frames, of which the first second is taken; the drawn clips where none.
        generator: Name, diffusers folder or hub id.
        clips: Drawn clips of each family: seeds 0, 1, ...
        rank: Components of U V.
        keyframe_interval: Frames from one keyframe to the next.
        bits: Of a value.
        steps: Of gradient descent.
        metrics: Of which higher is better; the first one judges.
        output: Markdown file for the table.
    """
    given = locals().copy()
    from ppgym.codec.generator import load_generator
    from ppgym.codec.video import Clip, Size

    check_metrics(metrics)
    model = load_generator(generator)
    settings: dict[str, Any] = {"rank": rank, "keyframe_interval": keyframe_interval, "bits": bits, "steps": steps}
    settings |= {"shared_v": True, "bit_price": BIT_PRICE}
    groups: dict[str, list[tuple[Frames, float]]]
    if files:
        opened = [Clip(path, Size(*model.resolution)) for path in files]
        groups = {clip.path.name: [(next(clip.seconds()), clip.fps)] for clip in opened}
    else:
        groups = {
            family: [(draw_frames(family, seed, split="heldout"), float(FPS)) for seed in range(clips)]
            for family in FAMILIES
        }
    rows = []
    for name, group in groups.items():
        results = [contest(frames, model, metrics, fps, **settings) for frames, fps in track(group, name)]
        sizes, prompts, rivals = zip(*results, strict=True)
        wins = [
            sum(all(prompt[metric] > rival.scores[metric] for rival in of_clip) for _, prompt, of_clip in results)
            for metric in metrics
        ]
        won = [f"{count} of {len(group)}" for count in wins]
        rows.append([name, "prompt", f"{fmean(sizes):.0f}", *_shown(mean_scores(prompts), metrics), "", "", "", *won])
        for codec, of_codec in zip(PIXEL_CODECS, zip(*rivals, strict=True), strict=True):
            scores = _shown(mean_scores([rival.scores for rival in of_codec]), metrics)
            counts = sum(rival.too_large for rival in of_codec), sum(rival.smaller for rival in of_codec)
            needed = f"{fmean(rival.needed_bytes for rival in of_codec):.0f}"
            rows.append([name, codec, "", *scores, *map(str, counts), needed, *[""] * len(metrics)])
    notes = (
        f"The first second, {model.resolution[0]} x {model.resolution[1]}; means over the clips of a row. Pixels have "
        "the prompt's bytes, at the best of several sizes and frame rates. *Cannot go so low* counts clips whose "
        "smallest stream is larger than the prompt; the quality of that larger stream is then shown. *Smaller* counts "
        "clips where a smaller size or frame rate was best. *Bytes needed* are those for the prompt's "
        f"{METRICS[metrics[0]].label}.",
        f"Generator {model.identity[:16]}. The last columns count clips where the prompt is above all pixel codecs.",
    )
    head = ["clips", "codec", "bytes", *metrics, "cannot go so low", "smaller", "bytes needed"]
    head += [f"best by {name}" for name in metrics]
    _publish("Prompts and pixels at equal bytes", head, rows, notes, "heldout", given)


def objectives(
    files: Positional[tuple[Path, ...]] = (),
    generator: str = "tiny",
    *,
    rank: int = 8,
    search: OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    metrics: tuple[str, ...] = ("ssim", "psnr", "vmaf"),
    output: Path | None = None,
) -> None:
    """Compare ppgym's objective with Promptus's at equal passes, on one held-out second of each family or on files.

    Example: python -m ppgym.codec objectives --steps 60

    Args:
        files: Video files, or folders of PNG frames, of which the first second is taken; the drawn clips where none.
        generator: Name, diffusers folder or hub id.
        rank: Components of U V.
        search: How prompts are found; its objective does not count.
        metrics: What to show.
        output: Markdown file for the table.
    """
    from ppgym.codec.generator import load_generator
    from ppgym.codec.objectives import OBJECTIVES, vgg_weights
    from ppgym.codec.prompt import invert_prompt
    from ppgym.codec.video import Clip, Size

    check_metrics(metrics)
    model = load_generator(generator)
    if files:
        seconds = [(clip, next(clip.seconds())) for clip in (Clip(path, Size(*model.resolution)) for path in files)]
        clips = {clip.path.name: (frames, clip.fps) for clip, frames in seconds}
    else:
        clips = {family: (draw_frames(family, 0, split="heldout"), float(FPS)) for family in FAMILIES}
    # Promptus starts from noise; where the generator can guess, ours does not have to
    contestants = [("ppgym", None), ("ppgym", "uniform"), ("promptus", None)]
    rows = []
    for objective, start in contestants:
        sizes, scores = [], []
        for frames, fps in track([*clips.values()], f"{objective}, {start or 'own'} start"):
            settings: dict[str, Any] = asdict(search) | {"objective": objective, "rank": rank, "start": start}
            settings |= {"bit_price": 0.0} | ({"learning_rate": 0.1} if start else {})
            chunk = invert_prompt(frames, model, fps=fps, **settings)
            sizes.append(len(chunk.to_bytes()))
            scores.append(measure(model.decode(chunk), frames, fps, metrics))
        of_each = ", ".join(METRICS[metrics[0]].show(score[metrics[0]]) for score in scores)
        own = "guess" if model.guesses else "neutral"
        shown_start = start or ("uniform" if OBJECTIVES[objective].uniform else own)
        rows.append([objective, shown_start, f"{fmean(sizes):.0f}", *_shown(mean_scores(scores), metrics), of_each])
    vgg = "with" if vgg_weights() else "without (its weights are not on this machine)"
    notes = (
        f"One second of each of {', '.join(clips)}; {search.steps} steps of {search.batch_size} frames each, "
        f"rank {rank}, {search.bits} bits. Bits cost nothing. Promptus's objective {vgg} VGG19's features.",
        f"Generator {model.identity[:16]}.",
    )
    head = ["objective", "start", "bytes", *metrics, f"{metrics[0]} of each"]
    given = {"files": files, "generator": generator, "rank": rank, "metrics": metrics, "output": output}
    given |= {name: value for name, value in asdict(search).items() if name != "objective"}
    _publish("Objectives at equal passes", head, rows, notes, "objectives", given)


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

    Example: python -m ppgym.codec chaining --steps 30

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
                decoded = np.concatenate([model.decode(chunk) for chunk in chunks])
                qualities.append(measure(decoded, clip, FPS, TABLE_METRICS))
            keyframes = sum(len(chunk.keyframes) for chunk in chunks) / CHAINED_S
            rows.append(
                [
                    str(interval),
                    name,
                    f"{keyframes:.2f}",
                    f"{fmean(sizes):.0f}",
                    *_shown(mean_scores(qualities), TABLE_METRICS),
                ]
            )
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

    Example: python -m ppgym.codec inversion --ranks 4 8 --steps 40

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


def _shown(scores: Scores, names: Iterable[str]) -> list[str]:
    return [METRICS[name].show(scores[name]) for name in names]


def _publish(
    title: str, head: list[str], rows: list[list[str]], notes: tuple[str, ...], command: str, given: dict[str, Any]
) -> None:
    """Print a table, and write it as Markdown where the command's arguments name a file as `output`."""
    table = Table(*head, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if given["output"] is not None:
        files = [path.name for path in given.pop("files", ())]
        made_by = command_line(f"python -m ppgym.codec {command}", *files, **given | {"output": None})
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
        text = "\n\n".join([f"# {title}", *notes, "\n".join(lines), f"Made by `{made_by}`."])
        write_text(given["output"], text + "\n")
