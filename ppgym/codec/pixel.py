"""Pixels: H.264, HEVC and AV1 through FFmpeg (PyAV).

Streams are elementary streams without a container and without the encoders' messages (SEI), so that their bytes are
those of the pictures. Each second is a closed group of pictures that decodes alone. One thread: equal input gives
equal bytes.
"""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import av
import av.error
import llvmlite.binding
import numpy as np

from ppgym.codec.checks import check_frames, check_whole
from ppgym.core.state import U1
from ppgym.files import suggest

os.environ.setdefault("SVT_LOG", "1")  # errors only; its banner goes past FFmpeg's log otherwise

CHUNK_S = 1.0

Sliced = TypeVar("Sliced", U1, list[bytes])

# With x264's AVX-512 routines equal pictures gave unequal bytes (PyAV 18.1, macroblock trees, widths of 96, 192 and
# 320); with its AVX2 ones they do not
X264_ROUTINES = ":asm=AVX2" if llvmlite.binding.get_host_cpu_features().get("avx512f") else ""


class Encoder(NamedTuple):
    """How FFmpeg's encoder of a codec is driven.

    Attributes:
        name: FFmpeg's.
        max_crf: Coarsest constant rate factor.
        options: All the effort that it has, tuned for SSIM, by which it is judged; the encoder's own parameters close
            each group, whose length in frames is {gop}, and keep to one thread.
        filter: FFmpeg's bitstream filter that drops messages.
        min_side_px: Smallest height and width. libx265 4.2 writes beyond its memory on pictures of 34 to 48 pixels; one
            coding tree unit of 64 is safe.
    """

    name: str
    max_crf: int
    options: dict[str, str]
    filter: str
    min_side_px: int


BEST = {"preset": "veryslow", "tune": "ssim"}
CLOSED_GROUPS = "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
ENCODERS = {
    "h264": Encoder(
        name="libx264",
        max_crf=51,
        options=BEST | {"x264-params": f"{CLOSED_GROUPS}:threads=1{X264_ROUTINES}"},
        filter="filter_units=remove_types=6",
        min_side_px=16,
    ),
    "hevc": Encoder(
        name="libx265",
        max_crf=51,
        options=BEST | {"x265-params": f"{CLOSED_GROUPS}:pools=none:frame-threads=1:info=0:log-level=none"},
        filter="filter_units=remove_types=39-40",
        min_side_px=64,
    ),
    "av1": Encoder(
        name="libsvtav1",
        max_crf=63,
        options={"preset": "2", "svtav1-params": "keyint={gop}:scd=0:irefresh-type=2:lp=1"},
        filter="filter_units=remove_types=5",
        min_side_px=64,
    ),
}

# What the first bytes of an elementary stream say; anything else is left to FFmpeg's probing
NAL_START = b"\0\0\0\1"
AV1_START = b"\x12\0"


def encode_chunks(frames: U1, codec: str, bitrate_bps: float, fps: float) -> list[bytes]:
    """Encode a clip at a bitrate, cut before every second.

    Args:
        frames: uint8 [T, H, W, 3], red, green and blue; H and W even.
        codec: "h264", "hevc" or "av1".
        bitrate_bps: Bits per second to aim at.
        fps: Frames per second.

    Returns:
        Parts of an elementary stream, each of which decodes alone; `decode_pixels` gives T frames of H x W back.

    Raises:
        ValueError: Not such frames, an unknown codec, a number out of range, or a size that the encoder does not take.
    """
    if not 1e3 <= bitrate_bps <= 1e9:
        raise ValueError(f"bitrate_bps: expected a number from 1000 to 1e9, got {bitrate_bps!r}")
    packets = list(_encode(frames, codec, fps, b=str(round(bitrate_bps))))
    return [b"".join(part) for part in split_seconds(packets, fps)]


def split_seconds(clip: Sliced, fps: float) -> list[Sliced]:
    """Cut frames, or what was made of each, into chunks of one second; the last may be shorter."""
    size = _gop(fps)
    return [clip[start : start + size] for start in range(0, len(clip), size)]


def encode_at_crf(frames: U1, codec: str, crf: int, fps: float) -> bytes:
    """Encode a clip at constant quality.

    Args:
        frames: As for `encode_chunks`.
        codec: As for `encode_chunks`.
        crf: Constant rate factor from 1, nearly lossless, to the encoder's `max_crf`.
        fps: Frames per second.

    Returns:
        The elementary stream.

    Raises:
        ValueError: As for `encode_chunks`.
    """
    encoder = _encoder(codec)
    check_whole(f"crf of {codec}", crf, 1, encoder.max_crf)
    return b"".join(_encode(frames, codec, fps, crf=str(crf)))


def _encoder(codec: str) -> Encoder:
    if codec not in ENCODERS:
        raise ValueError(f"unknown codec {codec!r}; {suggest(codec, ENCODERS)}")
    return ENCODERS[codec]


def _gop(fps: float) -> int:
    return max(round(fps * CHUNK_S), 1)


def _encode(frames: U1, codec: str, fps: float, **rate_control: str) -> Iterator[bytes]:
    """The stream's access units, in the order of decoding; `rate_control` is FFmpeg's option `b` or `crf`."""
    height, width = check_frames(codec, frames, even=True).shape[1:3]
    if not 1 <= fps <= 240:
        raise ValueError(f"fps: expected a number from 1 to 240, got {fps!r}")
    encoder = _encoder(codec)
    if min(height, width) < encoder.min_side_px:
        raise ValueError(f"{codec}: expected sides of at least {encoder.min_side_px} pixels, got {height} x {width}")
    rate = Fraction(fps).limit_denominator(1001)
    context: Any = av.CodecContext.create(encoder.name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.framerate, context.time_base = rate, 1 / rate
    context.gop_size = _gop(fps)
    context.thread_count = 1
    context.options = {key: value.format(gop=_gop(fps)) for key, value in encoder.options.items()} | rate_control
    try:
        context.open()
        messages = av.bitstream.BitStreamFilterContext(encoder.filter, codec)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, 1 / rate
            for packet in context.encode(frame):
                yield from map(bytes, messages.filter(packet))
        for packet in context.encode(None):
            yield from map(bytes, messages.filter(packet))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{codec}: {encoder.name} refuses {width} x {height} at {fps:g} fps: {error}") from error


def decode_pixels(data: bytes) -> U1:
    """Decode a stream of `encode_chunks`, or a whole video file of any format that FFmpeg reads.

    Args:
        data: All of it.

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        ValueError: No video stream in it, or damaged.
    """
    frames = list(decode_frames(data))
    if not frames:
        raise ValueError(f"{len(data)} bytes: expected at least one frame, got none")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(
            f"{len(data)} bytes: expected frames of one size, got {sorted({frame.shape for frame in frames})}"
        )
    return np.stack(frames)


def decode_frames(data: bytes) -> Iterator[U1]:
    """Decode as `decode_pixels` does, a frame at a time.

    Args:
        data: All of it.

    Yields:
        uint8 [H, W, 3].

    Raises:
        ValueError: No video stream in it, or damaged.
    """
    where = f"{len(data)} bytes"
    try:
        with av.open(io.BytesIO(data), "r", format=_stream_format(data)) as container:
            stream = video_stream(container, where)
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{where}: expected a video that FFmpeg reads: {error}") from error


def video_stream(container: Any, where: str) -> Any:
    """The video stream of an open file, decoded by one thread.

    Raises:
        ValueError: There is none.
    """
    if not container.streams.video:
        raise ValueError(f"{where}: expected a video stream, got {len(container.streams)} streams of other kinds")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    return stream


def _stream_format(data: bytes) -> str | None:
    if data[:2] == AV1_START:
        return "obu"
    if data[:4] != NAL_START or len(data) < 5:
        return None
    return "hevc" if data[4] >> 1 & 63 in (32, 33, 34) else "h264"


def scale_frames(frames: U1, height_px: int, width_px: int) -> U1:
    """Scale a clip, whatever that does to its aspect ratio.

    Args:
        frames: uint8 [T, H, W, 3].
        height_px: Wanted.
        width_px: Wanted.

    Returns:
        uint8 [T, height_px, width_px, 3]: means over areas where it shrinks, bicubic where it grows (FFmpeg's scaler).
    """
    if frames.shape[1:3] == (height_px, width_px):
        return frames.copy()
    interpolation = "AREA" if frames.shape[1] > height_px else "BICUBIC"
    scaled = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        .reformat(width=width_px, height=height_px, interpolation=interpolation)
        .to_ndarray(format="rgb24")
        for picture in frames
    ]
    return np.stack(scaled)
