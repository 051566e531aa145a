"""What an agent sees: one table of fields makes the layout, the bounds and the documentation of the observation.

Every value follows from what has happened and from public facts. Of a running job or transfer an agent sees its start
and what it was expected to take, never when it will end.

Qualities, bytes, rates and weights are relative to the ladder: q is its top quality, B its reference rate. What has no
upper end is shown as x / (x + half), which is 1/2 where x is `half` and never saturates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import first_chunk
from ppgym.core.content import content_s, position_s, survival_at
from ppgym.core.decoders import is_loaded, throttling
from ppgym.core.episodes import EpisodeDistribution
from ppgym.core.jit import kernel
from ppgym.core.patience import patience_share
from ppgym.core.state import (
    DECODED,
    DECODING,
    F4,
    HISTORY,
    I4,
    IN_FLIGHT,
    LOOKAHEAD,
    NO_ENTRY,
    QUEUED,
    RING,
    SLOTS,
    UNITS,
    CatalogArrays,
    Params,
    Sim,
    StateRecord,
)

DURATION_HALF_S = 30.0
CONTENT_HALF_S = 5.0
DECODE_HALF_S = 1.0  # for a second of content: one more cannot be decoded in time
BACKLOG_HALF_S = 2.0
LOAD_HALF_S = 1.0
AGE_HALF_S = 10.0
SINCE_HALF_S = 2.0
RTT_HALF_S = 0.1
CHUNK_HALF_S = 1.0
VIDEOS_HALF = 5.0
ABANDON_HALF_S = 10.0  # seconds of top quality
PATIENCE_S = (1.0, 3.0, 10.0)  # stalls whose bearing is shown


WEIGHTS = (
    "a second of stall",
    "an abandoned video / 10",
    "a switch by q",
    "a wasted second at B",
    "a fetched second at B",
)


class Field(NamedTuple):
    """One row of the observation's table."""

    name: str
    shape: tuple[int, ...]
    meaning: str


def observation_fields(representations: int, options: int) -> tuple[Field, ...]:
    """The table of the observation, in the order of its layout.

    Args:
        representations: R.
        options: O.

    Returns:
        The fields.
    """
    slots, looks, units = SLOTS, LOOKAHEAD, UNITS
    candidates = (slots, looks, representations)
    return (
        Field("slot_present", (slots,), "1 where the slot shows a video; slot 0 is the current one"),
        Field("slot_duration", (slots,), "duration, half 30 s"),
        Field("slot_position", (slots,), "content seconds played, half 30 s"),
        Field("slot_decoded", (slots,), "seconds decoded and not begun, half 5 s"),
        Field("slot_queued", (slots,), "seconds received and not decoded yet, half 5 s"),
        Field("slot_in_flight", (slots,), "seconds requested and not received yet, half 5 s"),
        Field("survival", (slots, looks), "P(viewer reaches the candidate), given position and video"),
        Field("candidate_ahead", (slots, looks), "content seconds from the position to the candidate, half 5 s"),
        Field("candidate_bytes", candidates, "bytes, half those of `chunk_s` seconds at rate B"),
        Field("candidate_quality", candidates, "quality, half q"),
        Field("candidate_decode", candidates, "profile's seconds of the fastest unit, half 1 s; 1 if none can"),
        Field("unit_present", (units,), "1 where the device has the unit: cpu, gpu, npu, vdec"),
        Field("unit_backlog", (units,), "expected seconds until the unit is free, half 2 s"),
        Field("unit_speed", (units,), "1 / (1 + seconds of its fastest option)"),
        Field("unit_throttle", (units,), "1 - 1 / factor by which the warm unit is slower now"),
        Field("option_decode", (options,), "profile's seconds for a second of content, half 1 s; 1 where illegal"),
        Field("option_load", (options,), "seconds to load its decoder, half 1 s; 0 once it is loaded"),
        Field("option_energy", (options,), "price of its joules for a second of content, half that of a second at q"),
        Field("option_generative", (options,), "1 where its codec is generative"),
        Field("throughput", (HISTORY,), "rate of the last transfers, half B, newest first"),
        Field("throughput_age", (HISTORY,), "seconds since they ended, half 10 s; 1 where there was none"),
        Field("last_quality", (1,), "quality of the last chunk begun, half q"),
        Field("playing", (1,), "1 while a chunk plays, 0 in a stall"),
        Field("playback_since", (1,), "seconds since that chunk or stall began, half 2 s"),
        Field("longest_stall", (1,), "longest stall of the current video so far, half 2 s"),
        Field("free_memory", (1,), "free share of the decoded buffer"),
        Field("open_transfers", (1,), "open transfers / parallel_downloads"),
        Field("videos_left", (1,), "videos after the current one, half 5"),
        Field("chunk_length", (1,), "`chunk_s`, half 1 s"),
        Field("rtt", (1,), "`rtt_s`, half 0.1 s"),
        Field("leave_p", (1,), "P(the session ends after a video)"),
        Field("patience", (len(PATIENCE_S),), "P(a stall is borne for more than 1, 3, 10 s)"),
        Field("weights", (len(WEIGHTS),), f"weight of {', '.join(WEIGHTS)}; half what is worth a second at q"),
    )


class Layout(NamedTuple):
    """Where each field of the table begins in the flat vector, and its length in all."""

    slot_present: int
    slot_duration: int
    slot_position: int
    slot_decoded: int
    slot_queued: int
    slot_in_flight: int
    survival: int
    candidate_ahead: int
    candidate_bytes: int
    candidate_quality: int
    candidate_decode: int
    unit_present: int
    unit_backlog: int
    unit_speed: int
    unit_throttle: int
    option_decode: int
    option_load: int
    option_energy: int
    option_generative: int
    throughput: int
    throughput_age: int
    last_quality: int
    playing: int
    playback_since: int
    longest_stall: int
    free_memory: int
    open_transfers: int
    videos_left: int
    chunk_length: int
    rtt: int
    leave_p: int
    patience: int
    weights: int
    size: int


class Features(NamedTuple):
    """What of the observation is constant in a scenario, scaled once."""

    layout: Layout
    candidate: F4  # [K, C, 2, R] bytes and quality, side by side in memory
    candidate_decode: F4  # [R]
    unit_present: F4  # [U]
    unit_speed: F4  # [U]
    option_decode: F4  # [O]
    option_load: F4  # [O] before its decoder is loaded
    option_energy: F4  # [O]
    option_generative: F4  # [O]
    constants: F4  # the fields from `chunk_length` on


def make_layout(fields: Sequence[Field]) -> Layout:
    """Offsets of the fields of the table.

    Args:
        fields: The table.

    Returns:
        The layout.
    """
    ends = np.cumsum([int(np.prod(field.shape)) for field in fields]).tolist()
    return Layout(**dict(zip([field.name for field in fields], [0, *ends[:-1]], strict=True)), size=ends[-1])


def describe_observation(fields: Sequence[Field]) -> str:
    """The table as Markdown rows.

    Args:
        fields: The table.

    Returns:
        A header and one row a field: indices, name, shape, meaning.
    """
    layout = make_layout(fields)
    rows = ["| Index | Field | Shape | Meaning |", "|---|---|---|---|"]
    for row in fields:
        first = getattr(layout, row.name)
        last = first + int(np.prod(row.shape)) - 1
        index = str(first) if first == last else f"{first}-{last}"
        rows.append(f"| {index} | `{row.name}` | {' x '.join(str(n) for n in row.shape)} | {row.meaning} |")
    return "\n".join(rows)


def make_features(
    params: Params,
    catalog: CatalogArrays,
    distribution: EpisodeDistribution,
    unit_present: Sequence[bool],
) -> Features:
    """Scale what is constant.

    Args:
        params: The scenario's constants.
        catalog: The catalog.
        distribution: What is known of the viewer.
        unit_present: [U] whether the device has the unit.

    Returns:
        The features.
    """
    representations, options = catalog.memory_bytes_per_s.shape[0], params.option_unit.shape[0]
    decode_s = np.where(params.option_usable, params.option_decode_s, np.inf)
    fastest_s = np.full(representations, np.inf)
    np.minimum.at(fastest_s, params.option_representation, decode_s)
    unit_fastest_s = np.full(UNITS, np.inf)
    np.minimum.at(unit_fastest_s, params.option_unit, decode_s)
    second_qoe = params.weight_quality * params.top_quality  # of a second at q
    option_j = params.option_w * np.where(np.isfinite(decode_s), decode_s, 0.0)
    second_mbit = params.reference_bps / 1e6
    weights = (
        params.weight_rebuffer,
        params.weight_abandon / ABANDON_HALF_S,
        params.weight_switch * params.top_quality,
        params.weight_waste * second_mbit,
        params.weight_download * second_mbit,
    )
    patience = [patience_share(distribution.patience_at_s, distribution.patience_share, s) for s in PATIENCE_S]
    constants = [
        squash(params.chunk_s, CHUNK_HALF_S),
        squash(params.rtt_s, RTT_HALF_S),
        distribution.leave_p,
        *patience,
        *(squash(weight, second_qoe) for weight in weights),
    ]
    return Features(
        layout=make_layout(observation_fields(representations, options)),
        candidate=np.stack(
            [
                squashed(catalog.chunk_bytes, params.reference_bps * params.chunk_s / 8.0),
                squashed(catalog.quality, params.top_quality),
            ],
            axis=2,
        ),
        candidate_decode=squashed(fastest_s, DECODE_HALF_S),
        unit_present=np.asarray(unit_present, dtype=np.float32),
        unit_speed=(1.0 / (1.0 + unit_fastest_s)).astype(np.float32),
        option_decode=squashed(decode_s, DECODE_HALF_S),
        option_load=squashed(params.option_load_s, LOAD_HALF_S),
        option_energy=squashed(params.weight_energy * option_j, second_qoe),
        option_generative=params.option_generative.astype(np.float32),
        constants=np.array(constants, np.float32),
    )


def squashed(values: npt.NDArray[np.float64], half: float) -> F4:
    """`squash` of each value; 1 where it is infinite."""
    finite = np.where(np.isfinite(values), values, 0.0)
    total = finite + half
    shares = np.divide(finite, total, out=np.zeros_like(finite), where=total > 0.0)
    return np.where(np.isfinite(values), shares, 1.0).astype(np.float32)


@kernel
def squash(value: float, half: float) -> float:
    """Show a value from 0 on, which may have no upper end, in [0, 1).

    Args:
        value: At least 0.
        half: What is shown as 1/2, at least 0.

    Returns:
        value / (value + half); 0 for 0.
    """
    return value / (value + half) if value > 0.0 else 0.0


@kernel
def unit_backlog_s(state: StateRecord, unit: int) -> float:
    """Expected seconds until a unit has finished its job and its queue, as far as a client can know.

    Args:
        state: Record of `STATE_DTYPE`.
        unit: Unit index.

    Returns:
        Seconds.
    """
    running_s = 0.0
    if state.job_video[unit] != NO_ENTRY:
        job_s = state.job_load_s[unit] + state.job_expected_s[unit]
        running_s = max(job_s - (state.time_s - state.job_start_s[unit]), 0.0)
    return running_s + state.queued_s[unit]


@kernel
def unit_interval(value: float) -> float:
    """Cut a value to [0, 1].

    Args:
        value: Any.

    Returns:
        The value, or the nearer end.
    """
    return min(max(value, 0.0), 1.0)


@kernel
def observe(sim: Sim, state: StateRecord, features: Features, candidates: I4, observation: F4) -> None:
    """Fill the observation of a state.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        features: What is constant.
        candidates: [S, L] as `actions.find_candidates` fills it.
        observation: Output float32 [size], in [0, 1].
    """
    observe_constants(features, observation)
    for slot in range(SLOTS):
        observe_candidates(sim, state, features, candidates, slot, observation)
    observe_situation(sim, state, features, candidates, observation)


@kernel
def observe_constants(features: Features, observation: F4) -> None:
    """Fill the fields that never change; see `observe` for the arguments."""
    layout = features.layout
    for unit in range(UNITS):
        observation[layout.unit_present + unit] = features.unit_present[unit]
        observation[layout.unit_speed + unit] = features.unit_speed[unit]
    for option in range(features.option_decode.shape[0]):
        observation[layout.option_decode + option] = features.option_decode[option]
        observation[layout.option_energy + option] = features.option_energy[option]
        observation[layout.option_generative + option] = features.option_generative[option]
    for k in range(features.constants.shape[0]):
        observation[layout.chunk_length + k] = features.constants[k]


@kernel
def observe_candidates(
    sim: Sim, state: StateRecord, features: Features, candidates: I4, slot: int, observation: F4
) -> None:
    """Fill the fields of one slot that follow from its video and its candidates alone.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        features: What is constant.
        candidates: [S, L] as `actions.find_candidates` fills it.
        slot: The slot.
        observation: Output float32 [size].
    """
    layout, representations = features.layout, features.candidate_decode.shape[0]
    video, index = state.video + slot, NO_ENTRY
    observation[layout.slot_present + slot] = 0.0
    observation[layout.slot_duration + slot] = 0.0
    if video < sim.episode.playlist.shape[0]:
        index = sim.episode.playlist[video]
        observation[layout.slot_present + slot] = 1.0
        observation[layout.slot_duration + slot] = squash(sim.catalog.duration_s[index], DURATION_HALF_S)
    for lookahead in range(LOOKAHEAD):
        chunk = candidates[slot, lookahead]
        first = (slot * LOOKAHEAD + lookahead) * representations
        size = observation[layout.candidate_bytes + first :]
        quality = observation[layout.candidate_quality + first :]
        decode = observation[layout.candidate_decode + first :]
        if chunk == NO_ENTRY:
            for r in range(representations):
                size[r], quality[r], decode[r] = 0.0, 0.0, 0.0
        else:
            candidate = features.candidate[index, chunk]
            for r in range(representations):
                size[r], quality[r], decode[r] = candidate[0, r], candidate[1, r], features.candidate_decode[r]
    if slot > 0:
        observe_reach(sim, state, layout, candidates, slot, observation)


@kernel
def observe_reach(sim: Sim, state: StateRecord, layout: Layout, candidates: I4, slot: int, observation: F4) -> None:
    """Fill how far the viewer is in one slot's video, and how far and how probably away its candidates are.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        layout: Of the observation.
        candidates: [S, L] as `actions.find_candidates` fills it.
        slot: The slot.
        observation: Output float32 [size].
    """
    video, chunk_s, index, played_s, alive = state.video + slot, sim.params.chunk_s, 0, 0.0, 0.0
    if video < sim.episode.playlist.shape[0]:
        index = sim.episode.playlist[video]
        played_s = position_s(chunk_s, state) if slot == 0 else 0.0
        alive = survival_at(sim.catalog, index, played_s)
    observation[layout.slot_position + slot] = squash(played_s, DURATION_HALF_S)
    for lookahead in range(LOOKAHEAD):
        chunk, reached, ahead = candidates[slot, lookahead], 0.0, 0.0
        if chunk != NO_ENTRY:
            begin_s = chunk * chunk_s
            if alive > 0.0:
                reached = unit_interval(survival_at(sim.catalog, index, begin_s) / alive)
            ahead = squash(begin_s - played_s, CONTENT_HALF_S)
        place = slot * LOOKAHEAD + lookahead
        observation[layout.survival + place] = reached
        observation[layout.candidate_ahead + place] = ahead


@kernel
def observe_situation(sim: Sim, state: StateRecord, features: Features, candidates: I4, observation: F4) -> None:
    """Fill the fields that change from one decision to the next; see `observe` for the arguments."""
    layout = features.layout
    videos = sim.episode.playlist.shape[0]
    observe_reach(sim, state, layout, candidates, 0, observation)
    for slot in range(SLOTS):
        observe_buffer(sim, state, layout, slot, observation)
    for unit in range(UNITS):
        observation[layout.unit_backlog + unit] = squash(unit_backlog_s(state, unit), BACKLOG_HALF_S)
        observation[layout.unit_throttle + unit] = 1.0 - 1.0 / throttling(sim.params, state, unit)
    for option in range(features.option_load.shape[0]):
        loaded = is_loaded(sim.params, state, option)
        observation[layout.option_load + option] = 0.0 if loaded else features.option_load[option]

    for back in range(HISTORY):
        rate, age = 0.0, 1.0
        if back < state.throughputs:
            place = (state.throughputs - 1 - back) % HISTORY
            rate = squash(state.throughput_bps[place], sim.params.reference_bps)
            age = squash(state.time_s - state.throughput_time_s[place], AGE_HALF_S)
        observation[layout.throughput + back] = rate
        observation[layout.throughput_age + back] = age

    free_bytes = sim.params.decoded_buffer_bytes - state.reserved_bytes
    observation[layout.last_quality] = squash(state.begun_quality, sim.params.top_quality)
    observation[layout.playing] = float(state.playing)
    observation[layout.playback_since] = squash(state.time_s - state.playback_since_s, SINCE_HALF_S)
    observation[layout.longest_stall] = squash(state.longest_stall_s, SINCE_HALF_S)
    observation[layout.free_memory] = unit_interval(free_bytes / sim.params.decoded_buffer_bytes)
    observation[layout.open_transfers] = state.transfers / sim.params.parallel_downloads
    observation[layout.videos_left] = squash(max(videos - 1 - state.video, 0), VIDEOS_HALF)


@kernel
def observe_buffer(sim: Sim, state: StateRecord, layout: Layout, slot: int, observation: F4) -> None:
    """Fill the seconds of one slot that are decoded, queued and in flight.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        layout: Of the observation.
        slot: The slot.
        observation: Output float32 [size].
    """
    decoded_s, queued_s, in_flight_s = 0.0, 0.0, 0.0
    video = state.video + slot
    if video < sim.episode.playlist.shape[0]:
        index, row, chunk_s = sim.episode.playlist[video], video % SLOTS, sim.params.chunk_s
        decoded, queued, in_flight = count_chunks(state, row)
        decoded_s, queued_s, in_flight_s = decoded * chunk_s, queued * chunk_s, in_flight * chunk_s
        last = sim.catalog.n_chunks[index] - 1
        if last < first_chunk(state, video) + RING:  # it may be shorter
            missing_s = chunk_s - content_s(sim.params, sim.catalog, index, last)
            status = state.chunk_status[row, last % RING]
            decoded_s -= missing_s * (status == DECODED)
            queued_s -= missing_s * ((status == QUEUED) | (status == DECODING))
            in_flight_s -= missing_s * (status == IN_FLIGHT)
    observation[layout.slot_decoded + slot] = squash(decoded_s, CONTENT_HALF_S)
    observation[layout.slot_queued + slot] = squash(queued_s, CONTENT_HALF_S)
    observation[layout.slot_in_flight + slot] = squash(in_flight_s, CONTENT_HALF_S)


@kernel
def count_chunks(state: StateRecord, row: int) -> tuple[int, int, int]:
    """How many chunks of a video are decoded, received and not decoded yet, and requested and not received yet.

    Args:
        state: Record of `STATE_DTYPE`.
        row: Feed position % SLOTS.

    Returns:
        The counts.
    """
    decoded, queued, in_flight = np.uint8(0), np.uint8(0), np.uint8(0)  # bytes, of which a processor adds many at once
    for column in range(RING):  # a place that holds no chunk of the video is ABSENT
        status = state.chunk_status[row, column]
        decoded = np.uint8(decoded + np.uint8(status == DECODED))
        queued = np.uint8(queued + np.uint8((status == QUEUED) | (status == DECODING)))
        in_flight = np.uint8(in_flight + np.uint8(status == IN_FLIGHT))
    return int(decoded), int(queued), int(in_flight)
