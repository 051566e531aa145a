"""The feed server on the wire: what it serves, at which pace, and what a hostile client can take from it."""

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.live import server
from ppgym.live.feed import ChunkFile, FeedVideo, Manifest, check_feed
from ppgym.live.host import Host
from ppgym.live.link import SharedLink
from ppgym.world.ladders import Ladder, Representation

BIG_BYTES = 8 << 20
EDGES_S, RATE_BPS = [0.0, 1.0], 80_000.0


class Running:
    """A server in a thread of this process, so that a test can turn its limits."""

    def __init__(self, folder: Path) -> None:
        self.feed = server.FeedServer(folder, check_feed(folder))
        self.uvicorn = server.make_server(self.feed)
        self.listening = server.listen("127.0.0.1", 0)
        self.url = server.address(self.listening)
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=lambda: asyncio.run(self.uvicorn.serve(sockets=[self.listening])))
        self.thread.start()

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        request = urllib.request.Request(f"{self.url}/{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def connect(self, text: str = "") -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        opened.sendall(text.encode())
        return opened


@pytest.fixture
def running(feed: Path) -> Iterator[Running]:
    found = Running(feed)
    yield found
    found.stop()


def link_request(**changes: Any) -> bytes:
    fields = {"edges_s": EDGES_S, "rates_bps": [RATE_BPS], "offset_s": 0.0, "efficiency": 1.0, "rtt_s": 0.1}
    return json.dumps(fields | changes).encode()


def test_serves_the_files_of_its_manifest(running: Running) -> None:
    status, body, _ = running.ask("manifest.json")
    assert status == 200
    manifest = Manifest.from_json(json.loads(body), "wire")
    assert manifest == running.feed.manifest
    for file in manifest.files():
        status, body, headers = running.ask(file.path)
        assert status == 200
        assert hashlib.sha256(body).hexdigest() == file.sha256
        assert headers["content-length"] == str(file.size_bytes)


@pytest.mark.parametrize(
    "path", ["", "device.json", "scenario.yml", "v0", "v0/", "../feed/manifest.json", "v0/../device.json", "%2e%2e/x"]
)
def test_serves_nothing_else(running: Running, path: str) -> None:
    with running.connect(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as opened:
        assert opened.recv(1 << 16).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, range(100)),
        ("bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=99-99", range(99, 100)),
        ("bytes=100-", None),
        ("bytes=9-0", None),
        ("bytes=-5", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-" + "9" * 400, None),
    ],
)
def test_ranges(header: str | None, expected: range | None) -> None:
    assert server.byte_range(header, 100) == expected


def test_a_range_comes_over_the_wire(running: Running) -> None:
    file = running.feed.manifest.files()[0]
    _, whole, _ = running.ask(file.path)
    status, part, headers = running.ask(file.path, Range="bytes=3-7")
    assert (status, part) == (206, whole[3:8])
    assert headers["content-range"] == f"bytes 3-7/{file.size_bytes}"
    assert running.ask(file.path, Range=f"bytes={file.size_bytes}-")[0] == 416


def test_a_link_paces_its_transfers(running: Running) -> None:
    file = max(running.feed.manifest.files(), key=lambda file: file.size_bytes)
    status, body, _ = running.ask("links", "POST", link_request())
    assert status == 201
    name = json.loads(body)["id"]
    assert running.ask(f"links/{name}", "POST")[0] == 204
    assert running.ask("links/nobody", "POST")[0] == 404
    began_s = time.monotonic()
    status, body, _ = running.ask(f"{file.path}?link={name}")
    took_s = time.monotonic() - began_s
    assert hashlib.sha256(body).hexdigest() == file.sha256
    assert took_s >= 0.1 + file.size_bytes * 8 / RATE_BPS - 1e-3  # later than the law only by what this machine takes
    assert running.ask(f"links/{name}", "POST")[0] == 409  # in use
    assert running.ask(f"links/{name}", "DELETE")[0] == 204
    assert running.ask(f"links/{name}", "DELETE")[0] == 404
    assert running.ask(f"{file.path}?link={name}")[0] == 410


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xff",
        b"[" * 100_000,
        link_request(rates_bps=[float("nan")]),
        link_request(rates_bps=[-1.0]),
        link_request(rates_bps=[0.0]),
        link_request(rates_bps=[1.0, 2.0]),
        link_request(rates_bps=[1e300]),
        link_request(edges_s=[1.0, 0.0]),
        link_request(edges_s=[0.0] * 30_000),
        link_request(efficiency=0.0),
        link_request(rtt_s=1e9),
        link_request(offset_s=-1.0),
        link_request(surprise=1),
    ],
)
def test_no_link_comes_of_a_wrong_request(running: Running, body: bytes) -> None:
    status, answer, _ = running.ask("links", "POST", body)
    assert status == 400, answer
    assert b"link" in answer
    assert not running.feed.links


def test_sizes_and_counts_are_capped(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 2000)
    monkeypatch.setattr(server, "MAX_LINKS", 2)
    assert running.ask("links", "POST", link_request() + b" " * 3000)[0] == 413
    names = [json.loads(running.ask("links", "POST", link_request(rtt_s=30.0))[1])["id"] for _ in range(3)]
    assert list(running.feed.links) == names[1:]  # the one that was idle longest is forgotten
    path = running.feed.manifest.files()[0].path
    asked = [running.connect(f"GET /{path}?link={name} HTTP/1.1\r\nHost: x\r\n\r\n") for name in names[1:]]
    assert all(opened.recv(100).startswith(b"HTTP/1.1 200") for opened in asked)
    assert running.ask("links", "POST", link_request())[0] == 429  # one with a transfer is not
    for opened in asked:
        opened.close()
    wait_until(lambda: not any(link.law.flows for link in running.feed.links.values()))
    monkeypatch.setattr(server, "IDLE_LINK_S", -1.0)
    assert running.ask("links", "POST", link_request())[0] == 201
    assert len(running.feed.links) == 1  # those that are idle for too long are forgotten, too


def test_a_link_takes_only_so_many_transfers(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_TRANSFERS", 1)
    name = json.loads(running.ask("links", "POST", link_request(rtt_s=30.0))[1])["id"]
    path = running.feed.manifest.files()[0].path
    with running.connect(f"GET /{path}?link={name} HTTP/1.1\r\nHost: x\r\n\r\n") as opened:
        assert opened.recv(100).startswith(b"HTTP/1.1 200")
        assert running.ask(f"{path}?link={name}")[0] == 429
    wait_until(lambda: not running.feed.links[name].law.flows)  # the client has gone, and its share with it


def wait_until(holds: Any, limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def closed(opened: socket.socket) -> bool:
    """Whether the other side ends the connection before the socket's timeout."""
    try:
        while opened.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("text", ["", "GET / HT", "POST /links HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{"])
def test_a_silent_client_is_sent_away(running: Running, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(server, "FIRST_REQUEST_S" if not text.startswith("POST") else "REQUEST_S", 0.2)
    with running.connect(text) as opened:
        assert closed(opened)


def test_headers_without_end_are_refused(running: Running) -> None:
    with running.connect("GET / HTTP/1.1\r\n" + "X: y\r\n" * 20_000) as opened:
        assert closed(opened)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    data = bytes(range(256)) * (BIG_BYTES // 256)
    (tmp_path / "big.bin").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    file = ChunkFile(path="big.bin", size_bytes=len(data), sha256=digest, quality=1.0)
    one = Representation(name="x", codec="h264", kind="pixel", bitrate_bps=1e6, quality=1.0)
    video = FeedVideo(name="big", duration_s=1.0, chunks=((file,),))
    ladder = Ladder(name="x", representations=(one,))
    Manifest(name="x", provenance="a test", ladder=ladder, videos=(video,)).write(tmp_path / "manifest.json")
    return tmp_path


def test_a_client_that_takes_nothing_holds_nobody_up(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALL_S", 0.5)
    running = Running(big)
    try:
        with running.connect() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            status, body, _ = running.ask("big.bin")  # meanwhile, another client
            assert (status, len(body)) == (200, BIG_BYTES)
            wait_until(lambda: not running.uvicorn.server_state.tasks)  # and the slow one is cut
            received = 0
            try:
                while piece := slow.recv(1 << 20):
                    received += len(piece)
            except ConnectionResetError:
                pass
            assert received < BIG_BYTES
    finally:
        running.stop()


FIRST_ANSWER = """
import asyncio, sys
from starlette.responses import StreamingResponse
from ppgym.live.server import rehearse

async def body():
    yield b"x"

async def never(*_):
    await asyncio.Event().wait()

async def sent(_):
    pass

rehearse()
known = set(sys.modules)
asyncio.run(StreamingResponse(body())({"type": "http", "asgi": {"spec_version": "2.3"}}, never, sent))
sys.exit(f"imported by the first answer: {new}" if (new := set(sys.modules) - known) else 0)
"""


def test_the_first_answer_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_ANSWER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_few_bytes_wait_to_be_sent(big: Path) -> None:
    running = Running(big)
    try:
        with running.connect("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n"):
            wait_until(lambda: any(one.flow.write_paused for one in running.uvicorn.server_state.connections))
            (connection,) = running.uvicorn.server_state.connections
            assert connection.transport.get_write_buffer_size() <= server.SEND_BUFFER_BYTES // 2
            sending = connection.transport.get_extra_info("socket")
            assert sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= server.SEND_BUFFER_BYTES // 2
            assert sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # a small slice waits for no answer
    finally:
        running.stop()


def test_listens_on_this_machine_alone(feed: Path) -> None:
    with Host(feed) as host:
        assert host.url.startswith("http://127.0.0.1:")


def test_a_host_leaves_nothing_behind(feed: Path) -> None:
    with Host(feed) as host:
        process = host._process
        assert process.poll() is None
    assert process.poll() is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", host.port), timeout=5)


def test_a_taken_port_is_said(feed: Path) -> None:
    with Host(feed) as host, pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{host.port}"):
        server.listen("127.0.0.1", host.port)


def test_a_chunk_that_is_gone_tells_no_path(feed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(feed, tmp_path / "feed")
    running = Running(folder)
    try:
        file = running.feed.manifest.files()[0]
        (folder / file.path).unlink()
        status, body, _ = running.ask(file.path)
        assert status == 500
        assert str(tmp_path).encode() not in body
        assert running.ask(running.feed.manifest.files()[1].path)[0] == 200
    finally:
        running.stop()


def test_a_transfer_is_sent_in_few_slices(feed: Path) -> None:
    file = max(check_feed(feed).files(), key=lambda file: file.size_bytes)

    async def slices() -> list[bytes]:
        law = SharedLink(np.array([0.0, 1.0]), np.array([0.0, file.size_bytes * 16.0]), 0.0, 1.0, 0.0)  # half a second
        link = server.ShapedLink(law, time.monotonic(), 0.0)
        opened = (feed / file.path).open("rb")
        return [piece async for piece in server._paced(opened, file.size_bytes, link)]

    found = asyncio.run(slices())
    assert b"".join(found) == (feed / file.path).read_bytes()
    assert len(found) <= 0.5 / server.TICK_S + 2
