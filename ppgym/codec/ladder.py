"""Measured ladders: the bytes and the quality of each representation of a clip, with one's own generator.

The table that `measure_ladder` makes is the file of a ladder (`ppgym.world.ladders.Ladder`). A
representation is worth its *H.264-equivalent bitrate*: the rate at which H.264 reaches the same SSIM on the same clip.
"""

import hashlib
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.metrics import bitrate_bps, lpips, quality
from ppgym.codec.pixel import decode_pixels, encode_chunks, fit_frames, split_seconds
from ppgym.codec.rate_curve import RateCurve
from ppgym.core.state import U1
from ppgym.world.ladders import GENERATIVE, PIXEL, PIXEL_BPS, PROMPT_RANKS, Ladder

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

# The published ladder is for 512 x 512 at 30 frames a second. Smaller pictures have more detail a pixel: a codec's
# rate at equal quality grows with the pixel rate to about the power 0.75 (a rule of thumb of encoding practice).
LADDER_PIXEL_RATE = 512 * 512 * 30.0
RATE_EXPONENT = 0.75


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


def measure_ladder(
    clip: str,
    frames: U1,
    fps: float,
    generator: "Generator",
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
        The table, as `ppgym.world.ladders.Ladder` reads it from JSON. Seconds are medians over the chunks.

    Raises:
        ValueError: Not such frames.
    """
    height_px, width_px = generator.resolution
    frames = fit_frames(frames, height_px, width_px)
    seconds = split_seconds(frames, fps)
    curve = RateCurve.measure(frames, "h264", fps)
    report(f"H.264 measured from {curve.points[0].bitrate_bps:.0f} to {curve.points[-1].bitrate_bps:.0f} bit/s")

    def row(codec: str, rank: int, encode: Callable[[], list[bytes]], decode: Callable[[bytes], U1]) -> dict[str, Any]:
        began_s = time.perf_counter()
        coded = encode()
        encode_s = (time.perf_counter() - began_s) / len(coded)
        decoded, decode_s = [], []
        for data in coded:
            began_s = time.perf_counter()
            decoded.append(decode(data))
            decode_s.append(time.perf_counter() - began_s)
        result = np.concatenate(decoded)
        found, distance = quality(result, frames), lpips(result, frames)
        equivalent = curve.bitrate_for(found.ssim)
        rate_bps = bitrate_bps(sum(map(len, coded)), len(frames), fps)
        report(
            f"{codec}{f' rank {rank}' if rank else ''}: {rate_bps:.0f} bit/s, SSIM {found.ssim:.4f}, "
            f"as H.264 at {equivalent.value:.0f} bit/s ({equivalent.flag})"
        )
        return {
            "name": f"prompt-r{rank}" if rank else f"{codec}-{rate_bps / 1e3:.4g}k",
            "codec": codec,
            "kind": GENERATIVE if rank else PIXEL,
            "bitrate_bps": round(rate_bps),
            "quality": round(equivalent.value) / 1e6,
            "width": width_px,
            "height": height_px,
            "fps": fps,
            "source": f"measured: {command}",
            "measured": {
                "chunk_bytes": [len(data) for data in coded],
                "psnr_db": round(found.psnr_db, 3),
                "ssim": round(found.ssim, 5),
                "lpips": None if distance is None else round(distance, 5),
                "encode_s": round(encode_s, 4),
                "decode_s": round(statistics.median(decode_s), 4),
                "h264_equivalent_bps": round(equivalent.value),
                "flag": equivalent.flag,
            },
        }

    def encode_prompts(rank: int) -> list[bytes]:
        return [invert(second, rank).to_bytes() for second in seconds]

    def decode_prompt(data: bytes) -> U1:
        return generator.decode(PromptChunk.from_bytes(data))

    rungs_bps = pixel_rungs_bps(height_px, width_px, fps)
    rows = [row("h264", 0, partial(encode_chunks, frames, "h264", bps, fps), decode_pixels) for bps in rungs_bps]
    rows += [row("prompt", rank, partial(encode_prompts, rank), decode_prompt) for rank in PROMPT_RANKS]
    return {
        "schema": Ladder.SCHEMA,
        "name": clip,
        "description": "Measured on a clip: quality is the rate at which H.264 reaches the same SSIM.",
        "provenance": f"measured: {command}; {platform.machine()}, PyAV {av.__version__}, {time.strftime('%Y-%m-%d')}",
        "representations": rows,
        "measurement": {
            "clip": {"name": clip, "frames": len(frames), "sha256": hashlib.sha256(frames.tobytes()).hexdigest()},
            "generator": {"name": generator_name, "identity": generator.identity},
            "h264_curve": [point._asdict() for point in curve.points],
        },
    }
