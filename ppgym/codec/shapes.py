"""Shapes: the sizes and frame rates at which a pixel codec may run; what it decodes is scaled up and shown longer.

At low rates a codec does better on fewer and smaller pictures. To compare it at equal bytes is fair only at the best of
several shapes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppgym.codec.metrics import METRICS
from ppgym.codec.pixel import ENCODERS, decode_pixels, encode_at_crf, scale_frames
from ppgym.core.state import U1


class Shape(NamedTuple):
    """A size and a frame rate, as parts of the clip's own.

    Attributes:
        divisor: Of both sides; the result is rounded to even numbers.
        hold: Frames for which a picture is shown; every hold-th frame is coded.
    """

    divisor: float
    hold: int

    def size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width of the coded pictures of a clip."""
        return tuple(2 * max(round(side / self.divisor / 2), 1) for side in (height_px, width_px))  # type: ignore[return-value]

    def __str__(self) -> str:
        """For a line of output, such as "1/2 of the side, 1/2 of the frames"."""
        return "full size and rate" if self == FULL else f"1/{self.divisor:g} of the side, 1/{self.hold} of the frames"


FULL = Shape(1, 1)
SHAPES = tuple(Shape(divisor, hold) for divisor in (1, 1.5, 2, 3) for hold in (1, 2))


def possible_shapes(codec: str, height_px: int, width_px: int, shapes: Sequence[Shape] = SHAPES) -> tuple[Shape, ...]:
    """The shapes of a clip that an encoder takes.

    Args:
        codec: Key of `ENCODERS`.
        height_px: Of the clip.
        width_px: Of the clip.
        shapes: To choose from.

    Returns:
        Those whose sides are long enough; `FULL` always, so that too small a clip is refused by the encoder.
    """
    least_px = ENCODERS[codec].min_side_px
    return tuple(
        shape for shape in shapes if shape == FULL or min(shape.size_px(height_px, width_px)) >= max(least_px, 32)
    )


def encode_shaped(frames: U1, codec: str, crf: int, fps: float, shape: Shape) -> bytes:
    """Encode a clip at constant quality in a shape.

    Args:
        frames: uint8 [T, H, W, 3].
        codec: As for `encode_at_crf`.
        crf: As for `encode_at_crf`.
        fps: Of the clip.
        shape: The shape.

    Returns:
        The elementary stream.

    Raises:
        ValueError: As for `encode_at_crf`.
    """
    smaller = scale_frames(frames[:: shape.hold], *shape.size_px(*frames.shape[1:3]))
    return encode_at_crf(smaller, codec, crf, max(fps / shape.hold, 1.0))


def decode_shaped(data: bytes, like: U1, hold: int) -> U1:
    """Decode what `encode_shaped` wrote, each picture scaled up and shown for its time.

    Args:
        data: The elementary stream.
        like: uint8 [T, H, W, 3] of the shape wanted.
        hold: Frames for which a picture is shown.

    Returns:
        uint8 [T, H, W, 3].
    """
    decoded = scale_frames(decode_pixels(data), *like.shape[1:3])
    return np.repeat(decoded, hold, axis=0)[: len(like)]


class Fitted(NamedTuple):
    """A clip in a pixel codec, within some room.

    Attributes:
        data: The elementary stream.
        shape: Its shape.
        fits: False where the codec cannot go so low; this is its smallest stream then.
    """

    data: bytes
    shape: Shape
    fits: bool

    def decode(self, like: U1) -> U1:
        """Its frames, in the shape of the original uint8 [T, H, W, 3]."""
        return decode_shaped(self.data, like, self.shape.hold)


def encode_within(
    frames: U1, codec: str, max_bytes: int, fps: float, metric: str, shapes: Sequence[Shape] = SHAPES
) -> Fitted:
    """Encode a clip in the best shape, at the best constant quality that fits.

    Args:
        frames: uint8 [T, H, W, 3], even H and W.
        codec: Key of `ENCODERS`.
        max_bytes: Room.
        fps: Frames per second.
        metric: Key of `METRICS` that says which shape is best.
        shapes: To choose from.

    Returns:
        The best stream.

    Raises:
        ValueError: As for `encode_at_crf`.
    """
    height_px, width_px = frames.shape[1:3]
    possible = possible_shapes(codec, height_px, width_px, shapes)
    found = [_finest(frames, codec, max_bytes, fps, shape) for shape in possible]
    fitting = [one for one in found if one.fits]
    if not fitting:
        return min(found, key=lambda one: len(one.data))
    if len(fitting) == 1:
        return fitting[0]
    return max(fitting, key=lambda one: METRICS[metric].measure(one.decode(frames), frames, fps))


def _finest(frames: U1, codec: str, max_bytes: int, fps: float, shape: Shape) -> Fitted:
    """The stream of the finest rate factor that fits, by bisection; else that of the coarsest."""
    low, high = 1, ENCODERS[codec].max_crf
    best = encode_shaped(frames, codec, high, fps, shape)
    if len(best) > max_bytes:
        return Fitted(best, shape, False)
    while low < high:
        middle = (low + high) // 2
        data = encode_shaped(frames, codec, middle, fps, shape)
        if len(data) <= max_bytes:
            best, high = data, middle
        else:
            low = middle + 1
    return Fitted(best, shape, True)
