"""Measured ladders: the bytes and the quality of each representation of some clips, with one's own generator.

The table that `measure_ladder` makes is the file of a ladder (`ppgym.world.ladders.Ladder`). A chunk is worth its
*H.264-equivalent bitrate*: the rate at which H.264, at the best of several sizes and frame rates, reaches the same
score of the metric that judges, on the same second. Every step of the work is kept in `parts.py`'s folder.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import av

from ppgym.codec import metrics
from ppgym.codec.encoding import Place, every_second, find_prompts, found_prompt, places
from ppgym.codec.metrics import Scores, bitrate_bps, mean_scores
from ppgym.codec.parts import Parts
from ppgym.codec.rate_curve import CLAMPED_LOW, MEASURED, RateCurve
from ppgym.codec.search import Search
from ppgym.codec.shapes import FULL, Shape, encode_within, possible_shapes
from ppgym.codec.video import Clip
from ppgym.core.state import MAX_REPRESENTATIONS, U1
from ppgym.progress import Progress
from ppgym.world.ladders import GENERATIVE, PIXEL, PIXEL_BPS, PROMPT_RANKS, Ladder

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

# The published ladder is for 512 x 512 at 30 frames a second. Smaller pictures have more detail a pixel: a codec's
# rate at equal quality grows with the pixel rate to about the power 0.75 (a rule of thumb of encoding practice).
LADDER_PIXEL_RATE = 512 * 512 * 30.0
RATE_EXPONENT = 0.75
REFERENCE_CODEC = "h264"  # whose rates are the unit of quality
AUDIO_BPS = 64e3  # of sound, beside the published ladder: the default of a scenario


@dataclass(frozen=True)
class Measurement:
    """What to measure.

    Attributes:
        ranks: Of the prompts.
        codecs: Of the pixels; H.264, the unit of quality, is measured in any case.
        metrics: Keys of `ppgym.codec.metrics.METRICS`; the first one judges.
    """

    ranks: tuple[int, ...] = PROMPT_RANKS
    codecs: tuple[str, ...] = (REFERENCE_CODEC,)
    metrics: tuple[str, ...] = ("ssim", "psnr")

    def __post_init__(self) -> None:
        """Check the count."""
        count = len(self.ranks) + len(PIXEL_BPS) * len(self.codecs)
        if not 1 <= count <= MAX_REPRESENTATIONS:
            raise ValueError(f"ranks and codecs: expected 1 to {MAX_REPRESENTATIONS} representations, got {count}")


class Chunk(NamedTuple):
    """A second of a clip in a representation.

    Attributes:
        size_bytes: Of the chunk.
        frame_count: Of the second.
        scores: By metric.
        encode_s: Seconds to encode.
        decode_s: Seconds to decode.
    """

    size_bytes: int
    frame_count: int
    scores: Scores
    encode_s: float
    decode_s: float


def rate_scale(height_px: int, width_px: int, fps: float) -> float:
    """What the published ladder's bitrates, and the links that go with it, are multiplied by at another pixel rate.

    Args:
        height_px: Of the frames.
        width_px: Of the frames.
        fps: Frames per second.

    Returns:
        (pixels a second / those of 512 x 512 at 30) ** 0.75.
    """
    return float((height_px * width_px * fps / LADDER_PIXEL_RATE) ** RATE_EXPONENT)


def measure_ladder(
    name: str,
    clips: Sequence[Clip],
    generator: "Generator",
    search: Search,
    wanted: Measurement,
    parts: Parts,
    job: dict[str, Any],
    *,
    command: str,
) -> dict[str, Any]:
    """Encode clips in every representation, decode them, and measure; what `parts` holds already is not done again.

    Args:
        name: Of the ladder.
        clips: Of one frame rate, of the generator's size.
        generator: What decodes prompts.
        search: How prompts are found.
        wanted: What to measure.
        parts: Where results are kept.
        job: Of `ppgym.codec.encoding.describe_job`.
        command: What makes the table again.

    Returns:
        The table, as `ppgym.world.ladders.Ladder` reads it from JSON. Seconds are medians over the chunks.

    Raises:
        ValueError: Clips of several frame rates, or a size that a pixel codec refuses.
    """
    rates = {clip.fps for clip in clips}
    if len(rates) > 1:
        raise ValueError(f"clips: expected one frame rate, got {sorted(rates)}; a ladder has one")
    judge, fps = wanted.metrics[0], clips[0].fps
    height_px, width_px = generator.resolution
    frame_counts = {p: job["clips"][p.clip]["frame_counts"][p.second] for p in places(job)}

    # 1. The rates at which pixel codecs reach a quality, second by second
    codecs = tuple(dict.fromkeys((REFERENCE_CODEC, *wanted.codecs)))
    curves: dict[tuple[str, Place], RateCurve] = {}
    with Progress("Pixels", len(codecs) * len(frame_counts)) as progress:
        for place, _, frames in every_second(clips):
            for codec in codecs:
                measure_curve = partial(_curve, frames, codec, fps, judge)
                kept = parts.of(place.part(f"{codec}-curve"), measure_curve)
                curves[codec, place] = RateCurve.from_json(codec, kept["points"])
                progress.advance(note=f"clip {place.clip + 1} of {len(clips)}, {codec}")

    # 2. Prompts
    find_prompts(clips, generator, wanted.ranks, search, parts, job)

    # 3. Chunks of every representation: pixels at the scaled rates of the published ladder, in one shape a rung
    scale = rate_scale(height_px, width_px, fps)
    rungs = []
    for codec in wanted.codecs:
        of_codec = [curve for (name_, _), curve in curves.items() if name_ == codec]
        shapes = possible_shapes(codec, height_px, width_px)
        rungs += [(codec, bps * scale, _best_shape(of_codec, bps * scale, judge, shapes)) for bps in PIXEL_BPS]
    chunks: dict[str, dict[Place, Chunk]] = {}
    with Progress("Scoring", (len(rungs) + len(wanted.ranks)) * len(frame_counts)) as progress:
        for place, _, frames in every_second(clips):
            measures: dict[str, Callable[[], dict[str, Any]]] = {
                f"{codec}-{bps:.0f}": partial(_pixel_chunk, frames, codec, bps, shape, fps, wanted.metrics)
                for codec, bps, shape in rungs
            }
            for rank in wanted.ranks:
                measures[f"prompt-{rank}"] = partial(
                    _prompt_chunk, frames, parts, place, rank, generator, search.batch_size, fps, wanted.metrics
                )
            for row, measure_chunk in measures.items():
                kept = parts.of(place.part(f"{row}-scores"), measure_chunk)
                chunks.setdefault(row, {})[place] = Chunk(**kept)
                progress.advance(note=row)

    # 4. The table
    reference = {place: curves[REFERENCE_CODEC, place] for place in frame_counts}
    rows = []
    for codec, bps, shape in rungs:
        height, width = shape.size_px(height_px, width_px)
        size = {"height": height, "width": width, "fps": fps / shape.hold}
        head = {"name": f"{codec}-{bps / 1e3:.4g}k", "codec": codec, "kind": PIXEL, **size}
        rows.append(_row(head, list(chunks[f"{codec}-{bps:.0f}"].items()), reference, judge, fps, command))
    for rank in wanted.ranks:
        size = {"height": height_px, "width": width_px, "fps": fps}
        head = {"name": f"prompt-r{rank}", "codec": "prompt", "kind": GENERATIVE, **size}
        rows.append(_row(head, list(chunks[f"prompt-{rank}"].items()), reference, judge, fps, command))
    return {
        "schema": Ladder.SCHEMA,
        "name": name,
        "description": f"Measured on {len(clips)} clips: quality is the rate at which H.264 reaches the same {judge}.",
        "provenance": f"measured: {command}; {platform.machine()}, PyAV {av.__version__}, {time.strftime('%Y-%m-%d')}",
        "representations": rows,
        "measurement": job,
    }


def scenario_for(
    ladder_file: str, height_px: int, width_px: int, fps: float, sound_bps: float | None = None
) -> dict[str, Any]:
    """The fields of a scenario whose link and sound go with a measured ladder as the default ones with the published.

    Args:
        ladder_file: Name of the ladder's file, beside which the scenario's lies.
        height_px: Of the frames.
        width_px: Of the frames.
        fps: Frames per second.
        sound_bps: Bits per second of the clips' sound; the default scenario's where they have none.

    Returns:
        Fields of `ppgym.world.scenario.Scenario`; the others keep their defaults.
    """
    scale = rate_scale(height_px, width_px, fps)
    return {
        "ladder": ladder_file,
        "bandwidth_scale": float(f"{scale:.4g}"),
        "audio_bps": round((AUDIO_BPS if sound_bps is None else sound_bps) * scale),
    }


def _curve(frames: U1, codec: str, fps: float, judge: str) -> dict[str, Any]:
    return {"points": RateCurve.measure(frames, codec, fps, (judge,)).to_json()}


def _best_shape(curves: Sequence[RateCurve], rate_bps: float, judge: str, shapes: Sequence[Shape]) -> Shape:
    """The shape that has the best mean score at a rate, among those that come down to it in every second."""
    best = {}
    for shape in shapes:
        readings = [curve.in_shape(shape).quality_at(rate_bps, judge) for curve in curves]
        if all(reading.flag != CLAMPED_LOW for reading in readings):
            best[shape] = statistics.fmean(reading.value for reading in readings)
    return max(best, key=lambda shape: best[shape]) if best else FULL


def _pixel_chunk(
    frames: U1, codec: str, rate_bps: float, shape: Shape, fps: float, names: Sequence[str]
) -> dict[str, Any]:
    room = round(rate_bps / 8 * len(frames) / fps)
    began_s = time.perf_counter()
    fitted = encode_within(frames, codec, room, fps, names[0], (shape,))
    encode_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    decoded = fitted.decode(frames)
    decode_s = time.perf_counter() - began_s
    scores = metrics.measure(decoded, frames, fps, names)
    return Chunk(len(fitted.data), len(frames), scores, encode_s, decode_s)._asdict()


def _prompt_chunk(
    frames: U1,
    parts: Parts,
    place: Place,
    rank: int,
    generator: "Generator",
    batch_size: int,
    fps: float,
    names: Sequence[str],
) -> dict[str, Any]:
    found = found_prompt(parts, place, rank)
    began_s = time.perf_counter()
    decoded = generator.decode(found.chunk, batch_size=batch_size)
    decode_s = time.perf_counter() - began_s
    scores = metrics.measure(decoded, frames, fps, names)
    return Chunk(len(found.chunk.to_bytes()), len(frames), scores, found.encode_s, decode_s)._asdict()


def _row(
    head: dict[str, Any],
    chunks: list[tuple[Place, Chunk]],
    reference: dict[Place, RateCurve],
    judge: str,
    fps: float,
    command: str,
) -> dict[str, Any]:
    """A representation, as the ladder's file has it: what is known of it beforehand, and what was measured."""
    readings = [reference[place].bitrate_for(chunk.scores[judge], judge) for place, chunk in chunks]
    quality = [round(reading.value) / 1e6 for reading in readings]
    of_clip: dict[int, list[float]] = {}
    for (place, _), value in zip(chunks, quality, strict=True):
        of_clip.setdefault(place.clip, []).append(value)
    found = [chunk for _, chunk in chunks]
    total_bytes, total_frames = sum(one.size_bytes for one in found), sum(one.frame_count for one in found)
    rate_bps = bitrate_bps(total_bytes, total_frames, fps)
    return {
        **head,
        "bitrate_bps": round(rate_bps),
        "quality": round(statistics.fmean(quality), 6),
        "source": f"measured: {command}",
        "measured": {
            "chunk_bytes": [one.size_bytes for one in found],
            "chunk_quality": quality,
            "clip_quality": [round(statistics.fmean(values), 6) for values in of_clip.values()],
            "scores": {name: round(value, 5) for name, value in mean_scores([one.scores for one in found]).items()},
            "encode_s": round(statistics.median(one.encode_s for one in found), 4),
            "decode_s": round(statistics.median(one.decode_s for one in found), 4),
            "clamped_chunks": sum(reading.flag != MEASURED for reading in readings),
        },
    }
