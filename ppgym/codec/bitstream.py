"""The bitstream of prompts: one chunk of keyframes as bytes, and a file of chunks (`.ppv`) with random access.

Numbers are little-endian, or varints (7 bits a byte, low bits first, the top bit set on all but the last). Values are
coded by `entropy.py`.

A chunk, whose header is lean because a second at 12 kbit/s has 1,500 bytes in all:

| field | bytes |
|---|---|
| magic `PC`, version | 3 |
| first 16 digits of the generator's identity | 8 |
| height, width, frames per second as a fraction, frames, bits, tokens, rank, width of a token | 8 to 17, varints |
| number of keyframes, then the gaps between them | 1 for each, varints |
| `u_scale`, `u_zero`, `v_scale`, `v_zero`, each in the smallest form that is exact | 1, and 1 to 4 a keyframe |
| U and V, entropy coded | the rest |
| CRC-32 of all before | 4 |

A file: magic `PPV`, version, number of chunks (4 bytes), bytes of each chunk (4 bytes each), CRC-32 of all that, then
the chunks. So any chunk is read without its neighbours.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import overload

import numpy as np

from ppgym.codec import entropy
from ppgym.codec.checks import check_whole
from ppgym.core.state import F4, U1
from ppgym.files import write_bytes

CHUNK_MAGIC = b"PC"
FILE_MAGIC = b"PPV"
VERSION = 1
CRC_BYTES = 4

IDENTITY_DIGITS = 16  # 64 bits tell generators apart; the other 24 bytes of a SHA-256 would be paid for in every chunk

# Bounds on what a header may ask for; far above any use
MAX_SIDE_PX = 8192
MIN_BITS, MAX_BITS = 4, 8
MAX_FPS_DENOMINATOR = 1001
MAX_FRAMES = 1 << 16
MAX_DIMENSION = 1 << 14  # tokens, rank and width of a token
MAX_VALUES = 1 << 22
MAX_CHUNKS = 1 << 20

FILE_START = struct.Struct("<3sBI")  # magic, version, number of chunks

PARAMETERS = ("u_scale", "u_zero", "v_scale", "v_zero")
# How one of them is written: its form, plus SHARED where one number serves all keyframes
FORMS = ("<f4", "<f2", "u1")
SHARED = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptChunk:
    """Frames as prompts: low-rank token embeddings U V at keyframes, between which U and V are interpolated.

    A chunk decodes alone: its last frame is a keyframe. Chained prompts, which share the keyframe between one second
    and the next, are one long chunk.

    Attributes:
        generator: Identity of the weights that turn embeddings into frames: a hexadecimal SHA-256, of which the first
            `IDENTITY_DIGITS` are kept.
        height_px: Of the frames.
        width_px: Of the frames.
        fps: Frames per second; rounded to the nearest fraction with a denominator up to 1001.
        frame_count: T.
        keyframes: K ascending frame indices, the first 0, the last T - 1.
        bits: 4 to 8 for a value.
        u: uint8 [K, tokens, rank], below 2 ** bits.
        v: uint8 [K, rank, width], below 2 ** bits.
        u_scale: float32 [K]; a value is scale * (q - zero). A scale that float16 holds exactly costs 2 bytes in place
            of 4, one that all keyframes share is written once.
        u_zero: float32 [K]; a whole number from 0 to 255 costs 1 byte in place of 4.
        v_scale: As `u_scale`.
        v_zero: As `u_zero`.

    Raises:
        ValueError: A field breaks a rule above; names it, the value and what was expected.
    """

    generator: str
    height_px: int
    width_px: int
    fps: float
    frame_count: int
    keyframes: tuple[int, ...]
    bits: int
    u: U1
    v: U1
    u_scale: F4
    u_zero: F4
    v_scale: F4
    v_zero: F4

    def __post_init__(self) -> None:
        """Check the fields; copy and freeze the arrays."""
        digits = self.generator[:IDENTITY_DIGITS].lower() if isinstance(self.generator, str) else ""
        if len(digits) < IDENTITY_DIGITS or set(digits) - set("0123456789abcdef"):
            raise ValueError(
                f"prompt chunk: generator: expected at least {IDENTITY_DIGITS} hexadecimal digits, "
                f"got {self.generator!r}"
            )
        object.__setattr__(self, "generator", digits)
        check_whole("prompt chunk: height_px", self.height_px, 1, MAX_SIDE_PX)
        check_whole("prompt chunk: width_px", self.width_px, 1, MAX_SIDE_PX)
        check_whole("prompt chunk: frame_count", self.frame_count, 1, MAX_FRAMES)
        check_whole("prompt chunk: bits", self.bits, MIN_BITS, MAX_BITS)
        if not isinstance(self.fps, int | float) or not 0.01 <= self.fps <= 1000:
            raise ValueError(f"prompt chunk: fps: expected a number from 0.01 to 1000, got {self.fps!r}")
        object.__setattr__(self, "fps", float(Fraction(self.fps).limit_denominator(MAX_FPS_DENOMINATOR)))

        keyframes = tuple(int(k) for k in self.keyframes)
        object.__setattr__(self, "keyframes", keyframes)
        last = self.frame_count - 1
        ascending = all(a < b for a, b in itertools.pairwise(keyframes))
        if not keyframes or keyframes[0] != 0 or keyframes[-1] != last or not ascending:
            raise ValueError(
                f"prompt chunk: keyframes: expected ascending frames from 0 to {last}, the closing one, got {keyframes}"
            )
        count = len(keyframes)
        for name in ("u", "v"):
            self._freeze(name, np.uint8, 3)
        if self.u.shape[0] != count or self.v.shape[0] != count or self.u.shape[2] != self.v.shape[1]:
            raise ValueError(
                f"prompt chunk: expected u of shape [{count}, tokens, rank] and v of [{count}, rank, width], "
                f"got {self.u.shape} and {self.v.shape}"
            )
        _check_size(count, self.tokens, self.rank, self.width)
        for name in ("u", "v"):
            largest = int(getattr(self, name).max())
            if largest >> self.bits:
                raise ValueError(f"prompt chunk: {name}: expected values below 2 ** {self.bits}, got {largest}")
        for name in PARAMETERS:
            self._freeze(name, np.float32, 1)
            array = getattr(self, name)
            if array.shape != (count,) or not np.isfinite(array).all():
                raise ValueError(f"prompt chunk: {name}: expected {count} finite numbers, got {array.tolist()}")

    def _freeze(self, name: str, dtype: type[np.generic], ndim: int) -> None:
        array = np.asarray(getattr(self, name))
        if array.dtype != dtype or array.ndim != ndim:
            raise ValueError(
                f"prompt chunk: {name}: expected {np.dtype(dtype)} of {ndim} dimensions, "
                f"got {array.dtype} of {array.ndim}"
            )
        array = array.copy()
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @property
    def tokens(self) -> int:
        """Rows of U."""
        return int(self.u.shape[1])

    @property
    def rank(self) -> int:
        """Columns of U, rows of V."""
        return int(self.u.shape[2])

    @property
    def width(self) -> int:
        """Columns of V: numbers of a token."""
        return int(self.v.shape[2])

    def __eq__(self, other: object) -> bool:
        """Whether every field is equal, to the bit."""
        if not isinstance(other, PromptChunk):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]

    def embeddings(self) -> F4:
        """The token embeddings at the keyframes.

        Returns:
            float32 [K, tokens, width], U V of each keyframe.
        """
        u = self.u_scale[:, None, None] * (self.u - self.u_zero[:, None, None])
        v = self.v_scale[:, None, None] * (self.v - self.v_zero[:, None, None])
        product: F4 = np.matmul(u, v)
        return product

    def to_bytes(self) -> bytes:
        """The chunk in the format of this file's head."""
        fps = Fraction(self.fps).limit_denominator(MAX_FPS_DENOMINATOR)
        header = (
            *(self.height_px, self.width_px, fps.numerator, fps.denominator, self.frame_count),
            *(self.bits, self.tokens, self.rank, self.width),
            *(len(self.keyframes), *np.diff(self.keyframes).tolist()),
        )
        data = bytearray(CHUNK_MAGIC + bytes([VERSION]) + bytes.fromhex(self.generator))
        data += b"".join(map(_varint, header))
        data += b"".join(_pack_parameter(getattr(self, name)) for name in PARAMETERS)
        u = entropy.Quantised(self.u, self.u_scale, self.u_zero)
        v = entropy.Quantised(self.v, self.v_scale, self.v_zero)
        data += entropy.encode([u, v], self.bits)
        return bytes(data) + _crc(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PromptChunk":
        """Read a chunk that `to_bytes` wrote.

        Args:
            data: All of it, and nothing more.

        Returns:
            An equal chunk.

        Raises:
            ValueError: Damaged, truncated, followed by other bytes, of another version or no chunk at all.
        """
        _check_magic("prompt chunk", data, CHUNK_MAGIC)
        body = data[:-CRC_BYTES]
        if len(data) < len(CHUNK_MAGIC) + 1 + CRC_BYTES or _crc(body) != data[-CRC_BYTES:]:
            raise ValueError("prompt chunk: damaged or truncated: its CRC-32 does not match")
        file = io.BytesIO(body[len(CHUNK_MAGIC) + 1 :])
        generator = _take(file, IDENTITY_DIGITS // 2).hex()
        height_px, width_px, fps_numerator, fps_denominator, frame_count = (_read_varint(file) for _ in range(5))
        bits, tokens, rank, width, count = (_read_varint(file) for _ in range(5))
        if fps_denominator == 0 or not 1 <= count <= frame_count <= MAX_FRAMES:
            raise ValueError(
                f"prompt chunk: expected 1 to {MAX_FRAMES} frames at a rate above 0 and no more keyframes, got "
                f"{frame_count} at {fps_numerator}/{fps_denominator} and {count}"
            )
        check_whole("prompt chunk: bits", bits, MIN_BITS, MAX_BITS)
        _check_size(count, tokens, rank, width)
        gaps = [_read_varint(file) for _ in range(count - 1)]
        parameters = {name: _unpack_parameter(file, count) for name in PARAMETERS}
        u_scale, u_zero, v_scale, v_zero = parameters.values()
        try:
            u, v = entropy.decode(
                file.read(), [(count, tokens, rank), (count, rank, width)], [u_scale, v_scale], [u_zero, v_zero], bits
            )
        except ValueError as error:
            raise ValueError(f"prompt chunk: {error}") from error
        return cls(
            generator=generator,
            height_px=height_px,
            width_px=width_px,
            fps=fps_numerator / fps_denominator,
            frame_count=frame_count,
            keyframes=tuple(int(frame) for frame in np.cumsum([0, *gaps])),
            bits=bits,
            u=u,
            v=v,
            **parameters,
        )


def check_generator(chunk: PromptChunk, identity: str) -> None:
    """Refuse to decode with another generator than the one that the prompt was found for.

    Args:
        chunk: Prompt.
        identity: Hexadecimal SHA-256 of the generator's weights.

    Raises:
        ValueError: They differ; names both.
    """
    if chunk.generator != identity[:IDENTITY_DIGITS].lower():
        raise ValueError(
            f"this prompt is for the generator {chunk.generator} and means nothing to {identity[:IDENTITY_DIGITS]}"
        )


class PpvFile(Sequence[PromptChunk]):
    """A file of chunks: opening it reads the index alone, indexing it one chunk.

    Attributes:
        path: Of the file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Damaged, truncated, followed by other bytes, of another version or no such file; names the file
            and, when it is read, the chunk.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the index.

        Args:
            path: Of the file.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file")
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            start = file.read(FILE_START.size)
            _check_magic(str(self.path), start, FILE_MAGIC)
            count = FILE_START.unpack(start)[2] if len(start) == FILE_START.size else 0
            first = FILE_START.size + 4 * count + CRC_BYTES
            if not 1 <= count <= MAX_CHUNKS or first > size:
                raise ValueError(
                    f"{self.path}: expected an index of 1 to {MAX_CHUNKS} chunks, got {count} in {size} bytes"
                )
            index = file.read(4 * count)
            if file.read(CRC_BYTES) != _crc(start + index):
                raise ValueError(f"{self.path}: damaged: the CRC-32 of its index does not match")
        self._offsets = np.cumsum([first, *np.frombuffer(index, dtype="<u4").tolist()]).tolist()
        if self._offsets[-1] != size:
            raise ValueError(f"{self.path}: expected {self._offsets[-1]} bytes by its index, got {size}")

    def __len__(self) -> int:
        """Chunks."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> PromptChunk: ...

    @overload
    def __getitem__(self, index: slice) -> list[PromptChunk]: ...

    def __getitem__(self, index: int | slice) -> PromptChunk | list[PromptChunk]:
        """Read a chunk, or a list of them."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        k = range(len(self))[index]
        with self.path.open("rb") as file:
            file.seek(self._offsets[k])
            data = file.read(self._offsets[k + 1] - self._offsets[k])
        try:
            return PromptChunk.from_bytes(data)
        except ValueError as error:
            raise ValueError(f"{self.path}, chunk {k}: {error}") from error


def write_ppv(path: str | Path, chunks: Iterable[PromptChunk]) -> None:
    """Write a file of chunks as a whole: a reader sees the old file or the new one, never a part.

    Args:
        path: Of the file.
        chunks: At least one, for one generator, of one resolution and frame rate.

    Raises:
        ValueError: No chunks, or chunks that differ in one of these.
    """
    path = Path(path)
    chunks = list(chunks)
    if not 1 <= len(chunks) <= MAX_CHUNKS:
        raise ValueError(f"{path}: expected 1 to {MAX_CHUNKS} chunks, got {len(chunks)}")
    for name in ("generator", "height_px", "width_px", "fps"):
        found = {getattr(chunk, name) for chunk in chunks}
        if len(found) > 1:
            raise ValueError(f"{path}: expected chunks of one {name}, got {sorted(found)}")
    coded = [chunk.to_bytes() for chunk in chunks]
    head = FILE_START.pack(FILE_MAGIC, VERSION, len(coded)) + b"".join(struct.pack("<I", len(data)) for data in coded)
    write_bytes(path, b"".join([head, _crc(head), *coded]))


def _take(file: io.BytesIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise ValueError("prompt chunk: truncated: it ends within its header")
    return found


def _read_varint(file: io.BytesIO) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = _take(file, 1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("prompt chunk: damaged: a number in its header has more than 5 bytes")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def _pack_parameter(numbers: F4) -> bytes:
    shared = numbers.tobytes() == numbers[:1].tobytes() * len(numbers)  # to the bit: -0 is not 0
    numbers = numbers[:1] if shared else numbers
    with np.errstate(over="ignore", invalid="ignore"):
        exact = [form for form in FORMS if numbers.astype(form).astype(np.float32).tobytes() == numbers.tobytes()]
    return bytes([FORMS.index(exact[-1]) + SHARED * shared]) + numbers.astype(exact[-1]).tobytes()


def _unpack_parameter(file: io.BytesIO, count: int) -> F4:
    code = _take(file, 1)[0]
    form, shared = code % SHARED, code // SHARED
    if form >= len(FORMS) or shared > 1:
        raise ValueError(f"prompt chunk: damaged: unknown form {code} of a scale or zero point")
    dtype = np.dtype(FORMS[form])
    stored = 1 if shared else count
    numbers = np.frombuffer(_take(file, dtype.itemsize * stored), dtype).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("prompt chunk: damaged: a scale or zero point that is no finite number")
    return np.repeat(numbers, count // stored)


def _crc(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def _check_magic(where: str, data: bytes, magic: bytes) -> None:
    if data[: len(magic)] != magic:
        raise ValueError(f"{where}: expected it to begin with {magic!r}, got {bytes(data[: len(magic)])!r}")
    version = data[len(magic) : len(magic) + 1]
    if version != bytes([VERSION]):
        raise ValueError(f"{where}: expected version {VERSION} of the format, got {version[0] if version else 'none'}")


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def _check_size(keyframes: int, tokens: int, rank: int, width: int) -> None:
    for name, size in (("tokens", tokens), ("rank", rank), ("width", width)):
        check_whole(f"prompt chunk: {name}", size, 1, MAX_DIMENSION)
    values = keyframes * rank * (tokens + width)
    if values > MAX_VALUES:
        raise ValueError(f"prompt chunk: expected at most {MAX_VALUES} values of U and V, got {values}")
