"""The client against servers that lie."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from ppgym.live import downloads
from ppgym.live.downloads import Downloads, LinkLostError, TransferError
from ppgym.live.feed import ChunkFile

DATA = b"a chunk of bytes"
FILE = ChunkFile(path="v/0.bin", size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest(), quality=1.0)


class Liar(BaseHTTPRequestHandler):
    """Answers everything in one way."""

    protocol_version = "HTTP/1.1"
    status, body, headers_sent = 206, DATA, {}

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in ({"Content-Length": str(len(self.body))} | self.headers_sent).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def liar() -> Iterator[Callable[..., str]]:
    servers = []

    def start(status: int, body: bytes = DATA, **headers: str) -> str:
        fields = {"status": status, "body": body, "headers_sent": {k.replace("_", "-"): v for k, v in headers.items()}}
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("One", (Liar,), fields))
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(url: str) -> tuple[bytes, int]:
    async def run() -> tuple[bytes, int]:
        seen: list[int] = []
        async with Downloads(url, 2.0) as client:
            return await client.fetch(FILE, seen.append), sum(seen)

    return asyncio.run(run())


def test_a_right_answer(liar: Callable[..., str]) -> None:
    assert fetch(liar(206)) == (DATA, len(DATA))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, DATA, "expected status 206, got 200"),
        (302, DATA, "expected status 206, got 302"),
        (206, DATA + b"x", "expected 16 bytes, got more"),
        (206, DATA[:-1], "expected 16 bytes, got 15"),
        (206, b"", "expected 16 bytes, got 0"),
        (206, DATA[::-1], "expected SHA-256"),
    ],
)
def test_a_wrong_answer(liar: Callable[..., str], status: int, body: bytes, message: str) -> None:
    elsewhere = liar(206)
    with pytest.raises(TransferError, match=message):
        fetch(liar(status, body, Location=f"{elsewhere}/v/0.bin"))


def test_a_lost_link(liar: Callable[..., str]) -> None:
    with pytest.raises(LinkLostError):
        fetch(liar(410))


def test_packed_bytes_are_not_unpacked(liar: Callable[..., str]) -> None:
    assert fetch(liar(206, DATA, Content_Encoding="gzip"))[0] == DATA


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b"\xff", b"[" * 3000])
def test_no_link_comes_of_a_wrong_answer(liar: Callable[..., str], body: bytes) -> None:
    async def run() -> None:
        async with Downloads(liar(201, body), 2.0) as client:
            await client.open_link({})

    with pytest.raises(ValueError, match="links: expected an id"):
        asyncio.run(run())


def test_answers_are_capped(liar: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_MANIFEST_BYTES", 1000)

    async def run(url: str) -> None:
        async with Downloads(url, 2.0) as client:
            await client.manifest()

    with pytest.raises(ValueError, match="expected at most 1000 bytes"):
        asyncio.run(run(liar(200, b"x" * 1001)))
    with pytest.raises(ValueError, match="status 500"):
        asyncio.run(run(liar(500, b"x")))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        asyncio.run(run(liar(200, b"x")))


def test_giving_a_link_back_is_no_error(liar: Callable[..., str]) -> None:
    async def run(url: str) -> str:
        async with Downloads(url, 2.0) as client:
            client.link = "x"
            await client.close_link()
            return client.link

    assert asyncio.run(run("http://127.0.0.1:9")) == asyncio.run(run(liar(404))) == ""
