"""Tuning: where it looks, what it writes, and who gets what it has found."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

from agents import make_agent
from agents.rules.parameters import Between, OneOf, tuned_params
from agents.rules.preload import PromptStatic, Static
from agents.studies import tuning
from agents.studies.tuning import SCENARIOS, SPLIT, suggest_value, tune
from ppgym.env import PromptPreamEnv
from ppgym.world.qoe_weights import QoEWeights


def test_ranges_draw_within_themselves() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for space in (Between(0.5, 2.0), Between(1e-3, 10.0, by_ratio=True)):
        draws = [suggest_value(study.ask(), str(space), space) for _ in range(200)]
        assert space.low <= min(draws) < max(draws) <= space.high
        assert all(draw == float(f"{draw:.4g}") for draw in draws)
    assert np.median(draws) == pytest.approx(0.1, rel=0.5)  # by ratio, the middle is the geometric one
    assert {suggest_value(study.ask(), "name", OneOf(("a", "b"))) for _ in range(20)} == {"a", "b"}


def test_it_looks_at_the_validation_split_alone_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int, dict[str, Any]]] = []
    run = tuning.run_benchmark

    def spy(*args: Any, **kwargs: Any) -> Any:
        asked.append((kwargs["split"], kwargs["seed"], kwargs["sessions"], kwargs["params"]["static"]))
        return run(*args, **kwargs)

    monkeypatch.setattr(tuning, "run_benchmark", spy)
    path = tune("static", SCENARIOS[:1], trials=9, sessions=9, seed=1, folder=tmp_path)
    found = yaml.safe_load(path.read_text())
    defaults = {"current": 5, "each": 2, "bitrate": "throughput"}
    assert path == tmp_path / "static.yml"
    assert {split for split, *_ in asked} == {SPLIT}
    # 9 sets, of which some reach the second and the third round; then the best and the defaults in new sessions
    rounds = [(seed, count) for _, seed, count, _ in asked]
    assert set(rounds) == {(1, 1), (2, 3), (5, 9), (14, 9)}
    assert rounds.count((1, 1)) == 9 and rounds[-2:] == [(14, 9)] * 2
    assert 2 <= rounds.count((2, 3)) <= 5 and 1 <= rounds.count((5, 9)) <= rounds.count((2, 3))
    assert all(place > 0 and rounds[place - 1] == (1, 1) for place, each in enumerate(rounds) if each == (2, 3))
    assert all(rounds[place - 1] == (2, 3) for place, each in enumerate(rounds) if each == (5, 9))
    assert asked[0][3] == asked[-1][3] == defaults
    finalists = [params for _, *of_round, params in asked if tuple(of_round) == (5, 9)]
    assert asked[-2][3] in finalists
    assert found["params"] in (asked[-2][3], defaults)
    assert found["score"] >= found["score_of_defaults"]
    assert found["sessions_of_score"] == "14 to 22"
    assert found["command"] == (
        "python evaluate.py tune static --scenarios low/snapdragon-8-elite/typical --trials 9 --sessions 9 --seed 1"
    )
    again = tune("static", SCENARIOS[:1], trials=9, sessions=9, seed=1, folder=tmp_path / "again")
    assert again.read_text() == path.read_text()


def test_defaults_that_are_not_beaten_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lucky(*args: Any, **kwargs: Any) -> Any:
        """Rows of a world in which the defaults lose every round and win the last comparison."""
        found = float(kwargs["params"]["static"]["current"] != 5)
        qoe = 1.0 - found if kwargs["seed"] == 3 else found
        return SimpleNamespace(rows=[SimpleNamespace(scenario="low", qoe=qoe)])

    monkeypatch.setattr(tuning, "run_benchmark", lucky)
    found = yaml.safe_load(tune("static", trials=9, sessions=1, seed=0, folder=tmp_path).read_text())
    assert found["params"] == {"current": 5, "each": 2, "bitrate": "throughput"}
    assert (found["score"], found["score_of_defaults"]) == (1.0, 1.0)
    assert found["rejected"]["score"] == 0.0
    assert found["rejected"]["params"]["current"] != 5


def test_a_prompt_aware_variant_begins_with_what_the_rule_over_pixels_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "static.yml").write_text("params: {current: 2, each: 1}\n")
    asked: list[dict[str, Any]] = []

    def spy(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["params"]["static+prompt"])
        return SimpleNamespace(rows=[SimpleNamespace(scenario="low", qoe=0.0)])

    monkeypatch.setattr(tuning, "run_benchmark", spy)
    tune("static+prompt", trials=3, sessions=1, folder=tmp_path)
    sets = [params for place, params in enumerate(asked) if params not in asked[:place]]
    assert sets[1] == {"current": 2, "each": 1, "bitrate": "throughput"}


def test_who_gets_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "static.yml").write_text("params: {current: 2, each: 1}\n")
    default, other = QoEWeights(), QoEWeights.of("mmgc2022")
    assert tuned_params("static", default, tmp_path) == {"current": 2, "each": 1}
    assert tuned_params("static+prompt", default, tmp_path) == {"current": 2, "each": 1}
    assert tuned_params("static", other, tmp_path) == {}
    assert tuned_params("next_one", default, tmp_path) == {}
    (tmp_path / "pdas+prompt.yml").write_text("params: {steps: 4}\n")
    assert tuned_params("pdas+prompt", default, tmp_path) == {"steps": 4}


def test_the_registry_gives_them_and_the_caller_has_the_last_word() -> None:
    env = PromptPreamEnv()
    found = tuned_params("static", QoEWeights())
    agent = make_agent("static", env)
    assert isinstance(agent, Static)
    assert agent.parameters._asdict() == agent.parameters._asdict() | found
    twin = make_agent("static+prompt", env, current=7)
    assert isinstance(twin, PromptStatic)
    assert twin.parameters.current == 7


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SEARCH_SPACE"):
        tune("next_one", folder=tmp_path)
    with pytest.raises(ValueError, match="unknown agent"):
        tune("pdaz", folder=tmp_path)
    with pytest.raises(ValueError, match="trials"):
        tune("static", trials=0, folder=tmp_path)
