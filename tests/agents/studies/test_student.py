"""The student's study: paired sessions of players and what they differ by."""

from pathlib import Path

import numpy as np
import pytest

from agents import REGISTRY
from agents.studies import student as student_study
from agents.studies.cached_episodes import Variant
from ppgym.benchmark.records import read_records
from ppgym.benchmark.validation import check_run
from ppgym.files import read_json


def test_the_study_compares_paired_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = {name: Variant("next_one" if name == student_study.STUDENT else "greedy") for name in student_study.PLAYERS}
    monkeypatch.setattr(student_study, "PLAYERS", cheap)
    student_study.make_student_table(sessions=16, output=tmp_path)
    found = read_json(tmp_path / "student.json")
    assert check_run(tmp_path, REGISTRY).records == 16 * 2, "what two players do alike is played once"
    sums = {"greedy": np.zeros(2), "next_one": np.zeros(2)}  # returns and minutes
    for record in read_records(tmp_path):
        sums[record["agent"]] += record["totals"]["return"], record["totals"]["drawn_watch_s"] / 60.0
    qoe = {name: returns / minutes for name, (returns, minutes) in sums.items()}
    assert found["qoe"][student_study.STUDENT] == pytest.approx(qoe["next_one"])
    assert found["share_of_teacher"]["value"] == pytest.approx(qoe["next_one"] / qoe["greedy"])
    low, high = found["share_of_teacher"]["ci95"]
    assert low < found["share_of_teacher"]["value"] < high
    assert found["differences"][0]["difference"] == pytest.approx(qoe["next_one"] - qoe["greedy"])
    assert found["differences"][1]["ci95"] == [0.0, 0.0]  # a player against itself
