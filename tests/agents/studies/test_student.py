"""The student's study: paired episodes of players and what they differ by."""

from pathlib import Path

import numpy as np
import pytest

from agents import is_ranked
from agents.studies import student as student_study
from agents.studies.cached_episodes import Variant
from ppgym.benchmark.records import read_records
from ppgym.benchmark.run import check_run
from ppgym.files import read_json


def test_the_study_compares_paired_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = {name: Variant("next_one" if name == student_study.STUDENT else "greedy") for name in student_study.PLAYERS}
    monkeypatch.setattr(student_study, "PLAYERS", cheap)
    student_study.make_student_table(episodes=3, output=tmp_path)
    found = read_json(tmp_path / "student.json")
    assert check_run(tmp_path, is_ranked).records == 3 * 2, "what two players do alike is played once"
    qoe: dict[str, list[float]] = {"greedy": [], "next_one": []}
    for record in read_records(tmp_path):
        totals = record["totals"]
        qoe[record["agent"]].append(totals["return"] / (totals["drawn_watch_s"] / 60.0))
    means = {name: float(np.mean(values)) for name, values in qoe.items()}
    assert found["share_of_teacher"]["mean"] == pytest.approx(means["next_one"] / means["greedy"])
    assert found["differences"][0]["difference"] == pytest.approx(means["next_one"] - means["greedy"])
    assert found["differences"][1]["ci95"] == [0.0, 0.0]  # a player against itself
