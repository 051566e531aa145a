"""The books of a live session: real events set the ends in a `State`, and core's own handlers account for them.

A live session's `Sim` knows nothing of the future: its link is dead, so that bytes come from the wire alone, and every
job is endless, so that it ends when a worker says so. What is drawn is the viewer: watch times, patience, who leaves.
"""

import itertools

import numpy as np

from ppgym.core.actions import resolve_action
from ppgym.core.dynamics import STOP_NEVER, advance, reset_state
from ppgym.core.episodes import Sims, take_sim, view_sim
from ppgym.core.events import EventLog, new_log
from ppgym.core.failures import lose_job, lose_transfer
from ppgym.core.jit import noinline
from ppgym.core.observation import Features
from ppgym.core.qoe import reward_terms, totals_of
from ppgym.core.state import NO_ENTRY, RING, SIMULTANEOUS_S, SLOTS, UNITS, Sim, StateRecord, new_states
from ppgym.core.step import ELAPSED_S, FIRST_TERM, StepResults, write_situation
from ppgym.core.transfers import receive, request, transfer_size

DEAD_S = 1e8  # for which the link of the books carries nothing; then all at once, for a trace must carry something
ALL_BITS = 1e18
HELD_BYTES = 1e-3  # of a transfer, which its arrival enters

MAX_REHEARSED = 64  # events of a rehearsal


def live_sim(sims: Sims) -> Sim:
    """A drawn episode without what the real world decides.

    Args:
        sims: A scenario and one draw.

    Returns:
        The scenario and the viewer of the draw, with a dead link and endless jobs.
    """
    sim = view_sim(sims, 0)
    episode = sim.episode._replace(
        jitter=np.full_like(sim.episode.jitter, np.inf),
        link_time_s=np.array([0.0, DEAD_S, DEAD_S + 1.0]),
        link_bits=np.array([0.0, 0.0, ALL_BITS]),
        link_offset_s=0.0,
    )
    return sim._replace(episode=episode)


class Books:
    """One session's state and what may happen to it; times are seconds since reset and never fall.

    Attributes:
        state: Record of `STATE_DTYPE`.
    """

    def __init__(self, sim: Sim, log: EventLog) -> None:
        """Begin: nothing requested, the first video waiting.

        Args:
            sim: Of `live_sim`.
            log: Where events are written.
        """
        self._sim, self._log = sim, log
        self.state = new_states(1)[0]
        reset_state(sim, self.state, log)

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return bool(self.state.terminated or self.state.truncated)

    @property
    def now_s(self) -> float:
        """Up to when time has passed."""
        return float(self.state.time_s)

    def open_transfers(self) -> list[tuple[int, int]]:
        """(feed position, chunk) of the open transfers, in the order of their requests."""
        state = self.state
        places = zip(state.transfer_video.tolist(), state.transfer_chunk.tolist(), strict=True)
        return list(itertools.islice(places, int(state.transfers)))

    def job(self, unit: int) -> tuple[int, int] | None:
        """(feed position, chunk) of the job on a unit."""
        video = int(self.state.job_video[unit])
        return None if video == NO_ENTRY else (video, int(self.state.job_chunk[unit]))

    def option(self, video: int, chunk: int) -> int:
        """Option of a chunk that is queued or in a decoder."""
        return int(self.state.chunk_option[video % SLOTS, chunk % RING])

    def pass_time(self, now_s: float) -> None:
        """Let the viewer watch, stall and swipe up to now."""
        if not self.ended and now_s > self.state.time_s:
            advance(self._sim, self.state, now_s, STOP_NEVER, self._log)

    def snapshot(self) -> StateRecord:
        """A copy of the state."""
        copies = new_states(1)
        copies[0] = self.state
        return copies[0]

    def resolve(self, state: StateRecord, action: int) -> tuple[int, int, int]:
        """What a download action meant in a state.

        Args:
            state: Of `snapshot`.
            action: Any integer.

        Returns:
            (feed position, chunk, option), `NO_ENTRY` each where it was no legal download.
        """
        return resolve_action(self._sim, state, action)

    def request(self, now_s: float, video: int, chunk: int, option: int) -> None:
        """A request has been sent, of a chunk that may be requested then."""
        self.pass_time(now_s)
        request(self._sim, self.state, video, chunk, option, self._log)

    def receive(self, now_s: float, video: int, chunk: int, size_bytes: int) -> None:
        """Bytes of an open transfer have come."""
        self.pass_time(now_s)
        place = self._place(video, chunk)
        if place is not None:
            enter_bytes(self._sim, self.state, place, float(size_bytes))

    def arrive(self, now_s: float, video: int, chunk: int) -> None:
        """The last byte of a transfer has come, and its hash is right."""
        self.pass_time(now_s)
        place = self._place(video, chunk)
        if place is not None:
            self.state.transfer_end_s[place] = self.state.time_s
            self._settle()

    def lose(self, now_s: float, video: int, chunk: int) -> None:
        """A transfer has failed: what came of it is waste, and the chunk may be requested again."""
        self.pass_time(now_s)
        place = self._place(video, chunk)
        if place is not None:
            lose_transfer(self._sim, self.state, place, self._log)

    def decoded(self, now_s: float, video: int, chunk: int) -> None:
        """The job of a chunk is done."""
        self.pass_time(now_s)
        unit = self._unit(video, chunk)
        if unit is not None:
            self.state.job_end_s[unit] = self.state.time_s
            self._settle()

    def fail(self, now_s: float, video: int, chunk: int) -> None:
        """The job of a chunk has failed: its bytes are waste, and the chunk may be requested again."""
        self.pass_time(now_s)
        unit = self._unit(video, chunk)
        if unit is not None:
            lose_job(self._sim, self.state, unit, self._log)

    def _settle(self) -> None:
        advance(self._sim, self.state, float(self.state.time_s), STOP_NEVER, self._log)

    def _place(self, video: int, chunk: int) -> int | None:
        found = self.open_transfers()
        return found.index((video, chunk)) if (video, chunk) in found else None

    def _unit(self, video: int, chunk: int) -> int | None:
        return next((unit for unit in range(UNITS) if self.job(unit) == (video, chunk)), None)


def rehearse(sims: Sims, features: Features, results: StepResults) -> None:
    """Enter one event of each kind into books that are thrown away, so that nothing compiles while a clock runs.

    Args:
        sims: A scenario and one draw.
        features: What of the observation is constant.
        results: Scratch, of one row.
    """
    sim = live_sim(sims)
    books = Books(sim, new_log(MAX_REHEARSED))
    option = int(np.flatnonzero(sim.params.option_usable)[0])
    for end in (books.arrive, books.lose):
        books.request(books.now_s, 0, 0, option)
        books.receive(books.now_s, 0, 0, 1)
        end(books.now_s, 0, 0)
        books.fail(books.now_s, 0, 0)
    books.request(books.now_s, 0, 0, option)
    books.arrive(books.now_s, 0, 0)
    books.decoded(books.now_s, 0, 0)
    books.pass_time(books.now_s + SIMULTANEOUS_S)
    state = books.snapshot()
    books.resolve(state, 1)
    show(sims, features, state, state, results)


@noinline
def enter_bytes(sim: Sim, state: StateRecord, i: int, size_bytes: float) -> None:
    """Enter bytes of a transfer, which does not arrive by them: not before its hash is known to be right.

    Args:
        sim: What is constant, and the viewer.
        state: Record of `STATE_DTYPE`.
        i: Index of the transfer.
        size_bytes: That came in.
    """
    left_bytes = transfer_size(sim, state, i) - state.transfer_received_bytes[i]
    receive(sim.params, state, i, min(size_bytes, left_bytes - HELD_BYTES))


@noinline
def show(sims: Sims, features: Features, before: StateRecord, state: StateRecord, results: StepResults) -> None:
    """Write what a client sees after a step, as `core.step.step_many` does.

    Args:
        sims: The scenario, and one draw, of which the playlist alone is read.
        features: What of the observation is constant.
        before: The state at the last decision, that of now after a reset.
        state: Record of `STATE_DTYPE`.
        results: Output, of one row.
    """
    sim = take_sim(sims, 0)
    info = results.info[0]
    results.reward[0] = reward_terms(sim.params, totals_of(before), totals_of(state), info[FIRST_TERM:])
    info[ELAPSED_S] = state.time_s - before.time_s
    write_situation(sim, state, features, results, 0)
