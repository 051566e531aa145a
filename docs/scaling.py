"""How a run scales: the same jobs on one and two local workers and on a Ray cluster of one and of two nodes.

Prints wall seconds and efficiency: how much of the second worker's time is used. Needs two free cores and Ray.
"""

import functools
import os
import time

from ray.cluster_utils import Cluster
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents import REGISTRY
from ppgym.benchmark.episodes import plan_jobs, play_episode
from ppgym.benchmark.workers import run_jobs
from ppgym.world.scenario import DEFAULT_SCENARIO

EPISODES = 48  # about half a minute on one worker
PLAY = functools.partial(play_episode, REGISTRY)


def seconds(engine: str, workers: int | None) -> float:
    """Wall time of all jobs, once the workers have compiled the kernel."""
    jobs = plan_jobs(
        REGISTRY, ["mcts"], [DEFAULT_SCENARIO], sessions=EPISODES, seed=0, split="train", overrides={}, params={}
    )
    run_jobs(PLAY, jobs[:8], engine=engine, workers=workers)
    started_s = time.perf_counter()
    run_jobs(PLAY, jobs, engine=engine, workers=workers)
    return time.perf_counter() - started_s


def on_cluster(nodes: int) -> float:
    """Wall time on a Ray cluster of nodes with one CPU each."""
    import ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        return seconds("ray", None)
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_ADDRESS"]


def main() -> None:
    """Measure and print."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("engine", "one, s", "two, s", "efficiency"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for engine, one, two in (
        ("local", seconds("local", 1), seconds("local", 2)),
        ("ray", on_cluster(1), on_cluster(2)),
    ):
        table.add_row(engine, f"{one:.1f}", f"{two:.1f}", f"{one / two / 2:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
