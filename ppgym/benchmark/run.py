"""Runs of the benchmark, and the validation of what they wrote: a folder of records and figures.

`ppgym.benchmark.summary` makes the figures, `ppgym.benchmark.tables` shows them, `ppgym.benchmark.leaderboard` keeps
the public ones.
"""

import functools
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ppgym.benchmark.episodes import AgentFactory, ParamsReader, bound_episodes, plan_jobs, play_episode, play_jobs
from ppgym.benchmark.records import Journal, Record, read_records, write_records
from ppgym.benchmark.summary import REFERENCE, Board, check_problems, replayed, summarize
from ppgym.benchmark.workers import check_workers
from ppgym.files import agree, read_json, write_json


def run_benchmark(
    make_agent: AgentFactory,
    agents: Sequence[str],
    scenarios: Sequence[str],
    *,
    episodes: int,
    seed: int = 0,
    split: str = "test",
    engine: str = "local",
    workers: int | None = None,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    read_params: ParamsReader | None = None,
    baseline: str = REFERENCE,
    bounded: bool = False,
    unranked: Collection[str] = (),
) -> Board:
    """Play every agent on the same episodes of every scenario.

    Figures do not depend on the engine and the number of workers, except for times. A run with an output folder that
    was interrupted, even by a kill, continues when it is called again.

    Args:
        make_agent: Makes an agent by name. It and `read_params` are functions of modules, so that workers can import
            them.
        agents: Names, as the factory knows them.
        scenarios: Names ``network/device/viewer``.
        episodes: Episodes of each scenario, with seeds `seed`, `seed` + 1, ...
        seed: First seed, of episode and agent.
        split: "train", "validation" or "test".
        engine: "local" or "ray"; see `ppgym.benchmark.workers.run_jobs`.
        workers: See there.
        output: Folder for records.jsonl and results.json; None writes nothing.
        overrides: Fields of `Scenario` that differ from the named ones, as JSON would hold them.
        params: Parameters of agents, by name.
        read_params: Reads all parameters of an agent for its records; where None, they hold those of `params` alone.
        baseline: Agent that the others are compared with, if it plays.
        bounded: Whether to compute also the QoE that no policy exceeds in these episodes.
        unranked: Names of agents that do not compete.

    Returns:
        One row for each scenario and agent, in their order, and the standings.

    Raises:
        ValueError: An unknown name, a number out of range, or an output folder that holds another unfinished run.
        FileNotFoundError: A file that a scenario names is missing.
    """
    check_workers(engine, workers)
    jobs = plan_jobs(
        make_agent,
        agents,
        scenarios,
        episodes=episodes,
        seed=seed,
        split=split,
        overrides=dict(overrides or {}),
        params=params or {},
    )
    play = functools.partial(play_episode, make_agent, read_params)
    records = play_jobs(play, jobs, engine=engine, workers=workers, output=output)
    bounds = bound_episodes(records, engine=engine, workers=workers) if bounded else None
    board = summarize(records, baseline=baseline, bounds=bounds, unranked=unranked)
    if output is not None:
        write_records(Path(output), records)
        write_board(Path(output), board)
        (Path(output) / Journal.NAME).unlink()
    return board


def write_board(folder: Path, board: Board) -> None:
    """Write results.json as a whole.

    Args:
        folder: Made where it is missing.
        board: The figures.
    """
    content = {"rows": [asdict(row) for row in board.rows], "overall": [asdict(one) for one in board.overall]}
    write_json(folder / "results.json", content)


class Checked(NamedTuple):
    """What a validation has replayed."""

    records: int
    transitions: int
    seconds: float  # of reading and replaying


def validate(folder: str | Path) -> Checked:
    """Replay every record of a run, to 1e-9 relative, and make the figures of its results.json anew where it has one.

    Args:
        folder: What `run_benchmark` wrote.

    Returns:
        How much was replayed.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: No records, a line that is no record, a record whose totals do not come back, or a figure that does
            not follow from the records; names the mismatches.
    """
    folder, started_s = Path(folder), time.perf_counter()
    records = list(read_records(folder))
    results = folder / "results.json"
    try:
        replayed(records)
        seconds = time.perf_counter() - started_s
        if results.is_file():
            _check_rows(results, records)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return Checked(len(records), sum(len(record["actions"]) for record in records), seconds)


def _check_rows(path: Path, records: Sequence[Record]) -> None:
    stated = read_json(path).get("rows", [])
    rows = {(row.get("scenario"), row.get("agent")): row for row in stated}
    unranked = {row.get("agent") for row in stated if row.get("ranked") is False}
    baseline = next((row["baseline"] for row in stated if row.get("baseline")), REFERENCE)
    bounded = any(row.get("bound_mean") is not None for row in stated)
    bounds = bound_episodes(records) if bounded else None
    problems = []
    for row in summarize(records, baseline=baseline, bounds=bounds, unranked=unranked).rows:
        found = rows.pop((row.scenario, row.agent), None)
        if found is None:
            problems.append(f"{row.agent} on {row.scenario}: no row of its records")
            continue
        for key, value in json.loads(json.dumps(asdict(row))).items():
            untold = value is None and "decision" in key  # records may lack the times of decisions
            if key in found and not untold and not agree(found[key], value):
                problems.append(f"{row.agent} on {row.scenario}: {key} {found[key]!r}, from its records {value!r}")
    problems += [f"{agent} on {scenario}: a row without records" for scenario, agent in rows]
    check_problems(f"{len(problems)} figures of {path.name}", problems)
