"""Pixels: clips in and out, and H.264, HEVC and AV1 through FFmpeg (PyAV).

Streams are elementary streams without a container and without the encoders' messages (SEI), so that their bytes are
those of the pictures. Each second is a closed group of pictures that decodes alone. One thread: equal input gives
equal bytes.
"""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import av.error
import llvmlite.binding
import numpy as np

from ppgym.codec.checks import check_frames, check_whole
from ppgym.core.state import U1
from ppgym.files import suggest, write_bytes

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
    """

    name: str
    max_crf: int
    options: dict[str, str]
    filter: str


BEST = {"preset": "veryslow", "tune": "ssim"}
CLOSED_GROUPS = "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
ENCODERS = {
    "h264": Encoder(
        name="libx264",
        max_crf=51,
        options=BEST | {"x264-params": f"{CLOSED_GROUPS}:threads=1{X264_ROUTINES}"},
        filter="filter_units=remove_types=6",
    ),
    "hevc": Encoder(
        name="libx265",
        max_crf=51,
        options=BEST | {"x265-params": f"{CLOSED_GROUPS}:pools=none:frame-threads=1:info=0:log-level=none"},
        filter="filter_units=remove_types=39-40",
    ),
    "av1": Encoder(
        name="libsvtav1",
        max_crf=63,
        options={"preset": "2", "svtav1-params": "keyint={gop}:scd=0:irefresh-type=2:lp=1"},
        filter="filter_units=remove_types=5",
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


def encode_within(frames: U1, codec: str, max_bytes: int, fps: float) -> tuple[bytes, bool]:
    """Encode a clip at the best constant quality that fits.

    Args:
        frames: As for `encode_chunks`.
        codec: As for `encode_chunks`.
        max_bytes: Room.
        fps: Frames per second.

    Returns:
        The elementary stream, and whether it fits: where it does not, the codec cannot go so low, and the stream is
        that of its coarsest quality.

    Raises:
        ValueError: As for `encode_chunks`.
    """
    low, high = 1, _encoder(codec).max_crf
    best = encode_at_crf(frames, codec, high, fps)
    if len(best) > max_bytes:
        return best, False
    while low < high:
        middle = (low + high) // 2
        data = encode_at_crf(frames, codec, middle, fps)
        if len(data) <= max_bytes:
            best, high = data, middle
        else:
            low = middle + 1
    return best, True


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
    return _decode(io.BytesIO(data), f"{len(data)} bytes", _stream_format(data))[0]


def _stream_format(data: bytes) -> str | None:
    if data[:2] == AV1_START:
        return "obu"
    if data[:4] != NAL_START or len(data) < 5:
        return None
    return "hevc" if data[4] >> 1 & 63 in (32, 33, 34) else "h264"


def _decode(file: Any, where: str, stream_format: str | None = None) -> tuple[U1, float]:
    try:
        with av.open(file, format=stream_format) as container:
            if not container.streams.video:
                raise ValueError(
                    f"{where}: expected a video stream, got {len(container.streams)} streams of other kinds"
                )
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{where}: expected a video that FFmpeg reads: {error}") from error
    if not frames:
        raise ValueError(f"{where}: expected at least one frame, got none")
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{where}: expected frames of one size, got {sorted({frame.shape for frame in frames})}")
    return np.stack(frames), fps


def read_clip(path: str | Path, fps: float = 30.0) -> tuple[U1, float]:
    """Read a video file, or a folder of PNG frames in the order of their names.

    Args:
        path: File or folder.
        fps: Frames per second of a folder, and of a file that does not say.

    Returns:
        uint8 [T, H, W, 3] and frames per second.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: No frames in it, frames of several sizes, or no video stream; names the path.
    """
    path = Path(path)
    if path.is_dir():
        pictures = sorted(path.glob("*.png"))
        if not pictures:
            raise ValueError(f"{path}: expected PNG frames in this folder, got none")
        frames = []
        for picture in pictures:
            frames.append(_decode(str(picture), str(picture))[0][0])
            if frames[-1].shape != frames[0].shape:
                raise ValueError(
                    f"{picture}: expected {frames[0].shape[:2]} pixels as before it, got {frames[-1].shape[:2]}"
                )
        return np.stack(frames), fps
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    found, rate = _decode(str(path), str(path))
    return found, rate or fps


def write_mp4(path: str | Path, frames: U1, fps: float) -> None:
    """Write a clip as H.264 of high quality in an MP4 file, whole or not at all.

    Args:
        path: Of the file.
        frames: uint8 [T, H, W, 3], even H and W.
        fps: Frames per second.

    Raises:
        ValueError: Not such frames.
    """
    height, width = check_frames(str(path), frames, even=True).shape[1:3]
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    write_bytes(Path(path), memory.getvalue())


def fit_frames(frames: U1, height_px: int, width_px: int) -> U1:
    """Cut a clip about its centre to an aspect ratio and scale it to a size.

    Args:
        frames: uint8 [T, H, W, 3].
        height_px: Wanted.
        width_px: Wanted.

    Returns:
        uint8 [T, height_px, width_px, 3]: means over areas where it shrinks, bicubic where it grows (FFmpeg's scaler).

    Raises:
        ValueError: Not such frames.
    """
    height, width = check_frames("clip", frames).shape[1:3]
    cut_height = min(height, max(round(width * height_px / width_px), 1))
    cut_width = min(width, max(round(height * width_px / height_px), 1))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    cut = frames[:, top : top + cut_height, left : left + cut_width]
    if cut.shape[1:3] == (height_px, width_px):
        return cut.copy()
    interpolation = "AREA" if cut_height > height_px else "BICUBIC"
    scaled = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        .reformat(width=width_px, height=height_px, interpolation=interpolation)
        .to_ndarray(format="rgb24")
        for picture in cut
    ]
    return np.stack(scaled)
