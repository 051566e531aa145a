"""Hashes of arrays, quick enough to be taken after every session: they tell whether a world was written to."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 511  # words of 8 bytes; an odd number, so that the sum of the factors is odd too
# Odd: no change of a single word goes unnoticed
_FACTORS = np.random.default_rng(0).integers(2**63, size=BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def digest(array: npt.NDArray[Any]) -> str:
    """A hash of an array, made at the speed of memory. Whoever seeks two arrays with the same hash finds them.

    Args:
        array: Any array of numbers.

    Returns:
        64 hex digits.
    """
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    hashed = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    words = raw[: len(raw) // (8 * BLOCK) * 8 * BLOCK].view(np.uint64).reshape(-1, BLOCK)
    if len(words):
        hashed.update(np.einsum("bi,i->b", words, _FACTORS))  # of each block, modulo 2**64
        hashed.update(np.bitwise_xor.reduce(words, axis=0))  # of each place: two signs that change leave a sum alone
    hashed.update(raw[8 * words.size :].tobytes())
    return hashed.hexdigest()
