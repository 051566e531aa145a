"""Runs of the benchmark, and what they write: a folder of records and figures.

`ppgym.benchmark.summary` makes the figures, `ppgym.benchmark.tables` shows them, `ppgym.benchmark.validation` checks
them, `ppgym.benchmark.leaderboard` keeps the public ones.
"""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppgym.benchmark.episodes import Registry, bound_episodes, open_journal, plan_jobs, play_episode, play_jobs
from ppgym.benchmark.records import NAME, Journal, write_records
from ppgym.benchmark.summary import REFERENCE, Board, summarize
from ppgym.benchmark.tables import to_csv, to_markdown
from ppgym.benchmark.workers import check_workers
from ppgym.files import check_free, suggest, write_json, write_text

RECORDS = (NAME, f"{NAME}.gz")
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
        check_output(Path(output))
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
    with contextlib.ExitStack() as opened:
        journal = None
        if output is not None:
            check_output(Path(output))  # again: the plan took a while
            journal = opened.enter_context(open_journal(output, jobs))
        records = play_jobs(play, jobs, engine=engine, workers=workers, journal=journal)
        bounds = bound_episodes(records, engine=engine, workers=workers) if bounded else None
        board = summarize(records, baseline=baseline or REFERENCE, bounds=bounds, is_ranked=registry.is_ranked)
        if journal is not None:
            write_records(journal.path.parent, records)
            write_board(journal.path.parent, board)
            journal.delete()
    return board


def check_output(folder: Path, names: Sequence[str] = ()) -> None:
    """Refuse a folder where a run would write over files of somebody else.

    Args:
        folder: Where a run is to be written; it may be missing, or hold the journal of the interrupted run.
        names: Of the files that it writes besides records and figures.

    Raises:
        ValueError: It is no folder, or holds such a file. Beside a journal only records show that the run's own files
            were being written when it was interrupted.
    """
    if (folder / Journal.NAME).is_file() and any((folder / name).is_file() for name in RECORDS):
        return
    check_free(folder, (*RECORDS, RESULTS, CSV, PAGE, *names))


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
