"""The physics: how a state moves when the client acts.

`transition` is the one kernel under the environment, the vector environment and the planner. It is event-driven: time
jumps to the next end of a transfer, an RTT, a job, a chunk, a patience, or the step's own limit. What happens within
`SIMULTANEOUS_S` of the earliest of them is one instant, settled in this order until nothing changes: arrivals, ends of
decode, starts of jobs, playback and chunk boundary, swipe.

The order of things is here. What happens to a transfer is in `transfers.py`, to a compute unit in `decoders.py`, on the
screen in `playback.py`; what is legal is in `actions.py`, what it is worth in `qoe.py`.
"""

from ppgym.core.actions import resolve_action
from ppgym.core.decoders import free_unit, mark_busy, settle_decodes, start_jobs
from ppgym.core.events import EVENT_STALL, EventLog, write_event
from ppgym.core.jit import kernel, noinline
from ppgym.core.playback import begin_stall, leave_video, settle_playback
from ppgym.core.state import ABSENT, NEVER_S, NO_ENTRY, SIMULTANEOUS_S, UNITS, Params, Sim, StateRecord
from ppgym.core.transfers import (
    is_flowing,
    request,
    settle_arrivals,
    settle_link,
    share_link,
    transfer_end,
    transfer_size,
)

# What ends an advance before its time limit
STOP_NEVER = 0
STOP_AT_EVENT = 1
STOP_AT_FREE_SLOT = 2


@kernel
def transition(sim: Sim, state: StateRecord, action: int, log: EventLog | None = None) -> None:
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
def reset_state(sim: Sim, state: StateRecord, log: EventLog | None = None) -> None:
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
    state.energy_j = 0.0
    state.power_w = sim.params.idle_w
    state.begun_quality = 0.0
    state.longest_stall_s = 0.0
    state.reserved_bytes = 0.0
    state.transfer_request_s[:] = 0.0
    state.transfer_received_bytes[:] = 0.0
    state.transfer_end_s[:] = NEVER_S
    state.link_settled_s = 0.0
    state.link_change_s = NEVER_S
    state.radio_tail_end_s = 0.0
    state.busy_mark_s[:] = 0.0
    state.throughput_bps[:] = 0.0
    state.throughput_time_s[:] = 0.0
    state.video = 0
    state.playhead = 0
    state.chunks_begun = 0
    state.abandoned = 0
    state.starved = 0
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
    state.loaded[:] = 0
    state.chunk_status[:] = ABSENT
    state.chunk_option[:] = 0
    state.terminated = 0
    state.truncated = 0
    state.invalid_action = 0
    begin_stall(sim, state)
    if log is not None:
        write_event(log, 0.0, EVENT_STALL, 0, 0, NO_ENTRY, 0.0)


@noinline
def reschedule(sim: Sim, state: StateRecord) -> None:
    """Compute the ends of all that is under way anew, as another draw would have them.

    This is how a planner puts a future that it has sampled under a public state, whose ends are hidden. The draw must
    agree with what has happened: nothing that is under way may have ended before now.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`; its scheduled ends are overwritten.
    """
    if state.playing:
        chunk_s = sim.params.chunk_s
        left_s = sim.episode.watch_s[state.video] - state.playhead * chunk_s
        state.playback_end_s = state.playback_since_s + min(chunk_s, left_s)
    else:
        state.playback_end_s = state.playback_since_s + sim.episode.patience_s[state.video]
    for unit in range(UNITS):
        if state.job_video[unit] != NO_ENTRY:
            factor = sim.episode.jitter[state.job_video[unit], state.job_chunk[unit]]
            work_s = state.job_expected_s[unit] * factor
            state.job_end_s[unit] = state.job_start_s[unit] + state.job_load_s[unit] + work_s
    for i in range(state.transfers):
        state.transfer_end_s[i] = NEVER_S
    if state.transfers == 1 and not is_flowing(sim, state, 0, state.time_s):
        size_bytes = transfer_size(sim, state, 0)
        state.transfer_end_s[0] = transfer_end(sim, state.transfer_request_s[0] + sim.params.rtt_s, size_bytes)
        state.link_change_s = NEVER_S
    elif state.transfers > 0:
        share_link(sim, state)


@kernel
def advance(sim: Sim, state: StateRecord, limit_s: float, stop: int, log: EventLog | None) -> None:
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
        pass_time(sim.params, state, time_s)
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
def pass_time(params: Params, state: StateRecord, time_s: float) -> None:
    """Account for a stretch in which nothing begins or ends.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        time_s: Its end.
    """
    elapsed_s = time_s - state.time_s
    if state.playing:
        state.played_s += elapsed_s
        state.quality += state.begun_quality * elapsed_s
    else:
        state.rebuffer_s += elapsed_s
        state.longest_stall_s = max(state.longest_stall_s, time_s - state.playback_since_s)
    if params.throttle > 1.0:
        mark_busy(state, time_s)
    for unit in range(UNITS):
        if state.job_video[unit] != NO_ENTRY:
            state.busy_s[unit] += elapsed_s
    power_w = state.power_w
    if state.transfers > 0:
        power_w += params.radio_base_w
    elif state.radio_tail_end_s > state.time_s:
        state.energy_j += params.radio_tail_w * (min(state.radio_tail_end_s, time_s) - state.time_s)
    state.energy_j += power_w * elapsed_s
    state.time_s = time_s


@kernel
def settle_instant(sim: Sim, state: StateRecord, log: EventLog | None) -> bool:
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
