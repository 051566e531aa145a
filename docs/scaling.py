"""How a run scales: measured on one and two workers, simulated from there up to a thousand.

    python docs/scaling.py            measures: needs two free cores, Ray, and a quarter of an hour
    python docs/scaling.py --simulate simulates alone, from what was measured last

What is measured stands in docs/results/scaling.json: wall seconds of the same jobs on one and two workers, locally and
on a Ray cluster of one and two nodes; what a task costs the process that hands tasks out; what starting a worker costs.
"""

import functools
import heapq
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from agents import REGISTRY
from ppgym.benchmark.episodes import plan_jobs, play_episode
from ppgym.benchmark.records import Journal, Record, read_records
from ppgym.benchmark.workers import JOBS_A_TASK, run_jobs
from ppgym.files import read_json, write_json
from ppgym.world.scenario import DEFAULT_SCENARIO

MEASURED = Path(__file__).parent / "results" / "scaling.json"
PLAYED = Path(__file__).parent / "results" / "default"  # whose sessions' seconds are drawn
EPISODES = 48  # about half a minute on one worker
EMPTY_TASKS = 1000
SESSIONS = 81_920  # of the suite `standard` with 20 agents
WORKERS = (1, 2, 8, 32, 128, 512, 1000)


def seconds(engine: str, workers: int | None) -> float:
    """Wall time of some sessions of the planner, once the workers have loaded the kernel."""
    play = functools.partial(play_episode, REGISTRY)
    jobs = plan_jobs(
        REGISTRY, ["mcts"], [DEFAULT_SCENARIO], sessions=EPISODES, seed=0, split="train", overrides={}, params={}
    )
    run_jobs(play, jobs[:8], engine=engine, workers=workers)
    started_s = time.perf_counter()
    run_jobs(play, jobs, engine=engine, workers=workers)
    return time.perf_counter() - started_s


def on_cluster(nodes: int, measure: Any) -> Any:
    """What a function returns on a Ray cluster of nodes with one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        return measure()
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_ADDRESS"]


def answer(record: Record, place: int) -> Record:
    """A session that takes no time."""
    return record


def measure_task_s(record: Record) -> float:
    """Seconds of the process that hands tasks out, for each task: it sends it, takes its results and keeps them."""
    jobs = list(range(EMPTY_TASKS * JOBS_A_TASK))
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder), "empty") as journal:
        work = functools.partial(answer, record)
        run_jobs(work, jobs[:8], engine="ray", done=journal.keep)
        started_s = time.perf_counter()
        run_jobs(work, jobs, engine="ray", done=journal.keep)
        return (time.perf_counter() - started_s) / EMPTY_TASKS


def measure_start_s() -> float:
    """Seconds that a worker takes for its imports and for loading the kernel, with a warm cache."""
    jobs = plan_jobs(
        REGISTRY, ["on_demand"], [DEFAULT_SCENARIO], sessions=2, seed=0, split="train", overrides={}, params={}
    )
    started_s = time.perf_counter()
    run_jobs(functools.partial(play_episode, REGISTRY), jobs, workers=2)
    return time.perf_counter() - started_s


def measure() -> dict[str, Any]:
    """What docs/results/scaling.json holds."""
    record = next(iter(read_records(PLAYED)))
    return {
        "local_s": [seconds("local", 1), seconds("local", 2)],
        "ray_s": [on_cluster(1, lambda: seconds("ray", None)), on_cluster(2, lambda: seconds("ray", None))],
        "task_s": on_cluster(1, lambda: measure_task_s(record)),
        "start_s": measure_start_s(),
    }


def simulate(durations_s: np.ndarray, workers: int, task_s: float, start_s: float) -> float:
    """Wall seconds of a run: tasks of `JOBS_A_TASK` sessions go in order to the worker that is free first.

    One process hands them out and takes their results, one at a time.

    Args:
        durations_s: [n] of the sessions, in order.
        workers: How many.
        task_s: Of the process that hands out, for each task.
        start_s: Of a worker, before its first task.

    Returns:
        When the last result has been taken.
    """
    tasks = np.add.reduceat(durations_s, np.arange(0, len(durations_s), JOBS_A_TASK))
    free_s = [start_s] * workers
    handed_s = 0.0
    for duration_s in tasks.tolist():
        handed_s += task_s
        heapq.heappush(free_s, max(heapq.heappop(free_s), handed_s) + duration_s)
    return max(free_s)


def simulated() -> list[tuple[int, float, float]]:
    """Workers, sessions a second and efficiency of the suite `standard`, by what was measured."""
    found = read_json(MEASURED)
    played_s = np.array([record["wall_time_s"] for record in read_records(PLAYED)])
    durations_s = np.random.default_rng(0).choice(played_s, SESSIONS)
    rows = []
    for workers in WORKERS:
        wall_s = simulate(durations_s, workers, found["task_s"], found["start_s"])
        rows.append((workers, SESSIONS / wall_s, float(durations_s.sum()) / workers / wall_s))
    return rows


def main() -> None:
    """Measure, simulate and print."""
    if "--simulate" not in sys.argv[1:]:
        write_json(MEASURED, measure())
    found = read_json(MEASURED)
    for engine in ("local", "ray"):
        one_s, two_s = found[f"{engine}_s"]
        print(f"{engine}: one worker {one_s:.1f} s, two {two_s:.1f} s, efficiency {one_s / two_s / 2:.2f}")
    print(f"a task costs {1e3 * found['task_s']:.1f} ms, the start of a worker {found['start_s']:.1f} s")
    for workers, rate, efficiency in simulated():
        print(f"{workers:5} workers: {rate:7.1f} sessions/s, efficiency {efficiency:.2f}")


if __name__ == "__main__":
    main()
