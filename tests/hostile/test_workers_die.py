"""Workers and runs that are killed: nothing hangs, nothing is lost, nothing is doubled."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppgym.benchmark.episodes import Job
from ppgym.benchmark.workers import MAX_DEATHS, run_jobs

ROOT = Path(__file__).parents[2]


def die_once(folder: Path, how: int, job: int) -> int:
    """Kill the own process at every fifth job, the first time."""
    mark = folder / str(job)
    if job % 5 == 2 and not mark.exists():
        mark.touch()
        if how:
            os.kill(os.getpid(), how)
            time.sleep(60)
        os._exit(3)
    return job


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (signal.SIGKILL, "was killed by signal 9"),
        (signal.SIGSEGV, "was killed by signal 11"),
        (0, "ended with status 3"),
    ],
)
def test_a_killed_worker_is_said_and_its_job_is_done_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], how: int, says: str
) -> None:
    jobs = list(range(12))
    reported: list[int] = []
    results = run_jobs(
        functools.partial(die_once, tmp_path, how), jobs, workers=2, done=lambda place, _: reported.append(place)
    )
    assert results == jobs
    assert sorted(reported) == jobs, "lost or doubled"
    said = [line for line in capfd.readouterr().err.splitlines() if "worker process" in line]
    assert len(said) == 2
    assert all(says in line and "a new one does its job again" in line for line in said)


def always_die(job: Job) -> int:
    if job.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number


def test_a_job_that_kills_every_worker_is_named_and_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    jobs = [Job("low/pixels-only/typical", {}, "test", "greedy", {}, number) for number in range(6)]
    done: list[int] = []
    with pytest.raises(ChildProcessError, match=r"low/pixels-only/typical, greedy, session 2"):
        run_jobs(always_die, jobs, workers=2, done=lambda place, _: done.append(place))
    assert 2 not in done
    assert capfd.readouterr().err.count("a new one does its job again") == MAX_DEATHS - 1


def test_workers_end_where_a_result_cannot_be_kept() -> None:
    def full(place: int, result: str) -> None:
        raise OSError("no space left on device")

    before = set(multiprocessing.active_children())
    with pytest.raises(OSError, match="no space"):
        run_jobs(ascii, [1, 2, 3, 4], workers=2, done=full)
    assert not set(multiprocessing.active_children()) - before


IDLE = """
import os, signal, sys, time
from pathlib import Path
from ppgym.benchmark.workers import run_jobs

def work(job):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    run_jobs(work, [1, 2, 3], workers=2)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_do_not_outlive_their_run(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "idle.py"
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
    script.write_text(heeds + IDLE)
    folder = tmp_path / "pids"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, script, folder], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    pids = wait_for(lambda: [int(path.name) for path in folder.iterdir()], 2)
    if how == signal.SIGINT:
        os.killpg(run.pid, how)  # as a terminal does, to the workers too
    else:
        run.send_signal(how)
    run.communicate(timeout=60)
    assert run.returncode != 0
    deadline_s = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]


def wait_for(find, count: int) -> list[int]:
    deadline_s = time.monotonic() + 60
    while len(found := find()) < count:
        assert time.monotonic() < deadline_s, "the workers did not start"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
