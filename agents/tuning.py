"""Tuning: random search over an agent's parameters on the validation split, recorded beside the result.

The test split is never touched. One set of parameters is sought for all scenarios together.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agents import agent_class, make_agent
from agents.parameters import HYPERPARAMS, Space
from ppgym import benchmark
from ppgym.benchmark import Row
from ppgym.data import write_text

SPLIT = "validation"
SCENARIOS = tuple(f"{network}/snapdragon-8-elite/typical" for network in ("low", "medium", "high", "mixed"))
"""The standard networks, on one device: rules over pixels hardly depend on it."""


def default_params(agent: str) -> tuple[Space, dict[str, Any]]:
    """What can be tuned.

    Args:
        agent: Name, as the registry knows it.

    Returns:
        The ranges, and the values that the agent's class has by default.

    Raises:
        ValueError: An unknown agent, or one that declares no ranges.
    """
    found = agent_class(agent)
    space: Space = getattr(found, "SEARCH_SPACE", {})
    if not space:
        raise ValueError(f"agent {agent!r} declares no SEARCH_SPACE: it has nothing to tune")
    arguments = inspect.signature(found).parameters
    return space, {name: arguments[name].default for name in space}


def score(rows: Sequence[Row]) -> float:
    """What tuning maximises: the mean QoE over scenarios."""
    return float(np.mean([row.qoe_mean for row in rows]))


def tune(
    agent: str,
    scenarios: Sequence[str] = SCENARIOS,
    *,
    trials: int = 60,
    episodes: int = 20,
    seed: int = 0,
    workers: int = 1,
    folder: Path = HYPERPARAMS,
) -> Path:
    """Search an agent's parameters and write the best to FOLDER/AGENT.yml.

    The first trial has the class's defaults, so the result is never worse than they are on these episodes. All trials
    meet the same episodes.

    Args:
        agent: Name, as the registry knows it; its class declares `SEARCH_SPACE`.
        scenarios: Names network/device/viewer; one set of parameters serves them all.
        trials: Sets of parameters to try.
        episodes: Of each scenario.
        seed: Of the draws, and the first seed of the episodes.
        workers: Processes.
        folder: Where the result goes; the registry reads it from the default.

    Returns:
        The file written.

    Raises:
        ValueError: An unknown agent or scenario, an agent with nothing to tune, or a number out of range.
    """
    if trials < 1:
        raise ValueError(f"trials: expected at least 1, got {trials}")
    space, defaults = default_params(agent)
    rng = np.random.default_rng(seed)
    candidates = [defaults] + [{key: draw.draw(rng) for key, draw in space.items()} for _ in range(trials - 1)]
    results: list[tuple[Row, ...]] = []
    for params in candidates:
        rows = benchmark.run(
            make_agent,
            [agent],
            scenarios,
            episodes=episodes,
            seed=seed,
            split=SPLIT,
            workers=workers,
            params={agent: params},
        )
        results.append(tuple(rows))
    best = max(range(trials), key=lambda trial: score(results[trial]))
    named = [] if tuple(scenarios) == SCENARIOS else ["--scenarios", *scenarios]
    command = ["python evaluate.py tune", agent, *named, f"--trials {trials} --episodes {episodes} --seed {seed}"]
    content = {
        "agent": agent,
        "params": candidates[best],
        "score": round(score(results[best]), 3),
        "score_of_defaults": round(score(results[0]), 3),
        "qoe_mean": {row.scenario: round(row.qoe_mean, 3) for row in results[best]},
        "split": SPLIT,
        "trials": trials,
        "episodes": episodes,
        "seed": seed,
        "command": " ".join(command),
        "versions": benchmark.versions(),
    }
    path = folder / f"{agent}.yml"
    header = "# Found by random search on the validation split; score is the mean QoE over the scenarios.\n"
    write_text(path, header + yaml.safe_dump(content, sort_keys=False, width=120))
    return path
