"""The books of a live session, fed with the events of simulated ones: they must say the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ppgym.core.events import (
    EVENT_ARRIVAL,
    EVENT_CANCEL,
    EVENT_DTYPE,
    EVENT_JOB_END,
    EVENT_REQUEST,
    new_log,
)
from ppgym.core.state import ABSENT, BEGUN, DECODED, DECODING, QUEUED, STATE_DTYPE
from ppgym.env import PromptPreamEnv
from ppgym.live.books import Books, live_sim
from ppgym.live.feed import check_feed, feed_scenario, feed_world

TOTALS = "played_s", "rebuffer_s", "quality", "switch", "downloaded_bytes", "wasted_bytes", "busy_s", "energy_j"
COUNTS = "video", "playhead", "abandoned", "starved", "transfers", "throughputs", "chunks_begun", "terminated"


def simulate(env: PromptPreamEnv, seed: int, actions: int = 12) -> np.ndarray:
    """The events of a session that is played at random, among the first legal actions."""
    _, info = env.reset(seed=seed)
    rows = [env._log.rows[:1].copy()]  # type: ignore[union-attr]
    env._timeline.extend = lambda added: rows.append(added.copy())  # type: ignore[method-assign, union-attr]
    rng, ended = np.random.default_rng(seed), False
    while not ended:
        legal = np.flatnonzero(info["action_mask"])
        _, _, terminated, truncated, info = env.step(legal[min(rng.integers(0, actions), len(legal) - 1)])
        ended = terminated or truncated
    return np.concatenate(rows)


@settings(max_examples=12)
@given(seed=some.integers(0, 10**6), parallel=some.integers(1, 3), cancel=some.booleans())
def test_real_events_of_a_simulated_session_give_its_totals(feed: Path, seed: int, parallel: int, cancel: bool) -> None:
    scenario = feed_scenario(feed, parallel_downloads=parallel, cancel_on_swipe=cancel, bandwidth_scale=0.05)
    env = PromptPreamEnv(feed_world(check_feed(feed), scenario, "test"), render_mode="ansi")
    rows = simulate(env, seed)
    assert rows.dtype == EVENT_DTYPE
    expected = env._states[0]

    books = Books(live_sim(env._sims), new_log(4096))
    received = {}
    for row in rows:
        if row["kind"] in (EVENT_ARRIVAL, EVENT_CANCEL):
            received.setdefault((row["video"], row["chunk"]), []).append(round(row["value"]))
    for row in rows:
        time_s, video, chunk, option = (row[name].item() for name in ("time_s", "video", "chunk", "option"))
        if row["kind"] == EVENT_REQUEST:
            books.request(time_s, video, chunk, option)
            if (video, chunk) in received:  # all its bytes at once: a total does not know when they came
                books.receive(time_s, video, chunk, received[video, chunk].pop(0))
        elif row["kind"] == EVENT_ARRIVAL:
            books.arrive(time_s, video, chunk)
        elif row["kind"] == EVENT_JOB_END:
            books.decoded(time_s, video, chunk)
    books.pass_time(float(expected.time_s))

    state = books.state
    assert state.time_s == expected.time_s
    for name in TOTALS:
        one_byte = 1.0 * len(rows) if name.endswith("bytes") else 1e-6  # cut transfers end within a byte
        assert state[name] == pytest.approx(expected[name], abs=one_byte), name
    for name in COUNTS:
        assert state[name] == expected[name], name


@pytest.fixture
def books(feed: Path) -> Books:
    """Of a patient viewer who watches the first video to its end; nothing is requested."""
    scenario = feed_scenario(feed, patience="none", parallel_downloads=2)
    env = PromptPreamEnv(feed_world(check_feed(feed), scenario, "test"))
    env.reset(seed=0)
    sim = live_sim(env._sims)
    sim.episode.watch_s[:] = sim.catalog.duration_s[sim.episode.playlist]
    sim.episode.leaves[:] = 0
    return Books(sim, new_log(256))


def size(books: Books, video: int, chunk: int, option: int) -> int:
    sim = books._sim
    r = sim.params.option_representation[option]
    return int(sim.catalog.chunk_bytes[sim.episode.playlist[video], chunk, r])


def test_a_chunk_by_hand(books: Books) -> None:
    books.request(1.0, 0, 0, 0)  # on cpu
    books.receive(1.5, 0, 0, 10)
    assert books.state.downloaded_bytes == 10
    books.receive(1.6, 0, 0, size(books, 0, 0, 0))  # all of it, and more than that: it has not arrived yet
    assert books.open_transfers() == [(0, 0)]
    books.arrive(2.0, 0, 0)
    assert books.state.downloaded_bytes == size(books, 0, 0, 0)
    assert books.state.chunk_status[0, 0] != QUEUED  # the unit was free
    assert books.job(0) == (0, 0)
    books.pass_time(2.4)
    assert not books.state.playing
    books.decoded(2.5, 0, 0)
    assert books.state.chunk_status[0, 0] == BEGUN
    assert books.state.rebuffer_s == pytest.approx(2.5)
    assert books.state.busy_s[0] == pytest.approx(0.5)
    books.pass_time(3.1)
    assert books.state.played_s == pytest.approx(0.6)
    books.pass_time(9.0)  # nothing more is decoded
    assert books.state.played_s == pytest.approx(1.0)
    assert books.state.playhead == 1
    assert books.state.wasted_bytes == 0


def test_a_lost_transfer_is_waste_and_can_be_requested_again(books: Books) -> None:
    reserved = books.state.reserved_bytes
    books.request(1.0, 0, 0, 0)
    books.request(1.0, 1, 0, 0)
    books.receive(1.2, 0, 0, 7)
    books.lose(1.3, 0, 0)
    assert books.open_transfers() == [(1, 0)]
    assert (books.state.downloaded_bytes, books.state.wasted_bytes) == (7, 7)
    assert books.state.chunk_status[0, 0] == ABSENT
    assert books.state.throughputs == 0
    books.lose(1.4, 1, 0)
    assert books.state.reserved_bytes == reserved
    books.request(1.5, 0, 0, 1)
    books.receive(1.6, 0, 0, size(books, 0, 0, 1))
    books.arrive(1.6, 0, 0)
    assert books.job(3) == (0, 0)  # vdec


def test_a_lost_job_is_waste_and_the_next_one_starts(books: Books) -> None:
    for chunk in range(2):
        books.request(1.0, 0, chunk, 0)
        books.receive(1.1, 0, chunk, size(books, 0, chunk, 0))
        books.arrive(1.1, 0, chunk)
    assert books.job(0) == (0, 0)
    books.fail(1.5, 0, 0)
    assert books.job(0) == (0, 1)
    assert books.state.job_start_s[0] == 1.5
    assert books.state.wasted_bytes == size(books, 0, 0, 0)
    assert books.state.chunk_status[0, 0] == ABSENT
    books.decoded(1.7, 0, 1)
    assert books.state.chunk_status[0, 1] == DECODED
    assert not books.state.playing  # the playhead's chunk is still to come


@pytest.mark.parametrize("ends", ["decoded", "fail"])
def test_a_job_that_a_swipe_ended_leaves_the_next_one_alone(books: Books, ends: str) -> None:
    books._sim.episode.watch_s[0] = 0.5
    for video, chunk in ((0, 0), (0, 1), (1, 0)):
        books.request(1.0, video, chunk, 0)
        books.receive(1.1, video, chunk, size(books, video, chunk, 0))
        books.arrive(1.1, video, chunk)
    books.decoded(1.2, 0, 0)  # plays to 1.7
    assert books.job(0) == (0, 1)
    wasted_bytes = size(books, 0, 1, 0)
    getattr(books, ends)(2.0, 0, 1)
    assert books.state.video == 1
    assert books.job(0) == (1, 0)
    assert books.state.job_start_s[0] == pytest.approx(1.7)
    assert books.state.chunk_status[1, 0] == DECODING
    assert books.state.wasted_bytes == pytest.approx(wasted_bytes, abs=1)


def test_what_is_over_changes_nothing(books: Books) -> None:
    books.pass_time(1.0)
    before = books.snapshot().tobytes()
    books.receive(1.0, 0, 0, 100)
    books.arrive(1.0, 0, 0)
    books.lose(1.0, 0, 0)
    books.decoded(1.0, 0, 0)
    books.fail(1.0, 0, 0)
    assert books.snapshot().tobytes() == before
    assert books.state.dtype == STATE_DTYPE
