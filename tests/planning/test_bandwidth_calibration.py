"""Bandwidth calibration: by hand, over episodes, and where it must learn nothing."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from agents import make_agent
from agents.studies.ablations import AblatedPlanner
from agents.studies.planner import BIASED_BELIEF
from ppgym.core.state import HISTORY, new_states
from ppgym.env import PromptPreamEnv
from ppgym.planning.bandwidth_calibration import (
    BIAS_P,
    LOG_FACTOR_SD,
    MAX_LOG_ERROR,
    MIN_LOG_SD,
    BandwidthCalibration,
    bits_between,
    expected_log_factor,
)
from ppgym.planning.belief import LINK_STEP_S, sample_futures
from ppgym.planning_view import PlanningView


def seen_view(**kwargs: Any) -> PlanningView:
    """The view after a reset."""
    env = PromptPreamEnv(**kwargs)
    env.reset(seed=0)
    return env.planning_view()


def drawn(view: PlanningView, *goodputs_bps: float, steps: int = 40) -> Any:
    """Futures of constant rates, a transfer's."""
    rates = np.array(goodputs_bps)[:, None] / view.params.link_efficiency
    bits = rates * LINK_STEP_S * np.arange(steps + 1)
    links = SimpleNamespace(bits=bits.ravel())
    return SimpleNamespace(states=list(goodputs_bps), sims=SimpleNamespace(links=links))


def after(view: PlanningView, transfers: int, size_bytes: float, flow_s: float) -> PlanningView:
    """The view when so many transfers have come, one after the other, the last at its very time."""
    states = new_states(1)
    states[0] = view.state
    state = states[0]
    state.time_s += transfers * (view.params.charge_thinking_s + view.params.rtt_s + flow_s)
    state.downloaded_bytes += transfers * size_bytes
    state.throughputs += transfers
    seen_bps = np.append(view.throughput_bps, np.full(transfers, 8.0 * size_bytes / flow_s))[-HISTORY:]
    return replace(
        view,
        state=state,
        throughput_bps=seen_bps,
        throughput_time_s=np.append(view.throughput_time_s, np.full(transfers, state.time_s))[-HISTORY:],
    )


def believed(*errors: float, sd: float = MIN_LOG_SD) -> float:
    """Posterior mean of the log factor, by adding up densities over a fine grid."""
    grid, step = np.linspace(-4.0, 4.0, 16_001, retstep=True)
    likely = np.prod([stats.norm.pdf(error, grid, sd) for error in errors], axis=0)
    some = BIAS_P * stats.norm.pdf(grid, 0.0, LOG_FACTOR_SD) * likely * step
    none = (1.0 - BIAS_P) * float(np.prod([stats.norm.pdf(error, 0.0, sd) for error in errors]))
    return float((grid * some).sum() / (some.sum() + none))


@pytest.mark.parametrize("errors", [(0.5,), (-0.3, -0.3), (-0.3,) * 30, (0.9, -0.9, 0.4), (1.0,) * 12])
@pytest.mark.parametrize("sd", [0.2, 0.4])
def test_the_posterior_is_bayes(errors: tuple[float, ...], sd: float) -> None:
    found = expected_log_factor(float(np.mean(errors)), sd**2 / len(errors))
    assert found == pytest.approx(believed(*errors, sd=sd), abs=1e-6)


def test_what_noise_explains_is_no_factor_and_what_it_does_not_is() -> None:
    usual = 0.4 / 30**0.5
    assert abs(expected_log_factor(usual, usual**2)) < 0.3 * usual
    assert expected_log_factor(-0.3, 0.16 / 60) == pytest.approx(-0.3, rel=0.05)
    assert expected_log_factor(-1.0, 1e-6) == pytest.approx(-1.0, rel=1e-3)


def test_a_factor_by_hand() -> None:
    """Predicted are 1 and 4 Mbit/s, whose logarithms lie ln 2 below and above that of 2; the actual rate is 1."""
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6, 4e6))
    view = after(view, 1, 2e5, 1.6)
    seen = calibration.calibrate(view)
    once = believed(math.log(0.5), sd=math.log(2.0))
    assert calibration.log_factor == pytest.approx(once, abs=1e-6)
    assert seen.throughput_bps == pytest.approx([1e6 * math.exp(once)], rel=1e-5)
    assert seen.state.throughput_bps == pytest.approx(view.state.throughput_bps * math.exp(once), rel=1e-5)
    assert view.throughput_bps == pytest.approx([1e6])  # the caller's stays as it is

    # Predicted with the correction: the error is relative to a prediction without it
    calibration.remember(seen, drawn(view, 1e6 * math.exp(once), 4e6 * math.exp(once)))
    calibration.calibrate(after(view, 1, 2e5, 1.6))
    assert calibration.log_factor == pytest.approx(believed(*[math.log(0.5)] * 2, sd=math.log(2.0)), abs=1e-6)


def test_errors_are_weighted_by_the_precision_of_the_futures() -> None:
    """One of sd 0.2 and one of sd 0.8: the first weighs sixteen times as much."""
    view, calibration = seen_view(), BandwidthCalibration()
    for sd, rate_bps in ((0.2, 1.3e6), (0.8, 0.6e6)):
        scale = math.exp(calibration.log_factor)
        calibration.remember(
            calibration.calibrate(view), drawn(view, 1e6 * scale * math.exp(-sd), 1e6 * scale * math.exp(sd))
        )
        view = after(view, 1, rate_bps / 8.0, 1.0)
        calibration.calibrate(view)
    mean = (16.0 * math.log(1.3) + math.log(0.6)) / 17.0
    assert calibration.log_factor == pytest.approx(expected_log_factor(mean, 1.0 / (25.0 + 25.0 / 16.0)), abs=1e-9)


def test_before_a_throughput_is_seen_hardly_anything_is_learned() -> None:
    """The first futures are from the prior of all networks: that this one is slower is no error of its throughputs."""
    env, calibration = PromptPreamEnv(bandwidth_scale=0.4), BandwidthCalibration()
    env.reset(seed=0)
    view = env.planning_view()
    futures = sample_futures(view, 64, np.random.default_rng(0), 20.0)
    calibration.remember(calibration.calibrate(view), futures)
    calibration.calibrate(after(view, 1, 1e5, 2.0))
    assert -0.05 < calibration.log_factor < 0.0


@pytest.mark.parametrize("kwargs", [{}, {"rtt_s": 0.5}, {"rtt_s": 0.25, "charge_thinking_s": 0.25}])
def test_a_transfer_is_compared_with_the_seconds_in_which_it_flowed(kwargs: dict[str, float]) -> None:
    """The link is fast until the first byte, then 1 Mbit/s for a second, then 3 Mbit/s; 2 s bring 4 Mbit."""
    view, calibration = seen_view(**kwargs), BandwidthCalibration()
    start_s = view.params.rtt_s + view.params.charge_thinking_s
    if not kwargs:
        assert 0.0 < start_s < LINK_STEP_S
    seconds = np.array([start_s, start_s + 1.0, start_s + 2.0, 20.0])
    edges_s = LINK_STEP_S * np.arange(41)
    bits = np.interp(edges_s, [0.0, *seconds], [0.0, 1e6, 2e6, 5e6, 5e6 + 3e6 * (18.0 - start_s)])
    links = SimpleNamespace(bits=bits / view.params.link_efficiency)
    futures: Any = SimpleNamespace(states=[0], sims=SimpleNamespace(links=links))
    calibration.remember(calibration.calibrate(view), futures)
    calibration.calibrate(after(view, 1, 4e6 / 8.0, 2.0))
    if start_s % LINK_STEP_S == 0.0:
        assert calibration.log_factor == pytest.approx(0.0, abs=1e-9)
    expected_bps = (np.interp(start_s + 2.0, edges_s, bits) - np.interp(start_s, edges_s, bits)) / 2.0
    assert calibration.log_factor == pytest.approx(believed(math.log(2e6 / expected_bps)), abs=1e-6)


def test_the_seconds_in_which_a_transfer_flows_are_those_of_the_kernel() -> None:
    """Thinking, then the round trip, then the flow: as the kernel tells the throughput of a request."""
    env = PromptPreamEnv(rtt_s=0.25, charge_thinking_s=0.25)
    env.reset(seed=0)
    env.step(1)
    view = env.planning_view()
    flow_s = float(view.throughput_time_s[-1]) - 0.25 - 0.25
    assert 8.0 * view.state.downloaded_bytes / flow_s == pytest.approx(float(view.throughput_bps[-1]))


def test_bits_by_hand() -> None:
    received = np.array([[0.0, 9.0, 9.5, 10.0, 11.5, 13.0]]) * 1e6
    assert bits_between(received, 0.0, 0.5) == pytest.approx([9e6])
    assert bits_between(received, 0.5, 0.75) == pytest.approx([0.25e6])
    assert bits_between(received, 0.75, 2.5) == pytest.approx([3.75e6])
    assert bits_between(received, 0.75, 3.0) == pytest.approx([3.75e6 + 9e6])  # it repeats


def test_a_transfer_longer_than_the_drawn_link_is_compared_with_the_link_repeated() -> None:
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6, steps=4))
    calibration.calibrate(after(view, 1, 1e6 / 8 * 10.0 * 0.9, 10.0))
    assert calibration.log_factor == pytest.approx(believed(math.log(0.9)), abs=1e-6)


@pytest.mark.parametrize(("flow_s", "sign"), [(200.0, -1.0), (0.01, 1.0)])
def test_an_outage_counts_at_most_the_largest_error(flow_s: float, sign: float) -> None:
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6))
    calibration.calibrate(after(view, 1, 1e5, flow_s))
    assert calibration.log_factor == pytest.approx(believed(sign * MAX_LOG_ERROR), abs=1e-6)


@pytest.mark.parametrize("transfers", [0, 2])
def test_it_learns_from_single_transfers_only(transfers: int) -> None:
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6))
    assert calibration.calibrate(after(view, transfers, 1e5, 0.2)).throughput_bps == pytest.approx([4e6] * transfers)
    assert calibration.log_factor == 0.0


def test_nothing_is_learned_where_transfers_share_the_link() -> None:
    view, calibration = seen_view(parallel_downloads=2), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6))
    calibration.calibrate(after(view, 1, 1e5, 0.2))
    assert calibration.log_factor == 0.0


def test_nothing_is_learned_of_what_was_cancelled() -> None:
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6))
    later = after(view, 1, 1e5, 0.2)
    later.state.throughputs = 0
    calibration.calibrate(later)
    calibration.calibrate(after(view, 1, 1e5, 0.2))  # the next transfer has no prediction
    assert calibration.log_factor == 0.0


@pytest.mark.parametrize("later", ["earlier", "less downloaded"])
def test_a_view_from_before_begins_another_episode(later: str) -> None:
    view, calibration = seen_view(), BandwidthCalibration()
    calibration.remember(calibration.calibrate(view), drawn(view, 1e6))
    calibration.remember(calibration.calibrate(after(view, 1, 1e5, 0.2)), drawn(view, 1e6))
    assert calibration.log_factor > 0.0
    if later == "less downloaded":
        state = view.state.copy()
        state.time_s += 100.0
        view = replace(view, state=state)
    assert calibration.calibrate(view) is view
    assert calibration.log_factor == 0.0


def test_an_agent_plays_an_episode_alike_whatever_it_played_before() -> None:
    env = PromptPreamEnv()
    agent, decided = make_agent("mcts", env, seed=0, simulations=8), []
    for seed in (1, 0, 1):
        observation, _ = env.reset(seed=seed)
        decided.append([])
        for _ in range(40):
            action, _ = agent.predict(observation)
            decided[-1].append(int(action))
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
    assert decided[0] == decided[2] != decided[1]


@pytest.mark.parametrize("bandwidth", [0.7, 1.0, 1.3])
def test_throughputs_that_are_off_by_a_factor_are_found_out(bandwidth: float) -> None:
    """Over whole episodes: what is believed in the end is near the throughputs as they are."""
    found = []
    for seed in range(12):
        env = PromptPreamEnv(split="validation", leave_p=0.0)
        agent: Any = make_agent(BIASED_BELIEF, env, seed=seed, agent="mcts", bandwidth=bandwidth, simulations=8)
        observation, _ = env.reset(seed=seed)
        for _ in range(60):
            action, _ = agent.predict(observation)
            observation, _, terminated, truncated, _ = env.step(action)
            assert not (terminated or truncated)
        found.append(agent.agent.calibration.log_factor)
    assert bandwidth * math.exp(float(np.mean(found))) == pytest.approx(1.0, abs=0.06)


def test_without_it_the_throughputs_stand() -> None:
    for parameter in ("bandwidth_calibration", "belief"):
        env = PromptPreamEnv()
        agent = AblatedPlanner(env, seed=0, simulations=8, **{parameter: False})
        planner: Any = agent.agent
        observation, _ = env.reset(seed=0)
        for _ in range(12):
            view = env.planning_view()
            action, _ = agent.predict(observation)
            assert np.array_equal(planner.last_plan.view.throughput_bps, view.throughput_bps)
            observation, *_ = env.step(action)
        assert len(view.throughput_bps) > 3
