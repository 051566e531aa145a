"""The MMGC 2022 simulator against figures worked by hand, a naive second writing, and the official recordings."""

import gzip
import json
import math
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppgym.mmgc import (
    OFFICIAL_POLICIES,
    FixedPreload,
    MMGCDataset,
    MMGCPlayer,
    NoSave,
    evaluate,
    load_solution,
    play,
    print_table,
    run_solution,
    viewer_seeds,
)
from tests.mmgc.oracle import NaiveFixedPreload, NaiveNoSave, Oracle, write_dataset

# A link of 0.8 Mbit/s carries 95,000 bytes a second, so that the rungs below take 1, 1.5 and 2 s plus 80 ms.
RUNG_BYTES = (95_000, 142_500, 190_000)
CONSTANT = [(0.5 * row, 0.8) for row in range(401)]
FAST = [(0.5 * row, 80.0) for row in range(401)]  # 10, 15 and 20 ms plus 80 ms
LATE_START = [(2.0, 9.0), (2.5, 0.8), (3.0, 1.6)]  # 47,500 and 95,000 bytes; the first row's rate is never used

# Leaves in the second [1, 2) s; 1,134 ms with the second seed 1. After 2 or 3 s, or 1 s: watched to the end.
SWIPES = [(0, 1), (1, 1), (2, 0), (3, 0), (4, 0)]
STAYS = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 0)]
SECOND = [(0, 1), (1, 1), (2, 0)]
SEEDS = [[0, 1]] * 7


def small_dataset(root: Path, chunks: int, curves: list, trace: list = CONSTANT) -> MMGCDataset:
    sizes = [[[size] * chunks for size in RUNG_BYTES]] * 7
    return MMGCDataset.load(write_dataset(root, sizes, curves, {"low": [trace]}))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> MMGCDataset:
    """Seven videos of three chunks; the viewer leaves the first after 1,134 ms and watches the others to the end."""
    return small_dataset(tmp_path_factory.mktemp("mmgc"), 3, [SWIPES] + [STAYS] * 6)


# --- figures worked by hand -------------------------------------------------------------------------------------------


def test_first_download_is_all_stall(dataset):
    step = dataset.session("low", 0, SEEDS).step(0, 0, 0)
    assert step == (1080, 1080.0, 95_000, False, 0, 0, pytest.approx(0.75 - 1.85 * 1.08))


def test_swipe_during_a_download_wastes_it_twice(dataset):
    session = dataset.session("low", 0, SEEDS)
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
    session = small_dataset(tmp_path, 3, [SWIPES] + [STAYS] * 6, FAST).session("low", 0, SEEDS)
    for _ in range(3):
        assert session.step(0, 0, 0).delay_ms == 90
    # 180 of 1,134 ms have played. The rest ends the video, and chunk 2 is waste once; then video 1 has nothing.
    step = session.step(0, 0, 5000.9)
    assert step == (5000, 5000.0 - 954.0, 0, False, 1, 95_000, pytest.approx(-1.85 * 4.046))


def test_a_sleep_that_ends_exactly_with_its_video(dataset):
    session = dataset.session("low", 0, SEEDS)
    session.step(0, 0, 0)
    session.step(0, 0, 0)
    assert session.step(0, 0, 134) == (134, 0.0, 0, False, 1, 0, 0.0)


def test_last_chunk_ends_its_video(dataset):
    session = dataset.session("low", 0, SEEDS)
    assert [session.step(3, 0, 0).end_of_video for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match=r"video 3 has all its 3 chunks: legal is the videos 0, 1, 2, 4 and a sleep"):
        session.step(3, 0, 0)
    # A sleep tells of the playing video instead.
    assert not session.step(3, 0, 100).end_of_video


def test_switch_to_chunks_before_and_after(dataset):
    session = dataset.session("low", 0, SEEDS)
    # First chunk of video 1, nothing remembered of video 0 yet.
    assert session.step(1, 2, 0).qoe == pytest.approx(1.85 - 1.85 * 2.08)
    # First chunk of all.
    assert session.step(0, 1, 0).qoe == pytest.approx(1.2 - 1.85 * 1.58)
    # The last chunk of video 0 that is reached (1 = floor(1.134)): 1,000 of 1,080 ms play; |750 - 1200| to the chunk
    # before, and the whole 1850 of video 1's first chunk, for the official quality is still 0 at that place.
    assert session.step(0, 0, 0).qoe == pytest.approx(0.75 - 1.85 * 0.08 - 0.45 - 1.85)


def test_switch_from_the_remembered_rung(dataset):
    session = dataset.session("low", 0, SEEDS)
    session.step(0, 1, 0)
    session.step(0, 2, 0)  # remembered as the last rung of video 0; 1,000 of 2,080 ms play
    # 134 ms end video 0; the rest of 1,080 ms is stall. |750 - 1850| to the remembered rung.
    assert session.step(1, 0, 0).qoe == pytest.approx(0.75 - 1.85 * 0.946 - 1.1)
    # Video 1 is watched for 3,000 ms, its last chunk would be 3 of 3: nothing is ever remembered of it.
    assert session.step(2, 2, 0).qoe == pytest.approx(1.85 - 1.85 * 1.08)


def test_carry_over_keeps_the_remembered_rungs(tmp_path):
    dataset = small_dataset(tmp_path, 3, [SWIPES] + [STAYS] * 6)

    def first_chunk_of_video_1(carry_over: bool) -> float:
        session = dataset.session("low", 0, SEEDS, carry_over=carry_over)
        qoe = session.step(1, 0, 0).qoe
        session.step(0, 1, 0)
        session.step(0, 2, 0)  # remembered as the last rung of video 0
        return qoe

    fresh = 0.75 - 1.85 * 1.08
    assert first_chunk_of_video_1(True) == pytest.approx(fresh)
    assert first_chunk_of_video_1(False) == pytest.approx(fresh)
    assert first_chunk_of_video_1(True) == pytest.approx(fresh - 1.1)


def test_wrap_around_with_a_first_stamp_other_than_0(tmp_path):
    session = small_dataset(tmp_path, 3, [SECOND] * 7, LATE_START).session("low", 0, SEEDS)
    # 0.5 s of row 1, 0.25 s of row 2.
    assert session.step(4, 0, 0).delay_ms == 830
    # The other 0.25 s of row 2, then row 1 again, from time 0 on: 0.5 s.
    assert session.step(4, 0, 0).delay_ms == 830
    # Row 1 lasts from 0.5 to 2.5 s now and carries exactly 190,000 bytes.
    assert session.step(4, 2, 0).delay_ms == 2080
    assert session.step(3, 0, 0).delay_ms == 580  # a full row 2


def test_the_trace_stands_still_during_sleeps(tmp_path):
    session = small_dataset(tmp_path, 3, [SECOND] * 7, LATE_START).session("low", 0, SEEDS)
    session.step(0, 0, 5000)
    assert session.step(4, 0, 0).delay_ms == 830


def test_a_whole_session(tmp_path):
    """Seven videos of one chunk of 1 s, each fetched while the one before plays: 80 ms of stall a video."""
    session = small_dataset(tmp_path, 1, [SECOND] * 7).session("low", 0, SEEDS)
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
            "videos_watched": 7,
        }
    )
    with pytest.raises(RuntimeError, match="the viewer has left"):
        session.step(6, 0, 0)


def test_leaving_the_last_video_during_its_download(tmp_path):
    session = small_dataset(tmp_path, 2, [SECOND] * 7).session("low", 0, SEEDS)
    for video in range(7):
        session.step(video, 0, 0)
    # 1,000 ms end the session; chunk 1 lies behind the watch time: recorded, and late.
    assert session.step(6, 0, 0) == (1080, 0.0, 95_000, True, 7, 190_000, pytest.approx(0.75))
    assert session.done
    assert session.result().download_watch_ratio == pytest.approx(8 / 7)


def test_abort(dataset):
    session = dataset.session("low", 0, SEEDS)
    session.step(0, 0, 0)
    step = session.step(0, 0, 6e6)
    assert step == (6_000_000, 5_999_000.0, 0, False, 0, 0, pytest.approx(-1.85 * 5999))
    assert session.done
    # The watch times of the five videos that have entered the window: 1,134 and four times 3,000 ms.
    assert session.result() == pytest.approx((-1e9, 0.75 - 1.85 * 6000.08, 95_000, 0, 1000 / 13_134))
    with pytest.raises(RuntimeError, match="aborted"):
        session.step(0, 0, 0)


def test_a_sleep_below_a_millisecond_is_no_download(dataset):
    assert dataset.session("low", 0, SEEDS).step(0, 0, 0.9) == (0, 0.0, 0, False, 0, 0, 0.0)


# --- what a policy may see --------------------------------------------------------------------------------------------


def test_player_views(dataset):
    session = dataset.session("low", 0, SEEDS)
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
    session = dataset.session("low", 0, SEEDS)
    player = session.players()[0]
    player.get_downloaded_bitrate().append(2)
    player.get_user_model()[0].clear()
    player.get_undownloaded_video_size(1)[0][0] = 0.0
    session.players().clear()
    for values in player._public:
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 1
    with pytest.raises(AttributeError):
        player.buffer_size = 5000
    assert session.step(0, 0, 0) == dataset.session("low", 0, SEEDS).step(0, 0, 0)
    assert len(session.players()) == 5


# --- bad input --------------------------------------------------------------------------------------------------------


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
    session = dataset.session("low", 0, SEEDS)
    session.step(0, 0, 0)
    before = session._state.copy()
    with pytest.raises(ValueError, match=message):
        session.step(*action)
    assert session._state == before
    assert session.step(np.int64(0), np.int32(0), np.float32(0)).delay_ms == 1080


def test_a_sleep_does_not_look_at_video_and_rung(dataset):
    assert dataset.session("low", 0, SEEDS).step(-1, None, 100).delay_ms == 100


@pytest.mark.parametrize(
    ("path", "text", "error", "message"),
    [
        ("short_video_size/3_clip/video_size_1", None, FileNotFoundError, "video_size_1: no such file"),
        (
            "short_video_size/3_clip/video_size_1",
            "5\n6\n",
            ValueError,
            "expected 3 chunks as in video_size_0, got 2",
        ),
        ("short_video_size/3_clip/video_size_1", "5\n0\n7\n", ValueError, "line 2: expected a whole number of bytes"),
        ("short_video_size/3_clip/video_size_1", "5\n6.5\n7\n", ValueError, "line 2: .* got '6.5'"),
        ("short_video_size/8_clip/video_size_0", "5\n", ValueError, "expected 7 video folders, got 8"),
        ("user_ret/2_clip", None, FileNotFoundError, "one retention curve per folder"),
        (
            "user_ret/2_clip",
            "0 1\n1 0.5\n2 0.6\n3 0\n",
            ValueError,
            r"line 3: expected at most 0\.5, .* got 0\.6",
        ),
        ("user_ret/2_clip", "0 1\n1 0.5\n1 0.4\n3 0\n", ValueError, "line 3: expected a time above 1 s"),
        (
            "user_ret/2_clip",
            "0 1\n1 half\n3 0\n",
            ValueError,
            "line 2: expected a probability .* got 'half'",
        ),
        ("user_ret/2_clip", "0 nan\n1 0\n", ValueError, "line 1: expected a probability .* got 'nan'"),
        ("user_ret/2_clip", "0 1\n1\n", ValueError, "line 2: expected 2 columns"),
        ("user_ret/2_clip", "0 1\n1 0.5\n2 0.1\n", ValueError, "falls from 1 to 0, got one from 1 to 0.1"),
        ("user_ret/2_clip", "0 1\n", ValueError, "at least 2 rows"),
        (
            "network_traces/low/0",
            "0 1\n1 -1\n",
            ValueError,
            "line 2: expected Mbit/s, .* at least 0, got '-1'",
        ),
        ("network_traces/low/0", "0 1\n1 1\n0.5 1\n", ValueError, "line 3: expected a time of at least 1 s"),
        ("network_traces/low/0", "0 1\n1 0\n", ValueError, "carries bytes after its first row"),
        ("network_traces/low/0", "0 1\n", ValueError, "carries bytes after its first row"),
        ("network_traces/low/fast", "0 1\n1 1\n", ValueError, "named by whole numbers"),
        ("network_traces/low/0", None, FileNotFoundError, "expected trace files"),
    ],
)
def test_bad_files(tmp_path, path, text, error, message):
    sizes = [[[size] * 3 for size in RUNG_BYTES]] * 7
    root = write_dataset(tmp_path / "data", sizes, [STAYS] * 7, {"low": [CONSTANT]})
    file = root / path
    file.unlink(missing_ok=True)
    if text is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    with pytest.raises(error, match=message) as caught:
        MMGCDataset.load(root)
    assert str(root) in str(caught.value)


def test_missing_folders(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="short_video_size: no such folder; expected the layout of the MMGC 2022"
    ):
        MMGCDataset.load(tmp_path)


def test_unknown_class_or_trace(dataset):
    with pytest.raises(ValueError, match="no trace class 'lwo'; did you mean 'low'"):
        dataset.session("lwo", 0, SEEDS)
    for index in (-1, 1):
        with pytest.raises(ValueError, match=f"has the traces 0 to 0, got {index}"):
            dataset.session("low", index, SEEDS)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (SEEDS[:6], "expected 7 pairs, one per video, got 6"),
        ([0] * 7, "expected 7 pairs of whole numbers"),
        ([[0, 1, 2]] * 7, "expected 7 pairs of whole numbers"),
        ([[0.5, 1]] * 7, "expected 7 pairs of whole numbers"),
        ([[-1, 1]] * 7, r"video 0: expected a first seed from 0 to 2\*\*32 - 1, got -1"),
    ],
)
def test_bad_seeds(dataset, seeds, message):
    with pytest.raises(ValueError, match=message):
        dataset.draw_watch_ms(seeds)


# --- against a naive second writing -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> MMGCDataset:
    """Videos of 2 to 14 chunks, curves with steps and plateaus, and links with gaps, odd grids and fast wraps."""
    rng = np.random.default_rng(20220)
    sizes, curves = [], []
    for chunks in (5, 2, 9, 3, 14, 4, 6):
        base = rng.integers(20_000, 200_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.sort(rng.integers(0, 12, chunks) / 12)[::-1]
        curves.append([(0, 1.0), *enumerate(shares.round(9).tolist(), start=1), (chunks + 1, 0.0)])
    traces = []
    for first_s, rows in ((0.0, 4), (1.5, 9), (0.0, 300)):
        stamps = first_s + np.concatenate([[0], rng.choice([0.0, 0.25, 0.5, 1.7], rows).cumsum()])
        rates = rng.choice([0.0, 0.3, 1.1, 4.0], rows + 1) + rng.random(rows + 1) * 0.3 * (rng.random(rows + 1) > 0.2)
        rates[-1], stamps[-1] = 2.0, stamps[-1] + 0.4
        traces.append(list(zip(stamps.tolist(), rates.tolist(), strict=True)))
    return MMGCDataset.load(write_dataset(tmp_path_factory.mktemp("varied"), sizes, curves, {"odd": traces}))


@settings(max_examples=60)
@given(trace=st.integers(0, 2), seed=st.integers(0, 2**32 - 1), greed=st.sampled_from([0.3, 0.9, 1.0]))
def test_equals_the_naive_simulator(varied, trace, seed, greed):
    """Random play, from lazy to greedy: every step, every view and the result are equal, bit for bit."""
    rng = random.Random(seed)
    seeds = [[rng.randrange(2**32), rng.randrange(10_000)] for _ in range(7)]
    oracle = Oracle(varied.root, "odd", trace, seeds)
    session = varied.session("odd", trace, seeds)
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


# --- the official policies --------------------------------------------------------------------------------------------


def test_fixed_preload_by_hand(dataset):
    """Video 0 in order; then up to four chunks of each next video, all of them likely here."""
    actions = play(FixedPreload(), dataset.session("low", 0, SEEDS))
    # One second arrives per 1,080 ms and more: the buffer never passes 1,000 ms while video 0 is fetched.
    assert actions[:3] == [(0, 0, 0.0), (0, 0, 0.0), (0, 0, 0.0)]
    # The viewer has left video 0 during its chunk 2. Video 1 now plays, and likewise up to the end.
    assert actions[3:6] == [(1, 0, 0.0), (1, 0, 0.0), (1, 0, 0.0)]


def test_fixed_preload_stops_at_unlikely_chunks_and_then_sleeps(tmp_path):
    """Video 0 plays; the chunks 0 and 1 of the others are likely (1, 0.7), their chunk 2 (0.6) is not."""
    curve = [(0, 1), (1, 0.7), (2, 0.6), (3, 0.6), (4, 0.0)]
    dataset = small_dataset(tmp_path, 3, [STAYS] + [curve] * 6, FAST)
    actions = play(FixedPreload(), dataset.session("low", 0, SEEDS))
    assert actions[:3] == [(0, 0, 0.0), (0, 0, 0.0), (0, 1, 0.0)]  # buffers 0, 1,000 and 1,910 ms
    preloads = [(video, 0, 0.0) for video in (1, 1, 2, 2, 3, 3, 4, 4)]
    assert actions[3:11] == preloads  # their buffers: 0 and exactly 1,000 ms
    assert actions[11] == (0, 0, 500.0)


def test_no_save_by_hand(tmp_path):
    """Rung 2 first; a link so fast that every stall but the first is nil."""
    dataset = small_dataset(tmp_path, 3, [STAYS] * 7, FAST)
    actions = play(NoSave(), dataset.session("low", 0, SEEDS))
    assert actions[:3] == [(0, 2, 0.0)] * 3
    # 190,000 bytes a chunk: three chunks of a video are 570,000 < 800,000, so that each is filled before the next.
    assert [action[0] for action in actions[3:15]] == [video for video in (1, 2, 3, 4) for _ in range(3)]
    assert actions[15] == (0, 0, 500.0)


def test_no_save_preloads_in_rounds_of_800_kb(tmp_path):
    sizes = [[[size] * chunks for size in RUNG_BYTES] for chunks in (1, 9, 9, 5, 9, 9, 9)]
    curves = [[*((second, 1) for second in range(len(rungs[0]) + 1)), (len(rungs[0]) + 1, 0)] for rungs in sizes]
    root = write_dataset(tmp_path, sizes, curves, {"low": [FAST]})
    session = MMGCDataset.load(root).session("low", 0, SEEDS)
    actions = play(NoSave(), session)
    # Five chunks of 190,000 bytes pass 800,000, nine pass 1,600,000; the one with five is full by then.
    assert [action[0] for action in actions[:5]] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("policy", "naive"), [(FixedPreload, NaiveFixedPreload), (NoSave, NaiveNoSave)])
@pytest.mark.parametrize("trace", [0, 1, 2])
def test_official_policies_equal_naive_ones(varied, policy, naive, trace):
    for seed in range(5):
        actions, expected = (
            play(algorithm(), varied.session("odd", trace, viewer_seeds(seed))) for algorithm in (policy, naive)
        )
        assert actions == expected


@pytest.mark.parametrize("name", OFFICIAL_POLICIES)
def test_official_policies_only_use_official_methods(dataset, name):
    """They play alike on objects that have nothing but the official methods."""
    official = [name for name in vars(MMGCPlayer) if name.startswith("get_")]
    assert len(official) == 13

    class Bare:
        def __init__(self, player):
            for method in official:
                setattr(self, method, getattr(player, method))

    class Wrapped:
        def __init__(self):
            self.policy = OFFICIAL_POLICIES[name]()

        def Initialize(self):  # noqa: N802
            self.policy.Initialize()

        def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
            bare = [Bare(player) for player in Players]
            return self.policy.run(delay, rebuf, video_size, end_of_video, play_video_id, bare, first_step)

    plain = play(OFFICIAL_POLICIES[name](), dataset.session("low", 0, SEEDS))
    assert play(Wrapped(), dataset.session("low", 0, SEEDS)) == plain


# --- solutions and the table ------------------------------------------------------------------------------------------

SOLUTION = """
import helper
from simulator.video_player import BITRATE_LEVELS

class Algorithm:
    def __init__(self):
        self.calls = []
    def Initialize(self):
        self.calls.clear()
    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):
        self.calls.append((delay, rebuf, video_size, end_of_video, play_video_id, len(Players), first_step))
        helper.SEEN.append(self.calls[-1])
        for seq, player in enumerate(Players):
            if player.get_remain_video_num() > 0:
                return play_video_id + seq, BITRATE_LEVELS - 3, 0.0
        return play_video_id, 0, 500.0
"""


@pytest.fixture
def solution(tmp_path) -> Path:
    """A solution inside a repository of the official shape."""
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "video_player.py").write_text("BITRATE_LEVELS = 3\n")
    folder = tmp_path / "submit" / "team"
    folder.mkdir(parents=True)
    (folder / "helper.py").write_text("SEEN = []\n")
    (folder / "solution.py").write_text(SOLUTION)
    yield folder / "solution.py"
    for name in ("helper", "simulator", "simulator.video_player"):
        sys.modules.pop(name, None)


def test_run_solution(dataset, solution):
    paths = list(sys.path)
    result = run_solution(solution, dataset, "low", 0, SEEDS)
    assert sys.path == paths
    seen = sys.modules["helper"].SEEN
    assert seen[:3] == [
        (0, 0, 0, False, 0, 5, True),
        (1080, 1080.0, 95_000.0, False, 0, 5, False),
        (1080, 80.0, 95_000.0, False, 0, 5, False),
    ]
    assert seen[-1][5] == 1
    algorithm = load_solution(solution.parent)
    assert run_solution(algorithm, dataset, "low", 0, SEEDS) == result
    assert run_solution(algorithm(), dataset, "low", 0, SEEDS) == result


def test_a_solution_that_acts_illegally(dataset):
    class Stubborn(FixedPreload):
        def run(self, *arguments):
            return 9, 0, 0

    with pytest.raises(ValueError, match="video 9 is outside the window") as caught:
        run_solution(Stubborn, dataset, "low", 0, SEEDS)
    assert caught.value.__notes__ == ["decision 0 of Stubborn was (9, 0, 0)"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "expected a solution with a class Algorithm"),
        ("class Algoritm: pass", ValueError, "did you mean 'Algoritm'"),
        ("class Algorithm:\n    def run(self): pass\n    def initialize(self): pass", ValueError, "'Initialize'"),
        ("import simulatr", ImportError, "simulatr"),
    ],
)
def test_bad_solutions(tmp_path, text, error, message):
    file = tmp_path / "solution.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(error, match=message):
        load_solution(file)


def test_evaluate(varied, tmp_path, capsys):
    rows = evaluate(varied, OFFICIAL_POLICIES, viewers=2, seed=3, output=tmp_path)
    assert [(row["class"], row["agent"]) for row in rows] == [("odd", "fixed_preload"), ("odd", "no_save")]
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(records) == 2 * 3 * 2
    assert json.loads((tmp_path / "results.json").read_text()) == {"rows": rows}
    # Agents meet the same viewers, traces never do.
    seeds = [record["seed"] for record in records]
    assert seeds[:6] == seeds[6:] and len(set(seeds)) == 6

    for record in records:
        _, trace_class, trace = record["scenario"].split("/")
        session = varied.session(trace_class, int(trace), viewer_seeds(record["seed"]))
        for action in record["actions"]:
            session.step(*action)
        assert session.done
        totals = {**session.totals(), **session.result()._asdict(), "return": session.result().score}
        assert totals == record["totals"]

    row = rows[0]
    totals = [record["totals"] for record in records[:6]]
    for mean, key in (("score_mean", "score"), ("qoe_mean", "qoe"), ("download_watch_ratio",) * 2):
        assert row[mean] == pytest.approx(np.mean([total[key] for total in totals]))
    # Three traces: t with 2 degrees of freedom is 4.3027.
    by_trace = np.reshape([total["score"] for total in totals], (3, 2)).mean(axis=1)
    half = 4.302653 * by_trace.std(ddof=1) / math.sqrt(3)
    assert row["score_ci95"] == pytest.approx([by_trace.mean() - half, by_trace.mean() + half])

    print_table(rows)
    printed = capsys.readouterr().out
    assert "fixed_preload" in printed and f"{row['score_mean']:.2f}" in printed


def test_interval_of_a_single_trace(dataset):
    one, two = (
        evaluate(dataset, {"fixed_preload": FixedPreload}, classes=["low"], viewers=viewers)[0] for viewers in (1, 2)
    )
    assert one["score_ci95"] == [None, None]
    low, high = two["score_ci95"]
    assert low <= two["score_mean"] <= high


def test_evaluate_refuses(dataset):
    with pytest.raises(ValueError, match="did you mean 'low'"):
        evaluate(dataset, OFFICIAL_POLICIES, classes=["lows"])
    with pytest.raises(ValueError, match="viewers: expected at least 1, got 0"):
        evaluate(dataset, OFFICIAL_POLICIES, viewers=0)


# --- the official recordings ------------------------------------------------------------------------------------------

GOLDEN = os.environ.get("PPGYM_MMGC2022")
needs_golden = pytest.mark.skipif(
    GOLDEN is None, reason="PPGYM_MMGC2022 does not name a folder with the challenge's data and golden.json.gz"
)


@pytest.fixture(scope="module")
def official() -> MMGCDataset:
    return MMGCDataset.load(GOLDEN)


@pytest.fixture(scope="module")
def golden() -> list[dict]:
    with gzip.open(Path(GOLDEN) / "golden.json.gz", "rt") as file:
        return json.load(file)


@needs_golden
def test_every_recorded_step_and_result(official, golden):
    for episode in golden:
        assert official.draw_watch_ms(episode["seeds"]).tolist() == episode["watch_ms"]
        session = official.session(episode["class"], episode["trace"], episode["seeds"])
        for video, rung, sleep_ms, *expected in episode["steps"]:
            assert list(session.step(video, rung, sleep_ms)[:6]) == expected
        assert session.done
        assert session.result()._asdict() == pytest.approx(episode["result"], rel=1e-9)


@needs_golden
@pytest.mark.parametrize("name", OFFICIAL_POLICIES)
def test_official_policies_in_closed_loop(official, golden, name):
    episodes = [episode for episode in golden if episode["policy"] == name]
    assert episodes
    for episode in episodes:
        session = official.session(episode["class"], episode["trace"], episode["seeds"])
        actions = play(OFFICIAL_POLICIES[name](), session)
        assert actions == [tuple(step[:3]) for step in episode["steps"]]
        assert session.result()._asdict() == pytest.approx(episode["result"], rel=1e-9)


@needs_golden
def test_equals_the_naive_simulator_on_the_official_data(official):
    rng = random.Random(7)
    for name, traces in official.traces.items():
        seeds = viewer_seeds(rng.randrange(1000))
        trace = rng.randrange(len(traces))
        oracle = Oracle(official.root, name, trace, seeds)
        session = official.session(name, trace, seeds)
        for action in play(FixedPreload(), official.session(name, trace, seeds)):
            assert session.step(*action) == oracle.step(*action)
        assert session.result() == (oracle.score, oracle.qoe, oracle.bytes, oracle.wasted, oracle.ratio())
