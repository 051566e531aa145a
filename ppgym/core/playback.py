"""The screen: chunks that begin and end, stalls, leaving a video, and the end of the session.

Waste is charged here: for chunks that were fetched and have not begun when the viewer leaves their video.
"""

from ppgym.core.actions import first_chunk
from ppgym.core.content import memory_bytes
from ppgym.core.decoders import drop_jobs, start_jobs
from ppgym.core.events import (
    EVENT_PLAY,
    EVENT_PLAY_END,
    EVENT_SESSION_END,
    EVENT_STALL_END,
    EVENT_SWIPE,
    EventLog,
    write_event,
)
from ppgym.core.jit import kernel
from ppgym.core.state import (
    ABSENT,
    BEGUN,
    DECODED,
    DECODING,
    NEVER_S,
    NO_ENTRY,
    QUEUED,
    RING,
    SIMULTANEOUS_S,
    SLOTS,
    Sim,
    StateRecord,
)
from ppgym.core.transfers import cancel_transfer, settle_link, share_link


@kernel
def settle_playback(sim: Sim, state: StateRecord, horizon_s: float, log: EventLog | None) -> tuple[bool, bool]:
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
        if sim.episode.watch_s[state.video] - state.playhead * sim.params.chunk_s <= SIMULTANEOUS_S:
            return changed, True
        begin_stall(sim, state)
    if not state.playing:
        if state.chunk_status[state.video % SLOTS, state.playhead % RING] == DECODED:
            begin_chunk(sim, state, log)
            return True, False
        if state.playback_end_s <= horizon_s:
            state.abandoned += 1
            state.starved += state.chunk_status[state.video % SLOTS, state.playhead % RING] == ABSENT
            return changed, True
    return changed, False


@kernel
def begin_chunk(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
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
    chunk_s = sim.params.chunk_s
    state.playback_end_s = state.time_s + min(chunk_s, sim.episode.watch_s[video] - chunk * chunk_s)


@kernel
def end_chunk(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
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
    release(sim, state, video, chunk)
    state.playhead += 1


@kernel
def begin_stall(sim: Sim, state: StateRecord) -> None:
    """Wait for the playhead's chunk from now on; a stall that ends in the same instant has no length and is none.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
    """
    state.playing = 0
    state.playback_since_s = state.time_s
    state.playback_end_s = state.time_s + sim.episode.patience_s[state.video]


@kernel
def leave_video(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
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
    state.longest_stall_s = 0.0
    if sim.episode.leaves[video] or state.video == sim.episode.playlist.shape[0]:
        end_session(sim, state, log)
        return
    start_jobs(sim, state, log)
    begin_stall(sim, state)


@kernel
def drop_chunks(sim: Sim, state: StateRecord, video: int, log: EventLog | None) -> None:
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
        release(sim, state, video, chunk)

    cancelled = False
    i = 0
    while i < state.transfers:
        if state.transfer_video[i] == video:
            state.wasted_bytes += state.transfer_received_bytes[i]
            if sim.params.cancel_on_swipe:
                cancel_transfer(sim.params, state, i, log)
                cancelled = True
                continue
        i += 1
    if cancelled:
        share_link(sim, state)


@kernel
def release(sim: Sim, state: StateRecord, video: int, chunk: int) -> None:
    """Forget a chunk and give its memory back.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        video: Feed position.
        chunk: Chunk index.
    """
    row, column = video % SLOTS, chunk % RING
    representation = sim.params.option_representation[state.chunk_option[row, column]]
    state.reserved_bytes -= memory_bytes(sim.params, sim.catalog, sim.episode.playlist[video], chunk, representation)
    state.chunk_status[row, column] = ABSENT
    state.chunk_option[row, column] = 0


@kernel
def end_session(sim: Sim, state: StateRecord, log: EventLog | None) -> None:
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
        cancel_transfer(sim.params, state, 0, log)
    state.link_change_s = NEVER_S
    state.playing = 0
    state.playback_since_s = state.time_s
    state.playback_end_s = NEVER_S
    state.terminated = 1
    if log is not None:
        write_event(log, state.time_s, EVENT_SESSION_END, int(state.video) - 1, NO_ENTRY, NO_ENTRY, 0.0)
