"""Fills the tables of README.md from the committed results: `python docs/readme.py`, after results have changed.

A table stands between a line `<!-- table: NAME -->` and a line `<!-- end -->`; `TABLES` says what makes each. A test
fails while README.md is not what this makes of it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppgym.data import read_text, write_text
from ppgym.leaderboard import Row, Standing
from ppgym.standings import markdown_rows, markdown_standings, markdown_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> Any:
    """A committed result, by its path below docs."""
    return json.loads(read_text(ROOT / "docs" / name))


def spelled(row: dict[str, Any], key: str = "difference") -> str:
    """A signed figure with its interval."""
    low, high = row["ci95"]
    return f"{row[key]:+.1f} ({low:+.1f} to {high:+.1f})"


def default() -> str:
    """All agents on the default scenario."""
    return markdown_rows([Row(**row) for row in read("results/default/results.json")["rows"]])


def standings() -> str:
    """All entries over the suite `standard`."""
    return markdown_standings([Standing(**one) for one in read("leaderboard/standard/results.json")["overall"]])


def pruning() -> str:
    """What the pruning rules leave."""
    rows = read("results/claims/claims.json")["pruning"]
    lines = [["", *(row["scenario"].split("/")[0] for row in rows)]]
    lines += [[key.replace("_", " "), *(f"{row[key]:.1f}" for row in rows)] for key in rows[0] if key != "scenario"]
    return markdown_table(lines)


def budget() -> str:
    """QoE by simulations a decision."""
    rows = read("results/planner/study.json")["budget"]
    lines = [["simulations", "QoE / min", "difference to the first, 95 %"]]
    return markdown_table(lines + [[str(row["simulations"]), f"{row['qoe_mean']:.1f}", spelled(row)] for row in rows])


def beliefs() -> str:
    """What wrong beliefs cost."""
    rows = read("results/planner/study.json")["wrong belief"]
    errors = list(dict.fromkeys(row["error"] for row in rows))
    found = {(row["agent"], row["error"]): row for row in rows}
    lines = [["agent", *errors]]
    for agent in dict.fromkeys(row["agent"] for row in rows):
        right, *wrong = (found[agent, error] for error in errors)
        lines.append([agent, f"{right['qoe_mean']:.1f}", *(spelled(row) for row in wrong)])
    return markdown_table(lines)


def thinking() -> str:
    """What charged thinking time does."""
    rows = read("results/planner/study.json")["thinking time"]
    lines = [["agent", "QoE, thinking free", "charged"]]
    for agent in dict.fromkeys(row["agent"] for row in rows):
        free, charged = (row["qoe_mean"] for row in rows if row["agent"] == agent)
        lines.append([agent, f"{free:.1f}", f"{charged:.1f}"])
    return markdown_table(lines)


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table for table in (default, standings, pruning, budget, beliefs, thinking)
}


def fill(text: str) -> str:
    """README.md with its tables made anew.

    Args:
        text: Of the file.

    Returns:
        The new text.

    Raises:
        ValueError: A mark names no table, or a table has no mark.
    """
    names = [name for _, name, _ in BLOCK.findall(text)]
    if sorted(names) != sorted(TABLES):
        raise ValueError(f"{README}: expected marks for the tables {sorted(TABLES)}, got {sorted(names)}")
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


if __name__ == "__main__":
    write_text(README, fill(read_text(README)))
