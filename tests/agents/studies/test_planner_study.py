"""The planner's study: a small run of the command."""

import json
from pathlib import Path

import pytest

from agents import REGISTRY
from agents.studies import planner as planner_study
from ppgym.benchmark.validation import check_run


def test_the_command_writes_what_it_compares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(planner_study, "BUDGETS", (4, 8))
    monkeypatch.setattr(planner_study, "BELIEVERS", {name: {"agent": name} for name in ("pdas", "dashlet")})
    monkeypatch.setattr(planner_study, "THINKERS", ("greedy",))
    planner_study.make_planner_tables(sessions=1, output=tmp_path)
    written = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [row["simulations"] for row in written["budget"]] == [4, 8]
    assert written["wrong belief"][0]["difference"] == 0.0
    assert len(written["wrong belief"]) == 2 * len(planner_study.ERRORS)
    assert [row["charged"] for row in written["thinking time"]] == [False, True]
    assert check_run(tmp_path, REGISTRY).records == 2 + 2 * len(planner_study.ERRORS) + 2
