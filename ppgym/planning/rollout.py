"""The cheap policy that plays a sampled future to its horizon: for each video's next chunk, the request worth most.

It sees what a client sees, never the future that it plays in, and costs about a microsecond. The same values are the
search's prior. Which action the planner takes is decided in `search.py`.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, find_candidate, first_chunk, fits_in_memory
from ppgym.core.jit import kernel
from ppgym.core.observation import position_s, survival_at, unit_backlog_s
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    ABSENT,
    F8,
    HISTORY,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    UNITS,
    CatalogArrays,
    Sim,
    StateRecord,
)

GUESS_BPS = 1.2e6  # before the first transfer has ended: the mean of the class `low`, an assumption
RATE_SPAN_S = 4.0  # over which a viewer's leaving is averaged


class RolloutKnobs(NamedTuple):
    """How the policy trades. `choose_action` relies on the signs that `check_policy` checks."""

    bps_share: float  # of the harmonic mean of the last throughputs that is counted on
    defer_s: float  # until a chunk's next turn, if it is not fetched now
    link_price: float  # of a second of link, in QoE
    unit_price: float  # of a second that a chunk occupies its unit, in QoE
    switch_share: float  # of a quality switch that is charged to the chunk
    waste_share: float  # of the expected waste that is charged
    gain_share: float  # of a chunk's own worth that is lost if it is not fetched now
    gain_fade: float  # how fast that share falls with each second until the chunk is due
    stall_share: float  # of the stall expected of the chunk itself
    others_share: float  # of the stall that the others suffer while the link is held
    least_value: float  # below which nothing is fetched
    margin_s: float  # by which a chunk of the current video is wanted before it plays
    buffer_s: float  # no more than this of the current video


class Trade(NamedTuple):
    """The knobs while the link is slow and while it is fast; between, they change with the logarithm of the rate."""

    slow: RolloutKnobs
    fast: RolloutKnobs


class RolloutPolicy(NamedTuple):
    """The knobs on a slow and on a fast network; between, they change with the logarithm of the rate.

    The last few throughputs tell the moment, all that are remembered tell the network: what to do with a fast link
    depends on whether that is a moment's luck. The few are among the many, so that the corner of a slow moment on a
    fast network is never played pure, and until there are more than a few both rates are one.

    Found by evolution (CMA-ES) on the training split, over networks and devices, in several runs that went on from each
    other (`python -m agents.studies.rollout_evolution`). Those for a fast network began from the others and evolved
    with `--scenarios
    high/snapdragon-8-gen-2/typical high/pixels-only/typical high/snapdragon-8-elite/typical`. The best policy by itself
    is not the best to plan with: some that were better alone were left because the planner fared worse with them on the
    validation split.
    """

    slow_network: Trade = Trade(
        RolloutKnobs(0.75, 3.51, 0.05, 0.03, 0.49, 1.98, 1.64, 0.057, 0.52, 0.21, 1.75, -0.33, 32.7),
        RolloutKnobs(0.8, 1.12, 0.4, 0.032, 0.45, 0.43, 1.5, 0.2, 0.68, 0.85, 2.08, 0.023, 37.8),
    )
    fast_network: Trade = Trade(
        RolloutKnobs(1.01, 1.49, 0.095, 0.11, 0.25, 1.91, 1.72, 0.3, 0.39, 0.096, 2.2, 0.31, 34.7),
        RolloutKnobs(0.94, 1.5, 0.06, 0.29, 0.28, 0.51, 1.58, 0.24, 0.32, 0.94, 2.42, -0.21, 38.3),
    )


def check_policy(policy: RolloutPolicy) -> None:
    """Check the signs of the knobs.

    Args:
        policy: The knobs.

    Raises:
        ValueError: A rate that is not positive, or a price of a unit or share of a stall that is negative.
    """
    for network, trade in policy._asdict().items():
        for moment, knobs in trade._asdict().items():
            where = f"rollout: {network}: {moment}"
            if not knobs.bps_share > 0.0:
                raise ValueError(f"{where}: bps_share: expected more than 0, got {knobs.bps_share}")
            for name in ("unit_price", "stall_share", "others_share"):
                if not getattr(knobs, name) >= 0.0:
                    raise ValueError(f"{where}: {name}: expected at least 0, got {getattr(knobs, name)}")


SLOW_BPS, FAST_BPS = 0.8e6, 4.0e6  # of the moment
SLOW_NETWORK_BPS, FAST_NETWORK_BPS = 1.65e6, 2.5e6  # between the means of `medium` and `high`
MOMENT = 5  # throughputs that tell the moment's rate


@kernel
def between(a: RolloutKnobs, b: RolloutKnobs, share: float) -> RolloutKnobs:
    """Knobs between two sets.

    Args:
        a: The knobs at 0.
        b: The knobs at 1.
        share: Where, in [0, 1].

    Returns:
        The knobs.
    """
    return RolloutKnobs(
        a.bps_share + share * (b.bps_share - a.bps_share),
        a.defer_s + share * (b.defer_s - a.defer_s),
        a.link_price + share * (b.link_price - a.link_price),
        a.unit_price + share * (b.unit_price - a.unit_price),
        a.switch_share + share * (b.switch_share - a.switch_share),
        a.waste_share + share * (b.waste_share - a.waste_share),
        a.gain_share + share * (b.gain_share - a.gain_share),
        a.gain_fade + share * (b.gain_fade - a.gain_fade),
        a.stall_share + share * (b.stall_share - a.stall_share),
        a.others_share + share * (b.others_share - a.others_share),
        a.least_value + share * (b.least_value - a.least_value),
        a.margin_s + share * (b.margin_s - a.margin_s),
        a.buffer_s + share * (b.buffer_s - a.buffer_s),
    )


@kernel
def blend(policy: RolloutPolicy, bps: float, network_bps: float) -> RolloutKnobs:
    """The knobs for a rate on a network.

    Args:
        policy: The knobs at the corners.
        bps: Bits per second of the moment.
        network_bps: Bits per second of all throughputs that are remembered.

    Returns:
        The knobs.
    """
    share = place(bps, SLOW_BPS, FAST_BPS)
    network_share = place(network_bps, SLOW_NETWORK_BPS, FAST_NETWORK_BPS)
    if network_share == 0.0:
        return between(policy.slow_network.slow, policy.slow_network.fast, share)
    fast = between(policy.fast_network.slow, policy.fast_network.fast, share)
    if network_share == 1.0:
        return fast
    return between(between(policy.slow_network.slow, policy.slow_network.fast, share), fast, network_share)


@kernel
def place(bps: float, slow_bps: float, fast_bps: float) -> float:
    """Where a rate's logarithm lies between those of two others.

    Args:
        bps: The rate.
        slow_bps: The rate at 0.
        fast_bps: The rate at 1.

    Returns:
        The place, cut to [0, 1].
    """
    if bps <= slow_bps:
        return 0.0
    if bps >= fast_bps:
        return 1.0
    share: float = np.log(bps / slow_bps) / np.log(fast_bps / slow_bps)
    return share


# Rows of the scratch pad [PAD, SLOTS]
CHUNK, DUE, PLAYED, RATE, FASTEST, SOONEST, REFERENCE, BACKLOG = range(8)  # SOONEST: stall if fetched at once
PAD = 8
assert UNITS <= SLOTS, "the row BACKLOG is by unit"


@kernel
def estimate_bps(state: StateRecord, samples: int) -> float:
    """Harmonic mean of the last throughputs.

    Args:
        state: Record of `STATE_DTYPE`.
        samples: How many at most.

    Returns:
        Bits per second.
    """
    count = min(samples, min(int(state.throughputs), HISTORY))
    if count == 0:
        return GUESS_BPS
    total: float = 0.0
    for back in range(count):
        total += 1.0 / max(state.throughput_bps[(state.throughputs - 1 - back) % HISTORY], 1.0)
    return count / total


@kernel
def leaving_rate(catalog: CatalogArrays, index: int, position: float, span_s: float) -> float:
    """How fast a viewer is expected to leave a video, from its retention curve.

    Args:
        catalog: The catalog.
        index: Catalog index.
        position: Content seconds watched.
        span_s: Over which to average; a video that ends within it is left then.

    Returns:
        Probability per second.
    """
    alive = survival_at(catalog, index, position)
    later = position + span_s
    staying: float = 0.0
    if alive > 0.0 and later < catalog.n_chunks[index]:
        staying = survival_at(catalog, index, later) / alive
    return (1.0 - staying) / span_s


@kernel
def stall_s(pad: F8, slot: int, ready_s: float) -> float:
    """Expected stall for a slot's next chunk if it is decoded at some time.

    The viewer leaves each video at a constant rate: the chance to have come to slot s within t seconds is about the
    product of the rates times t ** s / s!, whose integral over the time that the chunk is late is the stall; it never
    exceeds that time.

    Args:
        pad: What `survey` found.
        slot: Visible slot.
        ready_s: Seconds from now.

    Returns:
        Seconds.
    """
    late_s = ready_s - pad[DUE, slot]
    if late_s <= 0.0:
        return 0.0
    share = pad[RATE, slot]
    for _ in range(slot):
        share *= late_s
    expected_s: float = pad[PLAYED, slot] * late_s * min(share, 1.0)
    return expected_s


@kernel
def survey(
    sim: Sim, state: StateRecord, leave_p: float, knobs: RolloutKnobs, lookahead: int, bps: float, pad: F8
) -> None:
    """Find a chunk of each slot, when it is due, how likely it plays, and how soon it can be ready.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        leave_p: P(the session ends after a video).
        knobs: The policy's knobs.
        lookahead: Which of a slot's candidates.
        bps: Expected rate.
        pad: Output [PAD, SLOTS].
    """
    params, catalog = sim.params, sim.catalog
    here_s, s_per_byte = position_s(state), 8.0 / bps
    for unit in range(UNITS):
        pad[BACKLOG, unit] = unit_backlog_s(state, unit)
    reach, rate = 1.0, 1.0
    for slot in range(SLOTS):
        pad[CHUNK, slot] = NO_ENTRY
        video = state.video + slot
        if video >= sim.episode.playlist.shape[0]:
            continue
        index = sim.episode.playlist[video]
        watched_s = here_s if slot == 0 else 0.0
        chunk = find_candidate(sim, state, slot, lookahead)
        if chunk != NO_ENTRY:
            due_s = float(chunk)
            if slot == 0:
                due_s = max(chunk - here_s, 0.0) if state.playing else float(chunk - state.playhead)
            if slot > 0 or due_s < knobs.buffer_s:
                alive = survival_at(catalog, index, watched_s)
                pad[CHUNK, slot] = chunk
                pad[DUE, slot] = due_s - knobs.margin_s if slot == 0 else due_s
                pad[PLAYED, slot] = reach * min(catalog.retention[index, chunk] / alive, 1.0) if alive > 0.0 else 0.0
                pad[RATE, slot] = rate / (slot + 1)
                fastest_s, representation, arrival_s = 1e9, NO_ENTRY, 0.0
                for option in range(params.option_unit.shape[0]):
                    if params.option_usable[option]:
                        if params.option_representation[option] != representation:
                            representation = params.option_representation[option]
                            arrival_s = params.rtt_s + s_per_byte * catalog.chunk_bytes[index, chunk, representation]
                        ready_s = max(arrival_s, pad[BACKLOG, params.option_unit[option]])
                        fastest_s = min(fastest_s, ready_s + params.option_decode_s[option])
                pad[FASTEST, slot] = fastest_s
                pad[SOONEST, slot] = stall_s(pad, slot, fastest_s)
                reference = state.begun_quality
                if chunk > first_chunk(state, video):
                    option = state.chunk_option[video % SLOTS, (chunk - 1) % RING]
                    if state.chunk_status[video % SLOTS, (chunk - 1) % RING] != ABSENT:
                        reference = catalog.quality[index, chunk - 1, params.option_representation[option]]
                pad[REFERENCE, slot] = reference
        rate *= leaving_rate(catalog, index, watched_s, RATE_SPAN_S) / (slot + 1)
        reach *= 1.0 - leave_p


@kernel
def value_actions(
    sim: Sim,
    state: StateRecord,
    leave_p: float,
    policy: RolloutPolicy,
    lookahead: int,
    pad: F8,
    values: F8,
) -> int:
    """Value the requests of one look-ahead, and WAIT.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        leave_p: P(the session ends after a video).
        policy: Its knobs.
        lookahead: Which of a slot's candidates.
        pad: Scratch [PAD, SLOTS].
        values: Output [1 + S * L * O]: QoE of each legal request of this look-ahead, -inf where illegal; other
            look-aheads stay.

    Returns:
        The action of the highest value among these and WAIT.
    """
    return _weigh(sim, state, leave_p, policy, lookahead, pad, values, True)


@kernel
def choose_action(sim: Sim, state: StateRecord, leave_p: float, policy: RolloutPolicy, pad: F8) -> int:
    """The action of the highest value among WAIT and the next chunks' requests, as `value_actions` would return it.

    A request whose value cannot be the highest is not worked out, which spares much of the time.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        leave_p: P(the session ends after a video).
        policy: Its knobs.
        pad: Scratch [PAD, SLOTS].

    Returns:
        The action.
    """
    nowhere = pad[0]  # no value is written
    return _weigh(sim, state, leave_p, policy, 0, pad, nowhere, False)


@kernel
def _weigh(
    sim: Sim,
    state: StateRecord,
    leave_p: float,
    policy: RolloutPolicy,
    lookahead: int,
    pad: F8,
    values: F8,
    every: bool,
) -> int:
    """As `value_actions`; unless every value is wanted, those that cannot be the highest are left out."""
    params = sim.params
    bps = estimate_bps(state, MOMENT)
    knobs = blend(policy, bps, estimate_bps(state, HISTORY))
    bps *= knobs.bps_share
    survey(sim, state, leave_p, knobs, lookahead, bps, pad)
    options, s_per_byte = params.option_unit.shape[0], 8.0 / bps
    starving = not state.playing and pad[CHUNK, 0] == state.playhead
    best, best_value = WAIT, -1e9 if starving else knobs.least_value
    if every:
        values[WAIT] = best_value
    for slot in range(SLOTS):
        first = 1 + (slot * LOOKAHEAD + lookahead) * options
        if pad[CHUNK, slot] == NO_ENTRY:
            if every:
                for option in range(options):
                    values[first + option] = -np.inf
            continue
        chunk = int(pad[CHUNK, slot])
        index = sim.episode.playlist[state.video + slot]
        played = pad[PLAYED, slot]
        deferred = params.weight_rebuffer * stall_s(pad, slot, pad[FASTEST, slot] + knobs.defer_s)
        gain_share = played * knobs.gain_share / (1.0 + knobs.gain_fade * max(pad[DUE, slot], 0.0))
        representation, fits, charged, promises, transfer_s, worth = NO_ENTRY, False, False, False, 0.0, 0.0
        for option in range(options):
            if params.option_representation[option] != representation:
                representation = params.option_representation[option]
                fits = fits_in_memory(sim, state, slot, chunk, representation)
                size_bytes = sim.catalog.chunk_bytes[index, chunk, representation]
                quality = sim.catalog.quality[index, chunk, representation]
                transfer_s = params.rtt_s + s_per_byte * size_bytes
                switch = params.weight_switch * knobs.switch_share * abs(quality - pad[REFERENCE, slot])
                waste = params.weight_waste * knobs.waste_share * (1.0 - played) + params.weight_download
                worth = deferred + gain_share * (params.weight_quality * quality - switch)
                worth -= waste * size_bytes * MBIT_PER_BYTE + knobs.link_price * transfer_s
                charged = False
                promises = every or (fits and worth > best_value)
            if not promises:
                continue
            if not fits or not params.option_usable[option]:
                if every:
                    values[first + option] = -np.inf
                continue
            unit, decode_s = params.option_unit[option], params.option_decode_s[option]
            ready_s = max(transfer_s, pad[BACKLOG, unit]) + decode_s
            price = (knobs.unit_price + params.weight_compute[unit]) * decode_s
            late = params.weight_rebuffer * knobs.stall_share * stall_s(pad, slot, ready_s)
            # What the others suffer only lowers a value: this one is the highest that it can be
            if not every and worth - price - late <= best_value:
                continue
            if not charged:
                others = 0.0
                for other in range(SLOTS):
                    if other != slot and pad[CHUNK, other] != NO_ENTRY:
                        others += stall_s(pad, other, pad[FASTEST, other] + transfer_s) - pad[SOONEST, other]
                worth -= params.weight_rebuffer * knobs.others_share * others
                charged = True
            value = worth - price - late
            if every:
                values[first + option] = value
            if value > best_value:
                best, best_value = first + option, value
    return best
