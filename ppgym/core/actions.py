"""What a client may do: the action index, its candidates and their legality.

An action is legal or not by the device, the manifest and memory alone. Whether it is wise is not decided here, but in
`ppgym.planning.pruning`.

An action is 0, `WAIT`, or ``1 + (slot * L + lookahead) * O + option``: the `lookahead`-th chunk not yet requested of
the slot's video, from its playhead on and within `RING` chunks of it, by an option (representation and unit).
"""

import numpy as np
import numpy.typing as npt

from ppgym.core.content import memory_bytes
from ppgym.core.jit import kernel
from ppgym.core.state import ABSENT, I4, LOOKAHEAD, NO_ENTRY, RING, SLOTS, U1, Sim, StateRecord

WAIT = 0

Mask = npt.NDArray[np.int8]


def action_count(options: int) -> int:
    """Size of the action space for a number of options.

    Args:
        options: O.

    Returns:
        1 + S * L * O.
    """
    return 1 + SLOTS * LOOKAHEAD * options


@kernel
def first_chunk(state: StateRecord, video: int) -> int:
    """The chunk at which a visible video's candidates begin: the playhead, or 0 in a video still to come.

    Args:
        state: Record of `STATE_DTYPE`.
        video: Feed position, at or after the current one.

    Returns:
        Chunk index.
    """
    return state.playhead if video == state.video else 0


@kernel
def find_candidate(sim: Sim, state: StateRecord, slot: int, lookahead: int) -> int:
    """The `lookahead`-th chunk of a slot that can be requested.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        slot: Visible slot, 0 the current video.
        lookahead: How many candidates come before it.

    Returns:
        Chunk index, `NO_ENTRY` when there is none.
    """
    video = state.video + slot
    if video >= sim.episode.playlist.shape[0]:
        return NO_ENTRY
    row = video % SLOTS
    begin = first_chunk(state, video)
    end = min(sim.catalog.n_chunks[sim.episode.playlist[video]], begin + RING)
    for chunk in range(begin, end):
        if state.chunk_status[row, chunk % RING] == ABSENT:
            if lookahead == 0:
                return chunk
            lookahead -= 1
    return NO_ENTRY


@kernel
def find_candidates(sim: Sim, state: StateRecord, candidates: I4) -> None:
    """All candidates of all slots.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        candidates: Output [S, L] of chunk indices; `NO_ENTRY` where there is none.
    """
    ended = state.terminated or state.truncated
    for slot in range(SLOTS):
        found = 0
        video = state.video + slot
        if video < sim.episode.playlist.shape[0] and not ended:
            row = video % SLOTS
            begin = first_chunk(state, video)
            end = min(sim.catalog.n_chunks[sim.episode.playlist[video]], begin + RING)
            for chunk in range(begin, end):
                if state.chunk_status[row, chunk % RING] == ABSENT:
                    candidates[slot, found] = chunk
                    found += 1
                    if found == LOOKAHEAD:
                        break
        for lookahead in range(found, LOOKAHEAD):
            candidates[slot, lookahead] = NO_ENTRY


@kernel
def fits_in_memory(sim: Sim, state: StateRecord, slot: int, chunk: int, representation: int) -> bool:
    """Whether a chunk's reservation fits; the playhead's chunk is exempt, so that playback never deadlocks.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        slot: Visible slot.
        chunk: Chunk index.
        representation: Representation index.

    Returns:
        True where the request is legal as far as memory goes.
    """
    if slot == 0 and chunk == state.playhead:
        return True
    index = sim.episode.playlist[state.video + slot]
    chunk_bytes = memory_bytes(sim.params, sim.catalog, index, chunk, representation)
    return state.reserved_bytes + chunk_bytes <= sim.params.decoded_buffer_bytes


@kernel
def is_legal(sim: Sim, state: StateRecord, slot: int, chunk: int, option: int) -> bool:
    """Whether a candidate may be requested by an option.

    Args:
        sim: What is constant, and the playlist.
        state: Record of `STATE_DTYPE`.
        slot: Visible slot.
        chunk: Its candidate.
        option: The option.

    Returns:
        True where the device has the option and memory the room.
    """
    usable = sim.params.option_usable[option] != 0
    return usable and fits_in_memory(sim, state, slot, chunk, sim.params.option_representation[option])


@kernel
def resolve_action(sim: Sim, state: StateRecord, action: int) -> tuple[int, int, int]:
    """What a download action means now.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        action: Any integer.

    Returns:
        (feed position, chunk, option), or (`NO_ENTRY`, `NO_ENTRY`, `NO_ENTRY`) when it is not a legal download.
    """
    options = sim.params.option_unit.shape[0]
    if 0 < action < 1 + SLOTS * LOOKAHEAD * options:
        place = (action - 1) // options
        option = (action - 1) - place * options
        slot = place // LOOKAHEAD
        if sim.params.option_usable[option]:
            chunk = find_candidate(sim, state, slot, place - slot * LOOKAHEAD)
            if chunk != NO_ENTRY and is_legal(sim, state, slot, chunk, option):
                return state.video + slot, chunk, option
    return NO_ENTRY, NO_ENTRY, NO_ENTRY


@kernel
def fill_mask(sim: Sim, state: StateRecord, candidates: I4, mask: Mask) -> None:
    """Fill the legality mask, given the candidates.

    Args:
        sim: Its playlist alone is read of the hidden draw: it gives the visible videos, which are public.
        state: Record of `STATE_DTYPE`.
        candidates: [S, L], as `find_candidates` fills it.
        mask: Output int8 [1 + S * L * O]: 1 where the action is legal; WAIT always is.
    """
    mask[WAIT] = 1
    options = sim.params.option_usable.shape[0]
    for slot in range(SLOTS):
        for lookahead in range(LOOKAHEAD):
            chunk = candidates[slot, lookahead]
            for option in range(options):
                legal = chunk != NO_ENTRY and is_legal(sim, state, slot, chunk, option)
                mask[1 + (slot * LOOKAHEAD + lookahead) * options + option] = legal


@kernel
def find_fitting(sim: Sim, state: StateRecord, fitting: U1) -> tuple[bool, bool]:
    """The usable options of which a whole chunk fits in memory.

    Args:
        sim: What is constant; nothing hidden is read.
        state: Record of `STATE_DTYPE`.
        fitting: Output [O], 1 where it does.

    Returns:
        Whether `fitting` has changed, and whether memory forbids no usable option.
    """
    changed, room = False, True
    for option in range(fitting.shape[0]):
        per_s = sim.catalog.memory_bytes_per_s[sim.params.option_representation[option]]
        whole_bytes = np.rint(per_s * sim.params.chunk_s)
        fits = state.reserved_bytes + whole_bytes <= sim.params.decoded_buffer_bytes
        legal = sim.params.option_usable[option] * fits
        changed |= fitting[option] != legal
        room &= legal == sim.params.option_usable[option]
        fitting[option] = legal
    return changed, room


@kernel
def is_whole(sim: Sim, state: StateRecord, slot: int, chunk: int) -> bool:
    """Whether memory treats a candidate as any other: it is not the last chunk, which may be shorter, nor exempt.

    Args:
        sim: What is constant, and the playlist.
        state: Record of `STATE_DTYPE`.
        slot: The slot.
        chunk: Its candidate.

    Returns:
        True where `find_fitting` holds for it.
    """
    is_last = chunk == sim.catalog.n_chunks[sim.episode.playlist[state.video + slot]] - 1
    return not is_last and not (slot == 0 and chunk == state.playhead)


@kernel
def fill_slot_mask(sim: Sim, state: StateRecord, candidates: I4, slot: int, fitting: U1, mask: Mask) -> None:
    """Fill the part of the legality mask that one slot has.

    Args:
        sim: What is constant, and the playlist.
        state: Record of `STATE_DTYPE`.
        candidates: [S, L], as `find_candidates` fills it.
        slot: The slot.
        fitting: [O], as `find_fitting` fills it.
        mask: Output int8 [1 + S * L * O].
    """
    options = fitting.shape[0]
    for lookahead in range(LOOKAHEAD):
        chunk, first = candidates[slot, lookahead], 1 + (slot * LOOKAHEAD + lookahead) * options
        legal = mask[first : first + options]
        if chunk == NO_ENTRY:
            for option in range(options):
                legal[option] = 0
        elif is_whole(sim, state, slot, chunk):
            for option in range(options):
                legal[option] = fitting[option]
        else:
            for option in range(options):
                legal[option] = is_legal(sim, state, slot, chunk, option)
