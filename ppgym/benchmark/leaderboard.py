"""The public leaderboard: entries that anybody can submit, and the pages made of them.

An entry is a folder ``SUITE/ENTRY`` with a README.md that says what it is and the records.jsonl.gz of one agent on the
whole suite. Its figures are made from replayed records alone. What that proves, and what not, is in docs/leaderboard.
"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ppgym.benchmark.episodes import Registry, bound_episodes, find_suite, session_seed
from ppgym.benchmark.ranks import ask_ranked
from ppgym.benchmark.records import Record, read_records, write_records
from ppgym.benchmark.run import PAGE, RESULTS, write_board
from ppgym.benchmark.seals import RUN, SEAL
from ppgym.benchmark.summary import REFERENCE, Board, Standing, summarize
from ppgym.benchmark.tables import markdown_standings
from ppgym.benchmark.validation import check_params, check_run
from ppgym.files import read_json, suggest, write_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")  # no dot: no file of the board has such a name
SPLIT = "test"
FIRST_SESSION = 0
UNFINISHED = "~"  # begins the name of a folder in which an entry is being written

TEMPLATE = """# {name}

- **Policy:** what it does, in two or three sentences; paper and code.
- **Authors:**
- **Trained or tuned on:** splits, traces and seeds (never the test split).
- **Made by:** the command, the commit, the machine and how long it took.
- **Parameters:** `{params}`
"""


def check_entry(where: str, records: list[Record], suite_name: str) -> None:
    """Refuse records that are not those of one agent with one parameter set, on each session of a suite once.

    Args:
        where: What they are, for the message.
        records: The records.
        suite_name: The suite.

    Raises:
        ValueError: They are not.
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
    for number, record in enumerate(records, 1):
        at = f"{where}, record {number}"
        if record["split"] != SPLIT or record.get("overrides"):
            raise ValueError(f"{at}: expected the {SPLIT} split without overrides")
        if (record["scenario"], record["seed"]) not in expected:
            raise ValueError(
                f"{at}: {record['scenario']}, seed {record['seed']}: expected each session of the suite once"
            )
        expected.remove((record["scenario"], record["seed"]))
    if expected:
        scenario, seed = min(expected)
        raise ValueError(f"{where}: {len(expected)} sessions are missing, such as {scenario}, seed {seed}")
    check_params(records)


def read_entry(folder: Path, suite_name: str) -> list[Record]:
    """Read an entry, and check it.

    Args:
        folder: Of the entry.
        suite_name: The suite.

    Returns:
        Its records.

    Raises:
        FileNotFoundError: README.md or the records are missing.
        ValueError: A name that is not an entry's, or see `check_entry`.
    """
    if not NAME.fullmatch(folder.name):
        raise ValueError(f"{folder}: expected a folder of an entry, named by letters, digits, _, + and -")
    if not (folder / PAGE).is_file():
        raise FileNotFoundError(f"{folder / PAGE}: expected a page that says what the entry is")
    records = list(read_records(folder))
    check_entry(str(folder), records, suite_name)
    return records


def read_submission(
    run: Path, taken: Mapping[str, list[Record]], suite_name: str, registry: Registry, say: Callable[[str], None]
) -> dict[str, list[Record]]:
    """Read the agents of a run as entries, and check them.

    Args:
        run: Folder of the run.
        taken: The records of the entries that the board has, by name.
        suite_name: Suite that the run covers.
        registry: Finds agents by name.
        say: Is told of our own agents in the run that are on the board already: they are left out.

    Returns:
        Records by the entries' names.

    Raises:
        FileNotFoundError: The run has no records.
        ValueError: A name that makes no folder or that an entry has already, or records that are no entry.
    """
    by_agent: dict[str, list[Record]] = {}
    for record in read_records(run):
        by_agent.setdefault(record["agent"], []).append(record)
    entries: dict[str, list[Record]] = {}
    for agent, records in by_agent.items():
        name = agent.rpartition(":")[2]
        if not NAME.fullmatch(name):
            raise ValueError(f"{run}: agent {agent!r}: expected a name of letters, digits, _, + and -")
        if name in taken and registry.import_path(agent) != agent:
            say(f"{name} is on the board already, as the board's own; the submission's is left out")
            continue
        if name.lower() in {one.lower() for one in (*taken, *entries)}:
            raise ValueError(f"{run}: an entry has the name {name}; choose another, or delete it if it is yours")
        entries[name] = [record | {"agent": registry.import_path(agent)} for record in records]
        check_entry(f"{run}, {agent}", entries[name], suite_name)
    if not entries:
        raise ValueError(f"{run}: expected an agent that is not on the board yet")
    return entries


def make_board(
    root: Path,
    suite_name: str,
    registry: Registry,
    *,
    submit: Path | None = None,
    baseline: str | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> Board:
    """Replay all entries of a suite, those of a run too, and write the new ones and the board's page and figures.

    Everything is checked, and the whole board made, before anything is written.

    Args:
        root: Folder of the boards.
        suite_name: The suite.
        registry: Finds agents by name.
        submit: Folder of a run over the whole suite, whose agents become entries.
        baseline: Entry that the others are compared with, or its agent; `REFERENCE`, if it is there, where None.
        workers: Processes that compute the bounds.
        say: Is told what a person should do or know.

    Returns:
        The figures.

    Raises:
        FileNotFoundError: No entries, or one lacks a file.
        ValueError: An entry or the submission does not cover the suite, its records do not come back, or its agent
            does not compete; an unknown baseline.
    """
    folder, suite = root / suite_name, find_suite(suite_name)
    found = sorted(path for path in folder.glob("*/") if path.is_dir() and not path.name.startswith(UNFINISHED))
    entries = {path.name: read_entry(path, suite_name) for path in found}
    new = {} if submit is None else read_submission(submit, entries, suite_name, registry, say)
    entries |= new
    if not entries:
        raise FileNotFoundError(f"{folder}: expected entries, folders of {PAGE} and records.jsonl.gz")
    paths = {name: of_entry[0]["agent"] for name, of_entry in entries.items()}
    reference = _find_entry(REFERENCE, paths, registry)
    compared = reference if baseline is None else _find_entry(baseline, paths, registry)
    if baseline is not None and compared is None:
        raise ValueError(f"baseline: no entry {baseline!r}; {suggest(baseline, paths)}")
    records = [record | {"agent": name} for name, of_entry in entries.items() for record in of_entry]
    records.sort(key=lambda record: suite.scenarios.index(record["scenario"]))
    bounds = bound_episodes(records, workers=workers)
    board = summarize(records, baseline=compared or REFERENCE, reference=reference or REFERENCE, bounds=bounds)
    sealed = sealed_section(root, suite_name, registry)
    ranked = ask_ranked(dict.fromkeys(paths.values()), registry.is_ranked, root)
    for name, path in paths.items():
        if not ranked[path]:
            raise ValueError(f"{name}: agent {path!r} sees the future, or says that it does not compete")
    head = (
        f"# The suite `{suite_name}`\n\n"
        f"{len(entries)} self-reported entries, the same {suite.sessions} sessions of the {SPLIT} split on each of "
        f"{len(suite.scenarios)} scenarios. Made by `python evaluate.py leaderboard --suite {suite_name}` from "
        "replayed records; what an entry is stands in its folder. QoE is the sum of the returns over the sum of the "
        "drawn watch minutes; intervals are 95 % linearised t intervals.\n\n"
    )
    for name, of_entry in new.items():
        _write_entry(folder / name, of_entry)
        say(f"{folder / name}: say in its {PAGE} what it is")
    write_board(folder, board, head + sealed)
    return board


def _find_entry(agent: str, paths: Mapping[str, str], registry: Registry) -> str | None:
    """The entry of this name, else the first of this agent."""
    if agent in paths:
        return agent
    return next((name for name, path in paths.items() if path == registry.import_path(agent)), None)


def _write_entry(folder: Path, records: list[Record]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{folder.name}-", dir=folder.parent))
    beside.chmod(0o755)
    write_records(beside, records, packed=True)
    params = json.dumps(records[0].get("params", {})).replace("`", "\\u0060")
    write_text(beside / PAGE, TEMPLATE.format(name=folder.name, params=params))
    beside.rename(folder)


def sealed_section(root: Path, suite_name: str, registry: Registry) -> str:
    """The sealed runs of a suite, each checked anew.

    Args:
        root: Folder of the boards; a sealed run lies in ``sealed/RUN``.
        suite_name: The suite.
        registry: Finds agents by name.

    Returns:
        Markdown with the standings of each run; empty where there is none.

    Raises:
        FileNotFoundError: A run lacks a file.
        ValueError: A run does not come back.
    """
    parts = []
    for folder in sorted(path for path in (root / "sealed").glob("*/") if path.is_dir()):
        if read_json(folder / SEAL).get("suite") == suite_name:
            check_run(folder, registry)
            said = read_json(folder / RUN)
            standings = [Standing(**one) for one in read_json(folder / RESULTS)["overall"]]
            parts.append(
                f"## Sealed run `{folder.name}`\n\n"
                f"Commitment `{said['commitment']}`, isolation: {said['isolation']}.\n\n"
                f"{markdown_standings(standings)}\n\n"
            )
    return "".join(parts)
