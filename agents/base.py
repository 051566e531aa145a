"""What policies without learning share: they decide from the planning view. Also the random policy.

The rules are in `agents/rules`, the planner is in `mcts.py`.
"""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from ppgym.client import Client, client_of
from ppgym.core.link import mean_throughput
from ppgym.planning_view import PlanningView

Mask = npt.NDArray[Any]

THROUGHPUTS = 5  # samples of an estimate; published (Yin et al., SIGCOMM'15)
FIRST_BPS = 1e6  # before the first transfer has ended, for rules; an assumption, and rules are tuned with it


def expected_bps(view: PlanningView) -> float:
    """Harmonic mean of the last throughputs.

    Args:
        view: The planning view.

    Returns:
        Bits per second of one transfer; `FIRST_BPS` before the first has ended.
    """
    return mean_throughput(view.throughput_bps, len(view.throughput_bps), THROUGHPUTS, FIRST_BPS)


class Heuristic(ABC):
    """An agent that decides from the planning view and the mask; of earlier views `mcts` alone keeps something."""

    def __init__(self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Seeds what the agent draws itself; most draw nothing.
        """
        self.client = client_of(client)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Mask | None = None,
    ) -> tuple[int, Any]:
        """Decide; see `agents.Agent`. The observation is not read: the planning view holds more."""
        view = self.client.planning_view()
        return self.decide(view, view.action_mask if action_masks is None else action_masks), state

    @abstractmethod
    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose an action.

        Args:
            view: What a client may know.
            mask: [1 + S * L * O], true where an action is legal.

        Returns:
            A legal action.
        """


class RandomLegal(Heuristic):
    """Draws uniformly from the legal actions. Knows the mask alone."""

    def __init__(self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None) -> None:
        """Make the agent; see `Heuristic`."""
        super().__init__(client, seed=seed)
        self._rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Mask | None = None,
    ) -> tuple[int, Any]:
        """Draw; see `agents.Agent`. It draws even if asked to be deterministic, and needs no planning view."""
        return self._draw(self.client.action_masks() if action_masks is None else action_masks), state

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Draw; see `Heuristic.decide`."""
        return self._draw(mask)

    def _draw(self, mask: Mask) -> int:
        legal = np.flatnonzero(mask)
        return int(legal[self._rng.integers(len(legal))])
