"""What holds for every policy of the registry: it acts legally everywhere, and on nothing that has not happened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import AGENTS, Agent, make_agent
from ppgym.env import PromptPreamEnv
from tests.test_env import SCENARIOS, other_future

PIXELS_AND_PARALLEL: dict[str, Any] = {"scenario": "low/pixels-only/typical", "parallel_downloads": 2}
CLAIRVOYANT = "clairvoyant"
CHEAP: dict[str, dict[str, Any]] = {CLAIRVOYANT: {"budget": 2000}, "mcts": {"simulations": 16}}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)


def make(name: str, env: PromptPreamEnv) -> Agent:
    try:
        return make_agent(name, env, seed=0, **CHEAP.get(name, {}))
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(f"{name} needs what is not here: {error}")


def act(agent: Agent, env: PromptPreamEnv, observation: Any, state: Any, first: bool) -> tuple[int, Any]:
    action, state = agent.predict(
        observation, state, np.array([first]), deterministic=True, action_masks=env.action_masks()
    )
    return int(action), state


@pytest.mark.filterwarnings("ignore::agents.learned.training_range.OutsideTraining")
@pytest.mark.parametrize("kwargs", [*SCENARIOS, PIXELS_AND_PARALLEL])
@pytest.mark.parametrize("name", AGENTS)
def test_it_acts_legally_and_comes_to_an_end(name: str, kwargs: dict[str, Any]) -> None:
    env = PromptPreamEnv(**kwargs)
    agent = make(name, env)
    observation, info = env.reset(seed=1)
    state, first = None, True
    for _ in range(150):
        action, state = act(agent, env, observation, state, first)
        assert info["action_mask"][action]
        observation, _, terminated, truncated, info = env.step(action)
        assert not info["invalid_action"]
        first = terminated or truncated
        if first:
            observation, info = env.reset()
            state = None
    assert info["downloaded_bytes"] > 0 or first


@pytest.mark.parametrize("downloads", [1, 2])
@pytest.mark.parametrize("name", [name for name in AGENTS if name != CLAIRVOYANT])
def test_it_decides_from_what_has_happened(name: str, downloads: int) -> None:
    audit(name, downloads)


def test_the_audit_notices_who_sees_the_future() -> None:
    with pytest.raises(AssertionError, match="decision"):
        audit(CLAIRVOYANT, downloads=1)


def audit(name: str, downloads: int) -> None:
    """Episodes that agree so far and differ later get the same actions so far."""
    rng = np.random.default_rng(downloads)
    for seed in range(3):
        env = PromptPreamEnv(parallel_downloads=downloads)
        agent = make(name, env)
        observation, _ = env.reset(seed=seed)
        actions: list[int] = []
        state = None
        for _ in range(int(rng.integers(20, 70))):
            action, state = act(agent, env, observation, state, not actions)
            before = env.get_state()
            observation, _, terminated, truncated, _ = env.step(action)
            actions.append(action)
            if terminated or truncated:
                env.set_state(before)
                break
        other = other_future(env, rng)
        twin = make(name, other)
        observation, state = other._results.observation[0].copy(), None
        for i, action in enumerate(actions):
            theirs, state = act(twin, other, observation, state, i == 0)
            assert theirs == action, f"decision {i} of seed {seed}"
            observation = other.step(theirs)[0]
