"""The clairvoyant: it reads the hidden episode and plays the best schedule that it finds.

No other agent may read what is hidden. The clairvoyant shows how much return others leave; it is not ranked. Its
figures are kept in the user's cache: a benchmark computes each episode once.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
import platformdirs

import ppgym
from agents.clairvoyant import Insider
from agents.clairvoyant.annealing import find_schedule
from ppgym.benchmark.bound.bound import solve
from ppgym.core.episodes import view_sim
from ppgym.core.state import Sim
from ppgym.env import PromptPreamEnv
from ppgym.files import read_json, write_text

ALGORITHM = 2  # version; raise it with every change of the bound, the search or the kernel that changes a figure
BUDGET = 5_000_000  # decisions that a search may simulate; takes one to two seconds


class Figures(NamedTuple):
    """Bound and schedule of an episode."""

    bound: float  # no policy's return exceeds it
    value: float  # return of the best schedule found
    actions: list[int]  # that schedule


class Clairvoyant(Insider):
    """Knows the whole episode: plans it at its start and plays the plan."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        budget: int = BUDGET,
        cache: str | Path | None = None,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in: it reads the hidden episode, which no client shows.
            seed: Not used; the same episode always gets the same schedule.
            budget: Decisions that the search may simulate.
            cache: Folder of the figures; the user's where None.
        """
        self.env: PromptPreamEnv = env.unwrapped  # type: ignore[assignment]
        self.budget = budget
        self.cache = cache

    def predict(
        self,
        observation: Any,
        state: list[int] | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[int, list[int]]:
        """Play on; see `agents.Agent`.

        Args:
            observation: Not read.
            state: Actions still to play; None at the start of an episode, which plans it.
            episode_start: Whether an episode starts.
            deterministic: Not read.
            action_masks: Not read: the plan holds legal actions alone.

        Returns:
            Action, and the actions that remain.

        Raises:
            ValueError: The episode did not follow its plan.
        """
        if state is None or np.any(episode_start):
            if self.env.planning_view().time_s > 0.0:
                raise ValueError("state: expected what predict returned last, got None after the episode's start")
            state = figures(self.env, budget=self.budget, cache=self.cache).actions
        if not state:
            raise ValueError("state: expected actions that remain, got none; was another action played?")
        return state[0], state[1:]


def figures(env: PromptPreamEnv, *, budget: int = BUDGET, cache: str | Path | None = None) -> Figures:
    """Bound and schedule of the current episode of an environment, from the cache where they are there.

    An entry that cannot be read is set aside beside its place, as ``KEY.corrupt``, and made anew.

    Args:
        env: The environment, reset.
        budget: Decisions that the search may simulate.
        cache: Folder of the figures; the user's where None.

    Returns:
        The figures.
    """
    sim = view_sim(env.world.sims(env.get_state().episode), 0)
    folder = Path(cache) if cache is not None else platformdirs.user_cache_path("ppgym") / "clairvoyant"
    path = folder / f"{episode_key(sim, budget)}.json"
    if path.is_file():
        try:
            return read_figures(path)
        except ValueError:
            path.replace(path.with_suffix(".corrupt"))
    solution = solve(sim)
    actions, value = find_schedule(sim, solution, budget)
    found = Figures(solution.bound, value, actions.tolist())
    write_text(path, json.dumps(found._asdict()) + "\n")
    return found


def episode_key(sim: Sim, budget: int) -> str:
    """Hash of everything that the figures depend on.

    Args:
        sim: What is constant, and the hidden draw.
        budget: Decisions that the search may simulate.

    Returns:
        Hexadecimal digits.
    """
    catalog, episode = sim.catalog, sim.episode
    videos = [
        array[episode.playlist]
        for array in (catalog.n_chunks, catalog.duration_s, catalog.chunk_bytes, catalog.quality)
    ]
    hidden = episode._replace(playlist=np.zeros_like(episode.playlist))  # which videos, not where in the catalog
    content = hashlib.sha256(f"{ALGORITHM} {ppgym.__version__} {budget}".encode())
    for value in (*sim.params, *videos, catalog.memory_bytes_per_s, *hidden):
        array = np.ascontiguousarray(value)
        content.update(f"{array.dtype.str} {array.shape}".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def read_figures(path: Path) -> Figures:
    """Read an entry of the cache.

    Args:
        path: Its place.

    Returns:
        The figures.

    Raises:
        ValueError: It is not what `figures` writes.
    """
    content = read_json(path)
    if set(content) != set(Figures._fields):
        raise ValueError(f"{path}: expected the keys {', '.join(Figures._fields)}, got {', '.join(content)}")
    found = Figures(**content)
    numbers = all(isinstance(number, float) and math.isfinite(number) for number in (found.bound, found.value))
    if not numbers or not isinstance(found.actions, list) or not all(type(a) is int for a in found.actions):
        raise ValueError(f"{path}: expected two finite numbers and a list of actions")
    return found
