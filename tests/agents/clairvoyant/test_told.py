"""The planner that is told what is hidden: nothing changes nothing, and all of it leaves one future, the episode."""

from collections.abc import Iterator

import numpy as np
import pytest

from agents import is_ranked, make_agent
from agents.clairvoyant.told import FACTS, ToldPlanner
from agents.mcts import MCTSAgent
from ppgym.client import Client
from ppgym.core.dynamics import transition
from ppgym.core.episodes import view_sim
from ppgym.core.state import StateRecord
from ppgym.env import PromptPreamEnv
from tests.planning.test_planner import situations

TOLD = "agents.clairvoyant.told:ToldPlanner"
# What an episode may hold: stalls that somebody may not bear, decode times that vary, and transfers of left videos
WORLD = {"parallel_downloads": 2, "patience": [2.0, 8.0]}


def decisions(agent: MCTSAgent, env: PromptPreamEnv, seed: int) -> Iterator[int]:
    """What an agent decides from a reset on."""
    env.reset(seed=seed)
    ended = False
    while not ended:
        action, _ = agent.predict(None)
        yield action
        _, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated


@pytest.mark.parametrize("world", [{}, WORLD])
def test_told_nothing_it_decides_as_the_planner(world: dict[str, object]) -> None:
    env, other = PromptPreamEnv(**world), PromptPreamEnv(**world)
    told = decisions(ToldPlanner(env, seed=3, told=(), simulations=16), env, 2)
    assert list(told) == list(decisions(MCTSAgent(other, seed=3, simulations=16), other, 2))


@pytest.mark.parametrize("world", [{}, WORLD, {"scenario": "mixed/snapdragon-8-gen-2/skimmer", "n_videos": 3}])
def test_told_all_every_future_is_the_episode(world: dict[str, object]) -> None:
    seen = 0
    for env in situations(20, **world):
        agent = ToldPlanner(env, seed=0, simulations=32, futures=4)
        action, _ = agent.predict(None)
        assert agent.last_plan is not None
        futures = agent.last_plan.futures
        for draws in futures.sims.episodes:
            assert (draws == draws[0]).all()
        assert all(state.tobytes() == futures.states[0].tobytes() for state in futures.states)

        before = env.get_state()
        _, _, _, _, info = env.step(action)
        state: StateRecord = futures.states[1]
        transition(view_sim(futures.sims, 1), state, action)
        after: StateRecord = env._states[0].copy()
        env.set_state(before)
        last = len(futures.sims.episodes.playlist[0]) - 1
        if after.video > last or (after.terminated and after.video == last):
            continue  # the future ends with what is visible
        seen += 1
        for total in ("time_s", "played_s", "rebuffer_s", "quality", "downloaded_bytes", "wasted_bytes"):
            assert state[total] == pytest.approx(info[total], rel=1e-9, abs=1e-6), total
        for place in ("video", "playhead", "playing", "chunks_begun", "transfers", "terminated", "truncated"):
            assert state[place] == after[place], place
    assert seen > 10


def test_it_plans_up_to_the_end_that_it_is_told() -> None:
    """A session that is cut after 6 s stands still there, and so do its futures."""
    env = PromptPreamEnv(max_wall_s=6.0)
    actions = list(decisions(ToldPlanner(env, seed=0, told=("leaving",), simulations=16, futures=4), env, 0))
    assert len(actions) > 3
    assert env.planning_view().time_s == pytest.approx(6.0)


@pytest.mark.parametrize("fact", FACTS)
def test_it_is_told_one_thing_alone(fact: str) -> None:
    """What it is not told differs among the futures, and what it is told does not."""
    env = next(situations(1, patience=[2.0, 8.0]))
    agent = ToldPlanner(env, seed=0, told=[fact], simulations=16, futures=16)
    agent.predict(None)
    assert agent.last_plan is not None
    sims = agent.last_plan.futures.sims
    parts = {"swipes": "watch_s", "link": "link", "patience": "patience_s", "jitter": "jitter", "leaving": "leaves"}
    for name, part in parts.items():
        draws = getattr(sims.episodes, part)
        assert (draws == draws[0]).all() == (name == fact), name


def test_what_it_is_told_changes_decisions() -> None:
    changed = set()
    for env in situations(20):
        action, _ = MCTSAgent(env, seed=0, simulations=64).predict(None)
        for fact in ("swipes", "link"):
            told, _ = ToldPlanner(env, seed=0, told=[fact], simulations=64).predict(None)
            changed |= {fact} if told != action else set()
    assert changed == {"swipes", "link"}


def test_it_never_competes() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    assert not is_ranked(TOLD)
    assert isinstance(make_agent(TOLD, env, seed=0, told=["link"]), ToldPlanner)
    assert isinstance(env.client, Client)
    with pytest.raises(ValueError, match="expected an environment, whose hidden episode it reads"):
        make_agent(TOLD, env.client, seed=0)
    with pytest.raises(ValueError, match="unknown fact 'swipe'; did you mean 'swipes'"):
        ToldPlanner(env, told=["swipe"])


def test_the_truth_is_not_written_to() -> None:
    env = next(situations(1))
    before = env.get_state().episode
    ToldPlanner(env, seed=0, simulations=16).predict(None)
    assert all(np.array_equal(*pair) for pair in zip(before, env.get_state().episode, strict=True))
    assert env.world.changed() == []
