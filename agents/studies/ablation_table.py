"""What each part of the planner is worth: the planner without it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.studies.ablations import ABLATED
from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import compare, print_table, signed
from ppgym.benchmark.records import Record
from ppgym.env import PromptPreamEnv
from ppgym.planning.pruning import prune

PLANNER = Variant("mcts")

ABLATIONS: dict[str, Variant] = {
    "no prompts": Variant(ABLATED, {"prompts": False}),
    "no compute model": Variant(ABLATED, {"compute_model": False}),
    "in order": Variant(ABLATED, {"in_order": True}),
    "one unit": Variant(ABLATED, {"one_unit": True}),
    "no pruning": Variant("mcts", {"pruning": False}),
    "no belief": Variant(ABLATED, {"belief": False}),
}
"""The planner without one of its parts."""

PRUNED_SESSIONS = 8  # over whose decisions the pruning rules are counted


def make_ablation_tables(
    scenario: str,
    overrides: Mapping[str, Any],
    *,
    sessions: int,
    seed: int,
    workers: int,
    output: Path | None,
    figures: Sequence[str] = (),
) -> dict[str, Any]:
    """Play the planner and its ablations on the test split.

    Args:
        scenario: Name network/device/viewer.
        overrides: What of it differs.
        sessions: Of each.
        seed: Number of the first.
        workers: Processes.
        output: Folder of records; None keeps nothing.
        figures: See `agents.studies.cached_episodes.play_variants`.

    Returns:
        "ablations", rows as `ablate` makes them, and "pruning", what `count_removed` returns.
    """
    variants = [one._replace(overrides=overrides) for one in (PLANNER, *ABLATIONS.values())]
    planner, *ablated = play_variants(
        variants, scenario=scenario, sessions=sessions, seed=seed, workers=workers, output=output, figures=figures
    )
    return {
        "ablations": ablate(planner, dict(zip(ABLATIONS, ablated, strict=True))),
        "pruning": count_removed(PromptPreamEnv(scenario, "test", **overrides), planner[:PRUNED_SESSIONS]),
    }


def ablate(planner: Sequence[Record], ablated: Mapping[str, Sequence[Record]]) -> list[dict[str, Any]]:
    """What each part of the planner is worth.

    Args:
        planner: The planner's sessions.
        ablated: The same sessions without a part, by names as in `ABLATIONS`.

    Returns:
        For each ablation its QoE and the difference to the planner, with the 95 % interval. The part earns its place,
        "holds", where that interval lies below 0.
    """
    rows = []
    for name, played in ablated.items():
        row = {"ablation": name, **compare(played, planner)}
        holds = row["ci95"] is not None and row["ci95"][1] < 0.0
        rows.append(row | {"holds": "holds" if holds else "does not hold"})
    return rows


def count_removed(env: PromptPreamEnv, played: Sequence[Record]) -> dict[str, float]:
    """How many requests each pruning rule removes, over the decisions of the planner.

    Args:
        env: Of the planner's sessions.
        played: The sessions.

    Returns:
        Means over decisions: "legal", then what each rule removes, by name, then "left".
    """
    counts = []
    for record in played:
        env.reset(seed=record["seed"])
        for action in record["actions"]:
            view = env.planning_view()
            mask, removed = prune(view)
            counts.append({"legal": int(view.action_mask[1:].sum()), **removed, "left": int(mask[1:].sum())})
            env.step(action)
    return {key: float(np.mean([count[key] for count in counts])) for key in counts[0]}


def print_ablation_tables(ablations: Sequence[Mapping[str, Any]], pruning: Mapping[str, float]) -> None:
    """Print what each part of the planner is worth, and what the pruning rules remove.

    Args:
        ablations: As `ablate` returns them.
        pruning: As `count_removed` returns it.
    """
    print_table(
        "What each part of the planner is worth, in the first scenario",
        ("planner", "QoE", "difference, 95 %", "the part"),
        [
            [row["ablation"], f"{row['qoe']:.1f}", signed(row["difference"], row["ci95"]), row["holds"]]
            for row in ablations
        ],
    )
    print_table(
        "Requests that the pruning rules remove there, mean of a decision",
        ("", "requests"),
        [[key.replace("_", " "), f"{value:.1f}"] for key, value in pruning.items()],
    )
