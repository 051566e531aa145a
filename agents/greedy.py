"""A decode-aware greedy policy: of all legal requests, the one that is worth most for the time it holds the link."""

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.heuristics import Heuristic, Mask, expected_bps
from ppgym.core.actions import WAIT
from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    BEGUN,
    CHUNK_S,
    F8,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    UNITS,
    CatalogArrays,
    Params,
    Record,
)
from ppgym.view import PlanningView

GRID = 64  # seconds ahead for which the viewer's coming is foreseen


class Knobs(NamedTuple):
    defer_s: float
    keep: float
    link_price: float
    wait_bias: float
    prompt_margin_s: float
    waste: float
    unit_price: float


@njit
def forecast_ready(params: Params, catalog: CatalogArrays, state: Record, bps: float, ready_s: F8, free_s: F8) -> float:
    """Foresee when each requested chunk will be decoded, by running queues and transfers at their expected pace.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        bps: Expected rate of a transfer.
        ready_s: Output [S, RING] seconds from now, by feed position % S and chunk % RING; 0 for decoded chunks.
        free_s: Output [U] seconds from now until each unit has done all that is requested.

    Returns:
        Seconds from now until a transfer slot is free.
    """
    ready_s[:] = 0.0
    for unit in range(UNITS):
        clock_s = 0.0
        if state.job_video[unit] != NO_ENTRY:
            clock_s = max(state.job_expected_s[unit] - (state.time_s - state.job_start_s[unit]), 0.0)
            ready_s[state.job_video[unit] % SLOTS, state.job_chunk[unit] % RING] = clock_s
        entry = state.queue_head[unit]
        while entry != NO_ENTRY:
            row, column = entry // RING, entry % RING
            clock_s += params.option_decode_s[state.chunk_option[row, column]]
            ready_s[row, column] = clock_s
            entry = state.queue_next[entry]
        free_s[unit] = clock_s
    for transfer in range(state.transfers):
        slot = state.transfer_video[transfer] - state.video
        if slot < 0:
            continue
        chunk, option = state.transfer_chunk[transfer], state.transfer_option[transfer]
        left_bytes = (
            catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
            - state.transfer_received_bytes[transfer]
        )
        left_rtt_s = max(params.rtt_s - (state.time_s - state.transfer_request_s[transfer]), 0.0)
        arrival_s = left_rtt_s + 8.0 * max(left_bytes, 0.0) / bps
        unit = params.option_unit[option]
        free_s[unit] = max(free_s[unit], arrival_s) + params.option_decode_s[option]
        ready_s[state.transfer_video[transfer] % SLOTS, chunk % RING] = free_s[unit]
    return 0.0


@njit
def foresee_stall(catalog: CatalogArrays, leave_p: float, position_s: float, start_s: float, lateness: F8) -> None:
    """Expected stall by how late the first chunk of each slot is ready, if the viewer has not come to it yet.

    Args:
        catalog: The visible manifests, by slot.
        leave_p: P(the session ends after a video).
        position_s: Content seconds of the current video that have played.
        start_s: Seconds from now until it plays.
        lateness: Output [S, GRID + 1]: expected seconds between the viewer's coming to the slot and so many seconds
            from now. Row 0 is not used.
    """
    coming = np.zeros(GRID)
    n_chunks = catalog.n_chunks[0]
    curve = catalog.retention[0]
    here = int(position_s)
    alive = curve[here] + (position_s - here) * (curve[min(here + 1, n_chunks)] - curve[here])
    if alive <= 0.0:
        alive = 1.0
    before = alive
    for second in range(here + 1, n_chunks + 1):
        middle_s = start_s + max(second - 0.5 - position_s, 0.0)
        place = min(int(middle_s), GRID - 1)
        coming[place] += (before - curve[second]) / alive
        before = curve[second]
    coming[min(int(start_s + n_chunks - position_s), GRID - 1)] += before / alive
    for slot in range(1, SLOTS):
        coming *= 1.0 - leave_p
        n_chunks = catalog.n_chunks[slot]
        if n_chunks == 0:
            lateness[slot] = 0.0
            continue
        arrived, late_s = 0.0, 0.0
        lateness[slot, 0] = 0.0
        for t in range(GRID):
            # of those coming within this second, uniformly
            late_s += arrived + 0.5 * coming[t]
            arrived += coming[t]
            lateness[slot, t + 1] = late_s
        later = np.zeros(GRID)
        curve = catalog.retention[slot]
        for t in range(GRID):
            if coming[t] > 1e-6:
                for second in range(n_chunks):
                    place = min(t + second, GRID - 1)
                    later[place] += coming[t] * (curve[second] - curve[second + 1])
                place = min(t + n_chunks, GRID - 1)
                later[place] += coming[t] * curve[n_chunks]
        coming = later


@njit
def expected_stall(lateness: F8, slot: int, chunk: int, need_s: float, survival: float, ready: float) -> float:
    if slot == 0:
        return survival * max(ready - need_s, 0.0)
    late_s = ready - chunk
    if late_s <= 0.0:
        return 0.0
    place = min(int(late_s), GRID - 1)
    low = lateness[slot, place]
    return survival * (low + (late_s - place) * (lateness[slot, place + 1] - low))


@njit
def choose(
    params: Params,
    catalog: CatalogArrays,
    state: Record,
    candidates: I4,
    mask: npt.NDArray[np.int8],
    leave_p: float,
    bps: float,
    knobs: Knobs,
) -> int:
    options = params.option_unit.shape[0]
    ready_s, free_s = np.zeros((SLOTS, RING)), np.zeros(UNITS)
    forecast_ready(params, catalog, state, bps, ready_s, free_s)

    # playback of the current video
    need_s = np.zeros((SLOTS, LOOKAHEAD))
    survival = np.zeros((SLOTS, LOOKAHEAD))
    fast_s = np.zeros((SLOTS, LOOKAHEAD))  # ready, all fetched one after the other the fastest way
    previous_quality = np.zeros((SLOTS, LOOKAHEAD))
    clock_s, chunk, position_s = 0.0, state.playhead, float(state.playhead)
    if state.playing:
        clock_s = max(CHUNK_S - (state.time_s - state.playback_since_s), 0.0)
        position_s += CHUNK_S - clock_s
        chunk += 1
    curve = catalog.retention[0]
    here = min(int(position_s), catalog.n_chunks[0] - 1)
    alive = max(curve[here] + (position_s - here) * (curve[here + 1] - curve[here]), 1e-9)
    first_play_s = -1.0
    for slot in range(SLOTS):
        if slot > 0:
            clock_s, chunk = 0.0, 0
        link_s = 0.0
        look = 0
        quality = state.begun_quality
        row = (state.video + slot) % SLOTS
        end = min(catalog.n_chunks[slot], chunk + RING)
        reach = (1.0 - leave_p) ** slot
        while chunk < end and look < LOOKAHEAD:
            if candidates[slot, look] == chunk:
                best = np.inf
                for option in range(options):
                    if params.option_usable[option]:
                        r = params.option_representation[option]
                        transfer_s = params.rtt_s + 8.0 * catalog.chunk_bytes[slot, chunk, r] / bps
                        unit = params.option_unit[option]
                        done = max(link_s + transfer_s, free_s[unit]) + params.option_decode_s[option]
                        if done < best:
                            best = done
                            taken_s = transfer_s
                fast_s[slot, look] = best
                link_s += taken_s
                need_s[slot, look] = clock_s
                survival[slot, look] = catalog.retention[slot, chunk] / alive if slot == 0 else reach * catalog.retention[slot, chunk]
                if slot == 0:
                    survival[slot, look] = min(survival[slot, look], 1.0)
                previous_quality[slot, look] = quality
                clock_s = max(clock_s, best) if slot == 0 else clock_s
                look += 1
            else:
                clock_s = max(clock_s, ready_s[row, chunk % RING])
                quality = catalog.quality[slot, chunk, params.option_representation[state.chunk_option[row, chunk % RING]]]
            if slot == 0 and first_play_s < 0.0 and not state.playing:
                first_play_s = clock_s
            clock_s += CHUNK_S
            chunk += 1
    lateness = np.zeros((SLOTS, GRID + 1))
    foresee_stall(catalog, leave_p, position_s, max(first_play_s, 0.0), lateness)

    best_action, best_value = WAIT, -np.inf
    for action in range(0, 1 + SLOTS * LOOKAHEAD * options):
        if not mask[action]:
            continue
        place = (action - 1) // options
        slot, look = place // LOOKAHEAD, place % LOOKAHEAD
        option = (action - 1) % options
        value = 0.0
        if action == WAIT:
            slot = look = -1
            link_s = params.wait_s
            value = knobs.wait_bias
        else:
            chunk = candidates[slot, look]
            r = params.option_representation[option]
            size = catalog.chunk_bytes[slot, chunk, r]
            link_s = params.rtt_s + 8.0 * size / bps
            unit = params.option_unit[option]
            decode_s = params.option_decode_s[option]
            done_s = max(free_s[unit], link_s) + decode_s
            p = survival[slot, look]
            quality = catalog.quality[slot, chunk, r]
            need = need_s[slot, look]
            margin = knobs.prompt_margin_s * decode_s
            gain = p * (params.weight_quality * quality - params.weight_switch * abs(quality - previous_quality[slot, look]))
            gain -= (params.weight_waste * (1.0 - p) * knobs.waste + params.weight_download) * size * MBIT_PER_BYTE
            gain -= knobs.unit_price * max(decode_s - 1.0, 0.0)
            now = expected_stall(lateness, slot, chunk, need, p, done_s + margin)
            later = expected_stall(lateness, slot, chunk, need, p, fast_s[slot, look] + knobs.defer_s)
            value = knobs.keep * gain + params.weight_rebuffer * (later - now) - knobs.link_price * link_s
        for s in range(SLOTS):
            for l in range(LOOKAHEAD):
                if candidates[s, l] != NO_ENTRY and not (s == slot and l == look):
                    now = expected_stall(lateness, s, candidates[s, l], need_s[s, l], survival[s, l], fast_s[s, l])
                    later = expected_stall(lateness, s, candidates[s, l], need_s[s, l], survival[s, l], fast_s[s, l] + link_s)
                    value -= params.weight_rebuffer * (later - now)
        if value > best_value:
            best_action, best_value = action, value
    return best_action


class Greedy(Heuristic):
    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int | None = None, **knobs: float) -> None:
        super().__init__(env, seed=seed)
        base = dict(defer_s=3.0, keep=1.0, link_price=0.5, wait_bias=0.0, prompt_margin_s=0.1, waste=1.0, unit_price=0.0)
        self.knobs = Knobs(**{k: float(v) for k, v in (base | knobs).items()})

    def decide(self, view: PlanningView, mask: Mask) -> int:
        return choose(
            view.params,
            view.catalog,
            view.state,
            view.candidates,
            mask.astype(np.int8),
            view.law.leave_p,
            expected_bps(view),
            self.knobs,
        )
