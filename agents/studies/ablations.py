"""Agents that see a changed planning view: the planner without one of its parts, and what they share."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from agents.base import Heuristic, Mask
from agents.mcts import MCTSAgent
from ppgym.client import Client
from ppgym.core.state import LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.planning_view import PlanningView

ABLATED = "agents.studies.ablations:AblatedPlanner"
NO_TIME = 1e-3  # factor on decode seconds of prompts that a planner without a compute model sees; an assumption


class ChangedView(Heuristic):
    """Shows another agent a changed planning view at every decision; the world stays as it is."""

    agent: Heuristic

    @abstractmethod
    def change(self, view: PlanningView) -> PlanningView:
        """Change a view.

        Args:
            view: The planning view, with the mask of the decision; it is not written to.

        Returns:
            What the agent sees. It may only take actions of its mask.
        """

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        seen = self.change(replace(view, action_mask=np.asarray(mask, np.int8)))
        return self.agent.decide(seen, seen.action_mask)


class AblatedPlanner(ChangedView):
    """The planner without some of its parts."""

    def __init__(
        self,
        client: Client | gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        prompts: bool = True,
        compute_model: bool = True,
        in_order: bool = False,
        one_unit: bool = False,
        belief: bool = True,
        **params: Any,
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: See `MCTSAgent`.
            prompts: False leaves prompts out.
            compute_model: False plans as if prompts were decoded at once.
            in_order: True requests chunks in the order of the feed, each video to its end before the next.
            one_unit: True decodes each representation on its fastest unit alone.
            belief: False plans for one future, of mean bandwidth and mean watch times.
            **params: Of `MCTSAgent`.
        """
        super().__init__(client, seed=seed)
        self.prompts, self.compute_model = prompts, compute_model
        self.in_order, self.one_unit = in_order, one_unit
        planner = MCTSAgent(client, seed=seed, **params)
        planner.planner.belief = belief
        self.agent = planner

    def change(self, view: PlanningView) -> PlanningView:
        """See `ChangedView.change`."""
        params, options = view.params, view.options
        usable, decode_s = params.option_usable.copy(), params.option_decode_s.copy()
        generative = np.array([option.is_generative for option in options])
        if not self.prompts:
            usable[generative] = 0
        if self.one_unit:
            for representation in range(len(view.representations)):
                same = np.flatnonzero((params.option_representation == representation) & (usable == 1))
                usable[same[decode_s[same] > decode_s[same].min(initial=np.inf)]] = 0
        if not self.compute_model:
            decode_s[generative] *= NO_TIME
        mask = view.action_mask[1:].reshape(SLOTS, LOOKAHEAD, len(options)) * usable
        if self.in_order:
            mask[:, 1:] = 0
            first = (view.candidates[:, 0] != NO_ENTRY).argmax()
            mask[first + 1 :] = 0
        return replace(
            view,
            params=params._replace(option_usable=usable, option_decode_s=decode_s),
            action_mask=np.append(view.action_mask[:1], mask.ravel()).astype(np.int8),
        )
