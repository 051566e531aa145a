"""The callback of training: the best checkpoint, and early stopping."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents.training.callback import TrainingCallback
from agents.training.vec_env import make_vec_env
from agents.training.worlds import WorldName
from ppgym.core.actions import WAIT
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import Scenario
from tests.agents.training.tiny import TINY, write_hyperparams

R = 6


def test_best_checkpoint_is_the_best_of_the_curve(run: Any, tmp_path: Path) -> None:
    card = run(tmp_path / "run")
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["scores"][-1]["qoe"] == max(row["qoe"] for row in card["scores"])
    rows = json.loads((tmp_path / "run" / "comparison" / "results.json").read_text())["rows"]
    assert [row["agent"] for row in rows] == ["ppo", "random"]


def test_stops_early(run: Any, tmp_path: Path) -> None:
    evaluation = TINY["evaluation"] | {"every": 64, "patience": 2}
    hyperparams = write_hyperparams(tmp_path / "stuck.yml", learning_rate=0.0, n_steps=8, evaluation=evaluation)
    card = run(tmp_path / "run", hyperparams=hyperparams, timesteps=2048)
    returns = [row["return"] for row in card["scores"]]
    assert len(set(returns)) == 1
    assert card["timesteps"] == 128 + 8


def test_validation_scores_are_sums_over_sums_by_scenario() -> None:
    """Against single environments: what is needed at once is requested, else nothing."""
    names = ("low/snapdragon-8-elite/typical", "high/pixels-only/skimmer")
    scenarios = [Scenario.parse(name, n_videos=3) for name in names]

    def act(_: Any, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        return np.where(masks[:, WAIT], WAIT, masks.argmax(axis=1))

    validation = make_vec_env(scenarios, [4, 2], "validation", R)
    groups = [[WorldName(name, {})] for name in names]
    callback: Any = SimpleNamespace(
        _validation=validation, _decide=act, _groups=groups, model=SimpleNamespace(policy=None)
    )
    scores = TrainingCallback._scores(callback)
    validation.seed(0)
    validation.reset()
    returns, minutes, place = np.zeros(2), np.zeros(2), 0
    for k, part in enumerate(validation.parts):
        for _ in range(part.num_envs):
            env = PromptPreamEnv(scenarios[k], "validation")
            single = make_vec_env([scenarios[k]], [1], "validation", R)
            single.seed(place)
            observations, ended = single.reset(), False
            env.reset(seed=place)
            assert env.drawn_watch_s() == single.drawn_watch_s()[0]
            while not ended:
                action = act(None, observations, single.action_masks())
                single.step_async(action)
                observations, _, (ended,), _ = single.step_wait()
                returns[k] += env.step(int(validation.paddings[k].to_world(action[0])))[1]
            minutes[k] += env.drawn_watch_s() / 60.0
            place += 1
    assert scores["qoe"] == pytest.approx((returns / minutes).mean())
    assert scores["return"] == pytest.approx(returns.sum() / 6)
