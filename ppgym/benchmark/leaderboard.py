"""The public leaderboard: entries that anybody can submit, and the pages made of them.

An entry is a folder ``SUITE/ENTRY`` with a README.md that says what it is and the records.jsonl.gz of one agent on the
whole suite. Its figures are made from replayed records alone. What that proves, and what not, is in docs/leaderboard.
"""

import json
import re
from pathlib import Path

from ppgym.benchmark.episodes import Registry, bound_episodes, find_suite, session_seed
from ppgym.benchmark.records import Record, read_records, write_records
from ppgym.benchmark.run import RESULTS, check_run, write_board
from ppgym.benchmark.seals import RUN, SEAL
from ppgym.benchmark.summary import Board, RankedTest, Standing, replayed, summarize
from ppgym.benchmark.tables import markdown_standings
from ppgym.files import read_json, write_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SPLIT = "test"
FIRST_SESSION = 0
UNFINISHED = "~"  # begins the name of an entry that is being written

TEMPLATE = """# {name}

- **Policy:** what it does, in two or three sentences; paper and code.
- **Authors:**
- **Trained or tuned on:** splits, traces and seeds (never the test split).
- **Made by:** the command, the commit, the machine and how long it took.
- **Parameters:** `{params}`
"""


def check_entry(where: str, records: list[Record], suite_name: str, is_ranked: RankedTest) -> None:
    """Refuse records that are not those of one competing agent with one parameter set, on each session of a suite once.

    Args:
        where: What they are, for the message.
        records: The records.
        suite_name: The suite.
        is_ranked: Tells which agents compete.

    Raises:
        ValueError: They are not, or they do not come back.
    """
    suite = find_suite(suite_name)
    numbers = range(FIRST_SESSION, FIRST_SESSION + suite.sessions)
    expected = {(scenario, session_seed(scenario, number)) for scenario in suite.scenarios for number in numbers}
    agents = {record["agent"] for record in records}
    if len(agents) != 1:
        raise ValueError(f"{where}: expected one agent, got {sorted(agents)}")
    [agent] = agents
    if ":" not in agent:
        raise ValueError(f"{where}: agent {agent!r}: expected its full import path, module:Class")
    if not is_ranked(agent):
        raise ValueError(f"{where}: agent {agent!r} sees the future, or says that it does not compete")
    params = records[0].get("params", {})
    for number, record in enumerate(records, 1):
        at = f"{where}, record {number}"
        if record["split"] != SPLIT or record.get("overrides"):
            raise ValueError(f"{at}: expected the {SPLIT} split without overrides")
        if record.get("params", {}) != params:
            raise ValueError(f"{at}: expected one parameter set, {params}, got {record.get('params', {})}")
        if (record["scenario"], record["seed"]) not in expected:
            raise ValueError(
                f"{at}: {record['scenario']}, seed {record['seed']}: expected each session of the suite once"
            )
        expected.remove((record["scenario"], record["seed"]))
    if expected:
        scenario, seed = min(expected)
        raise ValueError(f"{where}: {len(expected)} sessions are missing, such as {scenario}, seed {seed}")


def read_entry(folder: Path, suite_name: str, is_ranked: RankedTest) -> list[Record]:
    """Read an entry, and check it.

    Args:
        folder: Of the entry.
        suite_name: The suite.
        is_ranked: Tells which agents compete.

    Returns:
        Records, each with the entry's name as its agent.

    Raises:
        FileNotFoundError: README.md or the records are missing.
        ValueError: See `check_entry`.
    """
    if not (folder / "README.md").is_file():
        raise FileNotFoundError(f"{folder / 'README.md'}: expected a page that says what the entry is")
    records = list(read_records(folder))
    check_entry(str(folder), records, suite_name, is_ranked)
    return [record | {"agent": folder.name} for record in records]


def add_entries(run: Path, root: Path, suite_name: str, registry: Registry) -> list[Path]:
    """Make an entry of each agent of a run. Everything is checked, replay included, before anything is written.

    Args:
        run: Folder of the run.
        root: Folder of the boards.
        suite_name: Suite that the run covers.
        registry: Finds agents by name.

    Returns:
        The entries' folders.

    Raises:
        FileNotFoundError: The run has no records.
        ValueError: A name that makes no folder or that an entry has already, records that do not come back, or that
            are no entry.
    """
    by_agent: dict[str, list[Record]] = {}
    for record in read_records(run):
        by_agent.setdefault(record["agent"], []).append(record)
    entries: dict[Path, list[Record]] = {}
    for agent, records in by_agent.items():
        name = agent.rpartition(":")[2]
        if not NAME.fullmatch(name):
            raise ValueError(f"{run}: agent {agent!r}: expected a name that can be a folder's")
        folder = root / suite_name / name
        if folder.exists() or folder in entries:
            raise ValueError(f"{folder}: an entry has this name; choose another, or delete it if it is yours")
        entries[folder] = [record | {"agent": registry.import_path(agent)} for record in records]
        check_entry(f"{run}, {agent}", entries[folder], suite_name, registry.is_ranked)
        replayed(records)
    for folder, records in entries.items():
        beside = folder.with_name(f"{UNFINISHED}{folder.name}")
        write_records(beside, records, packed=True)
        params = json.dumps(records[0].get("params", {}))
        write_text(beside / "README.md", TEMPLATE.format(name=folder.name, params=params))
        beside.rename(folder)
    return list(entries)


def make_board(
    root: Path,
    suite_name: str,
    *,
    baseline: str,
    is_ranked: RankedTest,
    workers: int | None = None,
) -> Board:
    """Replay all entries of a suite and write its board: README.md, results.json and results.csv.

    Args:
        root: Folder of the boards.
        suite_name: The suite.
        baseline: Entry that the others are compared with.
        is_ranked: Tells which agents compete.
        workers: Processes that compute the bounds.

    Returns:
        The figures.

    Raises:
        FileNotFoundError: No entries, or one lacks a file.
        ValueError: An entry does not cover the suite, or its records do not come back.
    """
    folder = root / suite_name
    entries = sorted(path for path in folder.glob("*/") if path.is_dir() and NAME.fullmatch(path.name))
    if not entries:
        raise FileNotFoundError(f"{folder}: expected entries, folders of README.md and records.jsonl.gz")
    records = [record for entry in entries for record in read_entry(entry, suite_name, is_ranked)]
    suite = find_suite(suite_name)
    records.sort(key=lambda record: suite.scenarios.index(record["scenario"]))
    bounds = bound_episodes(records, workers=workers)
    board = summarize(records, baseline=baseline, bounds=bounds)
    head = (
        f"# The suite `{suite_name}`\n\n"
        f"{len(entries)} self-reported entries, the same {suite.sessions} sessions of the {SPLIT} split on each of "
        f"{len(suite.scenarios)} scenarios. Made by `python evaluate.py leaderboard --suite {suite_name}` from "
        "replayed records; what an entry is stands in its folder. QoE is the sum of the returns over the sum of the "
        "drawn watch minutes; intervals are 95 % linearised t intervals.\n\n"
    )
    write_board(folder, board, head + sealed_section(root, suite_name, is_ranked))
    return board


def sealed_section(root: Path, suite_name: str, is_ranked: RankedTest) -> str:
    """The sealed runs of a suite, each checked anew.

    Args:
        root: Folder of the boards; a sealed run lies in ``sealed/RUN``.
        suite_name: The suite.
        is_ranked: Tells which agents compete.

    Returns:
        Markdown with the standings of each run; empty where there is none.

    Raises:
        FileNotFoundError: A run lacks a file.
        ValueError: A run does not come back.
    """
    parts = []
    for folder in sorted(path for path in (root / "sealed").glob("*/") if path.is_dir()):
        if read_json(folder / SEAL).get("suite") == suite_name:
            check_run(folder, is_ranked)
            said = read_json(folder / RUN)
            standings = [Standing(**one) for one in read_json(folder / RESULTS)["overall"]]
            parts.append(
                f"## Sealed run `{folder.name}`\n\n"
                f"Commitment `{said['commitment']}`, isolation: {said['isolation']}.\n\n"
                f"{markdown_standings(standings)}\n\n"
            )
    return "".join(parts)
