"""The export of learned policies: the graph decides as the policy does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.learned.deciders import open_graph
from agents.learned.deployed import read_policy
from agents.learned.padding import Padding
from agents.learned.policies import DQNAgent, PPOAgent

pytest.importorskip("onnxscript", reason="the extra 'deploy' is not installed")

from agents.learned.onnx_graph import WEIGHTS, check_agreement, export, play_situations
from ppgym.core.actions import WAIT
from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.env import PromptPreamEnv


@pytest.mark.parametrize("agent", WEIGHTS)
def test_the_graph_decides_the_same(agent: str, tmp_path: Path) -> None:
    policy = read_policy(agent, WEIGHTS[agent])
    situations = list(play_situations(policy, 1024))
    path = tmp_path / f"{agent}.onnx"
    export(policy, path, "0" * 64)
    found = check_agreement(policy, open_graph(path), situations)
    assert found.decisions >= 1024
    assert found.same == found.decisions
    assert found.logit_difference < 1e-3
    with torch.inference_mode():
        chosen = {int(policy(*map(torch.from_numpy, situation))[0]) for situation in situations}
    assert len(chosen) > 10  # it is no constant


@pytest.mark.parametrize("agent_class", [PPOAgent, DQNAgent])
def test_the_rule_is_the_agents(agent_class: type[PPOAgent | DQNAgent]) -> None:
    env = PromptPreamEnv(split="validation")
    name = agent_class.WEIGHTS.stem
    policy, agent = read_policy(name, agent_class.WEIGHTS), agent_class(env)
    padding, idle = Padding(env.options, MAX_REPRESENTATIONS), 0
    observation, info = env.reset(seed=0)
    for _ in range(256):
        expected, _ = agent.predict(observation, deterministic=True, action_masks=info["action_mask"])
        padded = padding.observations(observation[None]), padding.masks(info["action_mask"][None].astype(np.bool_))
        action, logits = policy(*map(torch.from_numpy, padded))
        assert padding.to_world(action.numpy())[0] == expected
        idle += int(torch.isinf(logits[0, WAIT]))
        observation, _, terminated, truncated, info = env.step(expected)
        if terminated or truncated:
            observation, info = env.reset()
    assert idle > 5  # where waiting is legal, and neither may choose it
