"""The draws of an episode: what patience adds changes nothing else, and whose patience it is."""

from typing import Any

import numpy as np
import pytest

from ppgym.core.episodes import EpisodeDistribution, Episodes, Links, Sims, draw_episode, new_episodes
from tests.core.test_hand_worked_cases import make_sim

pytestmark = pytest.mark.kernel

VIDEOS = 12
COUNT = 200


def draw(patience: tuple[tuple[float, float], ...], same: float, links: Links | None = None) -> Episodes:
    """Draws of a feed of twelve videos."""
    rows = np.array(patience).reshape(-1, 2)
    distribution = EpisodeDistribution(
        leave_p=0.1,
        patience_at_s=rows[:, 0].copy(),
        patience_share=rows[:, 1].copy(),
        patience_same=same,
        jitter_sigma=0.3,
        wall_base_s=60.0,
        wall_per_feed_s=5.0,
    )
    sim = make_sim([3.5] * VIDEOS)
    links = links or Links(sim.episode.link_time_s, sim.episode.link_bits, np.array([0, 2], np.int32))
    sims = Sims(sim.params, sim.catalog, links, new_episodes(COUNT, VIDEOS, 4))
    rng = np.random.Generator(np.random.PCG64(7))
    for i in range(COUNT):
        draw_episode(rng, distribution, sims, i)
    return sims.episodes


UNIFORM = ((2.0, 1.0), (10.0, 0.0))


def test_patience_is_drawn_after_everything_else() -> None:
    none, uniform = draw((), 0.5), draw(UNIFORM, 0.5)
    assert np.isinf(none.patience_s).all()
    for name in Episodes._fields:
        if name != "patience_s":
            np.testing.assert_array_equal(getattr(none, name), getattr(uniform, name))


def test_an_episode_is_watched_to_its_feed_and_cut_after_it() -> None:
    episodes = draw((), 0.5)
    np.testing.assert_allclose(episodes.max_wall_s, 60.0 + 5.0 * 3.5 * VIDEOS)
    np.testing.assert_array_equal(np.sort(episodes.playlist), [range(VIDEOS)] * COUNT)
    np.testing.assert_array_equal(episodes.watch_s, 3.5)  # all watch to the end


def test_every_trace_is_drawn_as_often_and_begins_anywhere() -> None:
    durations_s = np.array([10.0, 20.0, 40.0])
    edges_s = np.ravel([[0.0, end_s] for end_s in durations_s])
    episodes = draw((), 0.5, Links(edges_s, 1e6 * edges_s, np.array([0, 2, 4, 6], np.int32)))
    counts = np.bincount(episodes.link, minlength=3)
    assert (abs(counts - COUNT / 3) < 30).all()  # 4.5 standard deviations
    place = episodes.link_offset_s / durations_s[episodes.link]
    assert (place >= 0.0).all() and (place < 1.0).all()
    for link in range(3):
        assert abs(place[episodes.link == link].mean() - 0.5) < 0.2


@pytest.mark.parametrize("same, pairs", [(1.0, 1.0), (0.0, 0.0), (0.5, 0.25)])
def test_a_video_has_the_patience_of_the_session_or_its_own(same: float, pairs: float) -> None:
    patience_s: Any = draw(UNIFORM, same).patience_s
    assert ((patience_s >= 2.0) & (patience_s <= 10.0)).all()
    assert abs(patience_s.mean() - 6.0) < 0.4
    equal = patience_s[:, :-1] == patience_s[:, 1:]
    assert abs(equal.mean() - pairs) < 0.05  # two videos have one patience if both have the session's
