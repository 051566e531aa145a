"""Any agent with a biased belief: it reads retention curves or throughputs that are wrong by a factor.

`planner.py` measures what this costs. Sizes and times stay right.
"""

from dataclasses import replace
from typing import Any

import gymnasium

from agents import make_agent
from agents.base import Heuristic
from agents.studies.ablations import ChangedView
from ppgym.client import Client
from ppgym.planning_view import PlanningView, public_state


class BiasedBelief(ChangedView):
    """An agent that plays with a biased belief."""

    def __init__(
        self,
        client: Client | gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        agent: str = "mcts",
        retention: float = 1.0,
        bandwidth: float = 1.0,
        **params: Any,
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: The agent's.
            agent: Name, as the registry knows it; one that decides from the planning view.
            retention: Factor on the rate at which viewers are believed to leave.
            bandwidth: Factor on the throughputs that it sees.
            **params: Of the agent.

        Raises:
            ValueError: A factor that is not above 0, or an agent that does not decide from the planning view.
        """
        super().__init__(client, seed=seed)
        for name, factor in (("retention", retention), ("bandwidth", bandwidth)):
            if not factor > 0.0:
                raise ValueError(f"{name}: expected a factor above 0, got {factor}")
        self.retention, self.bandwidth = retention, bandwidth
        made = make_agent(agent, client, seed=seed, **params)
        if not isinstance(made, Heuristic):
            raise ValueError(f"agent {agent!r}: expected an agent that decides from the planning view")
        self.agent = made

    def change(self, view: PlanningView) -> PlanningView:
        """See `ChangedView.change`."""
        state = public_state(view.state)
        state.throughput_bps[:] *= self.bandwidth
        return replace(
            view,
            state=state,
            catalog=view.catalog._replace(retention=view.catalog.retention**self.retention),
            throughput_bps=view.throughput_bps * self.bandwidth,
        )
