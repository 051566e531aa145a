"""Rate curves: the quality that a pixel codec reaches on a clip, by bitrate."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.codec.metrics import bitrate_bps, quality
from ppgym.codec.pixel import ENCODERS, decode_pixels, encode_at_crf
from ppgym.core.state import U1

CRF_STEP = 3

# Where a reading of a curve comes from
MEASURED = "measured"
CLAMPED_LOW = "below the measured curve, clamped"
CLAMPED_HIGH = "above the measured curve, clamped"


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
            rate_bps = bitrate_bps(len(data), len(frames), fps)
            points.append(RatePoint(crf, rate_bps, *quality(decode_pixels(data), frames)))
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
