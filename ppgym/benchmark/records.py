"""Records of episodes and their files: a result is the recipe that reproduces it.

A record holds scenario, seed, agent with all parameters, and every action. Nothing is played here.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ppgym.core.state import F8
from ppgym.files import read_json_lines, suggest, write_json_lines
from ppgym.world.scenario import SHIPPED
from ppgym.world.scenario_file import is_file_name
from ppgym.world.schemas import NAME_PATTERN, NAME_WORDS

Record = dict[str, Any]  # an episode as records.jsonl holds it

NAME = "records.jsonl"  # or, packed, "records.jsonl.gz"
SEALED = "sealed"  # key of the commitment in the records of a sealed run
REQUIRED = ("scenario", "seed", "agent", "split", "actions", "totals")
MAX_US_DIGITS = 12  # of a decision's microseconds: eleven days
MAX_TEXT = 2**20  # characters of parameters or overrides as JSON, which may hold a measured ladder
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
            expect(key, re.fullmatch(NAME_PATTERN, value) is not None, NAME_WORDS)
        elif key in ("seed", "agent_seed"):
            expect(key, type(value) is int and 0 <= value < 1 << 64, "a whole number >= 0 of 64 bits")
        elif key == "actions":
            right = isinstance(value, list) and all(type(action) is int for action in value)
            expect(key, right, "a list of whole numbers")
        elif key == "wall_time_s":
            expect(key, _is_number(value) and value >= 0, "a number of at least 0")
        elif key not in OPTIONAL and key != "totals":
            raise ValueError(f"{where}: unknown key {key!r}; {suggest(key, (*REQUIRED, *OPTIONAL))}")
        else:
            expect(key, isinstance(value, dict), "an object")
    expect("totals", all(map(_is_number, record["totals"].values())), "a mapping from names to finite numbers")
    for key in ("params", "overrides", "versions"):
        if key in record:
            expect(key, len(json.dumps(record[key])) <= MAX_TEXT, f"at most {MAX_TEXT:,} characters")
    if "decision_us" in record:
        counts = record["decision_us"].items()
        right = bool(counts) and all(_is_time(us) and type(n) is int and 0 < n < 1 << 32 for us, n in counts)
        expect("decision_us", right, "counts of decisions, by whole microseconds")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_time(us: str) -> bool:
    return us.isascii() and us.isdecimal() and len(us) <= MAX_US_DIGITS


def check_paths(records: Iterable[Record], data: Path | None) -> None:
    """Refuse records that lead out of the shipped data, but into a folder that their reader has named.

    Args:
        records: Of anybody.
        data: The folder; None where there is none.

    Raises:
        ValueError: A scenario is a file, or one of its fields a path that does not lie in the folder or that leads out
            of it by a link; names it.
    """
    root, inside = None if data is None else Path(os.path.realpath(data)), set[Path]()
    for number, record in enumerate(records, 1):
        overrides = record.get("overrides", {})
        if is_file_name(record["scenario"]) and record["scenario"] != overrides.get("label"):
            raise ValueError(f"record {number}: scenario: expected a name, not a file, got {record['scenario']!r}")
        for field, shipped in SHIPPED.items():
            value = overrides.get(field)
            if not isinstance(value, str) or value in shipped:
                continue
            expected = f"record {number}: {field}: expected the name of shipped data, or"
            if root is None:
                raise ValueError(f"{expected} with --data FOLDER a path in that folder, got {value[:200]!r}")
            if (outside := _outside(Path(value), root, inside)) is not None:
                got = f"{value[:200]!r}: {str(outside)[:200]!r} lies elsewhere"
                raise ValueError(f"{expected} a path in {data}, got {got}")


def _outside(path: Path, root: Path, inside: set[Path]) -> Path | None:
    """The first file or folder that a path leads to, by links too, and that does not lie in a folder.

    Args:
        path: A file, or a folder with all that is below it.
        root: The folder; no link itself.
        inside: What is known to lie in it; grows.
    """
    left = [path.parent if path.suffix == ".m3u8" else path]  # a playlist names others beside it
    while left:
        found = left.pop()
        real = Path(os.path.realpath(found))
        if not real.is_relative_to(root):
            return found
        if real not in inside and real.is_dir():
            left += real.iterdir()
        inside.add(real)
    return None


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


def _sealed_line(content: Mapping[str, Any]) -> bytes:
    """A line of a journal: the first 16 digits of its SHA-256, and JSON."""
    text = json.dumps(content).encode()
    return hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n"


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is not as it was written."""
    digest, _, text = line.rstrip(b"\n").partition(b" ")
    if hashlib.sha256(text).hexdigest()[:16].encode() != digest:
        return None
    content: dict[str, Any] = json.loads(text)
    return content


class Journal:
    """The results of an unfinished run, each written when it comes in, so that a kill loses none of them.

    Open it in a `with`, run the jobs whose places are not in `finished`, and pass each result to `keep`; `delete` it
    there when the run's own files are written. `ppgym.benchmark.episodes.play_jobs` does so for episodes. (A job whose
    result is a file of its own needs no journal: run those whose file is missing.)

    While it is open, no other process can open it. The first line names the plan. Each other line is a result, with the
    place of its job in the plan, or says which process writes here from there on. Every line begins with a checksum: a
    damaged one is said and set aside, and its job is run again. A last line that a kill has cut is dropped. No other
    user can read the file: the agents of a sealed run may be one.
    """

    NAME = "unfinished.jsonl"

    def __init__(self, folder: Path, plan: str) -> None:
        """Open the journal of a run, or begin it.

        Args:
            folder: Of the run; made where it is missing.
            plan: Names the jobs; two runs share it only if they have the same jobs.

        Raises:
            ValueError: The folder holds the journal of another run, one with a damaged first line, or one that another
                process writes or has just deleted.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / self.NAME
        self._file = open(self.path, "a+b", opener=_open_private)
        try:
            self._lock()
            self.finished: dict[int, Any] = {}
            self._read(plan)
        except BaseException:
            self._file.close()
            raise
        self._write({"owner": {"pid": os.getpid(), "host": platform.node()}})

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owners = [entry["owner"] for _, entry in self._entries() if entry is not None and "owner" in entry]
            who = "process {pid} on {host}".format(**owners[-1]) if owners else "another process"
            raise ValueError(
                f"{self.path}: {who} writes a run here; wait for its end, or choose another folder"
            ) from None
        if not os.fstat(self._file.fileno()).st_nlink:  # deleted after it was opened here, and before it was locked
            raise ValueError(f"{self.path}: another process has just ended a run here; choose another folder")

    def _entries(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """The number and the content of each whole line; what comes after the last one is left out."""
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if line.endswith(b"\n"):
                yield number, _unsealed(line)

    def _read(self, plan: str) -> None:
        entries = list(self._entries())
        if not entries:
            self._file.truncate(0)
            self._write({"plan": plan})
            return
        if entries[0][1] is None:
            raise ValueError(
                f"{self.path}, line 1: expected the plan of an interrupted run, got a damaged line; delete the file, "
                "or choose another folder"
            )
        for number, entry in entries:
            if entry is None:
                print(f"{self.path}, line {number}: is damaged and set aside; its job is run again", file=sys.stderr)
            elif "place" in entry:
                self.finished[entry["place"]] = entry["record"]
        if entries[0][1] != {"plan": plan}:
            raise ValueError(
                f"{self.path}: holds {len(self.finished)} episodes of an interrupted run with other arguments or "
                "versions; finish that run, delete the file, or choose another folder"
            )
        self._file.seek(0)
        self._file.truncate(sum(len(line) for line in self._file if line.endswith(b"\n")))

    def _write(self, content: Mapping[str, Any]) -> None:
        """Write a line to the disk."""
        try:
            self._file.write(_sealed_line(content))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(self.path)) from error

    def keep(self, place: int, result: Any) -> None:
        """Keep a result.

        Args:
            place: Of its job in the plan.
            result: As JSON holds it.
        """
        self.finished[place] = result
        self._write({"place": place, "record": result})

    def delete(self) -> None:
        """Delete the file: all that it holds is in the run's own files."""
        self.path.unlink()

    def __enter__(self) -> Self:
        """Nothing is left to do: it is open."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file, and let others open it."""
        with contextlib.suppress(OSError):  # of a line that could not be written, which has been said
            self._file.close()
