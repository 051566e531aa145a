"""Tuning: successive halving over random parameters of an agent on the validation split, recorded beside the result.

The test split is never touched. One set of parameters is sought for all scenarios together, and it takes the place of
the class's defaults, which are the paper's constants, only where it beats them on episodes new to the search.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agents import agent_class, make_agent
from agents.rules.parameters import HYPERPARAMS, PROMPT_VARIANT, Space, tuned_params
from ppgym.benchmark.episodes import versions
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Row
from ppgym.files import write_text
from ppgym.world.scenario import QoEWeights

SPLIT = "validation"
SCENARIOS = tuple(f"{network}/snapdragon-8-elite/typical" for network in ("low", "medium", "high", "mixed"))
"""The standard networks, on one device: rules over pixels hardly depend on it."""
KEEP = 3  # of so many sets of parameters one goes on to the next round, which has so many times the episodes


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
    trials: int = 27,
    episodes: int = 108,
    seed: int = 0,
    workers: int = 1,
    folder: Path = HYPERPARAMS,
) -> Path:
    """Search an agent's parameters and write the best to FOLDER/AGENT.yml.

    Three rounds of a ninth, a third and all of `episodes` leave the best third of the sets each; every round meets
    episodes of its own, the same for all sets. What is left then meets the class's defaults on as many new ones, and
    the better of the two is written. The defaults take part from the start, as does, for a prompt-aware variant, what
    was found for the rule over pixels.

    Args:
        agent: Name, as the registry knows it; its class declares `SEARCH_SPACE`.
        scenarios: Names network/device/viewer; one set of parameters serves them all.
        trials: Sets of parameters to try.
        episodes: Of each scenario, in the last round and in the comparison with the defaults.
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
    sets = [defaults]
    if agent.endswith(PROMPT_VARIANT):
        sets.append(defaults | tuned_params(agent.removesuffix(PROMPT_VARIANT), QoEWeights(), folder))
    sets += [{key: draw.draw(rng) for key, draw in space.items()} for _ in range(trials - len(sets))]

    def play(params: dict[str, Any], count: int) -> list[Row]:
        return run_benchmark(
            make_agent,
            [agent],
            scenarios,
            episodes=count,
            seed=first,
            split=SPLIT,
            workers=workers,
            params={agent: params},
        ).rows

    first, left = seed, sets
    for count in (max(episodes // KEEP**2, 1), max(episodes // KEEP, 1), episodes):
        ranked = sorted(left, key=lambda params: -score(play(params, count)))
        left = ranked[: max(len(left) // KEEP, 1)]
        first += count
    found, of_defaults = play(left[0], episodes), play(defaults, episodes)
    better = score(found) > score(of_defaults)

    named = [] if tuple(scenarios) == SCENARIOS else ["--scenarios", *scenarios]
    command = ["python evaluate.py tune", agent, *named, f"--trials {trials} --episodes {episodes} --seed {seed}"]
    content = {
        "agent": agent,
        "params": left[0] if better else defaults,
        "score": round(max(score(found), score(of_defaults)), 3),
        "score_of_defaults": round(score(of_defaults), 3),
        "qoe_mean": {row.scenario: round(row.qoe_mean, 3) for row in (found if better else of_defaults)},
    }
    if not better and left[0] != defaults:
        content["rejected"] = {"params": left[0], "score": round(score(found), 3)}
    content |= {
        "split": SPLIT,
        "seeds_of_score": f"{first} to {first + episodes - 1}",
        "trials": trials,
        "episodes": episodes,
        "seed": seed,
        "command": " ".join(command),
        "versions": versions(),
    }
    path = folder / f"{agent}.yml"
    header = "# Found on the validation split; score: mean QoE over the scenarios, on episodes new to the search.\n"
    write_text(path, header + yaml.safe_dump(content, sort_keys=False, width=120))
    return path
