"""Many hidden draws as arrays, and how one is drawn.

An `Episodes` holds N draws side by side, so that a vector environment consists of arrays alone; `take_sim` gives
the `Sim` of one of them. The traces are a shared pool, and a draw only points into it.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.content import watch_time_s
from ppgym.core.jit import kernel, njit
from ppgym.core.patience import patience_of
from ppgym.core.state import F8, I4, U1, CatalogArrays, Episode, Params, Sim

SHORTEST_WATCH_S = 1e-3  # a watch time is above 0


class Links(NamedTuple):
    """A pool of traces, laid end to end."""

    time_s: F8  # edges of every trace, each from 0
    bits: F8  # bits carried up to each edge, each from 0
    first: I4  # [traces + 1] index of each trace's first edge


class EpisodeDistribution(NamedTuple):
    """The distribution of what the catalog and the links leave open; public."""

    leave_p: float
    patience_at_s: F8  # [T] the table of patience, see `patience.py`
    patience_share: F8  # [T]
    patience_same: float  # P(a video has the session's draw of patience, and none of its own)
    jitter_sigma: float  # of the logarithm of the factor on decode seconds, whose mean is 1
    wall_base_s: float  # a session is truncated after this ...
    wall_per_feed_s: float  # ... plus this times the feed's seconds


class Episodes(NamedTuple):
    """N draws; fields as in `Episode` with a leading axis, the link by its index in the pool."""

    playlist: I4  # [N, V]
    watch_s: F8  # [N, V]
    leaves: U1  # [N, V]
    patience_s: F8  # [N, V]
    jitter: F8  # [N, V, C]
    link: I4  # [N]
    link_offset_s: F8  # [N]
    max_wall_s: F8  # [N]


class Sims(NamedTuple):
    """One scenario and N hidden draws: a `Sim` for each."""

    params: Params
    catalog: CatalogArrays
    links: Links
    episodes: Episodes


def new_episodes(count: int, videos: int, chunks: int) -> Episodes:
    """Room for draws.

    Args:
        count: N.
        videos: V.
        chunks: C, the most chunks of any video of the catalog.

    Returns:
        Episodes, blank until `draw_episode` fills them.
    """
    return Episodes(
        playlist=np.zeros((count, videos), np.int32),
        watch_s=np.zeros((count, videos)),
        leaves=np.zeros((count, videos), np.uint8),
        patience_s=np.zeros((count, videos)),
        jitter=np.ones((count, videos, chunks)),
        link=np.zeros(count, np.int32),
        link_offset_s=np.zeros(count),
        max_wall_s=np.zeros(count),
    )


def view_sim(sims: Sims, i: int) -> Sim:
    """One of many draws, as views.

    Args:
        sims: The scenario and the draws.
        i: Which.

    Returns:
        What is constant, and the draw.
    """
    episodes, links = sims.episodes, sims.links
    first, end = links.first[episodes.link[i]], links.first[episodes.link[i] + 1]
    episode = Episode(
        episodes.playlist[i],
        episodes.watch_s[i],
        episodes.leaves[i],
        episodes.patience_s[i],
        episodes.jitter[i],
        links.time_s[first:end],
        links.bits[first:end],
        episodes.link_offset_s[i],
        episodes.max_wall_s[i],
    )
    return Sim(sims.params, sims.catalog, episode)


def drawn_watch_s(episodes: Episodes) -> F8:
    """What the viewers would watch, whatever the client does: the denominator of a benchmark's QoE.

    Args:
        episodes: N draws.

    Returns:
        [N] sums of the drawn watch times up to the video after which the viewer ends the session, in seconds.
    """
    leaves, total_s = episodes.leaves, np.zeros(len(episodes.link))
    ends = np.where(leaves.any(axis=1), leaves.argmax(axis=1) + 1, leaves.shape[1])
    for end in np.unique(ends):  # sums of equal length, so that a draw's sum does not depend on the others
        total_s[ends == end] = episodes.watch_s[ends == end, :end].sum(axis=1)
    return total_s


take_sim = kernel(view_sim)  # for other kernels alone, since it returns arrays


@njit
def draw_episode(rng: np.random.Generator, distribution: EpisodeDistribution, sims: Sims, i: int) -> None:
    """Draw everything random of one episode.

    Videos of a feed are distinct. The order of the draws is fixed: playlist, link, then for each video its watch time,
    whether the session ends after it, and the jitter of its chunks; then the session's patience, and for each video
    whether it has that one, and one of its own.

    Args:
        rng: Source of randomness.
        distribution: How to draw.
        sims: The scenario; its episodes are the output.
        i: Which of them to fill.
    """
    catalog, links, episodes = sims.catalog, sims.links, sims.episodes
    videos = episodes.playlist.shape[1]
    for v in range(videos):
        fresh = False
        while not fresh:
            candidate = int(rng.random() * catalog.n_chunks.shape[0])
            fresh = True
            for earlier in range(v):
                fresh = fresh and episodes.playlist[i, earlier] != candidate
        episodes.playlist[i, v] = candidate

    link = int(rng.random() * (links.first.shape[0] - 1))
    episodes.link[i] = link
    episodes.link_offset_s[i] = rng.random() * links.time_s[links.first[link + 1] - 1]

    feed_s, sigma = 0.0, distribution.jitter_sigma
    for v in range(videos):
        index = episodes.playlist[i, v]
        feed_s += catalog.duration_s[index]
        watch_s = watch_time_s(catalog.retention[index], catalog.duration_s[index], rng.random())
        episodes.watch_s[i, v] = max(watch_s, SHORTEST_WATCH_S)
        episodes.leaves[i, v] = rng.random() < distribution.leave_p
        for chunk in range(catalog.n_chunks[index]):
            episodes.jitter[i, v, chunk] = np.exp(sigma * rng.standard_normal() - 0.5 * sigma**2)
    episodes.max_wall_s[i] = distribution.wall_base_s + distribution.wall_per_feed_s * feed_s

    at_s, share, session = distribution.patience_at_s, distribution.patience_share, rng.random()
    for v in range(videos):
        same, own = rng.random() < distribution.patience_same, rng.random()
        episodes.patience_s[i, v] = patience_of(at_s, share, session if same else own)
