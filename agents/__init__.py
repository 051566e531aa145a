"""The registry of agents: names, where each lives, and how one is made.

An agent is imported when it is asked for, so that the heuristics need no deep-learning library. Policies themselves are
in the other files of this folder.
"""

import importlib
import inspect
import os
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.rules.parameters import tuned_params
from ppgym.commandline import install_hint
from ppgym.files import suggest


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
    "random": "agents.base:RandomLegal",
    "on_demand": "agents.rules.preload:OnDemand",
    "next_one": "agents.rules.preload:NextOne",
    "douyin": "agents.rules.preload:Douyin",
    "static": "agents.rules.preload:Static",
    "fixed_preload": "agents.rules.preload:FixedPreload",
    "no_save": "agents.rules.preload:NoSave",
    "pdas": "agents.rules.pdas:PDAS",
    "dashlet": "agents.rules.dashlet:Dashlet",
    "douyin+prompt": "agents.rules.preload:PromptDouyin",
    "static+prompt": "agents.rules.preload:PromptStatic",
    "fixed_preload+prompt": "agents.rules.preload:PromptFixedPreload",
    "no_save+prompt": "agents.rules.preload:PromptNoSave",
    "pdas+prompt": "agents.rules.pdas:PromptPDAS",
    "dashlet+prompt": "agents.rules.dashlet:PromptDashlet",
    "greedy": "agents.rules.greedy:Greedy",
    "mcts": "agents.mcts:MCTSAgent",
    "ppo": "agents.learned.policies:PPOAgent",
    "dqn": "agents.learned.policies:DQNAgent",
    "student": "agents.learned.student:StudentAgent",
    "clairvoyant": "agents.clairvoyant.agent:Clairvoyant",
}
"""Import path of each name's class."""

UNRANKED = {"clairvoyant"}
"""Who sees the future: reads the hidden draw, to show how far the others are from the optimum, and does not compete."""

JSON_TYPES = (bool, int, float, str, list, dict, type(None))


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
    except ModuleNotFoundError as error:
        why = install_hint(error) or f"{error}; it is looked for in the current folder too, {os.getcwd()}"
        raise ValueError(f"agent {name!r}: cannot import {module_name!r}: {why}") from error
    except Exception as error:  # anything can go wrong in somebody's file
        frames = traceback.walk_tb(error.__traceback__)
        places = [
            f" ({frame.f_code.co_filename}, line {line})"
            for frame, line in frames
            if frame.f_globals.get("__name__") == module_name
        ]
        why = f"{type(error).__name__}: {error}{places[-1] if places else ''}"
        raise ValueError(f"agent {name!r}: cannot import {module_name!r}: {why}") from error
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
    return agent_class(name)(env, seed=seed, **(_tuned(name, env) | params))


def agent_params(name: str, env: gymnasium.Env[Any, Any], **params: Any) -> dict[str, Any]:
    """All parameters that `make_agent` would give an agent: a record's `params`.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.
        env: The environment that it will act in.
        **params: As for `make_agent`.

    Returns:
        By name, in the order of the class: `params`, else what tuning has found, else the class's default. What JSON
        cannot hold is given as text.

    Raises:
        ValueError: See `agent_class`.
    """
    arguments = list(inspect.signature(agent_class(name)).parameters.values())[1:]  # not the environment
    defaults = {one.name: one.default for one in arguments if one.name != "seed" and one.default is not one.empty}
    found = defaults | _tuned(name, env) | params
    return {key: value if isinstance(value, JSON_TYPES) else str(value) for key, value in found.items()}


def _tuned(name: str, env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    return tuned_params(name, env.unwrapped.world.scenario.qoe)  # type: ignore[attr-defined]
