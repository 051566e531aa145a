"""The kernel's data: what is constant, what is hidden, what has happened.

Three kinds of data, never mixed:

* `Params`, `CatalogArrays`: constant for a scenario and public.
* `Episode`: one hidden draw (playlist, link, watch times, patience, decode jitter).
* `State`: what has happened, one flat record of `STATE_DTYPE`; copying the record clones the world.

Shape legend: V videos of the feed, K videos of the catalog, S visible slots, C chunks, R representations,
U compute units, O options, P transfers, N environments.

No behaviour lives here; `dynamics.py` moves a state.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

F8 = npt.NDArray[np.float64]
F4 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]
StateRecord = Any  # an np.record of STATE_DTYPE, whose fields are attributes; typed records are beyond mypy

MAX_VIDEOS = 20  # V: videos of a feed, at most
SLOTS = 5  # S: the current video and the four after it
LOOKAHEAD = 4  # L: candidates of a slot
RING = 64  # chunks of a slot that can be tracked, from its playhead on
MAX_TRANSFERS = 8  # P
MAX_REPRESENTATIONS = 12  # R, at most
HISTORY = 8  # throughputs remembered
BUSY_MARKS = 7  # ends of slots of `BUSY_SLOT_S` at which the busy seconds of the units are remembered
BUSY_SLOT_S = 10.0

UNIT_NAMES = ("cpu", "gpu", "npu", "vdec")  # U, in index order; `vdec` is the fixed-function video decoder
UNITS = len(UNIT_NAMES)

SIMULTANEOUS_S = 1e-9  # events this close are one instant
NEVER_S = np.inf  # the time of what is not scheduled
NO_ENTRY = -1  # no video, no chunk, no queue entry

# Life of a chunk, kept in State.chunk_status
ABSENT = 0  # not requested
IN_FLIGHT = 1  # requested, bytes under way
QUEUED = 2  # fully received, waits for its unit
DECODING = 3
DECODED = 4
BEGUN = 5  # its playing has begun

_STATE_FIELDS = np.dtype(
    [
        # clock and totals since reset
        ("time_s", "f8"),
        ("played_s", "f8"),
        ("rebuffer_s", "f8"),
        ("quality", "f8"),  # Mbit/s-equivalent x seconds played
        ("switch", "f8"),  # sum of |quality differences| charged
        ("downloaded_bytes", "f8"),
        ("wasted_bytes", "f8"),
        ("busy_s", "f8", (UNITS,)),
        ("energy_j", "f8"),
        ("power_w", "f8"),  # of the device and its running jobs
        # playback; the playhead is the chunk playing or, in a stall, the one waited for
        ("playback_since_s", "f8"),  # start of the chunk that plays or of the stall
        ("playback_end_s", "f8"),  # hidden: the chunk's or the patience's end
        ("longest_stall_s", "f8"),  # of the current video
        ("begun_quality", "f8"),  # quality of the last chunk begun
        ("reserved_bytes", "f8"),  # of the decoded buffer
        # transfers, in the order of their requests; [0, transfers) are open
        ("transfer_request_s", "f8", (MAX_TRANSFERS,)),
        ("transfer_received_bytes", "f8", (MAX_TRANSFERS,)),  # up to link_settled_s
        ("transfer_end_s", "f8", (MAX_TRANSFERS,)),  # hidden
        ("link_settled_s", "f8"),  # flows are accounted up to here
        ("link_change_s", "f8"),  # next end of an RTT that changes the shares of the link
        ("radio_tail_end_s", "f8"),  # the radio stays awake until then if no transfer is open
        # jobs, one per unit
        ("job_start_s", "f8", (UNITS,)),
        ("job_load_s", "f8", (UNITS,)),  # of it, to load the decoder
        ("job_expected_s", "f8", (UNITS,)),  # then: profile seconds x contention x throttling
        ("job_end_s", "f8", (UNITS,)),  # hidden
        ("queued_s", "f8", (UNITS,)),  # expected seconds of the jobs in the unit's queue
        ("busy_mark_s", "f8", (UNITS, BUSY_MARKS)),  # busy_s at the ends of the last slots; place: slot % BUSY_MARKS
        # throughputs seen, a ring of the last HISTORY completed transfers
        ("throughput_bps", "f8", (HISTORY,)),
        ("throughput_time_s", "f8", (HISTORY,)),
        # counts and indices
        ("chunks_begun", "i8"),  # of the whole episode
        ("video", "i4"),  # feed position of the current video
        ("playhead", "i4"),  # chunk index in the current video
        ("transfers", "i4"),
        ("throughputs", "i4"),  # completed transfers, ever
        ("abandoned", "i2"),  # videos left out of impatience
        ("starved", "i2"),  # of them, those left while the playhead's chunk was not requested
        ("transfer_video", "i2", (MAX_TRANSFERS,)),
        ("transfer_chunk", "i2", (MAX_TRANSFERS,)),
        ("job_video", "i2", (UNITS,)),  # NO_ENTRY when idle
        ("job_chunk", "i2", (UNITS,)),
        ("queue_head", "i2", (UNITS,)),  # ring entries (row * RING + column), linked by queue_next
        ("queue_tail", "i2", (UNITS,)),
        ("queue_next", "i2", (SLOTS * RING,)),
        # row = feed position % SLOTS, column = chunk % RING
        ("loaded", "u2", (UNITS,)),  # bit k: the decoder of codec k has been loaded
        ("chunk_status", "u1", (SLOTS, RING)),
        ("chunk_option", "u1", (SLOTS, RING)),
        ("transfer_option", "u1", (MAX_TRANSFERS,)),
        # of the last step and of the end
        ("playing", "u1"),
        ("terminated", "u1"),
        ("truncated", "u1"),
        ("invalid_action", "u1"),
    ],
    align=True,
)
STATE_DTYPE = np.dtype((np.record, _STATE_FIELDS))
assert STATE_DTYPE.itemsize <= 2304, "a State must fit in 2,304 bytes"
assert STATE_DTYPE.itemsize == sum(STATE_DTYPE[name].itemsize for name in STATE_DTYPE.names or ()), (
    "a State has no padding, so that its bytes are its value"
)


class Params(NamedTuple):
    """Constants of a scenario that the kernel needs; public."""

    chunk_s: float  # seconds of content in a chunk; the last one of a video may be shorter
    rtt_s: float
    link_efficiency: float  # share of the trace's rate that carries payload
    wait_s: float
    decoded_buffer_bytes: float
    charge_thinking_s: float
    parallel_downloads: int  # 1..MAX_TRANSFERS
    cancel_on_swipe: bool
    weight_quality: float
    weight_rebuffer: float
    weight_switch: float
    weight_waste: float  # per wasted Mbit
    weight_download: float  # per downloaded Mbit
    weight_abandon: float  # per video left out of impatience
    weight_energy: float  # per joule
    top_quality: float  # q of the ladder ...
    reference_bps: float  # ... and B: what qualities, bytes and rates are relative to
    option_representation: I4  # [O]
    option_unit: I4  # [O]
    option_usable: U1  # [O] 1 where the device has the pair within max_decode_s
    option_decode_s: F8  # [O] profile seconds for a second of content; inf where the device lacks the pair
    option_codec: I4  # [O] index of its codec
    option_generative: U1  # [O] 1 where that codec is generative
    option_load_s: F8  # [O] seconds to load its decoder, before the codec's first job on the unit
    option_w: F8  # [O] watts of the unit while it decodes, in addition to `idle_w`
    contention: F8  # [U, U + 1] factor by unit and number of busy units (itself included)
    throttle: float  # factor on the decode seconds of a unit that was busy for the last 60 s; at least 1
    idle_w: float  # watts of the device, whatever it does
    radio_base_w: float  # watts of the radio while a transfer is open ...
    radio_j_per_mbit: float  # ... and joules for each Mbit (W per Mbit/s) ...
    radio_tail_w: float  # ... and watts after the last one ...
    radio_tail_s: float  # ... for so long, or until the next request


class CatalogArrays(NamedTuple):
    """What the client can read in the manifests, for every video of the catalog; public."""

    n_chunks: I4  # [K]
    duration_s: F8  # [K] content seconds
    chunk_bytes: F8  # [K, C, R] 0 past a video's end
    quality: F8  # [K, C, R] in the unit of the ladder
    memory_bytes_per_s: F8  # [R] a decoded second
    retention: F8  # [K, D + 1] P(watched at least d whole seconds, the last of them the duration); then 0


class Episode(NamedTuple):
    """One hidden draw: everything random, fixed at reset."""

    playlist: I4  # [V] catalog index of each feed position
    watch_s: F8  # [V] content seconds until the viewer leaves, in (0, duration]
    leaves: U1  # [V] 1 where the viewer ends the session after this video
    patience_s: F8  # [V] longest stall borne in each video; inf = any
    jitter: F8  # [V, C] factor on decode seconds, whatever the unit
    link_time_s: F8  # [T + 1] edges of the trace's intervals, from 0
    link_bits: F8  # [T + 1] bits the trace carries up to each edge (link_efficiency not applied)
    link_offset_s: float  # place in the trace at time 0
    max_wall_s: float  # the session is truncated here


class Sim(NamedTuple):
    """All that a transition needs besides the state and the action: what is constant, and one hidden draw."""

    params: Params
    catalog: CatalogArrays
    episode: Episode


def new_states(count: int) -> np.ndarray:
    """Blank states.

    Args:
        count: How many.

    Returns:
        Array [count] of `STATE_DTYPE`, all zero; `dynamics.reset_state` makes one valid.
    """
    return np.zeros(count, dtype=STATE_DTYPE)
