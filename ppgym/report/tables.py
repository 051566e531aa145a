"""The leaderboard of the page: one table for each scenario. Its headings sort it in a browser."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppgym.core.state import UNIT_NAMES
from ppgym.report.results import Row, interval_or_point, leader

ABSENT = "\N{EN DASH}"


class Column(NamedTuple):
    """A column: its heading, what the heading stands for, and how a row fills it."""

    heading: str
    meaning: str
    value: Callable[[Row], float | None]  # what it sorts by
    text: Callable[[Row], str]
    descending: bool = True  # whether the best is the largest


def _number(heading: str, meaning: str, key: str, form: str, *, descending: bool = True) -> Column:
    return Column(heading, meaning, lambda row: row.get(key), lambda row: _form(row.get(key), form), descending)


def _form(value: float | None, form: str) -> str:
    if value is None or not math.isfinite(value):
        return ABSENT
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _busy(unit: str) -> Column:
    def share(row: Row) -> float | None:
        return (row.get("utilisation") or {}).get(unit)

    return Column(f"{unit} busy", f"Share of the time that {unit} is busy", share, lambda row: _form(share(row), ".0%"))


def _spread(row: Row, key: str, form: str) -> str:
    """A value and its interval."""
    if row.get(key) is None:
        return ABSENT
    interval = row.get(f"{key}_ci95")
    between = f" ({_form(interval[0], form)} to {_form(interval[1], form)})" if interval else ""
    return _form(row[key], form) + between


def _interval(row: Row) -> str:
    interval = row.get("qoe_ci95")
    return " to ".join(_form(edge, ".1f") for edge in interval) if interval else ABSENT


COLUMNS = (
    _number("QoE/min", "Sum of the returns / sum of the drawn watch minutes", "qoe", ".1f"),
    Column("95 % interval", "Interval of QoE; from 16 sessions on", lambda row: interval_or_point(row)[0], _interval),
    _number("of bound", "Share of the way from on_demand to what no policy exceeds", "share", ".0%"),
    Column(
        "difference",
        "Paired difference of QoE to the baseline, with its 95 % interval",
        lambda row: row.get("difference"),
        lambda row: _spread(row, "difference", "+.1f"),
    ),
    _number("P(better)", "Share of the sessions in which it beats the baseline", "improvement", ".0%"),
    _number("stall", "Stall seconds of stall and played seconds", "stall_ratio", ".1%", descending=False),
    _number("waste", "Wasted of downloaded bytes", "waste_ratio", ".1%", descending=False),
    _number("Mbit/min", "Wasted Mbit per minute of watch time", "wasted_mbit_per_min", ".1f", descending=False),
    _number("quality", "Mean over the seconds played, Mbit/s of H.264 of equal quality", "quality_mean", ".2f"),
    _number("prompts", "Share of the requests that are prompts", "generative_share", ".0%"),
    *(_busy(unit) for unit in UNIT_NAMES),
    _number("ms p50", "Milliseconds of a decision, median", "decision_ms_p50", ".2f", descending=False),
    _number("ms p99", "Milliseconds of a decision, 99th percentile", "decision_ms_p99", ".2f", descending=False),
)


class LeaderboardTable(NamedTuple):
    """A table of one scenario, for `assets/leaderboard.html`."""

    caption: str
    columns: list[Column]  # those that some row fills
    rows: list[Row]  # the best agent first, those that do not compete last
    leader: str | None
    bound: Row | None  # what no policy exceeds


def leaderboard_table(rows: Sequence[Row]) -> LeaderboardTable:
    """The table of one scenario.

    Args:
        rows: Its rows, at least one.

    Returns:
        The table.
    """
    first = rows[0]
    baseline = next((f", baseline {row['baseline']}" for row in rows if row.get("baseline")), "")
    bounded = next((row for row in rows if row.get("bound") is not None), None)
    return LeaderboardTable(
        caption=f"{first['scenario']}: {first['sessions']} paired sessions of each agent{baseline}",
        columns=[column for column in COLUMNS if any(column.value(row) is not None for row in rows)],
        rows=sorted(rows, key=lambda row: (not row["ranked"], -row["qoe"])),
        leader=leader(rows),
        bound=bounded and {"qoe": bounded["bound"], "qoe_ci95": bounded.get("bound_ci95")},
    )
