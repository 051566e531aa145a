"""A few cases of every reader; `PPGYM_HOSTILE=40`, or `python -m tests.hostile.fuzz`, runs many."""

from pathlib import Path

import pytest

from tests.hostile.fuzz import REFUSED, TAKEN, Case, fuzz
from tests.hostile.length import TIMES
from tests.hostile.readers import READERS


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit of memory counts from /proc/self/statm")
def test_no_file_breaks_a_reader() -> None:
    cases = [Case(reader.label, seed) for reader in READERS for seed in range(20 * TIMES)]
    found = dict(fuzz(cases))
    assert len(found) == len(cases)
    assert not {case: what for case, what in found.items() if what not in (TAKEN, REFUSED)}
