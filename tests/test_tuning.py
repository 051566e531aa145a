"""Tuning: where it looks, what it writes, and who gets what it has found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from agents import make_agent
from agents.parameters import Between, OneOf, tuned_params
from agents.preload import PromptStatic, Static
from agents.tuning import SCENARIOS, SPLIT, tune
from ppgym import benchmark
from ppgym.env import PromptPreamEnv
from ppgym.scenario import QOE_PRESETS, QoEWeights


def test_ranges_draw_within_themselves() -> None:
    rng = np.random.default_rng(0)
    for space in (Between(0.5, 2.0), Between(1e-3, 10.0, by_ratio=True)):
        draws = [space.draw(rng) for _ in range(200)]
        assert space.low <= min(draws) < max(draws) <= space.high
    assert np.median(draws) == pytest.approx(0.1, rel=0.5)  # by ratio, the middle is the geometric one
    assert {OneOf(("a", "b")).draw(rng) for _ in range(20)} == {"a", "b"}


def test_it_looks_at_the_validation_split_alone_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    run = benchmark.run

    def spy(*args: Any, **kwargs: Any) -> list[benchmark.Row]:
        asked.append((kwargs["split"], kwargs["params"]["static"]))
        return run(*args, **kwargs)

    monkeypatch.setattr(benchmark, "run", spy)
    path = tune("static", SCENARIOS[:1], trials=3, episodes=2, seed=1, folder=tmp_path)
    found = yaml.safe_load(path.read_text())
    assert path == tmp_path / "static.yml"
    assert [split for split, _ in asked] == [SPLIT] * 3
    assert asked[0][1] == {"current": 5, "each": 2, "rungs": "throughput"}
    assert found["params"] in [params for _, params in asked]
    assert found["score"] >= found["score_of_defaults"]
    assert found["command"] == (
        "python evaluate.py tune static --scenarios low/snapdragon-8-elite/typical --trials 3 --episodes 2 --seed 1"
    )
    again = tune("static", SCENARIOS[:1], trials=3, episodes=2, seed=1, folder=tmp_path / "again")
    assert again.read_text() == path.read_text()


def test_who_gets_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "static.yml").write_text("params: {current: 2, each: 1}\n")
    default, other = QoEWeights(), QOE_PRESETS["mmgc2022"]
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
    assert {name: getattr(agent, name) for name in found} == found
    twin = make_agent("static+prompt", env, current=7)
    assert isinstance(twin, PromptStatic)
    assert twin.current == 7


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SEARCH_SPACE"):
        tune("next_one", folder=tmp_path)
    with pytest.raises(ValueError, match="unknown agent"):
        tune("pdaz", folder=tmp_path)
    with pytest.raises(ValueError, match="trials"):
        tune("static", trials=0, folder=tmp_path)
