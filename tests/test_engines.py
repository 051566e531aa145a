"""Engines: the same results in the same order whatever runs them, and each reported as it comes in."""

import functools
import importlib.util
import operator
import os

import pytest

from ppgym.engines import run_jobs

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
