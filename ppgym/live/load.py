"""How many sessions a feed server carries: each takes one long chunk over a link of its own, at the pace of its law.

Server and clients are processes of this machine, so that what is measured is an upper bound of the server's lateness.
"""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.live.downloads import Downloads, TransferError
from ppgym.live.feed import MANIFEST, MAX_CHUNK_BYTES, ChunkFile, FeedVideo, Manifest
from ppgym.live.host import Host
from ppgym.live.server import LinkRequest
from ppgym.world.ladders import PIXEL, Ladder, Representation

STALL_S = 10.0
JOIN_S = 2.0  # within which the sessions begin, one after the other


class Lateness(NamedTuple):
    """Of the slices that all sessions received.

    Attributes:
        sessions: At once.
        slices: Received.
        p50_s: Median seconds from when the law has carried a slice's first byte to when the client has the slice.
        p99_s: 99th percentile.
        p999_s: 99.9th percentile.
        failed: Sessions that did not get all their bytes.
    """

    sessions: int
    slices: int
    p50_s: float
    p99_s: float
    p999_s: float
    failed: int


def measure_load(sessions: int, seconds: float, rate_bps: float) -> Lateness:
    """Let sessions take bytes at once.

    Args:
        sessions: How many.
        seconds: For how long.
        rate_bps: Of each session's link.

    Returns:
        How late the bytes were.

    Raises:
        ValueError: A number out of range.
    """
    size_bytes = round(seconds * rate_bps / 8)
    if not 1 <= sessions <= 200 or not 1e3 <= rate_bps <= 1e9 or not 1 <= size_bytes <= MAX_CHUNK_BYTES:
        raise ValueError(
            f"expected 1 to 200 sessions, 1e3 to 1e9 bit/s and at most {MAX_CHUNK_BYTES} bytes each, got {sessions} "
            f"sessions of {seconds:g} s at {rate_bps:g} bit/s"
        )
    with tempfile.TemporaryDirectory() as name:
        (file,) = write_random_feed(Path(name), [size_bytes])
        with Host(Path(name)) as host:
            return asyncio.run(_take(host.url, file, sessions, rate_bps))


def write_random_feed(folder: Path, sizes_bytes: Sequence[int]) -> list[ChunkFile]:
    """Write a feed of one video whose chunks are random bytes: there is something to carry, and nothing to decode.

    Args:
        folder: Of the feed.
        sizes_bytes: Of the chunks.

    Returns:
        The chunks.
    """
    rng, files = np.random.default_rng(0), []
    for number, size_bytes in enumerate(sizes_bytes):
        data, path = rng.bytes(size_bytes), f"{number}.bin"
        (folder / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append(ChunkFile(path=path, size_bytes=size_bytes, sha256=digest, quality=1.0))
    one = Representation(name="random", codec="h264", kind=PIXEL, bitrate_bps=1.0, quality=1.0)
    video = FeedVideo(name="random", duration_s=float(len(files)), chunks=tuple((file,) for file in files))
    ladder = Ladder(name="random", representations=(one,))
    manifest = Manifest(name="random", provenance="random bytes", ladder=ladder, videos=(video,))
    manifest.write(folder / MANIFEST)
    return files


async def _take(url: str, file: ChunkFile, sessions: int, rate_bps: float) -> Lateness:
    request = LinkRequest(edges_s=(0.0, 1.0), rates_bps=(rate_bps,), offset_s=0.0, efficiency=1.0, rtt_s=0.0).to_json()
    late_s: list[float] = []

    async def one(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with Downloads(url, STALL_S) as downloads:
            await downloads.open_link(request)
            began_s, received = time.monotonic(), 0

            def on_bytes(count: int) -> None:
                nonlocal received
                late_s.append(time.monotonic() - began_s - (received + 1) * 8 / rate_bps)
                received += count

            await downloads.fetch(file, on_bytes)

    delays_s = np.linspace(0.0, JOIN_S, sessions)
    done = await asyncio.gather(*map(one, delays_s.tolist()), return_exceptions=True)
    failed = [each for each in done if isinstance(each, BaseException)]
    for error in failed:
        if not isinstance(error, TransferError | OSError | ValueError):
            raise error
    p50_s, p99_s, p999_s = np.percentile(late_s or [np.inf], (50, 99, 99.9)).tolist()
    return Lateness(sessions, len(late_s), p50_s, p99_s, p999_s, len(failed))
