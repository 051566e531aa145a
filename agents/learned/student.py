"""The planner's student as an agent: it decides by a network that imitates the planner.

The network is in `agents.learned.student_network`, its features in `agents.learned.student_features`, its training in
`agents.training.student`.
"""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.base import Heuristic, Mask
from agents.learned.deciders import load_decider
from agents.learned.policies import choose
from agents.learned.student_features import chunk_qoe, student_features
from agents.learned.training_range import check_range
from ppgym.client import Client
from ppgym.core.state import F4
from ppgym.planning_view import PlanningView


class StudentAgent(Heuristic):
    """Decides by a network that imitates the planner; knows the planning view alone."""

    WEIGHTS = Path(__file__).parents[1] / "weights" / "student.safetensors"

    def __init__(
        self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, weights: str | Path | None = None
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Not used: this agent draws nothing.
            weights: As for `agents.learned.policies.LearnedAgent`.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: They are not what they should be, or the world is far from all that they were trained on.
        """
        super().__init__(client, seed=seed)
        path = Path(weights or self.WEIGHTS)
        self._decider, config = load_decider(path, "student")
        self._temperature = float(config["hyperparams"]["fit"]["temperature"])
        check_range(self.client.scenario, config["trained_on"], path)

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose by `agents.learned.policies.choose`; see `Heuristic.decide`."""
        legal = mask.astype(np.bool_)
        return int(choose(self.logits(view, legal)[None], legal[None])[0])

    def logits(self, view: PlanningView, mask: Mask) -> F4:
        """Logits of the actions.

        Args:
            view: The planning view.
            mask: bool [1 + S * L * O], true where an action is legal.

        Returns:
            [1 + S * L * O], -inf where illegal.
        """
        logits: F4 = self._decider.logits(student_features(view)[None], mask[None])[0]
        return logits

    def opinion(self, view: PlanningView) -> npt.NDArray[np.float64]:
        """Its values of the actions, for a planner's prior.

        Args:
            view: The planning view.

        Returns:
            [1 + S * L * O] QoE up to a constant; -inf where illegal.
        """
        logits = self.logits(view, view.action_mask == 1)
        return self._temperature * chunk_qoe(view.params) * logits.astype(np.float64)
