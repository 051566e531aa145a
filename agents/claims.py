"""The paper's three claims, put to the test: the planner against the frontier of the policies that fetch pixels alone.

PromptPream (arXiv 2602.09484) states stalls and waste down by over 31 % and QoE up by 45 % against traditional
strategies, without saying which. Here every pixel policy is tuned (`agents/hyperparams`), then swept over how eagerly
it preloads; the planner turns one knob, the weight of waste. All play the same episodes.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents import agent_params, make_agent
from agents.mcts import MCTSAgent
from ppgym.benchmark import Job, play_episode
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.data import write_text
from ppgym.engines import run_jobs
from ppgym.env import PromptPreamEnv
from ppgym.intervals import F8, bootstrap_interval, resampled_means
from ppgym.planning.pruning import RULES
from ppgym.records import Record, qoe_of, write_records

PLANNER = "mcts"
LESS = 0.31  # stalls and waste, as claimed
MORE = 0.45  # QoE, as claimed

SCENARIOS = tuple(f"{network}/snapdragon-8-elite/typical" for network in ("low", "medium", "mixed"))

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

WASTE_WEIGHTS = (1.0, 0.5, 2.0, 4.0, 8.0)
"""The planner's one knob; the first is its default."""

ABLATIONS: dict[str, Mapping[str, Any]] = {
    "no prompts": {"prompts": False},
    "no compute model": {"compute_model": False},
    "in order": {"in_order": True},
    "one unit": {"one_unit": True},
    "no pruning": {"pruning": False},
    "no belief": {"belief": False},
    **{
        f"no rule {rule.name}": {"pruning": [other.name for other in RULES if other is not rule]}
        for rule in RULES
        if not rule.safe
    },
}
"""The planner without one of its parts, and without each pruning rule that is not safe."""

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
        claim: What is claimed.
        claimed: The least relative gain.
        baseline: The frontier's QoE-best point.
        planner: The planner's point that is compared; None where none meets the condition.
        gain: Relative gain of the planner.
        ci95: Its 95 % paired bootstrap interval.
        holds: "holds" where the gain reaches what is claimed, "does not hold" otherwise.
    """

    scenario: str
    claim: str
    claimed: float
    baseline: str
    planner: str | None
    gain: float
    ci95: tuple[float, float]
    holds: str


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
        if point is not None:
            gain, interval = relative_gain(measure(point), measure(best))
        claims.append(
            Claim(
                scenario=scenario,
                claim=claim,
                claimed=claimed,
                baseline=name_of(best),
                planner=None if point is None else name_of(point),
                gain=gain,
                ci95=interval,
                holds="holds" if gain >= claimed else "does not hold",
            )
        )
    return claims


def ablate(scenario: str, default: Point, ablated: Mapping[str, Point]) -> list[dict[str, Any]]:
    """What each part of the planner is worth.

    Args:
        scenario: Name.
        default: The planner.
        ablated: The planner without a part, by what it lacks.

    Returns:
        For each ablation its QoE and the difference to the planner, with the 95 % paired bootstrap interval.
    """
    rows = []
    for name, point in ablated.items():
        difference = point.qoe - default.qoe
        rows.append(
            {
                "scenario": scenario,
                "ablation": name,
                "qoe_mean": float(point.qoe.mean()),
                "difference": float(difference.mean()),
                "ci95": bootstrap_interval(difference),
            }
        )
    return rows


def count_removed(scenario: str, seed: int) -> dict[str, float]:
    """How many requests each pruning rule removes, over the decisions of some episodes of the planner.

    Args:
        scenario: Name.
        seed: First seed.

    Returns:
        Means over decisions: "legal", then each rule by name, then "left".
    """
    env = PromptPreamEnv(scenario, "test")
    counts = []
    for episode_seed in range(seed, seed + PRUNED_EPISODES):
        agent, ended = MCTSAgent(env, seed=episode_seed), False
        env.reset(seed=episode_seed)
        while not ended:
            view = env.planning_view()
            action = agent.decide(view, view.action_mask)
            assert agent.last_plan is not None
            removed = agent.last_plan.removed
            legal = int(view.action_mask[1:].sum())
            counts.append({"legal": legal, **removed, "left": legal - sum(removed.values())})
            _, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
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
        output: Folder for records.jsonl.gz and claims.json, written anew after every scenario; None writes nothing.
    """
    claims: list[Claim] = []
    parts: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    pruned: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    points_to_play = [(agent, params) for agent, sweep in SWEEPS.items() for params in sweep]
    points_to_play += [(PLANNER, {"waste_weight": weight} if weight != 1.0 else {}) for weight in WASTE_WEIGHTS]
    for scenario in scenarios:
        ablated = ABLATIONS if ablations and scenario == scenarios[0] else {}
        settings = [*points_to_play, *((PLANNER, params) for params in ablated.values())]
        jobs = [
            Job(scenario, {}, "test", agent, params, seed + i) for agent, params in settings for i in range(episodes)
        ]
        played = run_jobs(functools.partial(play_episode, make_agent, agent_params), jobs, workers=workers)
        all_points = [
            point_of(agent, params, played[k * episodes :][:episodes]) for k, (agent, params) in enumerate(settings)
        ]
        pixels = [point for point in all_points if point.agent != PLANNER]
        planner = [point for point in all_points if point.agent == PLANNER]
        claims += judge(scenario, pixels, planner[: len(WASTE_WEIGHTS)])
        parts += ablate(scenario, planner[0], dict(zip(ablated, planner[len(WASTE_WEIGHTS) :], strict=True)))
        pruned.append({"scenario": scenario, **count_removed(scenario, seed)})
        points += [
            {
                "scenario": scenario,
                "agent": point.agent,
                "params": dict(point.params),
                "qoe_mean": float(point.qoe.mean()),
                "stall_s_per_min": float(point.stall_s.sum() / point.minutes.sum()),
                "wasted_mbit_per_min": float(point.wasted_mbit.sum() / point.minutes.sum()),
            }
            for point in all_points
        ]
        records += played
        if output is not None:
            write_records(output, records, packed=True)
            text = json.dumps(
                {
                    "episodes": episodes,
                    "seed": seed,
                    "claims": [asdict(claim) for claim in claims],
                    "ablations": parts,
                    "pruning": pruned,
                    "points": points,
                },
                indent=1,
            )
            write_text(output / "claims.json", text + "\n")
    print_claims(claims, parts, pruned)


def print_claims(
    claims: Iterable[Claim], parts: Sequence[Mapping[str, Any]], pruned: Sequence[Mapping[str, Any]]
) -> None:
    """Print the claims, what each part of the planner is worth, and what the pruning rules remove.

    Args:
        claims: The claims.
        parts: Rows of `ablate`.
        pruned: Rows of `count_removed`.
    """
    console = Console()
    table = Table(box=SIMPLE_HEAD, title="The paper's claims, on held-out episodes")
    for column in ("scenario", "claim", "claimed", "gain", "95 %", "baseline", ""):
        table.add_column(column, justify="right" if column in ("claimed", "gain") else "left")
    for claim in claims:
        low, high = claim.ci95
        table.add_row(
            claim.scenario.split("/")[0],
            claim.claim,
            f"{claim.claimed:.0%}",
            f"{claim.gain:.0%}",
            f"{low:.0%} to {high:.0%}",
            claim.baseline,
            claim.holds,
        )
    console.print(table)
    if parts:
        table = Table(box=SIMPLE_HEAD, title="The planner without one of its parts, difference in QoE")
        for column in ("scenario", "without", "QoE", "difference", "95 %"):
            table.add_column(column, justify="right" if column in ("QoE", "difference") else "left")
        for row in parts:
            low, high = row["ci95"]
            table.add_row(
                row["scenario"].split("/")[0],
                row["ablation"],
                f"{row['qoe_mean']:.1f}",
                f"{row['difference']:+.1f}",
                f"{low:+.1f} to {high:+.1f}",
            )
        console.print(table)
    table = Table(box=SIMPLE_HEAD, title="Requests that the pruning rules remove, mean of a decision")
    table.add_column("")
    for row in pruned:
        table.add_column(row["scenario"].split("/")[0], justify="right")
    for key in (key for key in pruned[0] if key != "scenario"):
        table.add_row(key.replace("_", " "), *(f"{row[key]:.1f}" for row in pruned))
    console.print(table)
