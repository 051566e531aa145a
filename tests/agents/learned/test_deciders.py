"""Where the scores of a checkpoint's actions come from: its graph, and torch where there is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents import make_agent
from agents.learned import deciders
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


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for shipped in StudentAgent.WEIGHTS.parent.glob("student.*"):
        shutil.copy(shipped, tmp_path)
    return tmp_path / "student.safetensors"


def test_shipped_agents_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_shipped_pairs_are_small() -> None:
    for weights in StudentAgent.WEIGHTS.parent.glob("*.safetensors"):
        assert weights.stat().st_size + weights.with_suffix(".onnx").stat().st_size <= 5_000_000


def test_the_graph_decides_where_it_is_and_else_torch(weights: Path) -> None:
    env = PromptPreamEnv()
    by_graph = make_agent("student", env, weights=weights)
    weights.with_suffix(".onnx").unlink()
    by_torch = make_agent("student", env, weights=weights)
    assert isinstance(by_graph._decider, Graph)
    assert isinstance(by_torch._decider, Deployed)
    observation, info = env.reset(seed=0)
    for _ in range(200):
        action, _ = by_graph.predict(observation, action_masks=info["action_mask"])
        assert by_torch.predict(observation, action_masks=info["action_mask"])[0] == action
        observation, _, terminated, truncated, info = env.step(int(action))
        if terminated or truncated:
            observation, info = env.reset()


def test_the_graph_of_other_weights_is_refused(weights: Path) -> None:
    shutil.copy(StudentAgent.WEIGHTS.with_name("ppo.onnx"), weights.with_suffix(".onnx"))
    with pytest.raises(ValueError, match=r"student\.onnx: expected the graph of the weights with the hash \w{64}, got"):
        make_agent("student", PromptPreamEnv(), weights=weights)


def test_what_is_no_graph_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = weights.with_suffix(".onnx")
    graph.write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"student\.onnx: expected an ONNX graph: .*onnx_export` makes it"):
        make_agent("student", PromptPreamEnv(), weights=weights)
    monkeypatch.setattr(deciders, "MOST_GRAPH_BYTES", 7)
    graph.write_bytes(b"too long")
    with pytest.raises(ValueError, match="expected at most 7 bytes, got 8"):
        make_agent("student", PromptPreamEnv(), weights=weights)
