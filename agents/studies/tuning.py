"""Tuning: successive halving over random parameters of an agent on the validation split, recorded beside the result.

The test split is never played. One set of parameters is sought for all scenarios together. It replaces the class's
defaults, which are the paper's constants, only where it beats them in sessions that the search has not met.
"""

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import tyro
import yaml

from agents import REGISTRY, agent_class
from agents.rules.parameters import HYPERPARAMS, PROMPT_VARIANT, Between, OneOf, Space, tuned_params
from ppgym.benchmark.episodes import versions
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Row
from ppgym.files import write_text
from ppgym.world.qoe_weights import QoEWeights

SPLIT = "validation"
SCENARIOS = tuple(f"{network}/snapdragon-8-elite/typical" for network in ("low", "medium", "high", "mixed"))
"""The standard networks, on one device: rules over pixels hardly depend on it."""
REDUCTION = 3  # about one in so many sets of parameters reaches the next round, which has so many times the sessions
ROUNDS = 3


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


def suggest_value(trial: optuna.Trial, name: str, range_: Between | OneOf) -> Any:
    """A value of a parameter for a trial.

    Args:
        trial: The trial.
        name: Of the parameter.
        range_: Where it lies.

    Returns:
        One of the values, or a number, which is rounded to four significant digits.
    """
    if isinstance(range_, OneOf):
        return trial.suggest_categorical(name, range_.values)
    return float(f"{trial.suggest_float(name, range_.low, range_.high, log=range_.by_ratio):.4g}")


def score(rows: Sequence[Row]) -> float:
    """What tuning maximises: the mean QoE over scenarios."""
    return float(np.mean([row.qoe for row in rows]))


def tune(
    agent: Annotated[str, tyro.conf.Positional],
    scenarios: tuple[str, ...] = SCENARIOS,
    *,
    trials: int = 27,
    sessions: int = 108,
    seed: int = 0,
    workers: int = 1,
    folder: tyro.conf.Suppress[Path] = HYPERPARAMS,
) -> Path:
    """Search an agent's parameters on the validation split and keep the best in FOLDER/AGENT.yml.

    Rounds have a ninth, a third and all of `sessions`. Every round has sessions of its own, the same for all sets. A
    set of parameters reaches the next round while it is among the best third of those that have played this one. The
    best of the last round and the class's defaults then play new sessions, and the better of the two is written. The
    first set is the defaults; for a prompt-aware variant, the second set is what was found for the rule over pixels.

    Args:
        agent: Name of an agent whose class declares `SEARCH_SPACE`.
        scenarios: Names network/device/viewer; one set of parameters serves them all.
        trials: Sets of parameters to try.
        sessions: Of each scenario, in the last round and in the comparison with the defaults.
        seed: Of the draws, and the number of the first session.
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
    counts = [max(sessions // REDUCTION ** (ROUNDS - 1 - round_), 1) for round_ in range(ROUNDS)]
    firsts = seed + np.cumsum([0, *counts])  # seeds of the rounds and of the comparison

    benchmark = functools.partial(run_benchmark, REGISTRY, [agent], scenarios, split=SPLIT, workers=workers)

    def play(params: dict[str, Any], first: int, count: int) -> list[Row]:
        return benchmark(sessions=count, seed=int(first), params={agent: params}).rows

    def objective(trial: optuna.Trial) -> float:
        params = {name: suggest_value(trial, name, range_) for name, range_ in space.items()}
        trial.set_user_attr("params", params)
        for round_, count in enumerate(counts):
            reached = score(play(params, firsts[round_], count))
            trial.report(reached, REDUCTION**round_)
            if round_ < ROUNDS - 1 and trial.should_prune():
                raise optuna.TrialPruned
        return reached

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
    )
    study.enqueue_trial(defaults)
    if agent.endswith(PROMPT_VARIANT):
        study.enqueue_trial(defaults | tuned_params(agent.removesuffix(PROMPT_VARIANT), QoEWeights(), folder))
    study.optimize(objective, n_trials=trials)
    best: dict[str, Any] = study.best_trial.user_attrs["params"]
    found, of_defaults = play(best, firsts[-1], sessions), play(defaults, firsts[-1], sessions)
    better = score(found) > score(of_defaults)

    named = [] if tuple(scenarios) == SCENARIOS else ["--scenarios", *scenarios]
    command = ["python evaluate.py tune", agent, *named, f"--trials {trials} --sessions {sessions} --seed {seed}"]
    content = {
        "agent": agent,
        "params": best if better else defaults,
        "score": round(max(score(found), score(of_defaults)), 3),
        "score_of_defaults": round(score(of_defaults), 3),
        "qoe": {row.scenario: round(row.qoe, 3) for row in (found if better else of_defaults)},
    }
    if not better and best != defaults:
        content["rejected"] = {"params": best, "score": round(score(found), 3)}
    content |= {
        "split": SPLIT,
        "sessions_of_score": f"{firsts[-1]} to {firsts[-1] + sessions - 1}",
        "trials": trials,
        "sessions": sessions,
        "seed": seed,
        "command": " ".join(command),
        "versions": versions(),
    }
    path = folder / f"{agent}.yml"
    header = "# Found on the validation split; score: QoE, mean over the scenarios, on sessions new to the search.\n"
    write_text(path, header + yaml.safe_dump(content, sort_keys=False, width=120))
    print(path)
    return path
