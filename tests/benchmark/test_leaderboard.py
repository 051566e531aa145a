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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents import REGISTRY, is_ranked
from ppgym.benchmark.episodes import SUITES, Suite, session_seed
from ppgym.benchmark.leaderboard import add_entries, make_board, read_entry
from ppgym.benchmark.records import Journal, read_records, write_records
from ppgym.benchmark.replay import replay
from ppgym.benchmark.run import check_run, run_benchmark, validate
from ppgym.benchmark.summary import Board, summarize
from ppgym.benchmark.tables import print_board, to_csv, to_markdown

ROOT = Path(__file__).parents[2]
SCENARIOS = ("medium/snapdragon-8-elite/skimmer", "high/pixels-only/skimmer")
AGENTS = ("random", "on_demand", "greedy")
SESSIONS = 3


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Board]:
    folder = tmp_path_factory.mktemp("board")
    board = run_benchmark(REGISTRY, AGENTS, SCENARIOS, sessions=SESSIONS, output=folder, bounded=True)
    return folder, board


@pytest.fixture
def copied(results: tuple[Path, Board], tmp_path: Path) -> Path:
    return Path(shutil.copytree(results[0], tmp_path / "copy"))


def test_what_only_a_replay_tells_by_hand(results: tuple[Path, Board]) -> None:
    folder, board = results
    records = list(read_records(folder))
    for row in board.rows:
        own = [r for r in records if (r["scenario"], r["agent"]) == (row.scenario, row.agent)]
        totals = [one.totals for one in replay(own)]
        assert sum(row.terms.values()) == pytest.approx(row.qoe)
        minutes = sum(total["drawn_watch_s"] / 60.0 for total in totals)
        for term, weight, key in (("quality", 1.0, "quality"), ("rebuffer", -1.85, "rebuffer_s")):
            assert row.terms[term] == pytest.approx(weight * sum(total[key] for total in totals) / minutes)
        busy_s = sum(total["decode_busy_s"] for total in totals)
        assert sum(row.utilisation.values()) == pytest.approx(busy_s / sum(total["time_s"] for total in totals))
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


def test_a_run_comes_back_with_all_its_figures(results: tuple[Path, Board]) -> None:
    folder, _ = results
    checked = validate(folder, is_ranked)
    assert checked.records == len(AGENTS) * len(SCENARIOS) * SESSIONS
    assert checked.transitions == sum(len(record["actions"]) for record in read_records(folder))
    assert not (folder / Journal.NAME).exists()


def of_results(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A forger who changes the content of results.json."""

    def forge(folder: Path) -> None:
        content = json.loads((folder / "results.json").read_text())
        change(content)
        (folder / "results.json").write_text(json.dumps(content))

    return forge


def of_records(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], object]:
    """A forger who changes the records."""

    def forge(folder: Path) -> None:
        records = list(read_records(folder))
        change(records)
        write_records(folder, records)

    return forge


def of_text(name: str, old: str, new: str) -> Callable[[Path], object]:
    """A forger who changes a file of figures."""

    def forge(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return forge


FORGERIES = {
    "a figure": (of_results(lambda c: c["rows"][0].update(qoe=c["rows"][0]["qoe"] + 1e-6)), r"rows\[0\]\.qoe: "),
    "the bound": (of_results(lambda c: c["rows"][1].update(bound=500.0)), r"rows\[1\]\.bound: 500\.0, expected"),
    "a nested figure": (of_results(lambda c: c["rows"][1]["utilisation"].update(npu=0.5)), r"utilisation\.npu"),
    "decision times": (of_results(lambda c: c["rows"][2].update(decision_ms_p50=0.001)), "decision_ms_p50"),
    "ranked": (of_results(lambda c: c["rows"][2].update(ranked=False)), r"rows\[2\]\.ranked: False"),
    "overall": (of_results(lambda c: c["overall"][0].update(qoe=99.0)), r"overall\[0\]\.qoe: 99\.0"),
    "no overall": (of_results(lambda c: c.pop("overall")), "overall: missing"),
    "key deleted": (of_results(lambda c: c["rows"][0].pop("waste_ratio")), r"rows\[0\]\.waste_ratio: missing"),
    "key added": (of_results(lambda c: c["rows"][0].update(award=1)), r"rows\[0\]\.award: surplus"),
    "row doubled": (of_results(lambda c: c["rows"].append(c["rows"][0])), "rows: 7 entries, expected 6"),
    "row missing": (of_results(lambda c: c["rows"].pop()), "rows: 5 entries, expected 6"),
    "another agent": (of_results(lambda c: c["rows"][0].update(agent="better")), r"rows\[0\]\.agent: 'better'"),
    "results.csv": (of_text("results.csv", "greedy,3,", "greedy,3,9"), r"results\.csv: line \[\d\]\[3\]: 9"),
    "no results.csv": (lambda folder: (folder / "results.csv").unlink(), r"results\.csv: missing"),
    "README.md": (of_text("README.md", "| greedy | ", "| greedy | 9"), r"README\.md: line"),
    "README.md grown": (of_text("README.md", "## All", "The best.\n\n## All"), r"README\.md: line"),
    "record doubled": (of_records(lambda r: r.append(r[0])), "expected each seed once"),
    "record missing": (of_records(lambda r: r.pop()), "to have the seeds of random"),
    "session missing": (
        of_records(lambda r: r.__setitem__(slice(None), [one for one in r if one["seed"] != r[0]["seed"]])),
        r"rows\[0\]\.sessions: 3, expected 2",
    ),
    "parameters change": (
        of_records(lambda r: r[-1]["params"].update(defer_s=9.0)),
        "expected the parameters of its other sessions",
    ),
    "agent renamed": (of_records(lambda r: [one.update(agent="x:Y") for one in r if one["agent"] == "greedy"]), "x:Y"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_run_is_refused(copied: Path, forgery: str) -> None:
    forge, message = FORGERIES[forgery]
    forge(copied)
    with pytest.raises(ValueError, match=message):
        check_run(copied, is_ranked)


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


def submit(run: Path, root: Path, suite: str) -> list[Path]:
    return add_entries(run, root, suite, REGISTRY)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_submitted_and_makes_the_board(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    folders = submit(results[0], tmp_path, small_suite)
    assert [folder.name for folder in folders] == list(AGENTS)
    assert {record["agent"] for record in read_records(folders[2])} == {"agents.rules.greedy:Greedy"}
    board = make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)
    assert {(row.scenario, row.agent): row.qoe for row in board.rows} == {
        (row.scenario, row.agent): row.qoe for row in results[1].rows
    }
    page = (tmp_path / small_suite / "README.md").read_text()
    assert "3 self-reported entries, the same 3 sessions" in page
    assert json.loads((tmp_path / small_suite / "results.json").read_text())["overall"]
    again = tmp_path / small_suite / "greedy-2"
    shutil.copytree(tmp_path / small_suite / "greedy", again)  # one agent may enter twice, by other folders
    board = make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)
    assert {row.agent for row in board.rows} == {*AGENTS, "greedy-2"}


def test_a_submission_never_touches_an_entry(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    submit(results[0], tmp_path, small_suite)
    before = content_of(tmp_path)
    with pytest.raises(ValueError, match="an entry has this name"):
        submit(results[0], tmp_path, small_suite)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (of_records(lambda r: r.pop()), "1 sessions are missing"),
        (of_records(lambda r: r[-1]["totals"].update({"return": 1e3})), "return 1000.0, replayed"),
        (of_records(lambda r: r[-1]["params"].update(defer_s=9.0)), "expected one parameter set"),
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
    (board / small_suite / "random").mkdir(parents=True)
    (board / small_suite / "random" / "README.md").write_text("somebody else's")
    (board / small_suite / "random").rename(board / small_suite / "another")
    before = content_of(board)
    with pytest.raises(ValueError, match=message):
        submit(copied, board, small_suite)
    assert content_of(board) == before


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
    folder = submit(results[0], tmp_path, small_suite)[0]
    write_records(folder, change(list(read_records(folder))), packed=True)
    with pytest.raises(ValueError, match=message):
        read_entry(folder, small_suite, is_ranked)


def test_an_entry_says_what_it_is(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    folder = submit(results[0], tmp_path, small_suite)[0]
    (folder / "README.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"README\.md: expected a page"):
        make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)


SLOW_RUN = """
import sys
from agents import REGISTRY
from ppgym.benchmark.run import run_benchmark
run_benchmark(REGISTRY, ["random", "greedy"], ["medium/snapdragon-8-elite/skimmer"], sessions=40, output=sys.argv[1])
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"sessions": 40}
    whole = run_benchmark(REGISTRY, ["random", "greedy"], SCENARIOS[:1], output=tmp_path / "whole", **arguments)
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tmp_path / "cut")], cwd=ROOT, env=os.environ)
    journal = tmp_path / "cut" / Journal.NAME
    while process.poll() is None and (not journal.is_file() or journal.read_bytes().count(b"\n") < 6):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.is_file(), "the run ended before it could be killed"
    kept = [json.loads(line) for line in journal.read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]
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
