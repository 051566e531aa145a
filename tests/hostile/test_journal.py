"""Journals of interrupted runs: torn, flipped, held by others, and runs that are killed at random points."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents import REGISTRY
from ppgym.benchmark.records import Journal, read_records
from ppgym.benchmark.run import run_benchmark
from tests.hostile.length import TIMES

ROOT = Path(__file__).parents[2]
RESULT = {"actions": [1, 2, 3]}


def journal_of(folder: Path, count: int) -> Path:
    with Journal(folder, "plan") as journal:
        for place in range(count):
            journal.keep(place, RESULT | {"seed": place})
    return journal.path


def test_any_flipped_bit_costs_its_own_line_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = journal_of(tmp_path, 4)
    content = path.read_bytes()
    starts = [place + 1 for place, byte in enumerate(content) if byte == 10]
    for bit in random.Random(0).sample(range(8 * starts[0], 8 * len(content)), 60 * TIMES):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with Journal(tmp_path, "plan") as journal:
            found = dict(journal.finished)
        assert all(found[place] == RESULT | {"seed": place} for place in found), "a damaged result was taken"
        assert len(found) >= 4 - 1 - (content[bit // 8] == 10)  # without its line break a line spoils the next one
        if len(found) < 4 and damaged.endswith(b"\n"):
            assert "is damaged and set aside; its job is run again" in capsys.readouterr().err


def test_a_damaged_first_line_is_named(tmp_path: Path) -> None:
    path = journal_of(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"unfinished\.jsonl, line 1: expected the plan"):
        Journal(tmp_path, "plan")
    assert path.read_bytes() == content, "nothing is destroyed"


def test_a_journal_that_is_written_cannot_be_opened(tmp_path: Path) -> None:
    with Journal(tmp_path, "plan") as journal:
        journal.keep(0, RESULT)
        with pytest.raises(ValueError, match=f"process {os.getpid()} on .* writes a run here"):
            Journal(tmp_path, "plan")
        journal.keep(1, RESULT)
    with Journal(tmp_path, "plan") as again:
        assert list(again.finished) == [0, 1]


def test_a_journal_that_is_deleted_before_it_is_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = journal_of(tmp_path, 1), fcntl.flock

    def late(*arguments: Any) -> None:
        path.unlink()
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ValueError, match="another process has just ended a run here"):
        Journal(tmp_path, "plan")
    assert not path.exists()


RUN = """
import json, sys
from agents import REGISTRY
from ppgym.benchmark.run import run_benchmark
from ppgym.commandline import run_command

def main():
    run_benchmark(
        REGISTRY, ["random", "greedy"], ["medium/snapdragon-8-elite/skimmer"], sessions=SESSIONS,
        workers=WORKERS, output=sys.argv[1],
    )

if __name__ == "__main__":
    run_command(main, "bench")
"""
ARGUMENTS: dict[str, Any] = {"sessions": 24}


def start(folder: Path, workers: int = 1) -> subprocess.Popen[str]:
    script = folder.parent / "run.py"
    script.write_text(RUN.replace("SESSIONS", "24").replace("WORKERS", str(workers)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, script, folder], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def without_times(folder: Path) -> list[Any]:
    return [record | {"wall_time_s": 0.0, "decision_us": {}} for record in read_records(folder)]


def figures(folder: Path) -> list[Any]:
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return [{key: value for key, value in row.items() if not key.startswith("decision_ms")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_benchmark(REGISTRY, ["random", "greedy"], ["medium/snapdragon-8-elite/skimmer"], output=folder, **ARGUMENTS)
    return folder


def test_a_run_killed_at_random_points_loses_and_doubles_nothing(tmp_path: Path, whole: Path) -> None:
    folder, rng, kills = tmp_path / "run", random.Random(TIMES), 0
    while kills < 2 * TIMES:
        run = start(folder, workers=1 + kills % 2)
        journal, lines = folder / Journal.NAME, kept_lines(folder)
        until = lines + rng.randint(1, 12)
        while run.poll() is None and kept_lines(folder) < until:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        ended, lines = run.poll() is not None, kept_lines(folder)
        run.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        _, said = run.communicate(timeout=60)
        assert not ended or run.returncode == 0, said
        kills += not ended
        if (folder / "results.json").is_file() and not journal.is_file():
            assert without_times(folder) == without_times(whole)
            for path in folder.iterdir():
                path.unlink()
        else:
            assert kept_lines(folder) >= lines, "a kept result is lost"
    if not (folder / "results.json").is_file() or (folder / Journal.NAME).is_file():
        run = start(folder)
        _, said = run.communicate(timeout=120)
        assert run.returncode == 0, said
    assert without_times(folder) == without_times(whole)
    assert figures(folder) == figures(whole)
    left = {path.name for path in folder.iterdir()}
    assert {name for name in left if not name.startswith(".")} == {path.name for path in whole.iterdir()}


def kept_lines(folder: Path) -> int:
    try:
        return (folder / Journal.NAME).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def test_a_second_run_in_one_folder_is_refused_by_its_owner(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    first = start(folder)
    while kept_lines(folder) < 3:
        assert first.poll() is None
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)
    try:
        second = start(folder)
        _, said = second.communicate(timeout=60)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert said.count("\n") == 1 and f"process {first.pid} on" in said, said
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert without_times(folder) == without_times(whole)
    assert figures(folder) == figures(whole)
