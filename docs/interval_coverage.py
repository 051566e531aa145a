"""How often the 95 % intervals cover the truth: `python docs/interval_coverage.py` plays the pool and prints the table.

The pool is 5,000 sessions of a rule on each of three scenarios, over the traces of all three splits. Its QoE counts as
the truth. Boards of 16, 64 and 256 sessions are drawn from it, with replacement, and each interval either covers the
truth or does not. The pool is committed, so that the table and its test need no play.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents import REGISTRY
from ppgym.benchmark.episodes import Job, play_episode
from ppgym.benchmark.estimates import Interval, mean_estimate, ratio_estimate
from ppgym.benchmark.replay import replay
from ppgym.benchmark.tables import markdown_table
from ppgym.benchmark.workers import run_jobs
from ppgym.core.state import F8
from ppgym.files import read_json_lines, write_json_lines
from ppgym.world.networks import SPLITS

POOL = Path(__file__).parent / "results" / "coverage" / "pool.jsonl"
RULE = "greedy"
SCENARIOS = tuple(f"{network}/snapdragon-8-elite/typical" for network in ("low", "high", "mixed"))
SESSIONS = 5000
COUNTS = (16, 64, 256)
REDRAWS = 4000


class Errors(NamedTuple):
    """How intervals do."""

    coverage: float
    ratio: float  # of the true error to the stated one


def play(job: Job) -> dict[str, float]:
    """The return, the drawn watch minutes and the trace of a session."""
    played = {key: float(column[0]) for key, column in replay([play_episode(REGISTRY, job)]).totals.items()}
    trace = played["trace"] + 1000 * SPLITS.index(job.split)
    return {"return": played["return"], "minutes": played["drawn_watch_s"] / 60.0, "trace": trace}


def play_pool(workers: int = 2) -> None:
    """Play the pool and write it."""
    lines = []
    for scenario in SCENARIOS:
        jobs = [Job(scenario, {}, SPLITS[k % len(SPLITS)], RULE, {}, k) for k in range(SESSIONS)]
        played = run_jobs(play, jobs, workers=workers)
        lines.append({"scenario": scenario, "agent": RULE} | {key: [one[key] for one in played] for key in played[0]})
    write_json_lines(POOL, lines, packed=True)


def read_pool() -> dict[str, dict[str, F8]]:
    """The committed pool.

    Returns:
        By scenario, float64 [SESSIONS] of "return", "minutes" and "trace".
    """
    return {
        line["scenario"]: {key: np.array(line[key]) for key in ("return", "minutes", "trace")}
        for _, line in read_json_lines(POOL)
    }


def bootstrap_of_ratios(returns: F8, minutes: F8) -> Interval:
    """What the benchmark does not use: percentiles of bootstrap means of the sessions' own ratios."""
    ratios = returns / minutes
    picks = np.random.default_rng(0).integers(len(ratios), size=(500, len(ratios)))
    low, high = np.percentile(ratios[picks].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def coverage(pool: Mapping[str, F8], count: int, *, shared_traces: int | None = None, seed: int = 0) -> float:
    """The share of boards whose interval covers the pool's QoE.

    Args:
        pool: "return", "minutes" and "trace" of its sessions.
        count: Sessions of a board.
        shared_traces: Draw so many traces first, and the sessions among theirs; any session where None.
        seed: Of the redraws.

    Returns:
        The share, of `REDRAWS` boards.
    """
    rng = np.random.default_rng(seed)
    returns, minutes, traces = pool["return"], pool["minutes"], pool["trace"]
    truth, covered = returns.sum() / minutes.sum(), 0
    every = np.arange(len(returns))
    for _ in range(REDRAWS):
        among = every
        if shared_traces is not None:
            chosen = rng.choice(np.unique(traces), shared_traces, replace=False)
            among = every[np.isin(traces, chosen)]
        picks = rng.choice(among, count)
        interval = ratio_estimate(returns[picks], minutes[picks]).ci95
        covered += interval is not None and interval[0] <= truth <= interval[1]
    return covered / REDRAWS


def suite_coverage(
    pools: Mapping[str, Mapping[str, F8]], *, shared_traces: int | None, boards: int = REDRAWS
) -> Errors:
    """The same for the mean over a suite like `standard`: four networks with four devices each.

    Args:
        pools: By scenario. The pool has three networks; "low" stands for "medium" too.
        shared_traces: Of a network, which its four scenarios share, drawn anew for each board; any where None.
        boards: How many.

    Returns:
        How often the interval covers the mean of the pools' QoE, and how much larger the true error is than the stated.
    """
    rng = np.random.default_rng(0)
    low, high, mixed = (pools[scenario] for scenario in SCENARIOS)
    networks = (low, low, high, mixed)
    truth = np.mean([pool["return"].sum() / pool["minutes"].sum() for pool in networks])
    values, stated, covered = [], [], 0
    for _ in range(boards):
        estimates = []
        for pool in networks:
            among = np.arange(len(pool["return"]))
            if shared_traces is not None:
                chosen = rng.choice(np.unique(pool["trace"]), shared_traces, replace=False)
                among = among[np.isin(pool["trace"], chosen)]
            for _device in range(4):
                picks = rng.choice(among, 256)
                estimates.append(ratio_estimate(pool["return"][picks], pool["minutes"][picks]))
        mean = mean_estimate(estimates)
        values.append(mean.value)
        stated.append(mean.error)
        covered += mean.ci95 is not None and bool(mean.ci95[0] <= truth <= mean.ci95[1])
    return Errors(covered / boards, float(np.std(values) / np.mean(stated)))


def mean_of_ratios_coverage(pool: Mapping[str, F8], count: int, boards: int = 400, seed: int = 0) -> float:
    """The same for the mean of the sessions' ratios and its percentile bootstrap, in fewer boards."""
    rng = np.random.default_rng(seed)
    returns, minutes = pool["return"], pool["minutes"]
    truth, covered = float((returns / minutes).mean()), 0
    for _ in range(boards):
        picks = rng.integers(len(returns), size=count)
        low, high = bootstrap_of_ratios(returns[picks], minutes[picks])
        covered += low <= truth <= high
    return covered / boards


def coverage_table() -> str:
    """Coverage of 95 % intervals, a row a scenario and a way to draw."""
    lines = [["scenario", "estimate", *(f"{count} sessions" for count in COUNTS)]]
    pools = read_pool()
    for scenario, pool in pools.items():
        lines.append([scenario, "sum / sum", *(f"{coverage(pool, count):.1%}" for count in COUNTS)])
    mixed = pools[SCENARIOS[-1]]
    shared = [f"{coverage(mixed, count, shared_traces=256):.1%}" for count in COUNTS]
    lines.append([SCENARIOS[-1], "sum / sum, boards share 256 traces", *shared])
    ratios = [f"{mean_of_ratios_coverage(pools[SCENARIOS[0]], count):.1%}" for count in COUNTS]
    lines.append([SCENARIOS[0], "mean of ratios, bootstrap", *ratios])
    return markdown_table(lines)


if __name__ == "__main__":
    play_pool()
    print(coverage_table())
    for shared in (None, 256):
        found = suite_coverage(read_pool(), shared_traces=shared)
        error = f"true error {found.ratio:.2f} times the stated"
        print(f"suite, {shared or 'all'} traces of a network: {found.coverage:.1%} cover, {error}")
