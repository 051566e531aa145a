"""Rate curves: the quality that a pixel codec reaches on a clip, by bitrate, at the best of several shapes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.codec import metrics
from ppgym.codec.metrics import Scores, bitrate_bps
from ppgym.codec.pixel import ENCODERS
from ppgym.codec.shapes import FULL, SHAPES, Shape, decode_shaped, encode_shaped, possible_shapes
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
    """What a codec takes and gives at one constant rate factor, in one shape."""

    crf: int
    shape: Shape
    bitrate_bps: float
    scores: Scores


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
    def measure(
        cls,
        frames: U1,
        codec: str,
        fps: float,
        names: Sequence[str],
        *,
        crfs: Iterable[int] = (),
        shapes: Sequence[Shape] = SHAPES,
    ) -> "RateCurve":
        """Encode and decode a clip at one rate factor after another, in each shape.

        Args:
            frames: uint8 [T, H, W, 3], even H and W.
            codec: "h264", "hevc" or "av1".
            fps: Frames per second.
            names: Of the metrics.
            crfs: Rate factors; by default from the codec's coarsest down in steps of 3; of the smaller shapes,
                which pay at low rates alone, the coarser half.
            shapes: To choose from.

        Raises:
            ValueError: As for `encode_at_crf`.
        """
        coarsest = ENCODERS[codec].max_crf
        height_px, width_px = frames.shape[1:3]
        points = []
        for shape in possible_shapes(codec, height_px, width_px, shapes):
            for crf in crfs or range(coarsest, 0 if shape == FULL else coarsest // 2, -CRF_STEP):
                data = encode_shaped(frames, codec, crf, fps, shape)
                scores = metrics.measure(decode_shaped(data, frames, shape.hold), frames, fps, names)
                points.append(RatePoint(crf, shape, bitrate_bps(len(data), len(frames), fps), scores))
        return cls(codec, tuple(sorted(points, key=lambda point: point.bitrate_bps)))

    def in_shape(self, shape: Shape) -> "RateCurve":
        """The points of one shape alone."""
        return RateCurve(self.codec, tuple(point for point in self.points if point.shape == shape))

    def quality_at(self, bitrate_bps: float, metric: str) -> Reading:
        """The quality that the codec reaches at a bitrate.

        Args:
            bitrate_bps: Bits per second.
            metric: One that was measured, and of which higher is better.

        Returns:
            Linear in the logarithm of the bitrate between the points; flagged `CLAMPED_LOW` where the codec cannot go
            so low.
        """
        rates = np.log([point.bitrate_bps for point in self.points])
        return _interpolate(float(np.log(bitrate_bps)), rates, self._best(metric))

    def bitrate_for(self, value: float, metric: str) -> Reading:
        """The least bitrate at which the codec reaches a quality.

        Args:
            value: Quality.
            metric: As for `quality_at`.

        Returns:
            Bits per second, the inverse of `quality_at`.
        """
        rates = np.log([point.bitrate_bps for point in self.points])
        reading = _interpolate(value, self._best(metric), rates)
        return Reading(float(np.exp(reading.value)), reading.flag)

    def to_json(self) -> list[dict[str, Any]]:
        """The points, as `from_json` reads them."""
        return [point._asdict() | {"shape": list(point.shape)} for point in self.points]

    @classmethod
    def from_json(cls, codec: str, points: list[dict[str, Any]]) -> "RateCurve":
        """A curve that `to_json` wrote."""
        return cls(codec, tuple(RatePoint(**point | {"shape": Shape(*point["shape"])}) for point in points))

    def _best(self, metric: str) -> npt.NDArray[np.float64]:
        """A rate's quality is the best of all lower rates too: nobody has to spend more for less."""
        return np.maximum.accumulate([point.scores[metric] for point in self.points])


def _interpolate(x: float, xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]) -> Reading:
    """Where a curve that rises, or stays, first reaches x."""
    k = int(np.searchsorted(xs, x))
    if k == len(xs):
        return Reading(float(ys[-1]), CLAMPED_HIGH)
    if k == 0:
        return Reading(float(ys[0]), MEASURED if x == xs[0] else CLAMPED_LOW)
    share = (x - xs[k - 1]) / (xs[k] - xs[k - 1])
    return Reading(float(ys[k - 1] + share * (ys[k] - ys[k - 1])), MEASURED)
