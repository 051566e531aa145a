"""The compute units: their queues and jobs.

A unit serves one job at a time, first in first out; the units run in parallel. Which chunks a unit is given is decided
elsewhere: an arrival (`transfers`) puts a chunk into a queue, and leaving a video (`playback`) drops its jobs.
"""

from ppgym.core.actions import first_chunk
from ppgym.core.events import EVENT_JOB_ABORT, EVENT_JOB_END, EVENT_JOB_START, EventLog, write_event
from ppgym.core.jit import kernel
from ppgym.core.state import DECODED, DECODING, NEVER_S, NO_ENTRY, QUEUED, RING, SLOTS, UNITS, Sim, StateRecord


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
    state.queued_s[unit] += sim.params.option_decode_s[option]


@kernel
def start_jobs(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
    """Start a job on every free unit that has a queue, in unit index order.

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
        video = state.video + (row - state.video) % SLOTS
        begin = first_chunk(state, video)
        chunk = begin + (column - begin) % RING
        option = int(state.chunk_option[row, column])

        state.queue_head[unit] = state.queue_next[entry]
        state.queue_next[entry] = NO_ENTRY
        if state.queue_head[unit] == NO_ENTRY:
            state.queue_tail[unit] = NO_ENTRY
            state.queued_s[unit] = 0.0
        else:
            state.queued_s[unit] -= sim.params.option_decode_s[option]

        expected_s = sim.params.option_decode_s[option] * sim.params.contention[unit, busy]
        state.job_video[unit] = video
        state.job_chunk[unit] = chunk
        state.job_start_s[unit] = state.time_s
        state.job_expected_s[unit] = expected_s
        state.job_end_s[unit] = state.time_s + expected_s * sim.episode.jitter[video, chunk]
        state.chunk_status[row, column] = DECODING
        if log is not None:
            write_event(log, state.time_s, EVENT_JOB_START, video, chunk, option, 0.0)


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
                state.queued_s[unit] += sim.params.option_decode_s[state.chunk_option[entry // RING, entry % RING]]
            entry = following
