"""What the student of the planner sees: a richer picture of what a client may know than the observation.

The observation leaves out what the planner weighs: the quality of the chunk requested before a candidate, how fast the
viewer is leaving, how late each request would be ready, and what the planner's rollout policy thinks of it. All of it
follows from the planning view. One kernel fills it, for a view and for arrays of states alike. Nothing is learned here.

S slots, L look-aheads, of which K are shown, R representations, O options, U compute units.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, first_chunk, fits_in_memory
from ppgym.core.episodes import Links, Sims, new_episodes, take_sim
from ppgym.core.jit import kernel, nogil
from ppgym.core.observation import position_s, survival_at
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    DECODED,
    F4,
    F8,
    HISTORY,
    IN_FLIGHT,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    UNITS,
    Sim,
    StateRecord,
)
from ppgym.planning.rollout import (
    RECENT,
    RolloutPolicy,
    SlotEstimates,
    estimate_bps,
    expected_stall_s,
    leaving_rate,
    new_estimates,
    parameters_at,
    value_actions,
)
from ppgym.planning_view import PlanningView

SITUATION = HISTORY + 14 + 2 * UNITS  # numbers of the situation as a whole
WAIT_VALUE = HISTORY + 13  # place of what the rollout policy thinks of waiting
PLAYING = HISTORY + 5  # place of whether a chunk plays
SLOT = 13  # of a slot
CANDIDATE = 8  # of a candidate
NEEDED = 7  # place in a candidate's numbers: the current video goes on with it
REQUEST = 8  # of a request: a candidate with an option
LOOKS = 2  # K
LEAVING_SPANS_S = (1.0, 3.0, 8.0)
RATE_SCALE_BPS = 1.2e6  # rates are shown by the logarithm of their ratio to this
LEAST_BPS = 1e4
VALUE_LIMIT = 10.0  # of what the rollout policy thinks, in QoE
ROLLOUT = RolloutPolicy()


class GlimpseLayout(NamedTuple):
    """Where each part begins in the flat vector, and its length in all."""

    slots: int  # [S, SLOT]
    candidates: int  # [S, K, CANDIDATE]
    requests: int  # [S, K, O, REQUEST]
    size: int


def glimpse_layout(options: int) -> GlimpseLayout:
    """The layout for O options."""
    candidates = SITUATION + SLOTS * SLOT
    requests = candidates + SLOTS * LOOKS * CANDIDATE
    return GlimpseLayout(SITUATION, candidates, requests, requests + SLOTS * LOOKS * options * REQUEST)


@kernel
def show_rate(bps: float) -> float:
    """A rate as the student sees it."""
    ratio: float = np.log(max(bps, LEAST_BPS) / RATE_SCALE_BPS)
    return ratio


@kernel
def show_value(value: float) -> float:
    """A value of the rollout policy as the student sees it."""
    return min(max(value, -VALUE_LIMIT), VALUE_LIMIT) / 2.0


@kernel
def fade(seconds: float) -> float:
    """A time from 0 on, of which the first seconds count most."""
    return seconds / (seconds + 2.0)


@kernel
def show_situation(
    sim: Sim, state: StateRecord, leave_p: float, estimates: SlotEstimates, wait_value: float, out: F4
) -> None:
    """Fill the situation as a whole; see `glimpse` for the arguments."""
    params = sim.params
    seen = min(int(state.throughputs), HISTORY)
    for back in range(seen):
        out[back] = show_rate(state.throughput_bps[(state.throughputs - 1 - back) % HISTORY])
    age_s = state.time_s - state.throughput_time_s[(state.throughputs - 1) % HISTORY] if seen > 0 else 0.0
    since_s = state.time_s - state.playback_since_s
    at = HISTORY
    out[at] = show_rate(estimate_bps(state, 2))
    out[at + 1] = show_rate(estimate_bps(state, RECENT))
    out[at + 2] = show_rate(estimate_bps(state, HISTORY))
    out[at + 3] = seen / HISTORY
    out[at + 4] = fade(age_s)
    out[PLAYING] = 1.0 * state.playing
    out[at + 6] = fade(since_s) * (1.0 - state.playing)
    out[at + 7] = since_s * state.playing
    out[at + 8] = state.begun_quality
    out[at + 9] = min(1.0 * state.chunks_begun, 1.0)
    out[at + 10] = 1.0 - state.reserved_bytes / params.decoded_buffer_bytes
    out[at + 11] = 5.0 * leave_p
    out[at + 12] = state.transfers / params.parallel_downloads
    out[WAIT_VALUE] = show_value(wait_value)
    at = WAIT_VALUE + 1
    for unit in range(UNITS):
        out[at + unit] = estimates.backlog_s[unit] / 4.0
    for option in range(params.option_unit.shape[0]):
        if params.option_usable[option]:
            out[at + UNITS + params.option_unit[option]] = 1.0


@kernel
def show_slots(sim: Sim, state: StateRecord, leave_p: float, out: F4) -> None:
    """Fill the slots; see `glimpse` for the arguments."""
    catalog = sim.catalog
    reach, ahead_s = 1.0, 0.0
    for slot in range(SLOTS):
        video = state.video + slot
        if video >= sim.episode.playlist.shape[0]:
            break
        index, row, begin = sim.episode.playlist[video], video % SLOTS, first_chunk(state, video)
        watched_s = position_s(state) if slot == 0 else 0.0
        ready, unbroken, in_flight, requested = 0, 0, 0, 0
        for chunk in range(begin, min(catalog.n_chunks[index], begin + RING)):
            status = state.chunk_status[row, chunk % RING]
            requested += status != ABSENT
            in_flight += status == IN_FLIGHT
            ready += status == DECODED
            unbroken += status == DECODED and unbroken == chunk - begin
        alive, staying_s = survival_at(catalog, index, watched_s), 0.0
        if alive > 0.0:
            for second in range(int(watched_s), catalog.n_chunks[index]):
                staying_s += catalog.retention[index, second + 1] / alive
        at = SITUATION + slot * SLOT
        out[at] = 1.0
        out[at + 1] = (catalog.n_chunks[index] - watched_s) / 20.0
        out[at + 2] = watched_s / 20.0
        out[at + 3] = unbroken / 5.0
        out[at + 4] = ready / 5.0
        out[at + 5] = (requested - ready) / 5.0
        out[at + 6] = 1.0 * in_flight
        out[at + 7] = reach
        out[at + 8] = ahead_s / 20.0
        out[at + 9] = staying_s / 20.0
        for k in range(len(LEAVING_SPANS_S)):
            out[at + 10 + k] = leaving_rate(catalog, index, watched_s, LEAVING_SPANS_S[k]) * LEAVING_SPANS_S[k]
        reach *= 1.0 - leave_p
        ahead_s += staying_s


@kernel
def show_requests(
    sim: Sim,
    state: StateRecord,
    policy: RolloutPolicy,
    lookahead: int,
    estimates: SlotEstimates,
    values: F8,
    out: F4,
) -> None:
    """Fill the candidates and requests of a look-ahead that the rollout policy has just valued; see `glimpse`."""
    params, catalog = sim.params, sim.catalog
    options = params.option_unit.shape[0]
    bps = estimate_bps(state, RECENT)
    parameters = parameters_at(policy, bps, estimate_bps(state, HISTORY))
    bps *= parameters.bps_share
    for slot in range(SLOTS):
        if estimates.chunk[slot] == NO_ENTRY:
            continue
        chunk, video, place = estimates.chunk[slot], state.video + slot, slot * LOOKS + lookahead
        index = sim.episode.playlist[video]
        due_s = estimates.due_s[slot] + (parameters.margin_s if slot == 0 else 0.0)
        alive = survival_at(catalog, index, position_s(state) if slot == 0 else 0.0)
        follows = chunk > first_chunk(state, video)
        at = SITUATION + SLOTS * SLOT + place * CANDIDATE
        out[at] = 1.0
        out[at + 1] = due_s / 10.0
        out[at + 2] = fade(max(due_s, 0.0))
        out[at + 3] = estimates.played_p[slot]
        out[at + 4] = min(catalog.retention[index, chunk] / alive, 1.0) if alive > 0.0 else 0.0
        out[at + 5] = estimates.reference[slot]
        out[at + 6] = 1.0 * (follows and state.chunk_status[video % SLOTS, (chunk - 1) % RING] != ABSENT)
        out[at + NEEDED] = 1.0 * (slot == 0 and chunk == state.playhead)
        for option in range(options):
            representation = params.option_representation[option]
            if not params.option_usable[option] or not fits_in_memory(sim, state, slot, chunk, representation):
                continue
            size_bytes = catalog.chunk_bytes[index, chunk, representation]
            quality = catalog.quality[index, chunk, representation]
            arrival_s = params.rtt_s + 8.0 * size_bytes / bps
            ready_s = max(arrival_s, estimates.backlog_s[params.option_unit[option]]) + params.option_decode_s[option]
            late_s = ready_s - due_s
            action = 1 + (slot * LOOKAHEAD + lookahead) * options + option
            at = SITUATION + SLOTS * SLOT + SLOTS * LOOKS * CANDIDATE + (place * options + option) * REQUEST
            out[at] = 1.0
            out[at + 1] = show_value(values[action])
            out[at + 2] = late_s / (2.0 + abs(late_s))
            out[at + 3] = fade(expected_stall_s(estimates, slot, ready_s))
            out[at + 4] = size_bytes * MBIT_PER_BYTE
            out[at + 5] = quality
            out[at + 6] = abs(quality - estimates.reference[slot])
            out[at + 7] = fade(params.option_decode_s[option])


@kernel
def glimpse(
    sim: Sim,
    state: StateRecord,
    leave_p: float,
    policy: RolloutPolicy,
    estimates: SlotEstimates,
    values: F8,
    out: F4,
) -> None:
    """Fill the picture of a state.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        leave_p: P(the session ends after a video).
        policy: The rollout policy.
        estimates: Scratch.
        values: Scratch [1 + S * L * O].
        out: Output float32 [size]; a request that is illegal, or further ahead than the rollout policy looks, is 0.
    """
    out[:] = 0.0
    for step in range(LOOKS):
        lookahead = LOOKS - 1 - step  # so that what remains of WAIT's value and of the estimates is of the first
        value_actions(sim, state, leave_p, policy, lookahead, estimates, values)
        show_requests(sim, state, policy, lookahead, estimates, values, out)
    show_situation(sim, state, leave_p, estimates, values[WAIT], out)
    show_slots(sim, state, leave_p, out)


@nogil
def glimpse_many(
    sims: Sims,
    states: np.ndarray,
    leave_p: float,
    policy: RolloutPolicy,
    estimates: SlotEstimates,
    values: F8,
    out: F4,
) -> None:
    """Fill the pictures [N, size] of N states; see `glimpse`."""
    for i in range(states.shape[0]):
        glimpse(take_sim(sims, i), states[i], leave_p, policy, estimates, values, out[i])


def look(view: PlanningView) -> F4:
    """The picture of a planning view.

    Args:
        view: The view.

    Returns:
        float32 [size].
    """
    video = int(view.state.video)
    visible = int((view.catalog.n_chunks > 0).sum())
    episodes = new_episodes(1, video + visible, 1)
    episodes.playlist[0, video:] = np.arange(visible)
    links = Links(np.zeros(1), np.zeros(1), np.array([0, 1], np.int32))
    options = len(view.options)
    out = np.zeros((1, glimpse_layout(options).size), np.float32)
    glimpse_many(
        Sims(view.params, view.catalog, links, episodes),
        np.array([view.state]),
        view.distribution.leave_p,
        ROLLOUT,
        new_estimates(),
        np.zeros(len(view.action_mask)),
        out,
    )
    seen: F4 = out[0]
    return seen
