"""The compiled kernel behind the same face as the naive simulator, and the comparison of the two."""

import math
from typing import Any

import numpy as np

from ppgym.core import state as st
from ppgym.core.actions import Mask, fill_mask, find_candidates
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.events import new_log
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import Sim, StateRecord, new_states
from tests.core.naive import Event

LOG_ROWS = 4096
JOB_FIELDS = ("video", "chunk", "start_s", "load_s", "expected_s", "end_s")


def legal_mask(sim: Sim, state: StateRecord, mask: Mask) -> None:
    """Fill the legality mask of a state."""
    candidates = np.empty((st.SLOTS, st.LOOKAHEAD), np.int32)
    find_candidates(sim, state, candidates)
    fill_mask(sim, state, candidates, mask)


class KernelSimulator:
    """`NaiveSimulator`'s methods, done by the kernel; what is public is read from the state's fields alone.

    Attributes:
        state: The kernel's record.
        events: Everything that happened since the reset, in order.
    """

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.n_videos = len(sim.episode.playlist)
        self.n_options = len(sim.params.option_unit)
        self.reset()

    def reset(self) -> dict[str, Any]:
        self.state = new_states(1)[0]
        self.events: list[Event] = []
        self._log = new_log(LOG_ROWS)
        reset_state(self.sim, self.state, self._log)
        self._read_log()
        return self.observe()

    def legal_actions(self) -> list[int]:
        mask = np.full(1 + st.SLOTS * st.LOOKAHEAD * self.n_options, 7, dtype=np.int8)
        legal_mask(self.sim, self.state, mask)
        assert set(mask) <= {0, 1}
        return [int(index) for index in np.flatnonzero(mask)]

    def step(self, action: int) -> dict[str, Any]:
        before = totals_of(self.state)
        transition(self.sim, self.state, action, self._log)
        self._read_log()
        terms = np.zeros(len(REWARD_TERMS))
        reward = reward_terms(self.sim.params, before, totals_of(self.state), terms)
        names = [f"reward_{name}" for name in REWARD_TERMS]
        return self.observe() | dict(zip(names, terms.tolist(), strict=True)) | {"reward": reward}

    def observe(self) -> dict[str, Any]:
        state = self.state
        chunks = self._chunks()
        plain = (
            "time_s played_s rebuffer_s quality switch downloaded_bytes wasted_bytes energy_j abandoned chunks_begun "
            "begun_quality video playhead playback_since_s playback_end_s longest_stall_s reserved_bytes"
        )
        flags = "invalid_action terminated truncated playing"
        seen = min(int(state["throughputs"]), st.HISTORY)
        ring = [(int(state["throughputs"]) - seen + i) % st.HISTORY for i in range(seen)]
        return {
            **{name: state[name].item() for name in plain.split()},
            **{name: bool(state[name]) for name in flags.split()},
            "videos_watched": int(state["video"]),
            "busy_s": state["busy_s"].tolist(),
            "loaded": [
                (unit, codec)
                for unit in range(st.UNITS)
                for codec in range(st.MAX_REPRESENTATIONS)
                if int(state["loaded"][unit]) >> codec & 1
            ],
            "queued_s": state["queued_s"].tolist(),
            "chunks": {key: value for key, value in chunks.items() if value[0] != st.ABSENT},
            "transfers": [
                tuple(state[f"transfer_{name}"][i].item() for name in "video chunk option request_s".split())
                for i in range(state["transfers"])
            ],
            "received_bytes": state["transfer_received_bytes"][: state["transfers"]].tolist(),
            "jobs": [
                None
                if state["job_video"][unit] == st.NO_ENTRY
                else tuple(state[f"job_{name}"][unit].item() for name in JOB_FIELDS)
                for unit in range(st.UNITS)
            ],
            "queues": [self._queue(unit) for unit in range(st.UNITS)],
            "throughputs": [(state["throughput_time_s"][i].item(), state["throughput_bps"][i].item()) for i in ring],
        }

    def _place(self, row: int, column: int) -> tuple[int, int]:
        """The (video, chunk) of a place in the rings."""
        slot = (row - int(self.state["video"])) % st.SLOTS
        first = int(self.state["playhead"]) if slot == 0 else 0
        return int(self.state["video"]) + slot, first + (column - first) % st.RING

    def _chunks(self) -> dict[tuple[int, int], tuple[int, int]]:
        return {
            self._place(row, column): (
                int(self.state["chunk_status"][row, column]),
                int(self.state["chunk_option"][row, column]),
            )
            for row in range(st.SLOTS)
            for column in range(st.RING)
        }

    def _queue(self, unit: int) -> list[tuple[int, int]]:
        entries = []
        entry = int(self.state["queue_head"][unit])
        while entry != st.NO_ENTRY:
            entries.append(self._place(*divmod(entry, st.RING)))
            assert len(entries) <= st.SLOTS * st.RING, "a queue bites its own tail"
            if entry == self.state["queue_tail"][unit]:
                break
            entry = int(self.state["queue_next"][entry])
        return entries

    def _read_log(self) -> None:
        count = int(self._log.used[0])
        assert count <= LOG_ROWS
        self.events += [Event(*row.item()) for row in self._log.rows[:count]]
        self._log.used[0] = 0


CLOSE = 1e-9  # how far apart two floats may be, relative to the larger or absolutely
CLOSE_BYTES = 1e-6  # the same for bytes: hundreds of kilobytes flow in a second


def differences(expected: Any, actual: Any, where: str = "") -> list[str]:
    """Where two observations differ: counts and indices must be equal, floats close.

    Args:
        expected: A nest of dictionaries, lists, tuples and scalars.
        actual: One of the same shape.
        where: Path to here.

    Returns:
        One line per difference.
    """
    if isinstance(expected, dict):
        if expected.keys() != actual.keys():
            return [f"{where}: expected {expected}, got {actual}"]
        return [line for key in expected for line in differences(expected[key], actual[key], f"{where}.{key}")]
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        if len(expected) != len(actual):
            return [f"{where}: expected {expected}, got {actual}"]
        return [
            line
            for i, (one, other) in enumerate(zip(expected, actual, strict=True))
            for line in differences(one, other, f"{where}[{i}]")
        ]
    if isinstance(expected, float) and actual is not None:
        absolute = CLOSE_BYTES if "bytes" in where else CLOSE
        same = math.isclose(expected, actual, rel_tol=CLOSE, abs_tol=absolute)
    else:
        same = type(expected) is type(actual) and expected == actual
    return [] if same else [f"{where}: expected {expected}, got {actual}"]
