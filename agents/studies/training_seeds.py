"""How much the seed of a training run matters: runs of one command, against the agents they were compared with.

    python train.py --seeds 5 --output runs/ppo
    python -m agents.studies.training_seeds runs/ppo --output docs/results/seeds

plays nothing. It reads the test sessions of each run's comparison, and groups the runs by agent, hyperparameters and
scenario. The output folder holds records as well, which `python evaluate.py validate` replays.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from agents.learned.cards import read_card
from agents.studies.tables import DIFFERENCE, print_differences
from ppgym.benchmark.estimates import LEVEL, Interval, ratio_estimate, t_quantile
from ppgym.benchmark.records import NAME, Record, read_records, returns_and_minutes, write_records
from ppgym.commandline import run_command
from ppgym.core.state import F8
from ppgym.files import check_free, write_json

Command = tuple[str, str, str]  # agent, policy, scenario
SHOWN = ("agent", "policy", "against", *DIFFERENCE)  # of a row, on the terminal
STUDENT = "StudentNetwork"  # the policy of runs whose hyperparameters name none


class Trained(NamedTuple):
    """A run that has been compared."""

    command: Command
    recipe: str  # all hyperparameters, as JSON
    seed: int
    curve: list[tuple[int, float]]  # timesteps, QoE of validation in the scenario
    played: dict[tuple[str, str], list[Record]]  # by agent and scenario


def read_run(folder: Path) -> Trained:
    """Read a run.

    Args:
        folder: Of the run; see `agents.training.config`.

    Returns:
        The run.

    Raises:
        FileNotFoundError: It has not been trained to its end and compared.
        ValueError: A file is not what it should be.
    """
    card = read_card(folder / "latest.safetensors")
    config = card["config"]
    played: dict[tuple[str, str], list[Record]] = {}
    for record in read_records(folder / "comparison"):
        played.setdefault((record["agent"], record["scenario"]), []).append(record)
    command = (config["agent"], config["hyperparams"].get("policy", STUDENT), config["scenario"])
    recipe = json.dumps(config["hyperparams"], sort_keys=True)
    curve = [(score["timesteps"], score.get("scenario", score["qoe"])) for score in card["scores"]]
    return Trained(command, recipe, config["seed"], curve, played)


def runs_below(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders of runs among folders, and in folders of many runs."""
    for folder in folders:
        if (folder / "best.json").is_file():
            yield folder
            continue
        inner = sorted(folder.glob("*/"))
        if not inner:
            raise FileNotFoundError(f"{folder}: expected a run, or runs in its folders; `python train.py` makes some")
        yield from inner


def compare_with_rivals(runs: Sequence[Trained]) -> list[dict[str, Any]]:
    """Compare runs of one command with each other agent, over seeds and sessions.

    Args:
        runs: Of the same command, each compared on the same sessions.

    Returns:
        A row for each other agent and scenario.

    Raises:
        ValueError: They were compared on other sessions, or two have the same seed.
    """
    agent, policy, _ = runs[0].command
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{agent}, {policy}: expected a run a seed, got seeds {seeds}")
    rows = []
    for rival, scenario in (key for key in runs[0].played if key[0] != agent):
        cells = [run.played[agent, scenario] for run in runs] + [runs[0].played[rival, scenario]]
        sessions = {tuple(record["seed"] for record in cell) for cell in cells}
        if len(sessions) > 1:
            raise ValueError(f"{agent} on {scenario}: expected runs that were compared on the same sessions")
        rivals, minutes = returns_and_minutes(runs[0].played[rival, scenario])
        returns = np.array([returns_and_minutes(run.played[agent, scenario])[0] for run in runs])  # [seeds, sessions]
        qoe = returns.sum(axis=1) / minutes.sum()
        rows.append(
            {
                "agent": agent,
                "policy": policy,
                "scenario": scenario,
                "seeds": seeds,
                "sessions": len(minutes),
                "qoe_by_seed": qoe.tolist(),
                "against": rival,
                "qoe": float(qoe.mean()),
                "difference": float(qoe.mean() - rivals.sum() / minutes.sum()),
                "ci95": crossed_interval(returns - rivals, minutes),
            }
        )
    return rows


def crossed_interval(gained: F8, minutes: F8) -> Interval | None:
    """95 % interval of a mean gain in QoE over training seeds and sessions.

    The half width over sessions, for the mean of the seeds, and that over seeds are added in quadrature. Chance that is
    of neither alone counts in both, so the interval is rather too wide.

    Args:
        gained: [seeds, n] differences of returns; every seed has the same sessions.
        minutes: [n] their drawn watch minutes.

    Returns:
        Low and high; over sessions alone where there is one seed, None where there are too few sessions.
    """
    over_sessions = ratio_estimate(gained.mean(axis=0), minutes)
    if over_sessions.ci95 is None:
        return None
    half, seeds = over_sessions.ci95[1] - over_sessions.value, len(gained)
    if seeds > 1:
        by_seed = gained.sum(axis=1) / minutes.sum()
        half = float(np.hypot(half, t_quantile(LEVEL, seeds - 1) * by_seed.std(ddof=1) / seeds**0.5))
    return over_sessions.value - half, over_sessions.value + half


def make_seed_table(folders: Annotated[tuple[Path, ...], tyro.conf.Positional], *, output: Path | None = None) -> None:
    """Compare the runs of each command with the other agents, print and write.

    Args:
        folders: Of runs, or of many.
        output: Folder for records.jsonl.gz and seeds.json; None writes nothing.

    Raises:
        ValueError: The output folder holds such a file.
    """
    if output is not None:
        check_free(output, ("seeds.json", NAME, f"{NAME}.gz"))
    by_command: dict[tuple[Command, str], list[Trained]] = {}
    for run in map(read_run, runs_below(folders)):
        by_command.setdefault((run.command, run.recipe), []).append(run)
    rows = [row for runs in by_command.values() for row in compare_with_rivals(runs)]
    every = [run for runs in by_command.values() for run in runs]
    if output is not None:
        curves = [
            dict(zip(("agent", "policy", "scenario"), run.command, strict=True))
            | {"seed": run.seed, "validation": run.curve}
            for run in every
        ]
        write_json(output / "seeds.json", {"rows": rows, "curves": curves})
        rules = {key: cell for run in every for key, cell in run.played.items() if key[0] != run.command[0]}
        own = [cell for run in every for key, cell in run.played.items() if key[0] == run.command[0]]
        write_records(output, [record for cell in (*own, *rules.values()) for record in cell], packed=True)
    shown = [{key: row[key] for key in SHOWN} for row in rows]
    print_differences("QoE over training seeds, and how it differs from others' over the same sessions", shown)
    for row in {(row["agent"], row["policy"], row["scenario"]): row for row in rows}.values():
        cells = [f"seed {seed} {qoe:.1f}" for seed, qoe in zip(row["seeds"], row["qoe_by_seed"], strict=True)]
        print(f"{row['agent']}, {row['policy']}, {row['scenario']}: {', '.join(cells)}")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(make_seed_table), extra="rl")
