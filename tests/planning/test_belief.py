"""What the planner believes: futures agree with what has happened, and are calibrated against what came."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppgym.core.content import position_s
from ppgym.core.dynamics import reschedule, transition
from ppgym.core.episodes import SHORTEST_WATCH_S, view_sim
from ppgym.core.link import bits_at
from ppgym.core.patience import patience_of
from ppgym.core.state import NO_ENTRY
from ppgym.env import PromptPreamEnv
from ppgym.planning.belief import (
    JITTERS,
    LINK_STEP_S,
    LinkBelief,
    LinkModel,
    infer_link,
    sample_factors,
    sample_futures,
    sample_patience_s,
    sample_rates,
    sample_watch_s,
)
from ppgym.planning_view import PlanningView
from ppgym.world.viewers import RetentionCurve
from tests.planning.futures import second_edition
from tests.test_env import random_legal

WORLDS = pytest.mark.parametrize("kwargs", [{}, {"parallel_downloads": 3}, second_edition()], ids=["1", "3", "new"])


def views(count: int, seed: int = 0, **kwargs: Any) -> Iterator[tuple[PromptPreamEnv, PlanningView]]:
    """Decision points of random play, with the environment that they come from."""
    env = PromptPreamEnv(**({"patience": [3.0, 9.0]} | kwargs))
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for step in range(6 * count):
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            _, info = env.reset()
        if step % 6 == 5:
            yield env, env.planning_view()


@WORLDS
def test_nothing_under_way_ends_before_now(kwargs: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    jobs = transfers = 0
    for _, view in views(60, **kwargs):
        futures = sample_futures(view, 8, rng, 20.0)
        state = view.state
        video = int(state.video)
        for i in range(8):
            drawn = futures.states[i]
            assert drawn.playback_end_s > state.time_s
            busy = state.job_video != NO_ENTRY
            assert (drawn.job_end_s[busy] > state.time_s).all()
            assert (drawn.transfer_end_s[: state.transfers] >= state.time_s).all()
            assert futures.sims.episodes.watch_s[i, video] > position_s(view.params.chunk_s, state)
            assert futures.sims.episodes.patience_s[i, video] > state.longest_stall_s
            jobs += int(busy.sum())
            transfers += int(state.transfers)
        visible = view.catalog.n_chunks > 0
        assert (futures.sims.episodes.watch_s[:, video:] <= view.catalog.duration_s[visible]).all()
    assert jobs > 80
    assert transfers >= 100 * (kwargs.get("parallel_downloads", 1) - 1)


@WORLDS
def test_the_kernel_plays_on_in_a_future(kwargs: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    for _, view in views(20, **kwargs):
        futures = sample_futures(view, 4, rng, 20.0)
        for i in range(4):
            state = futures.states[i]
            sim = view_sim(futures.sims, i)
            downloaded = float(state.downloaded_bytes)
            for _ in range(40):
                transition(sim, state, 0)
            assert state.time_s > view.time_s + 1.0 or state.terminated
            assert state.downloaded_bytes >= downloaded
            assert state.downloaded_bytes <= downloaded + view.transfer_bytes.sum() + 1e-6


@WORLDS
def test_the_truth_put_under_a_view_goes_on_as_the_environment(kwargs: dict[str, Any]) -> None:
    """`reschedule` computes the very ends that the kernel had."""
    for env, view in views(40, seed=3, **kwargs):
        truth = view_sim(env._sims, 0)
        state = view.state.copy()
        reschedule(truth, state)
        real = env._states[0].copy()
        for _ in range(10):
            transition(truth, state, 0)
            transition(truth, real, 0)
            assert state.time_s == pytest.approx(real.time_s, abs=1e-9)
            assert state.played_s == pytest.approx(real.played_s, abs=1e-9)
            assert state.busy_s == pytest.approx(real.busy_s, abs=1e-9)
            assert state.energy_j == pytest.approx(real.energy_j, abs=1e-6)


def test_decoding_varies_by_its_law_in_the_videos_to_come() -> None:
    env = PromptPreamEnv(jitter_sigma=0.3)
    env.reset(seed=1)
    while env.planning_view().state.video < 2:
        env.step(0 if env.action_masks().sum() == 1 else int(np.flatnonzero(env.action_masks())[1]))
    view = env.planning_view()
    state = view.state.copy()
    state.job_video[:] = NO_ENTRY
    idle = dataclasses.replace(view, state=state)
    jitter = sample_futures(idle, 200, np.random.default_rng(0), 1.0).sims.episodes.jitter
    assert (jitter[:, :2] == 1.0).all()
    assert jitter[:, 2:].mean() == pytest.approx(1.0, abs=0.01)
    assert np.log(jitter[:, 2:]).std() == pytest.approx(0.3, abs=0.01)


def test_watch_times_follow_the_curve_given_what_was_watched() -> None:
    curve = np.array([1.0, 0.8, 0.7, 0.5, 0.3, 0.0])
    uniform = (np.arange(20000) + 0.5) / 20000
    watch_s = sample_watch_s(curve, 4, 1.5, uniform)
    alive = 0.75
    assert watch_s.min() > 1.5
    assert np.mean(watch_s == 4.0) == pytest.approx(0.3 / alive, abs=1e-3)
    for seconds, survival in ((2.0, 0.7), (2.5, 0.6), (3.0, 0.5), (3.5, 0.4)):
        assert np.mean(watch_s >= seconds) == pytest.approx(survival / alive, abs=1e-3)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0, 0.999),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8),
)
def test_watch_times_invert_any_curve(falling: list[float], share: float, levels: list[float]) -> None:
    """P(T > t) = uniform x P(T > watched), flat stretches and curves that end before the video included."""
    survival = np.array([1.0, *sorted(falling, reverse=True)])
    duration_s = len(falling)
    watched_s, curve = share * duration_s, RetentionCurve(survival)
    watching = float(curve.at(watched_s))
    assume(watching > 1e-6)
    uniform = np.sort(levels)
    watch_s = sample_watch_s(survival, duration_s, watched_s, uniform)
    assert ((watch_s > watched_s) & (watch_s <= duration_s)).all()
    assert (np.diff(watch_s) <= 0).all()
    for u, t in zip(uniform, watch_s, strict=True):
        if t <= watched_s + SHORTEST_WATCH_S:
            assert curve.at(t) / watching <= u + 1e-9
        elif t < duration_s:
            assert curve.at(t) / watching == pytest.approx(u, abs=1e-6)
        else:
            assert survival[-1] / watching >= u - 1e-6


@pytest.mark.parametrize("borne_s", [0.0, 1.0, 2.5, 4.0, 7.5, 20.0])
@pytest.mark.parametrize("same", [0.0, 0.3, 1.0])
def test_patience_follows_its_law_given_what_was_borne(borne_s: float, same: float) -> None:
    """Against sessions drawn as the world draws them, of which those are kept whose viewer is still there."""
    at_s, share = np.array([2.0, 5.0, 10.0]), np.array([1.0, 0.7, 0.4])
    rng, count = np.random.default_rng(0), 60_000
    draws = np.array([patience_of(at_s, share, level) for level in rng.random(4 * count)]).reshape(4, count)
    shared = rng.random((3, count)) < same
    drawn = np.where(shared, draws[3], draws[:3])  # [videos, sessions]
    kept = drawn[:, drawn[0] > borne_s]
    believed = sample_patience_s(at_s, share, same, borne_s, rng.random((20_000, 2, 4))).T
    assert (believed[0] > borne_s).all()
    noise = 2.0 / np.sqrt(kept.shape[1])
    for video in range(3):
        for seconds in (2.5, 5.0, 8.0, 15.0, 30.0):
            expected = np.mean(kept[video] > seconds)
            assert np.mean(believed[video] > seconds) == pytest.approx(expected, abs=noise + 0.012)
    assert np.mean(believed[1] == believed[0]) == pytest.approx(same**2, abs=0.012)
    assert np.mean(believed[1] == believed[2]) == pytest.approx(same**2, abs=0.012)


@pytest.mark.parametrize("patience", [3.0, [2.0, 6.0], [[2, 1], [4, 0.5], [6, 0]]])
def test_who_gives_up_for_sure_is_believed_to(patience: Any) -> None:
    env = PromptPreamEnv(patience=patience)
    env.reset(seed=0)
    for _ in range(3):
        env.step(0)
    view = env.planning_view()
    assert view.state.longest_stall_s == 1.5
    found = sample_futures(view, 300, np.random.default_rng(0), 5.0).sims.episodes.patience_s
    assert (found >= 2.0).all() and (found <= 6.0).all()
    if isinstance(patience, float):
        assert (found == 3.0).all()


def test_with_endless_patience_nobody_is_believed_to_give_up() -> None:
    env = PromptPreamEnv(patience="none")
    env.reset(seed=0)
    futures = sample_futures(env.planning_view(), 10, np.random.default_rng(0), 5.0)
    assert (futures.sims.episodes.patience_s == np.inf).all()


def test_patience_is_calibrated_on_held_out_sessions() -> None:
    """Where a stall has lasted, how often the viewer's patience fell below each predicted quantile."""
    below = []
    rng = np.random.default_rng(0)
    for seed in range(60):
        env = PromptPreamEnv("low/pixels-only/typical", split="validation", n_videos=3, leave_p=0.0)
        env.reset(seed=seed)
        for _ in range(int(rng.integers(0, 24))):
            env.step(0)
            if env._states[0].terminated:
                break
        state = env._states[0]
        if not state.terminated:
            futures = sample_futures(env.planning_view(), 100, rng, 1.0).sims.episodes
            video = int(state.video)
            below += [np.mean(futures.patience_s[:, v] < env._episodes.patience_s[0, v]) for v in range(video, 3)]
    assert len(below) > 80
    for quantile in (0.25, 0.5, 0.75):
        assert np.mean(np.array(below) < quantile) == pytest.approx(quantile, abs=0.13)


def test_factors_follow_their_law_given_what_was_served() -> None:
    rng = np.random.default_rng(0)
    free = sample_factors(rng, 0.3, 0.0, 20000)
    assert free.mean() == pytest.approx(1.0, abs=0.01)
    late = sample_factors(rng, 0.3, 1.2, 20000)
    assert late.min() > 1.2
    kept = free[free > 1.2]
    assert np.median(late) == pytest.approx(np.median(kept), rel=0.02)
    assert (sample_factors(rng, 0.0, 0.5, 3) == 1.0).all()
    assert (sample_factors(rng, 0.0, 1.5, 3) > 1.5).all()


def test_without_evidence_the_link_is_the_prior() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    belief = infer_link(env.planning_view(), LinkModel())
    assert belief.mean[0] == LinkModel().mean
    rates = sample_rates(belief, np.random.default_rng(0), 4000, 5.0)
    assert np.median(rates) == pytest.approx(1.6e6, rel=0.05)


def test_the_link_is_filtered_as_a_gaussian_is_conditioned() -> None:
    """All throughputs at once, by their joint normal distribution, instead of one after the other."""
    model, rng = LinkModel(), np.random.default_rng(0)
    env = PromptPreamEnv("mixed/snapdragon-8-elite/typical")
    _, info = env.reset(seed=1)
    most = 0
    for _ in range(60):
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            break
        view = env.planning_view()
        times_s, logs = view.throughput_time_s, np.log(view.throughput_bps)
        count = len(logs)
        if count == 0:
            continue
        spread = ((logs - logs.mean()) ** 2).sum()
        variance = (model.sd_weight * model.sd**2 + spread) / (model.sd_weight + count - 1)
        slow, noise = model.slow_share * variance, (1.0 - model.slow_share) * variance
        moments_s = np.append(times_s, view.time_s)
        slow_cov = slow * np.exp(-np.abs(moments_s[:, None] - moments_s) / model.slow_s)
        seen_cov = model.mean_sd**2 + slow_cov[:-1, :-1] + noise * np.eye(count)
        with_seen = np.stack([np.full(count, model.mean_sd**2), slow_cov[-1, :-1]])  # of the mean, of the slow part now
        gain = with_seen @ np.linalg.inv(seen_cov)
        mean = [model.mean, 0.0] + gain @ (logs - 0.5 * noise * model.averaging - model.mean)
        covariance = np.diag([model.mean_sd**2, slow]) - gain @ with_seen.T
        belief = infer_link(view, model)
        np.testing.assert_allclose(belief.mean, mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(belief.covariance, covariance, rtol=1e-9, atol=1e-9)
        assert (belief.slow_sd, belief.noise_sd) == pytest.approx((slow**0.5, noise**0.5))
        most = max(most, count)
    assert most == 8


def test_drawn_rates_have_the_moments_of_the_belief() -> None:
    covariance = np.array([[0.09, -0.02], [-0.02, 0.05]])
    belief = LinkBelief(np.array([14.0, 0.3]), covariance, slow_sd=0.4, noise_sd=0.2, slow_s=5.0)
    logs = np.log(sample_rates(belief, np.random.default_rng(0), 200_000, 20.0))
    assert logs.shape == (200_000, 40)
    since_s = LINK_STEP_S * np.arange(40)
    kept = np.exp(-since_s / 5.0)
    np.testing.assert_allclose(logs.mean(axis=0), 14.0 + 0.3 * kept, atol=0.01)
    # the session's mean, the slow part from its posterior towards its distribution, and fresh noise at every step
    slow_var = 0.16 + (0.05 - 0.16) * kept**2
    np.testing.assert_allclose(logs.var(axis=0), 0.09 - 0.04 * kept + slow_var + 0.04, atol=0.01)
    for step, later in ((0, 10), (10, 14), (20, 39)):
        between_cov = 0.09 - 0.02 * (kept[step] + kept[later]) + slow_var[step] * kept[later] / kept[step]
        assert np.cov(logs[:, step], logs[:, later])[0, 1] == pytest.approx(between_cov, abs=0.01)


def test_decode_factors_are_drawn_by_future_video_and_chunk() -> None:
    env = PromptPreamEnv("low/snapdragon-8-gen-2/typical")
    env.reset(seed=0)
    view = env.planning_view()
    futures = sample_futures(view, 200, np.random.default_rng(0), 10.0)
    drawn = futures.sims.episodes.jitter[:, int(view.state.video) :, :JITTERS]
    assert len(np.unique(drawn)) == drawn.size
    assert np.log(drawn).std() == pytest.approx(view.distribution.jitter_sigma, rel=0.05)


@pytest.mark.parametrize("network", ["low", "medium", "high", "mixed"])
def test_the_link_belief_is_calibrated_on_held_out_traces(network: str) -> None:
    """How often the mean rate of the next four seconds fell below each predicted quantile."""
    below = []
    for seed in range(30):
        env = PromptPreamEnv(f"{network}/pixels-only/typical", split="validation", leave_p=0.0)
        rng = np.random.default_rng(seed)
        _, info = env.reset(seed=seed)
        truth = view_sim(env._sims, 0).episode
        for step in range(120):
            rungs = np.flatnonzero(info["action_mask"][:31])
            _, _, terminated, truncated, info = env.step(int(rng.choice(rungs)))
            if terminated or truncated:
                break
            view = env.planning_view()
            if step % 6 == 5:
                rates = sample_rates(infer_link(view, LinkModel()), rng, 200, 4.0).mean(axis=1)
                place_s = truth.link_offset_s + view.time_s
                bits = bits_at(truth.link_time_s, truth.link_bits, place_s + 4.0) - bits_at(
                    truth.link_time_s, truth.link_bits, place_s
                )
                below.append(np.mean(rates < 0.95 * bits / 4.0))
    assert len(below) > 100
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.mean(np.array(below) < quantile) == pytest.approx(quantile, abs=0.1)


def test_watch_times_and_decode_factors_are_calibrated_on_held_out_episodes() -> None:
    """How often what came fell below each predicted quantile; whole watch times are split at random."""
    watched, decoded = [], []
    rng = np.random.default_rng(0)
    for seed in range(25):
        env = PromptPreamEnv("low/snapdragon-8-gen-2/typical", split="validation", leave_p=0.0, n_videos=8)
        _, info = env.reset(seed=seed)
        video, ended = -1, False
        jobs: set[tuple[int, int]] = set()
        while not ended:
            view, truth = env.planning_view(), env._episodes
            fresh = int(view.state.video) > video and rng.random() < 0.3  # once a video, at any time
            units = [
                unit
                for unit in np.flatnonzero(view.state.job_video != NO_ENTRY)
                if (int(view.state.job_video[unit]), int(view.state.job_chunk[unit])) not in jobs
            ]
            if fresh or units:
                futures = sample_futures(view, 100, rng, 1.0)
            if fresh:
                video = int(view.state.video)
                draws, came = futures.sims.episodes.watch_s[:, video], truth.watch_s[0, video]
                watched.append(np.mean(draws < came) + rng.random() * np.mean(draws == came))
            for unit in units:
                job = int(view.state.job_video[unit]), int(view.state.job_chunk[unit])
                jobs.add(job)
                decoded.append(np.mean(futures.sims.episodes.jitter[:, *job] < truth.jitter[0, *job]))
            legal = np.flatnonzero(info["action_mask"])
            action = 0 if len(legal) == 1 or rng.random() < 0.3 else int(rng.choice(legal[1:]))
            _, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
    assert len(watched) > 120
    assert len(decoded) > 500
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.mean(np.array(watched) < quantile) == pytest.approx(quantile, abs=0.1)
        assert np.mean(np.array(decoded) < quantile) == pytest.approx(quantile, abs=0.05)
