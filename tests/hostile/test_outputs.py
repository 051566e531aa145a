"""Outputs that cannot be written: one line that names the file, and the run goes on when there is room."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from agents import REGISTRY
from ppgym.benchmark.records import Journal, read_records
from ppgym.benchmark.run import run_benchmark
from ppgym.files import replacing, write_text
from tests.hostile.length import TIMES

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "run": (
        "run",
        "--agents",
        "on_demand",
        "--scenarios",
        "low/pixels-only/skimmer",
        "--sessions",
        "3",
        "--workers",
        "1",
    ),
    "breakeven": ("breakeven", "--sessions", "1"),
    "study": ("study", "--sessions", "1"),
    "claims": ("claims", "--sessions", "1", "--validation-sessions", "1"),
}


def evaluate(*arguments: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "evaluate.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit, timeout=300)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_a_folder_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    wrong = [tmp_path / "file" / "below", tmp_path / "file", tmp_path / ("a" * 300)]
    for output in wrong if command == "run" or TIMES > 1 else wrong[:1]:
        run = evaluate(*COMMANDS[command], "--output", str(output))
        assert run.returncode == 2, run.stderr
        assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
        assert str(output) in run.stderr


def test_a_run_goes_on_that_a_full_disk_has_ended(tmp_path: Path) -> None:
    output = tmp_path / "run"
    run = evaluate(*COMMANDS["run"], "--output", str(output), limit_bytes=2_000)  # of a file: EFBIG
    assert run.returncode == 2
    (line,) = (line for line in run.stderr.splitlines() if line.startswith("error: "))
    assert str(output) in line and "cannot be written" in line
    assert "Traceback" not in run.stderr
    run = evaluate(*COMMANDS["run"], "--output", str(output))
    assert run.returncode == 0, run.stderr
    assert len(list(read_records(output))) == 3
    assert not (output / Journal.NAME).exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EFBIG, errno.EIO])
def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="cannot be written") as raised:
            write_text(path, "after")
    assert raised.value.errno == code and raised.value.filename == str(path)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_error_of_what_is_written_is_not_renamed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / "file"):
        raise KeyError("mine")
    assert not list(tmp_path.iterdir())


def test_a_clock_that_jumps_back_changes_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    def play(folder: Path) -> list[object]:
        run_benchmark(REGISTRY, ["on_demand"], ["low/pixels-only/skimmer"], sessions=2, output=folder)
        return [(one["actions"], one["totals"]) for one in read_records(folder)]

    expected = play(tmp_path / "a")
    now_s = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: next(now_s))
    assert play(tmp_path / "b") == expected
