"""The public leaderboard: entries that anybody can submit, and the pages made of them.

An entry is a folder ``SUITE/ENTRY`` with a README.md that says what it is and the records.jsonl.gz of one agent on the
whole suite. Its figures are made from replayed records alone.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from ppgym.benchmark.episodes import bound_episodes, find_suite
from ppgym.benchmark.records import Record, read_records, write_records
from ppgym.benchmark.run import write_board
from ppgym.benchmark.summary import Board, summarize
from ppgym.benchmark.tables import to_csv, to_markdown
from ppgym.files import write_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SPLIT = "test"
FIRST_SEED = 0

TEMPLATE = """# {name}

- **Policy:** what it does, in two or three sentences; paper and code.
- **Authors:**
- **Trained or tuned on:** splits, traces and seeds (never the test split).
- **Made by:** the command, the commit, the machine and how long it took.
- **Parameters:** `{params}`
"""


def read_entry(folder: Path, suite_name: str, is_ranked: Callable[[str], bool]) -> list[Record]:
    """Read an entry, and check that it covers its suite.

    Args:
        folder: Of the entry.
        suite_name: The suite.
        is_ranked: Whether an agent competes, by its name or import path.

    Returns:
        Records, each with the entry's name as its agent.

    Raises:
        FileNotFoundError: README.md or the records are missing.
        ValueError: The records are not those of one agent, which competes, on each episode of the suite once.
    """
    if not (folder / "README.md").is_file():
        raise FileNotFoundError(f"{folder / 'README.md'}: expected a page that says what the entry is")
    records = list(read_records(folder))
    suite = find_suite(suite_name)
    expected = {
        (scenario, seed) for scenario in suite.scenarios for seed in range(FIRST_SEED, FIRST_SEED + suite.episodes)
    }
    agents = {record["agent"] for record in records}
    if len(agents) != 1:
        raise ValueError(f"{folder}: expected one agent, got {sorted(agents)}")
    _check_ranked(folder, agents, is_ranked)
    for number, record in enumerate(records, 1):
        where = f"{folder}, record {number}"
        if record["split"] != SPLIT or record.get("overrides"):
            raise ValueError(f"{where}: expected the {SPLIT} split without overrides")
        if (record["scenario"], record["seed"]) not in expected:
            raise ValueError(
                f"{where}: {record['scenario']}, seed {record['seed']}: expected each episode of the suite once"
            )
        expected.remove((record["scenario"], record["seed"]))
    if expected:
        scenario, seed = min(expected)
        raise ValueError(f"{folder}: {len(expected)} episodes are missing, such as {scenario}, seed {seed}")
    return [record | {"agent": folder.name} for record in records]


def _check_ranked(folder: Path, agents: Iterable[str], is_ranked: Callable[[str], bool]) -> None:
    for agent in agents:
        if not is_ranked(agent):
            raise ValueError(f"{folder}: expected agents that compete; {agent!r} is shown for comparison alone")


def add_entries(run: Path, root: Path, suite_name: str, is_ranked: Callable[[str], bool]) -> list[Path]:
    """Make an entry of each agent of a run. An entry that exists keeps its README.md.

    Args:
        run: Folder of the run.
        root: Folder of the boards.
        suite_name: Suite that the run covers.
        is_ranked: See `read_entry`.

    Returns:
        The entries' folders.

    Raises:
        FileNotFoundError: The run has no records.
        ValueError: An agent whose name makes no folder, or that did not play the whole suite.
    """
    by_agent: dict[str, list[Record]] = {}
    for record in read_records(run):
        by_agent.setdefault(record["agent"], []).append(record)
    _check_ranked(run, by_agent, is_ranked)
    folders = []
    for agent, records in by_agent.items():
        name = agent.rpartition(":")[2]
        if not NAME.fullmatch(name):
            raise ValueError(f"{run}: agent {agent!r}: expected a name that can be a folder's")
        folder = root / suite_name / name
        write_records(folder, records, packed=True)
        if not (folder / "README.md").is_file():
            params = json.dumps(records[0].get("params", {}))
            write_text(folder / "README.md", TEMPLATE.format(name=name, params=params))
        read_entry(folder, suite_name, is_ranked)
        folders.append(folder)
    return folders


def make_board(
    root: Path,
    suite_name: str,
    *,
    baseline: str,
    is_ranked: Callable[[str], bool],
    workers: int | None = None,
) -> Board:
    """Replay all entries of a suite and write its board: README.md, results.json and results.csv.

    Args:
        root: Folder of the boards.
        suite_name: The suite.
        baseline: Entry that the others are compared with.
        is_ranked: See `read_entry`.
        workers: Processes that compute the bounds.

    Returns:
        The figures.

    Raises:
        FileNotFoundError: No entries, or one lacks a file.
        ValueError: An entry does not cover the suite, or its records do not come back.
    """
    entries = sorted(path for path in (root / suite_name).glob("*/") if path.is_dir())
    if not entries:
        raise FileNotFoundError(f"{root / suite_name}: expected entries, folders of README.md and records.jsonl.gz")
    records = [record for folder in entries for record in read_entry(folder, suite_name, is_ranked)]
    suite = find_suite(suite_name)
    records.sort(key=lambda record: suite.scenarios.index(record["scenario"]))
    bounds = bound_episodes(records, workers=workers)
    board = summarize(records, baseline=baseline, bounds=bounds)
    folder = root / suite_name
    head = (
        f"# The suite `{suite_name}`\n\n"
        f"{len(entries)} entries, the same {suite.episodes} episodes of the {SPLIT} split on each of "
        f"{len(suite.scenarios)} scenarios. Made by `python evaluate.py leaderboard --suite {suite_name}` from "
        "replayed records; what an entry is stands in its folder. Intervals are 95 % bootstrap intervals, over all "
        "scenarios stratified by scenario; IQM is the interquartile mean of all episodes.\n\n"
    )
    write_text(folder / "README.md", head + to_markdown(board))
    write_text(folder / "results.csv", to_csv(board.rows))
    write_board(folder, board)
    return board
