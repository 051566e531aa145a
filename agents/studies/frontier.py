"""The frontier: what QoE, stalls, waste and energy each policy can have, by its own parameters.

The planner turns the weights with which it plans, a rule how eagerly it preloads, the greedy policy the price of the
link and the least value of a request; a learned agent is a single point. Nothing is chosen here: all points are shown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.paper_claims import KNOB, PRELOADING
from agents.studies.tables import print_table, unbeaten
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.files import write_json
from ppgym.world.scenario import DEFAULT_SCENARIO

FIGURES = "frontier.json"
WITH_PROMPTS = ("static", "fixed_preload", "douyin", "no_save", "pdas", "dashlet")  # rules that choose prompts too
FAMILIES: dict[str, tuple[Mapping[str, Any], ...]] = {
    "mcts": (*KNOB, *({"stall_weight": weight} for weight in (2.0, 4.0))),
    "greedy": (
        {},
        *({"link_price": price} for price in (0.1, 0.6, 1.2)),
        *({"least_value": one} for one in (0.2, 1.0)),
    ),
    "student": ({},),
    "ppo": ({},),
    "dqn": ({},),
    **PRELOADING,
    **{f"{name}+prompt": PRELOADING[name] for name in WITH_PROMPTS},
}
"""The settings of each agent."""

COLUMNS = {"qoe": "QoE", "stall_s": "stalls, s", "wasted_mbit": "waste, Mbit", "energy_j": "energy, J"}
"""All a minute of the drawn watch times; of the first one more is better, of the others less."""


def find_frontier(
    scenario: str = DEFAULT_SCENARIO,
    *,
    sessions: int = 64,
    seed: int = 200_000,
    workers: int = 1,
    output: Path | None = None,
) -> None:
    """Show the QoE, stalls, waste and energy of every policy at every setting, and which of them no other one beats.

    Args:
        scenario: Name network/device/viewer.
        sessions: Of each setting, of the test split.
        seed: Number of the first session.
        workers: Processes.
        output: Folder for records.jsonl.gz and frontier.json. Sessions that it holds already are not played again. None
            writes nothing.
    """
    variants = [Variant(agent, params) for agent, settings in FAMILIES.items() for params in settings]
    played = play_variants(
        variants, scenario=scenario, sessions=sessions, seed=seed, workers=workers, output=output, figures=(FIGURES,)
    )
    rows = [row_of(*cell) for cell in zip(variants, played, strict=True)]
    marks = unbeaten([[row[column] if column == "qoe" else -row[column] for column in COLUMNS] for row in rows])
    rows = [{**row, "unbeaten": mark} for row, mark in zip(rows, marks, strict=True)]
    if output is not None:
        write_json(output / FIGURES, {"scenario": scenario, "sessions": sessions, "rows": rows})
    print_table(
        f"{scenario}, {sessions} test sessions, a minute; * no other one is as good in all and better in one",
        ("policy", *COLUMNS.values(), ""),
        [
            [
                Variant(row["agent"], row["params"]).name,
                *(f"{row[column]:.1f}" for column in COLUMNS),
                "*" if row["unbeaten"] else "",
            ]
            for row in sorted(rows, key=lambda row: -row["qoe"])
        ],
    )


def row_of(variant: Variant, played: Sequence[Record]) -> dict[str, Any]:
    """The figures of a setting.

    Args:
        variant: The agent and its parameters.
        played: Its sessions.

    Returns:
        "agent", "params" and a figure for each of `COLUMNS`.
    """
    returns, minutes = returns_and_minutes(played)
    sums = {key: sum(record["totals"][key] for record in played) for key in ("rebuffer_s", "wasted_bytes", "energy_j")}
    figures = (returns.sum(), sums["rebuffer_s"], sums["wasted_bytes"] * MBIT_PER_BYTE, sums["energy_j"])
    found = {column: float(figure / minutes.sum()) for column, figure in zip(COLUMNS, figures, strict=True)}
    return {"agent": variant.agent, "params": dict(variant.params), **found}
