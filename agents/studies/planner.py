"""What the planner's budget buys, what a wrong belief costs, and whether thinking time changes the ranking.

All on held-out, paired episodes of the default scenario; figures go to a JSON file and the terminal.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.studies.cached_episodes import play_once
from ppgym.benchmark.bootstrap import bootstrap_interval
from ppgym.benchmark.episodes import Job
from ppgym.benchmark.records import Record, qoe_of
from ppgym.files import write_text
from ppgym.world.scenario import DEFAULT_SCENARIO

BUDGETS = (64, 256, 1024, 4096)  # simulations
ERRORS: tuple[Mapping[str, float], ...] = (
    {},
    {"bandwidth": 1.3},
    {"bandwidth": 0.7},
    {"retention": 1.3},
    {"retention": 0.7},
)
BELIEVERS: Mapping[str, Mapping[str, Any]] = {
    "mcts": {"agent": "mcts"},
    "mcts without hindsight": {
        "agent": "mcts",
        "bandwidth_calibration": False,
    },  # second: compared with the first
    "pdas": {"agent": "pdas"},
    "dashlet": {"agent": "dashlet"},
}
THINKERS = ("mcts", "ppo", "greedy", "no_save")
THINKING_S = 0.008  # charged for a decision, of anybody: no less than the planner takes at the median
MISTAKEN = "agents.studies.biased_belief:Mistaken"


def difference(new: Sequence[Record], old: Sequence[Record]) -> dict[str, Any]:
    """Mean QoE, and how it differs over the same episodes.

    Args:
        new: n episodes.
        old: The same n, played otherwise.

    Returns:
        "qoe_mean", "difference" and its 95 % percentile bootstrap interval "ci95".
    """
    qoe, gained = qoe_of(new), qoe_of(new) - qoe_of(old)
    return {
        "qoe_mean": float(qoe.mean()),
        "difference": float(gained.mean()),
        "ci95": bootstrap_interval(gained),
    }


def study(
    *,
    episodes: int = 48,
    seed: int = 0,
    workers: int = 1,
    output: Path | None = None,
) -> None:
    """Play all of it and print four tables.

    Args:
        episodes: Of each row.
        seed: First seed.
        workers: Processes.
        output: Folder for records.jsonl.gz and study.json. Episodes that it holds already are not played again. None
            writes nothing.
    """
    mistakes = [(name, error) for name in BELIEVERS for error in ERRORS]
    thinkers = [(agent, overrides) for overrides in ({}, {"charge_thinking_s": THINKING_S}) for agent in THINKERS]
    settings: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        *(("mcts", {"simulations": budget}, {}) for budget in BUDGETS),
        *((MISTAKEN, {**BELIEVERS[name], **error}, {}) for name, error in mistakes),
        *((agent, {}, overrides) for agent, overrides in thinkers),
    ]
    jobs = [
        Job(DEFAULT_SCENARIO, overrides, "test", agent, params, seed + i)
        for agent, params, overrides in settings
        for i in range(episodes)
    ]
    played = play_once(jobs, workers=workers, folder=output)
    cells = [played[k * episodes :][:episodes] for k in range(len(settings))]
    budgets, rest = cells[: len(BUDGETS)], cells[len(BUDGETS) :]
    mistaken, thinking = rest[: len(mistakes)], rest[len(mistakes) :]

    tables = {
        "budget": [
            {"simulations": budget, **difference(cell, budgets[0])}
            for budget, cell in zip(BUDGETS, budgets, strict=True)
        ],
        "wrong belief": [
            {"agent": name, "error": error_name(error), **difference(cell, mistaken[k - k % len(ERRORS)])}
            for k, ((name, error), cell) in enumerate(zip(mistakes, mistaken, strict=True))
        ],
        "hindsight": [
            {"error": error_name(error), **difference(mistaken[k], mistaken[len(ERRORS) + k])}
            for k, error in enumerate(ERRORS)
        ],
        "thinking time": [
            {"agent": agent, "charged": bool(overrides), **difference(cell, thinking[k % len(THINKERS)])}
            for k, ((agent, overrides), cell) in enumerate(zip(thinkers, thinking, strict=True))
        ],
    }
    if output is not None:
        facts = {"scenario": DEFAULT_SCENARIO, "episodes": episodes, "seed": seed, "thinking_s": THINKING_S}
        write_text(output / "study.json", json.dumps(facts | tables, indent=1) + "\n")
    for title, rows in tables.items():
        print_rows(title, rows)


def error_name(error: Mapping[str, float]) -> str:
    """An error of belief in words."""
    return ", ".join(f"{key} x {value}" for key, value in error.items()) or "none"


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table.

    Args:
        title: Its title.
        rows: Rows that end with what `difference` returns.
    """
    table = Table(box=SIMPLE_HEAD, title=title)
    for key in rows[0]:
        table.add_column(key.replace("_", " "))
    for row in rows:
        low, high = row["ci95"]
        facts = [str(value) for key, value in row.items() if key not in ("qoe_mean", "difference", "ci95")]
        table.add_row(*facts, f"{row['qoe_mean']:.1f}", f"{row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}")
    Console().print(table)
