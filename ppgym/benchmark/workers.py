"""The workers that run jobs: this process, processes of this machine, or tasks of a Ray cluster.

Results do not depend on which of them runs a job.
"""

import functools
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ppgym.files import suggest
from ppgym.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
JOBS_A_TASK = 4  # of Ray: a task costs about a millisecond
TASKS_A_WORKER = 2  # of Ray, in flight: one runs while the next travels


def check_workers(engine: str, workers: int | None) -> None:
    """Refuse workers that there cannot be.

    Args:
        engine: "local" or "ray".
        workers: How many; None for the engine's default.

    Raises:
        ValueError: An unknown engine, with the nearest known one, or fewer than one worker.
        ModuleNotFoundError: Ray is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; {suggest(engine, ENGINES)}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    if engine == "ray":
        import ray  # noqa: F401


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    engine: str = "local",
    workers: int | None = None,
    doing: str = "Playing",
    done: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Call a function on each job, and show the progress.

    Args:
        function: Of a module, or a partial of one, so that workers can import it.
        jobs: The jobs.
        engine: "local", or "ray": the cluster that RAY_ADDRESS names, a local one by default, whose nodes hold the
            same checkout at the same path. A task that is lost with its node runs again elsewhere.
        workers: Processes (1 by default, which works in this one), or Ray tasks at once (as many as the cluster has
            CPUs by default).
        doing: What the progress says.
        done: Called with the place of each job and its result when it comes in, in any order.

    Returns:
        The results, in the order of the jobs.

    Raises:
        ValueError: See `check_workers`.
    """
    check_workers(engine, workers)
    results: dict[int, Result] = {}
    with Progress(doing, len(jobs)) as progress:
        incoming = _on_ray(function, jobs, workers) if engine == "ray" else _on_this_machine(function, jobs, workers)
        for place, result in incoming:
            results[place] = result
            if done is not None:
                done(place, result)
            progress.advance()
    return [results[place] for place in range(len(jobs))]


def _numbered(function: Callable[[Job], Result], numbered: tuple[int, Job]) -> tuple[int, Result]:
    place, job = numbered
    return place, function(job)


def _on_this_machine(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Iterator[tuple[int, Result]]:
    call = functools.partial(_numbered, function)
    workers = min(workers or 1, len(jobs))
    if workers <= 1:
        yield from map(call, enumerate(jobs))
        return
    # Not forked: threads of a deep-learning library would not survive it
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(call, enumerate(jobs))


def _several(function: Callable[[Job], Result], numbered: list[tuple[int, Job]]) -> list[tuple[int, Result]]:
    return [_numbered(function, each) for each in numbered]


def _on_ray(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Iterator[tuple[int, Result]]:
    ray = connect_ray(workers)
    task = ray.remote(max_retries=-1)(_several)
    call = ray.put(function)
    at_once = TASKS_A_WORKER * (workers or int(ray.cluster_resources().get("CPU", 1)))
    numbered = list(enumerate(jobs))
    left = [numbered[first : first + JOBS_A_TASK] for first in range(0, len(jobs), JOBS_A_TASK)][::-1]
    running: list[Any] = []
    while left or running:
        while left and len(running) < at_once:
            running.append(task.remote(call, left.pop()))
        ready, running = ray.wait(running)
        for each in ready:
            yield from ray.get(each)


def connect_ray(workers: int | None = None) -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names, or to a new one on this machine.

    Args:
        workers: CPUs of a new cluster; the machine's where None.

    Returns:
        The module `ray`.
    """
    import ray

    if not ray.is_initialized():
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        new: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
        size = {} if os.environ.get("RAY_ADDRESS") else new
        ray.init(
            log_to_driver=False, logging_level=logging.WARNING, runtime_env={"env_vars": {"PYTHONPATH": path}}, **size
        )
    return ray
