"""The suites, and how sessions are played and recorded: every agent meets the same ones.

The caller hands in the function that makes agents, since agents import this package. `ppgym.benchmark.summary` turns
records into figures.
"""

import functools
import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numba
import numpy as np
import numpy.typing as npt

import ppgym
from ppgym.benchmark.bound.bound import episode_bound
from ppgym.benchmark.records import Journal, Record
from ppgym.benchmark.workers import run_jobs
from ppgym.core.jit import kernel_hash
from ppgym.core.step import INFO_TOTALS
from ppgym.env import Observation, PromptPreamEnv
from ppgym.files import suggest
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario
from ppgym.world.scenario_file import named_fields

AgentFactory = Callable[..., Any]  # (name, env, *, seed, **params) -> agent with Stable-Baselines3's `predict`

ENV_ID = "PromptPream-v0"
OPEN_SALT = "ppgym"  # of agents' seeds in open runs
STANDARD_NETWORKS = ("low", "medium", "high", "mixed")
STANDARD_DEVICES = ("snapdragon-8-gen-2", "snapdragon-8-elite", "rtx-4090")


class Registry(NamedTuple):
    """How agents are found by name: functions of modules, so that workers can import them."""

    make: AgentFactory
    params: Callable[..., dict[str, Any]]  # (name, env, **params) -> all parameters that the agent then has
    import_path: Callable[[str], str]  # name -> module:Class
    is_ranked: Callable[[str], bool]  # name -> whether the agent competes


class Suite(NamedTuple):
    """A set of scenarios, and the number of sessions that each of them is played with."""

    scenarios: tuple[str, ...]
    sessions: int


SUITES = {
    "quick": Suite(
        scenarios=(
            DEFAULT_SCENARIO,
            "medium/snapdragon-8-gen-2/typical",
            "mixed/rtx-4090/typical",
            "low/pixels-only/typical",
        ),
        sessions=64,
    ),
    "standard": Suite(
        scenarios=(
            *(f"{network}/{device}/typical" for device in STANDARD_DEVICES for network in STANDARD_NETWORKS),
            *(f"{network}/pixels-only/typical" for network in STANDARD_NETWORKS),
        ),
        sessions=256,
    ),
    "generative": Suite(
        scenarios=tuple(
            f"{network}/{device}/typical/promptmobile"
            for network in STANDARD_NETWORKS
            for device in ("snapdragon-8-gen-3", "snapdragon-8-elite")
        ),
        sessions=256,
    ),
}


def find_suite(name: str) -> Suite:
    """A suite by name.

    Args:
        name: Key of `SUITES`.

    Raises:
        ValueError: Unknown, with the nearest known ones.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; {suggest(name, SUITES)}")
    return SUITES[name]


def session_seed(scenario: str, number: int) -> int:
    """The seed of a session's hidden episode; every scenario has sessions of its own.

    Args:
        scenario: Name without overrides, so that variants of a scenario meet the same sessions.
        number: Of the session: first seed + k.

    Returns:
        The first 6 bytes of SHA-256("SCENARIO | NUMBER").
    """
    return int.from_bytes(hashlib.sha256(f"{scenario} | {number}".encode()).digest()[:6], "big")


def agent_seed(salt: str, path: str, scenario: str, number: int) -> int:
    """The seed of what an agent draws itself; it says nothing of the episode.

    Args:
        salt: `OPEN_SALT` in open runs: they are repeatable, and who knows the salt can compute both seeds.
        path: Import path of the agent, module:Class.
        scenario: Name without overrides.
        number: Of the session.

    Returns:
        The first 8 bytes of SHA-256("SALT | PATH | SCENARIO | NUMBER").
    """
    text = f"{salt} | {path} | {scenario} | {number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Job(NamedTuple):
    """One session to play."""

    scenario: str
    overrides: Mapping[str, Any]
    split: str
    agent: str
    params: Mapping[str, Any]
    number: int  # first seed + k

    @property
    def seed(self) -> int:
        """Of the hidden episode; what `env.reset(seed=)` takes and the record holds."""
        return session_seed(self.scenario, self.number)

    def __str__(self) -> str:
        """Such as "low/pixels-only/typical, greedy, session 7"."""
        return f"{self.scenario}, {self.agent}, session {self.number}"


@functools.lru_cache(maxsize=4)
def _environment(scenario: Scenario, split: str) -> PromptPreamEnv:
    return PromptPreamEnv(scenario, split)


def plan_jobs(
    registry: Registry,
    agents: Sequence[str],
    scenarios: Sequence[str],
    *,
    sessions: int,
    seed: int,
    split: str,
    overrides: Mapping[str, Any],
    params: Mapping[str, Mapping[str, Any]],
) -> list[Job]:
    """The sessions of a run: every agent meets the same ones.

    Each environment and agent is made once here, so that a wrong name is found before anything is played.

    Args:
        registry: Finds agents by name.
        agents: Their names.
        scenarios: Names ``network/device/viewer[/ladder]``, or paths of scenario files.
        sessions: Of each scenario, with numbers `seed`, `seed` + 1, ...
        seed: Number of the first session; see `session_seed`.
        split: "train", "validation" or "test".
        overrides: Fields of `Scenario` that differ from the named ones, as JSON would hold them.
        params: Parameters of agents, by name.

    Returns:
        One job for each scenario, agent and session, in this order.

    Raises:
        ValueError: An unknown name, a number out of range, or an agent whose parameters depend on the scenario.
        FileNotFoundError: A file that a scenario names is missing.
    """
    for name, value, least in (("sessions", sessions, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    for name, names in (("agents", agents), ("scenarios", scenarios)):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{name}: expected one or more different names, got {list(names)}")
    worlds = [named_fields(scenario, overrides) for scenario in scenarios]
    places = [(label or name, fields) for name, (label, fields) in zip(scenarios, worlds, strict=True)]
    labels = [label for label, _ in places]
    if len(set(labels)) < len(labels):
        raise ValueError(f"scenarios: expected files of different names, got {', '.join(labels)}")
    units = {label: Ladder.load(Scenario.parse(label, **fields).ladder).quality_unit for label, fields in places}
    if len(set(units.values())) > 1:
        found = "; ".join(f"{label}: {unit}" for label, unit in units.items())
        raise ValueError(f"scenarios: expected ladders of one unit of quality, got {found}")
    told: dict[str, dict[str, Any]] = {}
    for scenario, fields in places:
        env = _environment(Scenario.parse(scenario, **fields), split)
        for agent in agents:
            registry.make(agent, env, seed=seed, **params.get(agent, {}))
            has = registry.params(agent, env, **params.get(agent, {}))
            if told.setdefault(agent, has) != has:
                raise ValueError(
                    f"{scenario}: {agent} has other parameters there, {has}, than in {labels[0]}, {told[agent]}: a "
                    "run has one set of each agent; give these scenarios runs of their own"
                )
    return [
        Job(scenario, fields, split, agent, params.get(agent, {}), seed + i)
        for scenario, fields in places
        for agent in agents
        for i in range(sessions)
    ]


def play_episode(registry: Registry, job: Job) -> Record:
    """Play one session with a fresh agent, so that a record depends on its job alone, not on earlier sessions.

    An agent is handed a client and shares the process all the same: a world that it has written to is refused.

    Args:
        registry: Finds the agent by name.
        job: What to play.

    Returns:
        The record. Its `decision_us` counts decisions by their microseconds of wall time, to two digits.

    Raises:
        RuntimeError: After the episode the world is not what it was when it was made.
    """
    env = _environment(Scenario.parse(job.scenario, **job.overrides), job.split)
    own_seed = agent_seed(OPEN_SALT, registry.import_path(job.agent), job.scenario, job.number)
    agent = registry.make(job.agent, env, seed=own_seed, **job.params)
    played = play_session(env, job.seed, decisions_of(agent))
    if changed := env.world.changed():
        raise RuntimeError(
            f"agent {job.agent!r}, {job.scenario}, seed {job.seed}: expected a world that nobody writes to, but "
            f"{', '.join(changed)} changed; its records count for nothing, nor do those of this process after it"
        )
    record = {
        "scenario": job.scenario,
        "seed": job.seed,
        "agent": job.agent,
        "agent_seed": own_seed,
        "params": registry.params(job.agent, env, **job.params),
        "split": job.split,
        **played,
    }
    if job.overrides:
        record["overrides"] = dict(job.overrides)
    return record


Decide = Callable[[Observation, npt.NDArray[np.int8], bool], int]
"""From an observation, the mask (int8) and whether the session begins, to an action."""


def decisions_of(agent: Any) -> Decide:
    """How an agent decides in one session, without drawing.

    Args:
        agent: With Stable-Baselines3's `predict`.

    Returns:
        A function that keeps the agent's `state` between its calls.
    """
    state: Any = None

    def decide(observation: Observation, mask: npt.NDArray[np.int8], first: bool) -> int:
        nonlocal state
        action, state = agent.predict(
            observation,
            state=state,
            episode_start=np.array([first]),
            deterministic=True,
            action_masks=mask.astype(np.bool_),
        )
        return int(action)

    return decide


def play_session(env: PromptPreamEnv, seed: int, decide: Decide) -> dict[str, Any]:
    """Play one session.

    Args:
        env: The environment.
        seed: Of the hidden episode.
        decide: Called with observation, mask and whether the episode starts; returns an action.

    Returns:
        The part of a record that tells what came of it.
    """
    started_s = time.perf_counter()
    observation, info = env.reset(seed=seed)
    actions: list[int] = []
    decision_us: Counter[str] = Counter()
    total, ended = 0.0, False
    while not ended:
        asked_s = time.perf_counter()
        action = decide(observation, info["action_mask"], not actions)
        decision_us[f"{float(f'{1e6 * (time.perf_counter() - asked_s):.1e}'):.0f}"] += 1
        actions.append(action)
        observation, reward, terminated, truncated, info = env.step(action)
        total += reward
        ended = terminated or truncated
    return {
        "actions": actions,
        "totals": {"return": total} | {key: info[key] for key in INFO_TOTALS} | {"drawn_watch_s": env.drawn_watch_s()},
        "versions": versions(),
        "wall_time_s": time.perf_counter() - started_s,
        "decision_us": dict(decision_us),
    }


def bound_return(recipe: tuple[str, str, str, int]) -> float:
    """The return that no policy exceeds in a session.

    Args:
        recipe: Scenario, overrides as JSON text, split and seed.

    Returns:
        The bound.
    """
    scenario, overrides, split, seed = recipe
    env = _environment(Scenario.parse(scenario, **json.loads(overrides)), split)
    env.reset(seed=seed)
    return episode_bound(env)


def open_journal(folder: str | Path, jobs: Sequence[Job]) -> Journal:
    """The journal of jobs in a folder; see `play_jobs`.

    Raises:
        ValueError: It is of other jobs, or another process writes it.
    """
    plan = json.dumps([[job._asdict() for job in jobs], versions()], sort_keys=True)
    return Journal(Path(folder), hashlib.sha256(plan.encode()).hexdigest())


def play_jobs(
    play: Callable[[Job], Record],
    jobs: Sequence[Job],
    *,
    engine: str = "local",
    workers: int | None = None,
    journal: Journal | None = None,
) -> list[Record]:
    """Play jobs. Each finished episode is kept in the journal, and is not played again.

    Args:
        play: Plays one.
        jobs: The jobs.
        engine: See `ppgym.benchmark.workers.run_jobs`.
        workers: See there.
        journal: Of these jobs, open; None keeps nothing.

    Returns:
        Records in the order of the jobs.
    """
    if journal is None:
        return run_jobs(play, jobs, engine=engine, workers=workers)
    left = [place for place in range(len(jobs)) if place not in journal.finished]
    run_jobs(
        play,
        [jobs[place] for place in left],
        engine=engine,
        workers=workers,
        done=lambda i, record: journal.keep(left[i], record),
    )
    return [journal.finished[place] for place in range(len(jobs))]


def bound_episodes(
    records: Iterable[Record], *, engine: str = "local", workers: int | None = None
) -> dict[tuple[str, int], float]:
    """The return that no policy exceeds, for each session of some records.

    Args:
        records: Of any agents; a session that several have played is bounded once.
        engine: See `ppgym.benchmark.workers.run_jobs`.
        workers: See there.

    Returns:
        By scenario and seed.
    """
    recipes = {
        (one["scenario"], one["seed"]): (
            one["scenario"],
            json.dumps(one.get("overrides", {}), sort_keys=True),
            one["split"],
            one["seed"],
        )
        for one in records
    }
    bounds = run_jobs(bound_return, list(recipes.values()), engine=engine, workers=workers, doing="Bounding")
    return dict(zip(recipes, bounds, strict=True))


@functools.cache
def versions() -> dict[str, str]:
    """What a result may depend on besides its record."""
    return {
        "env": ENV_ID,
        "ppgym": ppgym.__version__,
        "python": platform.python_version(),
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "kernel": kernel_hash(),
    }
