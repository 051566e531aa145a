"""The workers that run jobs: this process, processes of this machine, or tasks of a Ray cluster.

Results do not depend on which of them runs a job.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from ppgym.files import suggest
from ppgym.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
JOBS_A_TASK = 4  # of Ray: a task costs about a millisecond
MAX_DEATHS = 3  # of workers at one job: it may be what kills them
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
            same checkout at the same path. A job that is lost with its process or its node runs again in another one.
        workers: Processes (1 by default, which works in this one), or Ray tasks at once (as many as the cluster has
            CPUs by default).
        doing: What the progress says.
        done: Called with the place of each job and its result when it comes in, in any order.

    Returns:
        The results, in the order of the jobs.

    Raises:
        ValueError: See `check_workers`.
        ChildProcessError: One job has lost `MAX_DEATHS` processes.
    """
    check_workers(engine, workers)
    results: dict[int, Result] = {}
    with Progress(doing, len(jobs)) as progress:
        incoming = _on_ray(function, jobs, workers) if engine == "ray" else _on_this_machine(function, jobs, workers)
        with contextlib.closing(incoming):  # the workers end with the run, whatever ends it
            for place, result in incoming:
                results[place] = result
                if done is not None:
                    done(place, result)
                progress.advance()
    return [results[place] for place in range(len(jobs))]


def _numbered(function: Callable[[Job], Result], numbered: tuple[int, Job]) -> tuple[int, Result]:
    place, job = numbered
    return place, function(job)


class _Worker:
    """A process that runs one job at a time; a new one takes its place where it has died."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        # Not forked: threads of a deep-learning library would not survive it
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_worker)
        self.process: Any = None

    def start(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a job."""
        before = set(multiprocessing.active_children())
        try:
            future = self.pool.submit(call, *arguments)
        except BrokenProcessPool:
            print(f"{self.bury()} between two jobs; a new one takes its place", file=sys.stderr)
            return self.start(call, *arguments)
        if self.process is None:
            (self.process,) = set(multiprocessing.active_children()) - before
        return future

    def bury(self) -> str:
        """What to say of a process that has died; the next job gets a new one."""
        self.pool.shutdown()
        code, dead = self.process.exitcode, f"worker process {self.process.pid}"
        self._renew()
        return f"{dead} was killed by signal {-code}" if code and code < 0 else f"{dead} ended with status {code}"

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.process is not None:
            self.process.kill()
        self.pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the run's own process, and do not outlive it: a killed one cannot end its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _on_this_machine(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Generator[tuple[int, Result], None, None]:
    workers = min(workers or 1, len(jobs))
    if workers <= 1:
        yield from enumerate(map(function, jobs))
        return
    left = list(range(len(jobs)))[::-1]
    deaths: Counter[int] = Counter()
    crew = [_Worker() for _ in range(workers)]
    idle = list(crew)
    running: dict[Future[Result], tuple[_Worker, int]] = {}
    try:
        while left or running:
            while left and idle:
                worker, place = idle.pop(), left.pop()
                running[worker.start(function, jobs[place])] = worker, place
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, place = running.pop(future)
                idle.append(worker)
                try:
                    yield place, future.result()
                except BrokenProcessPool:
                    deaths[place] += 1
                    left.append(place)
                    _say_death(worker.bury(), str(jobs[place])[:200], deaths[place])
    finally:
        for worker in crew:
            worker.end()


def _say_death(what: str, job: str, deaths: int) -> None:
    if deaths == MAX_DEATHS:
        raise ChildProcessError(f"{what}, the {MAX_DEATHS}th at this job, which is not tried again: {job}")
    print(f"{what}; a new one does its job again: {job}", file=sys.stderr)


def _several(function: Callable[[Job], Result], numbered: list[tuple[int, Job]]) -> list[tuple[int, Result]]:
    return [_numbered(function, each) for each in numbered]


def _on_ray(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Generator[tuple[int, Result], None, None]:
    ray = connect_ray(workers)
    task = ray.remote(max_retries=MAX_DEATHS - 1)(_several)
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
            try:
                yield from ray.get(each)
            except ray.exceptions.WorkerCrashedError as error:
                raise ChildProcessError(f"{MAX_DEATHS} workers of Ray have died at one job: {error}") from error


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
