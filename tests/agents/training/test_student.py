"""A student's training run, from labels to the comparison, and how it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import agents.training.run as training
import agents.training.student as student_training
from agents.training.config import Run
from agents.training.student import episode_jobs
from agents.training.sweep import plan_sweep, train_sweep
from ppgym.world.scenario import DEFAULT_SCENARIO
from tests.agents.training.tiny import TINY_STUDENT, write_hyperparams


@pytest.fixture
def hyperparams(tmp_path: Path) -> Path:
    return write_hyperparams(tmp_path / "tiny.yml", TINY_STUDENT)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One process, and one cheap rival."""
    monkeypatch.setattr(training, "RIVALS", {"student": ("greedy",)})
    monkeypatch.setattr(training.os, "cpu_count", lambda: 1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def card_of(folder: Path, name: str = "latest") -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return card


def test_a_run_from_labels_to_comparison(
    hyperparams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    monkeypatch.setattr("ppgym.progress.LINE_EVERY_S", 0.0)
    rows = training.train(agent="student", hyperparams=hyperparams, output=whole, seed=2)
    assert [row.agent for row in rows] == ["student", "greedy"]
    shown = capsys.readouterr().err
    steps = (
        "Labels in labels-0: 6 of 6",
        "Labels in labels-1: 6 of 6",
        "Features: 12 of 12",
        "Fitting: 1 of 1",
        "Playing: ",
    )
    assert all(step in shown for step in steps)
    curve, best = card_of(whole)["scores"], card_of(whole, "best")["scores"]
    assert [set(scores) for scores in curve] == [{"timesteps", "labels", "own", "others", "qoe"}] * 2
    assert all(before < after for key in ("timesteps", "labels") for before, after in [[s[key] for s in curve]])
    assert best[-1]["qoe"] == max(scores["qoe"] for scores in curve)
    assert card_of(whole)["timesteps"] == curve[-1]["timesteps"]

    # A run that was stopped in its second round, among its labels, comes to the same end
    parts = tmp_path / "parts"
    label = student_training.label_episodes

    def stop(folder: Path, jobs: Any, **rest: Any) -> None:
        label(folder, jobs[:2] if folder.name == "labels-1" else jobs, **rest)
        if folder.name == "labels-1":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(student_training, "label_episodes", stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(agent="student", hyperparams=hyperparams, output=parts, seed=2)
    assert f"go on with --resume {parts}" in capsys.readouterr().err
    assert len(list((parts / "labels-1").iterdir())) == 2
    assert len(card_of(parts)["scores"]) == 1
    training.train(resume=parts)
    assert card_of(parts)["scores"] == curve
    expected, found = load_file(whole / "latest.safetensors"), load_file(parts / "latest.safetensors")
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())

    with pytest.raises(ValueError, match="holds a run already"):
        training.train(agent="student", output=parts)
    with pytest.raises(ValueError, match="is a run of 'student'; expected that or nothing, got 'dqn'"):
        training.train(agent="dqn", resume=parts)
    with pytest.raises(ValueError, match="expected no --timesteps"):
        training.train(resume=parts, timesteps=10)


def test_a_run_that_was_stopped_before_its_first_student_goes_on(
    hyperparams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(student_training, "label_episodes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.train(agent="student", hyperparams=hyperparams, output=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json"]
    training.train(resume=tmp_path / "run")
    assert len(card_of(tmp_path / "run")["scores"]) == 2


def test_seeds_of_students(tmp_path: Path) -> None:
    one_round = TINY_STUDENT | {"rounds": TINY_STUDENT["rounds"][:1], "worlds": None}
    hyperparams = write_hyperparams(tmp_path / "short.yml", one_round)
    sweep = plan_sweep(0, 2, [hyperparams])
    arguments = {"agent": "student", "overrides": {}, "timesteps": None, "torch_device": "cpu"}
    rows = train_sweep(sweep, tmp_path / "seeds", arguments, "local")
    assert list(rows) == ["seed-0", "seed-1"]
    curves = json.loads((tmp_path / "seeds" / "curves.json").read_text())
    assert {len(curve) for curve in curves.values()} == {1}
    assert curves["seed-0"] != curves["seed-1"]
    written_ns = (tmp_path / "seeds" / "seed-1" / "latest.json").stat().st_mtime_ns
    again = train_sweep(sweep, tmp_path / "seeds", arguments, "local")
    assert [[row.agent for row in some] for some in again.values()] == [["student", "greedy"]] * 2
    assert (tmp_path / "seeds" / "seed-1" / "latest.json").stat().st_mtime_ns == written_ns, "it is only compared"


def test_a_student_has_no_timesteps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="student: expected no --timesteps"):
        training.train(agent="student", output=tmp_path / "run", timesteps=100)
    assert not (tmp_path / "run").exists()


def test_each_group_of_worlds_has_a_third_of_the_episodes(tmp_path: Path) -> None:
    params: dict[str, Any] = TINY_STUDENT | {"rounds": [{"episodes": 12}, {"episodes": 13}]}
    config = {"agent": "student", "scenario": DEFAULT_SCENARIO, "overrides": {}, "seed": 3, "hyperparams": params}
    first, second = (episode_jobs(Run(tmp_path, config, 0, []), number) for number in (0, 1))
    own, suite, drawn = (
        sum(job.scenario == DEFAULT_SCENARIO and not job.overrides for job in first),
        sum(job.scenario != DEFAULT_SCENARIO and not job.overrides for job in first),
        sum("ladder" in job.overrides for job in first),
    )
    assert (own, suite, drawn) == (4, 4, 4)
    assert {job.agent for job in first} == {"mcts"}
    assert {(job.agent, job.params["weights"]) for job in second} == {("student", str(tmp_path / "latest.safetensors"))}
    assert len({job.seed for job in first + second}) == 25
    alone = Run(tmp_path, config | {"hyperparams": params | {"worlds": None}}, 0, [])
    assert {job.scenario for job in episode_jobs(alone, 0)} == {DEFAULT_SCENARIO}
