"""The rollout policy plays a sampled future to its horizon: it takes the request of the highest value.

It sees what a client sees and takes about a microsecond. The same values are the prior of the search (`search.py`).
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, find_candidate, first_chunk, fits_in_memory
from ppgym.core.content import content_s, position_s, survival_at
from ppgym.core.decoders import expected_decode_s
from ppgym.core.episodes import EpisodeDistribution
from ppgym.core.jit import kernel, noinline
from ppgym.core.link import mean_throughput
from ppgym.core.observation import unit_backlog_s
from ppgym.core.patience import patience_share
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    F8,
    HISTORY,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    U1,
    UNITS,
    CatalogArrays,
    Params,
    Sim,
    StateRecord,
)
from ppgym.planning.rollout_parameters import RolloutParameters, RolloutPolicy, parameters_at, qoe_scale

DEFAULT_BPS = 1.2e6  # before the first transfer has ended: the mean of the network class `low`, an assumption
RECENT = 5  # throughputs that give the recent rate
LEAVING_SPAN_S = 4.0  # over which a viewer's leaving is averaged
PATIENCE_SPAN_S = 10.0  # over which a viewer's giving up is averaged
MUST_FETCH = -1e9  # value of WAIT while playback waits for a chunk that is not requested


@kernel
def estimate_bps(state: StateRecord, samples: int) -> float:
    """Harmonic mean of the last throughputs of a state.

    Args:
        state: Record of `STATE_DTYPE`.
        samples: How many throughputs, at most.

    Returns:
        Bits per second; `DEFAULT_BPS` before the first transfer has ended.
    """
    return mean_throughput(state.throughput_bps, state.throughputs, samples, DEFAULT_BPS)


class Tables(NamedTuple):
    """What the policy looks up of the viewer and of the options, made once for a search; see `make_tables`."""

    leave_p: float  # P(the session ends after a video)
    stall_price: float  # QoE of a second of stall, the chance that the viewer gives up in it included
    watched_p: F8  # [V, C] P(a video is watched up to where a chunk begins)
    leaving_rate: F8  # [V] of a video from its beginning, see `leaving_rate`
    top_quality: F8  # [V, C] of the usable representations
    quickest: I4  # the options of which one decodes a chunk first, whatever the rates and queues


def make_tables(params: Params, catalog: CatalogArrays, distribution: EpisodeDistribution) -> Tables:
    """Compute what the policy looks up.

    Args:
        params: The scenario's constants.
        catalog: The videos.
        distribution: How episodes are drawn.

    Returns:
        The tables.
    """
    watched_p, rate = np.empty(catalog.chunk_bytes.shape[:2]), np.empty(len(catalog.n_chunks))
    fill_retention(catalog, params.chunk_s, watched_p, rate)
    top_quality, quickest = np.zeros(catalog.chunk_bytes.shape[:2]), np.zeros(len(params.option_unit), np.uint8)
    fill_options(params, catalog, top_quality, quickest)
    return Tables(
        distribution.leave_p,
        stall_price(params, distribution),
        watched_p,
        rate,
        top_quality,
        np.flatnonzero(quickest).astype(np.int32),
    )


def stall_price(params: Params, distribution: EpisodeDistribution) -> float:
    """The expected cost of a second of stall.

    Args:
        params: The scenario's constants.
        distribution: How episodes are drawn.

    Returns:
        The weight of a stall, and the cost of a video that is left out of impatience times the mean hazard over the
        first `PATIENCE_SPAN_S` of a stall.
    """
    at_s, share = np.array(distribution.patience_at_s), np.array(distribution.patience_share)
    hazard = (1.0 - patience_share(at_s, share, PATIENCE_SPAN_S)) / PATIENCE_SPAN_S
    return params.weight_rebuffer + params.weight_abandon * hazard


@noinline
def fill_retention(catalog: CatalogArrays, chunk_s: float, watched_p: F8, rate: F8) -> None:
    """Fill what `Tables` tells of each video of a catalog.

    Args:
        catalog: The catalog.
        chunk_s: Content seconds of a chunk.
        watched_p: Output [V, C].
        rate: Output [V].
    """
    for index in range(watched_p.shape[0]):
        for chunk in range(watched_p.shape[1]):
            watched_p[index, chunk] = survival_at(catalog, index, chunk * chunk_s)
        rate[index] = leaving_rate(catalog, index, 0.0, watched_p[index, 0], LEAVING_SPAN_S)


@kernel
def decodes_first(params: Params, catalog: CatalogArrays, option: int, other: int) -> bool:
    """Whether an option decodes every chunk at least as early as another one, whatever the rates and queues.

    It does with fewer bytes and fewer seconds on the same unit, by the same codec, whose decoder loads equally long.

    Args:
        params: The scenario's constants.
        catalog: The videos.
        option: A usable option.
        other: Another one.

    Returns:
        True; of two equal options, for the first one alone.
    """
    mine, its = params.option_representation[option], params.option_representation[other]
    own_s, other_s = params.option_decode_s[option], params.option_decode_s[other]
    if params.option_unit[option] != params.option_unit[other] or own_s > other_s:
        return False
    if params.option_codec[option] != params.option_codec[other]:
        return False
    equal = own_s == other_s
    for index in range(catalog.n_chunks.shape[0]):
        for chunk in range(catalog.n_chunks[index]):
            size_bytes, its_bytes = catalog.chunk_bytes[index, chunk, mine], catalog.chunk_bytes[index, chunk, its]
            if size_bytes > its_bytes:
                return False
            equal = equal and size_bytes == its_bytes
    return option < other or not equal


@noinline
def fill_options(params: Params, catalog: CatalogArrays, top_quality: F8, quickest: U1) -> None:
    """Fill what `Tables` tells of the options.

    Args:
        params: The scenario's constants.
        catalog: The videos.
        top_quality: Output [V, C].
        quickest: Output [O], 1 for each usable option than which none decodes first.
    """
    for option in range(quickest.shape[0]):
        quickest[option] = params.option_usable[option]
        if not params.option_usable[option]:
            continue
        representation = params.option_representation[option]
        for index in range(top_quality.shape[0]):
            for chunk in range(catalog.n_chunks[index]):
                quality = catalog.quality[index, chunk, representation]
                top_quality[index, chunk] = max(top_quality[index, chunk], quality)
        for other in range(quickest.shape[0]):
            if other != option and params.option_usable[other] and decodes_first(params, catalog, other, option):
                quickest[option] = 0


class SlotEstimates(NamedTuple):
    """What the policy estimates of one candidate of each slot, and of the units."""

    chunk: I4  # [S] chunk index; `NO_ENTRY` where no chunk is considered, and then the other fields hold nothing
    due_s: F8  # [S] seconds until it should be ready
    played_p: F8  # [S] P(it is played)
    coming_rate: F8  # [S] P(the viewer comes to the slot within t seconds) is about this x (slot + 1) x t ** slot
    ready_s: F8  # [S] seconds until it is decoded, if it is fetched now by the fastest option
    stall_s: F8  # [S] expected stall in that case
    content_s: F8  # [S] content seconds
    reference: F8  # [S] quality of the chunk before it
    top_quality: F8  # [S] of the usable representations
    backlog_s: F8  # [U] seconds of work of each unit


def new_estimates() -> SlotEstimates:
    """Allocate estimates.

    Returns:
        Scratch memory of `value_actions`.
    """
    return SlotEstimates(
        chunk=np.zeros(SLOTS, np.int32),
        due_s=np.zeros(SLOTS),
        played_p=np.zeros(SLOTS),
        coming_rate=np.zeros(SLOTS),
        ready_s=np.zeros(SLOTS),
        stall_s=np.zeros(SLOTS),
        content_s=np.zeros(SLOTS),
        reference=np.zeros(SLOTS),
        top_quality=np.zeros(SLOTS),
        backlog_s=np.zeros(UNITS),
    )


@kernel
def leaving_rate(catalog: CatalogArrays, index: int, position: float, alive: float, span_s: float) -> float:
    """How fast a viewer is expected to leave a video, from its retention curve.

    Args:
        catalog: The catalog.
        index: Catalog index.
        position: Content seconds watched.
        alive: P(they are watched).
        span_s: Over which to average; a video that ends within it is left then.

    Returns:
        Probability per second.
    """
    later = position + span_s
    staying: float = 0.0
    if alive > 0.0 and later < catalog.duration_s[index]:
        staying = survival_at(catalog, index, later) / alive
    return (1.0 - staying) / span_s


@kernel
def expected_stall_s(estimates: SlotEstimates, slot: int, ready_s: float) -> float:
    """Expected stall for a slot's chunk if it is decoded at a given time.

    The viewer is assumed to leave each video at a constant rate. The probability that they come to slot s within t
    seconds is then about the product of the rates times t ** s / s!. Its integral over the time that the chunk is late
    is the stall, which is limited to that time.

    Args:
        estimates: As `estimate_slots` fills them.
        slot: Visible slot.
        ready_s: Seconds from now.

    Returns:
        Seconds.
    """
    late_s = ready_s - estimates.due_s[slot]
    if late_s <= 0.0:
        return 0.0
    share = estimates.coming_rate[slot]
    for _ in range(slot):
        share *= late_s
    stall_s: float = estimates.played_p[slot] * late_s * min(share, 1.0)
    return stall_s


@kernel
def estimate_slots(
    sim: Sim,
    state: StateRecord,
    tables: Tables,
    parameters: RolloutParameters,
    lookahead: int,
    bps: float,
    estimates: SlotEstimates,
) -> None:
    """Fill in the estimates of one candidate of each slot.

    Args:
        sim: Of its hidden draw only the playlist is read.
        state: Record of `STATE_DTYPE`.
        tables: What the policy looks up.
        parameters: The policy's parameters.
        lookahead: Which of a slot's candidates.
        bps: Expected rate, bits per second.
        estimates: Output.
    """
    params, catalog = sim.params, sim.catalog
    here_s, s_per_byte, chunk_s = position_s(params.chunk_s, state), 8.0 / bps, params.chunk_s
    for unit in range(UNITS):
        estimates.backlog_s[unit] = unit_backlog_s(state, unit)
    reach_p, rate = 1.0, 1.0
    for slot in range(SLOTS):
        estimates.chunk[slot] = NO_ENTRY
        video = state.video + slot
        if video >= sim.episode.playlist.shape[0]:
            continue
        index = sim.episode.playlist[video]
        alive = survival_at(catalog, index, here_s) if slot == 0 else tables.watched_p[index, 0]
        chunk = find_candidate(sim, state, slot, lookahead)
        due_s = chunk * chunk_s
        if slot == 0:
            due_s = max(due_s - here_s, 0.0) if state.playing else (chunk - state.playhead) * chunk_s
        if chunk != NO_ENTRY and (slot > 0 or due_s < parameters.buffer_s):
            played_p = min(tables.watched_p[index, chunk] / alive, 1.0) if alive > 0.0 else 0.0
            seconds = content_s(params, catalog, index, chunk)
            estimates.content_s[slot] = seconds
            estimates.chunk[slot] = chunk
            estimates.due_s[slot] = due_s - parameters.margin_s if slot == 0 else due_s
            estimates.played_p[slot] = reach_p * played_p
            estimates.coming_rate[slot] = rate / (slot + 1)
            fastest_s = 1e9
            for i in range(tables.quickest.shape[0]):
                option = tables.quickest[i]
                size_bytes = catalog.chunk_bytes[index, chunk, params.option_representation[option]]
                start_s = max(params.rtt_s + s_per_byte * size_bytes, estimates.backlog_s[params.option_unit[option]])
                fastest_s = min(fastest_s, start_s + expected_decode_s(params, state, option, seconds))
            estimates.top_quality[slot] = tables.top_quality[index, chunk]
            estimates.ready_s[slot] = fastest_s
            estimates.stall_s[slot] = expected_stall_s(estimates, slot, fastest_s)
            estimates.reference[slot] = state.begun_quality
            if chunk > first_chunk(state, video):
                option = state.chunk_option[video % SLOTS, (chunk - 1) % RING]
                if state.chunk_status[video % SLOTS, (chunk - 1) % RING] != ABSENT:
                    before = params.option_representation[option]
                    estimates.reference[slot] = catalog.quality[index, chunk - 1, before]
        leaving = tables.leaving_rate[index]
        if slot == 0:
            leaving = leaving_rate(catalog, index, here_s, alive, LEAVING_SPAN_S)
        rate *= leaving / (slot + 1)
        reach_p *= 1.0 - tables.leave_p


@kernel
def choose_action(sim: Sim, state: StateRecord, tables: Tables, policy: RolloutPolicy, estimates: SlotEstimates) -> int:
    """The policy's choice: the action of the highest value among WAIT and the requests for the slots' next chunks.

    Args:
        sim: Of its hidden draw only the playlist is read.
        state: Record of `STATE_DTYPE`.
        tables: What the policy looks up.
        policy: The policy.
        estimates: Scratch memory.

    Returns:
        The action.
    """
    return value_actions(sim, state, tables, policy, 0, estimates, None)


@kernel
def value_actions(
    sim: Sim,
    state: StateRecord,
    tables: Tables,
    policy: RolloutPolicy,
    lookahead: int,
    estimates: SlotEstimates,
    values: F8 | None,
) -> int:
    """Value WAIT and the requests of one look-ahead.

    Args:
        sim: Of its hidden draw only the playlist is read.
        state: Record of `STATE_DTYPE`.
        tables: What the policy looks up.
        policy: The policy.
        lookahead: Which of a slot's candidates.
        estimates: Scratch memory.
        values: Output [1 + S * L * O]: QoE of WAIT and of each legal request of this look-ahead, -inf where illegal;
            other look-aheads are left as they are. None: only the best action is computed, which skips requests whose
            value cannot be the highest.

    Returns:
        The action of the highest value.
    """
    params = sim.params
    bps = estimate_bps(state, RECENT)
    parameters = parameters_at(policy, params, bps, estimate_bps(state, HISTORY))
    scale = qoe_scale(params)
    least_value = scale * params.chunk_s * parameters.least_value
    link_price, unit_price = scale * parameters.link_price, scale * parameters.unit_price
    bps *= parameters.bps_share
    estimate_slots(sim, state, tables, parameters, lookahead, bps, estimates)
    options, s_per_byte = params.option_unit.shape[0], 8.0 / bps
    radio = params.weight_energy * params.radio_j_per_mbit
    must_fetch = not state.playing and estimates.chunk[0] == state.playhead
    best, best_value = WAIT, MUST_FETCH if must_fetch else least_value
    if values is not None:
        values[WAIT] = best_value
    for slot in range(SLOTS):
        first = 1 + (slot * LOOKAHEAD + lookahead) * options
        if values is not None:
            values[first : first + options] = -np.inf
        chunk = estimates.chunk[slot]
        if chunk == NO_ENTRY:
            continue
        index = sim.episode.playlist[state.video + slot]
        played_p, seconds = estimates.played_p[slot], estimates.content_s[slot]
        deferred_s = expected_stall_s(estimates, slot, estimates.ready_s[slot] + parameters.defer_s)
        gain_share = played_p * parameters.gain_share
        gain_share /= 1.0 + parameters.gain_fade * max(estimates.due_s[slot], 0.0)
        # All else only lowers the value
        most_gain = seconds * params.weight_quality * estimates.top_quality[slot]
        if values is None and tables.stall_price * deferred_s + gain_share * most_gain <= best_value:
            continue
        representation, skip, charged, transfer_s, shared = NO_ENTRY, True, False, 0.0, 0.0
        for option in range(options):
            if params.option_representation[option] != representation:
                # The part of the value that all options of a representation share
                representation = params.option_representation[option]
                size_bytes = sim.catalog.chunk_bytes[index, chunk, representation]
                quality = sim.catalog.quality[index, chunk, representation]
                transfer_s = params.rtt_s + s_per_byte * size_bytes
                switch = params.weight_switch * parameters.switch_share * abs(quality - estimates.reference[slot])
                waste = params.weight_waste * parameters.waste_share * (1.0 - played_p) + params.weight_download
                gain = seconds * params.weight_quality * quality - switch
                shared = tables.stall_price * deferred_s + gain_share * gain
                shared -= (waste + radio) * size_bytes * MBIT_PER_BYTE
                shared -= (link_price + params.weight_energy * params.radio_base_w) * transfer_s
                charged = False  # with the stall of other slots
                skip = values is None and shared <= best_value
                skip = skip or not fits_in_memory(sim, state, slot, chunk, representation)
            if skip or not params.option_usable[option]:
                continue
            decode_s = expected_decode_s(params, state, option, seconds)
            ready_s = max(transfer_s, estimates.backlog_s[params.option_unit[option]]) + decode_s
            price = (unit_price + params.weight_energy * params.option_w[option]) * decode_s
            own = tables.stall_price * parameters.stall_share * expected_stall_s(estimates, slot, ready_s)
            # The charge for other slots only lowers the value
            if values is None and shared - price - own <= best_value:
                continue
            if not charged:
                others_s = 0.0
                for other in range(SLOTS):
                    if other != slot and estimates.chunk[other] != NO_ENTRY:
                        later_s = expected_stall_s(estimates, other, estimates.ready_s[other] + transfer_s)
                        others_s += later_s - estimates.stall_s[other]
                shared -= tables.stall_price * parameters.others_share * others_s
                charged = True
            value = shared - price - own
            if values is not None:
                values[first + option] = value
            if value > best_value:
                best, best_value = first + option, value
    return best
