"""The datasets that tests share."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from ppgym.mmgc import MMGCDataset
from tests.mmgc.oracle import write_dataset
from tests.mmgc.small import GOLDEN, STAYS, SWIPES, small_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> MMGCDataset:
    """Seven videos of three chunks; the viewer leaves the first after 1,134 ms and watches the others to the end."""
    return small_dataset(tmp_path_factory.mktemp("mmgc"), 3, [SWIPES] + [STAYS] * 6)


@pytest.fixture(scope="session")
def varied(tmp_path_factory) -> MMGCDataset:
    """Videos of 2 to 14 chunks, curves with steps and plateaus, and links with gaps, odd grids and fast wraps."""
    rng = np.random.default_rng(20220)
    sizes, curves = [], []
    for chunks in (5, 2, 9, 3, 14, 4, 6):
        base = rng.integers(20_000, 200_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.sort(rng.integers(0, 12, chunks) / 12)[::-1]
        curves.append([(0, 1.0), *enumerate(shares.round(9).tolist(), start=1), (chunks + 1, 0.0)])
    traces = []
    for first_s, rows in ((0.0, 4), (1.5, 9), (0.0, 300)):
        stamps = first_s + np.concatenate([[0], rng.choice([0.0, 0.25, 0.5, 1.7], rows).cumsum()])
        rates = rng.choice([0.0, 0.3, 1.1, 4.0], rows + 1) + rng.random(rows + 1) * 0.3 * (rng.random(rows + 1) > 0.2)
        rates[-1], stamps[-1] = 2.0, stamps[-1] + 0.4
        traces.append(list(zip(stamps.tolist(), rates.tolist(), strict=True)))
    return MMGCDataset.load(write_dataset(tmp_path_factory.mktemp("varied"), sizes, curves, {"odd": traces}))


@pytest.fixture(scope="session")
def official_data() -> MMGCDataset:
    return MMGCDataset.load(GOLDEN)


@pytest.fixture(scope="session")
def golden() -> list[dict]:
    with gzip.open(Path(GOLDEN) / "golden.json.gz", "rt") as file:
        return json.load(file)
