"""The figures of a row, against sums by hand."""

import math
import re
from typing import Any

import numpy as np
import pytest

from agents import REGISTRY
from ppgym.benchmark.episodes import Job, play_episode
from ppgym.benchmark.estimates import ratio_estimate
from ppgym.benchmark.summary import Played, improvement, make_row, replayed
from ppgym.core.qoe import REWARD_TERMS
from ppgym.core.state import UNIT_NAMES

SCENARIO = "low/pixels-only/typical"
SESSIONS = 20


def session(number: int, returned: float, watch_s: float, times_us: dict[str, int]) -> tuple[Any, dict[str, float]]:
    record = {"scenario": SCENARIO, "seed": number, "agent": "a", "split": "test", "decision_us": times_us}
    totals = {f"reward_{name}": 3.0 * place for place, name in enumerate(REWARD_TERMS)}
    totals |= {f"busy_{name}_s": 2.0 * place for place, name in enumerate(UNIT_NAMES)}
    totals |= {
        "return": returned,
        "drawn_watch_s": watch_s,
        "file_traces": 0.0,
        "trace": 0.0,
        "top_quality": 2.0,
        "time_s": 10.0,
        "played_s": 6.0,
        "rebuffer_s": 2.0,
        "quality": 9.0,
        "downloaded_bytes": 4e6,
        "wasted_bytes": 1e6,
        "energy_j": 30.0,
        "requests": 8.0,
        "generative_requests": 2.0,
        "truncated": 1.0,
        "idle_waits": 2.0,
        "invalid_actions": 3.0,
        "videos_starved": 4.0,
    }
    return record, totals


def played(returns: list[float], watches_s: list[float], times_us: dict[str, int] | None = None) -> Played:
    found = [
        session(number, returned, watch_s, times_us or {"1": 1})
        for number, (returned, watch_s) in enumerate(zip(returns, watches_s, strict=True))
    ]
    columns = {key: np.array([totals[key] for _, totals in found]) for key in found[0][1]}
    return Played([record for record, _ in found], columns)


WATCHES_S = [30.0 + 6.0 * (k % 5) for k in range(SESSIONS)]
RETURNS = [10.0 + k * k % 17 for k in range(SESSIONS)]
MINUTES = sum(WATCHES_S) / 60.0


def test_every_figure_of_a_row() -> None:
    row = make_row(played(RETURNS, WATCHES_S))
    n = SESSIONS
    assert (row.scenario, row.agent, row.sessions, row.traces) == (SCENARIO, "a", n, None)
    assert row.qoe == pytest.approx(sum(RETURNS) / MINUTES)
    assert row.qoe_relative == pytest.approx(sum(RETURNS) / MINUTES / 120.0)
    assert row.stall_ratio == pytest.approx(2.0 / 8.0)
    assert row.waste_ratio == pytest.approx(0.25)
    assert row.wasted_mbit_per_min == pytest.approx(8.0 * n / MINUTES)
    assert row.energy_j_per_min == pytest.approx(30.0 * n / MINUTES)
    assert row.quality_mean == pytest.approx(1.5)
    assert row.generative_share == pytest.approx(0.25)
    assert row.terms == pytest.approx({name: 3.0 * i * n / MINUTES for i, name in enumerate(REWARD_TERMS)})
    assert row.utilisation == pytest.approx({name: 0.2 * i for i, name in enumerate(UNIT_NAMES)})
    assert (row.truncated, row.idle_waits, row.invalid_actions, row.videos_starved) == (n, 2 * n, 3 * n, 4 * n)
    assert row.ranked and row.baseline is None and row.bound is None and row.share is None


def test_the_interval_of_a_difference_is_that_of_pairs() -> None:
    """A player who earns the same 3 more in every session differs for sure; unpaired it would not."""
    watches_s = [60.0] * SESSIONS
    row = make_row(played([value + 3.0 for value in RETURNS], watches_s), played(RETURNS, watches_s))
    assert row.difference == pytest.approx(3.0)
    assert row.difference_ci95 == pytest.approx((3.0, 3.0))
    assert row.qoe_ci95 is not None and row.qoe_ci95[1] - row.qoe_ci95[0] > 1.0
    assert row.improvement == 1.0


def test_the_share_of_the_bound_is_between_reference_and_bound() -> None:
    watches_s = [60.0] * SESSIONS
    bounds = {(SCENARIO, number): value + 8.0 for number, value in enumerate(RETURNS)}
    reference = played(RETURNS, watches_s)
    row = make_row(played([value + 2.0 for value in RETURNS], watches_s), None, reference, bounds)
    assert row.bound == pytest.approx((sum(RETURNS) + 8.0 * SESSIONS) / SESSIONS)
    assert row.share == pytest.approx(0.25)
    assert row.share_ci95 == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize(
    ("times_us", "p50", "p99"),
    [
        ({"1000": 98, "2000": 1, "9000": 1}, 1.0, 2.0),  # the 99th of a hundred
        ({"1000": 94, "2000": 4, "9000": 2}, 1.0, 9.0),  # p95 would be 2
        ({"1000": 1, "2000": 1}, 1.0, 2.0),
        ({"500": 7}, 0.5, 0.5),
        ({"9": 1, "10000": 2}, 10.0, 10.0),  # as numbers, not as texts
    ],
)
def test_median_and_99th_percentile_of_decisions(times_us: dict[str, int], p50: float, p99: float) -> None:
    row = make_row(played(RETURNS, WATCHES_S, times_us))
    assert (row.decision_ms_p50, row.decision_ms_p99) == (p50, p99)


def test_a_tie_is_half_an_improvement() -> None:
    assert improvement(np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 2.0, 4.0, 0.0])) == 0.5


def test_traces_that_share_sessions_are_one_cluster() -> None:
    """Sessions of one trace that are alike count once: the interval is that of as many traces."""
    values = np.repeat(np.arange(40.0), 3)
    minutes = np.ones(120)
    clustered = ratio_estimate(values, minutes, np.repeat(np.arange(40), 3)).ci95
    alone = ratio_estimate(values, minutes).ci95
    assert clustered is not None and alone is not None
    ratio = (clustered[1] - clustered[0]) / (alone[1] - alone[0])
    assert ratio == pytest.approx(math.sqrt(3.0), rel=0.05)


def test_a_record_that_does_not_come_back_is_named_by_its_place() -> None:
    record = play_episode(REGISTRY, Job("low/pixels-only/typical", {"n_videos": 2}, "test", "on_demand", {}, 7))
    wrong = record | {"totals": record["totals"] | {"played_s": -1.0}}
    expected = (
        f"1 of 3 records do not come back:\nrecord 2 (on_demand, seed {record['seed']}): played_s -1.0, replayed "
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        replayed([record, wrong, record])
    assert replayed([record, record])["played_s"].tolist() == [record["totals"]["played_s"]] * 2
