"""A session against figures worked by hand, a naive second writing, and the official recordings."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppgym.entries import player as player_rules
from ppgym.mmgc import FixedPreload, MMGCPlayer, MMGCSession, kernel, play, viewer_seeds
from ppgym.mmgc.kernel import NO_RUNG, VIDEOS
from tests.mmgc.oracle import Oracle
from tests.mmgc.small import FAST, LATE_START, RUNG_BYTES, SECOND, SEEDS, STAYS, SWIPES, needs_golden, small_dataset

# --- figures worked by hand -------------------------------------------------------------------------------------------


def test_first_download_is_all_stall(dataset):
    step = MMGCSession(dataset, "low", 0, SEEDS).step(0, 0, 0)
    assert step == (1080, 1080.0, 95_000, False, 0, 0, pytest.approx(0.75 - 1.85 * 1.08))


def test_swipe_during_a_download_wastes_it_twice(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    session.step(0, 0, 0)
    # 1,000 ms play, 80 ms stall; the second chunk is the last that the viewer reaches.
    assert session.step(0, 0, 0) == (1080, 80.0, 95_000, False, 0, 0, pytest.approx(0.75 - 1.85 * 0.08))
    # 134 ms play, then the viewer leaves and waits 1,946 ms for video 1. Chunk 2 lies behind ceil(1.134) and counts
    # once as recorded, once as late. Nobody reaches it: no quality.
    assert session.step(0, 2, 0) == (2080, 1946.0, 190_000, True, 1, 380_000, pytest.approx(-1.85 * 1.946))
    # The window has moved on to 1 ... 5.
    with pytest.raises(ValueError, match="video 0 is outside the window: legal are 1 to 5"):
        session.step(0, 0, 0)
    assert session.step(5, 0, 0).playing_video == 1


def test_waste_of_a_chunk_that_was_there(tmp_path):
    session = MMGCSession(small_dataset(tmp_path, 3, [SWIPES] + [STAYS] * 6, FAST), "low", 0, SEEDS)
    for _ in range(3):
        assert session.step(0, 0, 0).delay_ms == 90
    # 180 of 1,134 ms have played. The rest ends the video, and chunk 2 is waste once; then video 1 has nothing.
    step = session.step(0, 0, 5000.9)
    assert step == (5000, 5000.0 - 954.0, 0, False, 1, 95_000, pytest.approx(-1.85 * 4.046))


def test_a_sleep_that_ends_exactly_with_its_video(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    session.step(0, 0, 0)
    session.step(0, 0, 0)
    assert session.step(0, 0, 134) == (134, 0.0, 0, False, 1, 0, 0.0)


def test_last_chunk_ends_its_video(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    assert [session.step(3, 0, 0).end_of_video for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match=r"video 3 has all its 3 chunks: legal is the videos 0, 1, 2, 4 and a sleep"):
        session.step(3, 0, 0)
    # A sleep tells of the playing video instead.
    assert not session.step(3, 0, 100).end_of_video


def test_switch_to_chunks_before_and_after(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    # First chunk of video 1, nothing remembered of video 0 yet.
    assert session.step(1, 2, 0).qoe == pytest.approx(1.85 - 1.85 * 2.08)
    # First chunk of all.
    assert session.step(0, 1, 0).qoe == pytest.approx(1.2 - 1.85 * 1.58)
    # The last chunk of video 0 that is reached (1 = floor(1.134)): 1,000 of 1,080 ms play; |750 - 1200| to the chunk
    # before, and the whole 1850 of video 1's first chunk, for the official quality is still 0 at that place.
    assert session.step(0, 0, 0).qoe == pytest.approx(0.75 - 1.85 * 0.08 - 0.45 - 1.85)


def test_switch_from_the_remembered_rung(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    session.step(0, 1, 0)
    session.step(0, 2, 0)  # remembered as the last rung of video 0; 1,000 of 2,080 ms play
    # 134 ms end video 0; the rest of 1,080 ms is stall. |750 - 1850| to the remembered rung.
    assert session.step(1, 0, 0).qoe == pytest.approx(0.75 - 1.85 * 0.946 - 1.1)
    # Video 1 is watched for 3,000 ms, its last chunk would be 3 of 3: nothing is ever remembered of it.
    assert session.step(2, 2, 0).qoe == pytest.approx(1.85 - 1.85 * 1.08)


def test_carry_over_keeps_the_remembered_rungs(tmp_path):
    dataset = small_dataset(tmp_path, 3, [SWIPES] + [STAYS] * 6)
    carried = np.full(VIDEOS, NO_RUNG)

    def first_chunk_of_video_1(carried_rungs: np.ndarray | None) -> float:
        session = MMGCSession(dataset, "low", 0, SEEDS, carried_rungs=carried_rungs)
        qoe = session.step(1, 0, 0).qoe
        session.step(0, 1, 0)
        session.step(0, 2, 0)  # remembered as the last rung of video 0
        return qoe

    fresh = 0.75 - 1.85 * 1.08
    assert first_chunk_of_video_1(carried) == pytest.approx(fresh)
    assert first_chunk_of_video_1(None) == pytest.approx(fresh)
    assert first_chunk_of_video_1(carried) == pytest.approx(fresh - 1.1)
    assert carried.tolist() == [2, *[NO_RUNG] * (VIDEOS - 1)]


def test_wrap_around_with_a_first_stamp_other_than_0(tmp_path):
    session = MMGCSession(small_dataset(tmp_path, 3, [SECOND] * 7, LATE_START), "low", 0, SEEDS)
    # 0.5 s of row 1, 0.25 s of row 2.
    assert session.step(4, 0, 0).delay_ms == 830
    # The other 0.25 s of row 2, then row 1 again, from time 0 on: 0.5 s.
    assert session.step(4, 0, 0).delay_ms == 830
    # Row 1 lasts from 0.5 to 2.5 s now and carries exactly 190,000 bytes.
    assert session.step(4, 2, 0).delay_ms == 2080
    assert session.step(3, 0, 0).delay_ms == 580  # a full row 2


def test_the_trace_stands_still_during_sleeps(tmp_path):
    session = MMGCSession(small_dataset(tmp_path, 3, [SECOND] * 7, LATE_START), "low", 0, SEEDS)
    session.step(0, 0, 5000)
    assert session.step(4, 0, 0).delay_ms == 830


def test_a_whole_session(tmp_path):
    """Seven videos of one chunk of 1 s, each fetched while the one before plays: 80 ms of stall a video."""
    session = MMGCSession(small_dataset(tmp_path, 1, [SECOND] * 7), "low", 0, SEEDS)
    assert session.step(0, 0, 0) == (1080, 1080.0, 95_000, True, 0, 0, pytest.approx(0.75 - 1.85 * 1.08))
    for video in range(1, 7):
        step = session.step(video, 0, 0)
        assert step == (1080, 80.0, 95_000, True, video, 0, pytest.approx(0.75 - 1.85 * 0.08))
    assert not session.done
    assert session.step(6, 0, 2500) == (2500, 0.0, 0, True, 7, 0, 0.0)
    assert session.done
    qoe = 7 * 0.75 - 1.85 * (1.08 + 6 * 0.08)
    assert session.result() == pytest.approx((qoe - 0.5 * 8 * 0.665, qoe, 665_000, 0, 1.0))
    assert session.totals() == pytest.approx(
        {
            "time_s": 7 * 1.08 + 2.5,
            "played_s": 7.0,
            "rebuffer_s": 1.56,
            "quality": 5.25,
            "switch": 0.0,
            "downloaded_bytes": 665_000,
            "wasted_bytes": 0,
            "decode_busy_s": 0,
            "energy_j": 0.0,
            "videos_watched": 7,
            "videos_abandoned": 0,
        }
    )
    with pytest.raises(RuntimeError, match="the viewer has left"):
        session.step(6, 0, 0)


def test_leaving_the_last_video_during_its_download(tmp_path):
    session = MMGCSession(small_dataset(tmp_path, 2, [SECOND] * 7), "low", 0, SEEDS)
    for video in range(7):
        session.step(video, 0, 0)
    # 1,000 ms end the session; chunk 1 lies behind the watch time: recorded, and late.
    assert session.step(6, 0, 0) == (1080, 0.0, 95_000, True, 7, 190_000, pytest.approx(0.75))
    assert session.done
    assert session.result().download_watch_ratio == pytest.approx(8 / 7)


def test_abort(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    session.step(0, 0, 0)
    step = session.step(0, 0, 6e6)
    assert step == (6_000_000, 5_999_000.0, 0, False, 0, 0, pytest.approx(-1.85 * 5999))
    assert session.done
    # The watch times of the five videos that have entered the window: 1,134 and four times 3,000 ms.
    assert session.result() == pytest.approx((-1e9, 0.75 - 1.85 * 6000.08, 95_000, 0, 1000 / 13_134))
    with pytest.raises(RuntimeError, match="aborted"):
        session.step(0, 0, 0)


def test_a_sleep_below_a_millisecond_is_no_download(dataset):
    assert MMGCSession(dataset, "low", 0, SEEDS).step(0, 0, 0.9) == (0, 0.0, 0, False, 0, 0, 0.0)


# --- against a naive second writing -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(trace=st.integers(0, 2), seed=st.integers(0, 2**32 - 1), greed=st.sampled_from([0.3, 0.9, 1.0]))
def test_equals_the_naive_simulator(varied, trace, seed, greed):
    """Random play, from lazy to greedy: every step, every view and the result are equal, bit for bit."""
    rng = random.Random(seed)
    seeds = [[rng.randrange(2**32), rng.randrange(10_000)] for _ in range(7)]
    oracle = Oracle(varied.root, "odd", trace, seeds)
    session = MMGCSession(varied, "odd", trace, seeds)
    assert varied.draw_watch_ms(seeds).tolist() == [player.watch for player in oracle.players]
    while oracle.score is None:
        players = [oracle.players[video] for video in oracle.window()]
        for view, player in zip(session.players(), players, strict=True):
            assert_view_equals(view, player)
        open_videos = [v for v in oracle.window() if oracle.players[v].counter < len(oracle.players[v].sizes[0])]
        if open_videos and rng.random() < greed:
            video = open_videos[0] if rng.random() < 0.5 else rng.choice(open_videos)
            action = (video, rng.randrange(3), 0.0)
        else:
            action = (oracle.playing, 0, rng.choice([0.4, 1.0, 500.0, 1999.9]))
        assert session.step(*action) == oracle.step(*action)
    assert session.done
    assert session.result() == (oracle.score, oracle.qoe, oracle.bytes, oracle.wasted, oracle.ratio())


def assert_view_equals(view: MMGCPlayer, player) -> None:
    rest = len(player.sizes[0]) - player.counter
    assert view.get_video_len() == 1000 * len(player.sizes[0])
    assert view.get_chunk_counter() == player.counter
    assert view.get_remain_video_num() == rest
    assert view.get_buffer_size() == player.buffer
    assert view.get_play_chunk() == player.position / 1000
    assert view.get_preload_size() == player.bytes
    assert view.get_downloaded_bitrate() == player.got
    assert view.get_undownloaded_video_size(rest) == [sizes[player.counter :] for sizes in player.sizes]
    begun = math.ceil(player.position / 1000)
    assert view.get_future_video_size(1 if begun < len(player.sizes[0]) else 0) == [
        sizes[begun : begun + 1] for sizes in player.sizes
    ]
    assert view.get_user_model() == (player.times, player.shares)


# --- the official recordings ------------------------------------------------------------------------------------------


@needs_golden
def test_every_recorded_step_and_result(official_data, golden):
    for episode in golden:
        assert official_data.draw_watch_ms(episode["seeds"]).tolist() == episode["watch_ms"]
        session = MMGCSession(official_data, episode["class"], episode["trace"], episode["seeds"])
        for video, rung, sleep_ms, *expected in episode["steps"]:
            assert list(session.step(video, rung, sleep_ms)[:6]) == expected
        assert session.done
        assert session.result()._asdict() == pytest.approx(episode["result"], rel=1e-9)


@needs_golden
def test_equals_the_naive_simulator_on_the_official_data(official_data):
    rng = random.Random(7)
    for name, traces in official_data.traces.items():
        seeds = viewer_seeds(rng.randrange(1000))
        trace = rng.randrange(len(traces))
        oracle = Oracle(official_data.root, name, trace, seeds)
        session = MMGCSession(official_data, name, trace, seeds)
        for action in play(FixedPreload(), MMGCSession(official_data, name, trace, seeds)):
            assert session.step(*action) == oracle.step(*action)
        assert session.result() == (oracle.score, oracle.qoe, oracle.bytes, oracle.wasted, oracle.ratio())


# --- what a policy may see, and bad input -----------------------------------------------------------------------------


def test_player_views(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    players = session.players()
    assert len(players) == 5
    for rung in (0, 2):
        session.step(0, rung, 0)
    first = players[0]
    assert first.get_video_len() == 3000.0
    assert (first.get_chunk_sum(), first.get_chunk_counter(), first.get_remain_video_num()) == (3, 2, 1)
    assert (first.get_buffer_size(), first.get_play_chunk()) == (1000.0, 1.0)
    assert first.get_preload_size() == 285_000
    assert first.get_downloaded_bitrate() == [0, 2]
    assert [first.get_video_quality(chunk) for chunk in range(3)] == [0, 2, -1]
    assert [first.get_video_size(rung) for rung in range(3)] == list(RUNG_BYTES)
    assert first.get_undownloaded_video_size(1) == [[95_000.0], [142_500.0], [190_000.0]]
    assert first.get_future_video_size(2) == [[95_000.0] * 2, [142_500.0] * 2, [190_000.0] * 2]
    assert first.get_user_model() == ([0.0, 1000.0, 2000.0, 3000.0, 4000.0], ["1", "1", "0", "0", "0"])
    assert isinstance(first.get_undownloaded_video_size(1)[0][0], float)
    with pytest.raises(IndexError, match="the last one is 2"):
        first.get_undownloaded_video_size(2)
    with pytest.raises(IndexError, match="rung 3 does not exist"):
        first.get_video_size(3)

    session.step(0, 0, 50)
    assert first.get_play_chunk() == 1.05
    assert first.get_future_video_size(1) == [[95_000.0], [142_500.0], [190_000.0]]
    with pytest.raises(IndexError):
        first.get_future_video_size(2)
    session.step(0, 0, 0)  # the viewer leaves
    assert session.players() is players
    assert players[0].get_chunk_counter() == 0
    assert first.get_downloaded_bitrate() == [0, 2, 0]  # the late one is recorded and does not count
    assert first.get_chunk_counter() == 2


def test_players_are_read_only(dataset):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    player = session.players()[0]
    player.get_downloaded_bitrate().append(2)
    player.get_user_model()[0].clear()
    player.get_undownloaded_video_size(1)[0][0] = 0.0
    session.players().clear()
    for name in MMGCPlayer.__annotations__:
        with pytest.raises(AttributeError, match=f"{name} cannot be set"):
            setattr(player, name, 5000)
    player.note = "as on the official ones"
    assert session.step(0, 0, 0) == MMGCSession(dataset, "low", 0, SEEDS).step(0, 0, 0)
    assert len(session.players()) == 5


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ((5, 0, 0), "video 5 is outside the window: legal are 0 to 4"),
        ((-1, 0, 0), "video -1 is outside the window"),
        ((1.0, 0, 0), r"video 1\.0 is outside the window"),
        ((None, 0, 0), "video None is outside the window"),
        ((0, 3, 0), r"rung 3 does not exist: legal are 0 \(750 kbit/s\), 1 \(1200 kbit/s\), 2 \(1850 kbit/s\)"),
        ((0, -1, 0), "rung -1 does not exist"),
        ((0, "2", 0), "rung '2' does not exist"),
        ((0, 0, -1), "expected 0 to download or a finite number above 0 to sleep, got -1"),
        ((0, 0, -0.5), "sleep_ms: expected"),
        ((0, 0, math.nan), "sleep_ms: expected"),
        ((0, 0, math.inf), "sleep_ms: expected"),
        ((0, 0, None), "sleep_ms: expected"),
        ((0, 0, "500"), "sleep_ms: expected"),
    ],
)
def test_illegal_actions_leave_the_session_usable(dataset, action, message):
    session = MMGCSession(dataset, "low", 0, SEEDS)
    session.step(0, 0, 0)
    before = session._state.copy()
    with pytest.raises(ValueError, match=message):
        session.step(*action)
    assert session._state == before
    assert session.step(np.int64(0), np.int32(0), np.float32(0)).delay_ms == 1080


def test_a_sleep_does_not_look_at_video_and_rung(dataset):
    assert MMGCSession(dataset, "low", 0, SEEDS).step(-1, None, 100).delay_ms == 100


def test_unknown_class_or_trace(dataset):
    with pytest.raises(ValueError, match="no trace class 'lwo'; did you mean 'low'"):
        MMGCSession(dataset, "lwo", 0, SEEDS)
    for index in (-1, 1):
        with pytest.raises(ValueError, match=f"has the traces 0 to 0, got {index}"):
            MMGCSession(dataset, "low", index, SEEDS)


def test_an_entrys_process_and_the_kernel_have_the_same_rules():
    """That file imports nothing of ppgym, so it has the constants of its own."""
    for name in ("CHUNK_MS", "RATES_KBPS", "RUNGS", "VIDEOS"):
        assert getattr(player_rules, name) == getattr(kernel, name)
