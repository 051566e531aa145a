"""`PromptPreamLive-v0`: its `step` issues a real request and returns at the next decision, in real time.

Spaces, observation, mask, info, client and planning view are those of `PromptPream-v0`, which this is a shell of.
"""

import asyncio
import queue
import selectors
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import numpy as np

from ppgym.core.state import UNIT_NAMES
from ppgym.core.step import RESTART
from ppgym.env import PromptPreamEnv, Snapshot
from ppgym.live.books import rehearse, show
from ppgym.live.downloads import STALL_S, Downloads
from ppgym.live.feed import MANIFEST, Manifest, feed_scenario, feed_world, load_manifest
from ppgym.live.host import Host
from ppgym.live.session import LiveSession, Shown
from ppgym.live.units import Unit

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, which reception and clock run in while the client thinks."""

    def __init__(self) -> None:
        """Start it."""
        # epoll rounds waits up to a millisecond; select does not
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(target=self._loop.run_forever, name="ppgym-live", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for what it returns."""
        answers: queue.SimpleQueue[tuple[T] | Future[None]] = queue.SimpleQueue()

        async def answer() -> None:
            answers.put((await coroutine,))  # at once: a task's callbacks come after all else that is ready

        future = asyncio.run_coroutine_threadsafe(answer(), self._loop)
        future.add_done_callback(answers.put)  # where it failed
        try:
            found = answers.get()
            if isinstance(found, Future):
                raise found.exception() or RuntimeError("expected an answer")
        except BaseException:  # Ctrl-C too
            future.cancel()
            raise
        return found[0]

    def stop(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Equipment:
    """What outlives a session: the loop, the connection to the server, and the warm units."""

    def __init__(
        self, url: str | None, folder: Path, manifest: Manifest, units: tuple[str, ...], stall_s: float
    ) -> None:
        """Connect, and warm the units up.

        Raises:
            OSError: The server does not answer.
            ValueError: It has another manifest, or does not start.
        """
        self.host = Host(folder) if url is None else None
        self.loop = Loop()
        self.downloads = Downloads(self.host.url if self.host else str(url), stall_s)
        generators = {unit: manifest.generator or "" for unit in ("cpu", "gpu")}
        self.units = {UNIT_NAMES.index(unit): Unit(unit, generators.get(unit, "")) for unit in units}
        self.session: LiveSession | None = None
        try:
            self.loop.run(self._start(manifest))
        except BaseException:
            self.close()
            raise

    async def _start(self, manifest: Manifest) -> None:
        await self.downloads.__aenter__()
        if await self.downloads.manifest() != manifest:
            raise ValueError(f"{self.downloads.url}/{MANIFEST}: expected the manifest of the feed's folder")
        try:
            async with asyncio.TaskGroup() as group:
                for unit in self.units.values():
                    group.create_task(unit.start())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def close(self) -> None:
        """End session, sockets, processes and thread."""
        self.loop.run(self._stop())
        self.loop.stop()
        if self.host is not None:
            self.host.close()

    async def _stop(self) -> None:
        if self.session is not None:
            await self.session.close()
        await asyncio.gather(*(unit.close() for unit in self.units.values()))
        await self.downloads.__aexit__()


class PromptPreamLiveEnv(PromptPreamEnv):
    """A session over a real link with real decoders; see `PromptPreamEnv` for spaces, observation, reward and info.

    Bytes come from a feed server at the pace of the episode's trace, chunks are decoded by worker processes, playback
    runs by the monotonic clock, and the time that a decision takes passes. What is drawn is the viewer, and which trace
    the server shapes: the same seed draws the same as in the simulator of the same `world`. The books are the
    simulator's (`ppgym.core`).

    An action is resolved as things stood when the last step returned; it acts as `WAIT` if its video has been left
    since. A transfer that fails counts as lost bytes, and its chunk may be requested again, as may one that a decoder
    lost. A session always comes to its end. Close the environment: it owns processes, sockets and a thread.

    Arguments: `feed`, a folder that `python -m ppgym.live prepare` and `profile` have made; `url` of a server of that
    feed, else one is started; `split` and fields of `Scenario` as in `PromptPream-v0`.
    """

    def __init__(
        self,
        feed: str,
        url: str | None = None,
        split: str = "test",
        render_mode: str | None = None,
        stall_s: float = STALL_S,
        **overrides: Any,
    ) -> None:
        """Connect to a server, and warm the decoders up.

        Args:
            feed: Folder of the feed.
            url: Of its server; None starts one on the loopback address.
            split: Of the network's traces.
            render_mode: None, "ansi" or "rgb_array".
            stall_s: For which a socket may be silent, beyond the trace's longest outage.
            **overrides: Fields of `ppgym.world.scenario.Scenario`.

        Raises:
            FileNotFoundError: A file of the feed is missing.
            ValueError: A file or value is wrong, or the server has another feed.
            OSError: The server does not answer.
        """
        folder = Path(feed)
        manifest = load_manifest(folder)
        world = feed_world(manifest, feed_scenario(folder, **overrides), split)
        super().__init__(world, split, render_mode)
        silence_s = world.params.rtt_s + longest_outage_s(world.links.time_s, world.links.bits) + stall_s
        self.manifest = manifest
        self.world.draw(np.random.default_rng(0), self._episodes, 0)  # which the first reset draws anew
        rehearse(self._sims, world.features, self._results)
        self._live = Equipment(url, folder, manifest, world.profile.units, silence_s)
        self._stop = weakref.finalize(self, self._live.close)

    @property
    def session(self) -> LiveSession | None:
        """The session under way or ended last, with its diary; None before a reset."""
        return self._live.session

    def close(self) -> None:
        """End everything; nothing is left behind."""
        self._running = False
        self._stop()

    def get_state(self) -> Snapshot:
        """Not there: a wire cannot be copied."""
        raise gymnasium.error.Error("a live session cannot be copied; take a snapshot of PromptPream-v0")

    def set_state(self, snapshot: Snapshot) -> None:
        """Not there: a wire cannot go back."""
        raise gymnasium.error.Error("a live session cannot go back; use PromptPream-v0")

    def _move(self, todo: int, action: int) -> None:
        if not self._stop.alive:
            raise gymnasium.error.Error("the environment is closed")
        session = self._live.session
        if todo == RESTART or session is None:
            self._states[0], rows = self._live.loop.run(self._restart())
            show(self._sims, self.world.features, self._states[0], self._states[0], self._results)
        else:
            before, called_s = self._states.copy(), session.now_s()
            index = action if 0 <= action < self.action_space.n else -1
            self._states[0], rows = self._live.loop.run(self._act(session, index))
            show(self._sims, self.world.features, before[0], self._states[0], self._results)
            session.note_decision(called_s)
        if self._timeline is not None:
            self._timeline.extend(rows)

    async def _restart(self) -> Shown:
        live = self._live
        if live.session is not None:
            await live.session.close()
        live.session = LiveSession(self.world, self.manifest, self._sims, live.downloads, live.units)
        await live.session.begin()
        return live.session.show()

    async def _act(self, session: LiveSession, action: int) -> Shown:
        await session.step(action)
        return session.show()


def longest_outage_s(time_s: np.ndarray, bits: np.ndarray) -> float:
    """The longest stretch of some traces, laid end to end, in which nothing flows; one across a seam counts twice."""
    steps_s, carried = np.diff(time_s), np.diff(bits)
    longest_s = run_s = 0.0
    for step_s, amount in zip(steps_s.tolist(), carried.tolist(), strict=True):
        run_s = run_s + max(step_s, 0.0) if amount <= 0 else 0.0
        longest_s = max(longest_s, run_s)
    return 2 * longest_s
