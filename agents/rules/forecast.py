"""What a rule expects at a decision: when requested chunks are decoded, and when each video needs its next chunk.

Everything follows from the planning view. The rules themselves are in the other files of this folder.

Shape legend: S visible slots, L look-ahead, C chunks, R representations, U compute units, O options, D and T whole
seconds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.base import expected_bps
from ppgym.core.content import content_s, survival_at
from ppgym.core.decoders import expected_decode_s, load_left_s, queued_chunk
from ppgym.core.jit import njit
from ppgym.core.state import (
    F8,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    UNITS,
    CatalogArrays,
    Params,
    StateRecord,
)
from ppgym.planning.rollout import stall_price
from ppgym.planning_view import PlanningView, writeable_fields
from ppgym.world.options import Option

NO_QUALITY = -1.0  # no chunk has been played yet, so that nothing can be a switch

Legal = npt.NDArray[np.bool_]


class Situation(NamedTuple):
    """What a rule decides from."""

    params: Params
    catalog: CatalogArrays  # the visible manifests, by slot
    state: StateRecord  # public
    candidates: I4  # [S, L]
    legal: Legal  # [S, O] options for each slot's next chunk
    stay_p: float  # P(the viewer goes on to the next video)
    bps: float  # expected rate of a transfer


class Forecast(NamedTuple):
    """What happens if transfers have the expected rate and decoding takes the profile's seconds."""

    next_chunk: I4  # [S] chunk to request next; NO_ENTRY where there is none
    playing_chunk: I4  # [S] the playhead; 0 in later videos
    position_s: float  # content seconds of the current video that have played
    buffered_s: F8  # [S] content seconds requested and not played
    needed_s: F8  # [S] until the next chunk is needed if the viewer comes to the slot now (slot 0: goes on)
    quality: F8  # [S] of the chunk before the next one; NO_QUALITY where there is none
    free_s: F8  # [U] until a unit has done all that is requested


def usable_representations(options: Sequence[Option], with_prompts: bool) -> npt.NDArray[np.bool_]:
    """The representations that a rule may choose from.

    Args:
        options: The option table.
        with_prompts: Whether it may use prompts, or pixels alone.

    Returns:
        [R] true where the device decodes the representation and the rule may use it.

    Raises:
        ValueError: The device decodes none of them.
    """
    usable = np.zeros(1 + max(option.representation for option in options), np.bool_)
    for option in options:
        usable[option.representation] |= option.usable and (with_prompts or not option.is_generative)
    if not usable.any():
        kind = "pixels or prompts" if with_prompts else "pixels"
        raise ValueError(f"expected a device that decodes {kind}; this one has no such unit")
    return usable


def observe(view: PlanningView, mask: npt.NDArray[np.generic], representations: npt.NDArray[np.bool_]) -> Situation:
    """Gather what a rule decides from.

    Args:
        view: The planning view.
        mask: [1 + S * L * O] the legality mask.
        representations: [R] true for those to consider.

    Returns:
        The situation.
    """
    first = mask[1:].reshape(SLOTS, LOOKAHEAD, -1)[:, 0].astype(np.bool_)
    legal = first & representations[view.params.option_representation]
    stay_p = 1.0 - view.distribution.leave_p
    params, catalog = writeable_fields(view.params), writeable_fields(view.catalog)
    # The chance that the viewer gives up is in the price of stall
    params = params._replace(weight_rebuffer=stall_price(params, view.distribution))
    return Situation(params, catalog, view.state, view.candidates.copy(), legal, stay_p, expected_bps(view))


@njit
def make_forecast(params: Params, catalog: CatalogArrays, state: StateRecord, candidates: I4, bps: float) -> Forecast:
    """Forecast when units are free and when chunks are needed.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        candidates: [S, L] of the planning view.
        bps: Expected rate of a transfer.

    Returns:
        The forecast.
    """
    ready_s, free_s = forecast_decoding(params, catalog, state, bps)
    next_chunk = candidates[:, 0].copy()
    playing_chunk = np.zeros(SLOTS, np.int32)
    playing_chunk[0] = state.playhead
    chunk_s = params.chunk_s
    position_s = state.playhead * chunk_s
    buffered_s, needed_s, quality = np.zeros(SLOTS), np.zeros(SLOTS), np.full(SLOTS, NO_QUALITY)
    for slot in range(SLOTS):
        row = (state.video + slot) % SLOTS
        chunk = playing_chunk[slot]
        if state.chunks_begun > 0:
            quality[slot] = state.begun_quality
        if slot == 0 and state.playing:
            playing_s = content_s(params, catalog, slot, chunk)
            played_s = min(state.time_s - state.playback_since_s, playing_s)
            position_s += played_s
            buffered_s[slot] = needed_s[slot] = playing_s - played_s
            chunk += 1
        end = next_chunk[slot] if next_chunk[slot] != NO_ENTRY else min(catalog.n_chunks[slot], chunk + RING)
        while chunk < end:
            seconds = content_s(params, catalog, slot, chunk)
            needed_s[slot] = max(needed_s[slot], ready_s[row, chunk % RING]) + seconds
            buffered_s[slot] += seconds
            option = state.chunk_option[row, chunk % RING]
            quality[slot] = catalog.quality[slot, chunk, params.option_representation[option]]
            chunk += 1
    return Forecast(next_chunk, playing_chunk, position_s, buffered_s, needed_s, quality, free_s)


@njit
def forecast_decoding(params: Params, catalog: CatalogArrays, state: StateRecord, bps: float) -> tuple[F8, F8]:
    """Forecast when requested chunks are decoded: running jobs first, then queues, then transfers.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        bps: Expected rate of a transfer.

    Returns:
        Seconds from now until each chunk is decoded, [S, RING] by feed position % S and chunk % RING (0 where it is
        decoded already or was never requested), and [U] seconds until each unit has done all of its jobs.
    """
    ready_s, free_s = np.zeros((SLOTS, RING)), np.zeros(UNITS)
    unloaded = np.ones(params.option_unit.shape[0], np.bool_)  # of each option: no job before here loads its decoder
    for unit in range(UNITS):
        if state.job_video[unit] == NO_ENTRY:
            continue
        served_s = state.time_s - state.job_start_s[unit]
        free_s[unit] = max(state.job_load_s[unit] + state.job_expected_s[unit] - served_s, 0.0)
        ready_s[state.job_video[unit] % SLOTS, state.job_chunk[unit] % RING] = free_s[unit]
        entry = state.queue_head[unit]
        while entry != NO_ENTRY:
            row, column = entry // RING, entry % RING
            video, chunk = queued_chunk(state, entry)
            seconds = content_s(params, catalog, video - state.video, chunk)
            free_s[unit] += decode_after(params, state, state.chunk_option[row, column], seconds, unloaded)
            ready_s[row, column] = free_s[unit]
            entry = state.queue_next[entry]
    for transfer in range(state.transfers):
        slot = state.transfer_video[transfer] - state.video
        if slot < 0:  # of a video that the viewer has left: it will not be decoded
            continue
        chunk, option = state.transfer_chunk[transfer], state.transfer_option[transfer]
        size_bytes = catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
        left_bytes = max(size_bytes - state.transfer_received_bytes[transfer], 0.0)
        rtt_s = max(params.rtt_s - (state.time_s - state.transfer_request_s[transfer]), 0.0)
        unit = params.option_unit[option]
        decode_s = decode_after(params, state, option, content_s(params, catalog, slot, chunk), unloaded)
        free_s[unit] = max(free_s[unit], rtt_s + 8.0 * left_bytes / bps) + decode_s
        ready_s[(state.video + slot) % SLOTS, chunk % RING] = free_s[unit]
    return ready_s, free_s


@njit
def decode_after(
    params: Params, state: StateRecord, option: int, seconds: float, unloaded: npt.NDArray[np.bool_]
) -> float:
    """Seconds that the next job of an option takes, after the jobs that were counted already.

    Args:
        params: The scenario's constants.
        state: Public record.
        option: Option index.
        seconds: Content seconds of the chunk.
        unloaded: [O] whether a job of this option still loads its decoder; changed: one job loads it for all.

    Returns:
        Seconds.
    """
    decode_s = expected_decode_s(params, state, option, seconds)
    if not unloaded[option]:
        decode_s -= load_left_s(params, state, option)
    for other in range(unloaded.shape[0]):
        same_unit = params.option_unit[other] == params.option_unit[option]
        if same_unit and params.option_codec[other] == params.option_codec[option]:
            unloaded[other] = False
    return decode_s


@njit
def decode_times(params: Params, catalog: CatalogArrays, state: StateRecord, slot: int, chunk: int, chunks: int) -> F8:
    """Seconds that decoding takes, by chunk and option, on units that have nothing else to do.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        slot: Of the video.
        chunk: The first chunk.
        chunks: How many.

    Returns:
        [chunks, O].
    """
    decode_s = np.zeros((chunks, params.option_unit.shape[0]))
    for k in range(chunks):
        seconds = content_s(params, catalog, slot, chunk + k)
        for option in range(params.option_unit.shape[0]):
            decode_s[k, option] = expected_decode_s(params, state, option, seconds)
            if k > 0:  # the first one has loaded the decoder
                decode_s[k, option] -= load_left_s(params, state, option)
    return decode_s


@njit
def first_ready(
    params: Params, legal: Legal, decode_s: F8, free_s: F8, representation: int, arrival_s: float
) -> tuple[int, float]:
    """The option that has a chunk decoded first.

    Args:
        params: The scenario's constants.
        legal: [O] options to choose from.
        decode_s: [O] seconds that decoding takes.
        free_s: [U] when each unit is free.
        representation: Of the chunk.
        arrival_s: When its last byte arrives; on the clock of `free_s`.

    Returns:
        The option and when the chunk is decoded; (`NO_ENTRY`, inf) where no option has this representation.
    """
    best, best_s = NO_ENTRY, np.inf
    for option in range(legal.shape[0]):
        if legal[option] and params.option_representation[option] == representation:
            ready_s = max(arrival_s, free_s[params.option_unit[option]]) + decode_s[option]
            if ready_s < best_s:
                best, best_s = option, ready_s
    return best, best_s


@njit
def conditional_survival(params: Params, catalog: CatalogArrays, forecast: Forecast) -> F8:
    """P(a chunk is reached), given its playhead and that the viewer comes to the video.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        forecast: Gives the playheads.

    Returns:
        [S, C + 1] by slot and chunk: retention at its beginning / retention at the playhead, 1 up to the playhead; the
        entry after the last chunk is for viewers who watch to the end.
    """
    chunks = catalog.chunk_bytes.shape[1]
    survival = np.zeros((catalog.n_chunks.shape[0], chunks + 1))
    for slot in range(catalog.n_chunks.shape[0]):
        here, watching = forecast.playing_chunk[slot], 0.0
        for chunk in range(catalog.n_chunks[slot] + 1):
            reach = survival_at(catalog, slot, chunk * params.chunk_s)
            if chunk <= here:
                watching = reach
                reach = 1.0
            elif watching > 0.0:
                reach /= watching
            survival[slot, chunk] = reach
    return survival


@njit
def mean_lateness_s(arrivals: F8, share_present: float) -> F8:
    """Expected seconds that the viewer has been at a video, by the seconds from now: E[max(h - arrival, 0)].

    Args:
        arrivals: [S, T] P(the viewer comes to the video in this second from now).
        share_present: Share of that second for which the viewer is there: 1 if arrivals are at its start, 0.5 if they
            are spread evenly over it.

    Returns:
        [S, T + 1] by slot and h = 0, 1, 2, ...
    """
    result = np.zeros((arrivals.shape[0], arrivals.shape[1] + 1))
    for slot in range(arrivals.shape[0]):
        arrived = 0.0
        for second in range(arrivals.shape[1]):
            late_s = arrived + share_present * arrivals[slot, second]
            result[slot, second + 1] = result[slot, second] + late_s
            arrived += arrivals[slot, second]
    return result


@njit
def lateness_at_s(lateness_s: F8, delay_s: float) -> float:
    """Expected seconds for which the viewer waits for something that comes after a delay.

    Args:
        lateness_s: [T + 1] a row of `mean_lateness_s`.
        delay_s: Seconds from now; beyond T the last second is extrapolated.

    Returns:
        Seconds, linear between whole seconds; 0 without a delay.
    """
    if delay_s <= 0.0:
        return 0.0
    second = min(int(delay_s), lateness_s.shape[0] - 2)
    low_s, high_s = lateness_s[second], lateness_s[second + 1]
    return float(low_s + (delay_s - second) * (high_s - low_s))
