"""The scripts of examples/ run, for a few iterations."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import ppgym  # noqa: F401  registers the environment
from agents import make_agent

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_my_agent_is_short_and_legal_and_better_than_drawing() -> None:
    lines = (EXAMPLES / "my_agent.py").read_text().split("class MyAgent")[1].splitlines()
    assert 15 <= len(lines) <= 30
    returns = {"examples.my_agent:MyAgent": 0.0, "random": 0.0}
    env = gymnasium.make("PromptPream-v0", split="validation")
    for name in returns:
        agent = make_agent(name, env, seed=0)
        observation, info = env.reset(seed=0)
        ended = False
        while not ended:
            action, _ = agent.predict(observation)
            assert info["action_mask"][action]
            observation, reward, terminated, truncated, info = env.step(action)
            returns[name] += float(reward)
            ended = terminated or truncated
    assert returns["examples.my_agent:MyAgent"] > returns["random"] + 100


def test_cleanrl_ppo() -> None:
    out = run("cleanrl_ppo.py", "--iterations", "3", "--num-envs", "8", "--num-steps", "128")
    assert re.findall(r"^\d+: return -?\d+\.\d, [\d,]+ decisions/s$", out, re.MULTILINE)[-1].startswith("3: ")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_rllib_ppo() -> None:
    assert len((EXAMPLES / "rllib_ppo.py").read_text().splitlines()) < 60
    out = run("rllib_ppo.py", "--iterations", "1", "--runners", "0", "--batch", "256")
    assert re.search(r"^1: 256 decisions, return", out, re.MULTILINE)
