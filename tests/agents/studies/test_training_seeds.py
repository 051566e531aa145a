"""Runs over training seeds, put together from what they left behind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from agents.learned.cards import provenance
from agents.learned.checkpoints import write_checkpoint
from agents.studies.training_seeds import crossed_interval, make_seed_table
from ppgym.benchmark.records import read_records, write_records

PLACE = "low/snapdragon-8-elite/typical"


def write_run(
    folder: Path, seed: int, qoe: dict[str, list[float]], first: int = 0, policy: str = "CandidatePolicy"
) -> None:
    """A run, as `agents.training.run` leaves it, that was compared in sessions of a minute."""
    config = {"agent": "ppo", "scenario": PLACE, "seed": seed, "hyperparams": {"policy": policy}}
    scores = [{"timesteps": 4, "qoe": 2.5}, {"timesteps": 9, "qoe": 1.5}]
    for name, count in (("best", 1), ("latest", 2)):
        card = {"config": config, "timesteps": scores[count - 1]["timesteps"], "scores": scores[:count], **provenance()}
        write_checkpoint(folder / f"{name}.safetensors", {"weight": torch.zeros(1)}, card)
    write_comparison(folder, first, qoe)


def write_student(folder: Path, seed: int, qoe: dict[str, list[float]]) -> None:
    """A run, as `agents.training.student` leaves it."""
    config = {"agent": "student", "scenario": PLACE, "seed": seed, "hyperparams": {"rounds": []}}
    scores = [{"timesteps": 9, "labels": 7, "scenario": 4.5, "others": 6.5, "qoe": 5.5}]
    card = {"config": config, "timesteps": 9, "scores": scores, **provenance()}
    for name in ("best", "latest"):
        write_checkpoint(folder / f"{name}.safetensors", {"weight": torch.zeros(1)}, card)
    write_comparison(folder, 0, qoe)


def write_comparison(folder: Path, first: int, qoe: dict[str, list[float]]) -> None:
    """The test sessions of a run, of a minute each."""
    records = [
        {
            "scenario": PLACE,
            "seed": first + i,
            "agent": agent,
            "split": "test",
            "actions": [],
            "totals": {"return": value, "drawn_watch_s": 60.0},
        }
        for agent, values in qoe.items()
        for i, value in enumerate(values)
    ]
    write_records(folder / "comparison", records)


def test_rows_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rival = {"no_save": [8.0, 16.0] * 8}
    write_run(tmp_path / "many" / "seed-0", 0, {"ppo": [10.0, 20.0] * 8, **rival})
    write_run(tmp_path / "many" / "seed-1", 1, {"ppo": [12.0, 24.0] * 8, **rival})
    write_run(tmp_path / "mlp", 0, {"ppo": [7.0, 7.0] * 8, **rival}, policy="MlpPolicy")
    make_seed_table((tmp_path / "many", tmp_path / "mlp"), output=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "seeds.json").read_text())
    shared, mlp = found["rows"]
    assert shared["seeds"] == [0, 1]
    assert shared["qoe_by_seed"] == [15.0, 18.0]
    assert (shared["against"], shared["qoe"], shared["difference"]) == ("no_save", 16.5, 4.5)
    # The seeds gain 3 and 6, the sessions 3 and 6 by turns
    over_seeds = stats.t.ppf(0.975, 1) * np.std([3.0, 6.0], ddof=1) / 2**0.5
    over_sessions = stats.t.ppf(0.975, 15) * np.std([3.0, 6.0] * 8, ddof=1) / 16**0.5
    half = np.hypot(over_seeds, over_sessions)
    assert shared["ci95"] == pytest.approx([4.5 - half, 4.5 + half])
    assert (mlp["policy"], mlp["difference"]) == ("MlpPolicy", -5.0)
    assert [curve["validation"] for curve in found["curves"]] == [[[4, 2.5], [9, 1.5]]] * 3
    assert np.sum([record["agent"] == "ppo" for record in read_records(tmp_path / "out")]) == 3 * 16
    assert f"ppo, CandidatePolicy, {PLACE}: seed 0 15.0, seed 1 18.0" in capsys.readouterr().out.replace("\n", " ")


def test_long_sessions_count_by_their_minutes() -> None:
    """One seed: two sessions of a minute gain 1 each, one of six minutes loses 4: -2 in 8 minutes, six times over."""
    gained, minutes = np.tile([1.0, 1.0, -4.0], 6), np.tile([1.0, 1.0, 6.0], 6)
    low, high = crossed_interval(gained[None], minutes)
    assert (low + high) / 2 == pytest.approx(-0.25)
    assert high - low == pytest.approx(
        2 * stats.t.ppf(0.975, 17) * (gained + 0.25 * minutes).std(ddof=1) / 18**0.5 * 3 / 8
    )
    assert crossed_interval(gained[None, :3], minutes[:3]) is None


def test_students_are_put_together_like_others(tmp_path: Path) -> None:
    write_student(tmp_path / "seed-0", 0, {"student": [9.0, 21.0], "mcts": [8.0, 16.0]})
    write_student(tmp_path / "seed-1", 1, {"student": [6.0, 18.0], "mcts": [8.0, 16.0]})
    make_seed_table((tmp_path,), output=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "seeds.json").read_text())
    (row,) = found["rows"]
    assert (row["agent"], row["policy"], row["against"]) == ("student", "StudentNetwork", "mcts")
    assert (row["qoe_by_seed"], row["difference"]) == ([15.0, 12.0], 1.5)
    assert [curve["validation"] for curve in found["curves"]] == [[[9, 4.5]]] * 2, "in its scenario"


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, {"ppo": [10.0, 20.0], "no_save": [8.0, 16.0]})
    write_run(tmp_path / "b", 1, {"ppo": [12.0, 24.0], "no_save": [8.0, 16.0]}, first=5)
    with pytest.raises(ValueError, match="compared on the same sessions"):
        make_seed_table((tmp_path / "a", tmp_path / "b"))
    with pytest.raises(ValueError, match=r"a run a seed, got seeds \[0, 0\]"):
        make_seed_table((tmp_path / "a", tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="expected a run, or runs in its folders"):
        make_seed_table((tmp_path / "none",))
    write_student(tmp_path / "many" / "seed-0", 0, {"student": [1.0], "mcts": [1.0]})
    (tmp_path / "many" / "seed-1").mkdir()
    with pytest.raises(FileNotFoundError, match="seed-1"):
        make_seed_table((tmp_path / "many",))
