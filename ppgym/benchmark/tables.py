"""Tables of figures for a terminal of 80 columns, in Markdown and in CSV. No figure is made here."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from ppgym.benchmark.bootstrap import Interval
from ppgym.benchmark.summary import Board, Row, Standing, ranking
from ppgym.tables import new_table


def print_board(board: Board, console: Console | None = None) -> None:
    """Print a table for each scenario, and the standings where there are several.

    Args:
        board: The figures.
        console: Where to; standard output where None.
    """
    print_table(board.rows, console)
    if len({row.scenario for row in board.rows}) > 1 and board.overall:
        print_standings(board.overall, console)


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a table for each scenario: the ranked agents, best first, then the others in italics.

    Where the bound is known, the share of the way to it replaces the 99th percentile of decision times; the number
    after its +- is half of the 95 % interval.

    Args:
        rows: The figures.
        console: Where to; standard output where None.
    """
    console = console or Console()
    for scenario in dict.fromkeys(row.scenario for row in rows):
        chosen = ranking(row for row in rows if row.scenario == scenario)
        first = chosen[0]
        console.print(f"{scenario}, {first.episodes} episodes", style="bold", highlight=False)
        for key, value in first.overrides.items():
            console.print(f"  {key} = {value}", highlight=False, soft_wrap=True)
        share, times = (["of bound"], ["ms"]) if first.bound_mean is not None else ([], ["ms p50", "ms p99"])
        table = new_table("QoE/min", "95 % interval", *share, "stall", "waste", "quality", *times)
        for ranked in (True, False):
            for row in chosen:
                if row.ranked == ranked:
                    table.add_row(*_cells(row), style="" if ranked else "italic")
            table.add_section()
        if first.bound_mean is not None and first.bound_ci95 is not None:
            table.add_row("bound", _short(first.bound_mean), _interval(first.bound_ci95), "100%", style="italic")
        console.print(table)


def _cells(row: Row) -> list[str]:
    """A row of the table of a scenario."""
    cells = [row.agent, _short(row.qoe_mean), _interval(row.qoe_ci95)]
    if row.share is not None and row.share_ci95 is not None:
        low, high = row.share_ci95
        cells.append(f"{round(row.share, 2) + 0.0:.0%} ±{50.0 * (high - low):.0f}" if row.share > -1.0 else "< -100%")
    elif row.bound_mean is not None:
        cells.append("")
    cells += [f"{row.stall_ratio:.1%}", f"{row.waste_ratio:.1%}", f"{row.quality_mean:.2f}"]
    times = (row.decision_ms_p50, row.decision_ms_p99)
    shown = times[: 1 if row.bound_mean is not None else 2]
    return cells + ["" if ms is None else f"{ms:.2f}" if ms < 10.0 else f"{ms:.0f}" for ms in shown]


def print_standings(overall: Sequence[Standing], console: Console | None = None) -> None:
    """Print the standings over all scenarios, the best interquartile mean first.

    Args:
        overall: The standings.
        console: Where to; standard output where None.
    """
    console = console or Console()
    baseline = _baseline(overall)
    over = f", gain over {baseline}" if baseline else ""
    title = f"All {overall[0].scenarios} scenarios, each weighs the same{over}"
    console.print(title, style="bold", highlight=False)
    table = new_table("QoE/min", "95 % interval", "IQM", *(["gain", "better in"] if baseline else []))
    for one in _best_first(overall):
        cells = [one.agent, _short(one.qoe_mean), _interval(one.qoe_ci95), _short(one.iqm)]
        if one.difference is not None and one.improvement is not None:
            cells += [_short(one.difference, "+"), f"{one.improvement:.0%}"]
        table.add_row(*cells, style="" if one.ranked else "italic")
    console.print(table)


def to_markdown(board: Board) -> str:
    """The standings and a table for each scenario.

    Args:
        board: The figures.

    Returns:
        GitHub-flavoured Markdown.
    """
    parts = []
    if len({row.scenario for row in board.rows}) > 1 and board.overall:
        parts += [f"## All {board.overall[0].scenarios} scenarios", markdown_standings(board.overall)]
    for scenario in dict.fromkeys(row.scenario for row in board.rows):
        rows = [row for row in board.rows if row.scenario == scenario]
        parts += [f"## {scenario}, {rows[0].episodes} episodes", markdown_rows(rows)]
    return "\n\n".join(parts) + "\n"


def markdown_standings(overall: Sequence[Standing]) -> str:
    """The standings over all scenarios as a Markdown table, the best interquartile mean first.

    Args:
        overall: The standings.

    Returns:
        The table.
    """
    baseline = _baseline(overall)
    lines = [["agent", "QoE / min", "95 %", "IQM", "95 %", *([f"over {baseline}", "better in"] if baseline else [])]]
    for one in _best_first(overall):
        name = one.agent if one.ranked else f"*{one.agent}*"
        line = [name, f"{one.qoe_mean:.1f}", _spelled(one.qoe_ci95), f"{one.iqm:.1f}", _spelled(one.iqm_ci95)]
        if one.difference is not None and one.difference_ci95 is not None and one.improvement is not None:
            line += [f"{one.difference:+.1f} ({_spelled(one.difference_ci95, '+')})", f"{one.improvement:.0%}"]
        lines.append(line)
    return markdown_table(lines)


def markdown_rows(rows: Sequence[Row]) -> str:
    """The rows of one scenario as a Markdown table, the best first, the bound last.

    Args:
        rows: The rows.

    Returns:
        The table.
    """
    lines = [["agent", "QoE / min", "95 %", "of bound", "stall", "waste", "quality, Mbit/s", "prompts", "decision, ms"]]
    for row in ranking(rows):
        share = ""
        if row.share is not None and row.share_ci95 is not None:
            low, high = row.share_ci95
            share = f"{row.share:.0%} ({low:.0%} to {high:.0%})"
        lines.append(
            [
                row.agent if row.ranked else f"*{row.agent}*",
                f"{row.qoe_mean:.1f}",
                _spelled(row.qoe_ci95),
                share,
                f"{row.stall_ratio:.1%}",
                f"{row.waste_ratio:.1%}",
                f"{row.quality_mean:.2f}",
                f"{row.prompt_share:.0%}",
                "" if row.decision_ms_p50 is None else f"{row.decision_ms_p50:.2f}",
            ]
        )
    first = rows[0]
    if first.bound_mean is not None and first.bound_ci95 is not None:
        lines.append(["*bound*", f"{first.bound_mean:.1f}", _spelled(first.bound_ci95), "100%", *[""] * 5])
    return markdown_table(lines)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        lines: Cells, the headings first.

    Returns:
        The table, without a line break at its end.
    """
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in ruled)


def to_csv(rows: Sequence[Row]) -> str:
    """All figures of rows; an interval takes two columns, a mapping one for each key.

    Args:
        rows: The rows.

    Returns:
        CSV with a header.
    """
    flat = [_flatten(asdict(row)) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for each in flat for key in each)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, tuple):
            flat |= {f"{key}_low": value[0], f"{key}_high": value[1]}
        elif isinstance(value, dict):
            flat |= {f"{key}_{name}": each for name, each in value.items()}
        else:
            flat[key] = value
    return flat


def _baseline(overall: Iterable[Standing]) -> str | None:
    return next((one.baseline for one in overall if one.baseline), None)


def _best_first(overall: Iterable[Standing]) -> list[Standing]:
    return sorted(overall, key=lambda one: (not one.ranked, -one.iqm))


def _spelled(interval: Interval, sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.1f} to {high:{sign}.1f}"


def _interval(interval: Interval) -> str:
    low, high = interval
    return f"{_short(low)} to {_short(high)}"


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if abs(value) < 100.0 else f"{value:{sign}.0f}"
