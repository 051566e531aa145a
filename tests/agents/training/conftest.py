"""What tests of training share: a run that takes seconds, and a labelled episode."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import agents.training.run as training
from agents.training.planner_labels import LabelledEpisode, label_episode
from ppgym.benchmark.episodes import Job
from tests.agents.training.tiny import EXPERT, SHORT, write_hyperparams


@pytest.fixture
def hyperparams(tmp_path: Path) -> Path:
    return write_hyperparams(tmp_path / "tiny.yml")


@pytest.fixture
def run(hyperparams: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(training, "RIVALS", dict.fromkeys(training.RIVALS, ("random",)))
    monkeypatch.setattr(training, "UPDATE_THREADS", 1)
    threads = torch.get_num_threads()

    def call(folder: Path, **kwargs: Any) -> dict[str, Any]:
        new = {"output": folder, "hyperparams": hyperparams, "overrides": SHORT}
        training.train(**({"resume": folder} if (folder / "config.json").exists() else new) | kwargs)
        card: dict[str, Any] = json.loads((folder / "latest.json").read_text())
        return card

    yield call
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def episode() -> LabelledEpisode:
    return label_episode(EXPERT, 1.0, 0.3, Job("low/snapdragon-8-elite/typical", {}, "train", "mcts", {}, 11))
