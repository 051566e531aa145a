"""The event log: what happens in a transition, when, and to which chunk.

`transition` writes here when it is given a log, and never reads from it: a log changes nothing.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.jit import noinline
from ppgym.core.state import I4

# Kinds of events
EVENT_REQUEST = 0  # a download begins (unit: where it will be decoded)
EVENT_ARRIVAL = 1  # its last byte is in
EVENT_CANCEL = 2  # it ends early: cancelled on a swipe, or the session is over
EVENT_JOB_START = 3
EVENT_JOB_END = 4
EVENT_JOB_ABORT = 5  # a swipe, or the end of the session, stops a running job
EVENT_PLAY = 6  # a chunk begins to play
EVENT_PLAY_END = 7  # it has played to its end, or to the viewer's leaving
EVENT_STALL = 8  # playback waits for this chunk (start-up included)
EVENT_STALL_END = 9
EVENT_SWIPE = 10  # the viewer has left the video
EVENT_SESSION_END = 11

_EVENT_FIELDS = np.dtype(
    [
        ("time_s", "f8"),
        ("kind", "i4"),
        ("video", "i4"),  # feed position
        ("chunk", "i4"),  # NO_ENTRY where the event concerns no chunk
        ("option", "i4"),  # NO_ENTRY where the event concerns no option
        ("value", "f8"),  # ARRIVAL, CANCEL: bytes received; SWIPE: 1 if out of impatience
    ],
    align=True,
)
EVENT_DTYPE = np.dtype((np.record, _EVENT_FIELDS))


class EventLog(NamedTuple):
    """Room for the events of one or more transitions; events past its end are counted, not kept."""

    rows: np.ndarray  # [capacity] of EVENT_DTYPE
    used: I4  # [1] events so far


def new_log(capacity: int) -> EventLog:
    """Room for events.

    Args:
        capacity: How many it keeps.

    Returns:
        An empty log.
    """
    return EventLog(np.zeros(capacity, EVENT_DTYPE), np.zeros(1, np.int32))


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
