"""Clips as people have them: video files and folders of PNG frames in, MP4 out.

What a phone writes is read as it is shown: turned by the display matrix, with square pixels, at a constant frame rate
by its time stamps, in 8 bits. Pictures of high dynamic range are refused by name: to map their tones needs zimg, which
PyAV does not bring. A clip is read second by second and scaled as it is decoded, so that its length costs no memory.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import av.error
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from ppgym.codec.checks import check_frames
from ppgym.codec.pixel import split_seconds, video_stream
from ppgym.codec.sound import SoundTrack
from ppgym.core.state import U1
from ppgym.files import write_bytes

FOLDER_FPS: Final = 30.0  # of a folder of frames, and of a file that does not say
MAX_FPS: Final = 120.0
MAX_SIDE_PX: Final = 8192
HD_HEIGHT_PX: Final = 720  # pictures without a tag are BT.709 from here on, BT.601 below
MAX_GAP_S: Final = 60.0  # between two frames
SAME_RATE: Final = 0.02  # two rates that differ by less are one
SHORT_GAPS: Final = 10  # percentile of the gaps between frames
HDR: Final = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
UNSPECIFIED_COLORSPACE: Final = 2


class Size(NamedTuple):
    """Of pictures, in pixels."""

    height: int
    width: int


def read_clip(path: str | Path, size: Size | None = None) -> tuple[U1, float]:
    """Read a whole clip.

    Args:
        path: Video file, or folder of PNG frames in the order of their names.
        size: To cut about the centre and scale to; as shown, where None.

    Returns:
        uint8 [T, H, W, 3] and frames per second.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: No frames in it, frames of several sizes, high dynamic range, or no video stream; names the path.
    """
    clip = Clip(path, size)
    return np.concatenate(list(clip.seconds())), clip.fps


class Clip:
    """A clip on disk, of which nothing is kept in memory but the second that is asked for.

    Attributes:
        path: Video file, or folder of PNG frames in the order of their names.
        size: Of the frames; as shown, where None.
        fps: Frames per second.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: No video, or no frames; names the path.
    """

    def __init__(self, path: str | Path, size: Size | None = None) -> None:
        """Look at what the file says of itself.

        Args:
            path: File or folder.
            size: To cut about the centre and scale to.
        """
        self.path, self.size = Path(path), size
        self.fps = FOLDER_FPS
        if self.path.is_dir():
            if not self._pictures():
                raise ValueError(f"{self.path}: expected PNG frames in this folder, got none")
        elif not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file or folder")
        else:
            with _opened(self.path) as container:
                stream = video_stream(container, str(self.path))
                self.fps = _frame_rate(container, stream)

    def seconds(self) -> Iterator[U1]:
        """Its seconds, the last of which may be shorter.

        Yields:
            uint8 [T, H, W, 3].

        Raises:
            ValueError: As for `read_clip`.
        """
        kept: list[U1] = []
        length = max(round(self.fps), 1)
        count = 0
        for picture in self._frames():
            if kept and picture.shape != kept[0].shape:
                expected, got = (one.shape[:2] for one in (kept[0], picture))
                raise ValueError(f"{self.path}, frame {count}: expected {expected} pixels as before it, got {got}")
            kept.append(picture)
            count += 1
            if len(kept) == length:
                yield np.stack(kept)
                kept.clear()
        if kept:
            yield np.stack(kept)
        if not count:
            raise ValueError(f"{self.path}: expected at least one frame, got none")

    def _pictures(self) -> list[Path]:
        return sorted(self.path.glob("*.png"))

    def _frames(self) -> Iterator[U1]:
        """Frames uint8 [H, W, 3] at the clip's rate."""
        if self.path.is_dir():
            for picture in self._pictures():
                with _opened(picture) as container:
                    yield from (self._shown(frame) for frame in container.decode(video_stream(container, str(picture))))
            return
        with _opened(self.path) as container:
            yield from at_constant_rate(self._timed(container), self.fps, str(self.path))

    def _timed(self, container: Any) -> Iterator[tuple[float | None, float, U1]]:
        """Time stamp in s, or None; duration in s, 0 where unknown; and picture of each frame."""
        stream = video_stream(container, str(self.path))
        for frame in container.decode(stream):
            duration_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
            yield frame.time, duration_s, self._shown(frame, stream.sample_aspect_ratio)

    def _shown(self, frame: av.VideoFrame, aspect: Fraction | None = None) -> U1:
        """A frame as a player shows it, cut and scaled: uint8 [H, W, 3]."""
        if frame.color_trc in HDR:
            raise ValueError(
                f"{self.path}: expected standard dynamic range, got HDR ({HDR[ColorTrc(frame.color_trc)]}); convert it "
                "first, in ffmpeg by its filters zscale and tonemap"
            )
        if not max(frame.height, frame.width) <= MAX_SIDE_PX:
            raise ValueError(
                f"{self.path}: expected sides of at most {MAX_SIDE_PX} px, got {frame.height} x {frame.width}"
            )
        aspect = aspect or Fraction(1)
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        shown = Size(frame.height, max(round(frame.width * aspect), 1))
        size = self.size and (Size(self.size.width, self.size.height) if turns % 2 else self.size)
        wanted = size or shown
        # Cut in the shown picture's proportions, in the coded picture's pixels
        cut_height = min(shown.height, round(shown.width * wanted.height / wanted.width))
        cut_width = min(shown.width, round(shown.height * wanted.width / wanted.height))
        height, width = max(cut_height, 1), max(round(cut_width / aspect), 1)
        top, left = (frame.height - height) // 2, (frame.width - width) // 2
        untagged = frame.colorspace == UNSPECIFIED_COLORSPACE and max(frame.height, frame.width) >= HD_HEIGHT_PX
        matrix = Colorspace.ITU709 if untagged else None
        picture = np.asarray(frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray(), np.uint8)
        cut: U1 = np.ascontiguousarray(picture[top : top + height, left : left + width])
        if cut.shape[:2] != wanted:
            interpolation = "AREA" if height > wanted.height else "BICUBIC"
            scaled = av.VideoFrame.from_ndarray(cut, format="rgb24").reformat(
                width=wanted.width, height=wanted.height, interpolation=interpolation
            )
            cut = np.asarray(scaled.to_ndarray(), np.uint8)
        return np.ascontiguousarray(np.rot90(cut, turns))


def _frame_rate(container: Any, stream: Any) -> float:
    """Frames per second: what the file says, or where frames come at uneven times, what its short gaps say."""
    guessed, base = float(stream.guessed_rate or 0), float(stream.base_rate or 0)
    if guessed and abs(guessed - base) < SAME_RATE * base:
        return min(max(guessed, 1.0), MAX_FPS)
    stamps = np.unique([packet.pts for packet in container.demux(stream) if packet.pts is not None])
    if len(stamps) < 2:
        return min(max(guessed or FOLDER_FPS, 1.0), MAX_FPS)
    rate = 1 / (float(np.percentile(np.diff(stamps), SHORT_GAPS)) * float(stream.time_base))
    rate = round(rate) if abs(rate - round(rate)) < SAME_RATE * rate else rate  # time stamps are whole milliseconds
    return min(max(float(rate), 1.0), MAX_FPS)


def at_constant_rate(frames: Iterable[tuple[float | None, float, U1]], fps: float, where: str) -> Iterator[U1]:
    """Show frames at a constant rate: each from its time stamp until the next one's.

    Args:
        frames: Time stamp in s, None where it follows the one before at once; duration in s, 0 where unknown; picture.
        fps: Frames per second.
        where: Name for the message.

    Yields:
        Pictures; of several within one frame's time the last, and one that lasts longer more than once.

    Raises:
        ValueError: Two frames are more than `MAX_GAP_S` apart.
    """
    start_s: float | None = None
    place, shown, lasts = 0, None, 1
    for time_s, duration_s, picture in frames:
        if shown is not None:
            next_place = place + 1
            if time_s is not None and start_s is not None:
                next_place = max(round((time_s - start_s) * fps), place)
            if next_place - place > MAX_GAP_S * fps:
                raise ValueError(
                    f"{where}: expected frames at most {MAX_GAP_S:g} s apart, got {(next_place - place) / fps:g}"
                )
            yield from [shown] * (next_place - place)
            place = next_place
        elif time_s is not None:
            start_s = time_s
        shown, lasts = picture, max(round(duration_s * fps), 1)
    if shown is not None:
        yield from [shown] * min(lasts, round(MAX_GAP_S * fps))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open file, whose errors name it."""
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: expected a video that FFmpeg reads: {error}") from error


def write_mp4(path: str | Path, frames: U1 | Iterable[U1], fps: float, sound: bytes | None = None) -> int:
    """Write a clip as H.264 of high quality in an MP4 file, whole or not at all, tagged as BT.709.

    Args:
        path: Of the file.
        frames: uint8 [T, H, W, 3], even H and W; or parts of such a clip, one after the other.
        fps: Frames per second.
        sound: Of `ppgym.codec.sound.read_sound`, to go with it.

    Returns:
        Frames written.

    Raises:
        ValueError: Not such frames, or no such sound.
    """
    memory, count = io.BytesIO(), 0
    parts = split_seconds(frames, fps) if isinstance(frames, np.ndarray) else frames
    with av.open(memory, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "12", "threads": "1"})
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        track = SoundTrack(sound, container) if sound is not None else None
        for part in parts:
            height, width = check_frames(str(path), part, even=True).shape[1:3]
            if not count:
                stream.width, stream.height = width, height
            for picture in part:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
                count += 1
        container.mux(stream.encode(None))
        if track is not None:
            track.write()
    write_bytes(Path(path), memory.getvalue())
    return count
