"""Clips as phones make them: turned, with oblong pixels, at uneven times, tagged, in high dynamic range, and long."""

import subprocess
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codec.fakes import make_chunk, moving_clip

pytest.importorskip("av")

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from ppgym.codec.metrics import psnr_db
from ppgym.codec.ppv import PpvFile, write_ppv
from ppgym.codec.sound import read_sound
from ppgym.codec.video import Clip, Size, at_constant_rate, read_clip, write_mp4

FPS = 8.0


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return moving_clip(20)


def write(path: Path, frames: np.ndarray, times_ms: list[int] | None = None, **settings: Any) -> Path:
    """A lossless video whose context has such settings."""
    with av.open(str(path), "w") as container:
        codec = settings.pop("codec", "libx264")
        stream = container.add_stream(codec, rate=30, options={"qp": "0"} if codec == "libx264" else {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = settings.pop("pix_fmt", "yuv420p")
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = (times_ms or [33 * k for k in range(len(frames))])[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_clip_is_read_from_a_file_or_a_folder(tmp_path: Path, clip: np.ndarray) -> None:
    assert write_mp4(tmp_path / "clip.mp4", clip, FPS) == 20
    frames, fps = read_clip(tmp_path / "clip.mp4")
    assert (frames.shape, fps) == (clip.shape, FPS)
    assert psnr_db(frames, clip) > 35
    folder = tmp_path / "frames"
    folder.mkdir()
    with pytest.raises(ValueError, match="frames: expected PNG frames in this folder, got none"):
        read_clip(folder)
    for index in (1, 0):
        Image.fromarray(clip[index]).save(folder / f"{index:03}.png")
    frames, fps = read_clip(folder)
    np.testing.assert_array_equal(frames, clip[:2])
    assert fps == 30
    Image.fromarray(clip[0, :10]).save(folder / "002.png")
    with pytest.raises(ValueError, match=r"frames, frame 2: expected \(64, 96\) pixels as before it, got \(10, 96\)"):
        read_clip(folder)
    (folder / "000.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"000\.png: expected a video that FFmpeg reads"):
        read_clip(folder)
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4: no such file or folder"):
        read_clip(tmp_path / "gone.mp4")


def test_a_video_of_odd_size_is_not_written(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(ValueError, match="even height and width"):
        write_mp4(tmp_path / "clip.mp4", clip[:, 1:], FPS)
    assert not list(tmp_path.iterdir())


def test_a_clip_comes_second_by_second_and_cut_to_a_size(tmp_path: Path, clip: np.ndarray) -> None:
    write_mp4(tmp_path / "clip.mp4", clip, FPS)
    parts = list(Clip(tmp_path / "clip.mp4", Size(32, 32)).seconds())
    assert [part.shape for part in parts] == [(8, 32, 32, 3), (8, 32, 32, 3), (4, 32, 32, 3)]
    middle = clip[:8, :, 16:80].reshape(8, 32, 2, 32, 2, 3).mean((2, 4))  # a square about the centre, at half the size
    assert psnr_db(parts[0], middle.astype(np.uint8)) > 35
    wide = read_clip(tmp_path / "clip.mp4", Size(16, 64))[0]
    assert psnr_db(wide[:1], read_clip(tmp_path / "clip.mp4")[0][:1, 20:44].reshape(1, 24, 96, 3)[:, 4:20, 16:80]) < 40
    assert wide.shape == (20, 16, 64, 3)


def test_a_turned_video_is_read_as_it_is_shown(tmp_path: Path, clip: np.ndarray) -> None:
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    write_mp4(tmp_path / "plain.mp4", clip, FPS)
    for degrees in (90, 180, -90):
        turned = tmp_path / f"{degrees}.mp4"
        options = ["-v", "error", "-display_rotation", str(degrees), "-i", tmp_path / "plain.mp4", "-c", "copy"]
        subprocess.run([exe, *options, turned], check=True)
        # What the same program shows when it turns by itself
        shown = subprocess.run([exe, "-v", "error", "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], **PIPE)
        height, width = (64, 96) if degrees == 180 else (96, 64)
        expected = np.frombuffer(shown.stdout, np.uint8).reshape(-1, height, width, 3)
        frames, _ = read_clip(turned)
        assert frames.shape == expected.shape and psnr_db(frames, expected) > 38
        assert read_clip(turned, Size(32, 16))[0].shape == (20, 32, 16, 3)


PIPE: dict[str, Any] = {"check": True, "capture_output": True}


def test_oblong_pixels_become_square(tmp_path: Path, clip: np.ndarray) -> None:
    write(tmp_path / "wide.mp4", clip[:3], sample_aspect_ratio=Fraction(3, 2))
    frames, _ = read_clip(tmp_path / "wide.mp4")
    assert frames.shape == (3, 64, 144, 3)
    assert read_clip(tmp_path / "wide.mp4", Size(64, 64))[0].shape == (3, 64, 64, 3)
    # 64 of 144 shown columns about the centre are 43 of the 96 coded ones
    expected = read_clip(write(tmp_path / "square.mp4", clip[:3]))[0][:, :, 26:69]
    assert psnr_db(read_clip(tmp_path / "wide.mp4", Size(64, 43))[0][:, :, 8:35], expected[:, :, 8:35]) > 15


def test_a_clip_of_uneven_times_lasts_as_long_as_it_is_shown(tmp_path: Path) -> None:
    """Phones leave frames out in the dark: 34 frames in 4.03 s."""
    times_ms = [*range(0, 990, 66), *range(1000, 3880, 160), 4000]
    frames = np.stack([np.full((64, 64, 3), 7 * k, np.uint8) for k in range(34)])
    path = write(tmp_path / "dark.mp4", frames, times_ms)
    read, fps = read_clip(path)
    assert fps == 15  # the first second's rate; later frames come at a sixth of a second
    assert len(read) / fps == pytest.approx(4.03, abs=1 / 15)
    shown = np.array(times_ms)
    for index in range(0, len(read), 7):
        last = int((np.round(shown / 1000 * fps) <= index).sum()) - 1
        assert abs(int(read[index, 32, 32, 1]) - 7 * last) <= 3


def test_constant_rate_by_hand() -> None:
    pictures = [np.full((1, 1, 3), k, np.uint8) for k in range(5)]

    def levels(times: list[float | None], last_s: float = 0.0) -> list[int]:
        frames = [(time, last_s, picture) for time, picture in zip(times, pictures, strict=False)]
        return [int(picture[0, 0, 0]) for picture in at_constant_rate(iter(frames), 10.0, "clip")]

    assert levels([0.0, 0.1, 0.2]) == [0, 1, 2]
    assert levels([5.0, 5.099, 5.201]) == [0, 1, 2]  # from the first stamp on, whatever the rounding of the others
    assert levels([0.0, 0.3, 0.4]) == [0, 0, 0, 1, 2]
    assert levels([0.0, 0.01, 0.1], 0.3) == [
        1,
        2,
        2,
        2,
    ]  # of one frame's time the last; the end by its duration
    assert levels([None, None]) == [0, 1]
    assert levels([0.0, 0.2, 0.1, 0.3]) == [0, 0, 2, 3]  # a stamp that goes back takes the place of the one before
    with pytest.raises(ValueError, match=r"clip: expected frames at most 60 s apart, got 70"):
        levels([0.0, 70.0])


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=20))
def test_no_clip_is_longer_than_its_stamps(gaps_s: list[float]) -> None:
    times = np.cumsum([0.0, *gaps_s])
    frames = [(float(time), 0.0, np.zeros((1, 1, 3), np.uint8)) for time in times]
    count = len(list(at_constant_rate(iter(frames), 10.0, "clip")))
    assert abs(count - 1 - times[-1] * 10) <= 1


def test_ten_bits_are_read_and_high_dynamic_range_is_refused_by_name(tmp_path: Path, clip: np.ndarray) -> None:
    ten = write(tmp_path / "ten.mp4", clip[:2], pix_fmt="yuv420p10le")
    assert psnr_db(read_clip(ten)[0], clip[:2]) > 30
    for transfer, name in ((ColorTrc.SMPTE2084, "PQ"), (ColorTrc.ARIB_STD_B67, "HLG")):
        tags = {"color_trc": transfer, "color_primaries": ColorPrimaries.BT2020, "colorspace": Colorspace.BT2020}
        hdr = write(tmp_path / f"{name}.mp4", clip[:2], pix_fmt="yuv420p10le", **tags)
        with pytest.raises(ValueError, match=rf"{name}\.mp4: expected standard dynamic range, got HDR \({name}\)"):
            read_clip(hdr)


def test_colours_are_tagged_and_tags_are_followed(tmp_path: Path) -> None:
    red = np.zeros((2, 64, 64, 3), np.uint8)
    red[..., 0] = 200
    write_mp4(tmp_path / "red.mp4", red, FPS)
    with av.open(str(tmp_path / "red.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_range, context.color_primaries, context.color_trc
    assert tags == (Colorspace.ITU709, ColorRange.MPEG, ColorPrimaries.BT709, ColorTrc.BT709)
    assert np.abs(read_clip(tmp_path / "red.mp4")[0].astype(int) - red).max() <= 3


def test_a_long_clip_of_a_phone_takes_little_memory(tmp_path: Path) -> None:
    """Two seconds of 1080 x 1920 at 15 frames a second are 187 MB as RGB; a second is in memory at a time."""
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    source = ["-f", "lavfi", "-i", "testsrc2=size=1080x1920:rate=15:duration=2", "-c:v", "libx264"]
    subprocess.run([exe, "-v", "error", *source, "-preset", "ultrafast", tmp_path / "long.mp4"], check=True)
    tracemalloc.start()
    try:
        counts = [len(part) for part in Clip(tmp_path / "long.mp4", Size(128, 128)).seconds()]
        assert counts == [15] * 2
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def with_sound(folder: Path, codec: str = "aac") -> Path:
    """A second of pictures with a tone, one with the other by the tool of imageio-ffmpeg."""
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    pictures = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=8:duration=1"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1:sample_rate=48000", "-c:a", codec]
    path = folder / f"{codec}.mkv"
    subprocess.run([exe, "-v", "error", *pictures, *tone, "-c:v", "libx264", path], check=True)
    return path


def packets(path: Path) -> tuple[float, list[bytes]]:
    """Start in s and coded bytes of the sound."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(audio=0) if packet.size]
        return float(found[0].pts * found[0].time_base), [bytes(packet) for packet in found]


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_sound_comes_through_the_file_as_it_was(tmp_path: Path, codec: str, clip: np.ndarray) -> None:
    source = with_sound(tmp_path, codec)
    sound = read_sound(source)
    assert sound is not None
    write_ppv(tmp_path / "clip.ppv", [make_chunk(rank=1), make_chunk(rank=2)], sound)
    file = PpvFile(tmp_path / "clip.ppv")
    assert file.sound == sound and [chunk.rank for chunk in file] == [1, 2]
    write_mp4(tmp_path / "out.mp4", clip[:8], FPS, file.sound)
    assert read_clip(tmp_path / "out.mp4")[0].shape == (8, 64, 96, 3)
    (start_s, before), (later_s, after) = packets(source), packets(tmp_path / "out.mp4")
    assert before == after and len(before) > 40
    assert abs(later_s - start_s) < 0.03  # what an encoder puts before the first sample


def test_sound_of_other_kinds_is_left_out_and_no_sound_is_refused(tmp_path: Path, clip: np.ndarray) -> None:
    assert read_sound(with_sound(tmp_path, "flac")) is None
    write_mp4(tmp_path / "silent.mp4", clip[:2], FPS)
    assert read_sound(tmp_path / "silent.mp4") is None and read_sound(tmp_path) is None
    for sound in (b"", b"no sound at all"):
        with pytest.raises(ValueError, match="sound: expected a Matroska file"):
            write_mp4(tmp_path / "out.mp4", clip[:2], FPS, sound)
    assert not (tmp_path / "out.mp4").exists()


def test_damaged_sound_is_refused_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.ppv"
    write_ppv(path, [make_chunk()], b"sound")
    data = path.read_bytes()
    assert (data[3], PpvFile(path).sound) == (2, b"sound")
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"clip\.ppv"):
            PpvFile(path)
    path.write_bytes(data[:-6] + b"x" + data[-5:])
    with pytest.raises(ValueError, match=r"clip\.ppv: damaged: the CRC-32 of its sound"):
        PpvFile(path)
    write_ppv(path, [make_chunk()], b"")
    with pytest.raises(ValueError, match=r"expected 1 to \d+ bytes of sound, got 0"):
        PpvFile(path)
