"""The law of the link, against the simulator's kernel and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ppgym.core.events import EVENT_ARRIVAL, EVENT_REQUEST
from ppgym.env import PromptPreamEnv
from ppgym.live.link import SharedLink


def link(rate_bps: float, rtt_s: float = 0.0) -> SharedLink:
    return SharedLink(np.array([0.0, 1.0]), np.array([0.0, rate_bps]), 0.0, 1.0, rtt_s)


def test_one_transfer_takes_a_round_trip_and_its_bytes() -> None:
    law = link(8000.0, rtt_s=0.5)
    flow = law.open(1.0, 1000)
    assert law.end_s(flow) == pytest.approx(2.5)
    law.settle(1.5)
    assert flow.carried_bytes == 0
    law.settle(2.0)
    assert flow.carried_bytes == pytest.approx(500)
    law.settle(3.0)
    assert flow.carried_bytes == 1000


def test_two_transfers_share_until_one_ends() -> None:
    law = link(8000.0)
    first = law.open(0.0, 1000)
    law.settle(0.5)  # half of it alone
    second = law.open(0.5, 1000)
    assert law.end_s(first) == pytest.approx(1.5)
    law.settle(1.5)
    assert first.carried_bytes == 1000
    assert second.carried_bytes == pytest.approx(500)
    assert law.end_s(second) == pytest.approx(2.0)  # alone again
    law.close(first, 1.6)
    law.settle(2.0)
    assert second.carried_bytes == 1000


def test_a_closed_transfer_gives_its_share_back() -> None:
    law = link(8000.0)
    first, second = law.open(0.0, 1000), law.open(0.0, 1000)
    law.close(first, 1.0)
    assert first.carried_bytes == pytest.approx(500)
    assert law.end_s(second) == pytest.approx(1.5)


def test_how_often_it_is_asked_changes_nothing() -> None:
    often, seldom = link(10_007.0, rtt_s=0.013), link(10_007.0, rtt_s=0.013)
    flows = [(law.open(0.1, 700), law.open(0.31, 900)) for law in (often, seldom)]
    for now_s in np.linspace(0.31, 1.3, 173):
        often.settle(float(now_s))
    seldom.settle(1.3)
    for one, other in zip(*flows, strict=True):
        assert one.carried_bytes == pytest.approx(other.carried_bytes)


@settings(max_examples=15)
@given(seed=some.integers(0, 10**6), parallel=some.integers(1, 4), rtt_s=some.sampled_from([0.0, 0.08, 0.3]))
def test_is_the_law_of_the_kernel(seed: int, parallel: int, rtt_s: float) -> None:
    env = PromptPreamEnv(parallel_downloads=parallel, rtt_s=rtt_s, render_mode="ansi", n_videos=5)
    _, info = env.reset(seed=seed)
    rng, rows, ended = np.random.default_rng(seed), [], False
    env._timeline.extend = lambda added: rows.extend(added.tolist())  # type: ignore[method-assign, union-attr]
    while not ended and len(rows) < 150:
        action = rng.choice(np.flatnonzero(info["action_mask"]))
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated

    world, episodes = env.world, env._episodes
    first, end = world.links.first[episodes.link[0] :][:2]
    law = SharedLink(
        world.links.time_s[first:end],
        world.links.bits[first:end],
        float(episodes.link_offset_s[0]),
        world.params.link_efficiency,
        rtt_s,
    )
    flows = {}
    arrivals = 0
    for time_s, kind, video, chunk, option, _ in rows:
        if kind == EVENT_REQUEST:
            index, representation = episodes.playlist[0, video], world.params.option_representation[option]
            size_bytes = int(world.catalog.chunk_bytes[index, chunk, representation])
            assert size_bytes == world.catalog.chunk_bytes[index, chunk, representation]
            flows[video, chunk] = law.open(time_s, size_bytes)
        elif kind == EVENT_ARRIVAL:
            law.settle(time_s)
            flow = flows.pop((video, chunk))
            assert flow.left_bytes == pytest.approx(0.0, abs=1e-3)
            law.close(flow, time_s)
            arrivals += 1
    assert arrivals > 0


@settings(max_examples=100, deadline=None)
@given(
    rate_bps=some.floats(1e-3, 1e12),
    offset_s=some.floats(0, 1e6),
    sizes=some.lists(some.integers(1, 1 << 26), min_size=1, max_size=4),
    rtt_s=some.sampled_from([0.0, 1e-9, 0.08]),
)
def test_it_comes_to_an_end_whatever_is_asked(rate_bps: float, offset_s: float, sizes: list[int], rtt_s: float) -> None:
    law = SharedLink(np.array([0.0, 0.1]), np.array([0.0, rate_bps / 10]), offset_s, 1.0, rtt_s)
    flows = [law.open(0.0, size_bytes) for size_bytes in sizes]
    for _ in range(2 * len(flows)):
        left = [flow for flow in flows if flow.left_bytes > 0]
        if left:
            law.settle(min(law.end_s(flow) for flow in left) + rtt_s)
    law.settle(law.settled_s + sum(sizes) * 8 / rate_bps)
    assert all(flow.left_bytes <= 1 for flow in flows)
