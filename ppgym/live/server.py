"""The feed server: a manifest and its chunks over HTTP/1.1, each transfer paced by its session's link.

| request | answer |
|---|---|
| `GET /manifest.json` | the manifest |
| `POST /links` with a `LinkRequest` | `{"id": ID}`: a shaped link |
| `POST /links/ID` | 204: its trace begins; a request of its own, for its time tells the client when that was |
| `DELETE /links/ID` | 204: it takes no new transfers |
| `GET /PATH?link=ID` | a chunk of the manifest, or the `Range` of it, at the pace of the link; 410 without that link |
| `GET /PATH` | the same, as fast as it goes |

Nothing else is served. What a client can take is bounded: headers and bodies in size and in time, links, transfers of
a link, connections, and bytes that wait to be sent, so that the kernel does not hide the pacing.
"""

import asyncio
import contextlib
import json
import re
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio
import numpy as np
import uvicorn
from annotated_types import Ge, Le, Len
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from ppgym.core.state import MAX_TRANSFERS
from ppgym.files import parse_json
from ppgym.live.feed import MANIFEST, Manifest, check_feed, open_chunk
from ppgym.live.link import SharedLink
from ppgym.world.networks import NetworkTrace
from ppgym.world.schemas import JsonFile, checked

HOST, PORT = "127.0.0.1", 8423
SEND_BUFFER_BYTES = 1 << 16  # of a connection: half in the kernel, half before it
TICK_S = 0.01  # between two slices of a transfer
LEAST_SLEEP_S = 2e-4
PIECE_BYTES = 1 << 14  # of what is sent without a link
FIRST_REQUEST_S = 5.0  # in which a connection must bring its first request
REQUEST_S = 30.0  # in which it must bring its next one, and the body of each
STALL_S = 10.0  # for which a client may take nothing
MAX_BODY_BYTES = 1 << 20
MAX_LINKS = 256
LEAST_TRACE_S = 0.1
MAX_CONNECTIONS = 400
IDLE_LINK_S = 600.0  # without a transfer, after which a link is forgotten; sooner where all are taken


@checked
class LinkRequest(JsonFile):
    """What a client asks of its link.

    Attributes:
        edges_s: Of the trace, from 0, rising.
        rates_bps: Between the edges.
        offset_s: Place in the trace at the start.
        efficiency: Share of the rate that carries payload.
        rtt_s: From a request to its first byte.
    """

    SCHEMA = "ppgym-link/1"

    edges_s: Annotated[tuple[float, ...], Len(2, 20_001)]
    rates_bps: Annotated[tuple[float, ...], Len(1, 20_000)]
    offset_s: Annotated[float, Ge(0), Le(1e6)]
    efficiency: Annotated[float, Ge(0.01), Le(1)]
    rtt_s: Annotated[float, Ge(0), Le(60)]


@dataclass(eq=False)
class ShapedLink:
    """A session's link: its law, its clock, and when it was used last."""

    law: SharedLink
    began_s: float
    used_s: float

    def now_s(self) -> float:
        """Seconds since the link began."""
        self.used_s = time.monotonic()
        return self.used_s - self.began_s


@dataclass(eq=False)
class FeedServer:
    """What the handlers share.

    Attributes:
        folder: Of the feed.
        manifest: As checked at the start.
        links: By id.
    """

    folder: Path
    manifest: Manifest
    links: dict[str, ShapedLink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the files."""
        self.files = {file.path: file for file in self.manifest.files()}
        self.text = json.dumps(self.manifest.to_json())

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route(f"/{MANIFEST}", self.get_manifest, methods=["GET"]),
                Route("/links", self.post_link, methods=["POST"]),
                Route("/links/{id:str}", self.begin_link, methods=["POST"]),
                Route("/links/{id:str}", self.delete_link, methods=["DELETE"]),
                Route("/{path:path}", self.get_chunk, methods=["GET"]),
            ]
        )

    async def get_manifest(self, request: Request) -> Response:
        """Answer with the manifest."""
        return Response(self.text, media_type="application/json")

    async def post_link(self, request: Request) -> Response:
        """Make a link."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                return refused(413, f"expected at most {MAX_BODY_BYTES} bytes")
        self._forget_idle_links()
        if len(self.links) >= MAX_LINKS:
            return refused(429, f"expected at most {MAX_LINKS} links with transfers at once")
        try:
            wanted = LinkRequest.from_json(_object(bytes(body)), "link")
            trace = NetworkTrace("link", np.array(wanted.edges_s), np.array(wanted.rates_bps))
            if trace.duration_s < LEAST_TRACE_S:
                raise ValueError(f"link: expected a trace of at least {LEAST_TRACE_S:g} s, got {trace.duration_s:g} s")
        except ValueError as error:
            return refused(400, str(error))
        law = SharedLink(
            trace.edges_s.copy(), trace.cumulative_bits.copy(), wanted.offset_s, wanted.efficiency, wanted.rtt_s
        )
        now_s, name = time.monotonic(), secrets.token_hex(8)
        self.links[name] = ShapedLink(law, now_s, now_s)
        return JSONResponse({"id": name}, status_code=201)

    async def begin_link(self, request: Request) -> Response:
        """Begin a link's trace, which no transfer has asked for yet."""
        link = self.links.get(request.path_params["id"])
        if link is None:
            return refused(404, "expected the id of a link")
        if link.law.settled_s > 0 or link.law.flows:
            return refused(409, "expected a link that is not in use yet")
        link.began_s = time.monotonic()
        return Response(status_code=204)

    async def delete_link(self, request: Request) -> Response:
        """Forget a link."""
        if self.links.pop(request.path_params["id"], None) is None:
            return refused(404, "expected the id of a link")
        return Response(status_code=204)

    async def get_chunk(self, request: Request) -> Response:
        """Send a chunk, or a range of it."""
        file = self.files.get(request.path_params["path"])
        if file is None:
            return refused(404, "expected a path of the manifest")
        name = request.query_params.get("link")
        link = self.links.get(name or "")
        if name is not None and link is None:
            return refused(410, "expected the id of a link")
        if link is not None and len(link.law.flows) >= MAX_TRANSFERS:
            return refused(429, f"expected at most {MAX_TRANSFERS} open transfers of a link")
        place = byte_range(request.headers.get("range"), file.size_bytes)
        if place is None:
            return Response(status_code=416, headers={"content-range": f"bytes */{file.size_bytes}"})
        try:
            opened = open_chunk(self.folder, file)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return refused(500, "the chunk cannot be read")
        opened.seek(place.start)
        headers = {"content-length": str(len(place)), "accept-ranges": "bytes"}
        status = 200
        if "range" in request.headers:
            status = 206
            headers["content-range"] = f"bytes {place.start}-{place.stop - 1}/{file.size_bytes}"
        body = _pieces(opened, len(place)) if link is None else _paced(opened, len(place), link)
        return StreamingResponse(body, status, headers, media_type="application/octet-stream")

    def _forget_idle_links(self) -> None:
        """Forget those that have been idle for too long, and where all are taken the one that has been so longest."""
        since_s = time.monotonic() - IDLE_LINK_S
        idle = [name for name, link in self.links.items() if not link.law.flows]
        idle.sort(key=lambda name: self.links[name].used_s)
        spare = len(self.links) - MAX_LINKS + 1
        for place, name in enumerate(idle):
            if place < spare or self.links[name].used_s < since_s:
                del self.links[name]


def refused(status: int, why: str) -> Response:
    """An answer that says what was expected."""
    return JSONResponse({"error": why}, status_code=status)


def byte_range(header: str | None, size_bytes: int) -> range | None:
    """The bytes that a `Range` header asks for; the whole file without one, None where it has no such bytes."""
    if header is None:
        return range(size_bytes)
    match = re.fullmatch(r"bytes=(\d{1,15})-(\d{0,15})", header.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or size_bytes - 1)
    return range(first, min(last + 1, size_bytes)) if first <= last and first < size_bytes else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = parse_json(body.decode(), "link")
    except UnicodeDecodeError as error:
        raise ValueError(f"link: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"link: expected a JSON object, got {type(content).__name__}")
    return content


async def _pieces(opened: BinaryIO, size_bytes: int) -> AsyncIterator[bytes]:
    """Bytes of a file, as fast as they are taken; no more of them in memory than are being sent."""
    with opened:
        for first in range(0, size_bytes, PIECE_BYTES):
            yield opened.read(min(PIECE_BYTES, size_bytes - first))


async def _paced(opened: BinaryIO, size_bytes: int, link: ShapedLink) -> AsyncIterator[bytes]:
    """Bytes of a file, each slice when the law of a link has carried it."""
    flow, sent = link.law.open(link.now_s(), size_bytes), 0
    try:
        while sent < size_bytes:
            now_s = link.now_s()
            link.law.settle(now_s)
            carried = int(flow.carried_bytes)
            due = min(carried, sent + PIECE_BYTES)
            if due > sent:
                yield opened.read(due - sent)
                sent = due
            if sent == carried < size_bytes:
                wake_s = flow.start_s if flow.start_s > now_s else min(now_s + TICK_S, link.law.end_s(flow))
                await asyncio.sleep(max(wake_s - now_s, LEAST_SLEEP_S))
    finally:
        link.law.close(flow, link.now_s())
        opened.close()


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that bears a client without a request for a while, and one that takes no bytes for `STALL_S`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES // 4)
        self._heard_s = self._taken_s = time.monotonic()
        self._watch()

    def on_response_complete(self) -> None:
        """The next request is awaited from now on."""
        self._heard_s = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes nothing."""
        self._taken_s = time.monotonic()
        super().pause_writing()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        now_s = time.monotonic()
        waits = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        most_s = FIRST_REQUEST_S if self.cycle is None else REQUEST_S
        if (waits and now_s > self._heard_s + most_s) or (self.flow.write_paused and now_s > self._taken_s + STALL_S):
            self.transport.abort()
            return
        self.loop.call_later(1.0, self._watch)


def rehearse() -> None:
    """Carry a byte over a link and load what answers are streamed by, so that the first session waits for neither."""
    anyio.run(anyio.sleep, 0)  # which imports the parts of anyio that Starlette streams with
    law = SharedLink(np.array([0.0, 1.0]), np.array([0.0, 8.0]), 0.0, 1.0, 0.0)
    flow = law.open(0.0, 1)
    law.settle(law.end_s(flow))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections keep few bytes in the kernel.

    Args:
        host: Address.
        port: Port; any free one where 0.

    Raises:
        OSError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small slices at once on sockets that name their protocol, and lets them wait on others
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES // 4)  # Linux doubles it
    try:
        listening.bind((host, port))
        listening.listen()  # so that who reads the address may connect at once
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(feed: FeedServer) -> uvicorn.Server:
    """A server that answers on the sockets that its `serve` is given, until `should_exit` is set."""
    config = uvicorn.Config(
        feed.app(),
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=int(REQUEST_S),
        timeout_graceful_shutdown=1,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=SEND_BUFFER_BYTES,
    )
    return uvicorn.Server(config)


def run_server(folder: Path, host: str = HOST, port: int = PORT) -> None:
    """Check a feed and serve it until the process is told to stop.

    Args:
        folder: Of the feed.
        host: Address to listen on.
        port: Port; any free one where 0.

    Raises:
        FileNotFoundError: See `check_feed`.
        ValueError: See `check_feed`.
        OSError: The address cannot be had.
    """
    server = make_server(FeedServer(folder, check_feed(folder)))
    rehearse()
    with contextlib.closing(listen(host, port)) as listening:
        print(address(listening), flush=True)
        server.run(sockets=[listening])
