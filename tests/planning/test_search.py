"""The simulations against slow ones, a golden table of their returns, and what holds for every plan.

``python -m tests.planning.test_search`` writes the golden file anew, for a change of the search that is meant.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.core.actions import WAIT
from ppgym.core.dynamics import transition
from ppgym.core.episodes import view_sim
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import DECODED, DECODING, LOOKAHEAD, QUEUED, RING, SLOTS, Episode, StateRecord
from ppgym.env import PromptPreamEnv
from ppgym.planning.belief import Futures, sample_futures
from ppgym.planning.planner import Plan, Planner, PlannerParameters
from ppgym.planning.rollout import make_tables, new_estimates, value_actions
from ppgym.planning.rollout_parameters import NetworkParameters, RolloutParameters, RolloutPolicy
from ppgym.planning.search import (
    Root,
    SearchParameters,
    SearchTask,
    new_root,
    new_scratch,
    root_values,
    simulate_actions,
)
from ppgym.planning_view import PlanningView
from tests.core.kernel import KernelSimulator
from tests.planning.futures import CPU, NPU, PATIENT, VDEC, second_edition, view_of, world_of
from tests.test_env import random_legal

POLICY = RolloutPolicy()
HASTY = RolloutPolicy(  # leaves chunks of the current video alone that are due in more than this, legal as they are
    *(NetworkParameters(*(parameters._replace(buffer_s=3.0) for parameters in network)) for network in POLICY)
)
FUTURES = 12
PARAMETERS = SearchParameters(horizon_s=8.0, longest_s=14.0, kept_share=0.4)

GOLDEN = Path(__file__).with_name("golden_returns.json")
NETWORK = NetworkParameters(
    slow=RolloutParameters(0.85, 3.0, 0.45, 0.1, 0.4, 2.0, 1.8, 0.05, 0.75, 0.6, 1.5, -0.1, 27.0),
    fast=RolloutParameters(0.85, 1.0, 0.2, 0.02, 0.65, 0.9, 1.3, 0.3, 0.6, 0.65, 1.6, 0.05, 36.0),
)


def situations(count: int, **kwargs: Any) -> Any:
    """Planning views at decisions of random play, with something to ask for."""
    env, rng = PromptPreamEnv(**kwargs), np.random.default_rng(0)
    _, info = env.reset(seed=0)
    for step in range(7 * count):
        if step % 7 == 6:
            yield env.planning_view()
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            _, info = env.reset()


# --- slow simulations -------------------------------------------------------------------------------------------------


@dataclass
class SlowSearch:
    """What a simulation says it does, with core's transitions and the rollout policy's values."""

    view: PlanningView
    futures: Futures
    policy: RolloutPolicy

    def simulate(self, future: int, action: int) -> float:
        sim = view_sim(self.futures.sims, future)
        state = self.futures.states[future].copy()
        tables = make_tables(sim.params, sim.catalog, self.view.distribution)
        end_s, end_played_s = state.time_s + PARAMETERS.longest_s, state.played_s + PARAMETERS.horizon_s
        rewards: list[float] = []
        while True:
            before, played_s = totals_of(state), float(state.played_s)
            transition(sim, state, action)
            reward = reward_terms(sim.params, before, totals_of(state), np.zeros(len(REWARD_TERMS)))
            share = (end_played_s - played_s) / (state.played_s - played_s) if state.played_s > end_played_s else 1.0
            rewards.append(share * reward)
            if state.terminated or state.played_s >= end_played_s or state.time_s >= end_s:
                break
            values = np.full(len(self.view.action_mask), -np.inf)
            action = value_actions(sim, state, tables, self.policy, 0, new_estimates(), values)
        return sum(rewards) + (0.0 if state.terminated else self.at_hand(sim.episode, state))

    def at_hand(self, episode: Episode, state: StateRecord) -> float:
        """The chunks received at the horizon: those that will play at a share of their quality, others as waste."""
        params, catalog, value, comes = self.view.params, self.futures.sims.catalog, 0.0, True
        for video in range(int(state.video), min(int(state.video) + SLOTS, len(episode.playlist))):
            first = int(state.playhead) if video == state.video else 0
            for chunk in range(first, min(first + RING, int(catalog.n_chunks[episode.playlist[video]]))):
                place = video % SLOTS, chunk % RING
                if state.chunk_status[place] in (QUEUED, DECODING, DECODED):
                    which = episode.playlist[video], chunk, params.option_representation[state.chunk_option[place]]
                    left_s = max(episode.watch_s[video] - chunk * params.chunk_s, 0.0)
                    plays_s = min(left_s, params.chunk_s) if comes else 0.0
                    value += PARAMETERS.kept_share * params.weight_quality * catalog.quality[which] * plays_s
                    if plays_s == 0.0:
                        value -= params.weight_waste * catalog.chunk_bytes[which] * MBIT_PER_BYTE
            comes = comes and not episode.leaves[video]
        return value


def search(view: PlanningView, futures: Futures, policy: RolloutPolicy, parameters: SearchParameters) -> Root:
    """Some actions of a view in all futures, in two calls; the rollout policy's choice and `WAIT` are among them."""
    count = len(futures.states)
    scratch = new_scratch(len(view.action_mask))
    scratch.values[:] = -np.inf
    task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), policy, parameters)
    chosen = root_values(futures, task, scratch)
    legal = np.flatnonzero(scratch.values > -np.inf)
    actions = np.unique(np.concatenate([[chosen, WAIT], legal[:: max(len(legal) // 3, 1)]])).astype(np.int32)
    root = new_root(len(actions), count)
    root.actions[:] = actions
    alive = np.arange(len(actions), dtype=np.int32)
    for first, last in ((0, 5), (5, count)):
        simulate_actions(futures, task, scratch, root, alive, first, last - first)
    return root


@pytest.mark.parametrize(
    ("kwargs", "policy"),
    [
        ({}, POLICY),
        ({}, HASTY),
        ({"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3}, POLICY),
        (second_edition(), POLICY),
    ],
)
def test_the_returns_are_those_of_slow_simulations(kwargs: dict[str, Any], policy: RolloutPolicy) -> None:
    for seed, view in enumerate(situations(6, **kwargs)):
        futures = sample_futures(view, FUTURES, np.random.default_rng(seed), 30.0)
        root = search(view, futures, policy, PARAMETERS)
        slow = SlowSearch(view, futures, policy)
        expected = [[slow.simulate(future, int(action)) for future in range(FUTURES)] for action in root.actions]
        assert (root.simulated == FUTURES).all()
        assert root.returns == pytest.approx(np.array(expected), abs=1e-6)


def small_world() -> Root:
    """Two videos, pixels of two qualities, a prompt on two units, two chunks in."""
    options = [(0, VDEC, 0.02), (1, VDEC, 0.02), (2, CPU, 0.9), (2, NPU, 0.4)]
    world = world_of(options, [0.5, 1.2, 0.1], [0.75, 1.85, 1.2], chunks=(4, 3), watch_s=(3.5, 3.0))
    world.catalog.retention[:, 1:] *= np.array([[0.8, 0.7, 0.6, 0.5], [0.9, 0.5, 0.4, 0.0]])
    sim = KernelSimulator(world)
    for action in (1, 2):
        sim.step(action)
    view = view_of(world, sim.state, PATIENT._replace(leave_p=0.1, jitter_sigma=0.2))
    futures = sample_futures(view, FUTURES, np.random.default_rng(3), 20.0)
    parameters = SearchParameters(horizon_s=6.0, longest_s=10.0, kept_share=0.3)
    return search(view, futures, RolloutPolicy(slow_network=NETWORK, fast_network=NETWORK), parameters)


def test_the_golden_returns_come_again() -> None:
    root, golden = small_world(), json.loads(GOLDEN.read_text())
    assert [str(action) for action in root.actions] == list(golden)
    assert root.returns == pytest.approx(np.array(list(golden.values())), abs=1e-6)


def write_golden() -> None:
    """Write the golden file: the returns of each action."""
    root = small_world()
    rows = [f'"{action}": {np.round(own, 9).tolist()}' for action, own in zip(root.actions, root.returns, strict=True)]
    GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")


# --- what holds for every plan ----------------------------------------------------------------------------------------


def check(plan: Plan, simulations: int) -> None:
    assert plan.simulated.sum() == plan.simulations <= simulations
    assert np.array_equal(plan.root_actions, plan.root.actions[: len(plan.root_actions)])
    assert plan.simulated[0] == plan.simulated.max()  # the baseline stays
    assert (plan.advantage[plan.simulated < plan.simulated.max()] == -np.inf).all()
    assert len(set(plan.root_actions.tolist())) == len(plan.root_actions)
    assert plan.view.action_mask[plan.action]
    assert plan.action in plan.root_actions
    assert WAIT in plan.root_actions


def test_what_holds_for_every_plan() -> None:
    parameters = PlannerParameters(futures=17, root_actions=6, search=PARAMETERS)
    planner = Planner(simulations=130, seed=1, parameters=parameters)
    for view in situations(25):
        check(planner.plan(view), 130)


def test_futures_never_come_twice() -> None:
    """More of them are sampled where a search has used the first; each is simulated once, in order."""
    view = next(situations(1))
    planner = Planner(simulations=200, parameters=PlannerParameters(futures=8, indifference=0.0, search=PARAMETERS))
    sampled: list[Futures] = []

    def sample(*given: Any) -> Futures:
        sampled.append(sample_futures(*given))
        return sampled[-1]

    planner.sample = sample
    plan = planner.plan(view)
    assert len(sampled) == -(-int(plan.simulated[0]) // 8) > 2
    links = np.concatenate([one.sims.links.bits for one in sampled]).reshape(8 * len(sampled), -1)
    assert len(np.unique(links, axis=0)) == len(links)
    slow = [SlowSearch(view, block, planner.parameters.rollout) for block in sampled]
    expected = [slow[i // 8].simulate(i % 8, int(plan.root_actions[0])) for i in range(int(plan.simulated[0]))]
    assert plan.root.returns[0, : len(expected)] == pytest.approx(expected, abs=1e-6)


def test_a_single_expected_future_is_simulated_once() -> None:
    for view in situations(4):
        plan = Planner(simulations=100, belief=False, parameters=PlannerParameters(search=PARAMETERS)).plan(view)
        assert (plan.simulated == min(1, len(plan.root_actions) - 1)).all()
        assert plan.view.action_mask[plan.action]


def test_the_prior_sees_every_look_ahead() -> None:
    for view in situations(8):
        futures = sample_futures(view, 2, np.random.default_rng(0), 10.0)
        scratch = new_scratch(len(view.action_mask))
        scratch.values[:] = -np.inf
        task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), POLICY, PARAMETERS)
        chosen = root_values(futures, task, scratch)
        assert view.action_mask[chosen]
        seen = scratch.values > -np.inf
        assert not seen[view.action_mask == 0].any()
        ahead = ((np.flatnonzero(seen)[1:] - 1) // len(view.options)) % LOOKAHEAD
        assert set(ahead) == set(((np.flatnonzero(view.action_mask)[1:] - 1) // len(view.options)) % LOOKAHEAD)


if __name__ == "__main__":
    write_golden()
