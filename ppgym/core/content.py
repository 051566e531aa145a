"""Content seconds: how many a chunk holds, what memory they take, how many have played, how many a viewer watches.

A video of `duration_s` is cut into chunks of `chunk_s`; the last one may be shorter. Its retention curve is given at
whole seconds and at the duration, and is linear in between: within a second the leaving viewers leave uniformly.
"""

import math

import numpy as np

from ppgym.core.jit import kernel
from ppgym.core.state import F8, CatalogArrays, Params, StateRecord

ROUNDING_S = 1e-9  # a duration so little above a whole number of seconds is that number


@kernel
def content_s(params: Params, catalog: CatalogArrays, index: int, chunk: int) -> float:
    """Content seconds of a chunk.

    Args:
        params: The scenario's constants.
        catalog: The catalog.
        index: Catalog index of the video.
        chunk: Chunk index.

    Returns:
        Seconds, above 0.
    """
    return min(params.chunk_s, catalog.duration_s[index] - chunk * params.chunk_s)


@kernel
def memory_bytes(params: Params, catalog: CatalogArrays, index: int, chunk: int, representation: int) -> float:
    """Bytes of the decoded buffer that a chunk reserves: whole ones, so that sums and differences are exact.

    Args:
        params: The scenario's constants.
        catalog: The catalog.
        index: Catalog index of the video.
        chunk: Chunk index.
        representation: Representation index.

    Returns:
        Bytes.
    """
    return np.rint(catalog.memory_bytes_per_s[representation] * content_s(params, catalog, index, chunk))


@kernel
def position_s(chunk_s: float, state: StateRecord) -> float:
    """Content seconds of the current video that have played.

    Args:
        chunk_s: Content seconds of a chunk.
        state: Record of `STATE_DTYPE`.

    Returns:
        Seconds.
    """
    begun_s = state.playhead * chunk_s
    if state.playing:
        return begun_s + (state.time_s - state.playback_since_s)
    return begun_s


@kernel
def last_second(duration_s: float) -> int:
    """The whole second in which the last interval of a retention curve begins.

    Args:
        duration_s: Of the video.

    Returns:
        Seconds, below the duration.
    """
    return math.ceil(duration_s - ROUNDING_S) - 1


@kernel
def survival(curve: F8, duration_s: float, seconds: float) -> float:
    """P(a video is watched for at least so long).

    Args:
        curve: [>= D + 1] its retention at whole seconds, the last of them at the duration.
        duration_s: Of the video.
        seconds: Content seconds, >= 0; past the end as at the end.

    Returns:
        Probability.
    """
    second = min(int(seconds), last_second(duration_s))
    width_s = min(1.0, duration_s - second)
    return curve[second] + (min(seconds, duration_s) - second) / width_s * (curve[second + 1] - curve[second])


@kernel
def survival_at(catalog: CatalogArrays, index: int, seconds: float) -> float:
    """`survival` of a video of the catalog.

    Args:
        catalog: The catalog.
        index: Catalog index.
        seconds: Content seconds, >= 0.

    Returns:
        Probability.
    """
    return survival(catalog.retention[index], catalog.duration_s[index], seconds)


@kernel
def watch_time_s(curve: F8, duration_s: float, level: float) -> float:
    """When a retention curve falls to a level.

    Args:
        curve: [>= D + 1] as for `survival`.
        duration_s: Of the video.
        level: In [0, 1); below the curve's last value the video is watched to its end.

    Returns:
        Content seconds in [0, duration_s].
    """
    for second in range(last_second(duration_s) + 1):
        if level >= curve[second + 1]:
            width_s = min(1.0, duration_s - second)
            return second + (curve[second] - level) / (curve[second] - curve[second + 1]) * width_s
    return duration_s
