"""What the viewer saw: the chunks of a live session as a video, stalls as freezes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppgym.codec.generator import Generator
from ppgym.codec.pixel import decode_pixels
from ppgym.codec.video import write_mp4
from ppgym.core.state import U1
from ppgym.live.session import Key
from ppgym.rendering import PLAY, SCREEN, STALL, Timeline


def write_session(
    path: Path,
    timeline: Timeline,
    end_s: float,
    played: dict[Key, bytes],
    generative: tuple[bool, ...],
    generator: Generator | None,
    fps: float,
    size_px: tuple[int, int],
) -> int:
    """Write what the viewer saw as an MP4 file.

    Args:
        path: Of the file.
        timeline: Of the session.
        end_s: Of the session.
        played: Bytes of the chunks that were decoded.
        generative: [R] whether each representation is a prompt.
        generator: What draws prompts; None where there are none.
        fps: Frames per second.
        size_px: Height and width.

    Returns:
        Frames written.
    """
    spans = [span for span in timeline.spans(end_s) if span.lane == SCREEN]

    def frames() -> Iterator[U1]:
        shown, last = 0, np.zeros((1, *size_px, 3), np.uint8)
        for span in spans:
            until = round(span.end_s * fps)
            if span.kind == PLAY:
                data = played[Key(span.video, span.chunk)]
                chunk = _decode(data, generative[span.representation], generator)
                if until > shown:
                    part = chunk[: until - shown]
                    yield part
                    shown, last = shown + len(part), part[-1:]
            if until > shown:  # a stall, or rounding: the last frame stays
                yield np.repeat(last, until - shown, axis=0)
                shown = until

    assert all(span.kind in (PLAY, STALL) for span in spans)
    return write_mp4(path, frames(), fps)


def _decode(data: bytes, generative: bool, generator: Generator | None) -> U1:
    if not generative:
        return decode_pixels(data)
    from ppgym.codec.bitstream import PromptChunk

    assert generator is not None
    return generator.decode(PromptChunk.from_bytes(data))
