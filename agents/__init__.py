"""The registry of agents: names, where each lives, and how one is made.

An agent is imported when it is asked for, so that the heuristics need no deep-learning library. Policies themselves are
in the other files of this folder.
"""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.parameters import tuned_params
from ppgym.data import suggest


class Agent(Protocol):
    """What a policy offers: Stable-Baselines3's `predict`."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[int | npt.NDArray[np.integer[Any]], Any]:
        """Decide.

        Args:
            observation: What the environment returned last.
            state: What the call before returned, None at the start of an episode.
            episode_start: Whether an episode starts; recurrent policies want to know.
            deterministic: Whether to choose without drawing.
            action_masks: What is legal now; the environment's mask where None.

        Returns:
            Action and state.
        """


AGENTS: dict[str, str] = {
    "random": "agents.heuristics:RandomLegal",
    "on_demand": "agents.heuristics:OnDemand",
    "next_one": "agents.heuristics:NextOne",
    "douyin": "agents.preload:Douyin",
    "static": "agents.preload:Static",
    "fixed_preload": "agents.preload:FixedPreload",
    "no_save": "agents.preload:NoSave",
    "pdas": "agents.pdas:PDAS",
    "dashlet": "agents.dashlet:Dashlet",
    "douyin+prompt": "agents.preload:PromptDouyin",
    "static+prompt": "agents.preload:PromptStatic",
    "fixed_preload+prompt": "agents.preload:PromptFixedPreload",
    "no_save+prompt": "agents.preload:PromptNoSave",
    "pdas+prompt": "agents.pdas:PromptPDAS",
    "dashlet+prompt": "agents.dashlet:PromptDashlet",
    "greedy": "agents.greedy:Greedy",
    "ppo": "agents.learned:PPOAgent",
}
"""Import path of each name's class."""


def agent_class(name: str) -> Callable[..., Agent]:
    """The class of an agent.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.

    Returns:
        The class, built as ``Agent(env, *, seed=None, **params)``.

    Raises:
        ValueError: An unknown name, with the nearest known ones, or a path that leads to no class with `predict`.
    """
    path = AGENTS.get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        raise ValueError(f"unknown agent {name!r}; {suggest(name, AGENTS)}, or an import path module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"agent {name!r}: cannot import {module_name!r}: {error}") from error
    found: Callable[..., Agent] | None = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ValueError(f"agent {name!r}: {module_name!r} has no class {class_name!r}")
    if not hasattr(found, "predict"):
        raise ValueError(f"agent {name!r}: expected {class_name!r} to have a method 'predict'")
    return found


def make_agent(name: str, env: gymnasium.Env[Any, Any], seed: int | None = None, **params: Any) -> Agent:
    """Make an agent for an environment.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.
        env: The environment that it will act in.
        seed: Seeds what the agent draws itself.
        **params: Parameters of the agent's class, in place of those that tuning has found (`tuned_params`).

    Returns:
        The agent.

    Raises:
        ValueError: An unknown name, a path that leads to no agent, or parameters that the agent refuses.
    """
    tuned = tuned_params(name, env.unwrapped.world.scenario.qoe)  # type: ignore[attr-defined]
    return agent_class(name)(env, seed=seed, **(tuned | params))
