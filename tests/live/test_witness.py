"""The kernel's token bucket as a second witness of the link."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ppgym.live import witness
from ppgym.live.witness import BURST_BYTES, SIZES_BYTES, TOOLS, Job, bucket_bps, hear_witnesses
from ppgym.world.networks import NetworkTrace

RTT_S = 0.03


@functools.cache
def cannot() -> str:
    """Why no namespace can be made here; empty where one can."""
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in TOOLS):
        return f"needs root and {', '.join(TOOLS)}"
    lay = "ip link add near type veth peer name far && tc qdisc add dev far root tbf rate 1mbit burst 3000 limit 9000"
    done = subprocess.run(["unshare", "--net", "sh", "-c", lay], capture_output=True)
    return "" if done.returncode == 0 else "the kernel has no namespaces, veth or tbf"


def test_both_carry_the_files_no_sooner_than_the_law() -> None:
    if cannot():
        pytest.skip(cannot())
    trace = NetworkTrace("steady", np.array([0.0, 10.0]), np.array([8e6]))
    interfaces = os.listdir("/sys/class/net")
    heard = hear_witnesses(trace, 8, 1, efficiency=0.9, rtt_s=RTT_S)
    assert len(heard.paced_s) == len(heard.bucket_s) == 8
    assert heard.paced_s.min() > -1e-3
    burst_s = BURST_BYTES * 8 / bucket_bps(0.9 * 8e6)  # by which a bucket that was idle may run ahead
    assert heard.bucket_s.min() > -burst_s - 1e-3
    assert os.listdir("/sys/class/net") == interfaces


def test_the_bucket_follows_the_trace() -> None:
    if cannot():
        pytest.skip(cannot())
    trace = NetworkTrace("rising", np.array([0.0, 0.5, 20.0]), np.array([1e6, 16e6]))
    heard = hear_witnesses(trace, 8, 1, efficiency=0.9, rtt_s=RTT_S)
    stuck_s = SIZES_BYTES[0] * 8 / bucket_bps(0.9 * 1e6)  # what the smallest of the files takes at the first rate
    assert np.median(heard.bucket_s) < stuck_s / 2


def test_a_bucket_counts_headers() -> None:
    assert bucket_bps(1448e3) == pytest.approx(1514e3)  # full segments of 1,448 bytes of payload in 1,514
    assert bucket_bps(0.0) == 1000.0  # which no bucket can be without


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = NetworkTrace("one", np.array([0.0, 1.0]), np.array([1e6]))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OSError, match="expected root and the tools ip, tc, unshare, got"):
        hear_witnesses(trace, 1, 1, 0.9, RTT_S)


@pytest.mark.parametrize(("transfers", "parallel"), [(0, 1), (1001, 1), (1, 0), (1, 99)])
def test_how_many_is_bounded(transfers: int, parallel: int) -> None:
    trace = NetworkTrace("one", np.array([0.0, 1.0]), np.array([1e6]))
    with pytest.raises(ValueError, match="expected 1 to"):
        hear_witnesses(trace, transfers, parallel, 0.9, RTT_S)


def test_a_client_that_fails_is_an_error_and_not_silence(tmp_path: Path) -> None:
    if cannot():
        pytest.skip(cannot())
    job = Job([0.0, 1.0], [1e6], RTT_S, 1, [{"path": "no"}])
    with pytest.raises(OSError, match="the client ended with status 2"):
        witness._carry_in_namespace(tmp_path, job)
