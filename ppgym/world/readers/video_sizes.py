"""What every reader of videos returns: the bytes of each chunk at each bitrate."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8

MAX_CHUNKS = 2**15 - 1  # which a State counts in 16 bits
MAX_RUNGS = 12
OFF_LABEL = 2.0  # factor by which a rung's mean may miss its label
UNEVEN = 0.1  # share by which a segment's seconds may miss the others'


class VideoSizes(NamedTuple):
    """A video's chunks in each of P rungs, by rising bitrate.

    Attributes:
        name: Label.
        chunk_s: Seconds of every chunk but the last one, which may be shorter.
        duration_s: Seconds of the video, at most C x chunk_s.
        bitrates_bps: P labels, bits per second.
        chunk_bytes: float64 [C, P], bytes above 0.
        widths: P widths in pixels; None where they are not stated.
        heights: P heights in pixels; None where they are not stated.
        fps: P frame rates; None where they are not stated.
        notes: What was left out or estimated.
    """

    name: str
    chunk_s: float
    duration_s: float
    bitrates_bps: tuple[float, ...]
    chunk_bytes: F8
    widths: tuple[int | None, ...]
    heights: tuple[int | None, ...]
    fps: tuple[float | None, ...]
    notes: tuple[str, ...] = ()


class Rung(NamedTuple):
    """One rung as a file states it.

    Attributes:
        where: File and rung, for messages.
        bitrate_bps: Its label.
        segments_s: Seconds of each segment.
        segment_bytes: Bytes of each segment; () where they are not stated.
        width: Pixels, or None.
        height: Pixels, or None.
        fps: Frames per second, or None.
    """

    where: str
    bitrate_bps: float
    segments_s: tuple[float, ...]
    segment_bytes: tuple[float, ...]
    width: int | None = None
    height: int | None = None
    fps: float | None = None


def sizes_of_rungs(path: Path, name: str, rungs: list[Rung], estimate: bool = False) -> VideoSizes:
    """Put the rungs of a video together.

    Args:
        path: Of the video, for messages.
        name: Label.
        rungs: In any order.
        estimate: Whether bitrate x seconds takes the place of sizes that are not stated.

    Raises:
        ValueError: No rung, too many, or two of one bitrate; rungs with other segments, uneven segments, sizes that are
            not stated, a rung of fewer bytes than the one below it, or one whose mean is far off its label.
    """
    if not 1 <= len(rungs) <= MAX_RUNGS:
        raise ValueError(f"{path}: expected 1 to {MAX_RUNGS} rungs of video, got {len(rungs)}")
    rungs = sorted(rungs, key=lambda rung: rung.bitrate_bps)
    chunk_s = _chunk_s(rungs[0])
    chunks = len(rungs[0].segments_s)
    notes: tuple[str, ...] = ()
    columns = []
    for below, rung in zip([None, *rungs], rungs, strict=False):
        if below is not None and below.bitrate_bps == rung.bitrate_bps:
            raise ValueError(f"{rung.where}: expected another bitrate than that of {below.where}; remove one of them")
        if len(rung.segments_s) != chunks or abs(_chunk_s(rung) - chunk_s) > UNEVEN * chunk_s:
            raise ValueError(
                f"{rung.where}: expected {chunks} segments of {chunk_s:g} s as in {rungs[0].where}, "
                f"got {len(rung.segments_s)} of {_chunk_s(rung):g} s"
            )
        estimated = tuple(rung.bitrate_bps * seconds / 8 for seconds in rung.segments_s)
        if not rung.segment_bytes and not estimate:
            raise ValueError(
                f"{rung.where}: its segments' sizes are not stated; ask for an estimate, bitrate x seconds, or give "
                "the sizes (DASH: SegmentList with mediaRange; HLS: EXT-X-BYTERANGE; or files video_size_0 and so on)"
            )
        if not rung.segment_bytes:
            notes = ("sizes are not stated: they are bitrate x seconds",)
        columns.append(rung.segment_bytes or estimated)
        if below is not None and sum(columns[-1]) < sum(columns[-2]):
            raise ValueError(
                f"{rung.where}: expected more bytes than {below.where} has, {sum(columns[-2]):.0f}, got "
                f"{sum(columns[-1]):.0f}; are the rungs in the order of their bitrates?"
            )
        mean_bps = sum(columns[-1]) * 8 / sum(rung.segments_s)
        if not rung.bitrate_bps / OFF_LABEL <= mean_bps <= rung.bitrate_bps * OFF_LABEL:
            raise ValueError(
                f"{rung.where}: expected a mean within a factor of {OFF_LABEL:g} of its label, "
                f"{rung.bitrate_bps / 1e3:g} kbit/s, got {mean_bps / 1e3:.4g}; correct its bitrate, its sizes or the "
                "seconds of its chunks"
            )
    return VideoSizes(
        name,
        chunk_s,
        min(chunk_s * (chunks - 1) + rungs[0].segments_s[-1], chunk_s * chunks),
        tuple(rung.bitrate_bps for rung in rungs),
        np.array(columns, dtype=np.float64).T,
        tuple(rung.width for rung in rungs),
        tuple(rung.height for rung in rungs),
        tuple(rung.fps for rung in rungs),
        notes,
    )


def _chunk_s(rung: Rung) -> float:
    """Seconds of a rung's segments, which are even but for a short last one."""
    *first, last = rung.segments_s or (0.0,)
    chunk_s = sum(first) / len(first) if first else last
    if not 0 < len(rung.segments_s) <= MAX_CHUNKS:
        raise ValueError(f"{rung.where}: expected 1 to {MAX_CHUNKS:,} segments, got {len(rung.segments_s)}")
    uneven = [seconds for seconds in first if abs(seconds - chunk_s) > UNEVEN * chunk_s]
    if not 0 < last <= chunk_s * (1 + UNEVEN) or uneven:
        raise ValueError(
            f"{rung.where}: expected segments of {chunk_s:.4g} s and a last one that is no longer, got one of "
            f"{(uneven or [last])[0]:g} s; encode the video with a fixed distance of keyframes"
        )
    return chunk_s
