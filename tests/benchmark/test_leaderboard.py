"""Rows, standings and entries of the board: figures by hand, and whatever does not follow from the records refused."""

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

from agents import agent_params, is_ranked, make_agent
from ppgym.benchmark.episodes import SUITES, Suite
from ppgym.benchmark.leaderboard import add_entries, make_board, read_entry
from ppgym.benchmark.records import Journal, read_records, write_records
from ppgym.benchmark.replay import replay
from ppgym.benchmark.run import run_benchmark, validate
from ppgym.benchmark.summary import Board, summarize
from ppgym.benchmark.tables import print_board, to_csv, to_markdown

ROOT = Path(__file__).parents[2]
SCENARIOS = ("medium/snapdragon-8-elite/skimmer", "high/pixels-only/skimmer")
AGENTS = ("random", "on_demand", "greedy")
SEEDS = 3


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Board]:
    folder = tmp_path_factory.mktemp("board")
    board = run_benchmark(
        make_agent, AGENTS, SCENARIOS, episodes=SEEDS, output=folder, read_params=agent_params, bounded=True
    )
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
        assert sum(row.terms.values()) == pytest.approx(row.qoe_mean)
        minutes = [total["drawn_watch_s"] / 60.0 for total in totals]
        for term, weight, key in (("quality", 1.0, "quality"), ("rebuffer", -1.85, "rebuffer_s")):
            each = [weight * total[key] / minute for total, minute in zip(totals, minutes, strict=True)]
            assert row.terms[term] == pytest.approx(np.mean(each))
        busy_s = sum(total["decode_busy_s"] for total in totals)
        assert sum(row.utilisation.values()) == pytest.approx(busy_s / sum(total["time_s"] for total in totals))
        assert (row.prompt_share > 0.0) == ("elite" in row.scenario and row.agent != "on_demand")
    assert max(row.prompt_share for row in board.rows) < 1.0


def test_differences_and_improvement_are_of_pairs(results: tuple[Path, Board]) -> None:
    folder, board = results
    qoe: dict[tuple[str, str], list[float]] = {}
    for record in read_records(folder):
        totals = record["totals"]
        qoe.setdefault((record["scenario"], record["agent"]), []).append(
            totals["return"] / totals["drawn_watch_s"] * 60.0
        )
    for row in board.rows:
        pairs = list(zip(qoe[row.scenario, row.agent], qoe[row.scenario, "on_demand"], strict=True))
        assert row.baseline == "on_demand"
        assert row.difference == pytest.approx(np.mean([new - old for new, old in pairs]))
        assert row.improvement == pytest.approx(np.mean([(new > old) + 0.5 * (new == old) for new, old in pairs]))
        assert row.difference_ci95 is not None
        assert row.difference_ci95[0] <= row.difference <= row.difference_ci95[1]
    for one in board.overall:
        means = [np.mean(qoe[scenario, one.agent]) for scenario in SCENARIOS]
        assert one.scenarios == 2
        assert one.qoe_mean == pytest.approx(np.mean(means))
        assert one.difference == pytest.approx(
            one.qoe_mean - np.mean([np.mean(qoe[s, "on_demand"]) for s in SCENARIOS])
        )
    assert {one.agent: one.improvement for one in board.overall}["on_demand"] == 0.5


def test_another_baseline_and_none(results: tuple[Path, Board]) -> None:
    records = list(read_records(results[0]))
    board = summarize(records, baseline="greedy")
    assert {row.difference for row in board.rows if row.agent == "greedy"} == {0.0}
    assert all(row.difference is None for row in summarize(records, baseline="mcts").rows)


def test_a_run_comes_back_with_all_its_figures(results: tuple[Path, Board]) -> None:
    folder, _ = results
    checked = validate(folder)
    assert checked.records == len(AGENTS) * len(SCENARIOS) * SEEDS
    assert checked.transitions == sum(len(record["actions"]) for record in read_records(folder))
    assert not (folder / Journal.NAME).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(qoe_mean=rows[0]["qoe_mean"] + 1e-6), "random on medium.*: qoe_mean"),
        (
            lambda rows: rows[1].update(bound_mean=500.0),
            "on_demand on medium.*: bound_mean 500.0, from its records [12]",
        ),
        (lambda rows: rows[1]["utilisation"].update(npu=0.5), "utilisation"),
        (lambda rows: rows[2].update(share_ci95=[0.0, 1.0]), "share_ci95"),
        (lambda rows: rows[2].update(decision_ms_p50=0.001), "decision_ms_p50"),
        (lambda rows: rows.pop(), "greedy on high/pixels-only/skimmer: no row of its records"),
        (lambda rows: rows.append(rows[0] | {"agent": "better"}), "better on medium.*: a row without records"),
    ],
)
def test_a_row_whose_figures_do_not_come_back_is_refused(copied: Path, change: Any, message: str) -> None:
    path = copied / "results.json"
    content = json.loads(path.read_text())
    change(content["rows"])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        validate(copied)


def test_agents_that_met_other_episodes_are_not_compared(results: tuple[Path, Board]) -> None:
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
        assert f"| {row.agent} | {row.qoe_mean:.1f} |" in markdown
    widths = {
        block: {line.count("|") for line in block.splitlines()} for block in markdown.split("\n\n") if "|" in block
    }
    assert all(len(counts) == 1 for counts in widths.values())
    rows = list(csv.DictReader(io.StringIO(to_csv(board.rows))))
    assert [float(row["qoe_mean"]) for row in rows] == [row.qoe_mean for row in board.rows]
    assert float(rows[0]["utilisation_cpu"]) == board.rows[0].utilisation["cpu"]


@pytest.fixture
def small_suite(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SUITES, "small", Suite(SCENARIOS, SEEDS))
    return "small"


def test_a_run_is_submitted_and_makes_the_board(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    folders = add_entries(results[0], tmp_path, small_suite, is_ranked)
    assert [folder.name for folder in folders] == list(AGENTS)
    (tmp_path / small_suite / "random" / "README.md").write_text("# What it is")
    add_entries(results[0], tmp_path, small_suite, is_ranked)
    assert (tmp_path / small_suite / "random" / "README.md").read_text() == "# What it is"
    board = make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)
    assert {(row.scenario, row.agent): row.qoe_mean for row in board.rows} == {
        (row.scenario, row.agent): row.qoe_mean for row in results[1].rows
    }
    page = (tmp_path / small_suite / "README.md").read_text()
    assert "3 entries, the same 3 episodes" in page
    assert json.loads((tmp_path / small_suite / "results.json").read_text())["overall"]
    again = tmp_path / small_suite / "greedy-2"
    shutil.copytree(tmp_path / small_suite / "greedy", again)  # one agent may enter twice, by other folders
    board = make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)
    assert {row.agent for row in board.rows} == {*AGENTS, "greedy-2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda records: records[1:], "1 episodes are missing"),
        (lambda records: [*records, records[0]], "expected each episode of the suite once"),
        (lambda records: [records[0] | {"agent": "other"}, *records[1:]], "expected one agent"),
        (lambda records: [records[0] | {"overrides": {"rtt_s": 0.0}}, *records[1:]], "without overrides"),
        (lambda records: [records[0] | {"split": "train"}, *records[1:]], "expected the test split"),
    ],
)
def test_an_entry_that_is_not_the_whole_suite_is_refused(
    results: tuple[Path, Board], tmp_path: Path, small_suite: str, change: Any, message: str
) -> None:
    folder = add_entries(results[0], tmp_path, small_suite, is_ranked)[0]
    write_records(folder, change(list(read_records(folder))), packed=True)
    with pytest.raises(ValueError, match=message):
        read_entry(folder, small_suite, is_ranked)


def test_who_sees_the_hidden_episode_is_refused(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    records = [r | {"agent": "agents.clairvoyant.agent:Clairvoyant"} for r in read_records(results[0])]
    write_records(tmp_path / "run", records)
    with pytest.raises(ValueError, match="expected agents that compete; 'agents"):
        add_entries(tmp_path / "run", tmp_path / "board", small_suite, is_ranked)
    assert not (tmp_path / "board").exists()
    folder = add_entries(results[0], tmp_path, small_suite, is_ranked)[0]
    write_records(folder, [r | {"agent": "clairvoyant"} for r in read_records(folder)], packed=True)
    with pytest.raises(ValueError, match=f"{folder}: expected agents that compete; 'clairvoyant' is"):
        make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)


def test_an_entry_says_what_it_is(results: tuple[Path, Board], tmp_path: Path, small_suite: str) -> None:
    folder = add_entries(results[0], tmp_path, small_suite, is_ranked)[0]
    (folder / "README.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"README\.md: expected a page"):
        make_board(tmp_path, small_suite, baseline="on_demand", is_ranked=is_ranked)


SLOW_RUN = """
import sys
from agents import make_agent
from ppgym.benchmark.run import run_benchmark
run_benchmark(make_agent, ["random", "greedy"], ["medium/snapdragon-8-elite/skimmer"], episodes=40, output=sys.argv[1])
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"episodes": 40}
    whole = run_benchmark(make_agent, ["random", "greedy"], SCENARIOS[:1], output=tmp_path / "whole", **arguments)
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
        run_benchmark(make_agent, ["random"], SCENARIOS[:1], output=tmp_path / "cut", **arguments)
    board = run_benchmark(make_agent, ["random", "greedy"], SCENARIOS[:1], output=tmp_path / "cut", **arguments)
    assert [row.qoe_mean for row in board.rows] == [row.qoe_mean for row in whole.rows]
    records = list(read_records(tmp_path / "cut"))
    assert [(r["agent"], r["seed"]) for r in records] == [(a, s) for a in ("random", "greedy") for s in range(40)]
    for entry in kept:  # not played again: even their times are the first run's
        assert records[entry["place"]] == entry["record"]
    assert not journal.exists()
