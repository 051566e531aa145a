"""A hash of an array tells arrays apart by their bytes, type and shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.world.digests import BLOCK, digest

SIZES = st.sampled_from([1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])


@given(SIZES, st.integers(0, 2**32), st.data())
def test_any_bit_counts_and_any_two(size: int, seed: int, data: st.DataObject) -> None:
    array = np.random.default_rng(seed).random(size)
    before = digest(array)
    assert digest(array.copy()) == before
    bits = st.tuples(st.integers(0, size - 1), st.sampled_from([0, 31, 52, 62, 63]))
    for place, bit in data.draw(st.lists(bits, min_size=1, max_size=2, unique=True)):
        array.view(np.uint64)[place] ^= np.uint64(1) << np.uint64(bit)
    assert digest(array) != before


@pytest.mark.parametrize("size", [5, 2 * BLOCK, 4096 * BLOCK])
def test_changes_of_all_values_count(size: int) -> None:
    array = 1.0 + np.arange(float(size))
    known = {digest(one) for one in (array, 2.0 * array, -array, array[::-1], np.roll(array, BLOCK), 0.0 * array)}
    assert len(known) == 6
    assert len({digest(one) for one in (array, array.astype(np.float32), array.reshape(-1, 1))}) == 3
    assert digest(np.zeros(0)) != digest(np.zeros(0, np.float32))
