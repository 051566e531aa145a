"""Estimates and intervals: by hand, and against SciPy's bootstrap."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ppgym.benchmark.bootstrap import (
    bootstrap_interval,
    crossed_interval,
    improvement,
    interquartile_mean,
    mean_of_strata,
    resample,
    stratified,
)


def test_the_interquartile_mean_by_hand() -> None:
    assert interquartile_mean([np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])]) == 3.5
    assert interquartile_mean([np.array([-1e6, 1.0]), np.array([3.0, 1e6])]) == 2.0  # of all strata together


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 63, 64])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(20, count))
    assert interquartile_mean([values]) == pytest.approx(stats.trim_mean(values, 0.25, axis=-1), rel=1e-12)


def test_no_command_waits_for_scipys_statistics() -> None:
    program = "import sys, agents.cli; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_every_stratum_weighs_the_same() -> None:
    assert mean_of_strata([np.array([1.0]), np.array([4.0, 5.0, 6.0])]) == 3.0


def test_strata_are_resampled_within_themselves_and_apart() -> None:
    far = [np.zeros(20), np.full(20, 100.0)]
    assert stratified(mean_of_strata, far) == (50.0, (50.0, 50.0))  # picks never cross
    values = np.arange(20.0)
    assert (resample(values, 0) != resample(values, 1)).mean() > 0.9
    # Two strata of the same spread: the variance of their mean is half, not the whole, of one's
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=200), rng.normal(size=200)
    low, high = stratified(mean_of_strata, [one, other])[1]
    alone_low, alone_high = bootstrap_interval(one)
    assert (high - low) / (alone_high - alone_low) == pytest.approx(np.sqrt(0.5), rel=0.15)


def test_intervals_agree_with_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=50)
    found = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((found.low, found.high), abs=0.02)


def test_improvement_counts_a_tie_as_half() -> None:
    assert improvement(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 4.0])).tolist() == [1.0, 0.5, 0.0]


def test_seeds_and_episodes_both_widen_an_interval() -> None:
    rng = np.random.default_rng(0)
    of_seed, of_episode = rng.normal(size=(40, 1)), rng.normal(size=(1, 60))
    low, high = crossed_interval(of_seed + of_episode)
    # The mean is a sum of two independent means: its variance is the sum of theirs
    expected = 2 * 1.96 * np.sqrt(of_seed.var() / 40 + of_episode.var() / 60)
    assert high - low == pytest.approx(expected, rel=0.05)
    assert low < (of_seed + of_episode).mean() < high
    values = rng.normal(size=30)
    assert crossed_interval(values[None]) == pytest.approx(bootstrap_interval(values))
    assert crossed_interval(np.stack([values, values, values])) == pytest.approx(bootstrap_interval(values))
