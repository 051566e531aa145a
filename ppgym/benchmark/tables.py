"""Tables of figures for a terminal of 80 columns, in Markdown and in CSV. No figure is made here."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding

from ppgym.benchmark.estimates import LEAST_CLUSTERS, Interval
from ppgym.benchmark.summary import Board, Row, Standing, ranking
from ppgym.tables import for_csv, for_markdown, for_terminal, new_table

FIGURES = ("stall", "waste", "quality", "ms")
MISTAKES = {  # columns that tell what is wrong with a policy: (one, several)
    "truncated": ("session truncated", "sessions truncated"),
    "videos_starved": (
        "video starved: left in a stall while the chunk to play was not requested",
        "videos starved: left in a stall while the chunk to play was not requested",
    ),
    "invalid_actions": ("illegal action, which acts as a wait", "illegal actions, which act as waits"),
    "idle_waits": ("wait in a stall while a request was legal", "waits in a stall while a request was legal"),
}


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

    The number after a +- is half of the 95 % interval. Below the table stands what went wrong, where something did.

    Args:
        rows: The figures.
        console: Where to; standard output where None.
    """
    console = console or Console()
    for scenario in dict.fromkeys(row.scenario for row in rows):
        chosen = ranking(row for row in rows if row.scenario == scenario)
        first = chosen[0]
        versus = next((f", gain over {row.baseline}" for row in chosen if row.baseline), "")
        console.print(for_terminal(f"{scenario}, {_count(first)}{versus}"), style="bold", highlight=False)
        for key, value in first.overrides.items():
            shown = value["name"] if key == "ladder" and isinstance(value, Mapping) else value
            console.print(for_terminal(f"  {key} = {shown}"), highlight=False, soft_wrap=True)
        bounded = first.bound is not None
        table = new_table("QoE/min", *(["gain"] if versus else []), *(["of bound"] if bounded else []), *FIGURES)
        for ranked in (True, False):
            for row in chosen:
                if row.ranked == ranked:
                    table.add_row(*_cells(row, bool(versus), bounded), style="" if ranked else "italic")
            table.add_section()
        if first.bound is not None:
            blank = [""] if versus else []
            table.add_row("bound", _with_half(first.bound, first.bound_ci95), *blank, "100%", style="italic")
        console.print(table)
        for note in (f"quality: {first.quality_unit}", *mistakes(chosen)):
            console.print(Padding(for_terminal(note), (0, 0, 0, 1)), highlight=False)


def _cells(row: Row, compared: bool, bounded: bool) -> list[str]:
    """A row of the table of a scenario."""
    cells = [for_terminal(row.agent), _with_half(row.qoe, row.qoe_ci95)]
    if compared:
        own = row.difference is None or row.agent == row.baseline
        cells.append("" if own else _with_half(row.difference or 0.0, row.difference_ci95, "+"))
    if bounded:
        cells.append(_share(row))
    cells += [f"{row.stall_ratio:.1%}", f"{row.waste_ratio:.1%}", f"{row.quality_mean:.2f}"]
    ms = row.decision_ms_p50
    return [*cells, "" if ms is None else f"{ms:.2f}" if ms < 10.0 else f"{ms:.0f}"]


def _share(row: Row) -> str:
    if row.share is None:
        return ""
    if row.share <= -1.0:
        return "< -100%"
    half = "" if row.share_ci95 is None else f" ±{50.0 * (row.share_ci95[1] - row.share_ci95[0]):.0f}"
    return f"{round(row.share, 2) + 0.0:.0%}{half}"


def mistakes(rows: Sequence[Row]) -> list[str]:
    """What went wrong in the sessions of some rows, a line for each kind; none where nothing did.

    Args:
        rows: Of one scenario.

    Returns:
        Lines such as "sessions truncated: my_agent 3".
    """
    lines = []
    for key, words in MISTAKES.items():
        counts = {row.agent: getattr(row, key) for row in rows if getattr(row, key)}
        if counts:
            what = words[0] if sum(counts.values()) == 1 else words[1]
            lines.append(f"{what}; {', '.join(f'{agent} {count:,}' for agent, count in counts.items())}")
    return lines


def print_standings(overall: Sequence[Standing], console: Console | None = None) -> None:
    """Print the standings over all scenarios, the best first.

    Args:
        overall: The standings.
        console: Where to; standard output where None.
    """
    console = console or Console()
    baseline = _baseline(overall)
    over = f", gain over {for_terminal(baseline)}" if baseline else ""
    title = f"All {overall[0].scenarios} scenarios, each weighs the same{over}"
    console.print(title, style="bold", highlight=False)
    table = new_table("QoE/min", *(["gain", "better in"] if baseline else []))
    for one in _best_first(overall):
        cells = [for_terminal(one.agent), _with_half(one.qoe, one.qoe_ci95)]
        if one.difference is not None and one.improvement is not None:
            cells += [_with_half(one.difference, one.difference_ci95, "+"), f"{one.improvement:.0%}"]
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
        parts += [f"## {for_markdown(scenario)}, {_count(rows[0])}", markdown_rows(rows)]
        parts += [f"- {for_markdown(note)}" for note in mistakes(ranking(rows))]
    return "\n\n".join(parts) + "\n"


def markdown_standings(overall: Sequence[Standing]) -> str:
    """The standings over all scenarios as a Markdown table, the best first.

    Args:
        overall: The standings.

    Returns:
        The table.
    """
    baseline = _baseline(overall)
    lines = [["agent", "QoE / min", "95 %", *([f"over {for_markdown(baseline)}", "better in"] if baseline else [])]]
    for one in _best_first(overall):
        line = [_name(one), f"{one.qoe:.1f}", _spelled(one.qoe_ci95)]
        if one.difference is not None and one.improvement is not None:
            line += [_difference(one), f"{one.improvement:.0%}"]
        lines.append(line)
    return markdown_table(lines)


def markdown_rows(rows: Sequence[Row]) -> str:
    """The rows of one scenario as a Markdown table, the best first, the bound last.

    Args:
        rows: The rows.

    Returns:
        The table.
    """
    baseline = next((row.baseline for row in rows if row.baseline), None)
    versus = [f"over {for_markdown(baseline)}"] if baseline else []
    lines = [
        [
            "agent",
            "QoE / min",
            "95 %",
            *versus,
            "of bound",
            "stall",
            "waste",
            "quality, Mbit/s",
            "prompts",
            "ms a decision",
        ]
    ]
    for row in ranking(rows):
        share = "" if row.share is None else f"{row.share:.0%}"
        if row.share_ci95 is not None:
            share += f" ({row.share_ci95[0]:.0%} to {row.share_ci95[1]:.0%})"
        lines.append(
            [
                _name(row),
                f"{row.qoe:.1f}",
                _spelled(row.qoe_ci95),
                *([_difference(row)] if versus else []),
                share,
                f"{row.stall_ratio:.1%}",
                f"{row.waste_ratio:.1%}",
                f"{row.quality_mean:.2f}",
                f"{row.generative_share:.0%}",
                "" if row.decision_ms_p50 is None else f"{row.decision_ms_p50:.2f}",
            ]
        )
    first = rows[0]
    if first.bound is not None:
        blank = [""] * len(versus)
        lines.append(["*bound*", f"{first.bound:.1f}", _spelled(first.bound_ci95), *blank, "100%", *[""] * 5])
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
        if key.endswith("ci95"):
            flat[f"{key}_low"], flat[f"{key}_high"] = (None, None) if value is None else value
        elif isinstance(value, dict):
            flat |= {f"{key}_{name}": for_csv(each) if isinstance(each, str) else each for name, each in value.items()}
        else:
            flat[key] = for_csv(value) if isinstance(value, str) else value
    return flat


def _name(one: Row | Standing) -> str:
    """In Markdown; in italics where it does not compete."""
    return for_markdown(one.agent) if one.ranked else f"*{for_markdown(one.agent)}*"


def _baseline(overall: Iterable[Standing]) -> str | None:
    return next((one.baseline for one in overall if one.baseline), None)


def _best_first(overall: Iterable[Standing]) -> list[Standing]:
    return sorted(overall, key=lambda one: (not one.ranked, -one.qoe))


def _count(row: Row) -> str:
    given = f", given these {row.traces} traces" if row.traces is not None and row.traces < LEAST_CLUSTERS else ""
    return f"{row.sessions} session{'s' if row.sessions != 1 else ''}{given}"


def _difference(one: Row | Standing) -> str:
    if one.difference is None or one.agent == one.baseline:
        return ""
    spelled = _spelled(one.difference_ci95, "+")
    return f"{one.difference:+.1f} ({spelled})" if spelled else f"{one.difference:+.1f}"


def _spelled(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"{interval[0]:{sign}.1f} to {interval[1]:{sign}.1f}"


def _with_half(value: float, interval: Interval | None, sign: str = "") -> str:
    return _short(value, sign) + ("" if interval is None else f" ±{_short((interval[1] - interval[0]) / 2.0)}")


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if abs(value) < 100.0 else f"{value:{sign}.0f}"
