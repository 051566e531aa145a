"""What the planner's budget buys, what a biased belief costs, and whether thinking time changes the ranking.

All on held-out, paired sessions of the default scenario; figures go to a JSON file and the terminal.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import compare, print_differences
from ppgym.files import write_json
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
    "pdas": {"agent": "pdas"},
    "dashlet": {"agent": "dashlet"},
}
THINKERS = ("mcts", "ppo", "greedy", "no_save")
THINKING_S = 0.008  # charged for every agent's decision: no less than the planner's median; an assumption
BIASED_BELIEF = "agents.studies.biased_belief:BiasedBelief"


def make_planner_tables(*, sessions: int = 48, seed: int = 0, workers: int = 1, output: Path | None = None) -> None:
    """Show what the planner's budget buys, what a biased belief costs, and whether thinking time changes the ranking.

    Args:
        sessions: Of each row.
        seed: First seed.
        workers: Processes.
        output: Folder for records.jsonl.gz and study.json. Sessions that it holds already are not played again. None
            writes nothing.
    """
    biases = [(name, error) for name in BELIEVERS for error in ERRORS]
    thinkers = [(agent, overrides) for overrides in ({}, {"charge_thinking_s": THINKING_S}) for agent in THINKERS]
    variants = [
        *(Variant("mcts", {"simulations": budget}) for budget in BUDGETS),
        *(Variant(BIASED_BELIEF, {**BELIEVERS[name], **error}) for name, error in biases),
        *(Variant(agent, {}, overrides) for agent, overrides in thinkers),
    ]
    played = play_variants(
        variants, sessions=sessions, seed=seed, workers=workers, output=output, figures=("study.json",)
    )
    budgets, rest = played[: len(BUDGETS)], played[len(BUDGETS) :]
    biased, thinking = rest[: len(biases)], rest[len(biases) :]

    tables = {
        "budget": [
            {"simulations": budget, **compare(cell, budgets[0])} for budget, cell in zip(BUDGETS, budgets, strict=True)
        ],
        "wrong belief": [
            {"agent": name, "error": error_name(error), **compare(cell, biased[k - k % len(ERRORS)])}
            for k, ((name, error), cell) in enumerate(zip(biases, biased, strict=True))
        ],
        "thinking time": [
            {"agent": agent, "charged": bool(overrides), **compare(cell, thinking[k % len(THINKERS)])}
            for k, ((agent, overrides), cell) in enumerate(zip(thinkers, thinking, strict=True))
        ],
    }
    if output is not None:
        facts = {"scenario": DEFAULT_SCENARIO, "sessions": sessions, "seed": seed, "thinking_s": THINKING_S}
        write_json(output / "study.json", facts | tables)
    for title, rows in tables.items():
        print_differences(title, rows)


def error_name(error: Mapping[str, float]) -> str:
    """An error of belief in words."""
    return ", ".join(f"{key} x {value}" for key, value in error.items()) or "none"
