"""Any agent under a wrong belief: it reads retention curves or throughputs that are off by a factor.

How much that costs each of them is in `study.py`. The world itself stays as it is, and so do sizes and times: from
them an agent can find out that its throughputs are wrong, as the planner's bandwidth calibration does.
"""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from agents import make_agent
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import PlanningView


class MistakenEnv:
    """An environment whose planning view is wrong; all else is the environment's."""

    def __init__(self, env: PromptPreamEnv, retention: float, bandwidth: float) -> None:
        """Wrap.

        Args:
            env: The environment.
            retention: Factor on the rate at which viewers leave.
            bandwidth: Factor on the throughputs seen.
        """
        self._env, self._retention, self._bandwidth = env, retention, bandwidth

    def __getattr__(self, name: str) -> Any:
        """What is not wrong."""
        return getattr(self._env, name)

    @property
    def unwrapped(self) -> "MistakenEnv":
        """This view of it, not the environment below."""
        return self

    def planning_view(self) -> PlanningView:
        """The planning view, with its errors."""
        view = self._env.planning_view()
        view.state.throughput_bps[:] *= self._bandwidth
        return replace(
            view,
            catalog=view.catalog._replace(retention=view.catalog.retention**self._retention),
            throughput_bps=view.throughput_bps * self._bandwidth,
        )


class Mistaken:
    """An agent that plays with a wrong belief."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        agent: str = "mcts",
        retention: float = 1.0,
        bandwidth: float = 1.0,
        **params: Any,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: The agent's.
            agent: Name, as the registry knows it; one that decides from the planning view.
            retention: Factor on the rate at which viewers are believed to leave.
            bandwidth: Factor on the throughputs that it believes to have seen.
            **params: Of the agent.

        Raises:
            ValueError: A factor that is not above 0.
        """
        for name, factor in (("retention", retention), ("bandwidth", bandwidth)):
            if not factor > 0.0:
                raise ValueError(f"{name}: expected a factor above 0, got {factor}")
        mistaken: Any = MistakenEnv(env.unwrapped, retention, bandwidth)  # type: ignore[arg-type]
        self._agent = make_agent(agent, mistaken, seed=seed, **params)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[int | npt.NDArray[np.integer[Any]], Any]:
        """Decide as the agent does; see `agents.Agent`."""
        return self._agent.predict(observation, state, episode_start, deterministic, action_masks)
