"""The validation of a run: its records are played again, its figures made anew, and all of it is compared.

No code of an agent runs here: whether an agent competes is asked last, in another process (`ppgym.benchmark.ranks`).
"""

import csv
import json
import multiprocessing
import re
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from ppgym.benchmark.episodes import Registry, bound_episodes, session_seed, versions
from ppgym.benchmark.ranks import ask_ranked
from ppgym.benchmark.records import Record, check_paths, read_records
from ppgym.benchmark.replay import named_world
from ppgym.benchmark.revealed import open_sealed
from ppgym.benchmark.run import CSV, PAGE, RECORDS, RESULTS, board_content
from ppgym.benchmark.seals import RUN, SEAL, SESSIONS
from ppgym.benchmark.summary import REFERENCE, check_problems, replayed, summarize
from ppgym.benchmark.tables import to_csv, to_markdown
from ppgym.core.state import F8
from ppgym.files import differences, read_json, read_text

FIGURES = (RESULTS, CSV, PAGE)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
MAX_ACTION = 2**15 - 1  # far outside of every action space, where one number acts as the other
SHARED = {"params", "overrides", "versions"}  # parts of a record that many others have too
NUMBERS_TRIED = 200_000  # of a first session


class Checked(NamedTuple):
    """What a validation has found in order."""

    records: int
    transitions: int
    seconds: float  # of reading and replaying
    compared: tuple[str, ...]  # files of the folder that follow from the records, or that these follow from
    notes: tuple[str, ...]  # what is no error and should be known


def validate(folder: str | Path, registry: Registry, data: str | Path | None = None) -> Checked:
    """Check a run in a fresh process, so that nothing that this process has changed can help it; see `check_run`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(check_run, Path(folder), registry, None if data is None else Path(data)).result()
        except BrokenProcessPool:
            raise ChildProcessError(f"{folder}: the process that checks it has died; is there enough memory?") from None


def check_run(folder: Path, registry: Registry, data: Path | None = None) -> Checked:
    """Replay every record of a run, to 1e-9 relative, make its files of figures anew, and compare them whole.

    Args:
        folder: What `run_benchmark` or `ppgym.benchmark.sealed.run_sealed` wrote, or a study, of which records alone
            are checked.
        registry: Tells which agents compete, and their import paths.
        data: Folder of the files that the records may name besides shipped data.

    Returns:
        What was compared, and notes.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: No records, a line that is no record, a record whose totals do not come back, or figures that do
            not follow from the records, are missing or surplus; names them.
    """
    started_s = time.perf_counter()
    records = _read_compact(folder)
    notes: list[str] = []
    try:
        check_paths(records, data)
        revealed = open_sealed(folder, records, registry)
        totals = replayed(records, named_world if revealed is None else revealed.find_world)
        seconds = time.perf_counter() - started_s
        figures = [name for name in FIGURES if (folder / name).exists()]
        if RESULTS in figures:
            check_params(records)
            stated = read_json(folder / RESULTS)
            problems = list(_wrong_figures(folder, stated, records, totals))
            check_problems(f"{len(problems)} figures", problems)
            _check_ranks(stated, registry, folder)
        elif figures:
            raise ValueError(f"{' and '.join(figures)} without {RESULTS}: expected all figures, or records alone")
        else:
            notes.append(f"there is no {RESULTS}: there are no figures to compare")
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if revealed is not None:
        notes += revealed.notes
        figures += [SEAL, RUN, SESSIONS]
    elif RESULTS in figures:
        notes += chosen_sessions(records)
    notes += other_versions(records)
    compared = [name for name in (*RECORDS, *figures) if (folder / name).exists()]
    others = sorted(path.name for path in folder.iterdir() if path.name not in compared)
    if others:
        notes.append(f"not compared: {', '.join(others)}")
    transitions = sum(len(record["actions"]) for record in records)
    return Checked(len(records), transitions, seconds, tuple(compared), tuple(notes))


def _read_compact(folder: Path) -> list[Record]:
    """Records to read alone, so that many fit into memory: actions take two bytes each, equal parts are shared."""
    shared: dict[str, Any] = {}
    records = []
    for record in read_records(folder):
        record["actions"] = array("h", [action if 0 <= action <= MAX_ACTION else -1 for action in record["actions"]])
        for key in SHARED.intersection(record):
            record[key] = shared.setdefault(repr(record[key]), record[key])
        records.append(record)
    return records


def check_params(records: Sequence[Record]) -> None:
    """Refuse agents whose parameters change from session to session, or from scenario to scenario.

    Args:
        records: Of any agents.

    Raises:
        ValueError: They change; names the agent.
    """
    first: dict[str, Any] = {}
    for record in records:
        params = record.get("params", {})
        if first.setdefault(record["agent"], params) != params:
            raise ValueError(
                f"{record['agent']}, {record['scenario']}, seed {record['seed']}: expected the parameters of its "
                f"other sessions, {first[record['agent']]}, got {params}"
            )


def _stated_rows(stated: dict[str, Any]) -> list[dict[str, Any]]:
    rows = stated.get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _wrong_figures(
    folder: Path, stated: dict[str, Any], records: Sequence[Record], totals: Mapping[str, F8]
) -> Iterator[str]:
    """Where the files differ from what follows from the records, and from the stated baseline and ranks."""
    rows = _stated_rows(stated)
    baseline = next((row["baseline"] for row in rows if isinstance(row.get("baseline"), str)), REFERENCE)
    bounds = bound_episodes(records) if any(row.get("bound") is not None for row in rows) else None
    unranked = {row["agent"] for row in rows if isinstance(row.get("agent"), str) and row.get("ranked") is False}
    board = summarize(
        records,
        baseline=baseline,
        bounds=bounds,
        is_ranked=lambda agent: agent not in unranked,
        totals=totals,
    )
    made = json.loads(json.dumps(board_content(board)))
    yield from (f"{RESULTS}: {line}" for line in differences(stated, made))
    for name, content in ((CSV, to_csv(board.rows)), (PAGE, to_markdown(board))):
        if not (folder / name).is_file():
            yield f"{name}: missing"
            continue
        parse = _cells_of_csv if name == CSV else _lines
        found = differences(parse(read_text(folder / name)), parse(content), "line")
        yield from (f"{name}: {line}" for line in found)


def _check_ranks(stated: dict[str, Any], registry: Registry, folder: Path) -> None:
    """Refuse a stated rank that is not the class's. All rows of an agent state the same: they have been compared."""
    said = {row["agent"]: row["ranked"] for row in _stated_rows(stated)}
    ranked = ask_ranked(said, registry.is_ranked, folder)
    problems = [
        f"{RESULTS}: ranked: {said[agent]}, expected {ranked[agent]} of {agent}"
        for agent in said
        if said[agent] != ranked[agent]
    ]
    check_problems(f"{len(problems)} figures", problems)


def _lines(text: str) -> list[str]:
    return text.split("\n")  # the last one is empty where the text ends as it should


def _cells_of_csv(text: str) -> list[list[float | str]]:
    lines = (next(csv.reader([line]), []) for line in _lines(text))
    return [[float(cell) if NUMBER.fullmatch(cell) else cell for cell in line] for line in lines]


def chosen_sessions(records: Sequence[Record]) -> list[str]:
    """What to say of sessions that are not those of one first number, k, k + 1, ..., in all scenarios.

    Args:
        records: Of an open run.

    Returns:
        Lines; none where the sessions are such.
    """
    seeds: dict[str, set[int]] = {}
    for record in records:
        seeds.setdefault(record["scenario"], set()).add(record["seed"])
    firsts = {scenario: _first_session(scenario, found) for scenario, found in seeds.items()}
    notes = [
        f"{scenario}: its {len(seeds[scenario])} sessions are not k, k + 1, ... of one first session: who chose them?"
        for scenario, first in firsts.items()
        if first is None
    ]
    if not notes and len(set(firsts.values())) > 1:
        notes.append(f"scenarios have different first sessions: {sorted({first or 0 for first in firsts.values()})}")
    return notes


def _first_session(scenario: str, seeds: set[int]) -> int | None:
    """k, where the seeds are those of the sessions k, k + 1, ... of a scenario."""
    first = next((k for k in range(NUMBERS_TRIED) if session_seed(scenario, k) in seeds), None)
    if first is None or {session_seed(scenario, first + i) for i in range(len(seeds))} != seeds:
        return None
    return first


def other_versions(records: Sequence[Record]) -> list[str]:
    """What to say of records that another version or kernel than today's made, or that do not tell.

    Args:
        records: They came back all the same.

    Returns:
        A line for each version that differs.
    """
    notes = []
    for key, today in versions().items():
        found = {str(record.get("versions", {}).get(key, "none")) for record in records}
        if found != {today}:
            notes.append(f"{key} of the records: {', '.join(sorted(found))}; today's: {today}")
    return notes
