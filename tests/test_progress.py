"""Progress of long steps: a line a minute where there is no terminal, a bar where there is one."""

import io
from typing import Any

import pytest
from rich.console import Console

from ppgym import progress
from ppgym.progress import Progress, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    return now_s


def test_a_line_a_minute_without_a_terminal(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    for item in track(range(9), "Working"):
        seen.append(item)
        clock[0] += 25.0
    assert seen == list(range(9))
    assert capsys.readouterr().err.splitlines() == [
        "Working: 3 of 9, 0:01:15 elapsed, about 0:02:30 left",
        "Working: 6 of 9, 0:02:30 elapsed, about 0:01:15 left",
        "Working: 9 of 9, 0:03:45 elapsed, about 0:00:00 left",
    ]


def test_a_note_is_shown_besides(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Training", 2000) as shown:
        clock[0] += 60.0
        shown.advance(1000, note="return 3.5")
    assert capsys.readouterr().err == "Training: 1,000 of 2,000, 0:01:00 elapsed, about 0:01:00 left, return 3.5\n"


def test_a_bar_and_no_lines_on_a_terminal(clock: list[float]) -> None:
    terminal: Any = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    with Progress("Working", 2, console) as shown:
        clock[0] += 600.0
        shown.advance()
    out = terminal.getvalue()
    assert "1/2" in out
    assert "about" not in out
