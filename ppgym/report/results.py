"""The results of a run as the page shows them: rows, records, and means over scenarios. Nothing is drawn here."""

import math
import reprlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppgym.benchmark.records import Record, read_records
from ppgym.files import read_json

Row = dict[str, Any]  # a row of results.json, or one of means with the same keys
REQUIRED = (
    *("scenario", "agent", "sessions", "qoe", "qoe_ci95", "ranked"),
    *("stall_ratio", "waste_ratio", "terms", "utilisation"),
)

STANDING = ("agent", "qoe", "qoe_ci95", "ranked")

ALL = "All scenarios"  # the name of the mean over scenarios
PLANNER = "mcts"  # whose advantage chooses the episodes of the player
AVERAGED = (
    "stall_ratio",
    "waste_ratio",
    "wasted_mbit_per_min",
    "quality_mean",
    "decision_ms_p50",
    "decision_ms_p99",
    "bound",
    "share",
    "generative_share",
)


@dataclass(frozen=True)
class Results:
    """A run.

    Attributes:
        rows: Of each scenario, in the run's order.
        overall: Of each agent that has played everywhere.
        records: By scenario, then agent, then seed.
    """

    rows: dict[str, list[Row]]
    overall: list[Row]
    records: dict[str, dict[str, dict[int, Record]]]


def read_run(folder: Path) -> Results:
    """Read a run's folder.

    Args:
        folder: Holds results.json and records.jsonl or records.jsonl.gz.

    Returns:
        The run.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A row lacks what the page needs or has no records, or a line is no record.
    """
    path = folder / "results.json"
    content = read_json(path)
    found = content.get("rows")
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: expected a list 'rows' of one or more rows, got {found!r}")
    records: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in read_records(folder):
        records[record["scenario"]][record["agent"]][record["seed"]] = record
    rows: dict[str, list[Row]] = defaultdict(list)
    for number, row in enumerate(found, 1):
        _check_row(f"{path}, row {number}", row)
        played = records.get(row["scenario"], {}).get(row["agent"])
        if not played:
            raise ValueError(f"{path}, row {number}: no records of {row['agent']!r} on {row['scenario']!r} beside it")
        rows[row["scenario"]].append(row)
    overall = content.get("overall", [])
    if not isinstance(overall, list):
        raise ValueError(f"{path}: expected a list 'overall', got {reprlib.repr(overall)}")
    for number, row in enumerate(overall, 1):
        _check_row(f"{path}, overall, {number}", row, STANDING)
    return Results(dict(rows), overall, {name: dict(agents) for name, agents in records.items()})


def _check_row(where: str, row: Any, required: Iterable[str] = REQUIRED) -> None:
    """Refuse a row that lacks a key, or has a value of another type than the page shows."""
    for key in required:
        if not isinstance(row, dict) or key not in row:
            raise ValueError(f"{where}: expected a key {key!r}")
        value = row[key]
        if key in ("scenario", "agent"):
            right, what = isinstance(value, str), "text"
        elif key == "ranked":
            right, what = isinstance(value, bool), "true or false"
        elif key == "qoe_ci95":
            right, what = value is None or (_are_numbers(value, list) and len(value) == 2), "two numbers or null"
        elif key in ("terms", "utilisation"):
            right, what = _are_numbers(value, dict), "numbers by name"
        else:
            right, what = _are_numbers([value], list), "a finite number"
        if not right:
            raise ValueError(f"{where}: key {key!r}: expected {what}, got {reprlib.repr(value)}")


def _are_numbers(values: Any, kind: type) -> bool:
    if not isinstance(values, kind):
        return False
    found: Any = values.values() if isinstance(values, dict) else values
    return all(type(one) in (int, float) and math.isfinite(one) for one in found)


def return_by_seed(records: dict[int, Record]) -> dict[int, float]:
    """Return of each session, in the order of the seeds."""
    return {seed: records[seed]["totals"]["return"] for seed in sorted(records)}


def interval_or_point(row: Row) -> tuple[float, float]:
    """The interval of a row's QoE; its QoE twice where there are too few sessions for one."""
    low, high = row.get("qoe_ci95") or (row["qoe"], row["qoe"])
    return low, high


def average_rows(results: Results) -> list[Row]:
    """Rows of the agents that have played in all scenarios: the standings of the run, and means of the other figures.

    Args:
        results: The run.

    Returns:
        Rows of the scenario `ALL`.
    """
    averages = []
    for standing in results.overall:
        rows = [
            row for of_scenario in results.rows.values() for row in of_scenario if row["agent"] == standing["agent"]
        ]
        average = {"scenario": ALL, "sessions": sum(row["sessions"] for row in rows)} | standing
        for key in AVERAGED:
            values = [row.get(key) for row in rows]
            if None not in values:
                average[key] = float(np.mean(np.array(values, float)))
        for key in ("terms", "utilisation"):
            average[key] = {name: float(np.mean([row[key][name] for row in rows])) for name in rows[0][key]}
        averages.append(average)
    return averages


def leader(rows: Iterable[Row], *besides: str) -> str | None:
    """The ranked agent of the highest QoE, some left out; None where none is left."""
    ranked = [row for row in rows if row["ranked"] and row["agent"] not in besides]
    return max(ranked, key=lambda row: row["qoe"])["agent"] if ranked else None
