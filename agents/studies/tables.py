"""What studies show: paired differences of QoE, and tables on the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppgym.benchmark.bootstrap import bootstrap_interval
from ppgym.core.state import F8


def paired_difference(new: F8, old: F8) -> dict[str, Any]:
    """Mean QoE, and how it differs over the same episodes.

    Args:
        new: [n] QoE by episode.
        old: [n] of the same episodes, played otherwise.

    Returns:
        "qoe_mean", "difference" and its 95 % percentile bootstrap interval "ci95".
    """
    return {
        "qoe_mean": float(new.mean()),
        "difference": float((new - old).mean()),
        "ci95": bootstrap_interval(new - old),
    }


def signed(value: float, interval: Sequence[float]) -> str:
    """A signed figure with its interval."""
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
    facts = [key for key in rows[0] if key not in ("qoe_mean", "difference", "ci95")]
    print_table(
        title,
        [*(key.replace("_", " ") for key in facts), "QoE", "difference, 95 %"],
        [
            [*(str(row[key]) for key in facts), f"{row['qoe_mean']:.1f}", signed(row["difference"], row["ci95"])]
            for row in rows
        ],
    )
