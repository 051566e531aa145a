"""The 95 % intervals cover the truth as often as they say, in boards that are drawn from the committed pool."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import interval_coverage as coverage

POOLS = coverage.read_pool()


def test_the_pool_is_whole() -> None:
    assert set(POOLS) == set(coverage.SCENARIOS)
    for pool in POOLS.values():
        assert {len(values) for values in pool.values()} == {coverage.SESSIONS}
        assert len(np.unique(pool["trace"])) > 700  # of 3 x 256
        assert (pool["minutes"] > 0.0).all()


@pytest.mark.parametrize("scenario", coverage.SCENARIOS)
def test_intervals_cover(scenario: str) -> None:
    assert 0.93 <= coverage.coverage(POOLS[scenario], 256) <= 0.97
    assert coverage.coverage(POOLS[scenario], 64) >= 0.915


def test_the_mean_of_ratios_does_not() -> None:
    assert coverage.mean_of_ratios_coverage(POOLS[coverage.SCENARIOS[0]], 64, boards=100) < 0.85


def test_a_suite_says_nothing_of_traces_that_somebody_else_draws() -> None:
    """As docs/estimates.md says: all scenarios of a network share its 256 traces."""
    free = coverage.suite_coverage(POOLS, shared_traces=None, boards=60)
    shared = coverage.suite_coverage(POOLS, shared_traces=256, boards=60)
    assert free.coverage >= 0.9 and 0.8 < free.ratio < 1.2
    assert shared.coverage < free.coverage and 1.05 < shared.ratio < 1.6
