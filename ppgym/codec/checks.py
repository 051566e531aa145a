"""What several modules check of the arguments that they are given."""

import numpy as np

from ppgym.core.state import U1


def check_frames(where: str, frames: object, even: bool = False) -> U1:
    """Refuse what is no clip.

    Args:
        where: Name for the message.
        frames: What was given.
        even: Whether the height and the width must be even.

    Returns:
        The frames.

    Raises:
        ValueError: Not uint8 [T, H, W, 3] with at least one frame and pixel, or an odd height or width.
    """
    if not isinstance(frames, np.ndarray):
        raise ValueError(f"{where}: expected a NumPy array of frames, got {type(frames).__name__}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"{where}: expected frames uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    if even and (height % 2 or width % 2):
        raise ValueError(f"{where}: expected an even height and width (YUV 4:2:0), got {height} x {width}")
    return frames


def check_whole(where: str, value: object, low: int, high: int | None = None) -> None:
    """Refuse what is no whole number within bounds.

    Args:
        where: Name for the message.
        value: What was given.
        low: Smallest value allowed.
        high: Largest value allowed; None for no bound.

    Raises:
        ValueError: Another type, or out of bounds.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{where}: expected a whole number {expected}, got {value!r}")
