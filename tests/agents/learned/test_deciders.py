"""Where the scores of a checkpoint's actions come from: its graph, and torch where there is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents import make_agent
from agents.learned import deciders
from agents.learned.cards import CARD
from agents.learned.checkpoints import read_checkpoint, write_checkpoint
from agents.learned.deciders import Graph
from agents.learned.deployed import Deployed
from agents.learned.student import StudentAgent
from ppgym.env import PromptPreamEnv

WITHOUT_TORCH = """
import sys
from agents import make_agent
from ppgym.env import PromptPreamEnv
env = PromptPreamEnv()
observation, info = env.reset(seed=0)
for name in ("student", "ppo", "dqn"):
    action, _ = make_agent(name, env).predict(observation, deterministic=True, action_masks=info["action_mask"])
    assert info["action_mask"][action]
print(sorted({"torch", "stable_baselines3", "sb3_contrib"} & set(sys.modules)))
"""


def copied(name: str, folder: Path) -> Path:
    for shipped in StudentAgent.WEIGHTS.parent.glob(f"{name}.*"):
        shutil.copy(shipped, folder)
    return folder / f"{name}.safetensors"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return copied("student", tmp_path)


def test_shipped_agents_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_graph_reports_nothing_to_the_makers_of_its_library(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # CI among the variables would switch it off too
    program = (
        f"from agents.learned.deciders import *; open_graph(Path({str(StudentAgent.WEIGHTS.with_suffix('.onnx'))!r}))"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnx" in path.name]


def test_shipped_pairs_are_small() -> None:
    for weights in StudentAgent.WEIGHTS.parent.glob("*.safetensors"):
        assert weights.stat().st_size + weights.with_suffix(".onnx").stat().st_size <= 5_000_000


@pytest.mark.parametrize("name", ["student", "ppo", "dqn"])
def test_the_graph_decides_where_it_is_and_else_torch(name: str, tmp_path: Path) -> None:
    env, weights = PromptPreamEnv(), copied(name, tmp_path)
    by_graph = make_agent(name, env, weights=weights)
    weights.with_suffix(".onnx").unlink()
    by_torch = make_agent(name, env, weights=weights)
    assert isinstance(by_graph._decider, Graph)
    assert isinstance(by_torch._decider, Deployed)
    observation, info = env.reset(seed=0)
    for _ in range(200):
        action, _ = by_graph.predict(observation, deterministic=True, action_masks=info["action_mask"])
        assert by_torch.predict(observation, deterministic=True, action_masks=info["action_mask"])[0] == action
        observation, _, terminated, truncated, info = env.step(int(action))
        if terminated or truncated:
            observation, info = env.reset()


def test_new_weights_have_no_graph_of_the_old_ones(weights: Path) -> None:
    tensors, card = read_checkpoint(weights)
    write_checkpoint(weights, tensors, {key: card[key] for key in CARD})
    assert not weights.with_suffix(".onnx").exists()


def test_weights_that_their_card_does_not_name_are_refused_with_a_graph_too(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=r"expected the weights that its card student\.json names"):
        make_agent("student", PromptPreamEnv(), weights=weights)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (7, "expected weights of student, got those of None"),
        ({"agent": "ppo"}, "expected weights of student, got those of ppo"),
        ({"agent": "student", "hyperparams": []}, "expected the mappings 'hyperparams' and 'trained_on'"),
        ({"agent": "student", "hyperparams": {"network": {}}, "trained_on": {}}, "hyperparams: key 'fit' is missing"),
    ],
)
def test_a_card_of_something_else_is_refused(weights: Path, config: object, message: str) -> None:
    card = json.loads(weights.with_suffix(".json").read_text())
    weights.with_suffix(".json").write_text(json.dumps(card | {"config": config}))
    with pytest.raises(ValueError, match=message):
        make_agent("student", PromptPreamEnv(), weights=weights)


def test_the_graph_of_other_weights_is_refused(weights: Path) -> None:
    shutil.copy(StudentAgent.WEIGHTS.with_name("ppo.onnx"), weights.with_suffix(".onnx"))
    with pytest.raises(ValueError, match=r"student\.onnx: expected the graph of the weights with the hash \w{64}, got"):
        make_agent("student", PromptPreamEnv(), weights=weights)


def test_what_is_no_graph_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = weights.with_suffix(".onnx")
    graph.write_bytes(b"no graph")
    with pytest.raises(
        ValueError, match=r"student\.onnx: expected an ONNX graph: .*onnx_export --agent NAME --weights FILE` makes it"
    ):
        make_agent("student", PromptPreamEnv(), weights=weights)
    monkeypatch.setattr(deciders, "MOST_GRAPH_BYTES", 7)
    graph.write_bytes(b"too long")
    with pytest.raises(ValueError, match="expected at most 7 bytes, got 8"):
        make_agent("student", PromptPreamEnv(), weights=weights)
