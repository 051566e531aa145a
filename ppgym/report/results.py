"""What a run's folder says, in the shape that the page shows: rows, episodes, and the mean over scenarios.

Files are read by `ppgym.benchmark`; nothing is drawn here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppgym.benchmark import F8, Record, read_records, resampled_means
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS
from ppgym.data import read_json
from ppgym.env import PromptPreamEnv
from ppgym.scenario import QoEWeights, Scenario

Row = dict[str, Any]  # of results.json, or made here in its image
REQUIRED = ("scenario", "agent", "episodes", "qoe_mean", "qoe_ci95", "stall_ratio", "waste_ratio")

ALL = "All scenarios"  # what the mean over scenarios goes by
PLANNER = "mcts"  # whose advantage chooses the episodes of the player
AVERAGED = (
    "stall_ratio",
    "waste_ratio",
    "wasted_mbit_per_min",
    "quality_mean",
    "decision_ms_p50",
    "decision_ms_p99",
    "bound_mean",
    "share",
    "iqm",
    "improvement_probability",
    "difference",
    "prompt_share",
)


@dataclass(frozen=True)
class Results:
    """A run.

    Attributes:
        rows: Of each scenario, in the run's order.
        records: By scenario, then agent, then seed.
    """

    rows: dict[str, list[Row]]
    records: dict[str, dict[str, dict[int, Record]]]


def read_run(folder: Path) -> Results:
    """Read a run's folder.

    Args:
        folder: Holds results.json and records.jsonl or records.jsonl.gz.

    Returns:
        The run; every row has `terms`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A row lacks what the page needs or has no records, or a line is no record.
    """
    path = folder / "results.json"
    found = read_json(path).get("rows")
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: expected a list 'rows' of one or more rows, got {found!r}")
    records: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in read_records(folder):
        records[record["scenario"]][record["agent"]][record["seed"]] = record
    rows: dict[str, list[Row]] = defaultdict(list)
    for number, row in enumerate(found, 1):
        for key in REQUIRED:
            if not isinstance(row, dict) or key not in row:
                raise ValueError(f"{path}, row {number}: expected a key {key!r}")
        played = records.get(row["scenario"], {}).get(row["agent"])
        if not played:
            raise ValueError(f"{path}, row {number}: no records of {row['agent']!r} on {row['scenario']!r} beside it")
        rows[row["scenario"]].append({"ranked": True, "terms": mean_terms(played.values())} | row)
    return Results(dict(rows), {scenario: dict(by_agent) for scenario, by_agent in records.items()})


def qoe_by_seed(records: dict[int, Record]) -> dict[int, float]:
    """Return per minute of drawn watch time of each episode, in the order of the seeds."""
    return {seed: _per_minute(records[seed], records[seed]["totals"]["return"]) for seed in sorted(records)}


def mean_terms(records: Iterable[Record]) -> dict[str, float]:
    """What QoE is made of.

    Args:
        records: Episodes of one agent on one scenario, at least one.

    Returns:
        Weighted, signed terms per minute of drawn watch time, means over the episodes: their sum is the mean QoE.
    """
    each = [[_per_minute(record, term) for term in _terms(record)] for record in records]
    return dict(zip(REWARD_TERMS, np.mean(each, axis=0).tolist(), strict=True))


def _per_minute(record: Record, value: float) -> float:
    watch_s: float = record["totals"]["drawn_watch_s"]
    return value / (watch_s / 60.0)


def _terms(record: Record) -> list[float]:
    """Terms of an episode's return: from its totals, or played again where a price is on busy units."""
    scenario = Scenario.parse(record["scenario"], **record.get("overrides", {}))
    weights: QoEWeights = scenario.qoe
    if any(weights.compute):
        env = PromptPreamEnv(scenario, record["split"])
        env.reset(seed=record["seed"])
        infos = [env.step(action)[4] for action in record["actions"]]
        return [sum(info[f"reward_{name}"] for info in infos) for name in REWARD_TERMS]
    totals = record["totals"]
    wasted_mbit, downloaded_mbit = (MBIT_PER_BYTE * totals[f"{key}_bytes"] for key in ("wasted", "downloaded"))
    quality, switch = weights.quality * totals["quality"], -weights.switch * totals["switch"]
    waste = -(weights.waste * wasted_mbit + weights.download * downloaded_mbit)
    return [quality, totals["return"] - quality - switch - waste, switch, waste, 0.0]


def average_rows(results: Results) -> list[Row]:
    """Rows of the agents that have played everywhere: means over scenarios, each weighing the same.

    Args:
        results: The run.

    Returns:
        Rows of the scenario `ALL`; their interval is of episodes resampled within each scenario, the same picks for all
        agents.
    """
    by_agent: dict[str, list[Row]] = defaultdict(list)
    for rows in results.rows.values():
        for row in rows:
            by_agent[row["agent"]].append(row)
    return [_average(results, rows) for rows in by_agent.values() if len(rows) == len(results.rows)]


def _average(results: Results, rows: Sequence[Row]) -> Row:
    agent = rows[0]["agent"]
    qoe = [np.array([*qoe_by_seed(results.records[row["scenario"]][agent]).values()]) for row in rows]
    row: Row = {
        "scenario": ALL,
        "agent": agent,
        "episodes": sum(row["episodes"] for row in rows),
        "ranked": rows[0]["ranked"],
        "qoe_mean": float(np.mean([row["qoe_mean"] for row in rows])),
        "qoe_ci95": _interval(qoe),
        "terms": {name: float(np.mean([row["terms"][name] for row in rows])) for name in REWARD_TERMS},
    }
    for key in AVERAGED:
        values = [row.get(key) for row in rows]
        if None not in values:
            row[key] = float(np.mean(np.array(values, float)))
    if all(row.get("utilisation") for row in rows):
        units = rows[0]["utilisation"]
        row["utilisation"] = {
            unit: float(np.mean([row["utilisation"].get(unit, 0.0) for row in rows])) for unit in units
        }
    if "baseline" in rows[0]:
        row["baseline"] = rows[0]["baseline"]
    return row


def _interval(by_scenario: Sequence[F8]) -> list[float]:
    means = np.mean([resampled_means(values) for values in by_scenario], axis=0)
    return [float(edge) for edge in np.percentile(means, (2.5, 97.5))]


def leader(rows: Iterable[Row], *besides: str) -> str | None:
    """The ranked agent of the highest mean QoE, some left out; None where none is left."""
    ranked = [row for row in rows if row["ranked"] and row["agent"] not in besides]
    return max(ranked, key=lambda row: row["qoe_mean"])["agent"] if ranked else None
