"""Tests the paper's three claims: the planner against the frontier of the policies that request pixels alone.

PromptPream (arXiv 2602.09484) claims over 31 % fewer stalls and less waste, and 45 % more QoE, than traditional
strategies, without naming these. Here every pixel policy is tuned (`agents/hyperparams`), then swept over how eagerly
it preloads. The planner is swept over the weight of waste. The weight of stalls rises with its square root, so that
fewer bytes cost quality and not stalls. All play the same episodes. A second table shows the weight of waste alone.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import paired_difference, print_table, signed
from ppgym.benchmark.estimates import Estimate, ratio_estimate
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8
from ppgym.env import PromptPreamEnv
from ppgym.files import read_json, write_json
from ppgym.planning.pruning import DEFAULT_RULES, RULES, prune
from ppgym.planning.rollout import RECENT, estimate_bps

PLANNER = "mcts"
ABLATED = "agents.studies.ablations:AblatedPlanner"
LESS = 0.31  # stalls and waste, as claimed
MORE = 0.45  # QoE, as claimed

SCENARIOS = tuple(
    f"{network}/{device}/typical"
    for device in ("snapdragon-8-elite", "snapdragon-8-gen-2", "rtx-4090")
    for network in ("low", "medium", "mixed")
)

SWEEPS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "on_demand": ({},),
    "next_one": ({},),
    "static": tuple({"each": each} for each in (0, 1, 2, 3, 5)),
    "fixed_preload": ({}, *({"chunks": chunks} for chunks in (2, 3, 4))),
    "douyin": ({}, *({"preload_bytes": size} for size in (6e4, 2.5e5, 5e5, 8e5))),
    "no_save": ({}, *({"preload_bytes": size} for size in (1e5, 2.5e5, 5e5, 8e5))),
    "pdas": ({}, *({"buffer_s": seconds} for seconds in (1.0, 2.0, 4.0, 8.0))),
    "dashlet": ({}, *({"least_stall_s": seconds} for seconds in (0.03, 0.1, 0.5))),
}
"""How eagerly each pixel policy preloads: one parameter each, the others as tuned."""

WASTE_WEIGHTS = (1.5, 2.0, 4.0, 8.0)
"""Of the planner; 1 is its default."""

PLANNER_SWEEP: tuple[Mapping[str, Any], ...] = (
    {},
    *({"waste_weight": weight, "stall_weight": round(math.sqrt(weight), 3)} for weight in WASTE_WEIGHTS),
)
"""The planner's settings for the claims, its default first."""

WASTE_ALONE: tuple[Mapping[str, Any], ...] = tuple({"waste_weight": weight} for weight in WASTE_WEIGHTS[1:])
"""The weight of waste alone, outside the claims: it reduces waste and causes stalls."""

FEW_EPISODES = 32  # of settings of the weight of waste alone

ABLATIONS: dict[str, Variant] = {
    "no prompts": Variant(ABLATED, {"prompts": False}),
    "no compute model": Variant(ABLATED, {"compute_model": False}),
    "in order": Variant(ABLATED, {"in_order": True}),
    "one unit": Variant(ABLATED, {"one_unit": True}),
    "no pruning": Variant(PLANNER, {"pruning": False}),
    "no belief": Variant(ABLATED, {"belief": False}),
    "no bandwidth calibration": Variant(PLANNER, {"bandwidth_calibration": False}),
    **{
        f"no rule {rule.name}": Variant(
            PLANNER, {"pruning": [other.name for other in DEFAULT_RULES if other is not rule]}
        )
        for rule in DEFAULT_RULES
        if not rule.safe
    },
    **{
        f"with rule {rule.name}": Variant(PLANNER, {"pruning": [other.name for other in (*DEFAULT_RULES, rule)]})
        for rule in RULES
        if rule not in DEFAULT_RULES
    },
}
"""The planner without one of its parts, without each pruning rule that is not safe, and with each one it leaves out."""

PRUNED_EPISODES = 8  # over whose decisions the pruning rules are counted


class Point(NamedTuple):
    """An agent with its parameters, over the episodes of a scenario; all arrays [n]."""

    agent: str
    params: Mapping[str, Any]
    returns: F8
    stall_s: F8
    wasted_mbit: F8
    minutes: F8  # drawn watch time


def point_of(variant: Variant, played: Sequence[Record]) -> Point:
    """Gather an agent's episodes.

    Args:
        variant: The agent and its parameters.
        played: Its episodes.

    Returns:
        The point.
    """
    totals = [record["totals"] for record in played]
    returns, minutes = returns_and_minutes(played)
    return Point(
        variant.agent,
        variant.params,
        returns,
        np.array([each["rebuffer_s"] for each in totals]),
        MBIT_PER_BYTE * np.array([each["wasted_bytes"] for each in totals]),
        minutes,
    )


def name_of(point: Point) -> str:
    """A point in words, such as ``static each=2``."""
    return " ".join([point.agent, *(f"{key}={value:g}" for key, value in point.params.items())])


def relative_gain(new: F8, old: F8) -> Estimate:
    """By how much a sum exceeds another, relative to its size, over paired sessions.

    Args:
        new: [n].
        old: [n].

    Returns:
        The gain.
    """
    return ratio_estimate(new - old, np.sign(old.sum()) * old)


def judge(scenario: str, pixels: Sequence[Point], planner: Sequence[Point]) -> list[dict[str, Any]]:
    """The three claims on one scenario.

    Stalls and waste are compared as sums over the episodes, which all agents share.

    Args:
        scenario: Name.
        pixels: The pixel policies' points.
        planner: The planner's points, its default first.

    Returns:
        A row for each of the claims on QoE, stalls and waste: the `baseline`, which is the frontier's QoE-best point;
        the `planner`'s point that is compared, None where none meets the condition; its relative `gain`, which is to be
        at least `claimed`, and its paired `qoe_difference` to the planner's default, which is what the gain costs.
        `ci95` and `qoe_ci95` are their 95 % intervals, None where there is no point or there are too few sessions.
    """
    best = max(pixels, key=lambda point: point.returns.sum())
    frugal = [point for point in planner if point.wasted_mbit.sum() <= best.wasted_mbit.sum()]
    smooth = [point for point in planner if point.stall_s.sum() <= best.stall_s.sum()]
    fewest = min(frugal, key=lambda point: point.stall_s.sum(), default=None)
    least = min(smooth, key=lambda point: point.wasted_mbit.sum(), default=None)
    claims = []
    for claim, claimed, point, sign, measure in (
        ("QoE", MORE, planner[0], 1.0, "returns"),
        ("fewer stalls, waste no more", LESS, fewest, -1.0, "stall_s"),
        ("less waste, stalls no more", LESS, least, -1.0, "wasted_mbit"),
    ):
        gain = cost = Estimate(math.nan, math.nan, None)
        if point is not None:
            gain = relative_gain(sign * getattr(point, measure), sign * getattr(best, measure))
            cost = ratio_estimate(point.returns - planner[0].returns, point.minutes)
        claims.append(
            {
                "scenario": scenario,
                "episodes": len(best.minutes),
                "claim": claim,
                "claimed": claimed,
                "baseline": name_of(best),
                "planner": None if point is None else name_of(point),
                "gain": gain.value,
                "ci95": gain.ci95,
                "holds": "holds" if gain.value >= claimed else "does not hold",
                "qoe_difference": cost.value,
                "qoe_ci95": cost.ci95,
            }
        )
    return claims


def judge_alone(scenario: str, pixels: Sequence[Point], planner: Sequence[Point]) -> list[dict[str, Any]]:
    """What the weight of waste alone reaches of the claims on stalls and waste, in the episodes that all points have.

    Args:
        scenario: Name.
        pixels: The pixel policies' points.
        planner: The planner's points, its default first; the others have fewer episodes.

    Returns:
        The two claims, against the same baseline as in `judge`.
    """
    episodes = min(len(point.minutes) for point in planner)

    def first(point: Point) -> Point:
        return Point(point.agent, point.params, *(values[:episodes] for values in point[2:]))

    best = max(pixels, key=lambda point: point.returns.sum())
    return judge(scenario, [first(best)], [first(point) for point in planner])[1:]


def ablate(scenario: str, default: Point, ablated: Mapping[str, Point]) -> list[dict[str, Any]]:
    """What each part of the planner is worth.

    Args:
        scenario: Name.
        default: The planner.
        ablated: The planner without a part, or with one that it leaves out, by names as in `ABLATIONS`.

    Returns:
        For each ablation its QoE and the difference to the planner, with the 95 % interval. The part earns its
        place, "holds", where that interval lies below 0 without it, or above 0 with it.
    """
    rows = []
    for name, point in ablated.items():
        row = {
            "scenario": scenario,
            "ablation": name,
            **paired_difference(point.returns, default.returns, point.minutes),
        }
        low, high = row["ci95"] or (-math.inf, math.inf)
        holds = low > 0.0 if name.startswith("with ") else high < 0.0
        rows.append(row | {"holds": "holds" if holds else "does not hold"})
    return rows


def count_removed(scenario: str, played: Sequence[Record]) -> dict[str, float]:
    """How many requests each pruning rule removes, over the decisions of the planner.

    Args:
        scenario: Name.
        played: The planner's episodes.

    Returns:
        Means over decisions: "legal", then what each default rule removes, by name, then "left", then what each other
        rule would remove of these.
    """
    env = PromptPreamEnv(scenario, "test")
    counts = []
    for record in played:
        env.reset(seed=record["seed"])
        for action in record["actions"]:
            view = env.planning_view()
            requests, removed = prune(view, DEFAULT_RULES, float(estimate_bps(view.state, RECENT)))
            further = {rule.name: int(rule.find(view, requests).sum()) for rule in RULES[len(DEFAULT_RULES) :]}
            legal = int(view.action_mask[1:].sum())
            counts.append({"legal": legal, **removed, "left": len(requests.action), **further})
            env.step(action)
    return {key: float(np.mean([count[key] for count in counts])) for key in counts[0]}


def check_claims(
    scenarios: tuple[str, ...] = SCENARIOS,
    *,
    episodes: int = 64,
    seed: int = 0,
    workers: int = 1,
    ablations: bool = True,
    output: Path | None = None,
) -> None:
    """Put the paper's three claims to the test, on held-out episodes, and print what holds.

    Args:
        scenarios: Names network/device/viewer.
        episodes: Of each scenario.
        seed: First seed.
        workers: Processes.
        ablations: Play the planner without each of its parts as well, on the first scenario.
        output: Folder for records.jsonl.gz and claims.json, written after every scenario. Episodes that it holds
            already are not played again, and what it says of other scenarios stays. None writes nothing.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for scenario in scenarios:
        ablated = ABLATIONS if ablations and scenario == scenarios[0] else {}
        found = check_scenario(scenario, ablated, episodes=episodes, seed=seed, workers=workers, output=output)
        results = {part: [*results.get(part, []), *rows] for part, rows in found.items()}
        if output is not None:
            _merge(output / "claims.json", results)
    print_claims(results)


def _merge(path: Path, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write results, in place of what a file says of their scenarios."""
    old = read_json(path) if path.is_file() else {}
    done = {claim["scenario"] for claim in results["claims"]}
    merged = {
        part: [*(row for row in old.get(part, []) if row["scenario"] not in done), *rows]
        for part, rows in results.items()
    }
    order = list(dict.fromkeys([*SCENARIOS, *(claim["scenario"] for claim in merged["claims"])]))
    for rows in merged.values():
        rows.sort(key=lambda row: order.index(row["scenario"]))
    write_json(path, merged)


def check_scenario(
    scenario: str, ablated: Mapping[str, Variant], *, episodes: int, seed: int, workers: int, output: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Play all points on one scenario and judge the claims.

    Args:
        scenario: Name.
        ablated: As in `ABLATIONS`.
        episodes: Of each point.
        seed: First seed.
        workers: Processes.
        output: See `check_claims`.

    Returns:
        "claims", "alone", "ablations", "pruning" and "points", all rows with a key "scenario".
    """
    variants = [
        *(Variant(agent, params) for agent, sweep in SWEEPS.items() for params in sweep),
        *(Variant(PLANNER, params) for params in PLANNER_SWEEP),
        *(Variant(PLANNER, params, most=FEW_EPISODES) for params in WASTE_ALONE),
        *ablated.values(),
    ]
    cells = play_variants(variants, scenario=scenario, episodes=episodes, seed=seed, workers=workers, output=output)
    points = [point_of(*cell) for cell in zip(variants, cells, strict=True)]
    default = sum(map(len, SWEEPS.values()))
    alone = default + len(PLANNER_SWEEP)
    parts = alone + len(WASTE_ALONE)
    pixels, planner = points[:default], points[default:alone]
    return {
        "claims": judge(scenario, pixels, planner),
        "alone": judge_alone(scenario, pixels, [planner[0], *points[alone:parts]]),
        "ablations": ablate(scenario, planner[0], dict(zip(ablated, points[parts:], strict=True))),
        "pruning": [{"scenario": scenario, **count_removed(scenario, cells[default][:PRUNED_EPISODES])}],
        "points": [
            {
                "scenario": scenario,
                "agent": point.agent,
                "params": dict(point.params),
                "episodes": len(point.minutes),
                "qoe": float(point.returns.sum() / point.minutes.sum()),
                "stall_s_per_min": float(point.stall_s.sum() / point.minutes.sum()),
                "wasted_mbit_per_min": float(point.wasted_mbit.sum() / point.minutes.sum()),
            }
            for point in points
        ],
    }


def print_claims(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print the claims, what each part of the planner is worth, and what the pruning rules remove.

    Args:
        results: As `check_scenario` returns it, of some scenarios.
    """
    console = Console()
    console.print("The paper's claims, on held-out episodes", style="bold")
    console.print(
        "Stalls at no more waste than the baseline's, waste at no more stalls. Rows with a cost in QoE are outside the "
        f"claims: they turn the weight of waste alone, in the first {FEW_EPISODES} episodes at most.\n",
        highlight=False,
    )
    for scenario in dict.fromkeys(claim["scenario"] for claim in results["claims"]):
        claims, alone = ([row for row in results[part] if row["scenario"] == scenario] for part in ("claims", "alone"))
        first = claims[0]
        print_table(
            f"{scenario}, {first['episodes']} episodes, against {first['baseline']}",
            ("claim", "gain, 95 %", "planner", ""),
            [
                *([*_claim_cells(claim), claim["holds"]] for claim in claims),
                *(
                    [*_claim_cells(claim), "" if claim["planner"] is None else f"QoE {claim['qoe_difference']:+.1f}"]
                    for claim in alone
                ),
            ],
        )
    if results["ablations"]:
        print_table(
            f"What each part of the planner is worth, {results['ablations'][0]['scenario']}",
            ("planner", "QoE", "difference, 95 %", "the part"),
            [
                [row["ablation"], f"{row['qoe']:.1f}", signed(row["difference"], row["ci95"]), row["holds"]]
                for row in results["ablations"]
            ],
        )
    device = results["pruning"][0]["scenario"].split("/")[1]
    pruned = [row for row in results["pruning"] if row["scenario"].split("/")[1] == device]
    print_table(
        f"Requests that the pruning rules remove, mean of a decision, {device}",
        ("", *(row["scenario"].split("/")[0] for row in pruned)),
        [[key.replace("_", " "), *(f"{row[key]:.1f}" for row in pruned)] for key in pruned[0] if key != "scenario"],
    )


def _claim_cells(claim: Mapping[str, Any]) -> list[str]:
    sign = "+" if claim["claim"] == "QoE" else "-"
    word = {"QoE": "QoE", "fewer stalls, waste no more": "stalls", "less waste, stalls no more": "waste"}
    short = f"{word[claim['claim']]} {sign}{claim['claimed']:.0%}"
    if claim["planner"] is None:
        return [short, "", "none"]
    interval = "" if claim["ci95"] is None else " ({:.0%} to {:.0%})".format(*claim["ci95"])
    return [short, f"{claim['gain']:.0%}{interval}", claim["planner"].replace("_weight=", " x")]
