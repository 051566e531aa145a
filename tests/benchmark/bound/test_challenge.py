"""The bound on the 2022 challenge's score: against a naive programme, against all schedules, against policies."""

import functools
import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppgym.benchmark.bound.challenge import (
    LEFT_OUT,
    best_choices,
    carried_bytes,
    challenge_bound,
    list_chunks,
    switch_mbps,
)
from ppgym.mmgc import OFFICIAL_POLICIES, MMGCDataset, MMGCSession, MMGCTrace, play, viewer_seeds
from ppgym.mmgc.runner import take
from tests.mmgc.oracle import write_dataset
from tests.mmgc.small import GOLDEN, needs_golden

RATES = (0.75, 1.2, 1.85)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> MMGCDataset:
    """One or two chunks a video, links from slow to fast."""
    rng = np.random.default_rng(22)
    sizes, curves = [], []
    for chunks in (1, 2, 1, 1, 1, 1, 1):
        base = rng.integers(40_000, 200_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.linspace(1.0, 0.3, chunks + 1)[1:]
        curves.append([(0, 1.0), *enumerate(shares.round(9).tolist(), start=1), (chunks + 1, 0.0)])
    traces = [
        [(0.5 * row, float(rate)) for row, rate in enumerate(mean * rng.uniform(0.1, 1.9, 60))]
        for mean in (0.6, 1.2, 4.0)
    ]
    return MMGCDataset.load(write_dataset(tmp_path_factory.mktemp("mmgc"), sizes, curves, {"low": traces}))


def naive_value(sizes, room, needed, link) -> float:
    """All choices, one after the other; room as bytes in all."""

    @functools.cache
    def rest(n: int, spent: int, before: int) -> float:
        if n == len(sizes):
            return 0.0
        best = -math.inf if needed[n] else rest(n + 1, spent, LEFT_OUT)
        for rung, judged in itertools.product(range(3), (True, False)):
            bytes_now = spent + sizes[n][rung]
            if needed[n] and bytes_now > room[n]:
                continue
            gain = -4.0 * sizes[n][rung] / 1e6
            if judged:
                gain += RATES[rung]
                known = before != LEFT_OUT and link[n] and not (link[n] == 1 and before >= 3)
                if known:
                    switch = abs(RATES[rung] - RATES[before % 3])
                    gain -= switch if link[n] == 2 else min(switch, RATES[rung])
            best = max(best, gain + rest(n + 1, bytes_now, rung if judged else 3 + rung))
        return best

    return rest(0, 0, LEFT_OUT)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_programme_equals_a_naive_one(seed):
    """With cells of one unit nothing is rounded."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    sizes = np.sort(rng.integers(1, 9, (count, 3)), axis=1) if rng.random() < 0.7 else rng.integers(1, 9, (count, 3))
    needed = rng.integers(0, 4, count).clip(0, 1)
    link = rng.integers(0, 3, count)
    room = rng.integers(0, 16, count).cumsum()
    choices = np.zeros(count, np.int64)
    least = (sizes.min(axis=1) * needed).cumsum()
    arguments = sizes * 1e4, least * 1e4, room * 1e4 + 1.0, needed, link, 1e4
    found = best_choices(*arguments, False, choices)
    expected = naive_value((sizes * 10_000).tolist(), (room * 10_000).tolist(), needed.tolist(), link.tolist())
    assert found == pytest.approx(expected)
    if math.isfinite(found):
        total = 0.0
        for n, choice in enumerate(choices.tolist()):
            if choice != LEFT_OUT:
                total -= 4.0 * 1e4 * sizes[n, choice % 3] / 1e6
            if choice < 3:
                total += RATES[choice] - (switch_mbps(link[n], int(choices[n - 1]), choice) if n else 0.0)
        assert total == pytest.approx(found)


def test_what_a_trace_carries():
    trace = MMGCTrace(np.array([1.0, 2.0, 2.5]), np.array([9.0, 0.8, 1.6]))
    seconds, sent = carried_bytes(trace, 5.0)
    # 95,000 bytes in a second of row 1, as many in half a second of row 2; after the wrap row 1 lasts from 0 to 2 s.
    assert np.interp([0.5, 1.0, 1.5, 3.5, 4.0], seconds, sent).tolist() == pytest.approx(
        [47_500, 95_000, 190_000, 380_000, 475_000]
    )
    assert seconds[-1] >= 5.0


def test_chunks_by_hand(dataset):
    watch_ms = np.array([1000.0, 1500.0, 0.0, 300.0, 1000.0, 1000.0, 999.0])
    chunks = list_chunks(dataset, watch_ms)
    assert chunks.video.tolist() == [0, 1, 1, 2, 3, 4, 5, 6]
    assert chunks.before_ms.tolist() == [0, 1000, 2000, 2500, 2500, 2800, 3800, 4800]
    assert chunks.needed.tolist() == [1, 1, 1, 0, 1, 1, 1, 1]
    # Videos 0, 4 and 5 are watched to their end: the runner remembers no rung of them.
    assert chunks.link.tolist() == [0, 0, 2, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("trace", "seed"), [(0, 0), (1, 1), (2, 2)])
def test_between_all_schedules_in_order_and_the_bound(dataset, trace, seed):
    seeds = viewer_seeds(seed)
    limit, actions = challenge_bound(dataset, "low", trace, seeds)
    session = MMGCSession(dataset, "low", trace, seeds)
    for action in actions:
        take(session, action)
    assert session.done
    score = session.result().score
    chunks = list_chunks(dataset, dataset.draw_watch_ms(seeds))
    order = chunks.video.tolist()
    best = max(
        play_in_order(dataset, trace, seeds, order, rungs) for rungs in itertools.product(range(3), repeat=len(order))
    )
    assert best <= limit
    assert score <= limit
    assert score >= best - 0.1


def play_in_order(dataset, trace, seeds, order, rungs) -> float:
    session = MMGCSession(dataset, "low", trace, seeds)
    for video, rung in zip(order, rungs, strict=True):
        while video >= session.playing_video + 5:
            session.step(session.playing_video, 0, 20.0)
        if video >= session.playing_video and not session.done:
            session.step(video, rung, 0)
    while not session.done:
        session.step(session.playing_video, 0, 50.0)
    return session.result().score


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), trace=st.integers(0, 2), greed=st.sampled_from([0.5, 0.9, 1.0]))
def test_nobody_exceeds_the_bound(dataset, seed, trace, greed):
    """Any order, any rungs, and downloads that the official runner does not judge."""
    rng = random.Random(seed)
    seeds = [[rng.randrange(2**32), rng.randrange(10_000)] for _ in range(7)]
    limit, _ = challenge_bound(dataset, "low", trace, seeds)
    for _ in range(20):
        session = MMGCSession(dataset, "low", trace, seeds)
        rung = rng.randrange(3)
        while not session.done:
            players = session.players()
            open_seqs = [seq for seq, player in enumerate(players) if player.get_remain_video_num()]
            if open_seqs and rng.random() < greed:
                seq = open_seqs[0] if rng.random() < 0.7 else rng.choice(open_seqs)
                rung = rung if rng.random() < 0.6 else rng.randrange(3)
                take(session, (session.playing_video + seq, rung, -1.0 if rng.random() < 0.1 else 0.0))
            else:
                take(session, (session.playing_video, 0, rng.choice([10.0, 200.0])))
        assert session.result().score <= limit


@needs_golden
def test_on_the_official_data():
    dataset = MMGCDataset.load(GOLDEN)
    for name in dataset.traces:
        gaps = []
        for trace in range(2):
            seeds = viewer_seeds(trace)
            limit, actions = challenge_bound(dataset, name, trace, seeds)
            session = MMGCSession(dataset, name, trace, seeds)
            for action in actions:
                take(session, action)
            gaps.append(limit - session.result().score)
            for policy in OFFICIAL_POLICIES.values():
                played = MMGCSession(dataset, name, trace, seeds)
                play(policy(), played)
                assert played.result().score <= limit
        assert 0.0 <= np.mean(gaps) < 1.4
