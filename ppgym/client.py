"""What an agent is handed in place of the environment: all that a client may know, and no way to the hidden episode."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ppgym.core.actions import action_count
from ppgym.core.observation import Layout
from ppgym.planning_view import PlanningView
from ppgym.world.options import Option
from ppgym.world.scenario import Scenario, World


@dataclass(frozen=True, eq=False, slots=True)
class Client:
    """What an agent may look at, while somebody else moves the session.

    Everything is the agent's own: spaces and scenario are copies, and arrays cannot be written. No attribute leads to
    the environment, which is reachable through the closures of the two functions and the garbage collector alone. An
    agent of the same process that goes there cheats; sealed runs, which play each agent in a process of its own, are
    for those whom nobody trusts.

    Attributes:
        observation_space: `Box(-1, 1, (N,), float32)`.
        action_space: `Discrete(1 + S * L * O)`.
        options: [O] pairs of representation and compute unit, in the order of the action index.
        scenario: The public scenario.
        layout: Where each field of the observation is.
        action_masks: Called without arguments, what is legal now: bool [1 + S * L * O].
        planning_view: Called without arguments, all that a client may know now.
    """

    observation_space: spaces.Box
    action_space: spaces.Discrete
    options: tuple[Option, ...]
    scenario: Scenario
    layout: Layout
    action_masks: Callable[[], npt.NDArray[np.bool_]]
    planning_view: Callable[[], PlanningView]


def make_client(
    world: World, action_masks: Callable[[], npt.NDArray[np.bool_]], planning_view: Callable[[], PlanningView]
) -> Client:
    """Make a client of a world.

    Args:
        world: The world.
        action_masks: Returns a read-only mask. A function whose attributes do not lead to the environment: no method.
        planning_view: Returns a view. Likewise.

    Returns:
        The client.
    """
    layout = world.features.layout
    return Client(
        observation_space=spaces.Box(-1.0, 1.0, (layout.size,), np.float32),
        action_space=spaces.Discrete(action_count(len(world.options))),
        options=world.options,
        scenario=copy.deepcopy(world.scenario),
        layout=layout,
        action_masks=action_masks,
        planning_view=planning_view,
    )


def client_of(env: Client | gymnasium.Env[Any, Any]) -> Client:
    """The client of an environment, so that an agent can be built for either.

    Args:
        env: A client, or an environment that has one.

    Returns:
        The client.

    Raises:
        TypeError: It is neither.
    """
    client = env if isinstance(env, Client) else getattr(getattr(env, "unwrapped", None), "client", None)
    if not isinstance(client, Client):
        raise TypeError(f"expected a client or an environment of ppgym, got {env!r}")
    return client
