"""Agents on scenarios over paired episodes: playing them, recording them, making rows of figures, replaying records.

A result is the recipe that reproduces it: a record holds an episode's scenario, seed and every action, and `validate`
plays it again. Agents are made by a factory that the caller hands in, as is what bounds them; neither is imported here.
"""

import functools
import gzip
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numba
import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

import ppgym
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.step import INFO_TOTALS
from ppgym.data import suggest, write_bytes, write_text
from ppgym.env import PromptPreamEnv
from ppgym.scenario import DEFAULT_SCENARIO, Scenario

F8 = npt.NDArray[np.float64]
Record = dict[str, Any]  # an episode as records.jsonl holds it
AgentFactory = Callable[..., Any]  # (name, env, *, seed, **params) -> agent with Stable-Baselines3's `predict`
ParamsReader = Callable[..., dict[str, Any]]  # (name, env, **params) -> all parameters that the agent then has
Bound = Callable[[PromptPreamEnv], float]  # no policy's return in the env's current episode exceeds it
Result = TypeVar("Result")

ENV_ID = "PromptPream-v0"
RESAMPLES = 10_000  # of the bootstrap
REFERENCE = "on_demand"  # the agent from which the way to the bound is measured
VALIDATION_LIMIT = 20  # mismatches named in an error message


class Suite(NamedTuple):
    """Scenarios that belong together, and how many episodes of each make a result."""

    scenarios: tuple[str, ...]
    episodes: int


STANDARD_NETWORKS = ("low", "medium", "high", "mixed")
STANDARD_DEVICES = ("snapdragon-8-gen-2", "snapdragon-8-elite", "rtx-4090")

SUITES = {
    "quick": Suite(
        scenarios=(
            DEFAULT_SCENARIO,
            "medium/snapdragon-8-gen-2/typical",
            "mixed/rtx-4090/typical",
            "low/pixels-only/typical",
        ),
        episodes=32,
    ),
    "standard": Suite(
        scenarios=(
            *(f"{network}/{device}/typical" for device in STANDARD_DEVICES for network in STANDARD_NETWORKS),
            *(f"{network}/pixels-only/typical" for network in STANDARD_NETWORKS),
        ),
        episodes=64,
    ),
}


@dataclass(frozen=True)
class Row:
    """Figures of one agent on one scenario.

    Attributes:
        scenario: Name.
        agent: Name or import path.
        episodes: How many.
        qoe_mean: Mean over episodes of QoE: return per minute of the episode's drawn watch time.
        qoe_ci95: 95 % interval of that mean over episodes; the mean itself, twice, of a single episode.
        stall_ratio: Stall seconds / (stall + played seconds), as a ratio of sums.
        waste_ratio: Wasted / downloaded bytes, as a ratio of sums.
        wasted_mbit_per_min: Wasted Mbit per minute of drawn watch time.
        quality_mean: Mbit/s-equivalent, mean over the seconds played.
        decision_ms_p50: Milliseconds of a decision, median.
        decision_ms_p99: Milliseconds of a decision, 99th percentile.
        overrides: What differs from the named scenario.
        ranked: Whether the agent competes; one that sees the future does not.
        bound_mean: Mean over these episodes of the QoE that no policy exceeds; None where it was not asked for.
        bound_ci95: 95 % interval of that mean.
        share: Share of the distance from `REFERENCE` to the bound that the agent closes, of means over these episodes;
            None without either.
        share_ci95: 95 % interval of that share, from episodes that are resampled for all three alike.
    """

    scenario: str
    agent: str
    episodes: int
    qoe_mean: float
    qoe_ci95: tuple[float, float]
    stall_ratio: float
    waste_ratio: float
    wasted_mbit_per_min: float
    quality_mean: float
    decision_ms_p50: float
    decision_ms_p99: float
    overrides: dict[str, Any] = field(default_factory=dict)
    ranked: bool = True
    bound_mean: float | None = None
    bound_ci95: tuple[float, float] | None = None
    share: float | None = None
    share_ci95: tuple[float, float] | None = None


class Job(NamedTuple):
    """One episode to play."""

    scenario: str
    overrides: Mapping[str, Any]
    split: str
    agent: str
    params: Mapping[str, Any]
    seed: int


class Played(NamedTuple):
    """One episode played."""

    record: Record
    decision_s: F8  # wall time of each decision


@functools.lru_cache(maxsize=4)
def _environment(scenario: Scenario, split: str) -> PromptPreamEnv:
    return PromptPreamEnv(scenario, split)


def play_episode(make_agent: AgentFactory, read_params: ParamsReader | None, job: Job) -> Played:
    """Play one episode with a fresh agent.

    The agent's seed is the episode's, so that a record follows from its job alone, whatever was played before.

    Args:
        make_agent: Makes an agent by name.
        read_params: Tells all of its parameters; where None the record holds those of the job.
        job: What to play.

    Returns:
        The record and what the decisions took.
    """
    env = _environment(Scenario.parse(job.scenario, **job.overrides), job.split)
    agent = make_agent(job.agent, env, seed=job.seed, **job.params)
    started_s = time.perf_counter()
    observation, info = env.reset(seed=job.seed)
    state: Any = None
    actions: list[int] = []
    decision_s: list[float] = []
    total, ended, first = 0.0, False, True
    while not ended:
        asked_s = time.perf_counter()
        action, state = agent.predict(
            observation,
            state=state,
            episode_start=np.array([first]),
            deterministic=True,
            action_masks=info["action_mask"].astype(np.bool_),
        )
        decision_s.append(time.perf_counter() - asked_s)
        actions.append(int(action))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        total += reward
        ended, first = terminated or truncated, False
    record = {
        "scenario": job.scenario,
        "seed": job.seed,
        "agent": job.agent,
        "params": dict(job.params) if read_params is None else read_params(job.agent, env, **job.params),
        "split": job.split,
        "actions": actions,
        "totals": _totals(total, info, env),
        "versions": versions(),
        "wall_time_s": time.perf_counter() - started_s,
    }
    if job.overrides:
        record["overrides"] = dict(job.overrides)
    return Played(record, np.array(decision_s))


def bound_qoe(bound: Bound, job: Job) -> float:
    """The QoE that no policy exceeds in an episode.

    Args:
        bound: Bounds returns.
        job: The episode, whoever plays it.

    Returns:
        Bound of the return per minute of drawn watch time.
    """
    env = _environment(Scenario.parse(job.scenario, **job.overrides), job.split)
    env.reset(seed=job.seed)
    return bound(env) / (env.drawn_watch_s() / 60.0)


def _totals(total: float, info: Mapping[str, Any], env: PromptPreamEnv) -> dict[str, float]:
    return {"return": total} | {key: info[key] for key in INFO_TOTALS} | {"drawn_watch_s": env.drawn_watch_s()}


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
    }


def run(
    make_agent: AgentFactory,
    agents: Sequence[str],
    scenarios: Sequence[str],
    *,
    episodes: int,
    seed: int = 0,
    split: str = "test",
    workers: int = 1,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    read_params: ParamsReader | None = None,
    bound: Bound | None = None,
    unranked: Collection[str] = (),
) -> list[Row]:
    """Play every agent on the same episodes of every scenario.

    Results do not depend on the number of workers, times apart.

    Args:
        make_agent: Makes an agent by name. It, `read_params` and `bound` are functions of modules, so that workers can
            import them.
        agents: Names, as the factory knows them.
        scenarios: Names ``network/device/viewer``.
        episodes: Episodes of each scenario, with seeds `seed`, `seed` + 1, ...
        seed: First seed, of episode and agent.
        split: "train", "validation" or "test".
        workers: Processes; 1 plays in this one.
        output: Folder for records.jsonl and results.json; None writes nothing.
        overrides: Fields of `Scenario` that differ from the named ones, as JSON would hold them.
        params: Parameters of agents, by name.
        read_params: Tells all parameters that an agent has, for its records; those of `params` alone where None.
        bound: Bounds what any policy can get in an episode; where None no row has figures of it.
        unranked: Names of agents that do not compete.

    Returns:
        One row for each scenario and agent, in their order.

    Raises:
        ValueError: An unknown name, or a number out of range.
        FileNotFoundError: A file that a scenario names is missing.
    """
    overrides, params = dict(overrides or {}), params or {}
    for name, value, least in (("episodes", episodes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    for name, names in (("agents", agents), ("scenarios", scenarios)):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{name}: expected one or more different names, got {list(names)}")
    for scenario in scenarios:  # so that a wrong name costs no work
        env = _environment(Scenario.parse(scenario, **overrides), split)
        for agent in agents:
            make_agent(agent, env, seed=seed, **params.get(agent, {}))
    jobs = [
        Job(scenario, overrides, split, agent, params.get(agent, {}), seed + i)
        for scenario in scenarios
        for agent in agents
        for i in range(episodes)
    ]
    played = play_all(functools.partial(play_episode, make_agent, read_params), jobs, workers)
    bounds = None
    if bound is not None:
        episodes_jobs = [job for job in jobs if job.agent == agents[0]]
        bounds = np.array(play_all(functools.partial(bound_qoe, bound), episodes_jobs, workers, "Bounding"))
    rows = []
    for i in range(len(scenarios)):
        first = i * len(agents) * episodes
        by_agent = {name: played[first + k * episodes :][:episodes] for k, name in enumerate(agents)}
        most = bounds[i * episodes :][:episodes] if bounds is not None else None
        rows += [make_row(by_agent[name], most, by_agent.get(REFERENCE), name not in unranked) for name in agents]
    if output is not None:
        write_results(Path(output), [one.record for one in played], rows)
    return rows


def play_all(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, doing: str = "Playing"
) -> list[Result]:
    """What a function makes of each job, with a bar on a terminal.

    Args:
        function: Of a module, or a partial of one, so that workers can import it.
        jobs: The jobs.
        workers: Processes; 1 works in this one.
        doing: What the bar says.

    Returns:
        The results, in the order of the jobs.
    """
    console = Console(stderr=True)
    results = _map_lazily(function, jobs, workers)
    return list(
        track(
            results,
            description=doing,
            total=len(jobs),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )


def _map_lazily(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    if workers == 1:
        yield from map(function, jobs)
        return
    # Not forked: threads of a deep-learning library would not survive it
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap(function, jobs, chunksize=4)


def make_row(
    played: Sequence[Played], bound: F8 | None = None, reference: Sequence[Played] | None = None, ranked: bool = True
) -> Row:
    """The figures of one agent on one scenario.

    Args:
        played: Its episodes, at least one.
        bound: [n] QoE that no policy exceeds in them, if known.
        reference: What `REFERENCE` made of them, if it has played.
        ranked: Whether the agent competes.

    Returns:
        The row.
    """
    first = played[0].record
    totals = [one.record["totals"] for one in played]
    total = {key: sum(each[key] for each in totals) for key in totals[0]}
    qoe = qoe_of(played)
    decision_ms = 1e3 * np.concatenate([one.decision_s for one in played])
    low, high = bootstrap_interval(qoe)
    row = Row(
        scenario=first["scenario"],
        agent=first["agent"],
        episodes=len(played),
        qoe_mean=float(qoe.mean()),
        qoe_ci95=(low, high),
        stall_ratio=_ratio(total["rebuffer_s"], total["rebuffer_s"] + total["played_s"]),
        waste_ratio=_ratio(total["wasted_bytes"], total["downloaded_bytes"]),
        wasted_mbit_per_min=total["wasted_bytes"] * MBIT_PER_BYTE / (total["drawn_watch_s"] / 60.0),
        quality_mean=_ratio(total["quality"], total["played_s"]),
        decision_ms_p50=float(np.percentile(decision_ms, 50)),
        decision_ms_p99=float(np.percentile(decision_ms, 99)),
        overrides=first.get("overrides", {}),
        ranked=ranked,
    )
    if bound is None:
        return row
    row = replace(row, bound_mean=float(bound.mean()), bound_ci95=bootstrap_interval(bound))
    if reference is None:
        return row
    share, interval = share_closed(qoe, qoe_of(reference), bound)
    return replace(row, share=share, share_ci95=interval)


def qoe_of(played: Sequence[Played]) -> F8:
    """QoE of each of some episodes: return per minute of drawn watch time.

    Args:
        played: n episodes.

    Returns:
        [n].
    """
    totals = [one.record["totals"] for one in played]
    return np.array([each["return"] / (each["drawn_watch_s"] / 60.0) for each in totals])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def bootstrap_interval(values: F8) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean; the same values give the same interval.

    Args:
        values: [n] one value an episode, n at least 1.

    Returns:
        Low and high; both the value itself where n is 1.
    """
    low, high = np.percentile(resampled_means(values), (2.5, 97.5))
    return float(low), float(high)


def share_closed(qoe: F8, reference: F8, bound: F8) -> tuple[float, tuple[float, float]]:
    """Share of the distance from a reference to a bound that an agent closes.

    Args:
        qoe: [n] the agent's.
        reference: [n] the reference's, in the same episodes.
        bound: [n] theirs.

    Returns:
        (share of the means, its 95 % percentile bootstrap interval over episodes, the same picks for all three).
    """
    shares = (resampled_means(qoe) - resampled_means(reference)) / resampled_means(bound - reference)
    low, high = np.percentile(shares, (2.5, 97.5))
    return float((qoe - reference).mean() / (bound - reference).mean()), (float(low), float(high))


def resampled_means(values: F8) -> F8:
    """Means of bootstrap resamples; the same number of values always gets the same picks, so that pairs stay pairs.

    Args:
        values: [n] one value an episode.

    Returns:
        [RESAMPLES].
    """
    picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means: F8 = values[picks].mean(axis=1)
    return means


def write_results(folder: Path, records: Sequence[Record], rows: Sequence[Row]) -> None:
    """Write records.jsonl and results.json, each as a whole.

    Args:
        folder: Made where missing.
        records: One a line.
        rows: The figures.
    """
    write_text(folder / "records.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))
    write_text(folder / "results.json", json.dumps({"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def write_records(folder: Path, records: Sequence[Record]) -> None:
    """Write records.jsonl.gz as a whole; the same records give the same bytes.

    Args:
        folder: Made where missing.
        records: One a line.
    """
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    write_bytes(folder / "records.jsonl.gz", gzip.compress(lines.encode(), mtime=0))


def read_records(folder: Path) -> Iterator[Record]:
    """The records of a run.

    Args:
        folder: Holds records.jsonl or records.jsonl.gz.

    Yields:
        Records.

    Raises:
        FileNotFoundError: The folder holds neither.
        ValueError: A line that is no record.
    """
    paths = [path for path in (folder / "records.jsonl", folder / "records.jsonl.gz") if path.is_file()]
    if not paths:
        raise FileNotFoundError(f"{folder}: expected a file records.jsonl or records.jsonl.gz in this folder")
    opener = gzip.open if paths[0].suffix == ".gz" else open
    keys = ("scenario", "seed", "agent", "split", "actions", "totals")
    with opener(paths[0], "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{paths[0]}, line {number}: expected a JSON object: {error.msg}") from error
            for key in keys:
                if not isinstance(record, dict) or key not in record:
                    raise ValueError(f"{paths[0]}, line {number}: expected a record with a key {key!r}")
            yield record


def replay(record: Record) -> dict[str, float]:
    """Play a record's actions again.

    Args:
        record: The record.

    Returns:
        The totals that come out.

    Raises:
        ValueError: The episode ends before its actions, or goes on after them.
    """
    env = _environment(Scenario.parse(record["scenario"], **record.get("overrides", {})), record["split"])
    _, info = env.reset(seed=record["seed"])
    total, ended = 0.0, False
    for count, action in enumerate(record["actions"]):
        if ended:
            raise ValueError(f"the episode ends after {count} of {len(record['actions'])} actions")
        _, reward, terminated, truncated, info = env.step(action)
        total += reward
        ended = terminated or truncated
    if not ended:
        raise ValueError(f"the episode goes on after its {len(record['actions'])} actions")
    return _totals(total, info, env)


def validate(folder: str | Path) -> int:
    """Replay every record of a run and compare the totals, exactly.

    Args:
        folder: What `run` wrote.

    Returns:
        How many records there were.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: No records, a line that is no record, or a record that does not come back; names the mismatches.
    """
    mismatches, count = [], 0
    for count, record in enumerate(read_records(Path(folder)), 1):
        try:
            totals = replay(record)
        except ValueError as error:
            problem = str(error)
        else:
            differ = [key for key in totals if record["totals"].get(key) != totals[key]]
            problem = ", ".join(f"{key} {record['totals'].get(key)!r}, replayed {totals[key]!r}" for key in differ)
        if problem:
            mismatches.append(f"record {count} ({record['agent']}, seed {record['seed']}): {problem}")
    if not count:
        raise ValueError(f"{folder}: no records")
    if mismatches:
        shown = "\n".join(mismatches[:VALIDATION_LIMIT])
        raise ValueError(f"{folder}: {len(mismatches)} of {count} records do not come back:\n{shown}")
    return count


def suite(name: str) -> Suite:
    """A suite by name.

    Args:
        name: Key of `SUITES`.

    Raises:
        ValueError: Unknown, with the nearest known ones.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; {suggest(name, SUITES)}")
    return SUITES[name]


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a table for each scenario: the best agent first, then what is not ranked.

    Where the bound is known, the share of the way to it takes the place of the 99th percentile of decision times; what
    follows its +- is half of the 95 % interval.

    Args:
        rows: The figures.
        console: Where to; standard output where None.
    """
    console = console or Console()
    for scenario in dict.fromkeys(row.scenario for row in rows):
        chosen = sorted((row for row in rows if row.scenario == scenario), key=lambda row: -row.qoe_mean)
        first = chosen[0]
        console.print(f"{scenario}, {first.episodes} episodes", style="bold", highlight=False)
        for key, value in first.overrides.items():
            console.print(f"  {key} = {value}", highlight=False, soft_wrap=True)
        bounded = first.bound_mean is not None
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("agent", overflow="fold")
        share, times = (["of bound"], ["ms"]) if bounded else ([], ["ms p50", "ms p99"])
        for heading in ["QoE/min", "95 % interval", *share, "stall", "waste", "quality", *times]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in chosen:
            if row.ranked:
                table.add_row(*_cells(row))
        table.add_section()
        for row in chosen:
            if not row.ranked:
                table.add_row(*_cells(row), style="italic")
        if first.bound_mean is not None and first.bound_ci95 is not None:
            table.add_row("bound", _short(first.bound_mean), _interval(first.bound_ci95), "100%", style="italic")
        console.print(table)


def _cells(row: Row) -> list[str]:
    """A row of the table."""
    cells = [row.agent, _short(row.qoe_mean), _interval(row.qoe_ci95)]
    if row.share is not None and row.share_ci95 is not None:
        low, high = row.share_ci95
        cells.append(f"{round(row.share, 2) + 0.0:.0%} ±{50.0 * (high - low):.0f}" if row.share > -1.0 else "< -100%")
    elif row.bound_mean is not None:
        cells.append("")
    cells += [f"{row.stall_ratio:.1%}", f"{row.waste_ratio:.1%}", f"{row.quality_mean:.2f}"]
    cells.append(f"{row.decision_ms_p50:.2f}")
    return cells if row.bound_mean is not None else [*cells, f"{row.decision_ms_p99:.2f}"]


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{_short(low)} to {_short(high)}"


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100.0 else f"{value:.0f}"
