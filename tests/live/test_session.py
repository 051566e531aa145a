"""A session whose wire and clock are the test's: what it does when much happens at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ppgym.env import PromptPreamEnv
from ppgym.live.downloads import Downloads, LinkLostError
from ppgym.live.feed import ChunkFile, check_feed, feed_scenario, feed_world
from ppgym.live.session import Key, LiveSession
from ppgym.live.units import Unit


class Wire:
    """Answers a request with what a test says, or never."""

    def __init__(self) -> None:
        self.link, self.opened = "first", 0
        self.answer: Callable[[], bytes] | None = None

    async def open_link(self, _: dict[str, Any]) -> tuple[float, float]:
        self.opened += 1
        await asyncio.sleep(0.01)
        self.link = f"link {self.opened}"
        return 0.0, 0.0

    async def close_link(self) -> None:
        pass

    async def fetch(self, file: ChunkFile, on_bytes: Callable[[int], None]) -> bytes:
        if self.answer is None:
            await asyncio.sleep(60)
            raise AssertionError
        return self.answer()


def make_session(feed: Path, **fields: Any) -> tuple[LiveSession, Wire]:
    """A session whose viewer swipes when a chunk has played for 0.5 s, or has stalled for 5 s."""
    manifest, wire = check_feed(feed), Wire()
    env = PromptPreamEnv(feed_world(manifest, feed_scenario(feed, **{"patience": 5.0} | fields), "test"))
    env.reset(seed=0)
    env._episodes.watch_s[:] = 0.5
    units: dict[int, Unit] = {}
    return LiveSession(env.world, manifest, env._sims, cast(Downloads, wire), units), wire


def test_a_request_is_sent_at_the_moment_for_which_it_was_checked(feed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        session, _ = make_session(feed)
        times_s = iter([1.0])  # and then the viewer's patience ends
        monkeypatch.setattr(session, "now_s", lambda: next(times_s, 6.0))
        session.show()
        times_s = iter([1.0])
        playing = asyncio.create_task(session.step(1))
        await asyncio.sleep(0)
        requested = [int(time_s) for time_s in session.books.state.transfer_request_s[:1]]
        await session.close()
        playing.cancel()
        assert requested == [1]

    asyncio.run(play())


def test_a_transfer_that_a_swipe_cancels_has_an_end(feed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        session, _ = make_session(feed, cancel_on_swipe=True, parallel_downloads=1)
        now_s = 1.0
        monkeypatch.setattr(session, "now_s", lambda: now_s)
        session.show()
        playing = asyncio.create_task(session.step(1))
        await asyncio.sleep(0.01)  # the transfer has begun
        now_s = 6.0
        session._catch_up()
        await playing
        await session.close()
        (found,) = session.diary.transfers
        assert (found["request_s"], found["end_s"], found["outcome"]) == (1.0, 6.0, "cancelled")

    asyncio.run(play())


def test_a_closed_session_begins_nothing(feed: Path) -> None:
    async def play() -> None:
        session, _ = make_session(feed)
        session.books.request(0.0, 0, 0, 0)
        session.books.arrive(0.0, 0, 0)
        session._received[Key(0, 0)] = b""
        await session.close()
        session._catch_up()
        assert session.books.job(0) == (0, 0)
        assert not session._jobs
        assert session._timer is None

    asyncio.run(play())


def test_a_link_that_two_transfers_have_lost_is_opened_anew_once(feed: Path) -> None:
    def lost() -> bytes:
        raise LinkLostError("the server has lost the link", "first")

    async def play() -> None:
        session, wire = make_session(feed, parallel_downloads=2)
        wire.answer = lost
        for _ in range(2):
            session.show()
            await session.step(1)
        await asyncio.gather(*session._transfers.values())
        assert [one["outcome"] for one in session.diary.transfers] == ["lost", "lost"]
        assert (wire.opened, wire.link) == (1, "link 1")
        await session.close()

    asyncio.run(play())
