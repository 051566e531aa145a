"""The callback of training: the best checkpoint, and early stopping."""

import json
from pathlib import Path
from typing import Any

from tests.agents.training.tiny import TINY, write_hyperparams


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
