"""The export of learned policies: the graph decides as the policy does."""

from pathlib import Path

import pytest
import torch

from agents.learned import PPOAgent, decide

pytest.importorskip("onnxruntime", reason="the extra 'deploy' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'deploy' is not installed")

from agents.onnx_export import WEIGHTS, compare, export, meet, open_graph, read_policy
from ppgym.core.actions import action_count
from ppgym.env import PromptPreamEnv


@pytest.mark.parametrize("agent", WEIGHTS)
def test_the_graph_decides_the_same(agent: str, tmp_path: Path) -> None:
    world = PromptPreamEnv().world
    size, actions = world.features.layout.size, action_count(len(world.options))
    policy = read_policy(agent, WEIGHTS[agent], world.options, size)
    situations = list(meet(agent, policy, 512))
    path = tmp_path / f"{agent}.onnx"
    export(policy, path, situations[0].observation.shape[1], actions)
    found = compare(policy, open_graph(path), situations)
    assert found.decisions >= 512
    assert found.same == found.decisions
    assert found.logit_difference < 1e-3
    with torch.inference_mode():
        chosen = {int(policy(*map(torch.from_numpy, situation))[0]) for situation in situations}
    assert len(chosen) > 10  # it is no constant


def test_the_rule_of_ppo_is_the_agents() -> None:
    env = PromptPreamEnv(split="validation")
    world = env.world
    policy = read_policy("ppo", PPOAgent.WEIGHTS, world.options, world.features.layout.size)
    for situation in list(meet("ppo", policy, 256)):
        expected = decide(policy.network.policy, *situation)
        assert int(policy(*map(torch.from_numpy, situation))[0]) == expected[0]
