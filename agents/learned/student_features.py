"""The features that the planner's student decides on: they say more than the observation does.

They add what the planner weighs: the quality of the chunk before each candidate, how fast the viewer leaves, how late
each request would be ready, and its value by the planner's rollout policy. All of them follow from the planning view.
One kernel fills them, for a view and for arrays of states. Nothing is learned here.

S slots, L look-aheads, of which the features show K, R representations, O options, U compute units.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, first_chunk, fits_in_memory
from ppgym.core.content import last_second, position_s, survival_at
from ppgym.core.decoders import expected_decode_s
from ppgym.core.episodes import Links, Sims, new_episodes, take_sim
from ppgym.core.jit import kernel, nogil
from ppgym.core.observation import squash
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
    Params,
    Sim,
    StateRecord,
)
from ppgym.planning.rollout import (
    RECENT,
    SlotEstimates,
    Tables,
    estimate_bps,
    expected_stall_s,
    leaving_rate,
    make_tables,
    new_estimates,
    value_actions,
)
from ppgym.planning.rollout_parameters import TUNED_QUALITY, RolloutPolicy, parameters_at, qoe_scale
from ppgym.planning_view import PlanningView, writeable_fields

SITUATION = HISTORY + 20 + 2 * UNITS  # features of the situation as a whole
WAIT_VALUE = HISTORY + 19  # place of WAIT's value by the rollout policy
PLAYING = HISTORY + 5  # place of whether a chunk plays
SLOT = 13  # features of a slot
CANDIDATE = 8  # features of a candidate
NEEDED = 7  # place among a candidate's features: it is the current video's next chunk
REQUEST = 9  # features of a request: a candidate with an option
PRESENT, VALUE = 0, 1  # places among a request's features
SHOWN_LOOKAHEADS = 2  # K
LEAVING_SPANS_S = (1.0, 3.0, 8.0)
ROLLOUT = RolloutPolicy()

# Scales bring the features near to 1. They are assumptions: chosen by hand, and the shipped weights depend on them.
# Qualities, bytes and rates are relative to the ladder's q and B (`ppgym.core.observation`), values to a chunk at q.
LEAST_RATE = 0.01  # of B; lower rates have the feature of this one
CONTENT_HALF_S = 10.0
BUFFER_HALF_S = 5.0
DUE_SCALE_S = 10.0
BACKLOG_HALF_S = 2.0
LEAVE_P_FACTOR = 5.0
VALUE_LIMIT = 5.0  # chunks at q
HALF_S = 2.0  # of short times


class FeatureLayout(NamedTuple):
    """Where each part begins in the flat vector, and the length of the vector."""

    slots: int  # [S, SLOT]
    candidates: int  # [S, K, CANDIDATE]
    requests: int  # [S, K, O, REQUEST]
    size: int


def feature_layout(options: int) -> FeatureLayout:
    """The layout for O options.

    Args:
        options: O.

    Returns:
        The layout.
    """
    candidates = SITUATION + SLOTS * SLOT
    requests = candidates + SLOTS * SHOWN_LOOKAHEADS * CANDIDATE
    return FeatureLayout(SITUATION, candidates, requests, requests + SLOTS * SHOWN_LOOKAHEADS * options * REQUEST)


@kernel
def rate_feature(params: Params, bps: float) -> float:
    """The feature of a rate in bits per second."""
    ratio: float = np.log(max(bps / params.reference_bps, LEAST_RATE))
    return ratio


@kernel
def second_qoe(params: Params) -> float:
    """QoE of a second of the ladder's top quality."""
    return TUNED_QUALITY * qoe_scale(params)


@kernel
def chunk_qoe(params: Params) -> float:
    """QoE of a whole chunk of the ladder's top quality."""
    return second_qoe(params) * params.chunk_s


@kernel
def value_feature(params: Params, value: float) -> float:
    """The feature of the value of a request, in QoE by the rollout policy."""
    chunks = value / chunk_qoe(params)
    return min(max(chunks, -VALUE_LIMIT), VALUE_LIMIT)


@kernel
def fill_situation(
    sim: Sim, state: StateRecord, tables: Tables, estimates: SlotEstimates, wait_value: float, out: F4
) -> None:
    """Fill the situation as a whole; see `fill_features` for the arguments."""
    params = sim.params
    known = min(int(state.throughputs), HISTORY)
    for back in range(known):
        out[back] = rate_feature(params, state.throughput_bps[(state.throughputs - 1 - back) % HISTORY])
    age_s = state.time_s - state.throughput_time_s[(state.throughputs - 1) % HISTORY] if known > 0 else 0.0
    since_s = state.time_s - state.playback_since_s
    second, second_mbit = second_qoe(params), params.reference_bps / 1e6
    at = HISTORY
    out[at] = rate_feature(params, estimate_bps(state, 2))
    out[at + 1] = rate_feature(params, estimate_bps(state, RECENT))
    out[at + 2] = rate_feature(params, estimate_bps(state, HISTORY))
    out[at + 3] = known / HISTORY
    out[at + 4] = squash(age_s, HALF_S)
    out[PLAYING] = 1.0 * state.playing
    out[at + 6] = squash(since_s, HALF_S) * (1.0 - state.playing)
    out[at + 7] = since_s / params.chunk_s * state.playing
    out[at + 8] = state.begun_quality / params.top_quality
    out[at + 9] = min(1.0 * state.chunks_begun, 1.0)
    out[at + 10] = 1.0 - state.reserved_bytes / params.decoded_buffer_bytes
    out[at + 11] = LEAVE_P_FACTOR * tables.leave_p
    out[at + 12] = state.transfers / params.parallel_downloads
    out[at + 13] = squash(params.chunk_s, 1.0)
    out[at + 14] = squash(state.longest_stall_s, HALF_S)
    out[at + 15] = squash(tables.stall_price, second)
    out[at + 16] = squash(params.weight_switch * params.top_quality, second)
    out[at + 17] = squash(params.weight_waste * second_mbit, second)
    out[at + 18] = squash(params.weight_download * second_mbit, second)
    out[WAIT_VALUE] = value_feature(params, wait_value)
    at = WAIT_VALUE + 1
    for unit in range(UNITS):
        out[at + unit] = squash(estimates.backlog_s[unit], BACKLOG_HALF_S)
    for option in range(params.option_unit.shape[0]):
        if params.option_usable[option]:
            out[at + UNITS + params.option_unit[option]] = 1.0


@kernel
def fill_slots(sim: Sim, state: StateRecord, leave_p: float, out: F4) -> None:
    """Fill the slots; see `fill_features` for the arguments."""
    catalog = sim.catalog
    reach, ahead_s = 1.0, 0.0
    for slot in range(SLOTS):
        video = state.video + slot
        if video >= sim.episode.playlist.shape[0]:
            break
        index, row, begin = sim.episode.playlist[video], video % SLOTS, first_chunk(state, video)
        watched_s = position_s(sim.params.chunk_s, state) if slot == 0 else 0.0
        ready, unbroken, in_flight, requested = 0, 0, 0, 0
        for chunk in range(begin, min(catalog.n_chunks[index], begin + RING)):
            status = state.chunk_status[row, chunk % RING]
            requested += status != ABSENT
            in_flight += status == IN_FLIGHT
            ready += status == DECODED
            unbroken += status == DECODED and unbroken == chunk - begin
        alive, staying_s = survival_at(catalog, index, watched_s), 0.0
        if alive > 0.0:
            for second in range(int(watched_s), last_second(catalog.duration_s[index]) + 1):
                staying_s += catalog.retention[index, second + 1] / alive
        at = SITUATION + slot * SLOT
        out[at] = 1.0
        out[at + 1] = squash(catalog.duration_s[index] - watched_s, CONTENT_HALF_S)
        out[at + 2] = squash(watched_s, CONTENT_HALF_S)
        out[at + 3] = squash(unbroken * sim.params.chunk_s, BUFFER_HALF_S)
        out[at + 4] = squash(ready * sim.params.chunk_s, BUFFER_HALF_S)
        out[at + 5] = squash((requested - ready) * sim.params.chunk_s, BUFFER_HALF_S)
        out[at + 6] = 1.0 * in_flight
        out[at + 7] = reach
        out[at + 8] = squash(ahead_s, CONTENT_HALF_S)
        out[at + 9] = squash(staying_s, CONTENT_HALF_S)
        for k in range(len(LEAVING_SPANS_S)):
            span_s = LEAVING_SPANS_S[k]
            out[at + 10 + k] = leaving_rate(catalog, index, watched_s, alive, span_s) * span_s
        reach *= 1.0 - leave_p
        ahead_s += staying_s


@kernel
def fill_requests(
    sim: Sim, state: StateRecord, policy: RolloutPolicy, lookahead: int, estimates: SlotEstimates, values: F8, out: F4
) -> None:
    """Fill the candidates and requests of the look-ahead whose values have just been made; see `fill_features`."""
    params, catalog = sim.params, sim.catalog
    options = params.option_unit.shape[0]
    bps = estimate_bps(state, RECENT)
    parameters = parameters_at(policy, params, bps, estimate_bps(state, HISTORY))
    bps *= parameters.bps_share
    for slot in range(SLOTS):
        if estimates.chunk[slot] == NO_ENTRY:
            continue
        chunk, video, place = estimates.chunk[slot], state.video + slot, slot * SHOWN_LOOKAHEADS + lookahead
        index = sim.episode.playlist[video]
        due_s = estimates.due_s[slot] + (parameters.margin_s if slot == 0 else 0.0)
        alive = survival_at(catalog, index, position_s(params.chunk_s, state) if slot == 0 else 0.0)
        follows = chunk > first_chunk(state, video)
        at = SITUATION + SLOTS * SLOT + place * CANDIDATE
        out[at] = 1.0
        out[at + 1] = due_s / (abs(due_s) + DUE_SCALE_S)
        out[at + 2] = squash(max(due_s, 0.0), HALF_S)
        out[at + 3] = estimates.played_p[slot]
        out[at + 4] = min(survival_at(catalog, index, chunk * params.chunk_s) / alive, 1.0) if alive > 0.0 else 0.0
        out[at + 5] = estimates.reference[slot] / params.top_quality
        out[at + 6] = 1.0 * (follows and state.chunk_status[video % SLOTS, (chunk - 1) % RING] != ABSENT)
        out[at + NEEDED] = 1.0 * (slot == 0 and chunk == state.playhead)
        for option in range(options):
            representation = params.option_representation[option]
            if not params.option_usable[option] or not fits_in_memory(sim, state, slot, chunk, representation):
                continue
            size_bytes = catalog.chunk_bytes[index, chunk, representation]
            quality = catalog.quality[index, chunk, representation]
            arrival_s = params.rtt_s + 8.0 * size_bytes / bps
            decode_s = expected_decode_s(params, state, option, estimates.content_s[slot])
            ready_s = max(arrival_s, estimates.backlog_s[params.option_unit[option]]) + decode_s
            late_s = ready_s - due_s
            action = 1 + (slot * LOOKAHEAD + lookahead) * options + option
            at = SITUATION + SLOTS * SLOT + SLOTS * SHOWN_LOOKAHEADS * CANDIDATE + (place * options + option) * REQUEST
            out[at + PRESENT] = 1.0
            out[at + VALUE] = value_feature(params, values[action])
            out[at + 2] = late_s / (HALF_S + abs(late_s))
            out[at + 3] = squash(expected_stall_s(estimates, slot, ready_s), HALF_S)
            out[at + 4] = squash(size_bytes, params.reference_bps * params.chunk_s / 8.0)
            out[at + 5] = quality / params.top_quality
            out[at + 6] = abs(quality - estimates.reference[slot]) / params.top_quality
            out[at + 7] = squash(decode_s, HALF_S)
            out[at + 8] = 1.0 * params.option_generative[option]


@kernel
def fill_features(
    sim: Sim, state: StateRecord, tables: Tables, policy: RolloutPolicy, estimates: SlotEstimates, values: F8, out: F4
) -> None:
    """Fill the features of a state.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        tables: What the policy looks up.
        policy: The rollout policy.
        estimates: Scratch.
        values: Scratch [1 + S * L * O].
        out: Output float32 [size]; 0 for a request that is illegal or further ahead than the rollout policy values.
    """
    out[:] = 0.0
    for step in range(SHOWN_LOOKAHEADS):
        lookahead = SHOWN_LOOKAHEADS - 1 - step  # the first comes last: WAIT's value and the estimates are its own
        value_actions(sim, state, tables, policy, lookahead, estimates, values)
        fill_requests(sim, state, policy, lookahead, estimates, values, out)
    fill_situation(sim, state, tables, estimates, values[WAIT], out)
    fill_slots(sim, state, tables.leave_p, out)


@nogil
def fill_features_many(
    sims: Sims, states: np.ndarray, tables: Tables, policy: RolloutPolicy, estimates: SlotEstimates, values: F8, out: F4
) -> None:
    """Fill the features [N, size] of N states; see `fill_features`."""
    for i in range(states.shape[0]):
        fill_features(take_sim(sims, i), states[i], tables, policy, estimates, values, out[i])


def student_features(view: PlanningView) -> F4:
    """The features of a planning view.

    Args:
        view: The view.

    Returns:
        float32 [size]; `feature_layout` says what is where.
    """
    video = int(view.state.video)
    visible = int((view.catalog.n_chunks > 0).sum())
    episodes = new_episodes(1, video + visible, 1)
    episodes.playlist[0, video:] = np.arange(visible)
    links = Links(np.zeros(1), np.zeros(1), np.array([0, 1], np.int32))
    params, catalog = writeable_fields(view.params), writeable_fields(view.catalog)
    sims, states = Sims(params, catalog, links, episodes), np.array([view.state])
    values = np.zeros(len(view.action_mask))
    out = np.zeros((1, feature_layout(len(view.options)).size), np.float32)
    tables = make_tables(params, catalog, view.distribution)
    fill_features_many(sims, states, tables, ROLLOUT, new_estimates(), values, out)
    features: F4 = out[0]
    return features
