"""Rows, standings and entries of the board: figures by hand; whatever does not follow from the records is refused."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents import REGISTRY, is_ranked
from ppgym.benchmark.episodes import SUITES, Suite, session_seed
from ppgym.benchmark.leaderboard import make_board, read_entry
from ppgym.benchmark.ranks import ask_ranked
from ppgym.benchmark.records import Journal, read_records, write_records
from ppgym.benchmark.replay import replay
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Board, summarize
from ppgym.benchmark.tables import print_board, to_csv, to_markdown
from tests.benchmark.forgers import AGENTS, SCENARIOS, SESSIONS, evil, of_records, renamed

ROOT = Path(__file__).parents[2]


def test_what_only_a_replay_tells_by_hand(results: tuple[Path, Board]) -> None:
    folder, board = results
    records = list(read_records(folder))
    for row in board.rows:
        own = [r for r in records if (r["scenario"], r["agent"]) == (row.scenario, row.agent)]
        totals = {key: column.sum() for key, column in replay(own).totals.items()}
        assert sum(row.terms.values()) == pytest.approx(row.qoe)
        minutes = totals["drawn_watch_s"] / 60.0
        for term, prices in (
            ("quality", {"quality": 1.0}),
            ("rebuffer", {"rebuffer_s": -1.85, "videos_abandoned": -18.5}),
        ):
            expected = sum(price * totals[key] for key, price in prices.items())
            assert row.terms[term] == pytest.approx(expected / minutes)
        assert sum(row.utilisation.values()) == pytest.approx(totals["decode_busy_s"] / totals["time_s"])
        assert (row.generative_share > 0.0) == ("elite" in row.scenario and row.agent != "on_demand")
    assert max(row.generative_share for row in board.rows) < 1.0


def test_differences_and_improvement_are_of_pairs(results: tuple[Path, Board]) -> None:
    folder, board = results
    returns: dict[tuple[str, str], list[float]] = {}
    minutes: dict[str, float] = {}
    for record in read_records(folder):
        totals = record["totals"]
        returns.setdefault((record["scenario"], record["agent"]), []).append(totals["return"])
        if record["agent"] == "random":
            minutes[record["scenario"]] = minutes.get(record["scenario"], 0.0) + totals["drawn_watch_s"] / 60.0
    for row in board.rows:
        pairs = list(zip(returns[row.scenario, row.agent], returns[row.scenario, "on_demand"], strict=True))
        assert row.baseline == "on_demand"
        assert row.difference == pytest.approx(sum(new - old for new, old in pairs) / minutes[row.scenario])
        assert row.improvement == pytest.approx(np.mean([(new > old) + 0.5 * (new == old) for new, old in pairs]))
    for one in board.overall:
        qoe = [sum(returns[scenario, one.agent]) / minutes[scenario] for scenario in SCENARIOS]
        of_baseline = [sum(returns[scenario, "on_demand"]) / minutes[scenario] for scenario in SCENARIOS]
        assert one.scenarios == 2
        assert one.qoe == pytest.approx(np.mean(qoe))
        assert one.difference == pytest.approx(one.qoe - np.mean(of_baseline))
    assert {one.agent: one.improvement for one in board.overall}["on_demand"] == 0.5


def test_sessions_of_different_scenarios_are_drawn_apart() -> None:
    """Errors of scenarios add up squared, in a mean as in a mean difference."""
    board = run_benchmark(REGISTRY, ["random", "on_demand"], SCENARIOS, sessions=16)
    for agent in ("random", "on_demand"):
        rows = [row for row in board.rows if row.agent == agent]
        [one] = [one for one in board.overall if one.agent == agent]
        for ci95, of_rows in (
            (one.qoe_ci95, [row.qoe_ci95 for row in rows]),
            (one.difference_ci95, [row.difference_ci95 for row in rows]),
        ):
            assert ci95 is not None
            errors = [(high - low) / 2.0 / 2.1314 for low, high in filter(None, of_rows)]  # t(15)
            assert (ci95[1] - ci95[0]) / 2.0 == pytest.approx(1.96 * np.hypot(*errors) / 2.0, rel=1e-4)


def test_another_baseline_and_none(results: tuple[Path, Board]) -> None:
    records = list(read_records(results[0]))
    board = summarize(records, baseline="greedy")
    assert {row.difference for row in board.rows if row.agent == "greedy"} == {0.0}
    assert all(row.difference is None for row in summarize(records, baseline="mcts").rows)


def test_agents_that_met_other_sessions_are_not_compared(results: tuple[Path, Board]) -> None:
    records = list(read_records(results[0]))
    with pytest.raises(ValueError, match="expected on_demand to have the seeds of random"):
        summarize(records[1:])
    with pytest.raises(ValueError, match="expected each seed once"):
        summarize([*records, records[0]])


def test_it_is_shown_in_80_columns_in_markdown_and_in_csv(results: tuple[Path, Board]) -> None:
    _, board = results
    console = Console(width=80, file=io.StringIO())
    print_board(board, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "All 2 scenarios" in text and "better in" in text
    markdown = to_markdown(board)
    for row in board.rows:
        assert f"| {row.agent} | {row.qoe:.1f} |" in markdown
    widths = {
        block: {line.count("|") for line in block.splitlines()} for block in markdown.split("\n\n") if "|" in block
    }
    assert all(len(counts) == 1 for counts in widths.values())
    rows = list(csv.DictReader(io.StringIO(to_csv(board.rows))))
    assert [float(row["qoe"]) for row in rows] == [row.qoe for row in board.rows]
    assert float(rows[0]["utilisation_cpu"]) == board.rows[0].utilisation["cpu"]


@pytest.fixture
def small_suite(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SUITES, "small", Suite(SCENARIOS, SESSIONS))
    return "small"


def submit(run: Path, root: Path, suite: str, **options: Any) -> list[str]:
    """Make the board with the agents of a run.

    Returns:
        What it says.
    """
    said: list[str] = []
    make_board(root, suite, REGISTRY, submit=run, say=said.append, workers=1, **options)
    return said


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_submitted_and_makes_the_board(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    leftover = tmp_path / small_suite / "~greedy"
    leftover.mkdir(parents=True)
    (leftover / "notes").write_text("of an interrupted submission")
    said = submit(results[0], tmp_path, small_suite)
    folder = tmp_path / small_suite
    assert said == [f"{folder / name}: say in its README.md what it is" for name in AGENTS]
    assert {record["agent"] for record in read_records(folder / "greedy")} == {"agents.rules.greedy:Greedy"}
    assert {path.name for path in (folder / "greedy").iterdir()} == {"README.md", "records.jsonl.gz"}
    board = make_board(tmp_path, small_suite, REGISTRY, workers=1)
    assert {(row.scenario, row.agent): (row.qoe, row.difference) for row in board.rows} == {
        (row.scenario, row.agent): (row.qoe, row.difference) for row in results[1].rows
    }
    page = (folder / "README.md").read_text()
    assert "3 self-reported entries, the same 3 sessions" in page
    assert json.loads((folder / "results.json").read_text())["overall"]
    shutil.copytree(folder / "greedy", folder / "greedy-2")  # one agent may enter twice, by other folders
    board = make_board(tmp_path, small_suite, REGISTRY, workers=1)
    assert {row.agent for row in board.rows} == {*AGENTS, "greedy-2"}


def test_a_submission_never_touches_an_entry(
    results: tuple[Path, Board], copied: Path, tmp_path: Path, small_suite: str
) -> None:
    root = tmp_path / "root"
    submit(results[0], root, small_suite)
    before = content_of(root)
    with pytest.raises(ValueError, match="expected an agent that is not on the board yet"):
        submit(results[0], root, small_suite)
    for name in ("x:greedy", "x:Greedy"):  # some file systems do not tell these apart
        renamed("greedy", name)(copied)
        with pytest.raises(ValueError, match=f"an entry has the name {name[2:]}"):
            submit(copied, root, small_suite)
        shutil.copytree(results[0], copied, dirs_exist_ok=True)
    assert content_of(root) == before


def test_of_a_submission_with_our_own_agents_the_new_one_is_taken(
    results: tuple[Path, Board], copied: Path, tmp_path: Path, small_suite: str
) -> None:
    root = tmp_path / "root"
    submit(results[0], root, small_suite)
    before = content_of(root / small_suite / "on_demand")
    of_records(lambda r: [one.update(agent="my.own:Policy") for one in r if one["agent"] == "greedy"])(copied)
    said = submit(copied, root, small_suite)
    assert said[:2] == [
        f"{name} is on the board already, as the board's own; the submission's is left out"
        for name in ("random", "on_demand")
    ]
    assert (root / small_suite / "Policy" / "README.md").is_file()
    assert content_of(root / small_suite / "on_demand") == before


@pytest.mark.parametrize("name", ["results.json", "README.md", "Policy.v2", "..", ""])
def test_a_name_that_could_be_a_file_of_the_board_is_refused(
    copied: Path, tmp_path: Path, small_suite: str, name: str
) -> None:
    renamed("greedy", f"x:{name}")(copied)
    with pytest.raises(ValueError, match="expected a name of letters, digits"):
        submit(copied, tmp_path / "root", small_suite)
    assert not (tmp_path / "root").exists()


def test_a_board_that_cannot_be_made_takes_no_entry(
    results: tuple[Path, Board], copied: Path, tmp_path: Path, small_suite: str
) -> None:
    root = tmp_path / "root"
    submit(results[0], root, small_suite)
    (root / small_suite / "random" / "README.md").unlink()
    before = content_of(root)
    renamed("greedy", "my.own:Policy")(copied)
    with pytest.raises(FileNotFoundError, match=r"README\.md: expected a page"):
        submit(copied, root, small_suite)
    assert content_of(root) == before


def test_the_baseline_of_a_board_is_an_entry(
    results: tuple[Path, Board], copied: Path, tmp_path: Path, small_suite: str
) -> None:
    paths = {name: REGISTRY.import_path(name) for name in AGENTS}
    of_records(lambda r: [one.update(agent=paths[one["agent"]]) for one in r])(copied)
    submit(copied, tmp_path / "root", small_suite)
    board = make_board(tmp_path / "root", small_suite, REGISTRY, workers=1)
    assert {row.agent for row in board.rows} == {"RandomLegal", "OnDemand", "Greedy"}
    expected = {row.scenario: (row.difference, row.share) for row in results[1].rows if row.agent == "greedy"}
    for row in board.rows:
        assert row.baseline == "OnDemand"
        if row.agent == "Greedy":
            assert (row.difference, row.share) == expected[row.scenario]
    for baseline in ("greedy", "Greedy"):
        board = make_board(tmp_path / "root", small_suite, REGISTRY, baseline=baseline, workers=1)
        assert {row.baseline for row in board.rows} == {"Greedy"}
    with pytest.raises(ValueError, match="no entry 'OnDemnd'; did you mean 'OnDemand'"):
        make_board(tmp_path / "root", small_suite, REGISTRY, baseline="OnDemnd", workers=1)


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (of_records(lambda r: r.pop()), "1 sessions are missing"),
        (of_records(lambda r: r[-1]["totals"].update({"return": 1e3})), "return 1000.0, replayed"),
        (of_records(lambda r: r[-1]["params"].update(defer_s=9.0)), "expected the parameters of its other sessions"),
        (of_records(lambda r: r[-1].update(overrides={"rtt_s": 0.0})), "without overrides"),
        (of_records(lambda r: r[-1].update(split="train")), "expected the test split"),
        (
            of_records(lambda r: [one.update(agent="clairvoyant") for one in r if one["agent"] == "greedy"]),
            "sees the future",
        ),
        (
            of_records(
                lambda r: [
                    one.update(agent="agents.clairvoyant.agent:Clairvoyant") for one in r if one["agent"] == "greedy"
                ]
            ),
            "sees the future",
        ),
    ],
)
def test_a_refused_submission_writes_nothing(
    copied: Path, tmp_path: Path, small_suite: str, forge: Any, message: str
) -> None:
    forge(copied)
    board = tmp_path / "board"
    board.mkdir()
    with pytest.raises(ValueError, match=message):
        submit(copied, board, small_suite)
    assert content_of(board) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda records: records[1:], "1 sessions are missing"),
        (lambda records: [*records, records[0]], "expected each session of the suite once"),
        (lambda records: [records[0] | {"agent": "other:One"}, *records[1:]], "expected one agent"),
        (lambda records: [one | {"agent": "greedy"} for one in records], "expected its full import path"),
    ],
)
def test_an_entry_that_is_not_the_whole_suite_is_refused(
    results: tuple[Path, Board], tmp_path: Path, small_suite: str, change: Any, message: str
) -> None:
    submit(results[0], tmp_path, small_suite)
    folder = tmp_path / small_suite / "random"
    write_records(folder, change(list(read_records(folder))), packed=True)
    with pytest.raises(ValueError, match=message):
        read_entry(folder, small_suite)


def test_code_in_the_folder_of_a_board_is_not_imported(
    copied: Path, tmp_path: Path, small_suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders without __init__.py are importable all the same, where they lie below the current one."""
    monkeypatch.syspath_prepend(tmp_path)
    root, agent = tmp_path / "a_site" / "boards", "a_site.boards.small.Mine.evil_agent:Agent"
    evil(root / small_suite / "Mine", tmp_path / "imported")
    (root / small_suite / "Mine" / "README.md").write_text("Mine.")
    renamed("greedy", agent)(copied)
    write_records(root / small_suite / "Mine", list(read_records(copied)), packed=True)
    make_board(root, small_suite, REGISTRY, workers=1)
    assert not (tmp_path / "imported").exists()
    assert ask_ranked([agent], is_ranked, tmp_path / "elsewhere") == {agent: False}, "from elsewhere it can be"
    assert (tmp_path / "imported").exists()
    assert ask_ranked(["clairvoyant", "greedy", "os:_exit", "..:x", ":x"], is_ranked, tmp_path) == {
        "clairvoyant": False,
        "greedy": True,
        "os:_exit": True,
        "..:x": True,
        ":x": True,
    }


SLOW_RUN = """
import sys
from agents import REGISTRY, is_ranked
from ppgym.benchmark.run import run_benchmark, write_board
run_benchmark(REGISTRY, ["random", "greedy"], ["medium/snapdragon-8-elite/skimmer"], sessions=40, output=sys.argv[1])
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"sessions": 40}
    whole = run_benchmark(REGISTRY, ["random", "greedy"], SCENARIOS[:1], output=tmp_path / "whole", **arguments)
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tmp_path / "cut")], cwd=ROOT, env=os.environ)
    journal = tmp_path / "cut" / Journal.NAME
    while process.poll() is None and (not journal.is_file() or journal.read_bytes().count(b"\n") < 7):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.is_file(), "the run ended before it could be killed"
    lines = journal.read_bytes().splitlines(keepends=True)[2:]
    kept = [json.loads(line.partition(b" ")[2]) for line in lines if line.endswith(b"\n")]
    assert 5 <= len(kept) < 80
    with pytest.raises(ValueError, match="of an interrupted run with other arguments"):
        run_benchmark(REGISTRY, ["random"], SCENARIOS[:1], output=tmp_path / "cut", **arguments)
    board = run_benchmark(REGISTRY, ["random", "greedy"], SCENARIOS[:1], output=tmp_path / "cut", **arguments)
    assert [row.qoe for row in board.rows] == [row.qoe for row in whole.rows]
    records = list(read_records(tmp_path / "cut"))
    seeds = [session_seed(SCENARIOS[0], number) for number in range(40)]
    assert [(r["agent"], r["seed"]) for r in records] == [(a, s) for a in ("random", "greedy") for s in seeds]
    for entry in kept:  # not played again: even their times are the first run's
        assert records[entry["place"]] == entry["record"]
    assert not journal.exists()
