"""How far the simulator is from a live session: each end predicted from the same start, and the requests replayed."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ppgym.benchmark.episodes import session_seed
from ppgym.core.actions import first_chunk
from ppgym.core.content import content_s
from ppgym.core.dynamics import STOP_AT_EVENT, STOP_AT_FREE_SLOT, STOP_NEVER, advance, reset_state
from ppgym.core.episodes import Episodes, view_sim
from ppgym.core.events import new_log
from ppgym.core.state import ABSENT, F8, NEVER_S, RING, SLOTS, UNIT_NAMES, Sim, StateRecord, new_states
from ppgym.core.transfers import request
from ppgym.live.link import SharedLink
from ppgym.live.recording import Record
from ppgym.world.scenario import World, make_rng

MAX_EVENTS = 1 << 14
EARLY_S = 0.25  # by which a live request may come before the simulator is as far
ENDLESS_BYTES = 1 << 50  # of transfers whose end was measured

Transfer = dict[str, Any]  # as a diary keeps it
Law = Callable[[float], SharedLink]  # a link that no transfer uses yet, from a time on


class Errors(NamedTuple):
    """Seconds by which live ends are later than the simulator's from the same start.

    Attributes:
        transfer_s: Of each transfer.
        decode_s: Of each job.
        boundary_s: Of each end of a chunk or of patience.
        ratio: Of each job, its seconds over the expected ones.
        expected_s: Of each job.
    """

    transfer_s: F8
    decode_s: F8
    boundary_s: F8
    ratio: F8
    expected_s: F8


def drawn(world: World, number: int) -> Episodes:
    """The hidden draw of a session."""
    episodes = world.new_episodes(1)
    world.draw(make_rng(session_seed(world.scenario.name, number), world.split), episodes, 0)
    return episodes


def one_step_ahead(world: World, record: Record) -> Errors:
    """Predict each end of a live session from its start.

    Args:
        world: With the link as it was measured.
        record: Of the session.

    Returns:
        The errors.
    """
    sim = view_sim(world.sims(drawn(world, record["number"])), 0)
    diary = record["diary"]
    jobs = [one for one in diary["jobs"] if one["outcome"] == "decoded"]
    took_s = np.array([one["end_s"] - one["start_s"] for one in jobs])
    expected_s = np.array([expected_job_s(sim, one) for one in jobs])
    return Errors(
        transfer_s=transfer_errors(law_of(sim), diary["transfers"]),
        decode_s=took_s - expected_s,
        boundary_s=np.array([seen_s - due_s for due_s, seen_s in diary["boundaries"]]),
        ratio=took_s / expected_s,
        expected_s=expected_s,
    )


def expected_job_s(sim: Sim, job: dict[str, Any]) -> float:
    """Seconds that the profile expects of a job, with as many busy units as there were at its start."""
    params, option = sim.params, job["option"]
    seconds = content_s(params, sim.catalog, sim.episode.playlist[job["video"]], job["chunk"])
    factor = params.contention[UNIT_NAMES.index(job["unit"]), job["busy"]]
    return float(params.option_decode_s[option] * seconds * factor)


def law_of(sim: Sim) -> Law:
    """The law of an episode's link."""
    episode, params = sim.episode, sim.params
    link = episode.link_time_s, episode.link_bits, episode.link_offset_s
    return partial(SharedLink, *link, params.link_efficiency, params.rtt_s)


def transfer_errors(law_from: Law, transfers: list[Transfer]) -> F8:
    """By how much each transfer that arrived ended later than the law of the link says.

    Args:
        law_from: Of the link.
        transfers: Each with `request_s`, `end_s` (None of one that was open at the end), `received_bytes`, `outcome`.

    Returns:
        Seconds, of those that arrived.
    """
    arrived = [one for one in transfers if one["outcome"] == "arrived"]
    return np.array([one["end_s"] - predicted_end_s(law_from, transfers, one) for one in arrived])


def predicted_end_s(law_from: Law, transfers: list[Transfer], mine: Transfer) -> float:
    """When a transfer ends by the law, given its request; the others come and go as was measured.

    Args:
        law_from: Of the link.
        transfers: See `transfer_errors`.
        mine: One of them.

    Returns:
        Seconds since reset.
    """
    begin_s = mine["request_s"]
    law = law_from(begin_s)
    flow = law.open(begin_s, mine["received_bytes"])
    others = {}
    for one in transfers:
        end_s = NEVER_S if one["end_s"] is None else one["end_s"]
        if one is not mine and one["request_s"] < mine["end_s"] and end_s > begin_s:
            other = law.open(begin_s, ENDLESS_BYTES)
            other.start_s = one["request_s"] + law.rtt_s
            others[other] = end_s
    changes = {flow.start_s, *(other.start_s for other in others), *others.values()}
    for at_s in sorted(change_s for change_s in changes if begin_s < change_s < NEVER_S):
        if flow.start_s <= law.settled_s and law.end_s(flow) <= at_s:
            break
        law.settle(at_s)
        for other in [other for other, end_s in others.items() if end_s == at_s]:
            law.close(other, at_s)
    return law.end_s(flow)


def measured_link(world: World, records: list[Record]) -> World:
    """The world with the round trip that live sessions measured: what every transfer ends later is added to it.

    Args:
        world: Of the feed.
        records: Live sessions.

    Returns:
        The same world for a client; the kernel's round trip is another.
    """
    errors = [one_step_ahead(world, record).transfer_s for record in records]
    late_s = float(np.median(np.concatenate(errors))) if any(map(len, errors)) else 0.0
    return with_params(world, rtt_s=max(world.params.rtt_s + late_s, 0.0))


def with_params(world: World, **params: Any) -> World:
    """A world whose kernel has other constants; what a client sees of it stays."""
    return dataclasses.replace(world, params=world.params._replace(**params))


def replay_requests(world: World, record: Record, decode_as_measured: bool) -> dict[str, float]:
    """Open loop: the requests of a live session, sent in the simulator at the same times.

    A request waits for a free slot where the simulator's transfer ends later than the real one, and up to `EARLY_S` for
    a swipe or a chunk's end that comes later. One whose chunk cannot be requested there is left out and counted.

    Args:
        world: The simulator's.
        record: Of the live session.
        decode_as_measured: Whether jobs take what they took live, or what the profile expects.

    Returns:
        `rebuffer_s`, `wasted_bytes`, `downloaded_bytes`, `played_s`, `quality`, and `left_out` requests.
    """
    episodes = drawn(world, record["number"])
    sim = view_sim(world.sims(episodes), 0)
    sim.episode.jitter[:] = 1.0
    for job in record["diary"]["jobs"] if decode_as_measured else ():
        took_s = NEVER_S if job["end_s"] is None else job["end_s"] - job["start_s"]  # one that was aborted has no end
        sim.episode.jitter[job["video"], job["chunk"]] = took_s / expected_job_s(sim, job)
    state, log, left_out = new_states(1)[0], new_log(MAX_EVENTS), 0
    reset_state(sim, state, log)
    for one in record["diary"]["transfers"]:
        if not state.terminated:
            advance(sim, state, max(one["request_s"], float(state.time_s)), STOP_NEVER, log)
        if not state.terminated and state.transfers >= sim.params.parallel_downloads:
            advance(sim, state, NEVER_S, STOP_AT_FREE_SLOT, log)
        limit_s = float(state.time_s) + EARLY_S
        while is_ahead(state, one["video"], one["chunk"]) and state.time_s < limit_s:
            advance(sim, state, limit_s, STOP_AT_EVENT, log)
        if can_request(sim, state, one["video"], one["chunk"]):
            request(sim, state, one["video"], one["chunk"], one["option"], log)
        else:
            left_out += 1
    if not (state.terminated or state.truncated):
        advance(sim, state, NEVER_S, STOP_NEVER, log)
    names = "rebuffer_s", "wasted_bytes", "downloaded_bytes", "played_s", "quality"
    return {name: float(state[name]) for name in names} | {"left_out": float(left_out)}


def is_ahead(state: StateRecord, video: int, chunk: int) -> bool:
    """Whether a chunk cannot be requested yet, in a session that goes on."""
    ended = state.terminated or state.truncated
    return bool(not ended and (video >= state.video + SLOTS or chunk >= first_chunk(state, video) + RING))


def can_request(sim: Sim, state: StateRecord, video: int, chunk: int) -> bool:
    """Whether a chunk is still to be requested."""
    if state.terminated or state.truncated or not state.video <= video < state.video + SLOTS:
        return False
    first = first_chunk(state, video)
    return bool(first <= chunk < first + RING and state.chunk_status[video % SLOTS, chunk % RING] == ABSENT)
