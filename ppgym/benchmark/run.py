"""Runs of the benchmark, and the validation of what they wrote: a folder of records and figures.

`ppgym.benchmark.summary` makes the figures, `ppgym.benchmark.tables` shows them, `ppgym.benchmark.leaderboard` keeps
the public ones.
"""

import csv
import functools
import io
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ppgym.benchmark.episodes import Registry, bound_episodes, plan_jobs, play_episode, play_jobs
from ppgym.benchmark.records import NAME, Journal, Record, read_records, write_records
from ppgym.benchmark.replay import FindWorld, named_world
from ppgym.benchmark.seals import open_sealed
from ppgym.benchmark.summary import REFERENCE, Board, RankedTest, check_problems, replayed, summarize
from ppgym.benchmark.tables import to_csv, to_markdown
from ppgym.benchmark.workers import check_workers
from ppgym.files import differences, read_json, read_text, suggest, write_json, write_text

RESULTS = "results.json"
CSV = "results.csv"
PAGE = "README.md"


def run_benchmark(
    registry: Registry,
    agents: Sequence[str],
    scenarios: Sequence[str],
    *,
    sessions: int,
    seed: int = 0,
    split: str = "test",
    engine: str = "local",
    workers: int | None = None,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    baseline: str | None = None,
    bounded: bool = False,
) -> Board:
    """Play every agent on the same sessions of every scenario.

    Figures do not depend on the engine and the number of workers, except for times. A run with an output folder that
    was interrupted, even by a kill, continues when it is called again.

    Args:
        registry: Finds agents by name.
        agents: Their names.
        scenarios: Names ``network/device/viewer[/ladder]``, or paths of scenario files.
        sessions: Of each scenario, with numbers `seed`, `seed` + 1, ...
        seed: Number of the first session; see `ppgym.benchmark.episodes.session_seed`.
        split: "train", "validation" or "test".
        engine: "local" or "ray"; see `ppgym.benchmark.workers.run_jobs`.
        workers: See there.
        output: Folder for records.jsonl, results.json, results.csv and README.md; None writes nothing.
        overrides: Fields of `Scenario` that differ from the named ones, as JSON would hold them.
        params: Parameters of agents, by name.
        baseline: Agent that the others are compared with; `REFERENCE`, if it plays, where None.
        bounded: Whether to compute also the return that no policy exceeds in these sessions.

    Returns:
        One row for each scenario and agent, in their order, and the standings.

    Raises:
        ValueError: An unknown name, a number out of range, or an output folder that holds another run.
        FileNotFoundError: A file that a scenario names is missing.
    """
    check_workers(engine, workers)
    if baseline is not None and baseline not in agents:
        raise ValueError(f"baseline: {baseline!r} does not play; {suggest(baseline, agents)}")
    if output is not None:
        check_free(Path(output))
    jobs = plan_jobs(
        registry,
        agents,
        scenarios,
        sessions=sessions,
        seed=seed,
        split=split,
        overrides=dict(overrides or {}),
        params=params or {},
    )
    play = functools.partial(play_episode, registry)
    records = play_jobs(play, jobs, engine=engine, workers=workers, output=output)
    bounds = bound_episodes(records, engine=engine, workers=workers) if bounded else None
    board = summarize(records, baseline=baseline or REFERENCE, bounds=bounds, is_ranked=registry.is_ranked)
    if output is not None:
        write_records(Path(output), records)
        write_board(Path(output), board)
        (Path(output) / Journal.NAME).unlink()
    return board


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a finished run.

    Args:
        folder: Where a run is to be written; it may be missing, or hold the journal of the interrupted run.

    Raises:
        ValueError: It holds records or figures.
    """
    for name in (NAME, f"{NAME}.gz", RESULTS):
        if (folder / name).exists():
            raise ValueError(f"{folder / name}: a run is here; choose another folder, or delete this one")


def board_content(board: Board) -> dict[str, Any]:
    """What results.json holds of a board."""
    return {"rows": [asdict(row) for row in board.rows], "overall": [asdict(one) for one in board.overall]}


def write_board(folder: Path, board: Board, head: str = "") -> None:
    """Write results.json, results.csv and README.md, each as a whole.

    Args:
        folder: Made where it is missing.
        board: The figures.
        head: Text above the tables of README.md.
    """
    write_json(folder / RESULTS, board_content(board))
    write_text(folder / CSV, to_csv(board.rows))
    write_text(folder / PAGE, head + to_markdown(board))


class Checked(NamedTuple):
    """What a validation has replayed."""

    records: int
    transitions: int
    seconds: float  # of reading and replaying


def validate(folder: str | Path, is_ranked: RankedTest) -> Checked:
    """Check a run in a fresh process, so that nothing that this process has changed can help it; see `check_run`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(check_run, Path(folder), is_ranked).result()


def check_run(folder: Path, is_ranked: RankedTest) -> Checked:
    """Replay every record of a run, to 1e-9 relative, make its files of figures anew, and compare them whole.

    Args:
        folder: What `run_benchmark` or `ppgym.benchmark.sealed.run_sealed` wrote; records without results.json are
            replayed alone.
        is_ranked: Tells which agents compete.

    Returns:
        How much was replayed.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: No records, a line that is no record, a record whose totals do not come back, or figures that do
            not follow from the records, are missing or surplus; names them.
    """
    started_s = time.perf_counter()
    records = list(read_records(folder))
    try:
        find_world = open_sealed(folder, records) or named_world
        replayed(records, find_world)
        seconds = time.perf_counter() - started_s
        if (folder / RESULTS).is_file():
            problems = list(_wrong_figures(folder, records, is_ranked, find_world))
            check_problems(f"{len(problems)} figures", problems)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return Checked(len(records), sum(len(record["actions"]) for record in records), seconds)


def _wrong_figures(
    folder: Path, records: Sequence[Record], is_ranked: RankedTest, find_world: FindWorld
) -> Iterator[str]:
    stated = read_json(folder / RESULTS)
    rows = [row for row in stated.get("rows", []) if isinstance(row, dict)]
    baseline = next((row["baseline"] for row in rows if row.get("baseline")), REFERENCE)
    bounds = bound_episodes(records) if any(row.get("bound") is not None for row in rows) else None
    board = summarize(records, baseline=baseline, bounds=bounds, is_ranked=is_ranked, find_world=find_world)
    made = json.loads(json.dumps(board_content(board)))
    yield from (f"{RESULTS}: {line}" for line in differences(stated, made))
    for name, content in ((CSV, to_csv(board.rows)), (PAGE, to_markdown(board))):
        if not (folder / name).is_file():
            yield f"{name}: missing"
            continue
        parse = _cells_of_csv if name == CSV else str.splitlines
        yield from (f"{name}: line {line}" for line in differences(parse(read_text(folder / name)), parse(content)))


def _cells_of_csv(text: str) -> list[list[float | str]]:
    return [[_number_or_text(cell) for cell in line] for line in csv.reader(io.StringIO(text))]


def _number_or_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
