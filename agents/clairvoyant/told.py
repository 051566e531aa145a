"""The planner that is told some of what is hidden: what each fact would be worth to a policy that had it.

It plans as `mcts` does, in futures whose hidden quantities are sampled, but for those that it is told. It competes with
nobody.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from agents.clairvoyant import Insider
from agents.mcts import MCTSAgent
from ppgym.client import client_of
from ppgym.core.episodes import Links, view_sim
from ppgym.core.state import Episode
from ppgym.env import PromptPreamEnv
from ppgym.files import suggest
from ppgym.planning.belief import Futures, LinkModel, reschedule_all, sample_futures
from ppgym.planning_view import PlanningView

FACTS = ("swipes", "link", "patience", "jitter", "leaving")


class ToldPlanner(Insider, MCTSAgent):
    """The planner in futures that agree with the hidden episode in what it is told.

    Futures end with the last visible video, whatever it is told: it does not see the manifests of the videos after.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], *, seed: int | None = None, told: Sequence[str] = FACTS, **params: Any
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in: it reads the hidden episode, which no client shows.
            seed: See `MCTSAgent`.
            told: Which of `FACTS`: the watch times, the trace and its offset, the longest stall borne, the factors on
                decode seconds, and the video and the time that end the session.
            **params: Of `MCTSAgent`.

        Raises:
            ValueError: An unknown fact, with the nearest known one.
        """
        super().__init__(client_of(env), seed=seed, **params)
        for fact in told:
            if fact not in FACTS:
                raise ValueError(f"told: unknown fact {fact!r}; {suggest(fact, FACTS)}")
        self.env: PromptPreamEnv = env.unwrapped  # type: ignore[assignment]
        self.told = frozenset(told)
        self.planner.sample = self._sample

    def _sample(
        self, view: PlanningView, count: int, rng: np.random.Generator, horizon_s: float, model: LinkModel | None = None
    ) -> Futures:
        """As `sample_futures`, then what it is told."""
        futures = sample_futures(view, count, rng, horizon_s, model)
        return tell(futures, view_sim(self.env.world.sims(self.env.get_state().episode), 0).episode, self.told)


def tell(futures: Futures, episode: Episode, told: frozenset[str]) -> Futures:
    """Put the truth into sampled futures.

    Args:
        futures: M futures of the session; they are written to.
        episode: Its hidden draw.
        told: Which of `FACTS`.

    Returns:
        The futures, in which what is under way ends as the truth has it.
    """
    draws, links = futures.sims.episodes, futures.sims.links
    seen = draws.playlist.shape[1]  # videos that were left, and those that are visible
    if "swipes" in told:
        draws.watch_s[:] = episode.watch_s[:seen]
    if "link" in told:
        links = Links(episode.link_time_s, episode.link_bits, np.array([0, len(episode.link_bits)], np.int32))
        draws.link[:] = 0
        draws.link_offset_s[:] = episode.link_offset_s
    if "patience" in told:
        draws.patience_s[:] = episode.patience_s[:seen]
    if "jitter" in told:
        draws.jitter[:] = episode.jitter[:seen]
    if "leaving" in told:
        draws.leaves[:] = episode.leaves[:seen]
        draws.max_wall_s[:] = episode.max_wall_s
    sims = futures.sims._replace(links=links)
    reschedule_all(sims, futures.states)
    return Futures(sims, futures.states)
