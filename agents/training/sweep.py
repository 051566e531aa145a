"""A sweep: several training runs of one command, over seeds and files of hyperparameters, here or as tasks of Ray.

One run is in `agents.training.run`. A task may be lost with its node. Its checkpoints are kept where the command runs,
so that the task goes on from them elsewhere.
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

from agents.learned.cards import WAITING, next_path, settle, training_path
from agents.training.config import LATEST, holds_run, reopen_run
from agents.training.run import compare_with_rivals, train
from ppgym.benchmark.summary import Row
from ppgym.benchmark.workers import check_workers, connect_ray
from ppgym.files import read_json, write_bytes, write_text
from ppgym.progress import Progress

Files = dict[str, bytes]  # of a run's folder, by relative path

WEIGHTS = ("best.safetensors", LATEST)
GATHER_S = 10.0  # between two copies of what the tasks have saved


class SweepRun(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder
    seed: int
    hyperparams: Path | None


def plan_sweep(seed: int, seeds: int, hyperparams: Sequence[Path]) -> list[SweepRun]:
    """Every seed with every file of hyperparameters.

    Args:
        seed: The first.
        seeds: How many.
        hyperparams: YAML files; the agent's own where there is none.

    Returns:
        The runs.

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
        SweepRun(f"{path.stem}-seed-{one}" if path and len(files) > 1 else f"seed-{one}", one, path)
        for path in files
        for one in range(seed, seed + seeds)
    ]


def begin_or_resume(planned: SweepRun, folder: Path, arguments: Mapping[str, Any], **watched: Any) -> list[Row]:
    """Train one run of a sweep, from where its folder has come to.

    Args:
        planned: The run.
        folder: Its folder.
        arguments: Of `agents.training.run.train`, the same for all runs.
        **watched: More of them.

    Returns:
        Rows of its comparison.
    """
    if not holds_run(folder):
        return train(seed=planned.seed, hyperparams=planned.hyperparams, output=folder, **arguments, **watched)
    run = reopen_run(folder, arguments["agent"])
    if run.done:
        return compare_with_rivals(run)
    return train(resume=folder, torch_device=arguments["torch_device"], **watched)


def train_sweep(
    sweep: Sequence[SweepRun], output: Path, arguments: Mapping[str, Any], engine: str
) -> dict[str, list[Row]]:
    """Train all runs of a sweep, gather their folders and curves, and print their results.

    Args:
        sweep: At least one run.
        output: Gets a folder for each run, and curves.json. Runs that are there already go on.
        arguments: Of `agents.training.run.train`, the same for all runs.
        engine: "local": one after the other; "ray": as tasks on the cluster that RAY_ADDRESS names, a local one by
            default.

    Returns:
        Rows of the comparisons, by the runs' names.

    Raises:
        ValueError: An unknown engine, or whatever `train` refuses.
    """
    check_workers(engine, None)
    if engine == "ray":
        rows = _train_on_ray(sweep, output, arguments)
    else:
        rows = {one.name: begin_or_resume(one, output / one.name, arguments) for one in sweep}
    curves = {one.name: read_json(output / one.name / "latest.json")["scores"] for one in sweep}
    write_text(output / "curves.json", f"{json.dumps(curves, indent=2)}\n")
    _print_summary(rows, curves)
    return rows


def _train_on_ray(sweep: Sequence[SweepRun], output: Path, arguments: Mapping[str, Any]) -> dict[str, list[Row]]:
    ray = connect_ray()
    # On the command's own node, which is not lost
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    vault = ray.remote(num_cpus=0, scheduling_strategy=here)(Vault).remote()
    for one in sweep:
        ray.get(vault.put.remote(one.name, read_files(output / one.name)))
    task = ray.remote(num_cpus=1, max_retries=-1)(_run_task)
    names = {task.remote(one, dict(arguments), vault): one.name for one in sweep}
    rows: dict[str, list[Row]] = {}
    left = list(names)
    try:
        with Progress("Runs", len(sweep)) as progress:
            while left:
                ready, left = ray.wait(left, timeout=GATHER_S)
                _gather(ray, vault, output)
                rows |= {names[one]: ray.get(one) for one in ready}
                progress.advance(len(ready))
    finally:
        _gather(ray, vault, output)
    return {one.name: rows[one.name] for one in sweep}


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


def _run_task(planned: SweepRun, arguments: Mapping[str, Any], vault: Any) -> list[Row]:
    ray = connect_ray()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / planned.name
        write_files(folder, ray.get(vault.get.remote(planned.name)))

        def keep(name: str) -> None:
            ray.get(vault.put.remote(planned.name, read_files(folder)))

        rows = begin_or_resume(planned, folder, arguments, saved=keep, workers=1)  # a task has one CPU
        keep("comparison")
        return rows


def _gather(ray: Any, vault: Any, output: Path) -> None:
    for name, files in ray.get(vault.news.remote()).items():
        write_files(output / name, files)


def read_files(folder: Path) -> Files:
    """The files of a folder, and of those in it, but for half-written ones; none where there is no such folder."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            settle(folder / name)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = [path for path in paths if path.suffix != WAITING and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in whole}


def write_files(folder: Path, files: Files) -> None:
    """Undo `read_files`: what belongs to weights waits for them, as `agents.learned.cards` says."""
    weights = {folder / name for name in files if name in WEIGHTS}
    waiting = {place for path in weights for place in (path.with_suffix(".json"), training_path(path))}
    for name, content in sorted(files.items(), key=lambda file: file[0] in WEIGHTS):
        place = folder / name
        write_bytes(next_path(place) if place in waiting else place, content)
    for path in weights:
        settle(path)


def _print_summary(rows: Mapping[str, Sequence[Row]], curves: Mapping[str, Sequence[Any]]) -> None:
    table = Table("run", "QoE/min, validation, best", "QoE/min, test", box=SIMPLE_HEAD)
    qoe: dict[str, float] = {}
    for name, some in rows.items():
        qoe[name] = float(np.mean([row.qoe for row in some if row.agent == some[0].agent]))
        best = max(score["qoe"] for score in curves[name])
        table.add_row(name, f"{best:.1f}", f"{qoe[name]:.1f}")
    console = Console()
    console.print(table)
    if len(qoe) > 1:
        values = np.array(list(qoe.values()))
        console.print(f"{len(qoe)} runs: mean {values.mean():.1f}, standard deviation {values.std(ddof=1):.1f}")
