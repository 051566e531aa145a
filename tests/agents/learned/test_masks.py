"""What a learned agent may do: never wait while the viewer waits for what can be requested."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from agents.learned.cards import CARD
from agents.learned.checkpoints import read_checkpoint, write_checkpoint
from agents.learned.masks import may_wait, without_idling
from agents.learned.policies import PPOAgent
from agents.training.vec_env import LearnerVectorEnv
from ppgym.core.actions import WAIT
from ppgym.core.state import ABSENT, RING
from ppgym.env import PromptPreamEnv

SHORT: dict[str, Any] = {"n_videos": 2, "max_wall_s": 25.0}


def idles(env: PromptPreamEnv) -> bool:
    """Whether waiting would be idling, from the state itself."""
    state = env.planning_view().state
    status = state["chunk_status"][int(state["video"]) % len(state["chunk_status"]), int(state["playhead"]) % RING]
    return not state["playing"] and status == ABSENT


def test_waiting_for_the_first_chunk_by_hand() -> None:
    env = PromptPreamEnv()
    layout = env.world.features.layout
    observation, _ = env.reset(seed=0)
    first = without_idling(observation[None], env.action_masks()[None], layout)[0]
    assert not first[WAIT]  # nothing plays and nothing is on its way
    np.testing.assert_array_equal(first[1:], env.action_masks()[1:])
    observation, *_ = env.step(int(np.flatnonzero(first)[0]))
    while not env.planning_view().state["playing"]:
        assert without_idling(observation[None], env.action_masks()[None], layout)[0, WAIT]  # it is on its way
        observation, *_ = env.step(WAIT)
    assert without_idling(observation[None], env.action_masks()[None], layout)[0, WAIT]  # it plays


@pytest.mark.parametrize("scenario", ["low/snapdragon-8-elite/typical", "low/pixels-only/skimmer"])
def test_the_rule_follows_the_state(scenario: str) -> None:
    env = PromptPreamEnv(scenario, decoded_buffer_bytes=20_000_000)
    layout, rng, seen = env.world.features.layout, np.random.default_rng(0), set()
    observation, _ = env.reset(seed=1)
    for _ in range(600):
        legal = env.action_masks()
        allowed = without_idling(observation[None], legal[None], layout)[0]
        seen.add(idles(env))
        assert allowed[WAIT] == (not idles(env))
        np.testing.assert_array_equal(allowed[1:], legal[1:])
        assert allowed.any()
        tensors = torch.from_numpy(observation[None]), torch.from_numpy(legal[None])
        assert bool(may_wait(*tensors, layout)[0]) == allowed[WAIT]
        action = WAIT if rng.random() < 0.7 else int(rng.choice(np.flatnonzero(legal)))
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    assert seen == {False, True}


def test_vector_environments_of_learners_have_the_same_rule() -> None:
    envs = LearnerVectorEnv(3, autoreset_mode=AutoresetMode.SAME_STEP, **SHORT)
    singles = [PromptPreamEnv(**SHORT) for _ in range(3)]
    envs.reset(seed=2)
    for i, single in enumerate(singles):
        single.reset(seed=2 + i)
    rng, left_out = np.random.default_rng(0), 0
    for _ in range(200):
        masks = envs.action_masks()
        for row, single in zip(masks, singles, strict=True):
            expected = single.action_masks()
            expected[WAIT] = not idles(single)
            np.testing.assert_array_equal(row, expected)
        left_out += int((~masks[:, WAIT]).sum())
        legal = np.stack([single.action_masks() for single in singles])
        actions = np.where(rng.random(3) < 0.5, WAIT, (rng.random(legal.shape) * legal).argmax(axis=1))
        envs.step(actions)
        for single, action in zip(singles, actions, strict=True):
            _, _, terminated, truncated, _ = single.step(action)
            if terminated or truncated:
                single.reset()
    assert left_out > 20


def test_an_agent_that_would_rather_wait_does_not_starve_the_viewer(tmp_path: Path) -> None:
    tensors, card = read_checkpoint(PPOAgent.WEIGHTS)
    tensors["mlp_extractor.actor.wait.bias"] += 1e3
    write_checkpoint(tmp_path / "waiter.safetensors", tensors, {key: card[key] for key in CARD})
    env = PromptPreamEnv(split="validation")
    agent = PPOAgent(env, weights=tmp_path / "waiter.safetensors")
    observation, _ = env.reset(seed=0)
    terminated, truncated, waits, requests = False, False, 0, 0
    while not (terminated or truncated):
        starved = idles(env)
        action, _ = agent.predict(observation, deterministic=True)
        assert (action == WAIT) == (not starved)
        waits, requests = waits + (action == WAIT), requests + (action != WAIT)
        observation, _, terminated, truncated, _ = env.step(action)
    assert terminated
    assert min(waits, requests) > 20
