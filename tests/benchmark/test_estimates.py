"""Estimates: by hand, against the bootstrap, and by how often their intervals cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ppgym.benchmark.estimates import LEAST_SESSIONS, Estimate, holm, mean_estimate, ratio_estimate

RNG = np.random.default_rng(5)
MINUTES = RNG.exponential(2.0, 200)  # some of them very short
RETURNS = 40.0 * MINUTES + RNG.normal(0.0, 15.0, 200)


def test_by_hand() -> None:
    """Sums 12 and 6: theta 2; e = -1, 2, -1: s = sqrt(3), error = sqrt(3) / (sqrt(3) x 2) = 0.5."""
    estimate = ratio_estimate(np.array([1.0, 6.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert estimate == (2.0, pytest.approx(0.5), None)  # three sessions show no interval
    many = ratio_estimate(np.tile([1.0, 6.0, 5.0], 8), np.tile([1.0, 2.0, 3.0], 8))
    error = math.sqrt(48.0 / 23.0) / (math.sqrt(24.0) * 2.0)
    assert many.error == pytest.approx(error)
    assert many.ci95 == pytest.approx((2.0 - 2.0687 * error, 2.0 + 2.0687 * error), abs=1e-4)  # t(23)


def test_an_agent_against_itself_differs_by_exactly_nothing() -> None:
    assert ratio_estimate(RETURNS - RETURNS, MINUTES) == (0.0, 0.0, (0.0, 0.0))


def test_the_interval_of_a_difference_is_that_of_the_sessions_differences() -> None:
    other = RETURNS + RNG.normal(1.0, 0.5, 200)  # nearly the same in each session
    paired = ratio_estimate(other - RETURNS, MINUTES)
    apart = math.hypot(ratio_estimate(other, MINUTES).error, ratio_estimate(RETURNS, MINUTES).error)
    assert paired.error < apart / 10.0
    residuals = (other - RETURNS) - paired.value * MINUTES
    assert paired.error == pytest.approx(residuals.std(ddof=1) / (math.sqrt(200) * MINUTES.mean()))


def test_it_agrees_with_the_bootstrap_of_pairs() -> None:
    picks = np.random.default_rng(1).integers(200, size=(20_000, 200))
    ratios = RETURNS[picks].sum(axis=1) / MINUTES[picks].sum(axis=1)
    estimate = ratio_estimate(RETURNS, MINUTES)
    assert estimate.value == RETURNS.sum() / MINUTES.sum()
    assert estimate.error == pytest.approx(ratios.std(), rel=0.05)
    assert estimate.ci95 == pytest.approx(tuple(np.percentile(ratios, (2.5, 97.5))), abs=0.2 * estimate.error)


def test_a_tiny_watch_time_moves_it_no_more_than_any_other_session() -> None:
    returns, minutes = np.append(RETURNS, -20.0), np.append(MINUTES, 1e-4)
    moved = ratio_estimate(returns, minutes).value - ratio_estimate(RETURNS, MINUTES).value
    assert moved == pytest.approx(-20.0 / MINUTES.sum(), rel=0.01)
    assert abs((returns / minutes).mean() - (RETURNS / MINUTES).mean()) > 500.0  # what a mean of ratios does


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Heavy-tailed sessions, 64 of them: 95 % nominal, 400 redraws."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        minutes = rng.exponential(2.0, 64)
        interval = ratio_estimate(30.0 * minutes + 10.0 * minutes * rng.normal(size=64), minutes).ci95
        assert interval is not None
        covered += interval[0] <= 30.0 <= interval[1]
    assert 0.91 <= covered / 400 <= 0.985


def test_clusters_widen_it_where_sessions_of_a_trace_are_alike() -> None:
    traces = np.repeat(np.arange(40), 5)
    returns = MINUTES * (30.0 + np.repeat(RNG.normal(0.0, 5.0, 40), 5))
    alone, clustered = ratio_estimate(returns, MINUTES), ratio_estimate(returns, MINUTES, traces)
    assert clustered.value == alone.value
    assert clustered.error > 1.5 * alone.error
    one_each = ratio_estimate(RETURNS, MINUTES, np.arange(200))
    assert one_each.error == pytest.approx(ratio_estimate(RETURNS, MINUTES).error)


def test_the_mean_over_scenarios_adds_errors_up_squared() -> None:
    first, second = Estimate(10.0, 3.0, (4.0, 16.0)), Estimate(20.0, 4.0, (12.0, 28.0))
    mean = mean_estimate([first, second])
    assert (mean.value, mean.error) == (15.0, 2.5)
    assert mean.ci95 == pytest.approx((15.0 - 1.96 * 2.5, 15.0 + 1.96 * 2.5))
    assert mean_estimate([first]) is first
    assert mean_estimate([first, second._replace(ci95=None)]).ci95 is None


@given(st.integers(LEAST_SESSIONS - 3, LEAST_SESSIONS + 3), st.floats(-1e3, 1e3), st.floats(0.1, 10.0))
def test_it_moves_and_scales_with_the_returns(count: int, shift: float, scale: float) -> None:
    returns, minutes = RETURNS[:count], MINUTES[:count]
    plain = ratio_estimate(returns, minutes)
    changed = ratio_estimate(scale * returns + shift * minutes, minutes)
    assert changed.value == pytest.approx(scale * plain.value + shift, abs=1e-9)
    assert changed.error == pytest.approx(scale * plain.error, abs=1e-9)
    assert (plain.ci95 is None) == (count < LEAST_SESSIONS)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_quantile_is_that_of_t() -> None:
    estimate = ratio_estimate(RETURNS[:20], MINUTES[:20])
    assert estimate.ci95 is not None
    half = (estimate.ci95[1] - estimate.ci95[0]) / 2.0
    assert half / estimate.error == pytest.approx(stats.t.ppf(0.975, 19))
