"""Measured ladders: what each representation of a clip takes and gives, with one's own generator.

The table that `measure_ladder` makes takes the place of the published one (`ppgym.world.ladders.load_ladder`). What a
representation is worth is its *H.264-equivalent bitrate*: the rate at which H.264 reaches the same SSIM on the same
clip.
"""

import hashlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import av
import numpy as np
import numpy.typing as npt

from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.metrics import lpips, psnr_db, ssim
from ppgym.codec.pixel import CHUNK_S, ENCODERS, decode_pixels, encode_at_crf, encode_chunks, fit_frames
from ppgym.world.ladders import PIXEL_BPS, PROMPT_RANKS, MeasuredLadder

U1 = npt.NDArray[np.uint8]

# The published ladder is for 512 x 512 at 30 frames a second. Smaller pictures have more detail a pixel: a codec's
# rate at equal quality grows with the pixel rate to about the power 0.75 (a rule of thumb of encoding practice).
LADDER_PIXEL_RATE = 512 * 512 * 30.0
RATE_EXPONENT = 0.75

CRF_STEP = 3

# Where a reading of a curve comes from
MEASURED = "measured"
CLAMPED_LOW = "below the measured curve, clamped"
CLAMPED_HIGH = "above the measured curve, clamped"


class Generator(Protocol):
    """What turns prompts into frames (`generator.py`)."""

    @property
    def identity(self) -> str:
        """SHA-256 of the weights."""

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width of its frames."""

    def decode(self, chunk: PromptChunk) -> U1:
        """Frames uint8 [T, H, W, 3] of a chunk."""


class Reading(NamedTuple):
    """A value read off a curve, and whether it was clamped to the curve's end."""

    value: float
    flag: str


class RatePoint(NamedTuple):
    """What a codec takes and gives at one constant rate factor."""

    crf: int
    bitrate_bps: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class RateCurve:
    """A codec's measured rate-distortion curve on one clip.

    Attributes:
        codec: "h264", "hevc" or "av1".
        points: At least one, by ascending bitrate.
    """

    codec: str
    points: tuple[RatePoint, ...]

    @classmethod
    def measure(cls, frames: U1, codec: str, fps: float, crfs: Iterable[int] = ()) -> "RateCurve":
        """Encode and decode a clip at one rate factor after another.

        Args:
            frames: uint8 [T, H, W, 3], even H and W.
            codec: "h264", "hevc" or "av1".
            fps: Frames per second.
            crfs: Rate factors; by default from the codec's coarsest down in steps of 3.

        Raises:
            ValueError: As for `encode_at_crf`.
        """
        points = []
        for crf in crfs or range(ENCODERS[codec].max_crf, 0, -CRF_STEP):
            data = encode_at_crf(frames, codec, crf, fps)
            decoded = decode_pixels(data)
            bitrate_bps = len(data) * 8 * fps / len(frames)
            points.append(RatePoint(crf, bitrate_bps, psnr_db(decoded, frames), ssim(decoded, frames)))
        return cls(codec, tuple(sorted(points, key=lambda point: point.bitrate_bps)))

    def quality_at(self, bitrate_bps: float, metric: str = "ssim") -> Reading:
        """The quality that the codec reaches at a bitrate.

        Args:
            bitrate_bps: Bits per second.
            metric: "ssim" or "psnr_db".

        Returns:
            Linear in the logarithm of the bitrate between the points; flagged `CLAMPED_LOW` where the codec cannot go
            so low.
        """
        rates = np.log([point.bitrate_bps for point in self.points])
        return _interpolate(float(np.log(bitrate_bps)), rates, self._best(metric))

    def bitrate_for(self, value: float, metric: str = "ssim") -> Reading:
        """The least bitrate at which the codec reaches a quality.

        Args:
            value: Quality.
            metric: "ssim" or "psnr_db".

        Returns:
            Bits per second, the inverse of `quality_at`.
        """
        rates = np.log([point.bitrate_bps for point in self.points])
        reading = _interpolate(value, self._best(metric), rates)
        return Reading(float(np.exp(reading.value)), reading.flag)

    def _best(self, metric: str) -> npt.NDArray[np.float64]:
        """A rate's quality is the best of all lower rates too: nobody has to spend more for less."""
        return np.maximum.accumulate([getattr(point, metric) for point in self.points])


def _interpolate(x: float, xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]) -> Reading:
    """Where a curve that rises, or stays, first reaches x."""
    k = int(np.searchsorted(xs, x))
    if k == len(xs):
        return Reading(float(ys[-1]), CLAMPED_HIGH)
    if k == 0:
        return Reading(float(ys[0]), MEASURED if x == xs[0] else CLAMPED_LOW)
    share = (x - xs[k - 1]) / (xs[k] - xs[k - 1])
    return Reading(float(ys[k - 1] + share * (ys[k] - ys[k - 1])), MEASURED)


def pixel_rungs_bps(height_px: int, width_px: int, fps: float) -> tuple[float, ...]:
    """The bitrates of the published ladder's pixel rungs, scaled to a resolution.

    Args:
        height_px: Of the frames.
        width_px: Of the frames.
        fps: Frames per second.

    Returns:
        Bits per second: the rung's, times (pixels a second / those of 512 x 512 at 30) ** 0.75.
    """
    factor = (height_px * width_px * fps / LADDER_PIXEL_RATE) ** RATE_EXPONENT
    return tuple(bps * factor for bps in PIXEL_BPS)


def split_seconds(frames: U1, fps: float) -> list[U1]:
    """Cut a clip into chunks of one second; the last may be shorter."""
    size = max(round(fps * CHUNK_S), 1)
    return [frames[start : start + size] for start in range(0, len(frames), size)]


def measure_ladder(
    clip: str,
    frames: U1,
    fps: float,
    generator: Generator,
    invert: Callable[[U1, int], PromptChunk],
    *,
    generator_name: str,
    command: str,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Encode a clip in every representation of the default ladder, decode it, and measure.

    Args:
        clip: Its name in the table.
        frames: uint8 [T, H, W, 3]; cut and scaled to the generator's resolution.
        fps: Frames per second.
        generator: What decodes prompts.
        invert: From the frames of a second and a rank to the prompt.
        generator_name: Its name in the table.
        command: What makes the table again.
        report: Called with a line on each representation.

    Returns:
        The table, as `ppgym.world.ladders.load_ladder` reads it from JSON. Seconds are medians over the chunks.

    Raises:
        ValueError: Not such frames.
    """
    height_px, width_px = generator.resolution
    frames = fit_frames(frames, height_px, width_px)
    seconds = split_seconds(frames, fps)
    curve = RateCurve.measure(frames, "h264", fps)
    report(f"H.264 measured from {curve.points[0].bitrate_bps:.0f} to {curve.points[-1].bitrate_bps:.0f} bit/s")

    def row(
        codec: str, rank: int, encode_s: float, coded: list[bytes], decode: Callable[[bytes], U1]
    ) -> dict[str, Any]:
        decoded, decode_s = [], []
        for data in coded:
            start = time.perf_counter()
            decoded.append(decode(data))
            decode_s.append(time.perf_counter() - start)
        result = np.concatenate(decoded)
        similarity, distance = ssim(result, frames), lpips(result, frames)
        equivalent = curve.bitrate_for(similarity)
        bitrate_bps = sum(map(len, coded)) * 8 * fps / len(frames)
        report(
            f"{codec}{f' rank {rank}' if rank else ''}: {bitrate_bps:.0f} bit/s, SSIM {similarity:.4f}, "
            f"as H.264 at {equivalent.value:.0f} bit/s ({equivalent.flag})"
        )
        return {
            "codec": codec,
            "rank": rank,
            "width": width_px,
            "height": height_px,
            "fps": fps,
            "bitrate_bps": round(bitrate_bps),
            "chunk_bytes": [len(data) for data in coded],
            "psnr_db": round(psnr_db(result, frames), 3),
            "ssim": round(similarity, 5),
            "lpips": None if distance is None else round(distance, 5),
            "encode_s": round(encode_s, 4),
            "decode_s": round(statistics.median(decode_s), 4),
            "h264_equivalent_bps": round(equivalent.value),
            "flag": equivalent.flag,
        }

    rows = []
    for bitrate_bps in pixel_rungs_bps(height_px, width_px, fps):
        start = time.perf_counter()
        coded = encode_chunks(frames, "h264", bitrate_bps, fps)
        encode_s = (time.perf_counter() - start) / len(coded)
        rows.append(row("h264", 0, encode_s, coded, decode_pixels))
    for rank in PROMPT_RANKS:
        start = time.perf_counter()
        coded = [invert(second, rank).to_bytes() for second in seconds]
        encode_s = (time.perf_counter() - start) / len(coded)
        rows.append(row("prompt", rank, encode_s, coded, lambda data: generator.decode(PromptChunk.from_bytes(data))))
    return {
        "schema": MeasuredLadder.SCHEMA,
        "provenance": f"measured: {command}; {platform.machine()}, PyAV {av.__version__}, {time.strftime('%Y-%m-%d')}",
        "clip": {
            "name": clip,
            "frames": len(frames),
            "sha256": hashlib.sha256(frames.tobytes()).hexdigest(),
        },
        "generator": {"name": generator_name, "identity": generator.identity},
        "representations": rows,
        "h264_curve": [point._asdict() for point in curve.points],
    }
