"""Workers: the same results in the same order whatever runs them, and each reported as it comes in."""

import functools
import importlib.util
import operator
import os
import sys
import time
from pathlib import Path

import pytest

from agents import REGISTRY
from ppgym.benchmark.records import Record, read_records
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.workers import run_jobs
from ppgym.world.scenario import DEFAULT_SCENARIO

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray")


def fail_at(place: int, job: int) -> int:
    if job == place:
        raise ValueError(f"job {job} fails")
    return job


@pytest.mark.parametrize(("engine", "workers"), [("local", 1), ("local", 3), pytest.param("ray", 2, marks=needs_ray)])
def test_results_are_in_order_and_each_is_reported_once(engine: str, workers: int) -> None:
    reported: dict[int, int] = {}
    jobs = list(range(23))
    results = run_jobs(
        functools.partial(operator.mul, 3), jobs, engine=engine, workers=workers, done=reported.__setitem__
    )
    assert results == [3 * job for job in jobs]
    assert reported == dict(enumerate(results))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_job_is_the_callers(workers: int) -> None:
    with pytest.raises(ValueError, match="job 2 fails"):
        run_jobs(functools.partial(fail_at, 2), [1, 2, 3], workers=workers)


def test_no_jobs_no_results() -> None:
    assert run_jobs(os.fspath, []) == []


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'local'"):
        run_jobs(os.fspath, [], engine="locale")
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        run_jobs(os.fspath, [], workers=0)


def test_without_ray_the_error_names_the_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError) as found:
        run_jobs(os.fspath, [], engine="ray")
    assert found.value.name == "ray"  # of which a command line makes the name of the extra


def play(agents: list[str], output: Path, engine: str, workers: int) -> list[Record]:
    run_benchmark(REGISTRY, agents, [DEFAULT_SCENARIO], sessions=2, output=output, engine=engine, workers=workers)
    return [record | {"wall_time_s": 0.0, "decision_us": {}} for record in read_records(output)]


@needs_ray
def test_a_run_is_the_same_on_ray_to_the_bit(tmp_path: Path) -> None:
    agents = ["random", "agents.rules.greedy:Greedy"]
    assert play(agents, tmp_path / "ray", "ray", 2) == play(agents, tmp_path / "local", "local", 1)


@needs_ray
def test_the_loss_of_a_node_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the nodes find `where_after`
    nodes: list[str] = []

    def lose(place: int, node: str) -> None:
        nodes.append(node)
        if len(set(nodes)) == 2 and lost in cluster.worker_nodes:  # both are at work
            cluster.remove_node(lost, allow_graceful=False)

    try:
        results = run_jobs(where_after, [0.2] * 60, engine="ray", done=lose)
        assert len(results) == len(nodes) == 60
        assert not cluster.worker_nodes, "the second node never worked"
    finally:
        ray.shutdown()
        cluster.shutdown()


def where_after(seconds: float) -> str:
    """Which node a job ran on."""
    import ray

    time.sleep(seconds)
    return str(ray.get_runtime_context().get_node_id())
