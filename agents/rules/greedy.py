"""A greedy policy that knows decode times: it takes the legal request, pixels or prompts, of the highest value now."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.base import Mask
from agents.rules.forecast import Situation, decode_times, forecast_decoding, lateness_at_s, mean_lateness_s, observe
from agents.rules.rule import Rule
from ppgym.core.actions import WAIT
from ppgym.core.content import content_s, last_second, survival_at
from ppgym.core.decoders import expected_decode_s
from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    F8,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    CatalogArrays,
    Params,
)
from ppgym.planning.rollout_parameters import qoe_scale
from ppgym.planning_view import PlanningView

HORIZON_S = 64  # for which the viewer's arrival at later videos is forecast; an assumption
LEAST_P = 1e-6  # an arrival in a second that is less likely is ignored
LEAST_SURVIVAL = 1e-9  # keeps quotients finite


class GreedyParameters(NamedTuple):
    """Of `Greedy`. QoE is that of the ladder on which they were tuned: see `qoe_scale`."""

    defer_s: float = 3.0  # until a chunk's next turn, if it is not requested now
    link_price: float = 0.3  # QoE that a second of the link is worth for other requests
    least_value: float = 0.6  # QoE by which a request for a second of content must beat waiting
    switch_share: float = 0.5  # of a quality switch that is charged to the chunk; later chunks keep the new quality


class CandidateForecast(NamedTuple):
    """What is expected of each candidate chunk, and of the viewer."""

    survival: F8  # [S, L] P(the chunk is played)
    need_s: F8  # [S, L] seconds until the current video needs it (slot 0 only)
    fastest_s: F8  # [S, L] seconds until it can be decoded, if its video's candidates are requested in order
    reference: F8  # [S, L] quality of the chunk before it; where that was not requested, of the last one that began
    lateness_s: F8  # [S, HORIZON_S + 1], see `mean_lateness_s`; row 0 is not used


@njit
def arrival_times(catalog: CatalogArrays, stay_p: float, position_s: float, start_s: float) -> F8:
    """Forecast in which second the viewer comes to each video, if playback does not stall again.

    Args:
        catalog: The manifests, by slot.
        stay_p: P(the viewer goes on to the next video).
        position_s: Content seconds of the current video that have played.
        start_s: Seconds until it plays.

    Returns:
        [S, HORIZON_S] P(the viewer comes in this second from now); the last one includes all later ones.
    """
    arrivals = np.zeros((SLOTS, HORIZON_S))
    arrivals[0, 0] = 1.0
    for slot in range(SLOTS - 1):
        if catalog.n_chunks[slot] == 0:
            break
        duration_s, curve = catalog.duration_s[slot], catalog.retention[slot]
        seconds = last_second(duration_s) + 1
        begin = int(position_s) if slot == 0 else 0
        alive = max(curve[begin], LEAST_SURVIVAL)
        after_s = start_s - (position_s - begin) if slot == 0 else 0.0
        following = arrivals[slot + 1]
        for second in range(HORIZON_S):
            if arrivals[slot, second] > LEAST_P:
                share = stay_p * arrivals[slot, second] / alive
                for watched in range(begin, seconds):
                    place = second + int(max(after_s + watched - begin + 0.5, 0.0))
                    following[min(place, HORIZON_S - 1)] += share * (curve[watched] - curve[watched + 1])
                place = second + int(max(after_s + duration_s - begin, 0.0))
                following[min(place, HORIZON_S - 1)] += share * curve[seconds]
    return arrivals


@njit
def expected_stall_s(forecast: CandidateForecast, slot: int, look: int, begin_s: float, ready_s: float) -> float:
    """Expected stall of a candidate by the time when it is decoded, if all chunks before it are there.

    Args:
        forecast: What is expected.
        slot: Its slot.
        look: Its place among the slot's candidates.
        begin_s: Content seconds before it.
        ready_s: Seconds from now until it is decoded.

    Returns:
        Seconds.
    """
    if slot == 0:
        late_s = max(ready_s - forecast.need_s[slot, look], 0.0)
    else:
        late_s = lateness_at_s(forecast.lateness_s[slot], ready_s - begin_s)
    return float(forecast.survival[slot, look] * late_s)


@njit
def forecast_candidates(situation: Situation, ready_s: F8, free_s: F8) -> CandidateForecast:
    """Forecast when candidates are needed and when they can be there.

    Args:
        situation: What the rule decides from.
        ready_s: [S, RING] seconds until a requested chunk is decoded; see `forecast_decoding`.
        free_s: [U] seconds until a unit has done all of its jobs.

    Returns:
        The forecast.
    """
    params, catalog, state, _, _, stay_p, bps = situation
    shape = SLOTS, LOOKAHEAD
    survival, need_s, fastest_s, reference = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    chunk_s = params.chunk_s
    position_s, start_s = state.playhead * chunk_s, 0.0
    if state.playing:
        position_s += min(state.time_s - state.playback_since_s, content_s(params, catalog, 0, state.playhead))
    for slot in range(SLOTS):
        begin, clock_s, reach = 0, 0.0, stay_p**slot
        if slot == 0:
            begin = state.playhead
            reach = 1.0 / max(survival_at(catalog, 0, position_s), LEAST_SURVIVAL)
            if state.playing:
                clock_s = begin * chunk_s + content_s(params, catalog, 0, begin) - position_s
        first = begin + 1 if slot == 0 and state.playing else begin
        link_s, look, last_quality = 0.0, 0, state.begun_quality
        row = (state.video + slot) % SLOTS
        for chunk in range(first, min(catalog.n_chunks[slot], begin + RING)):
            seconds = content_s(params, catalog, slot, chunk)
            if state.chunk_status[row, chunk % RING] != ABSENT:
                clock_s = max(clock_s, ready_s[row, chunk % RING])
                option = state.chunk_option[row, chunk % RING]
                last_quality = catalog.quality[slot, chunk, params.option_representation[option]]
            else:
                if look == LOOKAHEAD:
                    break
                first_s, transfer_s = np.inf, 0.0
                for option in range(params.option_unit.shape[0]):
                    if params.option_usable[option]:
                        size = catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
                        took_s = params.rtt_s + 8.0 * size / bps
                        done_s = max(link_s + took_s, free_s[params.option_unit[option]])
                        done_s += expected_decode_s(params, state, option, seconds)
                        if done_s < first_s:
                            first_s, transfer_s = done_s, took_s
                link_s += transfer_s
                survival[slot, look] = min(reach * survival_at(catalog, slot, chunk * chunk_s), 1.0)
                need_s[slot, look], fastest_s[slot, look] = clock_s, first_s
                reference[slot, look] = last_quality
                clock_s = max(clock_s, first_s)
                look += 1
            if slot == 0 and chunk == state.playhead:
                start_s = clock_s
            clock_s += seconds
    # Arrivals are spread evenly over their second
    lateness_s = mean_lateness_s(arrival_times(catalog, stay_p, position_s, start_s), 0.5)
    return CandidateForecast(survival, need_s, fastest_s, reference, lateness_s)


@njit
def choose(situation: Situation, mask: npt.NDArray[np.bool_], parameters: GreedyParameters) -> int:
    """The action of the highest value; see `Greedy`.

    Args:
        situation: What it decides from.
        mask: [1 + S * L * O], true where an action is legal.
        parameters: The rule's.

    Returns:
        A legal action.
    """
    params, catalog, state, candidates, _, _, bps = situation
    options = params.option_unit.shape[0]
    gain = np.zeros(options)
    ready_s, free_s = forecast_decoding(params, catalog, state, bps)
    forecast = forecast_candidates(situation, ready_s, free_s)
    # A viewer who is stalled for a chunk that nobody has requested gains nothing from waiting, nor from other chunks
    starving = not state.playing and candidates[0, 0] == state.playhead and mask[1 : 1 + options].any()
    best, best_value = WAIT, parameters.least_value - stall_of_others(params, forecast, candidates, -1, params.wait_s)
    if starving:
        best_value = -np.inf
    for place in range(SLOTS * LOOKAHEAD):
        slot, look = place // LOOKAHEAD, place % LOOKAHEAD
        chunk = candidates[slot, look]
        if chunk == NO_ENTRY or (starving and place > 0):
            continue
        first = 1 + place * options
        survival, begin_s = forecast.survival[slot, look], chunk * params.chunk_s
        deferred_s = expected_stall_s(
            forecast, slot, look, begin_s, forecast.fastest_s[slot, look] + parameters.defer_s
        )
        decode_s = decode_times(params, catalog, state, slot, chunk, 1)[0]
        seconds = content_s(params, catalog, slot, chunk)
        best_gain, lost = -np.inf, 0.0
        for option in range(options):
            if mask[first + option]:
                r = params.option_representation[option]
                quality, mbit = catalog.quality[slot, chunk, r], catalog.chunk_bytes[slot, chunk, r] * MBIT_PER_BYTE
                switch = parameters.switch_share * abs(quality - forecast.reference[slot, look])
                gain[option] = survival * (seconds * params.weight_quality * quality - params.weight_switch * switch)
                gain[option] -= ((1.0 - survival) * params.weight_waste + params.weight_download) * mbit
                energy_j = params.option_w[option] * decode_s[option] + params.radio_j_per_mbit * mbit
                gain[option] -= params.weight_energy * energy_j
                if gain[option] > best_gain:
                    best_gain = gain[option]
                    link_s = params.rtt_s + mbit * 1e6 / bps
                    lost = min(link_s / seconds, 1.0)  # a link faster than playback can make up for the rest
        for option in range(options):
            if mask[first + option]:
                size = catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
                link_s = params.rtt_s + 8.0 * size / bps
                ready_s = max(link_s, free_s[params.option_unit[option]]) + decode_s[option]
                spared_s = deferred_s - expected_stall_s(forecast, slot, look, begin_s, ready_s)
                value = gain[option] - (1.0 - lost) * best_gain
                value -= (parameters.link_price + params.weight_energy * params.radio_base_w) * link_s
                value += params.weight_rebuffer * spared_s
                value -= stall_of_others(params, forecast, candidates, place, link_s)
                if value > best_value:
                    best, best_value = first + option, value
    return best


@njit
def stall_of_others(params: Params, forecast: CandidateForecast, candidates: I4, place: int, delay_s: float) -> float:
    """What other candidates lose while the link is busy: of each slot, the largest extra stall.

    Args:
        params: The scenario's constants.
        forecast: What is expected.
        candidates: [S, L] chunks.
        place: slot * L + lookahead of the candidate that uses the link; -1 for none.
        delay_s: Seconds for which it uses it.

    Returns:
        The cost in QoE.
    """
    total_s = 0.0
    for slot in range(SLOTS):
        most_s = 0.0
        for look in range(LOOKAHEAD):
            chunk = candidates[slot, look]
            if chunk == NO_ENTRY:
                break
            if slot * LOOKAHEAD + look != place:
                ready_s, begin_s = forecast.fastest_s[slot, look], chunk * params.chunk_s
                late_s = expected_stall_s(forecast, slot, look, begin_s, ready_s + delay_s)
                most_s = max(most_s, late_s - expected_stall_s(forecast, slot, look, begin_s, ready_s))
        total_s += most_s
    return params.weight_rebuffer * total_s


class Greedy(Rule):
    """Takes the request of the highest value, of pixels or prompts, for any visible chunk within the look-ahead.

    It knows the manifests, the retention curves, `leave_p`, the device profile and the past throughputs. It expects
    the harmonic mean of the last five throughputs. The value of requesting a chunk by an option is

        gain - (1 - lost) * best gain - link_price * seconds on the link
        + rebuffer weight * (expected stall of the chunk if deferred - if requested now)
        - rebuffer weight * (expected stall of the other candidates while the link is busy)

    where gain is P(played) * (quality - switch) - P(not played) * waste, with the weights of the scenario. `lost` is
    the share of the chunk's best gain that is lost if it is not requested now: its seconds on the link per chunk of
    playback, at most 1. The expected stall of the current video's chunk is how much later than needed it is decoded.
    For a later video this is averaged over the viewer's possible arrivals, as in Dashlet (NSDI'23, arXiv 2204.12954).
    Running and queued jobs delay decoding. The value of WAIT is `least_value` less the expected stall of the others
    meanwhile. While the viewer is stalled for a chunk that was not requested, that chunk alone is a choice. The rule is
    ppgym's own; its defaults were chosen on the train and validation splits.
    """

    PROMPTS = True
    parameters = GreedyParameters()

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        situation = observe(view, mask, self.representations)
        scale, given = float(qoe_scale(view.params)), self.parameters
        least_value = scale * view.params.chunk_s * given.least_value
        parameters = given._replace(link_price=scale * given.link_price, least_value=least_value)
        return choose(situation, np.asarray(mask, np.bool_), parameters)
