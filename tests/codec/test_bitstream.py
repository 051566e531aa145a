"""The bitstream: round trips, a golden that no edit may change, its size against theory, every kind of damage."""

import itertools
import os
import re
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.codec import entropy
from ppgym.codec.bitstream import PARAMETERS, PromptChunk, check_generator
from ppgym.codec.ppv import PpvFile, write_ppv
from tests.codec.fakes import IDENTITY, make_chunk

# The page of the container is the specification: its test vectors, of version 1 and 2
PAGE = (Path(__file__).parents[2] / "docs" / "container.md").read_text(encoding="utf-8")
GOLDEN, GOLDEN_2 = ("".join(block.split()) for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))


@st.composite
def chunks(draw: st.DrawFn) -> PromptChunk:
    gaps = draw(st.lists(st.integers(1, 256), max_size=3))
    keyframes = tuple(itertools.accumulate([0, *gaps]))
    count, bits = len(keyframes), draw(st.integers(4, 8))
    tokens, rank, width = (draw(st.integers(1, 6)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    top = draw(st.integers(1, 1 << bits))
    number = st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 300).map(float), st.just(0.5)
    )
    return PromptChunk(
        generator=f"{draw(st.integers(0, 2**64 - 1)):016x}",
        height_px=draw(st.integers(1, 1024)),
        width_px=draw(st.integers(1, 1024)),
        fps=draw(st.sampled_from([1, 12.5, 24, 29.97, 30000 / 1001, 30, 59.94, 240.0])),
        frame_count=keyframes[-1] + 1,
        keyframes=keyframes,
        bits=bits,
        u=rng.integers(0, top, (count, tokens, rank), dtype=np.uint8, endpoint=top < 1 << bits),
        v=rng.integers(0, top, (count, rank, width), dtype=np.uint8),
        **{name: np.array(draw(st.lists(number, min_size=count, max_size=count)), np.float32) for name in PARAMETERS},
    )


@given(chunks())
def test_what_comes_back_is_equal(chunk: PromptChunk) -> None:
    data = chunk.to_bytes()
    assert PromptChunk.from_bytes(data) == chunk
    assert PromptChunk.from_bytes(data).to_bytes() == data


@pytest.mark.kernel
def test_the_bytes_of_version_1_never_change() -> None:
    chunk = make_chunk(keyframes=(0, 10, 20, 29), tokens=3, rank=2, width=8, bits=6)
    assert chunk.to_bytes().hex() == GOLDEN
    assert PromptChunk.from_bytes(bytes.fromhex(GOLDEN)) == chunk


@pytest.mark.kernel
def test_the_bytes_of_version_2_never_change() -> None:
    anchor = np.arange(4, dtype=np.float16).reshape(1, 2, 2)
    chain = {"separate": True, "rooted": True, "noise_seed": 88, "anchor": anchor}
    chunk = make_chunk(keyframes=(0, 4), tokens=2, rank=1, width=3, bits=8, **chain)
    assert chunk.to_bytes().hex() == GOLDEN_2
    assert PromptChunk.from_bytes(bytes.fromhex(GOLDEN_2)) == chunk


@given(st.booleans(), st.booleans(), st.one_of(st.none(), st.integers(0, 2**32 - 1)), st.booleans())
def test_what_is_extended_comes_back_equal(separate: bool, rooted: bool, seed: int | None, anchored: bool) -> None:
    anchor = np.linspace(-3, 3, 12).astype(np.float16).reshape(3, 2, 2) if anchored and seed is not None else None
    chunk = make_chunk(separate=separate, rooted=rooted, noise_seed=seed, anchor=anchor)
    data = chunk.to_bytes()
    assert data[2] == (2 if separate or rooted or seed is not None else 1)
    assert PromptChunk.from_bytes(data) == chunk


def test_embeddings_between_keyframes_by_hand() -> None:
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    u, v = np.array([[[1, 1, 1, 1]], [[3, 3, 3, 3]]], np.uint8), np.array([[[2]] * 4, [[4]] * 4], np.uint8)
    numbers = {"u_scale": ones, "u_zero": zeros, "v_scale": ones, "v_zero": zeros}
    fields = {"keyframes": (0, 2), "frame_count": 3, "u": u, "v": v, **numbers}
    # U V of the keyframes: 4 x 1 x 2 = 8 and 4 x 3 x 4 = 48
    assert make_chunk(**fields).frame_embeddings().ravel().tolist() == [8, 28, 48]
    # between them U is 2 and V is 3: 4 x 2 x 3
    assert make_chunk(**fields, separate=True).frame_embeddings().ravel().tolist() == [8, 24, 48]
    # over the root of rank 4
    assert make_chunk(**fields, separate=True, rooted=True).frame_embeddings().ravel().tolist() == [4, 12, 24]


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (bytes([0]), "unknown flags 0 of an extended header"),
        (bytes([16]), "unknown flags 16"),
        (bytes([8]), "unknown flags 8"),  # an anchor without a chain
        (bytes([4, 2, 1]), "expected noise of kind 1, got 2"),
        (bytes([12, 1, 88, 0, 2, 2]), r"anchor: expected 1 to \d+ numbers, got the shape \(0, 2, 2\)"),
        (bytes([12, 1, 88, 255, 127, 255, 127, 255, 127]), "anchor: expected 1 to"),
        (bytes([12, 1, 88, 4, 64, 64]), "truncated: it ends within its header"),
    ],
)
def test_a_damaged_extension_is_refused(tail: bytes, message: str) -> None:
    data = make_chunk().to_bytes()
    with pytest.raises(ValueError, match=message):
        PromptChunk.from_bytes(_sealed(b"PC\x02" + data[3:22] + tail))


def test_the_header_by_hand() -> None:
    data = make_chunk(keyframes=(0, 3)).to_bytes()
    assert data[:3] == b"PC\x01"
    assert data[3:11].hex() == IDENTITY[:16]
    # height, width, 30 / 1 frames a second, 4 frames, 6 bits, 2 tokens, rank 2, width 5, 2 keyframes 3 frames apart
    assert list(data[11:22]) == [64, 96, 30, 1, 4, 6, 2, 2, 5, 2, 3]
    # one scale in float16 and one zero point in a byte for both keyframes of U; two in float32 and two in bytes for V
    assert data[22:25] == b"\x05" + np.float16(0.5).tobytes()
    assert data[25:27] == bytes([6, 32])
    assert data[27:36] == b"\x00" + np.array([0.1, 0.2], "<f4").tobytes()
    assert data[36:39] == bytes([2, 32, 33])
    assert data[-4:] == zlib.crc32(data[:-4]).to_bytes(4, "little")
    assert len(data) <= 39 + 28 + 4  # 28 values that look like noise, at 6 bits each and something to learn with


def test_embeddings_by_hand() -> None:
    numbers = {name: np.array([value], np.float32) for name, value in zip(PARAMETERS, (0.5, 1, 2, 3), strict=True)}
    u, v = np.array([[[3], [1]]], np.uint8), np.array([[[4, 3, 0]]], np.uint8)
    chunk = make_chunk((0,), u=u, v=v, **numbers)
    # U = 0.5 * ([3, 1] - 1) = [1, 0], V = 2 * ([4, 3, 0] - 3) = [2, 0, -6]
    np.testing.assert_array_equal(chunk.embeddings(), [[[2, 0, -6], [0, 0, 0]]])
    assert chunk.embeddings().dtype == np.float32


def test_equality_sees_every_field() -> None:
    chunk = make_chunk()
    assert chunk == make_chunk()
    u = chunk.u.copy()
    u[0, 0, 0] ^= 1
    others = {"generator": "f" * 64, "height_px": 65, "fps": 25.0, "u": u, "v_zero": chunk.v_zero + 1}
    for name, value in others.items():
        assert chunk != make_chunk(**{name: value}), name
    assert chunk != "a chunk"
    with pytest.raises(ValueError, match="read-only"):
        chunk.u[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"generator": "tiny"}, "generator: expected at least 16 hexadecimal digits, got 'tiny'"),
        ({"height_px": 0}, "height_px: expected a whole number from 1 to 8192, got 0"),
        ({"width_px": 1.5}, "width_px: expected a whole number"),
        ({"fps": float("nan")}, "fps: expected a number from 0.01 to 1000, got nan"),
        ({"frame_count": 5}, r"keyframes: expected ascending frames from 0 to 4, the closing one, got \(0, 3\)"),
        ({"keyframes": (3, 0)}, "keyframes: expected ascending"),
        ({"keyframes": (0, 3, 3)}, "keyframes: expected ascending"),
        ({"bits": 3}, "bits: expected a whole number from 4 to 8, got 3"),
        ({"frame_count": 4097}, "frame_count: expected a whole number from 1 to 4096, got 4097"),
        ({"keyframes": (0, 257), "frame_count": 258}, "keyframes: expected at most 256 frames between two"),
        ({"height_px": 8192, "width_px": 8192, "frame_count": 17}, "expected at most 1073741824 pixels in all its"),
        ({"noise_seed": -1}, "noise_seed: expected a whole number from 0"),
        ({"anchor": np.zeros((1, 2, 2), np.float16)}, "anchor: expected a noise_seed with it, got None"),
        ({"noise_seed": 1, "anchor": np.zeros((2, 2), np.float16)}, "anchor: expected float16 of 3 dimensions"),
        ({"noise_seed": 1, "anchor": np.full((1, 1, 1), np.inf, np.float16)}, "anchor: expected finite numbers"),
        ({"u": np.full((2, 2, 2), 64, np.uint8)}, r"u: expected values below 2 \*\* 6, got 64"),
        ({"u": np.zeros((2, 2, 3), np.uint8)}, r"expected u of shape \[2, tokens, rank\] and v of \[2, rank, width\]"),
        ({"u": np.zeros((2, 2, 2), np.int64)}, "u: expected uint8 of 3 dimensions, got int64 of 3"),
        ({"u": np.zeros((2, 0, 2), np.uint8)}, "tokens: expected a whole number from 1"),
        ({"v_scale": np.ones(3, np.float32)}, "v_scale: expected 2 finite numbers"),
        ({"u_zero": np.array([1, np.nan], np.float32)}, "u_zero: expected 2 finite numbers"),
        ({"u_zero": np.ones(2)}, "u_zero: expected float32 of 1 dimensions, got float64"),
    ],
)
def test_a_chunk_refuses_what_makes_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_chunk(**fields)  # type: ignore[arg-type]


def test_another_generator_is_refused_by_both_names() -> None:
    check_generator(make_chunk(), IDENTITY)
    with pytest.raises(ValueError, match=f"{IDENTITY[:16]}.*{'f' * 16}"):
        check_generator(make_chunk(), "f" * 64)


def _quantised(x: np.ndarray, bits: int) -> entropy.Quantised:
    low, high = x.min(axis=(1, 2)), x.max(axis=(1, 2))
    scale = ((high - low) / (2**bits - 1)).astype(np.float32)
    zero = np.rint(-low / scale).astype(np.float32)
    values = np.clip(np.rint(x / scale[:, None, None] + zero[:, None, None]), 0, 2**bits - 1)
    return entropy.Quantised(values.astype(np.uint8), scale, zero)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_gaussian_keyframes_cost_what_theory_says(correlation: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 8, 500))
    for k in range(1, 4):
        x[k] = correlation * x[k - 1] + np.sqrt(1 - correlation**2) * x[k]
    plane = _quantised(x, 8)
    sigma = np.array([1, *[np.sqrt(1 - correlation**2)] * 3]) / plane.scale  # of what is new, in steps
    bound_bytes = np.log2(sigma * np.sqrt(2 * np.pi * np.e)).sum() * 4000 / 8
    data = entropy.encode([plane], 8)
    assert 0.99 * bound_bytes < len(data) < 1.02 * bound_bytes
    (values,) = entropy.decode(data, [x.shape], [plane.scale], [plane.zero], 8)  # type: ignore[list-item]
    np.testing.assert_array_equal(values, plane.values)


def test_a_tiny_chunk_gains_from_the_keyframe_before() -> None:
    rng = np.random.default_rng(2)
    x = np.repeat(rng.standard_normal((1, 4, 64)), 4, axis=0) + 0.03 * rng.standard_normal((4, 4, 64))
    together = entropy.encode([_quantised(x, 6)], 6)
    alone = [entropy.encode([_quantised(x[k : k + 1], 6)], 6) for k in range(4)]
    assert len(alone[0]) < 1.08 * 256 * 6 / 8
    assert len(together) < 0.5 * sum(map(len, alone))


def test_constant_values_cost_next_to_nothing() -> None:
    zeros = np.zeros((4, 8, 500), np.uint8)
    data = entropy.encode([entropy.Quantised(zeros, np.ones(4, np.float32), np.zeros(4, np.float32))], 8)
    assert 16000 / entropy.VALUES_PER_BYTE <= len(data) < 150


@pytest.mark.skipif("PPGYM_PROMPTUS" not in os.environ, reason="PPGYM_PROMPTUS names no folder of Promptus's prompts")
@pytest.mark.parametrize("keyframes", [4, 15])
def test_real_prompts_of_sd_turbo(keyframes: int) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    (path,) = Path(os.environ["PPGYM_PROMPTUS"]).glob("*.safetensors")
    tensors = safetensors.load_file(path)
    names = sorted({name.split(".")[0] for name in tensors})
    sizes = []
    for first in range(0, len(names) - keyframes + 1, keyframes):
        part = names[first : first + keyframes]
        stack = {key: np.stack([tensors[f"{name}.{key}"] for name in part]) for key in ("U", "V")}
        numbers = {
            f"{key.lower()}_{short}": np.array([tensors[f"{name}.{key}_{long}"] for name in part], np.float32)
            for key in ("U", "V")
            for short, long in (("scale", "scale"), ("zero", "zero_point"))
        }
        frames = tuple(10 * k for k in range(keyframes))
        chunk = make_chunk(frames, u=stack["U"], v=stack["V"], bits=8, height_px=512, width_px=512, **numbers)
        data = chunk.to_bytes()
        assert PromptChunk.from_bytes(data) == chunk
        sizes.append(len(data) / keyframes)
    assert np.mean(sizes) <= 7500


def _sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    for found in (data, b"PC\x01" + data, _sealed(b"PC\x01" + data)):
        with pytest.raises(ValueError, match="prompt chunk"):
            PromptChunk.from_bytes(found)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_refused(place: int, change: int) -> None:
    data = bytearray(make_chunk().to_bytes())
    data[place % len(data)] ^= change
    with pytest.raises(ValueError, match="prompt chunk"):
        PromptChunk.from_bytes(bytes(data))


@given(st.lists(st.tuples(st.integers(3, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 12))
def test_damage_behind_a_right_checksum_is_refused_or_makes_a_chunk(changes: list[tuple[int, int]], cut: int) -> None:
    body = bytearray(make_chunk().to_bytes()[:-4])
    for place, value in changes:
        body[max(place % len(body), 3)] = value
    try:
        chunk = PromptChunk.from_bytes(_sealed(bytes(body[: len(body) - cut])))
    except ValueError as error:
        assert "prompt chunk" in str(error)
    else:
        assert PromptChunk.from_bytes(chunk.to_bytes()) == chunk


def test_every_truncation_and_any_trailing_byte_is_refused() -> None:
    data = make_chunk().to_bytes()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="prompt chunk"):
            PromptChunk.from_bytes(data[:end])
    for more in (b"\0", b"abcdef"):
        with pytest.raises(ValueError, match="CRC-32"):
            PromptChunk.from_bytes(data + more)
        with pytest.raises(ValueError, match="bytes of coded values, got"):
            PromptChunk.from_bytes(_sealed(data[:-4] + more))


def test_another_version_is_refused_by_number() -> None:
    data = bytearray(make_chunk().to_bytes())
    data[2] = 3
    with pytest.raises(ValueError, match="expected version 1 or 2 of the format, got 3"):
        PromptChunk.from_bytes(bytes(data))


@pytest.mark.parametrize("sizes", [b"\xff\xff\x00\x08\xff\xff\x00\xff\xff\x03", b"\x04\x08\x80\x40\x20\x80\x40\x04"])
def test_a_header_that_asks_for_much_is_given_nothing(sizes: bytes) -> None:
    body = make_chunk().to_bytes()[:15] + sizes + bytes(200)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="prompt chunk"):
            PromptChunk.from_bytes(_sealed(body))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.fixture
def ppv(tmp_path: Path) -> Path:
    """A file of three chunks."""
    path = tmp_path / "clip.ppv"
    write_ppv(path, [make_chunk(rank=rank) for rank in (1, 2, 3)])
    return path


def test_a_file_gives_each_chunk_alone(ppv: Path) -> None:
    file = PpvFile(ppv)
    assert [chunk.rank for chunk in file] == [1, 2, 3]
    assert file[1] == make_chunk(rank=2)
    assert file[-1] == make_chunk(rank=3)
    assert [chunk.rank for chunk in file[1:]] == [2, 3]
    with pytest.raises(IndexError):
        file[3]
    data = bytearray(ppv.read_bytes())
    start = len(data) - len(make_chunk(rank=3).to_bytes()) - len(make_chunk(rank=2).to_bytes())
    data[start + 30] ^= 1
    ppv.write_bytes(data)
    damaged = PpvFile(ppv)
    assert damaged[0] == make_chunk(rank=1)
    assert damaged[2] == make_chunk(rank=3)
    with pytest.raises(ValueError, match=r"clip\.ppv, chunk 1: .*CRC-32"):
        damaged[1]


def test_a_file_refuses_every_truncation_and_trailing_bytes(ppv: Path) -> None:
    data = ppv.read_bytes()
    for found in (*(data[:end] for end in range(len(data))), data + b"\0", b"PK" + data):
        ppv.write_bytes(found)
        with pytest.raises(ValueError, match=r"clip\.ppv"):
            PpvFile(ppv)
    with pytest.raises(FileNotFoundError, match="no such file"):
        PpvFile(ppv.with_name("gone.ppv"))


@given(data=st.binary(max_size=100))
def test_a_file_of_random_bytes_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.ppv"
    for found in (data, b"PPV\x01" + data, b"PPV\x01\x01\x00\x00\x00" + data):
        path.write_bytes(found)
        with pytest.raises(ValueError, match=r"random\.ppv"):
            PpvFile(path)


def test_a_failed_write_leaves_the_old_file(ppv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ppv.read_bytes()
    with pytest.raises(ValueError, match=r"clip\.ppv: expected 1 to .* chunks, got 0"):
        write_ppv(ppv, [])
    with pytest.raises(ValueError, match=r"expected chunks of one fps, got \[25\.0, 30\.0\]"):
        write_ppv(ppv, [make_chunk(), make_chunk(fps=25.0)])

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_ppv(ppv, [make_chunk()])
    assert ppv.read_bytes() == old
    assert [path.name for path in ppv.parent.iterdir()] == ["clip.ppv"]
