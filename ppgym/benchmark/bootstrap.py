"""Estimates over paired episodes, and their 95 % percentile bootstrap intervals.

Which episodes a resample holds depends only on how many there are and on the stratum. It is therefore the same for
every agent, and pairs stay pairs. The strata are the scenarios of a suite; each is resampled within itself.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ppgym.core.state import F8

Interval = tuple[float, float]

RESAMPLES = 10_000
TRIMMED = 0.25  # share of the values that the interquartile mean leaves out at either end


def resample(values: F8, stratum: int = 0) -> F8:
    """Bootstrap resamples of one stratum.

    Args:
        values: [n] one value an episode.
        stratum: Number of the stratum; each has its own random picks.

    Returns:
        [RESAMPLES, n].
    """
    picks = np.random.default_rng(stratum).integers(len(values), size=(RESAMPLES, len(values)))
    resamples: F8 = values[picks]
    return resamples


def resampled_means(values: F8) -> F8:
    """Means of bootstrap resamples.

    Args:
        values: [n] one value an episode.

    Returns:
        [RESAMPLES].
    """
    means: F8 = resample(values).mean(axis=1)
    return means


def interval_of(estimates: F8) -> Interval:
    """95 % percentile interval of an estimate.

    Args:
        estimates: [RESAMPLES] one for each resample.

    Returns:
        Low and high.
    """
    low, high = np.percentile(estimates, (2.5, 97.5))
    return float(low), float(high)


def bootstrap_interval(values: F8) -> Interval:
    """95 % interval of a mean; the same values give the same interval.

    Args:
        values: [n] one value an episode, n at least 1.

    Returns:
        Low and high; both the value itself where n is 1.
    """
    return interval_of(resampled_means(values))


def crossed_interval(values: F8) -> Interval:
    """95 % interval of a mean over crossed factors: each resample picks both training seeds and episodes.

    Args:
        values: [seeds, n] one value for each training seed and episode; every seed has the same episodes.

    Returns:
        Low and high; where there is one seed, of episodes alone.
    """
    means = np.stack([resampled_means(of_seed) for of_seed in values], axis=1)  # [RESAMPLES, seeds]
    picked = resample(np.arange(float(len(values))), 1).astype(np.int64)
    return interval_of(np.take_along_axis(means, picked, axis=1).mean(axis=1))


def mean_of_strata(values: Sequence[F8]) -> F8:
    """The mean of the strata's means: every scenario weighs the same.

    Args:
        values: For each stratum [..., n].

    Returns:
        [...].
    """
    mean: F8 = np.mean([each.mean(axis=-1) for each in values], axis=0)
    return mean


def interquartile_mean(values: Sequence[F8]) -> F8:
    """Mean of the middle half of all values (https://arxiv.org/abs/2108.13264): a few outliers do not move it.

    Args:
        values: For each stratum [..., n].

    Returns:
        [...].
    """
    whole = np.concatenate(values, axis=-1)
    low, high = (cut := int(TRIMMED * whole.shape[-1])), whole.shape[-1] - cut
    mean: F8 = np.partition(whole, (low, high - 1), axis=-1)[..., low:high].mean(axis=-1)
    return mean


def stratified(statistic: Callable[[Sequence[F8]], F8], values: Sequence[F8]) -> tuple[float, Interval]:
    """An estimate over strata, and its 95 % interval.

    Args:
        statistic: `mean_of_strata` or `interquartile_mean`.
        values: For each stratum [n] one value an episode.

    Returns:
        Estimate and interval.
    """
    resamples = [resample(each, stratum) for stratum, each in enumerate(values)]
    return float(statistic(values)), interval_of(statistic(resamples))


def improvement(new: F8, old: F8) -> F8:
    """Which paired episodes improve; the mean is the probability of improvement.

    Args:
        new: [n].
        old: [n] of the same episodes.

    Returns:
        [n] 1 where `new` is above `old`, 0.5 where they are equal, else 0.
    """
    better: F8 = np.where(new > old, 1.0, np.where(new == old, 0.5, 0.0))
    return better


def share_closed(qoe: F8, reference: F8, bound: F8) -> tuple[float, Interval]:
    """Share of the gap between a reference and a bound that an agent closes.

    Args:
        qoe: [n] QoE of the agent.
        reference: [n] QoE of the reference in the same episodes.
        bound: [n] QoE that no policy exceeds in them.

    Returns:
        Share of the means, and its 95 % interval; a resample holds the same episodes for all three.
    """
    shares = (resampled_means(qoe) - resampled_means(reference)) / resampled_means(bound - reference)
    return float((qoe - reference).mean() / (bound - reference).mean()), interval_of(shares)
