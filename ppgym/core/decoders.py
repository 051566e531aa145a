"""The compute units: their queues and jobs.

A unit serves one job at a time, first in first out; the units run in parallel. Which chunks a unit is given is decided
elsewhere: an arrival (`transfers`) puts a chunk into a queue, and leaving a video (`playback`) drops its jobs.
"""

from ppgym.core.actions import first_chunk
from ppgym.core.content import content_s
from ppgym.core.events import EVENT_JOB_ABORT, EVENT_JOB_END, EVENT_JOB_START, EventLog, write_event
from ppgym.core.jit import kernel
from ppgym.core.state import (
    BUSY_MARKS,
    BUSY_SLOT_S,
    DECODED,
    DECODING,
    NEVER_S,
    NO_ENTRY,
    QUEUED,
    RING,
    SLOTS,
    UNITS,
    Params,
    Sim,
    StateRecord,
)

WARM_S = BUSY_SLOT_S * (BUSY_MARKS - 1)  # for which a unit's busy share counts


@kernel
def mark_busy(state: StateRecord, time_s: float) -> None:
    """Remember the busy seconds of the units at each end of a slot that passes.

    Args:
        state: Record of `STATE_DTYPE`, before the time passes.
        time_s: Until when it passes; nothing begins or ends before.
    """
    for slot in range(int(state.time_s / BUSY_SLOT_S) + 1, int(time_s / BUSY_SLOT_S) + 1):
        for unit in range(UNITS):
            busy_s = state.busy_s[unit]
            if state.job_video[unit] != NO_ENTRY:
                busy_s += slot * BUSY_SLOT_S - state.time_s
            state.busy_mark_s[unit, slot % BUSY_MARKS] = busy_s


@kernel
def throttling(params: Params, state: StateRecord, unit: int) -> float:
    """Factor on a unit's seconds by its busy share of the last `WARM_S`, within a slot taken as even.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        unit: Unit index.

    Returns:
        From 1 where it was idle to `throttle` where it was always busy.
    """
    if params.throttle == 1.0:
        return 1.0
    since_s, before_s = state.time_s - WARM_S, 0.0
    if since_s > 0.0:
        slot = int(since_s / BUSY_SLOT_S)
        begin_s, end_s = state.busy_mark_s[unit, slot % BUSY_MARKS], state.busy_mark_s[unit, (slot + 1) % BUSY_MARKS]
        before_s = begin_s + (since_s / BUSY_SLOT_S - slot) * (end_s - begin_s)
    return 1.0 + (params.throttle - 1.0) * (state.busy_s[unit] - before_s) / WARM_S


@kernel
def is_loaded(params: Params, state: StateRecord, option: int) -> bool:
    """Whether a job of an option's codec has started on its unit.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        option: Option index.

    Returns:
        True where its decoder is loaded.
    """
    return ((state.loaded[params.option_unit[option]] >> params.option_codec[option]) & 1) != 0


@kernel
def load_left_s(params: Params, state: StateRecord, option: int) -> float:
    """Seconds to load an option's decoder, where no job of its codec has started on its unit yet.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        option: Option index.

    Returns:
        Seconds; 0 once it is loaded.
    """
    return 0.0 if is_loaded(params, state, option) else params.option_load_s[option]


@kernel
def expected_decode_s(params: Params, state: StateRecord, option: int, seconds: float) -> float:
    """Seconds that a client expects to decode a chunk, on a unit that has nothing else to do and no others busy.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        option: Option index.
        seconds: Content seconds of the chunk.

    Returns:
        Seconds.
    """
    decode_s = params.option_decode_s[option] * seconds
    return decode_s * throttling(params, state, params.option_unit[option]) + load_left_s(params, state, option)


@kernel
def job_s(sim: Sim, video: int, chunk: int, option: int) -> float:
    """The profile's seconds for a chunk.

    Args:
        sim: What is constant; of the hidden draw its playlist alone is read.
        video: Feed position.
        chunk: Chunk index.
        option: Option index.

    Returns:
        Seconds.
    """
    seconds = content_s(sim.params, sim.catalog, sim.episode.playlist[video], chunk)
    return sim.params.option_decode_s[option] * seconds


@kernel
def queued_chunk(state: StateRecord, entry: int) -> tuple[int, int]:
    """The chunk of a queue entry.

    Args:
        state: Record of `STATE_DTYPE`.
        entry: row * RING + column.

    Returns:
        (feed position, chunk index).
    """
    row, column = entry // RING, entry % RING
    video = state.video + (row - state.video) % SLOTS
    begin = first_chunk(state, video)
    return video, begin + (column - begin) % RING


@kernel
def enqueue(sim: Sim, state: StateRecord, video: int, chunk: int, option: int) -> None:
    """Put an arrived chunk at the end of its unit's queue.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        video: Feed position.
        chunk: Chunk index.
        option: Option index.
    """
    row, column = video % SLOTS, chunk % RING
    state.chunk_status[row, column] = QUEUED
    entry = row * RING + column
    unit = sim.params.option_unit[option]
    if state.queue_head[unit] == NO_ENTRY:
        state.queue_head[unit] = entry
    else:
        state.queue_next[state.queue_tail[unit]] = entry
    state.queue_tail[unit] = entry
    state.queue_next[entry] = NO_ENTRY
    state.queued_s[unit] += job_s(sim, video, chunk, option)


@kernel
def start_jobs(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
    """Start a job on every free unit that has a queue, in unit index order. Called after jobs have ended, too.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        log: Where to write events, or None.
    """
    busy = 0
    for unit in range(UNITS):
        if state.job_video[unit] != NO_ENTRY:
            busy += 1
    for unit in range(UNITS):
        entry = int(state.queue_head[unit])
        if state.job_video[unit] != NO_ENTRY or entry == NO_ENTRY:
            continue
        busy += 1
        row, column = entry // RING, entry % RING
        video, chunk = queued_chunk(state, entry)
        option = int(state.chunk_option[row, column])

        state.queue_head[unit] = state.queue_next[entry]
        state.queue_next[entry] = NO_ENTRY
        if state.queue_head[unit] == NO_ENTRY:
            state.queue_tail[unit] = NO_ENTRY
            state.queued_s[unit] = 0.0
        else:
            state.queued_s[unit] -= job_s(sim, video, chunk, option)

        load_s = load_left_s(sim.params, state, option)
        expected_s = job_s(sim, video, chunk, option) * sim.params.contention[unit, busy]
        expected_s *= throttling(sim.params, state, unit)
        state.job_video[unit] = video
        state.job_chunk[unit] = chunk
        state.job_start_s[unit] = state.time_s
        state.job_load_s[unit] = load_s
        state.job_expected_s[unit] = expected_s
        state.job_end_s[unit] = state.time_s + load_s + expected_s * sim.episode.jitter[video, chunk]
        state.loaded[unit] |= 1 << sim.params.option_codec[option]
        state.chunk_status[row, column] = DECODING
        if log is not None:
            write_event(log, state.time_s, EVENT_JOB_START, video, chunk, option, 0.0)
    state.power_w = running_w(sim.params, state)


@kernel
def running_w(params: Params, state: StateRecord) -> float:
    """Watts of the device and its running jobs.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.

    Returns:
        Watts, without the radio.
    """
    power_w = params.idle_w
    for unit in range(UNITS):
        video = state.job_video[unit]
        if video != NO_ENTRY:
            power_w += params.option_w[state.chunk_option[video % SLOTS, state.job_chunk[unit] % RING]]
    return power_w


@kernel
def settle_decodes(state: StateRecord, horizon_s: float, log: EventLog | None) -> bool:
    """Take in the jobs that end now.

    Args:
        state: Record of `STATE_DTYPE`.
        horizon_s: End of the instant.
        log: Where to write events, or None.

    Returns:
        True when one ended.
    """
    ended = False
    for unit in range(UNITS):
        if state.job_end_s[unit] <= horizon_s:
            video, chunk = int(state.job_video[unit]), int(state.job_chunk[unit])
            row, column = video % SLOTS, chunk % RING
            state.chunk_status[row, column] = DECODED
            if log is not None:
                write_event(log, state.time_s, EVENT_JOB_END, video, chunk, int(state.chunk_option[row, column]), 0.0)
            free_unit(state, unit)
            ended = True
    return ended


@kernel
def free_unit(state: StateRecord, unit: int) -> None:
    """Leave a unit without a job.

    Args:
        state: Record of `STATE_DTYPE`.
        unit: Unit index.
    """
    state.job_video[unit] = NO_ENTRY
    state.job_chunk[unit] = NO_ENTRY
    state.job_start_s[unit] = 0.0
    state.job_load_s[unit] = 0.0
    state.job_expected_s[unit] = 0.0
    state.job_end_s[unit] = NEVER_S


@kernel
def drop_jobs(sim: Sim, state: StateRecord, video: int, log: EventLog | None) -> None:
    """Abort the running jobs of a video and drop its queued ones.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        video: Feed position.
        log: Where to write events, or None.
    """
    row = video % SLOTS
    for unit in range(UNITS):
        if state.job_video[unit] == video:
            if log is not None:
                chunk = int(state.job_chunk[unit])
                option = int(state.chunk_option[row, chunk % RING])
                write_event(log, state.time_s, EVENT_JOB_ABORT, video, chunk, option, 0.0)
            free_unit(state, unit)
        entry = int(state.queue_head[unit])
        state.queue_head[unit] = NO_ENTRY
        state.queue_tail[unit] = NO_ENTRY
        state.queued_s[unit] = 0.0
        while entry != NO_ENTRY:  # relink what belongs to other videos
            following = int(state.queue_next[entry])
            state.queue_next[entry] = NO_ENTRY
            if entry // RING != row:
                if state.queue_head[unit] == NO_ENTRY:
                    state.queue_head[unit] = entry
                else:
                    state.queue_next[state.queue_tail[unit]] = entry
                state.queue_tail[unit] = entry
                other, chunk = queued_chunk(state, entry)
                state.queued_s[unit] += job_s(sim, other, chunk, int(state.chunk_option[entry // RING, entry % RING]))
            entry = following
