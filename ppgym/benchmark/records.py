"""Records of episodes as files: a result is the recipe that reproduces it.

A record says scenario, seed, agent with all parameters and every action; nothing is played here.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from ppgym.files import read_json_lines, write_json_lines

Record = dict[str, Any]  # an episode as records.jsonl holds it

NAME = "records.jsonl"  # or, packed, "records.jsonl.gz"
REQUIRED = ("scenario", "seed", "agent", "split", "actions", "totals")


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
    for where, record in read_json_lines(folder / NAME):
        _check_record(where, record)
        yield record


def _check_record(where: str, record: Record) -> None:
    for key in REQUIRED:
        if key not in record:
            raise ValueError(f"{where}: expected a record with a key {key!r}")
    actions, totals = record["actions"], record["totals"]
    if not isinstance(actions, list) or not all(type(action) is int for action in actions):
        raise ValueError(f"{where}: key 'actions': expected a list of whole numbers")
    if not isinstance(totals, dict) or not all(type(total) in (int, float) for total in totals.values()):
        raise ValueError(f"{where}: key 'totals': expected a mapping from names to numbers")
    if type(record["seed"]) is not int or record["seed"] < 0:
        raise ValueError(f"{where}: key 'seed': expected a whole number >= 0, got {record['seed']!r}")


def qoe_of(records: Sequence[Record]) -> npt.NDArray[np.float64]:
    """QoE of each of some episodes, by the records' own totals: return per minute of drawn watch time.

    Args:
        records: n episodes.

    Returns:
        [n].
    """
    totals = [record["totals"] for record in records]
    return np.array([each["return"] / (each["drawn_watch_s"] / 60.0) for each in totals])


class Journal:
    """What an unfinished run has played: each episode is kept when it ends, so that a kill loses none.

    The first line names the run's plan; each other line is an episode, by its place in the plan. What a kill leaves of
    a line is dropped.
    """

    NAME = "unfinished.jsonl"

    def __init__(self, folder: Path, plan: str) -> None:
        """Open the journal of a run, or begin it.

        Args:
            folder: Of the run; made where missing.
            plan: What the run will play, as text that two runs share if they are the same.

        Raises:
            ValueError: The folder holds the journal of another run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / self.NAME
        head = f"{json.dumps({'plan': plan})}\n".encode()
        whole = [line for line in self._lines() if line.endswith(b"\n")]
        if whole and whole[0] != head:
            raise ValueError(
                f"{self.path}: holds {len(whole) - 1} episodes of an interrupted run with other arguments or versions; "
                "finish that run, delete the file, or choose another folder"
            )
        entries = [json.loads(line) for line in whole[1:]]
        self.finished: dict[int, Record] = {entry["place"]: entry["record"] for entry in entries}
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        self._file.truncate(sum(len(line) for line in whole))
        if not whole:
            self._append({"plan": plan})

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []

    def keep(self, place: int, record: Record) -> None:
        """Keep an episode.

        Args:
            place: In the plan.
            record: The episode.
        """
        self.finished[place] = record
        self._append({"place": place, "record": record})

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(f"{json.dumps(entry)}\n")
        self._file.flush()

    def close(self) -> None:
        """Put what is written on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()
