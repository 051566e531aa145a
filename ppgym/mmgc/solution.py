"""An agent of ppgym as an official solution: what the official evaluator's `run.py --solution` accepts.

It needs no data: all that the agent sees is made from what the runner hands over (`follower`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ppgym.client import Client
from ppgym.entries.player import Action, MMGCPlayer
from ppgym.mmgc.follower import Follower
from ppgym.mmgc.policies import Algorithm


class Agent(Protocol):
    """What ppgym asks of an agent: Stable-Baselines3's `predict`."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[Any, Any]:
        """Decide: action and the state for the next call."""


AgentFactory = Callable[[Client], Agent]


def as_solution(agent_factory: AgentFactory) -> type[Algorithm]:
    """Make an official-style class of an agent.

    The agent decides as in `PromptPreamMMGC-v0` on the same session, deterministically. An action that is illegal there
    is a sleep here, too.

    Args:
        agent_factory: Makes the agent for a client, such as `lambda client: make_agent("greedy", client)`. It is called
            once for each instance of the class.

    Returns:
        The class, to be called `Algorithm` in a `solution.py`.
    """

    class AgentAlgorithm:
        """An agent of ppgym, as the official runner calls it."""

        def __init__(self) -> None:
            """Make the agent."""
            self._follower = Follower()
            self._agent = agent_factory(self._follower.client)
            self._state: Any = None

        def Initialize(self) -> None:  # noqa: N802, official name
            """Forget the session before."""
            self._state = None

        def run(
            self,
            delay: float,
            rebuf: float,
            video_size: float,
            end_of_video: bool,
            play_video_id: int,
            Players: Sequence[MMGCPlayer],  # noqa: N803, official name
            first_step: bool = False,
        ) -> Action:
            """Decide; see `ppgym.mmgc.policies.Algorithm.run`."""
            follower = self._follower
            if first_step:
                follower.start(Players)
            else:
                follower.update(delay, rebuf, video_size, play_video_id, Players)
            action, self._state = self._agent.predict(
                follower.observation.copy(),
                state=self._state,
                episode_start=np.array([first_step]),
                deterministic=True,
                action_masks=follower.mask.astype(np.bool_),
            )
            return follower.resolve(action)

    return AgentAlgorithm
