"""The paper's three claims, put to the test: the planner against the frontier of the policies that fetch pixels alone.

PromptPream (arXiv 2602.09484) states stalls and waste down by over 31 % and QoE up by 45 % against traditional
strategies, without saying which. Here every pixel policy is tuned (`agents/hyperparams`), then swept over how eagerly
it preloads; the planner turns one knob, the weight of waste, with whose square root the weight of stalls rises: bytes
are then saved on quality. All play the same episodes. Beside the claims stands what the weight of waste does alone.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.studies.cached_episodes import play_once
from ppgym.benchmark.bootstrap import bootstrap_interval, resampled_means
from ppgym.benchmark.episodes import Job
from ppgym.benchmark.records import Record, qoe_of
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8
from ppgym.env import PromptPreamEnv
from ppgym.files import read_json, write_text
from ppgym.planning.pruning import DEFAULT_RULES, RULES, prune
from ppgym.planning.rollout import RECENT, estimate_bps

PLANNER = "mcts"
LESS = 0.31  # stalls and waste, as claimed
MORE = 0.45  # QoE, as claimed

SPLIT = "test"
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
"""How far the planner's knob is turned."""

ONE_KNOB: tuple[Mapping[str, Any], ...] = (
    {},
    *({"waste_weight": weight, "stall_weight": round(math.sqrt(weight), 3)} for weight in WASTE_WEIGHTS),
)
"""The planner's one knob; the first is its default."""

WASTE_ALONE: tuple[Mapping[str, Any], ...] = tuple({"waste_weight": weight} for weight in WASTE_WEIGHTS[1:])
"""The weight of waste alone, outside the claims: what it saves is paid for by stalls."""

FEW_EPISODES = 32  # of points by the weight of waste alone

ABLATIONS: dict[str, Mapping[str, Any]] = {
    "no prompts": {"prompts": False},
    "no compute model": {"compute_model": False},
    "in order": {"in_order": True},
    "one unit": {"one_unit": True},
    "no pruning": {"pruning": False},
    "no belief": {"belief": False},
    "no hindsight": {"bandwidth_calibration": False},
    **{
        f"no rule {rule.name}": {"pruning": [other.name for other in DEFAULT_RULES if other is not rule]}
        for rule in DEFAULT_RULES
        if not rule.safe
    },
    **{
        f"with rule {rule.name}": {"pruning": [other.name for other in (*DEFAULT_RULES, rule)]}
        for rule in RULES
        if rule not in DEFAULT_RULES
    },
}
"""The planner without one of its parts, without each pruning rule that is not safe, and with those it leaves out."""

PRUNED_EPISODES = 8


class Point(NamedTuple):
    """An agent with its parameters, over the episodes of a scenario; all arrays [n]."""

    agent: str
    params: Mapping[str, Any]
    qoe: F8
    stall_s: F8
    wasted_mbit: F8
    minutes: F8  # drawn watch time


@dataclass(frozen=True)
class Claim:
    """One claim on one scenario.

    Attributes:
        scenario: Name.
        episodes: How many.
        claim: What is claimed.
        claimed: The least relative gain.
        baseline: The frontier's QoE-best point.
        planner: The planner's point that is compared; None where none meets the condition.
        gain: Relative gain of the planner.
        ci95: Its 95 % paired bootstrap interval.
        holds: "holds" where the gain reaches what is claimed, "does not hold" otherwise.
        qoe_difference: In QoE, of the planner's point to its default; how much the gain costs.
        qoe_ci95: Its 95 % paired bootstrap interval.
    """

    scenario: str
    episodes: int
    claim: str
    claimed: float
    baseline: str
    planner: str | None
    gain: float
    ci95: tuple[float, float]
    holds: str
    qoe_difference: float
    qoe_ci95: tuple[float, float]


def point_of(agent: str, params: Mapping[str, Any], played: Sequence[Record]) -> Point:
    """Gather an agent's episodes.

    Args:
        agent: Name.
        params: What was set.
        played: Its episodes.

    Returns:
        The point.
    """
    totals = [record["totals"] for record in played]
    return Point(
        agent,
        params,
        qoe_of(played),
        np.array([each["rebuffer_s"] for each in totals]),
        MBIT_PER_BYTE * np.array([each["wasted_bytes"] for each in totals]),
        np.array([each["drawn_watch_s"] for each in totals]) / 60.0,
    )


def name_of(point: Point) -> str:
    """A point in words, such as ``static each=2``."""
    return " ".join([point.agent, *(f"{key}={value:g}" for key, value in point.params.items())])


def relative_gain(new: F8, old: F8) -> tuple[float, tuple[float, float]]:
    """By how much a mean exceeds another, relative to its size, over paired episodes.

    Args:
        new: [n].
        old: [n].

    Returns:
        The gain, and its 95 % percentile bootstrap interval.
    """
    of_old = resampled_means(old)
    low, high = np.percentile((resampled_means(new) - of_old) / np.abs(of_old), (2.5, 97.5))
    return float((new.mean() - old.mean()) / abs(old.mean())), (float(low), float(high))


def _qoe(point: Point) -> F8:
    return point.qoe


def _smoothness(point: Point) -> F8:
    return -point.stall_s


def _thrift(point: Point) -> F8:
    return -point.wasted_mbit


def judge(scenario: str, pixels: Sequence[Point], planner: Sequence[Point]) -> list[Claim]:
    """The three claims on one scenario.

    Stalls and waste are compared as sums over the episodes, which all agents share.

    Args:
        scenario: Name.
        pixels: The pixel policies' points.
        planner: The planner's points, its default first.

    Returns:
        The claims on QoE, stalls and waste.
    """
    best = max(pixels, key=lambda point: point.qoe.mean())
    frugal = [point for point in planner if point.wasted_mbit.sum() <= best.wasted_mbit.sum()]
    smooth = [point for point in planner if point.stall_s.sum() <= best.stall_s.sum()]
    fewest = min(frugal, key=lambda point: point.stall_s.sum(), default=None)
    least = min(smooth, key=lambda point: point.wasted_mbit.sum(), default=None)
    claims = []
    for claim, claimed, point, measure in (
        ("QoE", MORE, planner[0], _qoe),
        ("fewer stalls, waste no more", LESS, fewest, _smoothness),
        ("less waste, stalls no more", LESS, least, _thrift),
    ):
        gain, interval = float("nan"), (float("nan"), float("nan"))
        cost, cost_interval = gain, interval
        if point is not None:
            gain, interval = relative_gain(measure(point), measure(best))
            difference = point.qoe - planner[0].qoe
            cost, cost_interval = float(difference.mean()), bootstrap_interval(difference)
        claims.append(
            Claim(
                scenario=scenario,
                episodes=len(best.qoe),
                claim=claim,
                claimed=claimed,
                baseline=name_of(best),
                planner=None if point is None else name_of(point),
                gain=gain,
                ci95=interval,
                holds="holds" if gain >= claimed else "does not hold",
                qoe_difference=cost,
                qoe_ci95=cost_interval,
            )
        )
    return claims


def judge_alone(scenario: str, pixels: Sequence[Point], planner: Sequence[Point]) -> list[Claim]:
    """What the planner reaches of the claims on stalls and waste by the weight of waste alone, in the first episodes.

    Args:
        scenario: Name.
        pixels: The pixel policies' points.
        planner: The planner's points, its default first; the others have fewer episodes.

    Returns:
        The two claims, against the same baseline as in `judge`.
    """
    episodes = min(len(point.qoe) for point in planner)
    best = max(pixels, key=lambda point: point.qoe.mean())
    return judge(scenario, [first_of(best, episodes)], [first_of(point, episodes) for point in planner])[1:]


def first_of(point: Point, episodes: int) -> Point:
    """A point over its first episodes."""
    return point._replace(
        qoe=point.qoe[:episodes],
        stall_s=point.stall_s[:episodes],
        wasted_mbit=point.wasted_mbit[:episodes],
        minutes=point.minutes[:episodes],
    )


def ablate(scenario: str, default: Point, ablated: Mapping[str, Point]) -> list[dict[str, Any]]:
    """What each part of the planner is worth.

    Args:
        scenario: Name.
        default: The planner.
        ablated: The planner without a part, or with one that it leaves out, by names as in `ABLATIONS`.

    Returns:
        For each ablation its QoE and the difference to the planner, with the 95 % paired bootstrap interval. The part
        earns its place, "holds", where that interval lies below 0 without it, or above 0 with it.
    """
    rows = []
    for name, point in ablated.items():
        difference = point.qoe - default.qoe
        low, high = bootstrap_interval(difference)
        rows.append(
            {
                "scenario": scenario,
                "ablation": name,
                "qoe_mean": float(point.qoe.mean()),
                "difference": float(difference.mean()),
                "ci95": (low, high),
                "holds": "holds" if (low > 0.0 if name.startswith("with ") else high < 0.0) else "does not hold",
            }
        )
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
    env = PromptPreamEnv(scenario, SPLIT)
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
    scenarios: Sequence[str] = SCENARIOS,
    *,
    episodes: int = 64,
    seed: int = 0,
    workers: int = 1,
    ablations: bool = True,
    output: Path | None = None,
) -> None:
    """Play all points on the test split, judge the claims and print them.

    Args:
        scenarios: Names network/device/viewer.
        episodes: Of each scenario.
        seed: First seed.
        workers: Processes.
        ablations: Whether the planner's ablations are played as well, on the first scenario.
        output: Folder for records.jsonl.gz and claims.json, written after every scenario. Episodes that it holds
            already are not played again, and what it says of other scenarios stays. None writes nothing.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for scenario in scenarios:
        found = check_scenario(
            scenario,
            ABLATIONS if ablations and scenario == scenarios[0] else {},
            episodes=episodes,
            seed=seed,
            workers=workers,
            output=output,
        )
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
    order = [claim["scenario"] for claim in merged["claims"]]
    known = [*(name for name in SCENARIOS if name in order), *(name for name in order if name not in SCENARIOS)]
    for rows in merged.values():
        rows.sort(key=lambda row: known.index(row["scenario"]))
    write_text(path, json.dumps(merged, indent=1) + "\n")


def check_scenario(
    scenario: str,
    ablated: Mapping[str, Mapping[str, Any]],
    *,
    episodes: int,
    seed: int,
    workers: int,
    output: Path | None,
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
    few = min(episodes, FEW_EPISODES)
    settings = [
        *((agent, params, episodes) for agent, sweep in SWEEPS.items() for params in sweep),
        *((PLANNER, params, episodes) for params in ONE_KNOB),
        *((PLANNER, params, few) for params in WASTE_ALONE),
        *((PLANNER, params, episodes) for params in ablated.values()),
    ]
    jobs = [Job(scenario, {}, SPLIT, agent, params, seed + i) for agent, params, n in settings for i in range(n)]
    played = iter(play_once(jobs, workers=workers, folder=output))
    cells = [(agent, params, list(itertools.islice(played, n))) for agent, params, n in settings]
    points = [point_of(*cell) for cell in cells]
    pixels = [point for point in points if point.agent != PLANNER]
    planner = points[len(pixels) :]
    turned, alone = planner[: len(ONE_KNOB)], planner[len(ONE_KNOB) :][: len(WASTE_ALONE)]
    parts = planner[len(ONE_KNOB) + len(WASTE_ALONE) :]
    default = cells[len(pixels)][2]
    return {
        "claims": [asdict(claim) for claim in judge(scenario, pixels, turned)],
        "alone": [asdict(claim) for claim in judge_alone(scenario, pixels, [turned[0], *alone])],
        "ablations": ablate(scenario, turned[0], dict(zip(ablated, parts, strict=True))),
        "pruning": [{"scenario": scenario, **count_removed(scenario, default[:PRUNED_EPISODES])}],
        "points": [
            {
                "scenario": scenario,
                "agent": point.agent,
                "params": dict(point.params),
                "episodes": len(point.qoe),
                "qoe_mean": float(point.qoe.mean()),
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
    console.print("Stalls at no more waste than the baseline's, waste at no more stalls.\n", highlight=False)
    for scenario in dict.fromkeys(claim["scenario"] for claim in results["claims"]):
        claims = [claim for claim in results["claims"] if claim["scenario"] == scenario]
        first = claims[0]
        console.print(f"{scenario}, {first['episodes']} episodes, against {first['baseline']}", highlight=False)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("claim", "gain, 95 %", "planner", ""):
            table.add_column(column, no_wrap=True)
        for claim in claims:
            table.add_row(*_claim_cells(claim), claim["holds"])
        table.add_section()
        for claim in results["alone"]:
            if claim["scenario"] == scenario:
                cost = "" if claim["planner"] is None else f"QoE {claim['qoe_difference']:+.1f}"
                table.add_row(*_claim_cells(claim), cost, style="italic")
        console.print(table)
    console.print(
        "In italics, outside the claims: by the weight of waste alone, in the first "
        f"{FEW_EPISODES} episodes at most, and the QoE that it takes from the planner.\n",
        highlight=False,
    )
    if results["ablations"]:
        title = f"What each part of the planner is worth, {results['ablations'][0]['scenario']}"
        table = Table(box=SIMPLE_HEAD, title=title, pad_edge=False)
        for column in ("planner", "QoE", "difference, 95 %", "the part"):
            table.add_column(column, justify="right" if column == "QoE" else "left", no_wrap=True)
        for row in results["ablations"]:
            low, high = row["ci95"]
            difference = f"{row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
            table.add_row(row["ablation"], f"{row['qoe_mean']:.1f}", difference, row["holds"])
        console.print(table)
    device = results["pruning"][0]["scenario"].split("/")[1]
    pruned = [row for row in results["pruning"] if row["scenario"].split("/")[1] == device]
    title = f"Requests that the pruning rules remove, mean of a decision, {device}"
    table = Table(box=SIMPLE_HEAD, title=title)
    table.add_column("")
    for row in pruned:
        table.add_column(row["scenario"].split("/")[0], justify="right")
    for key in (key for key in pruned[0] if key != "scenario"):
        table.add_row(key.replace("_", " "), *(f"{row[key]:.1f}" for row in pruned))
    console.print(table)


def _claim_cells(claim: Mapping[str, Any]) -> list[str]:
    sign = "+" if claim["claim"] == "QoE" else "-"
    word = {"QoE": "QoE", "fewer stalls, waste no more": "stalls", "less waste, stalls no more": "waste"}
    short = f"{word[claim['claim']]} {sign}{claim['claimed']:.0%}"
    if claim["planner"] is None:
        return [short, "", "none"]
    low, high = claim["ci95"]
    return [short, f"{claim['gain']:.0%} ({low:.0%} to {high:.0%})", claim["planner"].replace("_weight=", " x")]
