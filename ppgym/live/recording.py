"""Sessions played by an agent, live or in the simulator of the same world, and what a record keeps of them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.episodes import OPEN_SALT, Registry, agent_seed, decisions_of, play_session, session_seed
from ppgym.core.episodes import drawn_watch_s
from ppgym.env import Observation, PromptPreamEnv
from ppgym.live.env import PromptPreamLiveEnv
from ppgym.world.scenario import World, make_rng

Record = dict[str, Any]


class Watch(NamedTuple):
    """Which sessions are played: those whose viewer would watch so long."""

    least_s: float
    most_s: float


def choose_sessions(world: World, first: int, count: int, watch: Watch) -> list[int]:
    """Numbers of sessions by what their viewer was drawn to watch, whatever a client does.

    Args:
        world: The world.
        first: Number to begin with.
        count: How many.
        watch: Of the drawn seconds.

    Raises:
        ValueError: Not so many in the next thousand.
    """
    episodes, found = world.new_episodes(1), []
    for number in range(first, first + 1000):
        world.draw(make_rng(session_seed(world.scenario.name, number), world.split), episodes, 0)
        if watch.least_s <= drawn_watch_s(episodes)[0] <= watch.most_s:
            found.append(number)
        if len(found) == count:
            return found
    raise ValueError(
        f"--watch-s {watch.least_s:g} {watch.most_s:g}: expected {count} such sessions, got {len(found)} of 1000"
    )


def play(
    env: PromptPreamEnv,
    registry: Registry,
    agent: str,
    number: int,
    seen: Callable[[], None] = lambda: None,
) -> Record:
    """Play one session, as the benchmark does.

    Args:
        env: Live or simulated.
        registry: Finds agents by name.
        agent: Name, or import path.
        number: Of the session.
        seen: Called before each decision.

    Returns:
        `agent`, `number`, `actions`, `totals` and `decision_us` as in a record of the benchmark; of a live session also
        its `diary`.
    """
    name = env.world.scenario.name
    player = registry.make(agent, env, seed=agent_seed(OPEN_SALT, registry.import_path(agent), name, number))
    decide = decisions_of(player)

    def decide_when_seen(observation: Observation, mask: npt.NDArray[np.int8], first: bool) -> int:
        seen()
        return decide(observation, mask, first)

    played = play_session(env, session_seed(name, number), decide_when_seen)
    record = {"agent": agent, "number": number} | {key: played[key] for key in ("actions", "totals", "decision_us")}
    if isinstance(env, PromptPreamLiveEnv) and env.session is not None:
        record["diary"] = asdict(env.session.diary)
    return record


def total(records: list[Record], key: str) -> npt.NDArray[np.float64]:
    """A total of each record."""
    return np.array([record["totals"][key] for record in records], dtype=np.float64)


def decision_s(record: Mapping[str, Any]) -> float:
    """Median seconds from the moment that a client sees a state to that when its action arrives."""
    return float(
        np.median([acted_s - seen_s for seen_s, acted_s, _ in record["diary"]["decisions"][1:] or [(0, 0, 0)]])
    )
