"""The bitstream of prompts: one chunk of keyframes as bytes. The page *Container* of the documentation has the format.

Numbers are little-endian, or varints (7 bits a byte, low bits first, the top bit set on all but the last). Values are
coded by `entropy.py`. The header is lean because a second at 12 kbit/s has 1,500 bytes in all.
"""

import io
import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.codec import entropy
from ppgym.codec.checks import check_whole
from ppgym.core.state import F4, U1

CHUNK_MAGIC = b"PC"
VERSION = 1
EXTENDED_VERSION = 2  # of chunks that say more of themselves than version 1 can
CRC_BYTES = 4

IDENTITY_DIGITS = 16  # 64 bits tell generators apart; the other 24 bytes of a SHA-256 would be paid for in every chunk

# Bounds on what a header may ask for; far above any use
MAX_SIDE_PX = 8192
MIN_BITS, MAX_BITS = 4, 8
MAX_FPS_DENOMINATOR = 1001
MAX_FRAMES = 1 << 12
MAX_GAP = 1 << 8  # frames from one keyframe to the next, so that few bytes do not ask for many pictures
MAX_CHUNK_PIXELS = 1 << 30  # of all frames: 10 s of 1080 x 1920 at 50 frames a second
MAX_DIMENSION = 1 << 14  # tokens, rank and width of a token
MAX_VALUES = 1 << 22
MAX_SEED = (1 << 32) - 1

PARAMETERS = ("u_scale", "u_zero", "v_scale", "v_zero")
# How one of them is written: its form, plus SHARED where one number serves all keyframes
FORMS = ("<f4", "<f2", "u1")
SHARED = 4

# What an extended header says; a seed and an anchor follow where they are there
SEPARATE, ROOTED, CHAINED, ANCHORED = 1, 2, 4, 8
NUMPY_NOISE = 1  # kind of noise: numpy.random.RandomState(seed).randn, as Promptus draws it

UNKNOWN_GENERATOR = "0" * IDENTITY_DIGITS  # of prompts whose weights nobody has named


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
        separate: Whether U and V are interpolated each for itself and then multiplied, as Promptus does; else U V is.
        rooted: Whether the embeddings are U V / sqrt(rank), as Promptus has them; else U V.
        noise_seed: Of NumPy's noise, where latents are chained: a frame is drawn from 0.05 x the clean latent of the
            keyframe before it + 0.95 x noise. None where every frame is drawn from the generator's own start.
        anchor: float16 [C, h, w], the latent before the first frame of a chain; None where it is missing, or no chain.

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
    separate: bool = False
    rooted: bool = False
    noise_seed: int | None = None
    anchor: npt.NDArray[np.float16] | None = None

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
        _check_pixels(self.height_px, self.width_px, self.frame_count)
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
        if max(np.diff(keyframes), default=1) > MAX_GAP:
            raise ValueError(f"prompt chunk: keyframes: expected at most {MAX_GAP} frames between two, got {keyframes}")
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
        if self.noise_seed is not None:
            check_whole("prompt chunk: noise_seed", self.noise_seed, 0, MAX_SEED)
        if self.anchor is not None:
            if self.noise_seed is None:
                raise ValueError("prompt chunk: anchor: expected a noise_seed with it, got None")
            self._freeze("anchor", np.float16, 3)
            _check_anchor(self.anchor.shape)
            if not np.isfinite(self.anchor).all():
                raise ValueError("prompt chunk: anchor: expected finite numbers")

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
        return self._product(*self.factors())

    def factors(self) -> tuple[F4, F4]:
        """U [K, tokens, rank] and V [K, rank, width] of the keyframes, float32."""
        u = self.u_scale[:, None, None] * (self.u - self.u_zero[:, None, None])
        v = self.v_scale[:, None, None] * (self.v - self.v_zero[:, None, None])
        return u, v

    def frame_embeddings(self) -> F4:
        """The token embeddings of all frames, interpolated linearly between the keyframes.

        Returns:
            float32 [T, tokens, width].
        """
        weights = interpolation(self.keyframes, self.frame_count)
        if self.separate:
            return self._product(*(np.einsum("tk,kab->tab", weights, factor) for factor in self.factors()))
        embeddings: F4 = np.einsum("tk,knw->tnw", weights, self.embeddings())
        return embeddings

    def _product(self, u: F4, v: F4) -> F4:
        product: F4 = np.matmul(u, v)
        if self.rooted:
            product /= np.float32(np.sqrt(self.rank))
        return product

    @property
    def extended(self) -> int:
        """What the header of version 2 says, as a sum of flags; 0 where version 1 is enough."""
        chained, anchored = self.noise_seed is not None, self.anchor is not None
        return SEPARATE * self.separate + ROOTED * self.rooted + CHAINED * chained + ANCHORED * anchored

    def to_bytes(self) -> bytes:
        """The chunk in its format: version 1, or 2 where that cannot say it."""
        fps = Fraction(self.fps).limit_denominator(MAX_FPS_DENOMINATOR)
        header = (
            *(self.height_px, self.width_px, fps.numerator, fps.denominator, self.frame_count),
            *(self.bits, self.tokens, self.rank, self.width),
            *(len(self.keyframes), *np.diff(self.keyframes).tolist()),
        )
        version = EXTENDED_VERSION if self.extended else VERSION
        data = bytearray(CHUNK_MAGIC + bytes([version]) + bytes.fromhex(self.generator))
        data += b"".join(map(_varint, header))
        if self.extended:
            data += _varint(self.extended)
        if self.noise_seed is not None:
            data += _varint(NUMPY_NOISE) + _varint(self.noise_seed)
        if self.anchor is not None:
            data += b"".join(map(_varint, self.anchor.shape)) + self.anchor.astype("<f2").tobytes()
        data += b"".join(_pack_parameter(getattr(self, name)) for name in PARAMETERS)
        u = entropy.Quantised(self.u, self.u_scale, self.u_zero)
        v = entropy.Quantised(self.v, self.v_scale, self.v_zero)
        data += entropy.encode([u, v], self.bits)
        return bytes(data) + crc(data)

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
        version = check_magic("prompt chunk", data, CHUNK_MAGIC, (VERSION, EXTENDED_VERSION))
        body = data[:-CRC_BYTES]
        if len(data) < len(CHUNK_MAGIC) + 1 + CRC_BYTES or crc(body) != data[-CRC_BYTES:]:
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
        _check_pixels(height_px, width_px, frame_count)
        _check_size(count, tokens, rank, width)
        gaps = [_read_varint(file) for _ in range(count - 1)]
        extension = _read_extension(file) if version == EXTENDED_VERSION else {}
        parameters: dict[str, Any] = {name: _unpack_parameter(file, count) for name in PARAMETERS}
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
            **extension,
        )


def check_generator(chunk: PromptChunk, identity: str) -> None:
    """Refuse to decode with another generator than the one that the prompt was found for.

    Args:
        chunk: Prompt.
        identity: Hexadecimal SHA-256 of the generator's weights.

    Raises:
        ValueError: They differ; names both.
    """
    if chunk.generator == UNKNOWN_GENERATOR:
        raise ValueError("this prompt does not say which generator it is for; import it again with --generator")
    if chunk.generator != identity[:IDENTITY_DIGITS].lower():
        raise ValueError(
            f"this prompt is for the generator {chunk.generator} and means nothing to {identity[:IDENTITY_DIGITS]}"
        )


def interpolation(keyframes: tuple[int, ...], frame_count: int) -> F4:
    """How much of each keyframe is in each frame.

    Args:
        keyframes: K ascending frame indices, the first 0, the last frame_count - 1.
        frame_count: T.

    Returns:
        float32 [T, K]; rows sum to 1, at most two neighbours are not 0.
    """
    frames = np.arange(frame_count)
    return np.stack([np.interp(frames, keyframes, unit) for unit in np.eye(len(keyframes))], axis=1).astype(np.float32)


def _read_extension(file: io.BytesIO) -> dict[str, Any]:
    flags = _read_varint(file)
    if not 1 <= flags <= SEPARATE | ROOTED | CHAINED | ANCHORED or (flags & ANCHORED and not flags & CHAINED):
        raise ValueError(f"prompt chunk: damaged: unknown flags {flags} of an extended header")
    found: dict[str, Any] = {"separate": bool(flags & SEPARATE), "rooted": bool(flags & ROOTED)}
    if flags & CHAINED:
        kind = _read_varint(file)
        if kind != NUMPY_NOISE:
            raise ValueError(f"prompt chunk: expected noise of kind {NUMPY_NOISE}, got {kind}")
        found["noise_seed"] = _read_varint(file)
    if flags & ANCHORED:
        shape = tuple(_read_varint(file) for _ in range(3))
        _check_anchor(shape)
        found["anchor"] = np.frombuffer(_take(file, 2 * math.prod(shape)), "<f2").reshape(shape).astype(np.float16)
    return found


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


def crc(data: bytes | bytearray) -> bytes:
    """The CRC-32 that ends chunks and indices, as bytes."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def check_magic(where: str, data: bytes, magic: bytes, versions: Sequence[int]) -> int:
    """Refuse what does not begin as it should.

    Args:
        where: Name for the message.
        data: At least the beginning.
        magic: Its first bytes; the version follows.
        versions: Of the format, that are known.

    Returns:
        The version.

    Raises:
        ValueError: Other bytes, or another version.
    """
    if data[: len(magic)] != magic:
        raise ValueError(f"{where}: expected it to begin with {magic!r}, got {bytes(data[: len(magic)])!r}")
    version = data[len(magic)] if len(data) > len(magic) else None
    if version is None or version not in versions:
        known = " or ".join(map(str, versions))
        raise ValueError(f"{where}: expected version {known} of the format, got {version}")
    return version


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def _check_pixels(height_px: int, width_px: int, frame_count: int) -> None:
    pixels = height_px * width_px * frame_count
    if pixels > MAX_CHUNK_PIXELS:
        raise ValueError(f"prompt chunk: expected at most {MAX_CHUNK_PIXELS} pixels in all its frames, got {pixels}")


def _check_anchor(shape: tuple[int, ...]) -> None:
    if not 1 <= math.prod(shape) <= MAX_VALUES:
        raise ValueError(f"prompt chunk: anchor: expected 1 to {MAX_VALUES} numbers, got the shape {shape}")


def _check_size(keyframes: int, tokens: int, rank: int, width: int) -> None:
    for name, size in (("tokens", tokens), ("rank", rank), ("width", width)):
        check_whole(f"prompt chunk: {name}", size, 1, MAX_DIMENSION)
    values = keyframes * rank * (tokens + width)
    if values > MAX_VALUES:
        raise ValueError(f"prompt chunk: expected at most {MAX_VALUES} values of U and V, got {values}")
