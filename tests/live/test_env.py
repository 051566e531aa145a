"""`PromptPreamLive-v0`: the world of the simulator, the books of a session, and what is left when it is closed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import ppgym
from ppgym.core.state import NO_ENTRY
from ppgym.env import PromptPreamEnv
from ppgym.live.env import PromptPreamLiveEnv, longest_outage_s
from ppgym.live.host import Host
from tests.live.sessions import children, first_legal, play


@pytest.fixture(scope="module")
def env(feed: Path) -> Iterator[PromptPreamLiveEnv]:
    before = children()
    made = gymnasium.make("PromptPreamLive-v0", feed=str(feed), render_mode="ansi", disable_env_checker=True)
    found = made.unwrapped
    assert isinstance(found, PromptPreamLiveEnv)
    yield found
    found.close()
    assert children() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "ppgym-live"]


def test_looks_like_the_simulator(env: PromptPreamLiveEnv) -> None:
    simulated = PromptPreamEnv(env.world)
    assert env.observation_space == simulated.observation_space
    assert env.action_space == simulated.action_space
    assert env.options == simulated.options
    observation, info = env.reset(seed=5)
    expected, other = simulated.reset(seed=5)
    assert info.keys() == other.keys()
    assert observation.shape == expected.shape
    assert (info["action_mask"] == other["action_mask"]).all()
    for name in env._episodes._fields:  # the viewer, and the trace that the server shapes
        assert (getattr(env._episodes, name) == getattr(simulated._episodes, name)).all()
    view = env.client.planning_view()
    assert view.time_s == info["time_s"]
    assert np.isnan(view.state.playback_end_s)
    assert ppgym.client_of(env).layout == simulated.client.layout


def test_a_session_comes_to_its_end_and_its_books_balance(env: PromptPreamLiveEnv) -> None:
    total = 0.0
    _, info = env.reset(seed=1)
    since_s, ended = info["time_s"], False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(first_legal(env))
        assert env.observation_space.contains(observation)
        assert info["time_s"] == pytest.approx(since_s + info["elapsed_s"])
        since_s, ended = info["time_s"], terminated or truncated
        total += reward
        terms = sum(value for name, value in info.items() if name.startswith("reward_"))
        assert reward == pytest.approx(terms)
    assert terminated
    assert info["played_s"] + info["rebuffer_s"] == pytest.approx(info["time_s"])
    assert info["played_s"] > 0
    assert env.session is not None
    diary = env.session.diary
    received = sum(one["received_bytes"] for one in diary.transfers)
    assert info["downloaded_bytes"] == pytest.approx(received, abs=1.0)
    assert 0 <= info["wasted_bytes"] <= info["downloaded_bytes"]
    assert not diary.faults
    assert {one["outcome"] for one in diary.transfers} <= {"arrived", "cancelled"}
    for one in diary.transfers:  # never sooner than the law, which the server cannot know better
        if one["outcome"] == "arrived":
            assert one["end_s"] - one["request_s"] >= env.world.params.rtt_s - diary.zero_error_s
    assert all(seen_s >= due_s for due_s, seen_s in diary.boundaries)
    assert all(seen_s <= acted_s and overhead_s >= 0 for seen_s, acted_s, overhead_s in diary.decisions)
    text = env.render()
    assert isinstance(text, str)
    assert "screen" in text
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_thinking_takes_time(env: PromptPreamLiveEnv) -> None:
    env.reset(seed=2)
    _, _, _, _, before = env.step(first_legal(env))
    time.sleep(0.3)
    _, _, _, _, after = env.step(first_legal(env))
    assert after["time_s"] - before["time_s"] >= 0.3
    assert after["elapsed_s"] >= 0.3


def test_an_illegal_action_waits(env: PromptPreamLiveEnv) -> None:
    env.reset(seed=2)
    _, _, _, _, info = env.step(env.action_space.n + 5)
    assert info["invalid_action"]
    assert env.session is not None
    assert not env.session.diary.transfers
    assert info["elapsed_s"] >= env.world.params.wait_s - env.session.diary.zero_error_s - 0.05


def test_an_action_means_what_the_client_saw(env: PromptPreamLiveEnv) -> None:
    env.reset(seed=3)
    session = env.session
    assert session is not None
    state = env._states[0]
    expected = session.books.resolve(state, 1)
    assert expected[0] != NO_ENTRY
    env.step(1)
    first = session.diary.transfers[0]
    assert (first["video"], first["chunk"], first["option"]) == expected


def test_a_reset_in_mid_session_ends_it(env: PromptPreamLiveEnv) -> None:
    env.reset(seed=1)
    env.step(first_legal(env))
    before = env.session
    env.reset(seed=1)
    assert before is not None
    assert before is not env.session
    assert before._transfers == {} or all(task.done() for task in before._transfers.values())
    assert play(env, 4)["time_s"] > 0


def test_a_wire_cannot_be_copied(env: PromptPreamLiveEnv) -> None:
    with pytest.raises(gymnasium.error.Error, match="cannot be copied"):
        env.get_state()


def test_needs_a_server_of_this_feed(feed: Path, tmp_path: Path) -> None:
    before = children()
    with pytest.raises(OSError, match="no answer"):
        PromptPreamLiveEnv(str(feed), url="http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        PromptPreamLiveEnv(str(tmp_path))
    assert children() == before


def test_plays_from_a_server_that_runs(feed: Path) -> None:
    with Host(feed) as host:
        env = PromptPreamLiveEnv(str(feed), url=host.url, n_videos=1)
        try:
            assert play(env, 0)["played_s"] > 0
        finally:
            env.close()
        with pytest.raises(gymnasium.error.Error, match="closed"):
            env.reset()


def test_outages() -> None:
    assert longest_outage_s(np.array([0.0, 1.0, 3.0, 4.0]), np.array([0.0, 5.0, 5.0, 9.0])) == 4.0
    assert longest_outage_s(np.array([0.0, 1.0]), np.array([0.0, 5.0])) == 0.0
