"""What an agent sees: one table of fields makes the layout, the bounds and the documentation of the observation.

Every value follows from what has happened and from public facts. Of a running job or transfer an agent sees its start
and what it was expected to take, never when it will end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import first_chunk
from ppgym.core.content import content_s, position_s, survival_at
from ppgym.core.jit import kernel
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

# A value is divided by its scale and cut to [0, 1], or shown as x / (x + half)
VIDEO_SCALE_S = 60.0
BUFFER_SCALE_S = 20.0
BYTES_SCALE = 500_000.0
QUALITY_SCALE = 4.0
DECODE_SCALE_S = 10.0
BACKLOG_SCALE_S = 20.0
VIDEOS_SCALE = 20.0
THROUGHPUT_HALF_BPS = 4e6
AGE_HALF_S = 10.0
SINCE_HALF_S = 2.0


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
        Field("slot_duration", (slots,), "duration / 60 s"),
        Field("slot_position", (slots,), "content seconds played / 60 s"),
        Field("slot_decoded", (slots,), "seconds decoded and not begun / 20 s"),
        Field("slot_queued", (slots,), "seconds received and not decoded yet / 20 s"),
        Field("slot_in_flight", (slots,), "seconds requested and not received yet / 20 s"),
        Field("survival", (slots, looks), "P(viewer reaches the candidate | position), the video being reached"),
        Field("candidate_ahead", (slots, looks), "content seconds from the position to the candidate / 60 s"),
        Field("candidate_bytes", candidates, "bytes / 500 kB"),
        Field("candidate_quality", candidates, "quality / 4 Mbit/s"),
        Field("candidate_decode", candidates, "expected decode seconds on the fastest unit / 10 s; 1 if none can"),
        Field("unit_present", (units,), "1 where the device has the unit: cpu, gpu, npu, vdec"),
        Field("unit_backlog", (units,), "expected seconds until the unit is free / 20 s"),
        Field("unit_speed", (units,), "1 / (1 + seconds of its fastest option)"),
        Field("option_decode", (options,), "expected decode seconds / 10 s; 1 where illegal"),
        Field("throughput", (HISTORY,), "x / (x + 4 Mbit/s) of the last transfers, newest first"),
        Field("throughput_age", (HISTORY,), "x / (x + 10 s) since they ended; 1 where there was none"),
        Field("last_quality", (1,), "quality of the last chunk begun / 4 Mbit/s"),
        Field("playing", (1,), "1 while a chunk plays, 0 in a stall"),
        Field("playback_since", (1,), "x / (x + 2 s) since that chunk or stall began"),
        Field("free_memory", (1,), "free share of the decoded buffer"),
        Field("open_transfers", (1,), "open transfers / parallel_downloads"),
        Field("videos_left", (1,), "videos after the current one / 20"),
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
    option_decode: int
    throughput: int
    throughput_age: int
    last_quality: int
    playing: int
    playback_since: int
    free_memory: int
    open_transfers: int
    videos_left: int
    size: int


class Features(NamedTuple):
    """What of the observation is constant in a scenario, scaled once."""

    layout: Layout
    candidate_bytes: F4  # [K, C, R]
    candidate_quality: F4  # [K, C, R]
    candidate_decode: F4  # [R]
    unit_present: F4  # [U]
    unit_speed: F4  # [U]
    option_decode: F4  # [O]


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


def make_features(params: Params, catalog: CatalogArrays, unit_present: Sequence[bool]) -> Features:
    """Scale what is constant.

    Args:
        params: The scenario's constants.
        catalog: The catalog.
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

    def scaled(values: npt.NDArray[np.float64], scale: float) -> F4:
        return np.clip(values / scale, 0.0, 1.0).astype(np.float32)

    return Features(
        layout=make_layout(observation_fields(representations, options)),
        candidate_bytes=scaled(catalog.chunk_bytes, BYTES_SCALE),
        candidate_quality=scaled(catalog.quality, QUALITY_SCALE),
        candidate_decode=scaled(fastest_s, DECODE_SCALE_S),
        unit_present=np.asarray(unit_present, dtype=np.float32),
        unit_speed=(1.0 / (1.0 + unit_fastest_s)).astype(np.float32),
        option_decode=scaled(decode_s, DECODE_SCALE_S),
    )


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
    layout = features.layout
    videos = sim.episode.playlist.shape[0]
    observation[layout.slot_present : layout.unit_present] = 0.0
    for slot in range(SLOTS):
        video = state.video + slot
        if video < videos:
            observe_slot(sim, state, features, candidates, slot, observation)

    for unit in range(UNITS):
        observation[layout.unit_present + unit] = features.unit_present[unit]
        observation[layout.unit_backlog + unit] = unit_interval(unit_backlog_s(state, unit) / BACKLOG_SCALE_S)
        observation[layout.unit_speed + unit] = features.unit_speed[unit]
    for option in range(features.option_decode.shape[0]):
        observation[layout.option_decode + option] = features.option_decode[option]

    for back in range(HISTORY):
        rate, age = 0.0, 1.0
        if back < state.throughputs:
            place = (state.throughputs - 1 - back) % HISTORY
            rate = state.throughput_bps[place] / (state.throughput_bps[place] + THROUGHPUT_HALF_BPS)
            age_s = state.time_s - state.throughput_time_s[place]
            age = age_s / (age_s + AGE_HALF_S)
        observation[layout.throughput + back] = rate
        observation[layout.throughput_age + back] = age

    since_s = state.time_s - state.playback_since_s
    free_bytes = sim.params.decoded_buffer_bytes - state.reserved_bytes
    observation[layout.last_quality] = unit_interval(state.begun_quality / QUALITY_SCALE)
    observation[layout.playing] = float(state.playing)
    observation[layout.playback_since] = since_s / (since_s + SINCE_HALF_S)
    observation[layout.free_memory] = unit_interval(free_bytes / sim.params.decoded_buffer_bytes)
    observation[layout.open_transfers] = state.transfers / sim.params.parallel_downloads
    observation[layout.videos_left] = unit_interval(max(videos - 1 - state.video, 0) / VIDEOS_SCALE)


@kernel
def observe_slot(sim: Sim, state: StateRecord, features: Features, candidates: I4, slot: int, observation: F4) -> None:
    """Fill the fields of one slot that shows a video.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        features: What is constant.
        candidates: [S, L] as `actions.find_candidates` fills it.
        slot: The slot.
        observation: Output, zero in these fields.
    """
    layout = features.layout
    video = state.video + slot
    index = sim.episode.playlist[video]
    row = video % SLOTS
    n_chunks = sim.catalog.n_chunks[index]

    decoded_s, queued_s, in_flight_s = 0.0, 0.0, 0.0
    begin = first_chunk(state, video)
    for chunk in range(begin, min(n_chunks, begin + RING)):
        status = state.chunk_status[row, chunk % RING]
        if status == DECODED:
            decoded_s += content_s(sim.params, sim.catalog, index, chunk)
        elif status == IN_FLIGHT:
            in_flight_s += content_s(sim.params, sim.catalog, index, chunk)
        elif status in (QUEUED, DECODING):
            queued_s += content_s(sim.params, sim.catalog, index, chunk)
    played_s = position_s(sim.params.chunk_s, state) if slot == 0 else 0.0
    observation[layout.slot_present + slot] = 1.0
    observation[layout.slot_duration + slot] = unit_interval(sim.catalog.duration_s[index] / VIDEO_SCALE_S)
    observation[layout.slot_position + slot] = unit_interval(played_s / VIDEO_SCALE_S)
    observation[layout.slot_decoded + slot] = unit_interval(decoded_s / BUFFER_SCALE_S)
    observation[layout.slot_queued + slot] = unit_interval(queued_s / BUFFER_SCALE_S)
    observation[layout.slot_in_flight + slot] = unit_interval(in_flight_s / BUFFER_SCALE_S)

    representations = features.candidate_decode.shape[0]
    alive = survival_at(sim.catalog, index, played_s)
    for lookahead in range(LOOKAHEAD):
        chunk = candidates[slot, lookahead]
        if chunk == NO_ENTRY:
            break
        place, begin_s = slot * LOOKAHEAD + lookahead, chunk * sim.params.chunk_s
        if alive > 0.0:
            observation[layout.survival + place] = unit_interval(survival_at(sim.catalog, index, begin_s) / alive)
        observation[layout.candidate_ahead + place] = unit_interval((begin_s - played_s) / VIDEO_SCALE_S)
        first = place * representations
        for r in range(representations):
            observation[layout.candidate_bytes + first + r] = features.candidate_bytes[index, chunk, r]
            observation[layout.candidate_quality + first + r] = features.candidate_quality[index, chunk, r]
            observation[layout.candidate_decode + first + r] = features.candidate_decode[r]
