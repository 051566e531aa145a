"""The PromptPream planner as an agent: a search over which video, chunk, codec and compute unit comes next.

The search itself is in `ppgym.planning`; this file has the agent's parameters.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from agents.base import Heuristic, Mask
from ppgym.client import Client
from ppgym.files import suggest
from ppgym.planning.explain import Explanation, explain
from ppgym.planning.planner import Plan, Planner, PlannerParameters
from ppgym.planning.pruning import RULES
from ppgym.planning_view import PlanningView

if TYPE_CHECKING:
    from agents.learned.student import StudentAgent

# With a student's values as the prior, which are better than the rollout policy's
STUDENT_PRIOR = {"root_actions": 4, "advantage_sd": 0.2, "fast_advantage_sd": 0.2}


def read_parameters(fields: dict[str, Any]) -> PlannerParameters:
    """Parameters of the planner, from keywords or JSON.

    Args:
        fields: Fields of `PlannerParameters`; those that are records in their turn may be dictionaries, at every depth.

    Returns:
        The parameters.

    Raises:
        ValueError: An unknown field, with the nearest known ones.
    """

    def read(default: Any, given: Any, name: str) -> Any:
        if not isinstance(given, dict) or not hasattr(default, "_fields"):
            return given
        for key in given:
            if key not in default._fields:
                raise ValueError(f"{name}: unknown field {key!r}; {suggest(key, default._fields)}")
        return default._replace(**{key: read(getattr(default, key), value, key) for key, value in given.items()})

    parameters: PlannerParameters = read(PlannerParameters(), fields, "mcts")
    return parameters


def load_student(client: Client | gymnasium.Env[Any, Any], prior: str) -> "StudentAgent":
    """The agent whose values are the prior of a search; imported here, since it alone needs a deep-learning library.

    Args:
        client: What it looks at; an environment's is taken.
        prior: "student", or the path of a student's weights.

    Returns:
        The agent.
    """
    from agents.learned.student import StudentAgent

    return StudentAgent(client, weights=None if prior == "student" else prior)


class MCTSAgent(Heuristic):
    """Plans every decision by simulating sampled futures; see `ppgym.planning.planner.Planner`.

    It knows the planning view alone: manifests, retention curves, `leave_p`, the device profile, the past throughputs.
    The paper (PromptPream, arXiv 2602.09484) names the parts, a Monte Carlo tree search with pruning over codecs and
    orders with network and compute decided together; how they are built is ppgym's own. A tree below the first action
    brought nothing here, as docs/planner.md shows, so that a simulation is one action and the rollout policy after it.
    """

    def __init__(
        self,
        client: Client | gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        simulations: int = 640,
        time_budget_ms: float | None = None,
        pruning: bool | list[str] = True,
        waste_weight: float = 1.0,
        stall_weight: float = 1.0,
        prior: str | None = None,
        **parameters: Any,
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Seeds the futures that are drawn; None is 0.
            simulations: Budget of a decision; one that is clear earlier stops earlier.
            time_budget_ms: Milliseconds after which a decision stops early; with it decisions depend on the clock.
            pruning: True for all rules, False for none, or the names of those to apply.
            waste_weight: Factor on the weight of waste in planning.
            stall_weight: Factor on the weight of stalls in planning.
            prior: Whose values of the actions are the prior of each search: "student" for the shipped student, a path
                for a student with the weights there, None for the rollout policy.
            **parameters: Fields of `PlannerParameters`; those that are records in their turn may be JSON objects.

        Raises:
            ValueError: A budget below 1, an unknown rule or parameter, or a negative weight.
        """
        super().__init__(client, seed=seed)
        for name, weight in (("waste_weight", waste_weight), ("stall_weight", stall_weight)):
            if not weight >= 0.0:
                raise ValueError(f"{name}: expected at least 0, got {weight}")
        self.waste_weight = waste_weight
        self.stall_weight = stall_weight
        self.planner = Planner(
            simulations=simulations,
            time_budget_ms=time_budget_ms,
            rules=RULES if pruning is True else () if pruning is False else pruning,
            seed=0 if seed is None else seed,
            parameters=read_parameters(parameters if prior is None else STUDENT_PRIOR | parameters),
        )
        self.last_plan: Plan | None = None
        self.student = None if prior is None else load_student(client, prior)

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Plan; see `Heuristic.decide`."""
        weighted = view.params._replace(
            weight_waste=view.params.weight_waste * self.waste_weight,
            weight_rebuffer=view.params.weight_rebuffer * self.stall_weight,
        )
        seen = replace(view, params=weighted, action_mask=np.asarray(mask, np.int8))
        self.last_plan = self.planner.plan(seen, None if self.student is None else self.student.opinion(seen))
        return self.last_plan.action

    def explain(self) -> Explanation:
        """Explain the last decision: the actions looked at, and what goes where and when after the chosen one.

        Returns:
            The explanation.

        Raises:
            RuntimeError: Nothing has been decided yet.
        """
        if self.last_plan is None:
            raise RuntimeError("explain: expected a decision before; call predict first")
        return explain(self.last_plan)
