"""Lossless coding of quantised prompts: a model of each value, and a range coder that uses it.

A value q of a plane (U or V at a keyframe) is coded as its bits, from the top. The model gives the probability of each
bit:

1. *Predict* the value from the same position at the two keyframes before: mu = a x1 + b (x1 - x2), with a and b by
   least squares over all that has been coded (lag 1 correlates with 0.5 in V and 0.8 in U of SD-Turbo's prompts).
2. *Scale*: the mean absolute error is learned by level of the recent errors of the row, and of the column, because
   tokens and components of U differ greatly. A row begins with its errors at the keyframe before, times the change
   that the rows above have shown since then.
3. *Experts*: the next bit chooses between two halves. Four experts give the probability mass of each half: a normal
   and a Laplace distribution around that mean, at the scale of the row and at that of the column.
4. *Mix* their log-odds by weights that gradient descent on the coding cost adapts (as in PAQ; M. Mahoney, "Adaptive
   Weighing of Context Models for Lossless Data Compression", 2005). A binary range coder uses the result.

Encoder and decoder run the same function. It computes with integers only, and its tables come from `decimal`, which
rounds correctly. So all machines agree to the bit.
"""

import functools
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.state import F4, I8, U1

Whole = Any  # int in Python, int64 in compiled code

ONE_STEP = 16  # one quantiser step in the model's fixed point
MAX_ZERO = 1 << 15  # bounds that keep all products below within 63 bits
MAX_REFERENCE = 1 << 16
WEIGHT_ONE = 1 << 16

# Cumulative distributions: over +-SPAN mean absolute deviations, STEPS to each, interpolated
STEPS = 32
SPAN = 16
HALF_TABLE = STEPS * SPAN
MASS_ONE = 1 << 28
FLOOR_MASS = MASS_ONE >> 18  # of each value, so that none is impossible

DISTRIBUTIONS = 2
EXPERTS = 2 * DISTRIBUTIONS  # each distribution, with the scale of the row and with that of the column
MIX_SHIFT = 16
LEAST_PROBABILITY = 16  # of 65536
LEVELS = 48
COUNT_LIMIT = 255

# Bytes that coded values may not fall below, which bounds what a short input can ask a reader to allocate
VALUES_PER_BYTE = 256
BYTES_PER_BIT = 2  # a bit of the least probability costs 12 bits; the rest is for the coder's roundings


class Tables(NamedTuple):
    """Functions of the model, tabulated.

    Attributes:
        mass: int64 [2, 2 HALF_TABLE + 1], cumulative normal and Laplace distribution of mean absolute deviation 1.
        squash: int64 [4096], 65536 / (1 + exp(-x)) for x from -8 in steps of 1/256.
        stretch: int64 [4096], its inverse in steps of 1/256.
    """

    mass: I8
    squash: I8
    stretch: I8


@functools.cache
def _tables() -> Tables:
    with localcontext() as context:
        context.prec = 20
        step, pi = Decimal(1) / STEPS, Decimal("3.1415926535897932385")
        mass = []
        halves = [i * step / 2 for i in range(2 * HALF_TABLE + 1)]
        for at in ([(-t * t / pi).exp() for t in halves], [(-t).exp() for t in halves]):
            areas = [at[i] + 4 * at[i + 1] + at[i + 2] for i in range(0, 2 * HALF_TABLE, 2)]  # Simpson's rule
            upper, total = [0], Decimal(0)
            for area in areas:
                total += area
                upper.append(int(MASS_ONE // 2 * total / sum(areas)))
            mass.append([MASS_ONE // 2 - u for u in upper[:0:-1]] + [MASS_ONE // 2 + u for u in upper])
        rising = [int(65536 / (1 + (Decimal(i) / 256).exp())) for i in range(2048, 0, -1)]
    squash = np.array([*rising, 32768, *(65536 - p for p in rising[:0:-1])])
    stretch = np.searchsorted(squash, 16 * np.arange(4096) + 8) - 2048
    return Tables(np.array(mass), squash, stretch)


class Model(NamedTuple):
    """What has been learned of a plane; all int64.

    Attributes:
        squares: [5], sums of x1 x1, x1 d, d d, x1 y and d y of the prediction's least squares, d = x1 - x2.
        errors: [2, LEVELS, 2], sum and count of absolute errors by level of the row's and by level of the column's.
        row_error: [rows], recent mean absolute error of the row.
        column_error: [columns], the same of the column.
        weights: [bits, EXPERTS], of the mixture, by position of the bit.
    """

    squares: I8
    errors: I8
    row_error: I8
    column_error: I8
    weights: I8


def _new_model(rows: int, columns: int, bits: int) -> Model:
    prior = 50 * ONE_STEP  # a few observations of a = 3/4, b = 0
    return Model(
        squares=np.array([prior, 0, prior, prior * 3 // 4, 0]),
        errors=np.zeros((2, LEVELS, 2), dtype=np.int64),
        row_error=np.full(rows, (ONE_STEP << bits) // 10, dtype=np.int64),
        column_error=np.full(columns, (ONE_STEP << bits) // 10, dtype=np.int64),
        weights=np.full((bits, EXPERTS), WEIGHT_ONE // EXPERTS),
    )


class Coder(NamedTuple):
    """A carryless binary range coder.

    Attributes:
        data: uint8, the bytes read or written.
        state: int64 [4], lowest and highest number of the interval (48 bits), the number read, position in `data`.
    """

    data: U1
    state: I8


LOW, HIGH, CODE, POSITION = range(4)
TOP_SHIFT = 40


@njit
def _code_bit(coder: Coder, decoding: bool, bit: Whole, p_one: Whole) -> Whole:
    """Encode a bit, or decode it; `p_one` of 65536 is the probability of 1."""
    state = coder.state
    split = state[LOW] + ((state[HIGH] - state[LOW]) >> 16) * p_one
    if decoding:
        bit = 1 if state[CODE] <= split else 0
    if bit:
        state[HIGH] = split
    else:
        state[LOW] = split + 1
    while (state[LOW] ^ state[HIGH]) >> TOP_SHIFT == 0:
        position = state[POSITION]
        if not decoding:
            coder.data[position] = state[HIGH] >> TOP_SHIFT
        else:
            read = np.int64(coder.data[position]) if position < len(coder.data) else np.int64(0)
            state[CODE] = ((state[CODE] << 8) & 0xFFFFFFFFFFFF) | read
        state[POSITION] += 1
        state[LOW] = (state[LOW] << 8) & 0xFFFFFFFFFFFF
        state[HIGH] = ((state[HIGH] << 8) & 0xFFFFFFFFFFFF) | 255
    return bit


@njit
def _mass_below(distribution: I8, t: Whole) -> Whole:
    """Cumulative distribution at t, in 1/256 of a table's step."""
    t += HALF_TABLE << 8
    if t <= 0:
        return np.int64(0)
    if t >= HALF_TABLE << 9:
        return np.int64(MASS_ONE)
    i = t >> 8
    return distribution[i] + (((distribution[i + 1] - distribution[i]) * (t & 255)) >> 8)


@njit
def _level(x: Whole) -> Whole:
    """Two levels an octave."""
    octave = 0
    while (x >> octave) > 3:
        octave += 1
    return 2 * octave + (x >> octave)


@njit
def _ratio(numerator: Whole, denominator: Whole) -> Whole:
    """In 1/65536, between -16 and 16."""
    return (min(max(numerator, -16 * denominator), 16 * denominator) << 16) // denominator


@njit
def _predict(squares: I8, x1: Whole, d: Whole) -> Whole:
    x1x1, x1d, dd, x1y, dy = squares
    determinant = max(x1x1 * dd - x1d * x1d, 1)
    shift = 0
    while (determinant >> shift) >= 1 << 42:
        shift += 1
    a = _ratio((x1y * dd - dy * x1d) >> shift, determinant >> shift)
    b = _ratio((dy * x1x1 - x1y * x1d) >> shift, determinant >> shift)
    return (a * x1 + b * d) >> 16


@njit
def _learn_prediction(squares: I8, x1: Whole, d: Whole, y: Whole) -> None:
    squares[0] += (x1 * x1) >> 4
    squares[1] += (x1 * d) >> 4
    squares[2] += (d * d) >> 4
    squares[3] += (x1 * y) >> 4
    squares[4] += (d * y) >> 4
    if np.max(np.abs(squares)) > 1 << 30:
        squares >>= 1


@njit
def _code_value(
    value: Whole,
    decoding: bool,
    bits: Whole,
    lowest: Whole,
    row: Whole,
    column: Whole,
    model: Model,
    coder: Coder,
    tables: Tables,
) -> Whole:
    """Code one value.

    Args:
        value: What to encode.
        decoding: Whether to decode instead.
        bits: Of the value.
        lowest: Lower edge of the value 0, less the prediction, in 1/16 steps.
        row: Expected absolute error by the row, in 1/16 steps.
        column: The same by the column.
        model: Its weights are used and taught.
        coder: Bytes.
        tables: Functions.

    Returns:
        The value.
    """
    odds = np.zeros(EXPERTS, dtype=np.int64)
    scales = ((STEPS << 16) // (row + 1), (STEPS << 16) // (column + 1))
    found = np.int64(0)
    for depth in range(bits):
        half = np.int64(1) << (bits - 1 - depth)
        edge = lowest + ONE_STEP * found
        for expert in range(EXPERTS):
            distribution, to_table = tables.mass[expert % DISTRIBUTIONS], scales[expert // DISTRIBUTIONS]
            low = (edge * to_table) >> 8
            middle = ((edge + ONE_STEP * half) * to_table) >> 8
            high = ((edge + 2 * ONE_STEP * half) * to_table) >> 8
            below = _mass_below(distribution, middle)
            upper = _mass_below(distribution, high) - below + half * FLOOR_MASS
            lower = below - _mass_below(distribution, low) + half * FLOOR_MASS
            odds[expert] = tables.stretch[((upper << 16) // (upper + lower)) >> 4]

        weights = model.weights[depth]
        mixed: Whole = np.int64(0)
        for expert in range(EXPERTS):
            mixed += weights[expert] * odds[expert]
        p_one = tables.squash[min(max(mixed >> 16, -2047), 2047) + 2048]
        p_one = min(max(p_one, LEAST_PROBABILITY), 65536 - LEAST_PROBABILITY)

        bit = _code_bit(coder, decoding, (value >> (bits - 1 - depth)) & 1, p_one)

        surprise = (bit << 16) - p_one
        for expert in range(EXPERTS):
            weights[expert] += (odds[expert] * surprise) >> MIX_SHIFT
        found += half * bit
    return found


@njit
def _code_plane(
    plane: U1, x1: I8, x2: I8, zero: Whole, bits: Whole, decoding: bool, model: Model, coder: Coder, tables: Tables
) -> None:
    """Code the values of one plane at one keyframe.

    Args:
        plane: uint8 [rows, columns], read or filled.
        x1: [rows, columns], the plane at the keyframe before, in 1/16 steps of this one from its zero point; zeros at
            the first.
        x2: The same, one before that; x1 where there is none.
        zero: Zero point in 1/16 steps.
        bits: Of a value.
        decoding: Whether to fill the plane.
        model: Used and taught.
        coder: Bytes.
        tables: Functions.
    """
    rows, columns = plane.shape
    lowest = -zero - ONE_STEP // 2
    highest = lowest + (ONE_STEP << bits)
    expected = got = np.int64(ONE_STEP)  # sums of errors in the rows above: as known before this plane, and true ones
    for i in range(rows):
        known = model.row_error[i]
        model.row_error[i] = min(known * got // expected, ONE_STEP << bits)
        expected += columns * known
        for j in range(columns):
            d = x1[i, j] - x2[i, j]
            prediction = min(max(_predict(model.squares, x1[i, j], d), lowest), highest)
            by_row = model.errors[0, _level(model.row_error[i])]
            by_column = model.errors[1, _level(model.column_error[j])]
            row = (by_row[0] + 4 * model.row_error[i]) // (by_row[1] + 4)
            column = (by_column[0] + 4 * model.column_error[j]) // (by_column[1] + 4)

            value = _code_value(
                np.int64(plane[i, j]), decoding, bits, lowest - prediction, row, column, model, coder, tables
            )
            plane[i, j] = value

            y = ONE_STEP * value - zero
            _learn_prediction(model.squares, x1[i, j], d, y)
            missed = abs(y - prediction)
            got += missed
            for errors in (by_row, by_column):
                errors[0] += missed
                errors[1] += 1
                if errors[1] > COUNT_LIMIT:
                    errors >>= 1
            model.row_error[i] += (missed - model.row_error[i]) >> 3
            model.column_error[j] += (missed - model.column_error[j]) >> 2


class Quantised(NamedTuple):
    """U or V of all keyframes.

    Attributes:
        values: uint8 [K, rows, columns].
        scale: float32 [K].
        zero: float32 [K].
    """

    values: U1
    scale: F4
    zero: F4


def _reference(plane: Quantised, k: int, lag: int, zero: I8) -> I8:
    """The plane `lag` keyframes before k in 1/16 steps of keyframe k, from its zero point."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.nan_to_num(np.float64(plane.scale[k - lag]) / np.float64(plane.scale[k]) * WEIGHT_ONE, nan=0.0)
    steps = ONE_STEP * plane.values[k - lag].astype(np.int64) - zero[k - lag]
    reference: I8 = (steps * int(np.clip(ratio, -(1 << 30), 1 << 30)) >> 16).clip(-MAX_REFERENCE, MAX_REFERENCE)
    return reference


def _code(planes: Sequence[Quantised], bits: int, decoding: bool, coder: Coder) -> None:
    zeros = [np.clip(np.rint(plane.zero.astype(np.float64) * ONE_STEP), -MAX_ZERO, MAX_ZERO) for plane in planes]
    models = [_new_model(plane.values.shape[1], plane.values.shape[2], bits) for plane in planes]
    for k in range(len(planes[0].values)):
        for plane, model, zero in zip(planes, models, (z.astype(np.int64) for z in zeros), strict=True):
            x1 = _reference(plane, k, 1, zero) if k else np.zeros(plane.values.shape[1:], dtype=np.int64)
            x2 = _reference(plane, k, 2, zero) if k > 1 else x1
            _code_plane(plane.values[k], x1, x2, zero[k], bits, decoding, model, coder, _tables())


def encode(planes: Sequence[Quantised], bits: int) -> bytes:
    """Code planes without loss.

    Args:
        planes: Of the same keyframes; each keyframe's planes are coded one after the other.
        bits: Of a value, 1 to 8; values are below 2 ** bits.

    Returns:
        At least a byte for every `VALUES_PER_BYTE` values.
    """
    values = sum(plane.values.size for plane in planes)
    data = np.zeros(values * bits * BYTES_PER_BIT + 16, dtype=np.uint8)
    coder = Coder(data, np.array([0, (1 << 48) - 1, 0, 0]))
    _code([plane._replace(values=plane.values.copy()) for plane in planes], bits, False, coder)
    end = int(coder.state[POSITION])
    data[end] = coder.state[HIGH] >> TOP_SHIFT  # followed by zeros, which the decoder supplies, it lies in the interval
    return data[: _coded_size(end, values)].tobytes()


def decode(
    data: bytes, shapes: Sequence[tuple[int, int, int]], scales: Sequence[F4], zeros: Sequence[F4], bits: int
) -> list[U1]:
    """Read what `encode` wrote.

    Args:
        data: All of it, and nothing more.
        shapes: [K, rows, columns] of each plane.
        scales: float32 [K] of each plane.
        zeros: float32 [K] of each plane.
        bits: Of a value.

    Returns:
        The values of each plane.

    Raises:
        ValueError: Another number of bytes than these values take.
    """
    values = sum(keyframes * rows * columns for keyframes, rows, columns in shapes)
    if values > len(data) * VALUES_PER_BYTE:
        raise ValueError(
            f"expected at least {-(-values // VALUES_PER_BYTE)} bytes for {values} values, got {len(data)}"
        )
    planes = [
        Quantised(np.zeros(shape, dtype=np.uint8), scale, zero)
        for shape, scale, zero in zip(shapes, scales, zeros, strict=True)
    ]
    coder = Coder(np.frombuffer(data, dtype=np.uint8).copy(), np.array([0, (1 << 48) - 1, 0, 6]))
    coder.state[CODE] = int.from_bytes(data[:6].ljust(6, b"\0"), "big")
    _code(planes, bits, True, coder)
    expected = _coded_size(int(coder.state[POSITION]) - 6, values)
    if len(data) != expected:
        raise ValueError(f"expected {expected} bytes of coded values, got {len(data)}")
    return [plane.values for plane in planes]


def _coded_size(end: int, values: int) -> int:
    return max(end + 1, -(-values // VALUES_PER_BYTE))
