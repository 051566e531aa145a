"""Whatever fails, a session goes on to its end, the chunk is lost and may be requested again, and nothing is left."""

import asyncio
import dataclasses
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppgym.live import units
from ppgym.live.env import PromptPreamLiveEnv
from ppgym.live.feed import DEVICE, check_feed
from ppgym.live.host import Host
from ppgym.live.server import FeedServer, address, listen, make_server
from ppgym.world.devices import DeviceProfile
from tests.live.sessions import children, play, stop_worker

Send = Callable[[dict[str, Any]], Awaitable[None]]
ROOT = Path(__file__).parents[2]
ONE_VIDEO: dict[str, Any] = {"n_videos": 1, "patience": "none"}


class Faulty:
    """An ASGI server of a feed whose first chunk requests go wrong."""

    def __init__(self, folder: Path, fault: str, times: int) -> None:
        self.app, self.fault, self.left = FeedServer(folder, check_feed(folder)).app(), fault, times
        feed = FeedServer(folder, check_feed(folder))
        self.uvicorn = make_server(feed)
        self.uvicorn.config.loaded_app = self
        self.uvicorn.config.load()
        self.uvicorn.config.loaded_app = self
        listening = listen("127.0.0.1", 0)
        self.url = address(listening)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.uvicorn.serve(sockets=[listening])))
        self.thread.start()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(".h264") or self.left == 0:
            await self.app(scope, receive, send)
            return
        self.left -= 1
        if self.fault in ("404", "500"):
            await send({"type": "http.response.start", "status": int(self.fault), "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return

        async def spoilt(message: dict[str, Any]) -> None:
            body = message.get("body", b"")
            if self.fault == "wrong hash":
                await send(message | ({"body": b"\x55" * len(body)} if body else {}))
            elif message["type"] == "http.response.start" or body == b"":
                await send(message)
            else:  # one byte comes
                await send(message | {"body": body[:1]})
                if self.fault == "stalled":
                    await asyncio.sleep(60)
                raise ConnectionAbortedError

        await self.app(scope, receive, spoilt)

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def vdec(feed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with one unit, whose two workers start soonest."""
    profile = DeviceProfile.load(feed / DEVICE)
    path = tmp_path_factory.mktemp("device") / "vdec.json"
    dataclasses.replace(profile, rows=tuple(row for row in profile.rows if row.unit == "vdec")).write(path)
    return path


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", ["404", "500", "truncated", "wrong hash", "stalled"])
def test_a_faulty_answer(feed: Path, vdec: Path, fault: str) -> None:
    faulty = Faulty(feed, fault, times=2)
    silence: dict[str, Any] = {"stall_s": 0.3} if fault == "stalled" else {}
    env = PromptPreamLiveEnv(str(feed), url=faulty.url, device=str(vdec), **silence, **ONE_VIDEO)
    try:
        info = play(env, 0)
        assert env.session is not None
        diary = env.session.diary
        lost = [one for one in diary.transfers if one["outcome"] == "lost"]
        assert len(lost) == len(diary.faults) >= 2
        first = lost[0]["video"], lost[0]["chunk"]
        again = [one for one in diary.transfers if (one["video"], one["chunk"]) == first]
        assert len(again) >= 2  # requested again, at once
        assert info["wasted_bytes"] >= sum(one["received_bytes"] for one in lost) - 1
        assert info["played_s"] > 0
    finally:
        env.close()
        faulty.stop()


def test_the_server_is_killed_and_restarted_in_mid_transfer(feed: Path, vdec: Path) -> None:
    host = Host(feed)
    port = host.port
    started: list[Host] = []
    env = PromptPreamLiveEnv(str(feed), url=host.url, bandwidth_scale=0.02, device=str(vdec), **ONE_VIDEO)

    def at_step(step: int) -> None:
        assert env.session is not None
        if step == 0:
            env._episodes.watch_s[0] = 2.5  # whatever was drawn: three chunks
        if step == 1:
            threading.Timer(0.1, host.kill).start()
        if env.session.diary.faults and not started:
            started.append(Host(feed, port))

    try:
        info = play(env, 0, at_step)
        assert env.session is not None
        outcomes = [one["outcome"] for one in env.session.diary.transfers]
        assert "lost" in outcomes
        assert "arrived" in outcomes[outcomes.index("lost") :]
        assert any("has lost the link" in fault for fault in env.session.diary.faults)
        assert info["played_s"] > 0
    finally:
        env.close()
        host.close()
        for one in started:
            one.close()


def test_the_server_dies_for_good(feed: Path, vdec: Path) -> None:
    host = Host(feed)
    env = PromptPreamLiveEnv(str(feed), url=host.url, n_videos=2, patience=1.0, device=str(vdec))
    try:
        info = play(env, 0, lambda step: host.kill() if step == 0 else None)
        assert info["videos_abandoned"] == info["videos_watched"] > 0
        assert info["played_s"] == 0
    finally:
        env.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_decoder_crashes_or_hangs(
    feed: Path, vdec: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == signal.SIGSTOP:
        monkeypatch.setattr("ppgym.live.session.HANG_S", 0.3)
    env = PromptPreamLiveEnv(str(feed), device=str(vdec), **ONE_VIDEO)

    def at_step(step: int) -> None:
        if step == 0:
            for unit in env._live.units:
                stop_worker(env, unit, how)
        assert env.session is not None
        if any(one["outcome"] == "lost" for one in env.session.diary.jobs):
            monkeypatch.undo()  # a slow machine hangs in no other job

    try:
        info = play(env, 0, at_step)
        assert env.session is not None
        diary = env.session.diary
        assert next(one["outcome"] for one in diary.jobs) == "lost"
        assert [one["outcome"] for one in diary.jobs].count("decoded") >= 1
        assert info["played_s"] > 0
        assert info["wasted_bytes"] > 0
        assert sum(unit.replaced for unit in env._live.units.values()) >= 1
    finally:
        env.close()


def test_bytes_that_are_no_video_are_lost_and_the_worker_stays(feed: Path) -> None:
    async def decode() -> tuple[int, int]:
        unit = units.Unit("vdec", "")
        try:
            await unit.start()
            for data in (b"", b"\0\0\0\1\x65garbage", b"x" * 5000):
                with pytest.raises(units.DecodeError):
                    await unit.decode(data, False, 10.0)
            with pytest.raises(units.DecodeError, match="expected pixels"):
                await unit.decode(b"prompt", True, 10.0)
            file = check_feed(feed).files()[0]
            done = await unit.decode((feed / file.path).read_bytes(), False, 10.0)
            return done.frames, unit.replaced
        finally:
            await unit.close()

    assert asyncio.run(decode()) == (30, 0)


def with_unit(feed: Path, play: Callable[[units.Unit, bytes], Awaitable[None]]) -> units.Unit:
    """A unit that was started, played with a chunk of 30 frames, and closed."""

    async def run() -> units.Unit:
        unit = units.Unit("vdec", "")
        try:
            await unit.start()
            await play(unit, (feed / check_feed(feed).files()[0].path).read_bytes())
        finally:
            await unit.close()
        return unit

    return asyncio.run(run())


async def cancel(unit: units.Unit, data: bytes) -> None:
    """Begin to decode a chunk, and abort it."""
    job = asyncio.create_task(unit.decode(data, False, 10.0))
    await asyncio.sleep(0.002)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


def signal_worker(unit: units.Unit, how: signal.Signals) -> None:
    assert unit._worker is not None
    unit._worker.result().process.send_signal(how)


def test_an_aborted_unit_is_free_again(feed: Path) -> None:
    async def play(unit: units.Unit, data: bytes) -> None:
        for _ in range(3):
            await cancel(unit, data)
        assert (await unit.decode(data, False, 10.0)).frames == 30

    with_unit(feed, play)


def test_a_worker_that_does_not_stop_is_killed_and_the_spare_takes_over(feed: Path) -> None:
    async def play(unit: units.Unit, data: bytes) -> None:
        signal_worker(unit, signal.SIGSTOP)
        await cancel(unit, data)
        assert unit.replaced == 1
        assert len(unit.abort_s) == 1
        assert unit.abort_s[0] >= units.ABORT_S
        assert (await unit.decode(data, False, 10.0)).frames == 30

    assert with_unit(feed, play).replaced == 1


def test_a_job_that_is_cancelled_before_the_spare_is_warm_leaves_it_in_its_place(feed: Path) -> None:
    async def play(unit: units.Unit, data: bytes) -> None:
        for _ in range(2):  # the second one finds a spare that has just begun to warm up
            signal_worker(unit, signal.SIGKILL)
            with pytest.raises(units.DecodeError, match="crashed"):
                await unit.decode(data, False, 10.0)
        await cancel(unit, data)
        assert (await unit.decode(data, False, 10.0)).frames == 30

    assert with_unit(feed, play).replaced == 2


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"{}\n", b"x" * (1 << 17)])
def test_a_worker_that_answers_anything_else_is_replaced(feed: Path, line: bytes) -> None:
    async def play(unit: units.Unit, data: bytes) -> None:
        assert unit._worker is not None
        worker = unit._worker.result()
        assert worker.process.stdout is not None
        worker.process.stdout.feed_data(line)
        with pytest.raises(units.DecodeError):
            await unit.decode(data, False, 10.0)
        assert (await unit.decode(data, False, 10.0)).frames == 30

    assert with_unit(feed, play).replaced == 1


def test_workers_that_cannot_start_lose_their_jobs_alone(feed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: str) -> units.Worker:
        raise OSError("too many open files")

    async def play(unit: units.Unit, data: bytes) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(units.Worker, "start", fails)
            for _ in range(2):  # the worker and its spare
                signal_worker(unit, signal.SIGKILL)
                with pytest.raises(units.DecodeError, match="crashed"):
                    await unit.decode(data, False, 10.0)
            for _ in range(2):
                await asyncio.sleep(0.01)  # in which the next spare tries to start
                with pytest.raises(units.DecodeError, match="too many open files"):
                    await unit.decode(data, False, 10.0)
        with pytest.raises(units.DecodeError, match="too many open files"):
            await unit.decode(data, False, 10.0)
        assert (await unit.decode(data, False, 10.0)).frames == 30

    with_unit(feed, play)


def test_no_socket_stays_open(feed: Path, vdec: Path) -> None:
    env = PromptPreamLiveEnv(str(feed), device=str(vdec), **ONE_VIDEO)
    play(env, 0)
    assert env._live.host is not None
    port = env._live.host.port
    env.close()
    env.close()  # twice is once
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_worker_that_does_not_start_leaves_none_behind(feed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up = units.Worker.warm_up

    async def fails(self: units.Worker) -> None:
        if not started:
            started.append(self)
            raise units.DecodeError("no memory")
        await warm_up(self)

    started: list[units.Worker] = []
    monkeypatch.setattr(units.Worker, "warm_up", fails)
    with pytest.raises(OSError, match=r"unit (cpu|vdec): no memory"):
        PromptPreamLiveEnv(str(feed))


KILLED = """
import sys
from ppgym.live.env import PromptPreamLiveEnv
from tests.live.sessions import children
env = PromptPreamLiveEnv(sys.argv[1], device=sys.argv[2])
print(*children(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_client_leaves_no_process_behind(feed: Path, vdec: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(feed), str(vdec)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert client.stdout is not None
        pids = [int(pid) for pid in client.stdout.readline().split()]
        assert len(pids) == 3  # a server, a worker and its spare
        client.kill()
        client.wait()
        end_s = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end_s
            time.sleep(0.05)
    finally:
        client.kill()
        client.communicate()
