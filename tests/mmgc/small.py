"""Data so small that figures can be worked by hand, and where the official recordings lie."""

import os
from pathlib import Path

import pytest

from ppgym.mmgc import MMGCDataset
from tests.mmgc.oracle import write_dataset

# A link of 0.8 Mbit/s carries 95,000 bytes a second, so that the rungs below take 1, 1.5 and 2 s plus 80 ms.
RUNG_BYTES = (95_000, 142_500, 190_000)
CONSTANT = [(0.5 * row, 0.8) for row in range(401)]
FAST = [(0.5 * row, 80.0) for row in range(401)]  # 10, 15 and 20 ms plus 80 ms
LATE_START = [(2.0, 9.0), (2.5, 0.8), (3.0, 1.6)]  # 47,500 and 95,000 bytes; the first row's rate is never used

# Leaves in the second [1, 2) s; 1,134 ms with the second seed 1. After 2 or 3 s, or 1 s: watched to the end.
SWIPES = [(0, 1), (1, 1), (2, 0), (3, 0), (4, 0)]
STAYS = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 0)]
SECOND = [(0, 1), (1, 1), (2, 0)]
SEEDS = [[0, 1]] * 7

GOLDEN = os.environ.get("PPGYM_MMGC2022")
needs_golden = pytest.mark.skipif(
    GOLDEN is None, reason="PPGYM_MMGC2022 does not name a folder with the challenge's data and golden.json.gz"
)


def small_dataset(root: Path, chunks: int, curves: list, trace: list = CONSTANT) -> MMGCDataset:
    sizes = [[[size] * chunks for size in RUNG_BYTES]] * 7
    return MMGCDataset.load(write_dataset(root, sizes, curves, {"low": [trace]}))
