"""Predictions and replays of a live session, against simulated sessions that are told as if they had been live."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ppgym.benchmark.episodes import session_seed
from ppgym.core.content import content_s
from ppgym.core.events import (
    EVENT_ARRIVAL,
    EVENT_CANCEL,
    EVENT_JOB_ABORT,
    EVENT_JOB_END,
    EVENT_JOB_START,
    EVENT_REQUEST,
)
from ppgym.core.state import UNIT_NAMES
from ppgym.env import PromptPreamEnv
from ppgym.live import replaying
from ppgym.live.feed import check_feed, feed_scenario, feed_world
from ppgym.live.recording import Watch, choose_sessions
from ppgym.live.replaying import measured_link, one_step_ahead, replay_requests, with_params
from ppgym.world.scenario import World
from tests.live.test_books import simulate


def world_of(feed: Path, **fields: Any) -> World:
    return feed_world(check_feed(feed), feed_scenario(feed, **fields), "test")


def told(world: World, number: int, late_s: float = 0.0, actions: int = 12) -> tuple[dict[str, Any], Any]:
    """The record that a live session would have left whose transfers ended later than the law, and its last state."""
    env = PromptPreamEnv(with_params(world, rtt_s=world.params.rtt_s + late_s), render_mode="ansi")
    rows = simulate(env, session_seed(world.scenario.name, number), actions)
    params, catalog, playlist = world.params, world.catalog, env._episodes.playlist[0]
    transfers: dict[Any, dict[str, Any]] = {}
    jobs: dict[Any, dict[str, Any]] = {}
    order: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    for time_s, kind, video, chunk, option, value in rows.tolist():
        key = video, chunk
        if kind == EVENT_REQUEST:
            transfers[key] = {"video": video, "chunk": chunk, "option": option, "request_s": time_s}
            transfers[key] |= {"end_s": None, "received_bytes": 0, "outcome": "cancelled"}
            order.append(transfers[key])
        elif kind in (EVENT_ARRIVAL, EVENT_CANCEL):
            outcome = "arrived" if kind == EVENT_ARRIVAL else "cancelled"
            transfers[key] |= {"end_s": time_s, "received_bytes": value, "outcome": outcome}
        elif kind == EVENT_JOB_START:
            unit = UNIT_NAMES[params.option_unit[option]]
            jobs[key] = {"video": video, "chunk": chunk, "option": option, "unit": unit, "start_s": time_s, "busy": 1}
        elif kind == EVENT_JOB_END:
            seconds = content_s(params, catalog, playlist[video], chunk) * params.option_decode_s[option]
            done.append(jobs[key] | {"end_s": time_s, "outcome": "decoded", "expected_s": seconds})
        elif kind == EVENT_JOB_ABORT:
            done.append(jobs[key] | {"end_s": None, "outcome": "aborted"})
    diary = {"transfers": order, "jobs": done, "boundaries": [(1.0, 1.25)], "faults": []}
    return {"number": number, "diary": diary}, env._states[0]


@settings(max_examples=10)
@given(number=some.integers(0, 1000), parallel=some.integers(1, 3), cancel=some.booleans())
def test_the_simulator_predicts_itself(feed: Path, number: int, parallel: int, cancel: bool) -> None:
    world = world_of(feed, bandwidth_scale=0.05, parallel_downloads=parallel, cancel_on_swipe=cancel, jitter_sigma=0.0)
    record, state = told(world, number)
    errors = one_step_ahead(world, record)
    assert np.abs(errors.transfer_s).max(initial=0.0) < 1e-6
    assert np.abs(errors.decode_s).max(initial=0.0) < 1e-9
    assert errors.boundary_s.tolist() == [0.25]
    replayed = replay_requests(world, record, decode_as_measured=True)
    assert replayed["left_out"] == 0
    for name in ("rebuffer_s", "played_s", "quality"):
        assert replayed[name] == pytest.approx(state[name], abs=1e-6), name
    for name in ("downloaded_bytes", "wasted_bytes"):
        assert replayed[name] == pytest.approx(state[name], abs=1e-3), name


def test_a_job_that_was_aborted_does_not_end_in_the_replay(feed: Path) -> None:
    world = world_of(feed, jitter_sigma=1.5)
    world = with_params(world, option_decode_s=world.params.option_decode_s * 40)  # 0.8 s for a second
    aborted = 0
    for number in range(12):
        record, state = told(world, number)
        aborted += sum(job["outcome"] == "aborted" for job in record["diary"]["jobs"])
        replayed = replay_requests(world, record, decode_as_measured=True)
        for name in ("rebuffer_s", "played_s", "quality"):
            assert replayed[name] == pytest.approx(state[name], abs=1e-6), (number, name)
        assert replayed["left_out"] == 0
    assert aborted > 0


def test_a_request_that_comes_a_little_early_waits_for_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = PromptPreamEnv("high/pixels-only/skimmer", jitter_sigma=0.0).world
    told_sessions = [told(world, number, actions=200) for number in range(12)]
    for record, _ in told_sessions:
        for one in record["diary"]["transfers"]:
            one["request_s"] = max(one["request_s"] - 0.2, 0.0)  # the simulator is that much later
    for record, state in told_sessions:
        replayed = replay_requests(world, record, decode_as_measured=True)
        assert replayed["left_out"] == 0
        assert replayed["rebuffer_s"] <= state["rebuffer_s"] + 0.1
    monkeypatch.setattr(replaying, "EARLY_S", 0.0)
    assert sum(replay_requests(world, record, True)["left_out"] for record, _ in told_sessions) > 0


def test_what_decoding_takes_comes_from_the_record(feed: Path) -> None:
    world = world_of(feed, bandwidth_scale=0.05, jitter_sigma=0.0, patience="none")
    record, state = told(world, 3)
    for job in record["diary"]["jobs"]:
        if job["outcome"] == "decoded":
            job["end_s"] += 0.5
    errors = one_step_ahead(world, record)
    assert errors.decode_s == pytest.approx(0.5)
    assert errors.ratio == pytest.approx((errors.expected_s + 0.5) / errors.expected_s)
    assumed, measured = (replay_requests(world, record, decode) for decode in (False, True))
    assert assumed["rebuffer_s"] == pytest.approx(state["rebuffer_s"], abs=1e-6)
    assert measured["rebuffer_s"] > assumed["rebuffer_s"] + 0.3


def test_a_later_link_is_measured(feed: Path) -> None:
    world = world_of(feed, bandwidth_scale=0.05)
    records = [told(world, number, late_s=0.007)[0] for number in range(3)]
    measured = measured_link(world, records)
    assert measured.params.rtt_s == pytest.approx(world.params.rtt_s + 0.007, abs=1e-6)
    assert measured_link(world, []).params.rtt_s == world.params.rtt_s
    assert measured.features is world.features  # a client sees no difference


def test_sessions_are_chosen_by_what_is_drawn(feed: Path) -> None:
    world = world_of(feed)
    chosen = choose_sessions(world, 5, 4, Watch(2.0, 4.0))
    assert len(chosen) == 4
    assert chosen == sorted(chosen)
    for number in chosen:
        env = PromptPreamEnv(world)
        env.reset(seed=session_seed(world.scenario.name, number))
        assert 2.0 <= env.drawn_watch_s() <= 4.0
    with pytest.raises(ValueError, match=r"--watch-s 900 901: expected 1 such sessions, got 0"):
        choose_sessions(world, 0, 1, Watch(900.0, 901.0))
