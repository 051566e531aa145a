"""Names of others in tables: nothing in them acts on a terminal, a page or a spreadsheet."""

import csv
import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agents import REGISTRY
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Board
from ppgym.benchmark.tables import print_board, to_csv, to_markdown
from ppgym.commandline import printable, run_command

ROOT = Path(__file__).parents[2]
NAMES = [
    "a\nb",
    "a | b",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "`code`",
    "*x*",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "a[/]b",
    "[bold]a",
    "[link=http://x]a[/link]",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "a\u202eb",
]


@pytest.fixture(scope="module")
def board() -> Board:
    scenarios = ["low/pixels-only/skimmer", "medium/pixels-only/skimmer"]
    return run_benchmark(REGISTRY, ["random", "on_demand"], scenarios, sessions=2)


def named(board: Board, name: str) -> Board:
    def of(one):  # type: ignore[no-untyped-def]
        change = {"agent": name if one.agent == "random" else one.agent, "baseline": name}
        if hasattr(one, "scenario"):
            change["scenario"] = name
        return dataclasses.replace(one, **change) if dataclasses.is_dataclass(one) else one._replace(**change)

    return Board([of(row) for row in board.rows], [of(one) for one in board.overall])


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_shown_and_do_nothing_else(board: Board, name: str) -> None:
    hostile = named(board, name)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    print_board(hostile, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(one.isprintable() or one == "\n" for one in shown)
    visible = printable(name).replace("\n", " ").strip()
    assert visible in shown, "markup was taken out of the name"

    page = to_markdown(hostile)
    assert "<" not in page and all(one.isprintable() or one == "\n" for one in page)
    assert not re.search(r"(?<!\\)\[", page) and not re.search(r"(?<!\\)`", page)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) <= 2, "a name makes columns of its own"

    for row in list(csv.reader(io.StringIO(to_csv(hostile.rows))))[1:]:
        assert not [cell for cell in row if cell.startswith(("=", "+", "@", "\t")) or re.match(r"-(?![\d.])", cell)]
        assert not re.match(r"-2$", row[1])


def test_an_error_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("a\x1b[31m\x07\u202eb")

    with pytest.raises(SystemExit) as ended:
        run_command(fail, "bench")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: a\\x1b[31m\\x07\\u202eb\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_a_terminal_of_another_encoding_ends_nothing(encoding: str) -> None:
    code = "from ppgym.commandline import run_command; run_command(lambda: print('1 \\u00b1 2 \\u2192 3'), 'bench')"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, env={"PYTHONIOENCODING": encoding, "PATH": ""}
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(b"1 ") and run.stdout.endswith(b" 3\n")
