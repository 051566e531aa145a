"""Pixel codecs: frames come back, seconds decode alone, nothing but pictures is in the stream, bad input is named."""

import io
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.fakes import moving_clip

pytest.importorskip("av")

from ppgym.codec.metrics import psnr_db
from ppgym.codec.pixel import (
    ENCODERS,
    decode_pixels,
    encode_at_crf,
    encode_chunks,
    scale_frames,
)

FPS = 8.0  # short seconds keep the slow presets quick
CODECS = list(ENCODERS)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return moving_clip(20)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_come_back(codec: str, clip: np.ndarray) -> None:
    data = b"".join(encode_chunks(clip, codec, 400e3, FPS))
    decoded = decode_pixels(data)
    assert decoded.shape == clip.shape
    assert decoded.dtype == np.uint8
    assert psnr_db(decoded, clip) > 30
    assert psnr_db(decoded[1:], clip[:-1]) < psnr_db(decoded, clip) - 5  # in their order
    assert b"".join(encode_chunks(clip, codec, 400e3, FPS)) == data


@pytest.mark.parametrize("codec", CODECS)
def test_every_second_decodes_alone(codec: str, clip: np.ndarray) -> None:
    chunks = encode_chunks(clip, codec, 200e3, FPS)
    whole = decode_pixels(b"".join(chunks))
    parts = [decode_pixels(chunk) for chunk in chunks]
    assert [len(part) for part in parts] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_stream_holds_no_messages(codec: str, clip: np.ndarray) -> None:
    units = b"".join(encode_chunks(clip, codec, 200e3, FPS)).split(b"\0\0\1")[1:]
    kinds = {unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63 for unit in units}
    assert not kinds & ({6} if codec == "h264" else {39, 40})
    assert kinds & ({5} if codec == "h264" else {19, 20})  # pictures that need no other


@pytest.mark.parametrize("codec", CODECS)
def test_coarser_is_smaller(codec: str, clip: np.ndarray) -> None:
    fine, coarse = (encode_at_crf(clip[:8], codec, crf, FPS) for crf in (10, ENCODERS[codec].max_crf))
    assert len(coarse) < len(fine) / 3
    assert psnr_db(decode_pixels(coarse), clip[:8]) < psnr_db(decode_pixels(fine), clip[:8]) - 5


@pytest.mark.parametrize("fps", [8, 29.97, 30000 / 1001])
def test_one_frame_is_a_clip(fps: float, clip: np.ndarray) -> None:
    for codec in CODECS:
        assert decode_pixels(encode_at_crf(clip[:1], codec, 30, fps)).shape == (1, 64, 96, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": "h265"}, "unknown codec 'h265'; did you mean 'h264'"),
        ({"frames": np.zeros((2, 64, 64), np.uint8)}, r"h264: expected frames uint8 \[T, H, W, 3\]"),
        ({"frames": np.zeros((2, 64, 64, 3))}, "got float64"),
        ({"frames": np.zeros((0, 64, 64, 3), np.uint8)}, r"got uint8 \[0, 64, 64, 3\]"),
        ({"frames": np.zeros((2, 63, 64, 3), np.uint8)}, "even height and width .*got 63 x 64"),
        (
            {"frames": np.zeros((2, 8, 8, 3), np.uint8), "codec": "av1"},
            "av1: expected sides of at least 64 pixels",
        ),
        ({"frames": np.zeros((2, 48, 64, 3), np.uint8), "codec": "hevc"}, "at least 64 pixels, got 48 x 64"),
        ({"frames": np.zeros((2, 64, 34, 3), np.uint8), "codec": "hevc"}, "at least 64 pixels, got 64 x 34"),
        ({"bitrate_bps": 0}, "bitrate_bps: expected a number from 1000"),
        ({"fps": 0}, "fps: expected a number from 1 to 240, got 0"),
    ],
)
def test_what_cannot_be_encoded_is_refused(change: dict[str, object], message: str, clip: np.ndarray) -> None:
    with pytest.raises(ValueError, match=message):
        encode_chunks(**({"frames": clip, "codec": "h264", "bitrate_bps": 1e5, "fps": 30.0} | change))  # type: ignore[arg-type]


def test_a_rate_factor_out_of_range_is_refused(clip: np.ndarray) -> None:
    with pytest.raises(ValueError, match="crf of h264: expected a whole number from 1 to 51, got 52"):
        encode_at_crf(clip, "h264", 52, FPS)


def _sound() -> bytes:
    memory = io.BytesIO()
    with wave.open(memory, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return memory.getvalue()


def test_what_is_no_video_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a video stream, got 1 streams of other kinds"):
        decode_pixels(_sound())
    for data in (b"", b"not a video " * 50, b"\0\0\0\1\x67", b"\x12\0"):
        with pytest.raises(ValueError, match=f"{len(data)} bytes: expected"):
            decode_pixels(data)


@settings(max_examples=30)
@given(st.data())
def test_damaged_streams_give_frames_or_an_error(data: st.DataObject) -> None:
    stream = bytearray(_streams()[data.draw(st.sampled_from(CODECS))])
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_pixels(bytes(stream[: data.draw(st.integers(0, len(stream)))])).ndim == 4
    except ValueError as error:
        assert "expected" in str(error)


def _streams(cache: dict[str, bytes] = {}) -> dict[str, bytes]:  # noqa: B006
    if not cache:
        cache |= {codec: encode_at_crf(moving_clip(4), codec, 40, FPS) for codec in CODECS}
    return cache


def test_scaling_takes_means_where_it_shrinks() -> None:
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    frames[:, :, ::2], frames[:, :, 1::2] = 200, 100
    np.testing.assert_allclose(scale_frames(frames, 2, 2), 150, atol=1)
    assert scale_frames(moving_clip(2), 128, 130).shape == (2, 128, 130, 3)
    np.testing.assert_array_equal(scale_frames(frames, 4, 4), frames)
