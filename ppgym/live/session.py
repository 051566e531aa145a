"""One live session: requests on the wire, jobs in the workers, the viewer's clock, and core's books of it all.

Everything runs in one event loop. An event is first entered into the books; what the books then say is made true: open
transfers and jobs that they no longer have are cancelled, and jobs that they have started begin.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ppgym.core.dynamics import STOP_AT_EVENT, STOP_AT_FREE_SLOT
from ppgym.core.episodes import Sims
from ppgym.core.events import EventLog, new_log
from ppgym.core.state import NEVER_S, NO_ENTRY, UNIT_NAMES, UNITS, StateRecord
from ppgym.live.books import Books, live_sim
from ppgym.live.downloads import Downloads, LinkLostError, TransferError
from ppgym.live.feed import Manifest
from ppgym.live.server import LinkRequest
from ppgym.live.units import Decoded, DecodeError, Unit
from ppgym.world.scenario import World

REFUSED_S = 0.2  # that a failed request takes at least, so that nobody storms a server that is down
HANG_FACTOR, HANG_S = 10.0, 5.0  # a job that takes longer than so many times what is expected, and this, hangs
MAX_EVENTS = 1 << 16  # of a step


class Key(NamedTuple):
    """A chunk of the session's feed."""

    video: int  # feed position
    chunk: int


class Shown(NamedTuple):
    """What a decision is made from: a copy of the state, and the events since the last one, [N] of `EVENT_DTYPE`."""

    state: StateRecord
    events: np.ndarray


@dataclass
class Diary:
    """What was measured in a session; times are seconds since reset.

    Attributes:
        zero_error_s: By which the start of the link's trace may be wrong.
        transfers: One dict each: `video`, `chunk`, `option`, `request_s`, `first_byte_s`, `end_s` (None
            of one that was open when the session ended), `received_bytes`, `outcome` ("arrived", "lost" or
            "cancelled").
        jobs: `unit`, `video`, `chunk`, `option`, `start_s`, `end_s`, `worker_s`, `busy` (units at its start), `outcome`
            ("decoded", "lost" or "aborted").
        boundaries: Pairs of when a chunk or a stall was due to end, and when the clock saw it.
        decisions: Of each step, when the client saw the state before it, when it acted, and the seconds that the step
            took besides waiting: from the call to the request, and from the event that ended it to the return.
        aborts_s: Seconds from a swipe to a free unit.
        faults: What went wrong, in words.
    """

    zero_error_s: float = 0.0
    transfers: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    boundaries: list[tuple[float, float]] = field(default_factory=list)
    decisions: list[tuple[float, float, float]] = field(default_factory=list)
    aborts_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class LiveSession:
    """A viewer's session on the wire.

    Attributes:
        books: Core's.
        diary: What was measured.
        played: Bytes of the chunks that were decoded, for who wants to see them again.
    """

    def __init__(
        self,
        world: World,
        manifest: Manifest,
        sims: Sims,
        downloads: Downloads,
        units: Mapping[int, Unit],
    ) -> None:
        """Nothing is sent yet.

        Args:
            world: Of the feed.
            manifest: Of the feed.
            sims: The world, and one hidden draw.
            downloads: An open client.
            units: Warm units by their index.
        """
        self._world, self._manifest, self._sims = world, manifest, sims
        self._sim = live_sim(sims)
        self._downloads, self._units = downloads, units
        self._log: EventLog = new_log(MAX_EVENTS)
        self.books = Books(self._sim, self._log)
        self.diary = Diary()
        self.played: dict[Key, bytes] = {}
        self._received: dict[Key, bytes] = {}
        self._transfers: dict[Key, asyncio.Task[None]] = {}
        self._jobs: dict[int, tuple[Key, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._reopening = asyncio.Lock()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._zero_s = time.monotonic()
        self._shown_s = self._seen_s = self._acted_s = self._known_s = self._woken_s = 0.0
        self._decided = self.books.snapshot()

    async def begin(self) -> None:
        """Open the link; the clock starts.

        Raises:
            OSError: The server does not answer.
            ValueError: It refuses.
        """
        self._zero_s, self.diary.zero_error_s = await self._downloads.open_link(self._link_request(0.0))
        self._make_true()

    async def step(self, action: int) -> None:
        """Act as the client has decided, and wait for the next decision, as `core.dynamics.transition` does.

        Args:
            action: Index of an action, resolved as things stood when the client saw them.
        """
        books, state, params = self.books, self.books.state, self._sim.params
        self._seen_s = self._shown_s
        if books.ended:
            self._known_s = self._acted_s = self.now_s()
            return
        video, chunk, option = self.books.resolve(self._decided, action)
        state.invalid_action = video == NO_ENTRY and action != 0
        acted_s = self._acted_s = self._known_s = self._catch_up()
        limit_s, stop = NEVER_S, STOP_AT_FREE_SLOT
        if video < state.video:  # no download, or its video was left while the client thought
            limit_s, stop = acted_s + params.wait_s, STOP_AT_EVENT
        elif not books.ended:
            self._request(acted_s, Key(video, chunk), option)
        events = int(self._log.used[0])
        while not books.ended and self._catch_up() < limit_s:
            if stop == STOP_AT_FREE_SLOT and state.transfers < params.parallel_downloads:
                break
            if stop == STOP_AT_EVENT and self._log.used[0] > events:
                break
            woken = await self._next_change(limit_s)
            self._known_s = self._woken_s if woken else limit_s

    def note_decision(self, called_s: float) -> None:
        """Note a step that has just returned, with what it took besides waiting.

        Args:
            called_s: When it was called.
        """
        overhead_s = max(self._acted_s - called_s, 0.0) + max(self.now_s() - self._known_s, 0.0)
        self.diary.decisions.append((self._seen_s, self._acted_s, overhead_s))

    def show(self) -> Shown:
        """Fix what the client sees now, by which its next action is resolved."""
        rows: np.ndarray = self._log.rows[: self._log.used[0]].copy()
        self._log.used[0] = 0
        self._shown_s = self.now_s()
        self._decided = self.books.snapshot()
        return Shown(self._decided, rows)

    async def close(self) -> None:
        """End what is under way; nothing of it is left when this returns, and nothing more begins."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._transfers.values(), *(task for _, task in self._jobs.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._ending, return_exceptions=True)
        await self._downloads.close_link()

    # --- the clock ----------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Seconds since the session began."""
        return max(time.monotonic() - self._zero_s, float(self.books.state.time_s))

    def _catch_up(self) -> float:
        """Let the viewer's time pass up to now, make the books true, and return now."""
        now_s, due_s = self.now_s(), float(self.books.state.playback_end_s)
        if due_s <= now_s:
            self.diary.boundaries.append((due_s, now_s))
        self.books.pass_time(now_s)
        self._make_true()
        return now_s

    def _make_true(self) -> None:
        """Wake up who waits, cancel what the books have ended, and begin what they have started."""
        if self._closed:
            return
        if not self._changed.is_set():
            self._woken_s = self.now_s()
        self._changed.set()  # first, so that who waits goes on before jobs begin
        books = self.books
        open_transfers = set(books.open_transfers())
        for key in [key for key in self._transfers if key not in open_transfers]:
            self._end(self._transfers.pop(key))
        for unit in range(UNITS):
            job = books.job(unit)
            if unit in self._jobs and self._jobs[unit][0] != job:
                task = self._jobs.pop(unit)[1]
                task.add_done_callback(partial(self._note_abort, self.now_s()))
                self._end(task)
            if job is not None and unit not in self._jobs:
                key = Key(*job)
                self._jobs[unit] = key, asyncio.create_task(self._decode(unit, key, self._received.pop(key)))
        for key in [key for key in self._received if key.video < books.state.video]:
            del self._received[key]
        if self._timer is not None:
            self._timer.cancel()
        if not books.ended:
            wake_s = min(float(books.state.playback_end_s), float(self._sim.episode.max_wall_s))
            delay_s = max(wake_s - (time.monotonic() - self._zero_s), 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._catch_up)

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _note_abort(self, since_s: float, _: asyncio.Task[None]) -> None:
        self.diary.aborts_s.append(self.now_s() - since_s)

    async def _next_change(self, limit_s: float) -> bool:
        """Wait until the books change, or until a time; returns whether they have changed."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(None if limit_s == NEVER_S else self._zero_s + limit_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # --- the link -----------------------------------------------------------------------------------------------------

    def _link_request(self, now_s: float) -> dict[str, Any]:
        """The episode's link from now on."""
        links, episodes, params = self._sims.links, self._sims.episodes, self._sim.params
        first, end = links.first[episodes.link[0]], links.first[episodes.link[0] + 1]
        edges_s, bits = links.time_s[first:end], links.bits[first:end]
        return LinkRequest(
            edges_s=tuple(edges_s.tolist()),
            rates_bps=tuple((np.diff(bits) / np.diff(edges_s)).tolist()),
            offset_s=float(episodes.link_offset_s[0]) + now_s,
            efficiency=params.link_efficiency,
            rtt_s=params.rtt_s,
        ).to_json()

    def _request(self, acted_s: float, key: Key, option: int) -> None:
        self.books.request(acted_s, *key, option)  # no later, so that the viewer has not left since it was checked
        self._transfers[key] = asyncio.create_task(self._transfer(key, option))

    async def _transfer(self, key: Key, option: int) -> None:
        """A request, from its first byte to its last."""
        index = int(self._sim.episode.playlist[key.video])
        file = self._manifest.videos[index].chunks[key.chunk][self._sim.params.option_representation[option]]
        found: dict[str, Any] = {**key._asdict(), "option": option, "request_s": self.now_s(), "first_byte_s": None}
        found |= {"end_s": None, "received_bytes": 0, "outcome": "cancelled"}
        self.diary.transfers.append(found)

        def on_bytes(count: int) -> None:
            now_s = self.now_s()
            found["received_bytes"] += count
            if found["first_byte_s"] is None:
                found["first_byte_s"] = now_s
            self.books.receive(now_s, *key, count)

        result: bytes | TransferError
        try:
            result = await self._downloads.fetch(file, on_bytes)
        except TransferError as error:
            result = error
        finally:  # cancelled too
            found["end_s"] = self.now_s()
        if isinstance(result, TransferError):
            await self._recover(result, found["request_s"])
            del self._transfers[key]
            found["outcome"] = "lost"
            self.books.lose(self.now_s(), *key)
        else:
            del self._transfers[key]
            found["outcome"] = "arrived"
            self._received[key] = result
            self.books.arrive(found["end_s"], *key)
        self._make_true()

    async def _recover(self, error: TransferError, request_s: float) -> None:
        """After a failed request: wait a little, and open the link anew where the server has lost it."""
        self.diary.faults.append(str(error))
        await asyncio.sleep(max(request_s + REFUSED_S - self.now_s(), 0.0))
        if isinstance(error, LinkLostError):
            async with self._reopening:
                if error.link != self._downloads.link:
                    return  # another transfer has opened it anew
                try:
                    await self._downloads.open_link(self._link_request(self.now_s()))
                except (OSError, ValueError) as again:
                    self.diary.faults.append(str(again))

    # --- the decoders -------------------------------------------------------------------------------------------------

    async def _decode(self, unit: int, key: Key, data: bytes) -> None:
        """A job, from its start in the books to a decoded chunk."""
        state, params = self.books.state, self._sim.params
        option = self.books.option(*key)
        busy = sum(self.books.job(other) is not None for other in range(UNITS))
        found: dict[str, Any] = {"unit": UNIT_NAMES[unit], **key._asdict(), "option": option}
        found |= {"start_s": float(state.job_start_s[unit]), "end_s": None, "worker_s": None, "busy": busy}
        found["outcome"] = "aborted"
        self.diary.jobs.append(found)
        limit_s = HANG_FACTOR * float(state.job_expected_s[unit]) + HANG_S
        done: Decoded | None = None
        try:
            done = await self._units[unit].decode(data, bool(params.option_generative[option]), limit_s)
        except DecodeError as error:
            self.diary.faults.append(f"{UNIT_NAMES[unit]}: {error}")
        del self._jobs[unit]
        found["end_s"] = self.now_s()
        if done is None:
            found["outcome"] = "lost"
            self.books.fail(found["end_s"], *key)
        else:
            found |= {"worker_s": done.seconds, "outcome": "decoded"}
            self.played[key] = data
            self.books.decoded(found["end_s"], *key)
        self._make_true()
