"""Estimates that hold when somebody else draws the sessions: ratios of sums, and their 95 % intervals.

A session's return and its drawn watch minutes are one draw of a pair. QoE is the sum of the returns over the sum of the
minutes. The mean of the sessions' own ratios is never used: watch times may be arbitrarily short, so it has no
variance. Docs: "How figures are estimated".
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.state import F8

Interval = tuple[float, float]

LEAST_SESSIONS = 16  # below it an interval covers too seldom to be shown
LEAST_CLUSTERS = 30  # traces from files: below it, the sessions say nothing of other traces
LEVEL = 0.975  # quantile of a two-sided 95 % interval
NORMAL_QUANTILE = 1.96


class Estimate(NamedTuple):
    """A figure with its standard error; `ci95` is None where there are too few sessions to tell."""

    value: float
    error: float
    ci95: Interval | None


def t_quantile(level: float, freedom: int) -> float:
    """A quantile of Student's t.

    Args:
        level: Its probability.
        freedom: Degrees of freedom.

    Returns:
        The quantile.
    """
    from scipy.special import stdtrit  # here: a command that estimates nothing starts without it

    return float(stdtrit(freedom, level))


def ratio_estimate(numerators: F8, denominators: F8, clusters: npt.NDArray[Any] | None = None) -> Estimate:
    """The ratio of two sums over sessions, with its linearised t interval.

    With theta the ratio and e = numerator - theta x denominator of each session, the standard error is
    s(e) / (sqrt(n) x mean denominator), and the interval theta +- t(n - 1) x error (Cochran, Sampling Techniques, 3rd
    ed., 6.3). For a paired difference pass the differences as numerators: then e is that of the difference.

    Args:
        numerators: [n] one value a session, such as its return.
        denominators: [n], such as its drawn watch minutes; their sum is not 0.
        clusters: [n] what sessions share, such as a trace: the interval is then over clusters instead of sessions.

    Returns:
        The estimate. Its interval is None below `LEAST_SESSIONS` sessions.
    """
    value = float(numerators.sum() / denominators.sum())
    residuals = numerators - value * denominators
    if clusters is not None:
        _, places = np.unique(clusters, return_inverse=True)
        residuals = np.bincount(places, residuals).astype(np.float64)
    count = len(residuals)
    if count < 2:
        return Estimate(value, math.nan, None)
    error = float(residuals.std(ddof=1) * math.sqrt(count) / abs(denominators.sum()))
    half = t_quantile(LEVEL, count - 1) * error
    enough = len(numerators) >= LEAST_SESSIONS
    return Estimate(value, error, (value - half, value + half) if enough else None)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over scenarios whose sessions are drawn apart: each scenario weighs the same.

    Args:
        estimates: K of them, at least one.

    Returns:
        Their mean; its error is sqrt(sum of squared errors) / K, its interval +-1.96 errors. Of one estimate, itself.
    """
    if len(estimates) == 1:
        return estimates[0]
    value = float(np.mean([each.value for each in estimates]))
    error = float(np.linalg.norm([each.error for each in estimates])) / len(estimates)
    half = NORMAL_QUANTILE * error
    told = all(each.ci95 is not None for each in estimates)
    return Estimate(value, error, (value - half, value + half) if told else None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values: those below 0.05 hold at once with a chance of any error of at most 5 %.

    Args:
        p_values: Of the single tests.

    Returns:
        The adjusted ones, in the same order.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, most = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order.tolist()):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = most
    return adjusted
