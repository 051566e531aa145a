"""What studies show: paired differences of QoE, and tables on the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppgym.benchmark.estimates import Interval, ratio_estimate
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.benchmark.traces import find_traces
from ppgym.core.state import F8

DIFFERENCE = ("qoe", "difference", "ci95")  # keys of a paired difference


def paired_difference(new: F8, old: F8, minutes: F8, clusters: npt.NDArray[Any] | None = None) -> dict[str, Any]:
    """QoE, and how it differs over the same sessions.

    Args:
        new: [n] returns.
        old: [n] returns in the same sessions, played otherwise.
        minutes: [n] their drawn watch minutes.
        clusters: [n] the traces of the sessions, where there are enough files of them.

    Returns:
        "qoe", "difference" and its 95 % interval "ci95", which is None where there are too few sessions.
    """
    difference = ratio_estimate(new - old, minutes, clusters)
    return dict(zip(DIFFERENCE, (float(new.sum() / minutes.sum()), difference.value, difference.ci95), strict=True))


def compare(new: Sequence[Record], old: Sequence[Record]) -> dict[str, Any]:
    """The paired difference of two agents' sessions.

    Args:
        new: Of one.
        old: Of the other, in the same order.

    Returns:
        See `paired_difference`.

    Raises:
        ValueError: They are not the same sessions.
    """
    (returns, minutes), (others, others_minutes) = returns_and_minutes(new), returns_and_minutes(old)
    if not np.array_equal(minutes, others_minutes):
        raise ValueError(
            f"{new[0]['agent']}, {old[0]['agent']}: expected the same sessions, got other drawn watch minutes"
        )
    return paired_difference(returns, others, minutes, find_traces(new).clusters)


def unbeaten(good: Sequence[Sequence[float] | F8]) -> list[bool]:
    """Whether no other row is as good in all columns, and better in one or earlier.

    Args:
        good: Rows of figures; more is better.

    Returns:
        One for each row.
    """
    rows = np.array(good)
    found = []
    for place, own in enumerate(rows):
        as_good = (rows >= own).all(axis=1)
        as_good[place] = False
        better = (rows > own).any(axis=1) | (np.arange(len(rows)) < place)
        found.append(not (as_good & better).any())
    return found


def signed(value: float, interval: Interval | None) -> str:
    """A signed figure with its interval, where it has one."""
    if interval is None:
        return f"{value:+.1f}"
    low, high = interval
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column alone may wrap.

    Args:
        title: Its title.
        columns: Their names.
        rows: A cell for each column.
    """
    table = Table(box=SIMPLE_HEAD, title=title, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=place > 0)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_differences(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of facts, each with a difference.

    Args:
        title: Of the table.
        rows: At least one; each ends with what `paired_difference` returns.
    """
    facts = [key for key in rows[0] if key not in DIFFERENCE]
    print_table(
        title,
        [*(key.replace("_", " ") for key in facts), "QoE", "difference, 95 %"],
        [
            [*(str(row[key]) for key in facts), f"{row['qoe']:.1f}", signed(row["difference"], row["ci95"])]
            for row in rows
        ],
    )
