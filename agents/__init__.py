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

from agents.clairvoyant import Insider
from agents.rules.parameters import tuned_params
from ppgym.benchmark.episodes import Registry
from ppgym.client import Client, client_of
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

JSON_TYPES = (bool, int, float, str, list, dict, type(None))


def agent_class(name: str) -> type[Agent]:
    """The class of an agent.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.

    Returns:
        The class, built as ``Agent(client, *, seed=None, **params)``.

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
    found: Any = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ValueError(f"agent {name!r}: {module_name!r} has no class {class_name!r}")
    if not hasattr(found, "predict"):
        raise ValueError(f"agent {name!r}: expected {class_name!r} to have a method 'predict'")
    agent: type[Agent] = found
    return agent


def import_path(name: str) -> str:
    """The full import path of an agent.

    Args:
        name: Key of `AGENTS`, or an import path.

    Returns:
        ``module:Class``.
    """
    return AGENTS.get(name, name)


def is_ranked(name: str) -> bool:
    """Whether an agent competes. Who sees the hidden episode does not, nor whose class says `ranked = False`.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.

    Returns:
        False for those that are shown for comparison alone. True where the class cannot be imported, as those of other
        people's entries need not be.
    """
    try:
        found = agent_class(name)
    except ValueError:
        return True
    return bool(getattr(found, "ranked", True)) and not issubclass(found, Insider)


def make_agent(name: str, env: Client | gymnasium.Env[Any, Any], seed: int | None = None, **params: Any) -> Agent:
    """Make an agent for a client. The environment itself is for an `agents.clairvoyant.Insider` alone.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.
        env: The environment that it will act in, or its client.
        seed: Seeds what the agent draws itself.
        **params: Parameters of the agent's class, in place of those that tuning has found (`tuned_params`).

    Returns:
        The agent.

    Raises:
        ValueError: An unknown name, a path that leads to no agent, parameters that the agent refuses, or a client for
            an agent that needs the environment.
    """
    found: Callable[..., Agent] = agent_class(name)
    client = client_of(env)
    handed: Any = client
    if issubclass(agent_class(name), Insider):
        if isinstance(env, Client):
            raise ValueError(f"agent {name!r}: expected an environment, whose hidden episode it reads; got a client")
        handed = env
    return found(handed, seed=seed, **(_tuned(name, client) | params))


def agent_params(name: str, env: Client | gymnasium.Env[Any, Any], **params: Any) -> dict[str, Any]:
    """All parameters that `make_agent` would give an agent: a record's `params`.

    Args:
        name: Key of `AGENTS`, or an import path ``module:Class``.
        env: The environment that it will act in, or its client.
        **params: As for `make_agent`.

    Returns:
        By name, in the order of the class: `params`, else what tuning has found, else the class's default. What JSON
        cannot hold is given as text.

    Raises:
        ValueError: See `agent_class`.
    """
    arguments = list(inspect.signature(agent_class(name)).parameters.values())[1:]  # not the client
    defaults = {one.name: one.default for one in arguments if one.name != "seed" and one.default is not one.empty}
    found = defaults | _tuned(name, client_of(env)) | params
    return {key: value if isinstance(value, JSON_TYPES) else str(value) for key, value in found.items()}


REGISTRY = Registry(make_agent, agent_params, import_path, is_ranked)


def _tuned(name: str, client: Client) -> dict[str, Any]:
    return tuned_params(name, client.scenario.qoe)
