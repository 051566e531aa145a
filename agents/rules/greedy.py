"""A decode-aware greedy policy: of all legal requests, pixels or prompts, the one that is worth most now.

What it expects of the viewer, the link and the compute units is worked out here; how agents are called is in
`heuristics.py`.
"""

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.base import Heuristic, Mask, expected_bps
from agents.rules.forecast import foresee_decoding
from ppgym.core.actions import WAIT
from ppgym.core.jit import njit
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    CHUNK_S,
    F8,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    CatalogArrays,
    Params,
    StateRecord,
)
from ppgym.planning_view import PlanningView

GRID_S = 64  # seconds ahead for which the viewer's coming is foreseen


class Knobs(NamedTuple):
    """What the rule leaves open; `Greedy` explains them."""

    defer_s: float
    link_price: float
    least_value: float
    switch_share: float


class Outlook(NamedTuple):
    """What is expected of each candidate chunk, and of the viewer."""

    survival: F8  # [S, L] P(the chunk is played)
    need_s: F8  # [S, L] seconds until the current video needs it (slot 0 only)
    fastest_s: F8  # [S, L] seconds until it can be decoded, if candidates of its video are fetched in order
    reference: F8  # [S, L] quality of the chunk before it; of the last one begun where that is not requested
    lateness_s: F8  # [S, GRID_S + 1] expected seconds, so far ahead, since the viewer came to the slot (not slot 0)


@njit
def expect_viewer(catalog: CatalogArrays, leave_p: float, position_s: float, start_s: float, lateness_s: F8) -> None:
    """Foresee when the viewer comes to each slot after the current one, if playback does not stall again.

    Args:
        catalog: The manifests, by slot.
        leave_p: P(the session ends after a video).
        position_s: Content seconds of the current video that have played.
        start_s: Seconds until it plays.
        lateness_s: Output [S, GRID_S + 1]: expected seconds, so many seconds from now, since the viewer came to the
            slot. Row 0 stays.
    """
    coming = np.zeros(GRID_S)  # P(the viewer comes to the slot in this second from now)
    coming[0] = 1.0
    for slot in range(SLOTS):
        if slot > 0:
            arrived, late_s = 0.0, 0.0
            for second in range(GRID_S):
                late_s += arrived + 0.5 * coming[second]  # evenly within the second
                arrived += coming[second]
                lateness_s[slot, second + 1] = late_s
        n_chunks, curve = catalog.n_chunks[slot], catalog.retention[slot]
        begin = int(position_s) if slot == 0 else 0
        alive = max(curve[begin], 1e-9)
        after_s = start_s - (position_s - begin) if slot == 0 else 0.0
        left = np.zeros(GRID_S)
        for second in range(GRID_S):
            if coming[second] > 1e-6:
                share = (1.0 - leave_p) * coming[second] / alive
                for watched in range(begin, n_chunks):
                    place = second + int(max(after_s + watched - begin + 0.5, 0.0))
                    left[min(place, GRID_S - 1)] += share * (curve[watched] - curve[watched + 1])
                place = second + int(max(after_s + n_chunks - begin, 0.0))
                left[min(place, GRID_S - 1)] += share * curve[n_chunks]
        coming = left


@njit
def expected_stall_s(outlook: Outlook, slot: int, look: int, chunk: int, ready_s: float) -> float:
    """Expected stall of a candidate that is decoded at some time, if all before it are there.

    Args:
        outlook: What is expected.
        slot: Its slot.
        look: Its place among the slot's candidates.
        chunk: Its index.
        ready_s: Seconds from now until it is decoded.

    Returns:
        Seconds.
    """
    survival = outlook.survival[slot, look]
    if slot == 0:
        return float(survival * max(ready_s - outlook.need_s[slot, look], 0.0))
    late_s = ready_s - chunk * CHUNK_S
    if late_s <= 0.0:
        return 0.0
    second = min(int(late_s), GRID_S - 1)
    low_s, high_s = outlook.lateness_s[slot, second], outlook.lateness_s[slot, second + 1]
    return float(survival * (low_s + (late_s - second) * (high_s - low_s)))


@njit
def look_out(
    params: Params, catalog: CatalogArrays, state: StateRecord, leave_p: float, bps: float, ready_s: F8, free_s: F8
) -> Outlook:
    """Work out what is expected of the candidates.

    Args:
        params: The scenario's constants.
        catalog: The manifests, by slot.
        state: What has happened.
        leave_p: P(the session ends after a video).
        bps: Expected bits per second of a transfer.
        ready_s: [S, RING] seconds until a requested chunk is decoded, as `foresee_decoding` has it.
        free_s: [U] seconds until a unit has done all that is requested of it.

    Returns:
        The outlook.
    """
    outlook = Outlook(
        np.zeros((SLOTS, LOOKAHEAD)),
        np.zeros((SLOTS, LOOKAHEAD)),
        np.zeros((SLOTS, LOOKAHEAD)),
        np.zeros((SLOTS, LOOKAHEAD)),
        np.zeros((SLOTS, GRID_S + 1)),
    )
    position_s, start_s = float(state.playhead), 0.0
    if state.playing:
        position_s += min(state.time_s - state.playback_since_s, CHUNK_S)
    for slot in range(SLOTS):
        curve = catalog.retention[slot]
        begin, clock_s, reach = 0, 0.0, (1.0 - leave_p) ** slot
        if slot == 0:
            begin, second = state.playhead, min(int(position_s), catalog.n_chunks[0] - 1)
            reach = 1.0 / max(curve[second] + (position_s - second) * (curve[second + 1] - curve[second]), 1e-9)
            if state.playing:
                clock_s = state.playhead + CHUNK_S - position_s
        first = begin + 1 if slot == 0 and state.playing else begin
        link_s, look, reference = 0.0, 0, state.begun_quality
        row = (state.video + slot) % SLOTS
        for chunk in range(first, min(catalog.n_chunks[slot], begin + RING)):
            if state.chunk_status[row, chunk % RING] != ABSENT:
                clock_s = max(clock_s, ready_s[row, chunk % RING])
                option = state.chunk_option[row, chunk % RING]
                reference = catalog.quality[slot, chunk, params.option_representation[option]]
            else:
                if look == LOOKAHEAD:
                    break
                fastest_s, transfer_s = np.inf, 0.0
                for option in range(params.option_unit.shape[0]):
                    if params.option_usable[option]:
                        size = catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
                        took_s = params.rtt_s + 8.0 * size / bps
                        done_s = max(link_s + took_s, free_s[params.option_unit[option]])
                        done_s += params.option_decode_s[option]
                        if done_s < fastest_s:
                            fastest_s, transfer_s = done_s, took_s
                link_s += transfer_s
                outlook.survival[slot, look] = min(reach * curve[chunk], 1.0)
                outlook.need_s[slot, look] = clock_s
                outlook.fastest_s[slot, look] = fastest_s
                outlook.reference[slot, look] = reference
                clock_s = max(clock_s, fastest_s)
                look += 1
            if slot == 0 and chunk == state.playhead:
                start_s = clock_s
            clock_s += CHUNK_S
    expect_viewer(catalog, leave_p, position_s, start_s, outlook.lateness_s)
    return outlook


@njit
def choose(
    params: Params,
    catalog: CatalogArrays,
    state: StateRecord,
    candidates: I4,
    mask: npt.NDArray[np.bool_],
    leave_p: float,
    bps: float,
    knobs: Knobs,
) -> int:
    """The action of the highest value; see `Greedy`.

    Args:
        params: The scenario's constants.
        catalog: The manifests, by slot.
        state: What has happened.
        candidates: [S, L] chunks.
        mask: [1 + S * L * O], true where an action is legal.
        leave_p: P(the session ends after a video).
        bps: Expected bits per second of a transfer.
        knobs: What the rule leaves open.

    Returns:
        A legal action.
    """
    options = params.option_unit.shape[0]
    gain = np.zeros(options)
    ready_s, free_s = foresee_decoding(params, catalog, state, bps)
    outlook = look_out(params, catalog, state, leave_p, bps, ready_s, free_s)
    # Whoever starves a stalled viewer gains nothing by waiting
    starving = not state.playing and candidates[0, 0] == state.playhead
    best, best_value = WAIT, knobs.least_value - stall_of_others(params, outlook, candidates, -1, params.wait_s)
    if starving:
        best_value = -np.inf
    for place in range(SLOTS * LOOKAHEAD):
        slot, look = place // LOOKAHEAD, place % LOOKAHEAD
        chunk = candidates[slot, look]
        if chunk == NO_ENTRY:
            continue
        first = 1 + place * options
        survival = outlook.survival[slot, look]
        deferred_s = expected_stall_s(outlook, slot, look, chunk, outlook.fastest_s[slot, look] + knobs.defer_s)
        best_gain, lost = -np.inf, 0.0
        for option in range(options):
            if mask[first + option]:
                r = params.option_representation[option]
                quality, mbit = catalog.quality[slot, chunk, r], catalog.chunk_bytes[slot, chunk, r] * MBIT_PER_BYTE
                switch = knobs.switch_share * abs(quality - outlook.reference[slot, look])
                gain[option] = survival * (params.weight_quality * quality - params.weight_switch * switch)
                gain[option] -= ((1.0 - survival) * params.weight_waste + params.weight_download) * mbit
                gain[option] -= params.weight_compute[params.option_unit[option]] * params.option_decode_s[option]
                if gain[option] > best_gain:
                    best_gain = gain[option]
                    link_s = params.rtt_s + mbit * 1e6 / bps
                    lost = min(link_s / CHUNK_S, 1.0)  # what a link faster than playback makes up for is not lost
        for option in range(options):
            if mask[first + option]:
                size = catalog.chunk_bytes[slot, chunk, params.option_representation[option]]
                link_s = params.rtt_s + 8.0 * size / bps
                ready_s = max(link_s, free_s[params.option_unit[option]]) + params.option_decode_s[option]
                spared_s = deferred_s - expected_stall_s(outlook, slot, look, chunk, ready_s)
                value = gain[option] - (1.0 - lost) * best_gain - knobs.link_price * link_s
                value += params.weight_rebuffer * spared_s
                value -= stall_of_others(params, outlook, candidates, place, link_s)
                if value > best_value:
                    best, best_value = first + option, value
    return best


@njit
def stall_of_others(params: Params, outlook: Outlook, candidates: I4, place: int, delay_s: float) -> float:
    """What it costs the other candidates that the link is held for a while: of each slot, the one hurt most.

    Args:
        params: The scenario's constants.
        outlook: What is expected.
        candidates: [S, L] chunks.
        place: slot * L + lookahead of the candidate that holds the link; -1 for none.
        delay_s: Seconds that it holds it.

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
                ready_s = outlook.fastest_s[slot, look]
                late_s = expected_stall_s(outlook, slot, look, chunk, ready_s + delay_s)
                most_s = max(most_s, late_s - expected_stall_s(outlook, slot, look, chunk, ready_s))
        total_s += most_s
    return params.weight_rebuffer * total_s


class Greedy(Heuristic):
    """Takes the request of the highest value, of pixels or prompts, for any visible chunk within the look-ahead.

    It knows the manifests, the retention curves, `leave_p`, the device profile and the past throughputs, and expects
    the harmonic mean of the last five to go on. The value of fetching a chunk by an option is

        gain - (1 - lost) * best gain - link_price * seconds on the link
        + rebuffer weight * (expected stall of the chunk if deferred - if fetched now)
        - rebuffer weight * (expected stall that the others suffer while the link is held)

    where gain is P(played) * (quality - switch) - P(not played) * waste, with the weights of the scenario. `lost` is
    the share of the chunk's best gain that cannot be had later: the seconds that it takes on the link, at most 1, for
    a link faster than playback makes up for what was left. Of a chunk of the current video the expected stall is how
    much later than needed it is decoded; of a later video it is that averaged over when the viewer may come, as Dashlet
    does (NSDI'23, arXiv 2204.12954). Decoding counts: what runs and queues on a unit delays a chunk. WAIT is worth
    `least_value` less what it makes the others suffer, and is no choice while the viewer is stalled for a chunk that
    nobody has requested. The rule is ppgym's own; its defaults were chosen on the train and validation splits.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        defer_s: float = 3.0,
        link_price: float = 0.3,
        least_value: float = 0.6,
        switch_share: float = 0.5,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            defer_s: Seconds until a chunk's next turn, if it is not fetched now.
            link_price: QoE that a second of the link is worth elsewhere.
            least_value: QoE by which a request must beat waiting.
            switch_share: Share of a quality switch that is charged to the chunk; its successors profit as well.
        """
        super().__init__(env, seed=seed)
        self._knobs = Knobs(float(defer_s), float(link_price), float(least_value), float(switch_share))

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        return choose(
            view.params,
            view.catalog,
            view.state,
            view.candidates,
            np.asarray(mask, np.bool_),
            view.distribution.leave_p,
            expected_bps(view),
            self._knobs,
        )
