"""What the planner learns of its own foresight: by hand, over episodes, and where it must not."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from agents import make_agent
from agents.study import MISTAKEN
from ppgym.core.state import HISTORY, new_states
from ppgym.env import PromptPreamEnv
from ppgym.planning.belief import GRID_S
from ppgym.planning.hindsight import (
    FACTOR_SD,
    MOST_ERROR,
    NOISE_SD,
    WRONG_P,
    Hindsight,
    bits_until,
    expected_log_factor,
)
from ppgym.view import PlanningView


def first_view(**kwargs: Any) -> PlanningView:
    """The view at a reset."""
    env = PromptPreamEnv(**kwargs)
    env.reset(seed=0)
    return env.planning_view()


def drawn(view: PlanningView, *goodputs_bps: float, steps: int = 40) -> Any:
    """Futures of constant rates, a transfer's."""
    rates = np.array(goodputs_bps)[:, None] / view.params.link_efficiency
    bits = rates * GRID_S * np.arange(steps + 1)
    return SimpleNamespace(states=list(goodputs_bps), links=SimpleNamespace(bits=bits.ravel()))


def after(view: PlanningView, transfers: int, size_bytes: float, flow_s: float) -> PlanningView:
    """The view when so many transfers have come, one after the other, the last at its very time."""
    states = new_states(1)
    states[0] = view.state
    state = states[0]
    state.time_s += transfers * (view.params.rtt_s + flow_s)
    state.downloaded_bytes += transfers * size_bytes
    state.throughputs += transfers
    seen_bps = np.append(view.throughput_bps, np.full(transfers, 8.0 * size_bytes / flow_s))[-HISTORY:]
    return replace(
        view,
        state=state,
        throughput_bps=seen_bps,
        throughput_time_s=np.append(view.throughput_time_s, np.full(transfers, state.time_s))[-HISTORY:],
    )


def believed(*errors: float) -> float:
    """Posterior mean of the log factor, by adding up densities over a fine grid."""
    grid, step = np.linspace(-4.0, 4.0, 16_001, retstep=True)
    likely = np.prod([stats.norm.pdf(error, grid, NOISE_SD) for error in errors], axis=0)
    some = WRONG_P * stats.norm.pdf(grid, 0.0, FACTOR_SD) * likely * step
    none = (1.0 - WRONG_P) * float(np.prod([stats.norm.pdf(error, 0.0, NOISE_SD) for error in errors]))
    return float((grid * some).sum() / (some.sum() + none))


@pytest.mark.parametrize("errors", [(0.5,), (-0.3, -0.3), (-0.3,) * 30, (0.9, -0.9, 0.4), (1.0,) * 12])
def test_the_posterior_is_bayes(errors: tuple[float, ...]) -> None:
    assert expected_log_factor(float(np.mean(errors)), len(errors)) == pytest.approx(believed(*errors), abs=1e-6)


def test_what_noise_explains_is_no_factor_and_what_it_does_not_is() -> None:
    usual = NOISE_SD / 30**0.5
    assert abs(expected_log_factor(usual, 30)) < 0.3 * usual
    assert expected_log_factor(-0.3, 60) == pytest.approx(-0.3, rel=0.05)
    assert expected_log_factor(-1.0, 100_000) == pytest.approx(-1.0, rel=1e-3)


def test_a_factor_by_hand() -> None:
    """Foreseen are 1 and 4 Mbit/s, whose logarithms' mean is that of 2; what comes is 1 Mbit/s, twice."""
    view, hindsight = first_view(), Hindsight()
    seen = hindsight.correct(view)
    hindsight.foresee(seen, drawn(view, 1e6, 4e6))
    view = after(view, 1, 2e5, 1.6)
    seen = hindsight.correct(view)
    once = believed(math.log(0.5))
    assert hindsight.log_factor == pytest.approx(once, abs=1e-6)
    assert seen.throughput_bps == pytest.approx([1e6 * math.exp(once)], rel=1e-5)
    assert seen.state.throughput_bps == pytest.approx(view.state.throughput_bps * math.exp(once), rel=1e-5)
    assert view.throughput_bps == pytest.approx([1e6])  # the caller's stays as it is

    # Foreseen after the correction: the error is counted from what would have been foreseen without one
    hindsight.foresee(seen, drawn(view, 2e6 * math.exp(once)))
    hindsight.correct(after(view, 1, 2e5, 1.6))
    assert hindsight.log_factor == pytest.approx(believed(math.log(0.5), math.log(0.5)), abs=1e-6)


def test_a_transfer_of_seconds_is_held_against_the_rates_of_those_seconds() -> None:
    """By hand: after the RTT of 0.5 s, 1 s of 1 Mbit/s and then 3 Mbit/s; 2 s bring 4 Mbit."""
    received = np.array([[0.0, 9.0, 9.5, 10.0, 11.5, 13.0]]) * 1e6
    assert bits_until(received, 0.5) == pytest.approx([9e6])
    assert bits_until(received, 0.75) == pytest.approx([9.25e6])
    assert bits_until(received, 2.5) == pytest.approx([13e6])


def test_what_is_longer_than_what_was_drawn_is_held_against_all_of_it() -> None:
    view, hindsight = first_view(), Hindsight()
    hindsight.foresee(hindsight.correct(view), drawn(view, 1e6, steps=4))
    hindsight.correct(after(view, 1, 1e6 / 8 * 10.0 * 0.9, 10.0))
    assert hindsight.log_factor == pytest.approx(believed(math.log(0.9)), abs=1e-6)


@pytest.mark.parametrize(("flow_s", "sign"), [(200.0, -1.0), (0.01, 1.0)])
def test_an_outage_counts_no_more_than_the_most(flow_s: float, sign: float) -> None:
    view, hindsight = first_view(), Hindsight()
    hindsight.foresee(hindsight.correct(view), drawn(view, 1e6))
    hindsight.correct(after(view, 1, 1e5, flow_s))
    assert hindsight.log_factor == pytest.approx(believed(sign * MOST_ERROR), abs=1e-6)


@pytest.mark.parametrize("transfers", [0, 2])
def test_nothing_is_learned_but_of_one_transfer(transfers: int) -> None:
    view, hindsight = first_view(), Hindsight()
    hindsight.foresee(hindsight.correct(view), drawn(view, 1e6))
    assert hindsight.correct(after(view, transfers, 1e5, 0.2)).throughput_bps == pytest.approx([4e6] * transfers)
    assert hindsight.log_factor == 0.0


def test_nothing_is_learned_of_transfers_that_share_the_link() -> None:
    view, hindsight = first_view(), Hindsight()
    states = new_states(1)
    states[0] = view.state
    states[0].transfers = 1
    hindsight.foresee(hindsight.correct(replace(view, state=states[0])), drawn(view, 1e6))
    hindsight.correct(after(view, 1, 1e5, 0.2))
    assert hindsight.log_factor == 0.0


def test_a_view_from_before_begins_another_episode() -> None:
    view, hindsight = first_view(), Hindsight()
    hindsight.foresee(hindsight.correct(view), drawn(view, 1e6))
    later = after(view, 1, 1e5, 0.2)
    hindsight.foresee(hindsight.correct(later), drawn(view, 1e6))
    assert hindsight.log_factor > 0.0
    assert hindsight.correct(view) is view
    assert hindsight.log_factor == 0.0


@pytest.mark.parametrize("bandwidth", [0.7, 1.0, 1.3])
def test_throughputs_that_are_off_by_a_factor_are_found_out(bandwidth: float) -> None:
    """Over whole episodes: what is believed in the end is near the throughputs as they are."""
    found = []
    for seed in range(4):
        env = PromptPreamEnv(split="validation", leave_p=0.0)
        agent: Any = make_agent(MISTAKEN, env, seed=seed, agent="mcts", bandwidth=bandwidth, simulations=8)
        observation, _ = env.reset(seed=seed)
        for _ in range(60):
            action, _ = agent.predict(observation)
            observation, _, terminated, truncated, _ = env.step(action)
            assert not (terminated or truncated)
        found.append(agent._agent.hindsight.log_factor)
    assert bandwidth * math.exp(float(np.mean(found))) == pytest.approx(1.0, abs=0.12)


def test_without_it_the_throughputs_stand() -> None:
    for parameters in ({"hindsight": False}, {"belief": False}):
        env = PromptPreamEnv()
        agent: Any = make_agent("mcts", env, seed=0, simulations=8, **parameters)
        observation, _ = env.reset(seed=0)
        for _ in range(12):
            view = env.planning_view()
            action, _ = agent.predict(observation)
            assert np.array_equal(agent.last_plan.view.throughput_bps, view.throughput_bps)
            observation, *_ = env.step(action)
        assert len(view.throughput_bps) > 3
