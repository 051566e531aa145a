"""The frontier: a small run of the command, and what beats what."""

import json
from pathlib import Path

import pytest

from agents import REGISTRY
from agents.studies import frontier
from agents.studies.cached_episodes import Variant
from ppgym.benchmark.records import read_records
from ppgym.benchmark.summary import replayed
from ppgym.benchmark.validation import check_run


def test_every_setting_has_its_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    families = {"mcts": ({"simulations": 8},), "static": ({"each": 0}, {"each": 3}), "greedy": ({},)}
    monkeypatch.setattr(frontier, "FAMILIES", families)
    frontier.find_frontier(sessions=3, seed=5, output=tmp_path)
    assert "static each=3" in capsys.readouterr().out
    rows = json.loads((tmp_path / "frontier.json").read_text(encoding="utf-8"))["rows"]
    assert [Variant(row["agent"], row["params"]).name for row in rows] == [
        "mcts simulations=8",
        "static each=0",
        "static each=3",
        "greedy",
    ]
    assert check_run(tmp_path, REGISTRY).records == 12

    own = [one for one in read_records(tmp_path) if one["agent"] == "static" and one["params"].get("each") == 3]
    totals = {key: float(column.sum()) for key, column in replayed(own).items()}
    minutes, row = totals["drawn_watch_s"] / 60.0, rows[2]
    assert row["qoe"] == pytest.approx(totals["return"] / minutes)
    assert row["stall_s"] == pytest.approx(totals["rebuffer_s"] / minutes)
    assert row["wasted_mbit"] == pytest.approx(totals["wasted_bytes"] * 8e-6 / minutes)
    assert row["energy_j"] == pytest.approx(totals["energy_j"] / minutes)


def test_the_planner_is_swept_over_both_weights() -> None:
    swept = {key for params in frontier.FAMILIES["mcts"] for key in params}
    assert swept == {"waste_weight", "stall_weight"}
    assert {} in frontier.FAMILIES["mcts"]
