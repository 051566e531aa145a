"""The client's side of the wire: manifest, shaped link, and chunks that are checked as they come."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Self

import aiohttp

from ppgym.core.state import MAX_TRANSFERS
from ppgym.files import parse_json
from ppgym.live.feed import MANIFEST, MAX_MANIFEST_BYTES, ChunkFile, Manifest, check_chunk, read_manifest

CONNECT_S = 3.0
STALL_S = 5.0  # beyond the link's longest outage, after which a silent socket counts as dead
ANSWER_S = 10.0  # for manifest and link
MAX_ANSWER_BYTES = 1 << 12


class TransferError(Exception):
    """A chunk has not come as the manifest says; the message says why."""


class LinkLostError(TransferError):
    """The server does not know the link: it was restarted.

    Attributes:
        link: Its id.
    """

    def __init__(self, message: str, link: str) -> None:
        """Say which one."""
        super().__init__(message)
        self.link = link


class Downloads:
    """A keep-alive HTTP/1.1 client of one feed server; use it in an `async with`.

    Attributes:
        url: Of the server.
        link: Id of the shaped link; None before `open_link`.
    """

    def __init__(self, url: str, stall_s: float = STALL_S) -> None:
        """Nothing is sent yet.

        Args:
            url: Of the server.
            stall_s: For which a socket may be silent.
        """
        self.url, self.link = url.rstrip("/"), ""
        self._stall_s = stall_s
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2 * MAX_TRANSFERS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._stall_s),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close every socket."""
        await self._http.close()

    async def manifest(self) -> Manifest:
        """The server's manifest.

        Raises:
            OSError: No answer.
            ValueError: No such manifest.
        """
        text = await self._ask("GET", MANIFEST, MAX_MANIFEST_BYTES)
        return read_manifest(text, f"{self.url}/{MANIFEST}")

    async def open_link(self, request: dict[str, Any]) -> tuple[float, float]:
        """Ask for a shaped link, and begin its trace.

        Args:
            request: JSON of `server.LinkRequest`.

        Returns:
            When its trace began, on this process's monotonic clock: midway between question and answer; and half the
            time between them, by which that may be wrong.

        Raises:
            OSError: No answer.
            ValueError: The server refuses.
        """
        answer = await self._ask("POST", "links", MAX_ANSWER_BYTES, json.dumps(request))
        try:
            self.link = str(parse_json(answer, "link")["id"])
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{self.url}/links: expected an id, got {answer[:100]!r}") from None
        asked_s = time.monotonic()
        await self._ask("POST", f"links/{self.link}", MAX_ANSWER_BYTES)
        answered_s = time.monotonic()
        return (asked_s + answered_s) / 2, (answered_s - asked_s) / 2

    async def close_link(self) -> None:
        """Give the link back; a server that is gone has none."""
        link, self.link = self.link, ""
        try:
            await self._ask("DELETE", f"links/{link}", MAX_ANSWER_BYTES)
        except (OSError, ValueError):
            pass

    async def fetch(self, file: ChunkFile, on_bytes: Callable[[int], None]) -> bytes:
        """Fetch a chunk over the link; cancelling the task closes its connection.

        Args:
            file: Of the manifest.
            on_bytes: Called with the size of each piece of payload as it comes.

        Returns:
            Bytes of the size and hash that the manifest says.

        Raises:
            TransferError: Another status, other bytes, or a connection that fails or falls silent.
        """
        link, headers = self.link, {"Range": f"bytes=0-{file.size_bytes - 1}"}
        data = bytearray()
        try:
            asked = self._http.get(
                f"{self.url}/{file.path}", params={"link": link}, headers=headers, allow_redirects=False
            )
            async with asked as answer:
                if answer.status == 410:
                    raise LinkLostError(f"{file.path}: the server has lost the link {link}", link)
                if answer.status != 206:
                    raise TransferError(f"{file.path}: expected status 206, got {answer.status}")
                async for piece in answer.content.iter_any():
                    taken = piece[: file.size_bytes - len(data)]
                    data += taken
                    on_bytes(len(taken))
                    if len(taken) < len(piece):
                        raise TransferError(f"{file.path}: expected {file.size_bytes} bytes, got more")
            check_chunk(bytes(data), file, file.path)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TransferError(f"{file.path}: {type(error).__name__}: {error}") from error
        except ValueError as error:
            raise TransferError(str(error)) from error
        return bytes(data)

    async def _ask(self, method: str, path: str, most_bytes: int, body: str | None = None) -> str:
        where = f"{self.url}/{path}"
        try:
            asked = self._http.request(method, where, data=body, allow_redirects=False)
            async with asyncio.timeout(ANSWER_S), asked as answer:
                data = bytearray()
                async for piece in answer.content.iter_any():
                    data += piece
                    if len(data) > most_bytes:
                        raise ValueError(f"{where}: expected at most {most_bytes} bytes")
                if answer.status >= 300:
                    raise ValueError(f"{where}: status {answer.status}: {data[:200].decode(errors='replace')}")
                return data.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"{where}: no answer: {type(error).__name__}: {error}") from error
