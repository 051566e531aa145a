"""What a training run is told: hyperparameters, patterns of scenarios, folders."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import agents.training.run as training
from agents.training.config import HYPERPARAMS, names_of, read_hyperparams
from tests.agents.training.tiny import TINY, TINY_STUDENT


def test_patterns_of_scenarios() -> None:
    assert names_of("low/rtx-4090/typical") == ["low/rtx-4090/typical"]
    assert names_of("low,5g/rtx-4090/sticky,skimmer") == [
        "low/rtx-4090/sticky",
        "low/rtx-4090/skimmer",
        "5g/rtx-4090/sticky",
        "5g/rtx-4090/skimmer",
    ]
    everything = names_of("*/*/*")
    assert len(set(everything)) == len(everything) == 5 * 8 * 3
    assert "mixed/snapdragon-8-gen-3/skimmer" in everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected YAML"),
        ("[1]", "expected a mapping with the key 'PromptPream-v0'"),
        ("PromptPream-v0: {n_envs: 8}", "key 'n_steps' is missing"),
        *(
            (yaml.safe_dump({"PromptPream-v0": TINY | {key: value}}), f"bad.yml: {key}: expected a {kind} from")
            for key, value, kind in [
                ("batch_size", -5, "whole number"),
                ("n_envs", True, "whole number"),
                ("n_steps", 10**12, "whole number"),
                ("n_epochs", 2.0, "whole number"),
                ("learning_rate", float("inf"), "number"),
                ("learning_rate", "lin_nan", "number"),
                ("learning_rate", "fast", "number"),
                ("gamma", float("nan"), "number"),
                ("gae_lambda", "0.9", "number"),
                ("max_grad_norm", 0, "number"),
            ]
        ),
        (yaml.safe_dump({"PromptPream-v0": TINY | {"n_env": 8}}), "unknown key 'n_env'; did you mean 'n_envs'?"),
    ],
)
def test_bad_hyperparams(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace("[", r"\[")):
        read_hyperparams(path, "ppo")


def test_a_run_is_not_overwritten(hyperparams: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a run already; go on with it by --resume"):
        training.train(output=tmp_path, hyperparams=hyperparams)


@pytest.mark.parametrize(("name", "agent"), [("ppo", "ppo"), ("ppo-mlp", "ppo"), ("dqn", "dqn")])
def test_shipped_hyperparams_are_read(name: str, agent: str) -> None:
    params = read_hyperparams(HYPERPARAMS / f"{name}.yml", agent)
    rate = training.learning_rate_of(params["learning_rate"])
    assert not isinstance(rate, float)
    np.testing.assert_allclose([2 * rate(0.5), rate(0.0)], [rate(1.0), 0.0])


def test_shipped_hyperparameters_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    assert read_hyperparams(HYPERPARAMS / "student.yml", "student")["worlds"]["suite"] == "standard"
    path = tmp_path / "wrong.yml"
    path.write_text(yaml.safe_dump({"PromptPream-v0": TINY_STUDENT | {"fit": {"epoch": 1}}}))
    with pytest.raises(ValueError, match="fit: key 'epochs' is missing"):
        read_hyperparams(path, "student")
    path.write_text(yaml.safe_dump({"PromptPream-v0": TINY_STUDENT | {"rounds": []}}))
    with pytest.raises(ValueError, match="rounds: expected at least one"):
        read_hyperparams(path, "student")
    path.write_text(yaml.safe_dump({"PromptPream-v0": TINY_STUDENT | {"rounds": [{"episodes": 1}]}}))
    with pytest.raises(ValueError, match="rounds, 0: key 'label_share' is missing"):
        read_hyperparams(path, "student")
    with pytest.raises(FileNotFoundError):
        read_hyperparams(tmp_path / "none.yml", "student")
