"""The transfers: requests, the link that open transfers share, arrivals, and ends before the last byte.

The rate of the link is in `link`; what becomes of a chunk after its arrival is in `decoders` and `playback`.
"""

from ppgym.core.content import memory_bytes
from ppgym.core.decoders import enqueue
from ppgym.core.events import EVENT_ARRIVAL, EVENT_CANCEL, EVENT_REQUEST, EventLog, write_event
from ppgym.core.jit import kernel, noinline
from ppgym.core.link import bits_at, place_after
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import (
    HISTORY,
    IN_FLIGHT,
    NEVER_S,
    NO_ENTRY,
    RING,
    SIMULTANEOUS_S,
    SLOTS,
    Params,
    Sim,
    StateRecord,
)


@kernel
def request(sim: Sim, state: StateRecord, video: int, chunk: int, option: int, log: EventLog | None) -> None:
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
    index, representation = sim.episode.playlist[video], sim.params.option_representation[option]
    state.reserved_bytes += memory_bytes(sim.params, sim.catalog, index, chunk, representation)

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
def settle_arrivals(sim: Sim, state: StateRecord, horizon_s: float, log: EventLog | None) -> bool:
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
        receive(sim.params, state, i, size_bytes - state.transfer_received_bytes[i])
        video, chunk = int(state.transfer_video[i]), int(state.transfer_chunk[i])
        option = int(state.transfer_option[i])
        remember_throughput(sim, state, i, size_bytes)
        if log is not None:
            write_event(log, state.time_s, EVENT_ARRIVAL, video, chunk, option, size_bytes)
        if video >= state.video:
            enqueue(sim, state, video, chunk, option)
        close_transfer(sim.params, state, i)
    if state.transfers > 0:
        share_link(sim, state)
    return True


@kernel
def cancel_transfer(params: Params, state: StateRecord, i: int, log: EventLog | None) -> None:
    """End a transfer before its last byte.

    Args:
        params: The scenario's constants.
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
    close_transfer(params, state, i)


@noinline
def settle_link(sim: Sim, state: StateRecord) -> None:
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
                receive(sim.params, state, i, min(share_bytes, left_bytes))
    state.link_settled_s = state.time_s


@noinline
def share_link(sim: Sim, state: StateRecord) -> None:
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
def transfer_size(sim: Sim, state: StateRecord, i: int) -> float:
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


@kernel
def is_flowing(sim: Sim, state: StateRecord, i: int, time_s: float) -> bool:
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
def receive(params: Params, state: StateRecord, i: int, amount_bytes: float) -> None:
    """Account for bytes of one transfer; those of a video that was left are waste as they flow.

    Args:
        params: The scenario's constants.
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
        amount_bytes: Bytes that came in.
    """
    state.transfer_received_bytes[i] += amount_bytes
    state.downloaded_bytes += amount_bytes
    state.energy_j += params.radio_j_per_mbit * amount_bytes * MBIT_PER_BYTE
    if state.transfer_video[i] < state.video:
        state.wasted_bytes += amount_bytes


@kernel
def earliest_arrival(state: StateRecord) -> float:
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
def remember_throughput(sim: Sim, state: StateRecord, i: int, size_bytes: float) -> None:
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
def close_transfer(params: Params, state: StateRecord, i: int) -> None:
    """Remove a transfer and keep the others in the order of their requests.

    Args:
        params: The scenario's constants.
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
    if last == 0:
        state.radio_tail_end_s = state.time_s + params.radio_tail_s
