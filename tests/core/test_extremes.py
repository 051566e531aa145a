"""The ends of what a world may be: twenty videos of ten minutes, and the smallest and largest of every size."""

import itertools

import numpy as np
import pytest

from ppgym.core.actions import find_candidates
from ppgym.core.dynamics import transition
from ppgym.core.episodes import EpisodeDistribution
from ppgym.core.observation import make_features, observe
from ppgym.core.state import ABSENT, LOOKAHEAD, RING, SLOTS, UNITS, Sim
from tests.core.kernel import KernelSimulator
from tests.core.test_hand_worked_cases import make_sim

pytestmark = pytest.mark.kernel

VIDEOS = 20
DURATION_S = 600.0
STEPS = 40
TOTALS = "time_s played_s rebuffer_s quality switch downloaded_bytes wasted_bytes energy_j video abandoned chunks_begun"


def extreme_sim(chunk_s: float, chunk_bytes: float, rate_mbps: float, decode_s: float) -> Sim:
    """A feed as long as can be; every other video is left out of impatience after 20 s."""
    sim = make_sim(
        [DURATION_S] * VIDEOS,
        chunk_s=chunk_s,
        wait_s=3600.0,
        parallel_downloads=2,
        option_decode_s=np.full(4, decode_s),
        option_load_s=np.full(4, 1.0),
        option_w=np.full(4, 3.0),
        contention=1.0 + 0.5 * np.ones((UNITS, 1)) * np.arange(UNITS + 1),
        throttle=100.0,
        idle_w=0.5,
        radio_base_w=0.5,
        radio_j_per_mbit=0.5,
        radio_tail_w=0.5,
        radio_tail_s=3.0,
        patience_s=np.where(np.arange(VIDEOS) % 2, 20.0, np.inf),
        link_bits=np.array([0.0, 1e6 * rate_mbps]),
        max_wall_s=60.0 + 5 * VIDEOS * DURATION_S,
    )
    catalog = sim.catalog._replace(chunk_bytes=np.full_like(sim.catalog.chunk_bytes, chunk_bytes))
    return sim._replace(catalog=catalog)


@pytest.mark.parametrize(
    "chunk_s, chunk_bytes, rate_mbps, decode_s",
    list(itertools.product([0.5, 0.7, 10.0], [1.0, 1e9], [1e-3, 1e6], [1e-6, 1e4])),
)
def test_totals_stay_finite_and_never_fall(
    chunk_s: float, chunk_bytes: float, rate_mbps: float, decode_s: float
) -> None:
    sim = extreme_sim(chunk_s, chunk_bytes, rate_mbps, decode_s)
    played = KernelSimulator(sim)
    viewer = EpisodeDistribution(0.1, np.array([0.0, 20.0]), np.array([1.0, 0.0]), 0.5, 0.1, 60.0, 5.0)
    features = make_features(sim.params, sim.catalog, viewer, [True] * UNITS)
    candidates = np.empty((SLOTS, LOOKAHEAD), np.int32)
    observation = np.full(features.layout.size, np.nan, np.float32)
    seen = played.observe()
    for number in range(STEPS):
        if seen["terminated"] or seen["truncated"]:
            break
        legal = played.legal_actions()
        action = (legal[min(1, len(legal) - 1)], legal[-1], 0)[number % 3]
        before, seen = seen, played.step(action)
        for name in TOTALS.split():
            assert before[name] <= seen[name] < np.inf, name
        assert all(np.isfinite(seen[name]) for name in seen if name.startswith("reward"))
        assert seen["time_s"] == pytest.approx(seen["played_s"] + seen["rebuffer_s"])
        assert 0 <= seen["reserved_bytes"]
        for was, now in zip(before["busy_s"], seen["busy_s"], strict=True):
            assert was <= now <= seen["time_s"] * (1 + 1e-9)
        find_candidates(sim, played.state, candidates)
        observe(sim, played.state, features, candidates, observation)
        assert ((observation >= -1.0) & (observation <= 1.0)).all()
    assert seen["time_s"] > 0


def test_a_feed_of_tiny_chunks_is_played_to_its_end() -> None:
    # Everything arrives and decodes at once: each chunk is fetched when the one before it has begun
    sim = extreme_sim(chunk_s=10.0, chunk_bytes=1.0, rate_mbps=1e6, decode_s=1e-6)
    sim = sim._replace(params=sim.params._replace(throttle=1.0, option_load_s=np.zeros(4), parallel_downloads=1))
    state, steps = KernelSimulator(sim).state, 0
    while not state.terminated:
        asked = int(state.playhead) + int(state.playing)
        fetched = asked == DURATION_S / 10 or state.chunk_status[state.video % SLOTS, asked % RING] != ABSENT
        transition(sim, state, 0 if fetched else 1)
        steps += 1
        assert steps < 10_000
    assert state.played_s == pytest.approx(VIDEOS * DURATION_S)
    assert state.rebuffer_s == pytest.approx(VIDEOS * (0.25 + 1e-5), rel=1e-3)
    assert state.downloaded_bytes == VIDEOS * 60
    assert state.wasted_bytes == 0
