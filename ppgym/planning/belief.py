"""The planner's belief: samples of everything hidden, given everything that has happened.

A future is an `Episode` of the visible videos that agrees with the planning view. Watch times follow the retention
curves, given the seconds already watched. Decode factors follow their distribution, given the seconds already decoded.
The link follows a model that is fitted to the throughputs so far.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ppgym.core.content import position_s, survival, watch_time_s
from ppgym.core.dynamics import reschedule
from ppgym.core.episodes import SHORTEST_WATCH_S, Episodes, Links, Sims, take_sim
from ppgym.core.jit import kernel, njit
from ppgym.core.patience import patience_of, patience_share
from ppgym.core.state import F8, NO_ENTRY, SLOTS, CatalogArrays
from ppgym.planning_view import PlanningView, writeable_fields

LINK_STEP_S = 0.5  # step of a sampled link
AVERAGED = 256  # futures whose mean is the single expected future
SHORTEST_PATIENCE_S = 1e-6  # left, where all of it should be over
JITTERS = 16  # decode factors drawn for a video; its chunks 16 apart share one


class LinkModel(NamedTuple):
    """Prior of the logarithm of the link's rate: the session's mean, a slow autoregressive part, and white noise.

    The values are ppgym's own. They were fitted to the training traces: within a trace the logarithms have a standard
    deviation of 0.45 to 0.5, and about a third of the variance is in regimes of about ten seconds.
    """

    mean: float = float(np.log(1.6e6))  # of the log of bits per second
    mean_sd: float = 1.0
    sd: float = 0.5  # within a session
    sd_weight: float = 6.0  # number of samples that the prior `sd` counts for
    slow_share: float = 0.35  # share of the slow part in the variance
    averaging: float = 0.7  # how far a transfer averages the noise: 0 (its throughput has one draw of it) to 1 (a mean)
    slow_s: float = 10.0  # time constant of the slow part


class LinkBelief(NamedTuple):
    """Posterior of the link at a time: the log rate is the session's mean plus the slow part plus noise."""

    mean: F8  # [2] of the session's mean and the slow part
    covariance: F8  # [2, 2]
    slow_sd: float
    noise_sd: float
    slow_s: float


class Futures(NamedTuple):
    """M sampled futures of one view."""

    sims: Sims  # [M]; rows of the catalog: the visible videos by slot, then one for each open transfer of a left video
    states: np.ndarray  # [M] of STATE_DTYPE: the view's state, with the ends that each future gives


def infer_link(view: PlanningView, model: LinkModel) -> LinkBelief:
    """Posterior of the link's rate now, by filtering the throughputs, oldest first.

    Args:
        view: The planning view.
        model: The prior.

    Returns:
        The posterior.
    """
    logs = np.log(np.maximum(view.throughput_bps, 1.0))
    spread = float(((logs - logs.mean()) ** 2).sum()) if len(logs) else 0.0
    weight = model.sd_weight + max(len(logs) - 1, 0)
    variance = (model.sd_weight * model.sd**2 + spread) / weight
    slow, noise = model.slow_share * variance, (1.0 - model.slow_share) * variance

    # Kalman filter of the session's mean and the slow part
    mean, now = model.mean, 0.0
    var_mean, var_now, cov = model.mean_sd**2, slow, 0.0
    clock_s = float(view.throughput_time_s[0]) if len(logs) else view.time_s
    logs = logs - 0.5 * noise * model.averaging  # the log of a mean exceeds the mean of the logs
    for log, time_s in zip([*logs.tolist(), None], [*view.throughput_time_s.tolist(), view.time_s], strict=True):
        kept = math.exp(-(time_s - clock_s) / model.slow_s)
        now, cov, var_now, clock_s = now * kept, cov * kept, slow + (var_now - slow) * kept**2, time_s
        if log is not None:
            of_mean, of_now = var_mean + cov, cov + var_now
            predicted = of_mean + of_now + noise  # variance of the throughput's logarithm
            innovation = (log - mean - now) / predicted
            mean, now = mean + of_mean * innovation, now + of_now * innovation
            var_mean -= of_mean**2 / predicted
            var_now -= of_now**2 / predicted
            cov -= of_mean * of_now / predicted
    covariance = np.array([[var_mean, cov], [cov, var_now]])
    return LinkBelief(np.array([mean, now]), covariance, float(np.sqrt(slow)), float(np.sqrt(noise)), model.slow_s)


def sample_rates(belief: LinkBelief, rng: np.random.Generator, count: int, horizon_s: float) -> F8:
    """Sample the link's future rates.

    Args:
        belief: The posterior now.
        rng: Source of randomness.
        count: M.
        horizon_s: Seconds to draw.

    Returns:
        Bits per second [M, steps of `LINK_STEP_S`].
    """
    steps = int(np.ceil(horizon_s / LINK_STEP_S))
    start = belief.mean + rng.standard_normal((count, 2)) @ np.linalg.cholesky(belief.covariance).T
    shocks = rng.standard_normal((count, steps - 1))
    return rates_of(belief, start, shocks, rng.standard_normal((count, steps)))


@njit
def rates_of(belief: LinkBelief, start: F8, shocks: F8, noise: F8) -> F8:
    """The rates that standard normal draws give.

    Args:
        belief: The posterior now.
        start: [M, 2] the session's mean and the slow part now.
        shocks: [M, steps - 1] of the slow part.
        noise: [M, steps]

    Returns:
        Bits per second [M, steps].
    """
    kept = np.exp(-LINK_STEP_S / belief.slow_s)
    shock_sd = belief.slow_sd * np.sqrt(1.0 - kept**2)
    rates = np.empty_like(noise)
    for i in range(rates.shape[0]):
        slow = start[i, 1]
        for step in range(rates.shape[1]):
            if step > 0:
                slow = kept * slow + shock_sd * shocks[i, step - 1]
            rates[i, step] = np.exp(start[i, 0] + slow + belief.noise_sd * noise[i, step])
    return rates


@njit
def sample_watch_s(curve: F8, duration_s: float, watched_s: float, uniform: F8) -> F8:
    """Sample watch times of a video, given the seconds already watched, by inversion of its retention curve.

    Args:
        curve: P(watched at least c seconds) at whole seconds and at the duration.
        duration_s: Of the video.
        watched_s: Content seconds already watched, less than the duration.
        uniform: [M] in [0, 1).

    Returns:
        [M] content seconds in (watched_s, duration_s].
    """
    alive = survival(curve, duration_s, watched_s)
    least_s = min(watched_s + SHORTEST_WATCH_S, duration_s)
    drawn_s = np.empty_like(uniform)
    for i in range(uniform.shape[0]):
        drawn_s[i] = max(watch_time_s(curve, duration_s, uniform[i] * alive), least_s)
    return drawn_s


@njit
def sample_patience_s(at_s: F8, share: F8, same: float, borne_s: float, uniform: F8) -> F8:
    """Sample the patience of the current video and of those after it, given the stall that was borne already.

    The current video has the session's draw or one of its own. Both have the same distribution, so what was borne says
    nothing of which it is, and the session's draw is known to be longer in the first case alone. What earlier videos
    of the session tell is not used.

    Args:
        at_s: [T] the table of patience.
        share: [T]
        same: P(a video has the session's draw).
        borne_s: Longest stall of the current video.
        uniform: [M, 2, videos + 1] in [0, 1); of the last column the session's draw.

    Returns:
        [M, videos] seconds, the first above `borne_s`.
    """
    count, videos = uniform.shape[0], uniform.shape[2] - 1
    patience_s = np.empty((count, videos))
    alive = patience_share(at_s, share, borne_s)
    for i in range(count):
        current_s = max(patience_of(at_s, share, uniform[i, 0, 0] * alive), borne_s + SHORTEST_PATIENCE_S)
        session_s = current_s if uniform[i, 1, 0] < same else patience_of(at_s, share, uniform[i, 0, videos])
        patience_s[i, 0] = current_s
        for video in range(1, videos):
            own_s = patience_of(at_s, share, uniform[i, 0, video])
            patience_s[i, video] = session_s if uniform[i, 1, video] < same else own_s
    return patience_s


def sample_factors(rng: np.random.Generator, sigma: float, served: float, count: int) -> F8:
    """Sample decode factors of a running job, given that it has not ended yet.

    Args:
        rng: Source of randomness.
        sigma: Standard deviation of the logarithm; the mean is 1.
        served: Seconds since its start / expected seconds.
        count: M.

    Returns:
        [M] above `served`.
    """
    if sigma == 0.0:
        return np.full(count, max(1.0, served * (1.0 + 1e-6)))
    distribution = NormalDist(-0.5 * sigma**2, sigma)
    below = distribution.cdf(np.log(max(served, 1e-12)))
    uniform = np.minimum(below + (1.0 - below) * rng.random(count), 1.0 - 1e-12)
    logs = np.array([distribution.inv_cdf(u) for u in uniform.tolist()])
    factors: F8 = np.maximum(np.exp(logs), served * (1.0 + 1e-6))
    return factors


@njit
def spread_jitter(drawn: F8, jitter: F8) -> None:
    """Give each chunk one of the decode factors drawn for its video.

    Args:
        drawn: [M, videos, JITTERS]
        jitter: Output [M, videos, C].
    """
    for i in range(jitter.shape[0]):
        for video in range(jitter.shape[1]):
            for chunk in range(jitter.shape[2]):
                jitter[i, video, chunk] = drawn[i, video, chunk % JITTERS]


def planning_catalog(view: PlanningView) -> tuple[CatalogArrays, list[int]]:
    """The visible manifests, and a row for each open transfer of a video that was left.

    Args:
        view: The planning view.

    Returns:
        The catalog, and the feed position of each row past the slots.
    """
    state, catalog = view.state, writeable_fields(view.catalog)
    left = [i for i in range(state.transfers) if state.transfer_video[i] < state.video]
    if not left:
        return catalog, []
    extra = np.zeros((len(left), *catalog.chunk_bytes.shape[1:]))
    for row, i in enumerate(left):
        extra[row, state.transfer_chunk[i]] = view.transfer_bytes[i]
    grown = CatalogArrays(
        n_chunks=np.append(catalog.n_chunks, np.ones(len(left), np.int32)),
        chunk_bytes=np.concatenate([catalog.chunk_bytes, extra]),
        quality=np.concatenate([catalog.quality, np.zeros_like(extra)]),
        duration_s=np.append(catalog.duration_s, (state.transfer_chunk[left] + 1) * view.params.chunk_s),
        memory_bytes_per_s=catalog.memory_bytes_per_s,
        retention=np.concatenate([catalog.retention, np.ones((len(left), catalog.retention.shape[1]))]),
    )
    return grown, [int(state.transfer_video[i]) for i in left]


def sample_futures(
    view: PlanningView, count: int, rng: np.random.Generator, horizon_s: float, model: LinkModel | None = None
) -> Futures:
    """Sample futures that agree with a view.

    The feed of a future ends with the last visible video, and no session is truncated. Chunks of a video that lie
    `JITTERS` apart have the same decode factor.

    Args:
        view: The planning view.
        count: M.
        rng: Source of randomness.
        horizon_s: Seconds of the link to draw; it repeats after that.
        model: Prior of the link; the default one where None.

    Returns:
        The futures.
    """
    state, params, distribution = view.state, writeable_fields(view.params), writeable_fields(view.distribution)
    catalog, left = planning_catalog(view)
    video = int(state.video)
    visible = int((view.catalog.n_chunks > 0).sum())
    videos = video + visible
    playlist = np.zeros(videos, np.int32)
    playlist[video:] = np.arange(visible)
    for row, position in enumerate(left):
        playlist[position] = SLOTS + row

    watch_s = np.ones((count, videos))
    for slot in range(visible):
        watched_s = position_s(params.chunk_s, state) if slot == 0 else 0.0
        watch_s[:, video + slot] = sample_watch_s(
            catalog.retention[slot], float(catalog.duration_s[slot]), watched_s, rng.random(count)
        )
    patience_s = np.full((count, videos), np.inf)
    if len(distribution.patience_at_s) > 0:
        patience_s[:, video:] = sample_patience_s(
            distribution.patience_at_s,
            distribution.patience_share,
            distribution.patience_same,
            float(state.longest_stall_s),
            rng.random((count, 2, visible + 1)),
        )

    chunks = catalog.chunk_bytes.shape[1]
    jitter = np.ones((count, videos, chunks))  # a video that was left has no jobs
    sigma = distribution.jitter_sigma
    drawn = np.exp(sigma * rng.standard_normal((count, visible, JITTERS)) - 0.5 * sigma**2)
    spread_jitter(drawn, jitter[:, video:])
    for unit in np.flatnonzero(state.job_video != NO_ENTRY):
        worked_s = state.time_s - state.job_start_s[unit] - state.job_load_s[unit]
        served = max(float(worked_s / state.job_expected_s[unit]), 0.0)
        factors = sample_factors(rng, sigma, served, count)
        jitter[:, state.job_video[unit], state.job_chunk[unit]] = factors

    rates = sample_rates(infer_link(view, model or LinkModel()), rng, count, horizon_s) / params.link_efficiency
    steps = rates.shape[1]
    edges_s = LINK_STEP_S * np.arange(steps + 1)
    episodes = Episodes(
        playlist=np.tile(playlist, (count, 1)),
        watch_s=watch_s,
        leaves=(rng.random((count, videos)) < distribution.leave_p).astype(np.uint8),
        patience_s=patience_s,
        jitter=jitter,
        link=np.arange(count, dtype=np.int32),
        link_offset_s=np.full(count, -view.time_s),
        max_wall_s=np.full(count, np.inf),
    )
    links = Links(
        time_s=np.tile(edges_s, count),
        bits=np.concatenate([np.zeros((count, 1)), np.cumsum(rates * LINK_STEP_S, axis=1)], axis=1).ravel(),
        first=np.arange(0, (count + 1) * (steps + 1), steps + 1, dtype=np.int32),
    )
    states = np.repeat(np.array([state]), count)
    sims = Sims(params, catalog, links, episodes)
    reschedule_all(sims, states)
    return Futures(sims, states)


@kernel
def reschedule_all(sims: Sims, states: np.ndarray) -> None:
    """Schedule the ends that each draw gives in its copy of a public state.

    Args:
        sims: What is constant, and draws.
        states: [M] of STATE_DTYPE; their scheduled ends are overwritten.
    """
    for i in range(states.shape[0]):
        reschedule(take_sim(sims, i), states[i])


def mean_future(view: PlanningView, horizon_s: float, model: LinkModel | None = None) -> Futures:
    """A single expected future: mean bandwidth, mean watch times, mean decode factors; nobody ends the session.

    Args:
        view: The planning view.
        horizon_s: Seconds of the link to draw.
        model: Prior of the link; the default one where None.

    Returns:
        One future.
    """
    futures = sample_futures(view, AVERAGED, np.random.default_rng(0), horizon_s, model)
    bits = np.diff(futures.sims.links.bits.reshape(AVERAGED, -1), axis=1).mean()
    episodes, steps = futures.sims.episodes, len(futures.sims.links.time_s) // AVERAGED
    mean = Episodes(
        playlist=episodes.playlist[:1],
        watch_s=episodes.watch_s.mean(axis=0, keepdims=True),
        leaves=np.zeros_like(episodes.leaves[:1]),
        patience_s=np.median(episodes.patience_s, axis=0, keepdims=True),
        jitter=episodes.jitter.mean(axis=0, keepdims=True),
        link=np.zeros(1, np.int32),
        link_offset_s=episodes.link_offset_s[:1],
        max_wall_s=episodes.max_wall_s[:1],
    )
    links = Links(
        time_s=futures.sims.links.time_s[:steps],
        bits=bits * np.arange(steps),
        first=np.array([0, steps], np.int32),
    )
    states = futures.states[:1].copy()
    sims = futures.sims._replace(links=links, episodes=mean)
    reschedule_all(sims, states)
    return Futures(sims, states)
