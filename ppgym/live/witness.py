"""A second witness of the shaped link: the same transfers through a token bucket of the Linux kernel.

The server that paces in user space and a bucket (`tc tbf`) carry the same files at the rate of the same trace, and the
law of the link says of each transfer when it should have ended. The bucket lies between two network namespaces that
end with this command, so nothing else on the machine is touched. That needs root, and the tools `ip`, `tc` and
`unshare`.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ppgym.commandline import run_command
from ppgym.core.state import F8, MAX_TRANSFERS
from ppgym.live.downloads import Downloads
from ppgym.live.feed import ChunkFile
from ppgym.live.host import Host, end_with_parent
from ppgym.live.link import SharedLink
from ppgym.live.load import write_random_feed
from ppgym.live.replaying import Transfer, transfer_errors
from ppgym.live.server import LinkRequest, run_server
from ppgym.world.networks import NetworkTrace

TOOLS = "ip", "tc", "unshare"
SIZES_BYTES = 40_000, 160_000  # of chunks of 0.3 to 1.2 Mbit/s
STALL_S = 20.0
SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
SEGMENT_BYTES, PAYLOAD_BYTES = 1514, 1448  # of a full segment as the bucket counts it, and of what it carries
BURST_BYTES = 2 * SEGMENT_BYTES
QUEUE_BYTES = 1 << 17  # before the bucket: more than the server's send buffers hold, so that nothing is dropped
LEAST_BPS = 1000.0  # of the bucket, where the trace says less
FAST_BPS = 1e9  # of the server's own pacing, where the bucket paces


class Job(NamedTuple):
    """What is carried.

    Attributes:
        edges_s: Of the trace.
        rates_bps: Payload between the edges.
        rtt_s: From a request to its first byte.
        parallel: Transfers that are open at once.
        files: By path and size.
    """

    edges_s: list[float]
    rates_bps: list[float]
    rtt_s: float
    parallel: int
    files: list[dict[str, Any]]


class Witnesses(NamedTuple):
    """Seconds by which each transfer ended later than the law says, in the order of the requests.

    Attributes:
        paced_s: [N] of the server in user space.
        bucket_s: [N] of the kernel's token bucket.
    """

    paced_s: F8
    bucket_s: F8


def hear_witnesses(trace: NetworkTrace, transfers: int, parallel: int, efficiency: float, rtt_s: float) -> Witnesses:
    """Carry the same files twice, and hold each transfer against the law.

    Args:
        trace: Whose rate is followed from its beginning.
        transfers: How many files.
        parallel: Transfers that are open at once.
        efficiency: Share of the rate that carries payload.
        rtt_s: From a request to its first byte.

    Returns:
        How late the transfers were.

    Raises:
        OSError: Not root, a tool is missing, or no namespace can be made.
        ValueError: A number out of range.
    """
    if not 1 <= transfers <= 1000:
        raise ValueError(f"--transfers: expected 1 to 1000, got {transfers}")
    if not 1 <= parallel <= MAX_TRANSFERS:
        raise ValueError(f"--parallel: expected 1 to {MAX_TRANSFERS}, got {parallel}")
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        found = f"no {' and no '.join(missing)}" if missing else f"user {os.geteuid()}"
        raise OSError(f"a network namespace: expected root and the tools {', '.join(TOOLS)}, got {found}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes_bytes = np.random.default_rng(0).integers(*SIZES_BYTES, size=transfers).tolist()
        files = write_random_feed(folder, sizes_bytes)
        rates_bps = (efficiency * trace.rates_bps).tolist()
        job = Job(trace.edges_s.tolist(), rates_bps, rtt_s, parallel, [asdict(file) for file in files])
        law = partial(SharedLink, trace.edges_s, trace.cumulative_bits, 0.0, efficiency, rtt_s)
        with Host(folder) as host:
            paced = asyncio.run(_carry_paced(host.url, job))
        return Witnesses(transfer_errors(law, paced), transfer_errors(law, _carry_in_namespace(folder, job)))


def bucket_bps(payload_bps: float) -> float:
    """Rate of a bucket, which counts headers, that carries so much payload."""
    return max(payload_bps * SEGMENT_BYTES / PAYLOAD_BYTES, LEAST_BPS)


async def _carry_paced(url: str, job: Job) -> list[Transfer]:
    """Through the server's own pacing."""
    request = LinkRequest(
        edges_s=tuple(job.edges_s), rates_bps=tuple(job.rates_bps), offset_s=0.0, efficiency=1.0, rtt_s=job.rtt_s
    )
    async with Downloads(url, STALL_S) as downloads:
        zero_s, _ = await downloads.open_link(request.to_json())
        return await _carry(downloads, job, zero_s, 0.0)


async def _carry_through_bucket(url: str, job: Job, server: IO[str]) -> list[Transfer]:
    """Through the bucket, which the server's own pacing leaves all to do; the client waits for the round trip."""
    fast = LinkRequest(edges_s=(0.0, 1.0), rates_bps=(FAST_BPS,), offset_s=0.0, efficiency=1.0, rtt_s=0.0)
    async with Downloads(url, STALL_S) as downloads:
        await downloads.open_link(fast.to_json())
        _tell(server, "begin")
        return await _carry(downloads, job, time.monotonic(), job.rtt_s)


async def _carry(downloads: Downloads, job: Job, zero_s: float, wait_s: float) -> list[Transfer]:
    """Fetch all files, `parallel` at a time; each request waits first."""
    transfers: list[Transfer] = []
    files = [ChunkFile(**one) for one in job.files]
    waiting = iter(files)

    async def take() -> None:
        for file in waiting:
            found: Transfer = {"request_s": time.monotonic() - zero_s, "received_bytes": file.size_bytes}
            transfers.append(found)
            await asyncio.sleep(wait_s)
            await downloads.fetch(file, lambda _: None)
            found |= {"end_s": time.monotonic() - zero_s, "outcome": "arrived"}

    async with asyncio.TaskGroup() as group:
        for _ in range(job.parallel):
            group.create_task(take())
    return transfers


def _carry_in_namespace(folder: Path, job: Job) -> list[Transfer]:
    """Run the client in a namespace of its own, where this process cannot go."""
    child = _start("client", folder)
    answer, _ = child.communicate(json.dumps(job))
    if child.returncode:
        raise OSError(f"a network namespace: the client ended with status {child.returncode}; its words are above")
    found: list[Transfer] = json.loads(answer)
    return found


def _start(role: str, folder: Path) -> "subprocess.Popen[str]":
    command = ["unshare", "--net", sys.executable, "-m", "ppgym.live.witness", role, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(process_input: IO[str], line: str) -> None:
    process_input.write(f"{line}\n")
    process_input.flush()


def _run(command: str) -> None:
    status = subprocess.run(command.split()).returncode
    if status:
        raise OSError(f"{command}: ended with status {status}")


def client_main(folder: Path) -> None:
    """In a namespace: lay a wire to the server's namespace, carry the files, and print the transfers."""
    text = sys.stdin.read()
    job = Job(*json.loads(text))
    server = _start("server", folder)
    assert server.stdin is not None and server.stdout is not None
    try:
        server.stdout.readline()  # it is in its namespace
        _run(f"ip link add near type veth peer name far netns {server.pid}")
        _run(f"ip address add {CLIENT}/30 dev near")
        _run("ip link set near up")
        _tell(server.stdin, json.dumps([job.edges_s, job.rates_bps]))
        url = server.stdout.readline().strip()
        if not url:
            raise OSError("the server in the namespace did not start; its words are above")
        transfers = asyncio.run(_carry_through_bucket(url, job, server.stdin))
    finally:
        server.kill()
        server.wait()
    print(json.dumps(transfers))


def server_main(folder: Path) -> None:
    """In another namespace: a server behind a bucket, whose rate follows the trace from `begin` on."""
    print("ready", flush=True)
    edges_s, rates_bps = json.loads(sys.stdin.readline())

    def bucket(verb: str, rate_bps: float) -> None:
        shape = f"rate {bucket_bps(rate_bps):.0f}bit burst {BURST_BYTES} limit {QUEUE_BYTES}"
        _run(f"tc qdisc {verb} dev far root tbf {shape}")

    def follow() -> None:
        sys.stdin.readline()
        threading.Thread(target=end_with_parent, daemon=True).start()
        began_s = time.monotonic()
        while True:
            for edge_s, rate_bps in zip(edges_s, rates_bps, strict=False):
                time.sleep(max(began_s + edge_s - time.monotonic(), 0.0))
                bucket("change", rate_bps)
            began_s += edges_s[-1]

    _run(f"ip address add {SERVER}/30 dev far")
    _run("ip link set far up")
    bucket("add", rates_bps[0])
    threading.Thread(target=follow, daemon=True).start()
    run_server(folder, SERVER, 0)


if __name__ == "__main__":
    role = {"client": client_main, "server": server_main}[sys.argv[1]]
    run_command(lambda: role(Path(sys.argv[2])), extra="live")
