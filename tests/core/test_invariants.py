"""What must hold in every world after every step, whatever is done: of the kernel and of the naive simulator alike."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from ppgym.core import events
from ppgym.core import state as st
from ppgym.core.state import Params, Sim
from tests.core.kernel import KernelSimulator
from tests.core.naive import Event, NaiveLink, NaiveSimulator
from tests.core.worlds import Pick, plays

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator]),
]

Simulator = NaiveSimulator | KernelSimulator
MAX_STEPS = 80
BYTES = 1e-3  # how far sums of bytes may be off
SECONDS = 1e-8
JOULES = 1e-8


def close(one: float, other: float, tolerance: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=tolerance)


def session(sim: Simulator, picks: list[Pick], check: Any) -> None:
    """Plays, and calls `check(what was seen before the step, what was seen after it)` after each step."""
    seen = sim.observe()
    for number in range(MAX_STEPS):
        if seen["terminated"] or seen["truncated"]:
            return
        before, seen = seen, sim.step(picks[number % len(picks)].action(sim.legal_actions()))
        check(before, seen)


def start(simulator: type[Simulator], world: Sim) -> Simulator:
    return simulator(world)


def size_bytes(world: Sim, video: int, chunk: int, option: int) -> float:
    representation = world.params.option_representation[option]
    return float(world.catalog.chunk_bytes[world.episode.playlist[video], chunk, representation])


@settings(max_examples=40)
@given(play=plays())
def test_fetched_bytes_are_played_wasted_buffered_or_in_flight(
    simulator: type[Simulator], play: tuple[Sim, list[Pick]]
) -> None:
    world, picks = play
    sim = start(simulator, world)

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        played = sum(size_bytes(world, e.video, e.chunk, e.option) for e in sim.events if e.kind == events.EVENT_PLAY)
        buffered = sum(
            size_bytes(world, video, chunk, option)
            for (video, chunk), (status, option) in seen["chunks"].items()
            if status in (st.QUEUED, st.DECODING, st.DECODED)
        )
        in_flight = sum(  # of the videos that were left it is waste already
            received
            for (video, *_), received in zip(seen["transfers"], seen["received_bytes"], strict=True)
            if video >= seen["video"]
        )
        assert close(seen["downloaded_bytes"], played + seen["wasted_bytes"] + buffered + in_flight, BYTES)
        ended = sum(e.value for e in sim.events if e.kind in (events.EVENT_ARRIVAL, events.EVENT_CANCEL))
        assert close(seen["downloaded_bytes"], ended + sum(seen["received_bytes"]), BYTES)
        if seen["terminated"]:
            assert not seen["chunks"] and not seen["transfers"] and seen["reserved_bytes"] == 0

    session(sim, picks, check)


@settings(max_examples=40)
@given(play=plays())
def test_no_more_bytes_than_the_link_carries(simulator: type[Simulator], play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play
    link = NaiveLink(world.params, world.episode)

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        carried = link.bytes_between(before["time_s"], seen["time_s"])
        assert seen["downloaded_bytes"] - before["downloaded_bytes"] <= carried + 1  # an instant's worth
        for received, (video, chunk, option, request_s) in zip(seen["received_bytes"], seen["transfers"], strict=True):
            assert 0 <= received <= size_bytes(world, video, chunk, option) + BYTES
            if seen["time_s"] <= request_s + world.params.rtt_s:
                assert received == 0

    session(start(simulator, world), picks, check)


@settings(max_examples=40)
@given(play=plays())
def test_time_is_play_or_stall_and_the_reward_is_the_sum_of_its_terms(
    simulator: type[Simulator], play: tuple[Sim, list[Pick]]
) -> None:
    world, picks = play
    params = world.params
    returned: defaultdict[str, float] = defaultdict(float)

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        assert close(seen["time_s"], seen["played_s"] + seen["rebuffer_s"], SECONDS)
        names = ("reward_quality", "reward_rebuffer", "reward_switch", "reward_waste", "reward_energy")
        assert close(seen["reward"], sum(seen[name] for name in names), 1e-12)
        for name in names:
            returned[name] += seen[name]
        waste = params.weight_waste * seen["wasted_bytes"] + params.weight_download * seen["downloaded_bytes"]
        expected = {
            "reward_quality": params.weight_quality * seen["quality"],
            "reward_rebuffer": -params.weight_rebuffer * seen["rebuffer_s"] - params.weight_abandon * seen["abandoned"],
            "reward_switch": -params.weight_switch * seen["switch"],
            "reward_waste": -waste * 8e-6,
            "reward_energy": -params.weight_energy * seen["energy_j"],
        }
        assert all(close(returned[name], expected[name], 1e-8) for name in names)
        if before["time_s"] == seen["time_s"]:  # only a request that leaves a slot free takes no time
            assert len(seen["transfers"]) == len(before["transfers"]) + 1
        if seen["truncated"]:
            assert not seen["terminated"] and close(seen["time_s"], world.episode.max_wall_s, 1e-9)

    session(start(simulator, world), picks, check)


TOTALS = (
    "time_s played_s rebuffer_s quality switch downloaded_bytes wasted_bytes energy_j videos_watched abandoned "
    "chunks_begun"
).split()


@settings(max_examples=40)
@given(play=plays())
def test_no_total_ever_falls(simulator: type[Simulator], play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        assert all(before[name] <= seen[name] for name in TOTALS)
        assert all(was <= now for was, now in zip(before["busy_s"], seen["busy_s"], strict=True))
        assert set(before["loaded"]) <= set(seen["loaded"])

    session(start(simulator, world), picks, check)


def log_energy_j(params: Params, log: list[Event], seen: dict[str, Any]) -> float:
    """The energy of a session up to now, part by part, from what the log says began and ended."""
    now_s = seen["time_s"]
    unit_j, job_since_s = 0.0, {}
    radio_on: list[tuple[float, float]] = []
    opened = 0
    for event in log:
        if event.kind == events.EVENT_JOB_START:
            job_since_s[event.video, event.chunk] = event.time_s, params.option_w[event.option]
        elif event.kind in (events.EVENT_JOB_END, events.EVENT_JOB_ABORT):
            since_s, watts = job_since_s.pop((event.video, event.chunk))
            unit_j += watts * (event.time_s - since_s)
        elif event.kind == events.EVENT_REQUEST:
            if opened == 0:
                radio_on.append((event.time_s, math.inf))
            opened += 1
        elif event.kind in (events.EVENT_ARRIVAL, events.EVENT_CANCEL):
            opened -= 1
            if opened == 0:
                radio_on[-1] = radio_on[-1][0], event.time_s
    unit_j += sum(watts * (now_s - since_s) for since_s, watts in job_since_s.values())
    radio_s = sum(min(end_s, now_s) - begin_s for begin_s, end_s in radio_on)
    next_on_s = [begin_s for begin_s, _ in radio_on[1:]] + [now_s]
    gaps_s = [max(begin_s - end_s, 0.0) for (_, end_s), begin_s in zip(radio_on, next_on_s, strict=False)]
    tail_s = sum(min(gap_s, params.radio_tail_s) for gap_s in gaps_s)
    flow_j = params.radio_j_per_mbit * seen["downloaded_bytes"] * 8e-6
    return float(params.idle_w * now_s + unit_j + params.radio_base_w * radio_s + flow_j + params.radio_tail_w * tail_s)


@settings(max_examples=40)
@given(play=plays())
def test_energy_is_the_sum_of_its_parts(simulator: type[Simulator], play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play
    sim = start(simulator, world)

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        assert close(seen["energy_j"], log_energy_j(world.params, sim.events, seen), JOULES)

    session(sim, picks, check)


@settings(max_examples=40)
@given(play=plays())
def test_the_longest_stall_is_that_of_the_current_video(
    simulator: type[Simulator], play: tuple[Sim, list[Pick]]
) -> None:
    world, picks = play
    sim = start(simulator, world)

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        longest_s, since_s = 0.0, math.inf
        for event in sim.events:
            if event.kind == events.EVENT_STALL:
                since_s = event.time_s
            elif event.kind == events.EVENT_STALL_END:
                longest_s, since_s = max(longest_s, event.time_s - since_s), math.inf
            elif event.kind == events.EVENT_SWIPE:
                longest_s = 0.0
        assert close(seen["longest_stall_s"], max(longest_s, seen["time_s"] - since_s), SECONDS)
        if seen["video"] < len(world.episode.patience_s):
            assert seen["longest_stall_s"] <= world.episode.patience_s[seen["video"]] + SECONDS

    session(sim, picks, check)


@settings(max_examples=40)
@given(play=plays())
def test_memory_overflows_by_no_more_than_one_chunk(simulator: type[Simulator], play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play

    def memory(video: int, chunk: int, option: int) -> int:
        begin_s, duration_s = chunk * world.params.chunk_s, world.catalog.duration_s[world.episode.playlist[video]]
        seconds = min(duration_s, begin_s + world.params.chunk_s) - begin_s
        return round(float(world.catalog.memory_bytes_per_s[world.params.option_representation[option]] * seconds))

    def check(before: dict[str, Any], seen: dict[str, Any]) -> None:
        assert seen["reserved_bytes"] == sum(memory(*key, option) for key, (_, option) in seen["chunks"].items())
        playhead = seen["video"], seen["playhead"]
        exempt = seen["chunks"].get(playhead)
        limit = world.params.decoded_buffer_bytes + (memory(*playhead, exempt[1]) if exempt else 0)
        assert seen["reserved_bytes"] <= limit

    session(start(simulator, world), picks, check)


@settings(max_examples=40)
@given(play=plays())
def test_units_do_one_job_at_a_time_in_order_and_never_before_its_bytes(
    simulator: type[Simulator], play: tuple[Sim, list[Pick]]
) -> None:
    world, picks = play
    sim = start(simulator, world)
    session(sim, picks, lambda before, seen: None)
    seen = sim.observe()

    times = [event.time_s for event in sim.events]
    assert times == sorted(times)
    requested: list[tuple[int, int]] = []
    waiting: list[list[tuple[int, int]]] = [[] for _ in range(st.UNITS)]
    running: list[Event | None] = [None] * st.UNITS
    busy_s = [0.0] * st.UNITS
    decoded: set[tuple[int, int]] = set()
    played: list[tuple[int, int]] = []
    left = 0  # videos
    for event in sim.events:
        key = (event.video, event.chunk)
        unit = int(world.params.option_unit[event.option])
        if event.kind == events.EVENT_REQUEST:
            assert key not in requested, "a chunk is requested once"
            assert world.params.option_usable[event.option]
            requested.append(key)
        elif event.kind == events.EVENT_ARRIVAL and event.video >= left:
            waiting[unit].append(key)
        elif event.kind == events.EVENT_JOB_START:
            assert running[unit] is None, "two jobs"
            assert waiting[unit].pop(0) == key, "first in, first out, and not before the last byte"
            running[unit] = event
        elif event.kind in (events.EVENT_JOB_END, events.EVENT_JOB_ABORT):
            job = running[unit]
            assert job is not None and (job.video, job.chunk) == key
            busy_s[unit] += event.time_s - job.time_s
            running[unit] = None
            if event.kind == events.EVENT_JOB_END:
                decoded.add(key)
        elif event.kind == events.EVENT_PLAY:
            assert key in decoded and event.video == left
            assert event.chunk == sum(video == left for video, _ in played), "chunks play in order"
            played.append(key)
        elif event.kind == events.EVENT_SWIPE:
            assert event.video == left
            left += 1
            waiting = [[(video, chunk) for video, chunk in queue if video >= left] for queue in waiting]
    assert left == seen["videos_watched"]
    for unit, job in enumerate(running):
        busy_s[unit] += seen["time_s"] - job.time_s if job else 0.0
        assert close(busy_s[unit], seen["busy_s"][unit], SECONDS)
    if not seen["terminated"]:
        assert seen["queues"] == waiting
        assert [job and job[:2] for job in seen["jobs"]] == [job and (job.video, job.chunk) for job in running]


@settings(max_examples=40)
@given(play=plays())
def test_something_can_always_play_again(simulator: type[Simulator], play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play
    patient = world.episode._replace(patience_s=np.full(len(world.episode.watch_s), math.inf), max_wall_s=1e6)
    sim = simulator(Sim(world.params._replace(wait_s=1e3), world.catalog, patient))

    def ask_for_playhead(seen: dict[str, Any]) -> int:
        """The first way to have the chunk that plays or is waited for; WAIT if it is under way."""
        if (seen["video"], seen["playhead"]) in seen["chunks"]:
            return 0
        usable = [1 + option for option, use in enumerate(world.params.option_usable) if use]
        assert set(usable) <= set(sim.legal_actions()), "the playhead's chunk is always to be had"
        return usable[0]

    session(sim, picks, lambda before, seen: ask_for_playhead(seen) if not seen["terminated"] else None)
    seen = sim.observe()
    begun = seen["chunks_begun"]
    for _ in range(1_000):
        if seen["terminated"] or seen["chunks_begun"] > begun:
            return
        seen = sim.step(ask_for_playhead(seen))
    raise AssertionError("nothing plays any more")
