"""The physics: how a state moves when the client acts.

`transition` is the one kernel under the environment, the vector environment and the planner. It is event-driven: time
jumps to the next end of a transfer, an RTT, a job, a chunk, a patience, or the step's own limit. What happens within
`SIMULTANEOUS_S` of the earliest of them is one instant, settled in this order until nothing changes: arrivals, ends of
decode, starts of jobs, playback and chunk boundary, swipe.

All bookkeeping of link, units, memory and screen is here; what is legal is in `actions.py`, what it is worth in
`qoe.py`.
"""

from ppgym.core.actions import first_chunk, resolve_action
from ppgym.core.jit import kernel, noinline
from ppgym.core.link import bits_at, place_after
from ppgym.core.state import (
    ABSENT,
    BEGUN,
    CHUNK_S,
    DECODED,
    DECODING,
    EVENT_ARRIVAL,
    EVENT_CANCEL,
    EVENT_JOB_ABORT,
    EVENT_JOB_END,
    EVENT_JOB_START,
    EVENT_PLAY,
    EVENT_PLAY_END,
    EVENT_REQUEST,
    EVENT_SESSION_END,
    EVENT_STALL,
    EVENT_STALL_END,
    EVENT_SWIPE,
    HISTORY,
    IN_FLIGHT,
    NEVER_S,
    NO_ENTRY,
    QUEUED,
    RING,
    SIMULTANEOUS_S,
    SLOTS,
    UNITS,
    EventLog,
    Record,
    Sim,
)

# What ends an advance before its time limit
STOP_NEVER = 0
STOP_AT_EVENT = 1
STOP_AT_FREE_SLOT = 2


@kernel
def transition(
    sim: Sim,
    state: Record,
    action: int,
    log: EventLog | None = None,
) -> None:
    """Move a state from one decision point to the next.

    Everything that happens is a function of the arguments. A state that has ended does not move.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`; changed in place.
        action: Index of an action. One that is illegal, or no action at all, acts as `WAIT` and sets
            `state.invalid_action`.
        log: Where to write the events of this step, or None.
    """
    state.invalid_action = 0
    if state.terminated or state.truncated:
        return
    video, chunk, option = resolve_action(sim, state, action)
    if video == NO_ENTRY and action != 0:
        state.invalid_action = 1

    thinking = sim.params.charge_thinking_s > 0.0
    while True:
        limit_s, stop = NEVER_S, STOP_AT_FREE_SLOT
        if thinking:
            limit_s, stop = state.time_s + sim.params.charge_thinking_s, STOP_NEVER
        elif video < state.video:  # no download, or its video was left while the client thought
            limit_s, stop = state.time_s + sim.params.wait_s, STOP_AT_EVENT
        else:
            request(sim, state, video, chunk, option, log)
            if state.transfers < sim.params.parallel_downloads:
                break
        advance(sim, state, limit_s, stop, log)
        if not thinking or state.terminated or state.truncated:
            break
        thinking = False
    if state.transfers > 0:
        settle_link(sim, state)


@noinline
def reset_state(sim: Sim, state: Record, log: EventLog | None = None) -> None:
    """Put a state at the start of an episode: nothing requested, the first video waiting for its first chunk.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`; every field is set.
        log: Where to write the first stall, or None.
    """
    state.time_s = 0.0
    state.played_s = 0.0
    state.rebuffer_s = 0.0
    state.quality = 0.0
    state.switch = 0.0
    state.downloaded_bytes = 0.0
    state.wasted_bytes = 0.0
    state.begun_quality = 0.0
    state.reserved_bytes = 0.0
    state.transfer_request_s[:] = 0.0
    state.transfer_received_bytes[:] = 0.0
    state.transfer_end_s[:] = NEVER_S
    state.link_settled_s = 0.0
    state.link_change_s = NEVER_S
    state.throughput_bps[:] = 0.0
    state.throughput_time_s[:] = 0.0
    state.video = 0
    state.playhead = 0
    state.chunks_begun = 0
    state.abandoned = 0
    state.transfers = 0
    state.throughputs = 0
    state.transfer_video[:] = NO_ENTRY
    state.transfer_chunk[:] = NO_ENTRY
    state.transfer_option[:] = 0
    for unit in range(UNITS):
        state.busy_s[unit] = 0.0
        state.queued_s[unit] = 0.0
        state.queue_head[unit] = NO_ENTRY
        state.queue_tail[unit] = NO_ENTRY
        free_unit(state, unit)
    state.queue_next[:] = NO_ENTRY
    state.chunk_status[:] = ABSENT
    state.chunk_option[:] = 0
    state.terminated = 0
    state.truncated = 0
    state.invalid_action = 0
    begin_stall(sim, state)
    if log is not None:
        write_event(log, 0.0, EVENT_STALL, 0, 0, NO_ENTRY, 0.0)


@noinline
def reschedule(sim: Sim, state: Record) -> None:
    """Compute the ends of all that is under way anew, as another draw would have them.

    This is how a planner puts a future that it has sampled under a public state, whose ends are hidden. The draw must
    agree with what has happened: nothing that is under way may have ended before now.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`; its scheduled ends are overwritten.
    """
    if state.playing:
        chunk_s = min(CHUNK_S, sim.episode.watch_s[state.video] - state.playhead * CHUNK_S)
        state.playback_end_s = state.playback_since_s + chunk_s
    else:
        state.playback_end_s = state.playback_since_s + sim.episode.patience_s
    for unit in range(UNITS):
        if state.job_video[unit] != NO_ENTRY:
            factor = sim.episode.jitter[state.job_video[unit], state.job_chunk[unit]]
            state.job_end_s[unit] = state.job_start_s[unit] + state.job_expected_s[unit] * factor
    for i in range(state.transfers):
        state.transfer_end_s[i] = NEVER_S
    if state.transfers == 1 and not is_flowing(sim, state, 0, state.time_s):
        size_bytes = transfer_size(sim, state, 0)
        state.transfer_end_s[0] = transfer_end(sim, state.transfer_request_s[0] + sim.params.rtt_s, size_bytes)
        state.link_change_s = NEVER_S
    elif state.transfers > 0:
        share_link(sim, state)


@kernel
def advance(
    sim: Sim,
    state: Record,
    limit_s: float,
    stop: int,
    log: EventLog | None,
) -> None:
    """Let time pass, instant by instant, to a time limit or to what the caller waits for, and never past the session.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        limit_s: Time at which to stop anyway.
        stop: `STOP_NEVER`, `STOP_AT_EVENT` or `STOP_AT_FREE_SLOT`.
        log: Where to write events, or None.
    """
    limit_s = min(limit_s, sim.episode.max_wall_s)
    while True:
        time_s = min(limit_s, state.playback_end_s, state.link_change_s)
        for i in range(state.transfers):
            time_s = min(time_s, state.transfer_end_s[i])
        for unit in range(UNITS):
            time_s = min(time_s, state.job_end_s[unit])
        pass_time(state, time_s)
        happened = settle_instant(sim, state, log)
        if state.terminated:
            return
        if time_s >= sim.episode.max_wall_s:
            state.truncated = 1
            return
        if time_s >= limit_s:
            return
        if stop == STOP_AT_EVENT and happened:
            return
        if stop == STOP_AT_FREE_SLOT and state.transfers < sim.params.parallel_downloads:
            return


@kernel
def pass_time(state: Record, time_s: float) -> None:
    """Account for a stretch in which nothing begins or ends.

    Args:
        state: Record of `STATE_DTYPE`.
        time_s: Its end.
    """
    elapsed_s = time_s - state.time_s
    if state.playing:
        state.played_s += elapsed_s
        state.quality += state.begun_quality * elapsed_s
    else:
        state.rebuffer_s += elapsed_s
    for unit in range(UNITS):
        if state.job_video[unit] != NO_ENTRY:
            state.busy_s[unit] += elapsed_s
    state.time_s = time_s


@kernel
def settle_instant(sim: Sim, state: Record, log: EventLog | None) -> bool:
    """Settle all that happens now, in order, until nothing changes.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        log: Where to write events, or None.

    Returns:
        True when something happened that ends a `WAIT`.
    """
    horizon_s = state.time_s + SIMULTANEOUS_S
    if state.link_change_s <= horizon_s:
        settle_link(sim, state)
        share_link(sim, state)
    happened = False
    while True:
        arrived = settle_arrivals(sim, state, horizon_s, log)
        decoded = settle_decodes(state, horizon_s, log)
        if arrived or decoded:
            start_jobs(sim, state, log)
        played, leaving = settle_playback(sim, state, horizon_s, log)
        if leaving:
            leave_video(sim, state, log)
            if state.terminated:
                return True
        if not (arrived or decoded or played or leaving):
            if log is not None and happened and not state.playing and state.playback_since_s == state.time_s:
                write_event(log, state.time_s, EVENT_STALL, int(state.video), int(state.playhead), NO_ENTRY, 0.0)
            return happened
        happened = True


# --- the link ---------------------------------------------------------------------------------------------------------


@kernel
def request(
    sim: Sim,
    state: Record,
    video: int,
    chunk: int,
    option: int,
    log: EventLog | None,
) -> None:
    """Open a transfer.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        video: Feed position.
        chunk: Chunk index.
        option: Option index.
        log: Where to write events, or None.
    """
    row, column = video % SLOTS, chunk % RING
    state.chunk_status[row, column] = IN_FLIGHT
    state.chunk_option[row, column] = option
    state.reserved_bytes += sim.catalog.memory_bytes[sim.params.option_representation[option]]

    i = state.transfers
    if i > 0:  # what flowed while the client thought flowed among the others alone
        settle_link(sim, state)
    state.transfers = i + 1
    state.transfer_video[i] = video
    state.transfer_chunk[i] = chunk
    state.transfer_option[i] = option
    state.transfer_request_s[i] = state.time_s
    state.transfer_received_bytes[i] = 0.0
    if i == 0:  # alone: its share is the whole link from its RTT's end on, unless another request follows
        size_bytes = transfer_size(sim, state, i)
        state.link_settled_s = state.time_s
        state.transfer_end_s[i] = transfer_end(sim, state.time_s + sim.params.rtt_s, size_bytes)
    else:
        state.transfer_end_s[i] = NEVER_S
        if is_flowing(sim, state, i, state.time_s):  # without an RTT
            share_link(sim, state)
        else:
            for j in range(i + 1):
                if not is_flowing(sim, state, j, state.time_s):
                    state.link_change_s = min(state.link_change_s, state.transfer_request_s[j] + sim.params.rtt_s)
    if log is not None:
        write_event(log, state.time_s, EVENT_REQUEST, video, chunk, option, 0.0)


@kernel
def transfer_end(sim: Sim, start_s: float, amount_bytes: float) -> float:
    """When the whole link, from a time on, has carried an amount.

    Args:
        sim: What is constant, and the hidden draw.
        start_s: When the bytes begin to flow.
        amount_bytes: Payload of all that shares the link until then.

    Returns:
        Seconds since reset.
    """
    place_s = place_after(
        sim.episode.link_time_s,
        sim.episode.link_bits,
        sim.episode.link_offset_s + start_s,
        amount_bytes * 8.0 / sim.params.link_efficiency,
    )
    return place_s - sim.episode.link_offset_s


@kernel
def transfer_size(sim: Sim, state: Record, i: int) -> float:
    """Bytes of an open transfer.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.

    Returns:
        Bytes.
    """
    representation = sim.params.option_representation[state.transfer_option[i]]
    return sim.catalog.chunk_bytes[
        sim.episode.playlist[state.transfer_video[i]], state.transfer_chunk[i], representation
    ]


@noinline
def settle_link(sim: Sim, state: Record) -> None:
    """Account for the bytes that flowed since the link was settled last; the flowing transfers shared them equally.

    Between two settlements the set of flowing transfers does not change, but that a sole transfer's RTT may end.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
    """
    since_s, flowing = state.link_settled_s, 0
    if state.transfers == 1:
        since_s = max(since_s, state.transfer_request_s[0] + sim.params.rtt_s)
        flowing = 1
    else:
        for i in range(state.transfers):
            if is_flowing(sim, state, i, since_s):
                flowing += 1
    if flowing > 0 and state.time_s > since_s:
        times, bits = sim.episode.link_time_s, sim.episode.link_bits
        carried_bits = bits_at(times, bits, sim.episode.link_offset_s + state.time_s) - bits_at(
            times, bits, sim.episode.link_offset_s + since_s
        )
        share_bytes = carried_bits * sim.params.link_efficiency / 8.0 / flowing
        for i in range(state.transfers):
            if state.transfers == 1 or is_flowing(sim, state, i, since_s):
                left_bytes = transfer_size(sim, state, i) - state.transfer_received_bytes[i]
                receive(state, i, min(share_bytes, left_bytes))
    state.link_settled_s = state.time_s


@kernel
def is_flowing(sim: Sim, state: Record, i: int, time_s: float) -> bool:
    """Whether a transfer's RTT has passed.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
        time_s: When.

    Returns:
        True when its bytes flow.
    """
    return state.transfer_request_s[i] + sim.params.rtt_s <= time_s + SIMULTANEOUS_S


@kernel
def receive(state: Record, i: int, amount_bytes: float) -> None:
    """Account for bytes of one transfer; those of a video that was left are waste as they flow.

    Args:
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
        amount_bytes: Bytes that came in.
    """
    state.transfer_received_bytes[i] += amount_bytes
    state.downloaded_bytes += amount_bytes
    if state.transfer_video[i] < state.video:
        state.wasted_bytes += amount_bytes


@noinline
def share_link(sim: Sim, state: Record) -> None:
    """Compute the ends of the flowing transfers anew, for the equal share that they have from now on.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
    """
    flowing = 0
    state.link_change_s = NEVER_S
    for i in range(state.transfers):
        if is_flowing(sim, state, i, state.time_s):
            flowing += 1
        else:
            state.link_change_s = min(state.link_change_s, state.transfer_request_s[i] + sim.params.rtt_s)
    for i in range(state.transfers):
        if is_flowing(sim, state, i, state.time_s):
            left_bytes = transfer_size(sim, state, i) - state.transfer_received_bytes[i]
            state.transfer_end_s[i] = transfer_end(sim, state.time_s, flowing * left_bytes)


@kernel
def settle_arrivals(sim: Sim, state: Record, horizon_s: float, log: EventLog | None) -> bool:
    """Take in the transfers that end now, in the order of their requests.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        horizon_s: End of the instant.
        log: Where to write events, or None.

    Returns:
        True when one arrived.
    """
    if state.transfers == 0 or earliest_arrival(state) > horizon_s:
        return False
    if state.transfers > 1:
        settle_link(sim, state)
    i = 0
    while i < state.transfers:
        if state.transfer_end_s[i] > horizon_s:
            i += 1
            continue
        size_bytes = transfer_size(sim, state, i)
        receive(state, i, size_bytes - state.transfer_received_bytes[i])
        video, chunk = int(state.transfer_video[i]), int(state.transfer_chunk[i])
        option = int(state.transfer_option[i])
        remember_throughput(sim, state, i, size_bytes)
        if log is not None:
            write_event(log, state.time_s, EVENT_ARRIVAL, video, chunk, option, size_bytes)
        if video >= state.video:
            enqueue(sim, state, video, chunk, option)
        close_transfer(state, i)
    if state.transfers > 0:
        share_link(sim, state)
    return True


@kernel
def earliest_arrival(state: Record) -> float:
    """The earliest end of an open transfer.

    Args:
        state: Record of `STATE_DTYPE`.

    Returns:
        Seconds since reset; `NEVER_S` when none is open.
    """
    end_s = NEVER_S
    for i in range(state.transfers):
        end_s = min(end_s, state.transfer_end_s[i])
    return end_s


@kernel
def remember_throughput(sim: Sim, state: Record, i: int, size_bytes: float) -> None:
    """Note what a completed transfer tells of the link: its bits over the time since its RTT ended.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
        size_bytes: Its size.
    """
    place = state.throughputs % HISTORY
    flow_s = state.time_s - state.transfer_request_s[i] - sim.params.rtt_s
    state.throughput_bps[place] = size_bytes * 8.0 / max(flow_s, SIMULTANEOUS_S)
    state.throughput_time_s[place] = state.time_s
    state.throughputs += 1


@kernel
def close_transfer(state: Record, i: int) -> None:
    """Remove a transfer and keep the others in the order of their requests.

    Args:
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
    """
    last = state.transfers - 1
    for j in range(i, last):
        state.transfer_video[j] = state.transfer_video[j + 1]
        state.transfer_chunk[j] = state.transfer_chunk[j + 1]
        state.transfer_option[j] = state.transfer_option[j + 1]
        state.transfer_request_s[j] = state.transfer_request_s[j + 1]
        state.transfer_received_bytes[j] = state.transfer_received_bytes[j + 1]
        state.transfer_end_s[j] = state.transfer_end_s[j + 1]
    state.transfer_video[last] = NO_ENTRY
    state.transfer_chunk[last] = NO_ENTRY
    state.transfer_option[last] = 0
    state.transfer_request_s[last] = 0.0
    state.transfer_received_bytes[last] = 0.0
    state.transfer_end_s[last] = NEVER_S
    state.transfers = last


# --- the compute units ------------------------------------------------------------------------------------------------


@kernel
def enqueue(sim: Sim, state: Record, video: int, chunk: int, option: int) -> None:
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
def start_jobs(sim: Sim, state: Record, log: EventLog | None) -> None:
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
def settle_decodes(state: Record, horizon_s: float, log: EventLog | None) -> bool:
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
def free_unit(state: Record, unit: int) -> None:
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
def drop_jobs(sim: Sim, state: Record, video: int, log: EventLog | None) -> None:
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


# --- the screen -------------------------------------------------------------------------------------------------------


@kernel
def settle_playback(sim: Sim, state: Record, horizon_s: float, log: EventLog | None) -> tuple[bool, bool]:
    """End the chunk that ends now; begin or await the next one; give up when patience ends.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        horizon_s: End of the instant.
        log: Where to write events, or None.

    Returns:
        (whether a chunk ended or began, whether the viewer leaves the video now).
    """
    changed = False
    if state.playing and state.playback_end_s <= horizon_s:
        changed = True
        end_chunk(sim, state, log)
        if sim.episode.watch_s[state.video] - state.playhead * CHUNK_S <= SIMULTANEOUS_S:
            return changed, True
        begin_stall(sim, state)
    if not state.playing:
        if state.chunk_status[state.video % SLOTS, state.playhead % RING] == DECODED:
            begin_chunk(sim, state, log)
            return True, False
        if state.playback_end_s <= horizon_s:
            state.abandoned += 1
            return changed, True
    return changed, False


@kernel
def begin_chunk(sim: Sim, state: Record, log: EventLog | None) -> None:
    """Begin to play the playhead's chunk.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        log: Where to write events, or None.
    """
    video, chunk = int(state.video), int(state.playhead)
    row, column = video % SLOTS, chunk % RING
    option = int(state.chunk_option[row, column])
    if log is not None:
        if state.time_s > state.playback_since_s:
            write_event(log, state.time_s, EVENT_STALL_END, video, chunk, NO_ENTRY, 0.0)
        write_event(log, state.time_s, EVENT_PLAY, video, chunk, option, 0.0)
    quality = sim.catalog.quality[sim.episode.playlist[video], chunk, sim.params.option_representation[option]]
    if state.chunks_begun > 0:
        state.switch += abs(quality - state.begun_quality)
    state.begun_quality = quality
    state.chunks_begun += 1
    state.chunk_status[row, column] = BEGUN
    state.playing = 1
    state.playback_since_s = state.time_s
    state.playback_end_s = state.time_s + min(CHUNK_S, sim.episode.watch_s[video] - chunk * CHUNK_S)


@kernel
def end_chunk(sim: Sim, state: Record, log: EventLog | None) -> None:
    """End the playing of the playhead's chunk and move the playhead on.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        log: Where to write events, or None.
    """
    video, chunk = int(state.video), int(state.playhead)
    row, column = video % SLOTS, chunk % RING
    option = int(state.chunk_option[row, column])
    if log is not None:
        write_event(log, state.time_s, EVENT_PLAY_END, video, chunk, option, 0.0)
    release(sim, state, row, column)
    state.playhead += 1


@kernel
def begin_stall(sim: Sim, state: Record) -> None:
    """Wait for the playhead's chunk from now on; a stall that ends in the same instant has no length and is none.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
    """
    state.playing = 0
    state.playback_since_s = state.time_s
    state.playback_end_s = state.time_s + sim.episode.patience_s


@kernel
def release(sim: Sim, state: Record, row: int, column: int) -> None:
    """Forget a chunk and give its memory back.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        row: Its row in the ring.
        column: Its column.
    """
    representation = sim.params.option_representation[state.chunk_option[row, column]]
    state.reserved_bytes -= sim.catalog.memory_bytes[representation]
    state.chunk_status[row, column] = ABSENT
    state.chunk_option[row, column] = 0


@kernel
def leave_video(sim: Sim, state: Record, log: EventLog | None) -> None:
    """The viewer swipes, or gives up: drop what was fetched for this video and turn to the next, or end the session.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        log: Where to write events, or None.
    """
    video = int(state.video)
    impatient = not state.playing
    if log is not None:
        if impatient:
            write_event(log, state.time_s, EVENT_STALL_END, video, int(state.playhead), NO_ENTRY, 0.0)
        write_event(log, state.time_s, EVENT_SWIPE, video, NO_ENTRY, NO_ENTRY, 1.0 if impatient else 0.0)
    if state.transfers > 0:
        settle_link(sim, state)
    drop_jobs(sim, state, video, log)
    drop_chunks(sim, state, video, log)
    state.video = video + 1
    state.playhead = 0
    if sim.episode.leaves[video] or state.video == sim.episode.playlist.shape[0]:
        end_session(sim, state, log)
        return
    start_jobs(sim, state, log)
    begin_stall(sim, state)


@kernel
def drop_chunks(sim: Sim, state: Record, video: int, log: EventLog | None) -> None:
    """Count the fetched chunks of the current video, or of a later one, as waste and free their memory.

    Received bytes of open transfers are waste too; with `cancel_on_swipe` those transfers end.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`, with its link settled.
        video: Feed position.
        log: Where to write events, or None.
    """
    row = video % SLOTS
    begin = first_chunk(state, video)
    end = min(sim.catalog.n_chunks[sim.episode.playlist[video]], begin + RING)
    for chunk in range(begin, end):
        column = chunk % RING
        status = state.chunk_status[row, column]
        if status == ABSENT:
            continue
        if status in (QUEUED, DECODING, DECODED):
            representation = sim.params.option_representation[state.chunk_option[row, column]]
            state.wasted_bytes += sim.catalog.chunk_bytes[sim.episode.playlist[video], chunk, representation]
        release(sim, state, row, column)

    cancelled = False
    i = 0
    while i < state.transfers:
        if state.transfer_video[i] == video:
            state.wasted_bytes += state.transfer_received_bytes[i]
            if sim.params.cancel_on_swipe:
                cancel_transfer(state, i, log)
                cancelled = True
                continue
        i += 1
    if cancelled:
        share_link(sim, state)


@kernel
def cancel_transfer(state: Record, i: int, log: EventLog | None) -> None:
    """End a transfer before its last byte.

    Args:
        state: Record of `STATE_DTYPE`, with its link settled.
        i: Index of the transfer.
        log: Where to write events, or None.
    """
    if log is not None:
        write_event(
            log,
            state.time_s,
            EVENT_CANCEL,
            int(state.transfer_video[i]),
            int(state.transfer_chunk[i]),
            int(state.transfer_option[i]),
            state.transfer_received_bytes[i],
        )
    close_transfer(state, i)


@kernel
def end_session(sim: Sim, state: Record, log: EventLog | None) -> None:
    """Stop everything: open transfers and jobs end, and all that was received and not begun is waste.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`, with its link settled.
        log: Where to write events, or None.
    """
    for video in range(state.video, min(state.video + SLOTS - 1, sim.episode.playlist.shape[0])):
        drop_jobs(sim, state, video, log)
        drop_chunks(sim, state, video, log)
    while state.transfers > 0:
        cancel_transfer(state, 0, log)
    state.link_change_s = NEVER_S
    state.playing = 0
    state.playback_since_s = state.time_s
    state.playback_end_s = NEVER_S
    state.terminated = 1
    if log is not None:
        write_event(log, state.time_s, EVENT_SESSION_END, int(state.video) - 1, NO_ENTRY, NO_ENTRY, 0.0)


@noinline
def write_event(log: EventLog, time_s: float, kind: int, video: int, chunk: int, option: int, value: float) -> None:
    """Append an event to a log.

    Args:
        log: The log; a full one only counts.
        time_s: When.
        kind: One of the `EVENT_` kinds.
        video: Feed position.
        chunk: Chunk index or `NO_ENTRY`.
        option: Option index or `NO_ENTRY`.
        value: See `EVENT_DTYPE`.
    """
    place = log.used[0]
    log.used[0] = place + 1
    if place < log.rows.shape[0]:
        row = log.rows[place]
        row.time_s = time_s
        row.kind = kind
        row.video = video
        row.chunk = chunk
        row.option = option
        row.value = value
