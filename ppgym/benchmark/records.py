"""Records of episodes and their files: a result is the recipe that reproduces it.

A record holds scenario, seed, agent with all parameters, and every action. Nothing is played here.
"""

import json
import os
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ppgym.core.state import F8
from ppgym.files import parse_json, read_json_lines, suggest, write_json_lines

Record = dict[str, Any]  # an episode as records.jsonl holds it

NAME = "records.jsonl"  # or, packed, "records.jsonl.gz"
SEALED = "sealed"  # key of the commitment in the records of a sealed run
REQUIRED = ("scenario", "seed", "agent", "split", "actions", "totals")
OPTIONAL = ("agent_seed", "params", "overrides", "versions", "wall_time_s", "decision_us", SEALED)


def write_records(folder: Path, records: Sequence[Record], packed: bool = False) -> None:
    """Write records.jsonl as a whole; the same records give the same bytes.

    Args:
        folder: Made where it is missing.
        records: One a line.
        packed: Whether to write records.jsonl.gz instead.
    """
    write_json_lines(folder / NAME, records, packed)


def read_records(folder: Path) -> Iterator[Record]:
    """The records of a run.

    Args:
        folder: Holds records.jsonl or records.jsonl.gz.

    Yields:
        Records.

    Raises:
        FileNotFoundError: The folder holds neither.
        ValueError: A line that is no record, or a file that cannot be unpacked.
    """
    for where, record in read_json_lines(folder / NAME, REQUIRED):
        _check_record(where, record)
        yield record


def _check_record(where: str, record: Record) -> None:
    def expect(key: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{where}: key {key!r}: expected {what}, got {reprlib.repr(record[key])}")

    for key, value in record.items():
        if key in ("scenario", "agent", "split", SEALED):
            expect(key, type(value) is str, "text")
        elif key in ("seed", "agent_seed"):
            expect(key, type(value) is int and 0 <= value < 1 << 64, "a whole number >= 0 of 64 bits")
        elif key == "actions":
            right = isinstance(value, list) and all(type(action) is int for action in value)
            expect(key, right, "a list of whole numbers")
        elif key == "wall_time_s":
            expect(key, type(value) in (int, float), "a number")
        elif key not in OPTIONAL and key != "totals":
            raise ValueError(f"{where}: unknown key {key!r}; {suggest(key, (*REQUIRED, *OPTIONAL))}")
        else:
            expect(key, isinstance(value, dict), "an object")
    numbers = all(type(total) in (int, float) for total in record["totals"].values())
    expect("totals", numbers, "a mapping from names to numbers")
    if "decision_us" in record:
        counts = record["decision_us"].items()
        right = bool(counts) and all(us.isascii() and us.isdecimal() and type(n) is int and n > 0 for us, n in counts)
        expect("decision_us", right, "counts of decisions, by whole microseconds")


def returns_and_minutes(records: Sequence[Record]) -> tuple[F8, F8]:
    """Return and drawn watch minutes of each session, from the totals that its record states.

    Args:
        records: n sessions.

    Returns:
        Two float64 [n].
    """
    totals = [record["totals"] for record in records]
    returns, watch_s = np.array([[each["return"], each["drawn_watch_s"]] for each in totals]).T
    return returns, watch_s / 60.0


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Journal:
    """The results of an unfinished run, each written when it comes in, so that a kill loses none of them.

    Open it in a `with`, run the jobs whose places are not in `finished`, and pass each result to `keep`; delete the
    file when the run's own files are written. `ppgym.benchmark.episodes.play_jobs` does so for episodes. (A job whose
    result is a file of its own needs no journal: run those whose file is missing.)

    The first line names the plan. Each other line is a result, with the place of its job in the plan. A last line that
    a kill has cut is dropped. No other user can read the file: the agents of a sealed run may be one.
    """

    NAME = "unfinished.jsonl"

    def __init__(self, folder: Path, plan: str) -> None:
        """Open the journal of a run, or begin it.

        Args:
            folder: Of the run; made where it is missing.
            plan: Names the jobs; two runs share it only if they have the same jobs.

        Raises:
            ValueError: The folder holds the journal of another run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / self.NAME
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        head = f"{json.dumps({'plan': plan})}\n".encode()
        whole = [line for line in lines if line.endswith(b"\n")]
        if whole and whole[0] != head:
            raise ValueError(
                f"{self.path}: holds {len(whole) - 1} episodes of an interrupted run with other arguments or versions; "
                "finish that run, delete the file, or choose another folder"
            )
        entries = [parse_json(line.decode(), str(self.path), number) for number, line in enumerate(whole[1:], 2)]
        self.finished: dict[int, Any] = {entry["place"]: entry["record"] for entry in entries}
        self._file = open(self.path, "ab", opener=_open_private)
        self._file.truncate(sum(len(line) for line in whole))
        if not whole:
            self._file.write(head)

    def keep(self, place: int, result: Any) -> None:
        """Keep a result.

        Args:
            place: Of its job in the plan.
            result: As JSON holds it.
        """
        self.finished[place] = result
        self._file.write(f"{json.dumps({'place': place, 'record': result})}\n".encode())
        self._file.flush()

    def __enter__(self) -> Self:
        """Nothing is left to do: it is open."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write all of it to the disk, and close."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
