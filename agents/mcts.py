"""The PromptPream planner as an agent: search over which video, chunk, codec and compute unit comes next.

The machinery is in `ppgym.planning`; here are the agent's parameters and the ablations of the paper's techniques.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from agents.base import Heuristic, Mask
from ppgym.core.state import LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.files import suggest
from ppgym.planning.bandwidth_calibration import BandwidthCalibration
from ppgym.planning.explain import Explanation, explain
from ppgym.planning.planner import Plan, Planner, PlannerParameters
from ppgym.planning.pruning import DEFAULT_RULES, RULES
from ppgym.planning_view import PlanningView

if TYPE_CHECKING:
    from agents.learned.student import StudentAgent

# With a student's values as the prior, which are better than the rollout policy's
STUDENT_PRIOR = {"root_actions": 4, "advantage_sd": 0.2, "fast_advantage_sd": 0.2}
NO_TIME = 1e-3  # share of a prompt's decode seconds that a planner sees that has no model of them


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


def load_student(env: gymnasium.Env[Any, Any], prior: str) -> "StudentAgent":
    """The agent whose values are the prior of a search; imported here, since it alone needs a deep-learning library.

    Args:
        env: The environment that it is asked about.
        prior: "student", or the path of a student's weights.

    Returns:
        The agent.
    """
    from agents.learned.student import StudentAgent

    return StudentAgent(env, weights=None if prior == "student" else prior)


class MCTSAgent(Heuristic):
    """Plans every decision by simulating sampled futures; see `ppgym.planning.planner.Planner`.

    It knows the planning view alone: manifests, retention curves, `leave_p`, the device profile, the past throughputs.
    Of earlier views of an episode it keeps the factor by which its predictions of transfers were wrong
    (`ppgym.planning.bandwidth_calibration`).
    The paper (PromptPream, arXiv 2602.09484) names the parts, a tree search with pruning over codecs and orders with
    network and compute decided together; how they are built is ppgym's own.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        simulations: int = 384,
        time_budget_ms: float | None = None,
        pruning: bool | list[str] = True,
        prompts: bool = True,
        compute_model: bool = True,
        in_order: bool = False,
        one_unit: bool = False,
        belief: bool = True,
        bandwidth_calibration: bool = True,
        waste_weight: float = 1.0,
        stall_weight: float = 1.0,
        prior: str | None = None,
        **parameters: Any,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Seeds the futures that are drawn; None is 0.
            simulations: Budget of a decision.
            time_budget_ms: Milliseconds after which a decision stops early; with it decisions depend on the clock.
            pruning: True for the default rules, False for none, or the names of those to apply.
            prompts: Ablation: False leaves prompts out.
            compute_model: Ablation: False takes decoding of prompts for instantaneous in planning.
            in_order: Ablation: True requests chunks in the order of the feed, a video complete before the next.
            one_unit: Ablation: True decodes each representation on its fastest unit alone.
            belief: Ablation: False plans for one future, of mean bandwidth and mean watch times, without calibration.
            bandwidth_calibration: False takes throughputs as they are. It must be False where the agent does not make
                every decision of an episode, in order.
            waste_weight: Factor on the weight of waste in planning.
            stall_weight: Factor on the weight of stalls in planning.
            prior: Whose values of the actions are the prior of each search: "student" for the shipped student, a path
                for a student with the weights there, None for the rollout policy.
            **parameters: Fields of `PlannerParameters`; those that are records in their turn may be JSON objects.

        Raises:
            ValueError: A budget below 1, an unknown rule or parameter, or a negative weight.
        """
        super().__init__(env, seed=seed)
        for name, weight in (("waste_weight", waste_weight), ("stall_weight", stall_weight)):
            if not weight >= 0.0:
                raise ValueError(f"{name}: expected at least 0, got {weight}")
        names = [rule.name for rule in RULES]
        chosen = [rule.name for rule in DEFAULT_RULES] if pruning is True else [] if pruning is False else pruning
        for name in chosen:
            if name not in names:
                raise ValueError(f"pruning: unknown rule {name!r}; {suggest(name, names)}")
        self.prompts = prompts
        self.compute_model = compute_model
        self.in_order = in_order
        self.one_unit = one_unit
        self.waste_weight = waste_weight
        self.stall_weight = stall_weight
        self.planner = Planner(
            simulations=simulations,
            time_budget_ms=time_budget_ms,
            rules=[rule for rule in RULES if rule.name in chosen],
            seed=0 if seed is None else seed,
            belief=belief,
            parameters=read_parameters(parameters if prior is None else STUDENT_PRIOR | parameters),
        )
        self.calibration = BandwidthCalibration() if bandwidth_calibration and belief else None
        self.last_plan: Plan | None = None
        self.student = None if prior is None else load_student(env, prior)

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Plan; see `Heuristic.decide`."""
        seen = self._ablate(replace(view, action_mask=np.asarray(mask, np.int8)))
        if self.calibration is not None:
            seen = self.calibration.calibrate(seen)
        self.last_plan = self.planner.plan(seen, None if self.student is None else self.student.opinion(seen))
        if self.calibration is not None:
            self.calibration.remember(seen, self.last_plan.futures)
        return self.last_plan.action

    def _ablate(self, view: PlanningView) -> PlanningView:
        """The view as an ablated planner sees it."""
        params, options = view.params, view.options
        usable, decode_s = params.option_usable.copy(), params.option_decode_s.copy()
        is_prompt = np.array([option.codec == "prompt" for option in options])
        if not self.prompts:
            usable[is_prompt] = 0
        if self.one_unit:
            for representation in range(len(view.representations)):
                same = np.flatnonzero((params.option_representation == representation) & (usable == 1))
                slower = same[decode_s[same] > decode_s[same].min()] if len(same) else same
                usable[slower] = 0
        if not self.compute_model:
            decode_s[is_prompt] *= NO_TIME
        mask = view.action_mask.reshape(-1)[1:].reshape(SLOTS, LOOKAHEAD, len(options)) * usable
        if self.in_order:
            first = np.flatnonzero(view.candidates[:, 0] != NO_ENTRY)
            mask[:, 1:] = 0
            if len(first):
                mask[first[0] + 1 :] = 0
        changed = params._replace(
            option_usable=usable,
            option_decode_s=decode_s,
            weight_waste=params.weight_waste * self.waste_weight,
            weight_rebuffer=params.weight_rebuffer * self.stall_weight,
        )
        flat = np.append(view.action_mask[:1], mask.ravel()).astype(np.int8)
        return replace(view, params=changed, action_mask=flat)

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
