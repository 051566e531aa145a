"""What a real link and real decoders may do and the simulator's never do: transfers and jobs that fail.

What was fetched in vain is waste, and the chunk may be requested again.
"""

from ppgym.core.decoders import free_unit, start_jobs
from ppgym.core.events import EVENT_JOB_ABORT, EventLog, write_event
from ppgym.core.jit import noinline
from ppgym.core.playback import release
from ppgym.core.state import RING, SLOTS, Sim, StateRecord
from ppgym.core.transfers import cancel_transfer, share_link


@noinline
def lose_transfer(sim: Sim, state: StateRecord, i: int, log: EventLog | None) -> None:
    """End a transfer that failed.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`, with its link settled.
        i: Index of the transfer.
        log: Where to write events, or None.
    """
    video, chunk = int(state.transfer_video[i]), int(state.transfer_chunk[i])
    if video >= state.video:  # else its bytes were waste as they came
        state.wasted_bytes += state.transfer_received_bytes[i]
        release(sim, state, video, chunk)
    cancel_transfer(sim.params, state, i, log)
    if state.transfers > 0:
        share_link(sim, state)


@noinline
def lose_job(sim: Sim, state: StateRecord, unit: int, log: EventLog | None) -> None:
    """End a job that failed, and start the next one of its unit.

    Args:
        sim: What is constant, and the hidden draw.
        state: Record of `STATE_DTYPE`.
        unit: Unit index, with a job.
        log: Where to write events, or None.
    """
    video, chunk = int(state.job_video[unit]), int(state.job_chunk[unit])
    option = int(state.chunk_option[video % SLOTS, chunk % RING])
    representation = sim.params.option_representation[option]
    state.wasted_bytes += sim.catalog.chunk_bytes[sim.episode.playlist[video], chunk, representation]
    if log is not None:
        write_event(log, state.time_s, EVENT_JOB_ABORT, video, chunk, option, 0.0)
    release(sim, state, video, chunk)
    free_unit(state, unit)
    start_jobs(sim, state, log)
