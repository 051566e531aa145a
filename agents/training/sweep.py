"""Several training runs of one command: seeds, or files of hyperparameters; one after the other, or as tasks of Ray.

What one run is, is in `agents.training.run`. A task may be lost with its node: its checkpoints are kept where the
command runs, so that the task goes on from them elsewhere.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.learned.checkpoints import read_card
from agents.training.run import compare, train
from ppgym.benchmark.summary import Row
from ppgym.benchmark.workers import check_engine, connect_ray
from ppgym.files import read_json, write_bytes, write_text

Files = dict[str, bytes]  # of a run's folder, by relative path

GATHER_S = 10.0  # between two looks at what the tasks have saved


class Trial(NamedTuple):
    """One run among others."""

    name: str  # of its folder
    seed: int
    hyperparams: Path | None


def plan_trials(seed: int, seeds: int, hyperparams: Sequence[Path]) -> list[Trial]:
    """Every seed with every file of hyperparameters.

    Args:
        seed: The first.
        seeds: How many.
        hyperparams: YAML files; the agent's own where there is none.

    Returns:
        The trials.

    Raises:
        ValueError: Fewer than one seed, or files of the same name.
    """
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, got {seeds}")
    stems = [path.stem for path in hyperparams]
    if len(set(stems)) < len(stems):
        raise ValueError(f"hyperparams: expected files of different names, got {stems}")
    files: list[Path | None] = [path.resolve() for path in hyperparams] or [None]
    return [
        Trial(f"{path.stem}-seed-{one}" if path and len(files) > 1 else f"seed-{one}", one, path)
        for path in files
        for one in range(seed, seed + seeds)
    ]


def run_trial(trial: Trial, folder: Path, arguments: Mapping[str, Any], **watched: Any) -> list[Row]:
    """Train, or go on with, one trial.

    Args:
        trial: Which.
        folder: Of its run; what is there is gone on with.
        arguments: Of `agents.training.run.train`, the same for all.
        **watched: More of them.

    Returns:
        Rows of its comparison.
    """
    if not (folder / "latest.json").exists():
        return train(seed=trial.seed, hyperparams=trial.hyperparams, output=folder, **arguments, **watched)
    card = read_card(folder / "latest.safetensors")
    if card["timesteps"] >= card["config"]["timesteps"]:
        return compare(folder, card["config"])
    return train(resume=folder, device=arguments["device"], **watched)


def train_trials(
    trials: Sequence[Trial], output: Path, arguments: Mapping[str, Any], engine: str
) -> dict[str, list[Row]]:
    """Train all trials, gather their folders and curves, and print how they came out.

    Args:
        trials: At least one.
        output: Gets a folder for each trial, and curves.json. Trials that are there already go on.
        arguments: Of `agents.training.run.train`, the same for all.
        engine: "local": one after the other; "ray": as tasks on the cluster that RAY_ADDRESS names, a local one by
            default.

    Returns:
        Rows of the comparisons, by the trials' names.

    Raises:
        ValueError: An unknown engine, or whatever `train` refuses.
    """
    check_engine(engine, None)
    if engine == "ray":
        rows = _train_on_ray(trials, output, arguments)
    else:
        rows = {trial.name: run_trial(trial, output / trial.name, arguments) for trial in trials}
    curves = {trial.name: read_json(output / trial.name / "latest.json")["scores"] for trial in trials}
    write_text(output / "curves.json", f"{json.dumps(curves, indent=2)}\n")
    _print_summary(rows, curves)
    return rows


def _train_on_ray(trials: Sequence[Trial], output: Path, arguments: Mapping[str, Any]) -> dict[str, list[Row]]:
    ray = connect_ray()
    # On the node of the command, not on one that may be lost
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    vault = ray.remote(num_cpus=0, scheduling_strategy=here)(Vault).remote()
    for trial in trials:
        ray.get(vault.put.remote(trial.name, read_files(output / trial.name)))
    task = ray.remote(num_cpus=1, max_retries=-1)(_run_task)
    names = {task.remote(trial, dict(arguments), vault): trial.name for trial in trials}
    rows: dict[str, list[Row]] = {}
    left = list(names)
    try:
        while left:
            ready, left = ray.wait(left, timeout=GATHER_S)
            _gather(ray, vault, output)
            rows |= {names[one]: ray.get(one) for one in ready}
    finally:
        _gather(ray, vault, output)
    return {trial.name: rows[trial.name] for trial in trials}


class Vault:
    """Keeps the files of runs, in the memory of the node where the command runs."""

    def __init__(self) -> None:
        """Make an empty one."""
        self._runs: dict[str, Files] = {}
        self._news: set[str] = set()

    def put(self, name: str, files: Files) -> None:
        """Keep a run's files, in place of those of before."""
        self._runs[name] = files
        self._news.add(name)

    def get(self, name: str) -> Files:
        """A run's files; none of one that has saved nothing."""
        return self._runs.get(name, {})

    def news(self) -> dict[str, Files]:
        """The files of the runs that have saved some since the last call."""
        fresh, self._news = self._news, set()
        return {name: self._runs[name] for name in fresh}


def _run_task(trial: Trial, arguments: Mapping[str, Any], vault: Any) -> list[Row]:
    ray = connect_ray()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / trial.name
        write_files(folder, ray.get(vault.get.remote(trial.name)))

        def keep(name: str) -> None:
            ray.get(vault.put.remote(trial.name, read_files(folder)))

        rows = run_trial(trial, folder, arguments, saved=keep)
        keep("comparison")
        return rows


def _gather(ray: Any, vault: Any, output: Path) -> None:
    for name, files in ray.get(vault.news.remote()).items():
        write_files(output / name, files)


def read_files(folder: Path) -> Files:
    """The files of a folder, and of those in it; none where there is no such folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_files(folder: Path, files: Files) -> None:
    """Undo `read_files`: cards last, so that whoever finds a card finds its weights."""
    for name in sorted(files, key=lambda name: name.endswith(".json")):
        write_bytes(folder / name, files[name])


def _print_summary(rows: Mapping[str, Sequence[Row]], curves: Mapping[str, Sequence[Any]]) -> None:
    table = Table("run", "QoE/min, validation, best", "QoE/min, test", box=SIMPLE_HEAD)
    qoe: dict[str, float] = {}
    for name, some in rows.items():
        qoe[name] = float(np.mean([row.qoe_mean for row in some if row.agent == some[0].agent]))
        best = max(score["qoe"] for score in curves[name])
        table.add_row(name, f"{best:.1f}", f"{qoe[name]:.1f}")
    console = Console()
    console.print(table)
    if len(qoe) > 1:
        values = np.array(list(qoe.values()))
        console.print(f"{len(qoe)} runs: mean {values.mean():.1f}, standard deviation {values.std(ddof=1):.1f}")
