"""The adapter to Stable-Baselines3: equal to single environments, and to each part alone."""

import dataclasses

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import VecEnv

from agents.learned.padding import Padding
from agents.training.vec_env import SB3VecEnv, make_vec_env
from ppgym.core.qoe import REWARD_TERMS
from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.env import PromptPreamEnv
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario
from tests.agents.training.tiny import SHORT

R = 6


def random_legal(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    return (rng.random(masks.shape) * masks).argmax(axis=1)


def test_adapter_equals_single_environments() -> None:
    count, scale = 3, 0.1
    singles = [PromptPreamEnv(**SHORT) for _ in range(count)]
    adapter = SB3VecEnv([PromptPreamVectorEnv(count, autoreset_mode=AutoresetMode.SAME_STEP, **SHORT)], R, scale)
    padding = Padding(singles[0].options, R)

    def padded(observation: np.ndarray) -> np.ndarray:
        return padding.observations(observation[None])[0]

    assert isinstance(adapter, VecEnv)
    adapter.seed(5)
    observations = adapter.reset()
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(observations[i], padded(single.reset(seed=5 + i)[0]))
    sums = [dict.fromkeys(("r", "l", *REWARD_TERMS, "invalid"), 0.0) for _ in singles]
    rng, kinds = np.random.default_rng(0), set()
    for _ in range(600):
        masks = get_action_masks(adapter)
        actions = random_legal(rng, masks)
        actions[0] = len(masks[0]) - 1 if rng.random() < 0.1 else actions[0]  # at times illegal
        observations, rewards, ended, infos = adapter.step(actions)
        assert rewards.dtype == np.float32
        for i, single in enumerate(singles):
            np.testing.assert_array_equal(masks[i], padding.masks(single.action_masks()[None])[0])
            observation, reward, terminated, truncated, info = single.step(int(padding.to_world(actions[i])))
            for key, value in {"r": reward, "l": 1, "invalid": info["invalid_action"]}.items():
                sums[i][key] += value
            for name in REWARD_TERMS:
                sums[i][name] += info[f"reward_{name}"]
            assert rewards[i] == np.float32(scale * reward)
            assert adapter.elapsed_s[i] == info["elapsed_s"]
            assert ended[i] == (terminated or truncated)
            if ended[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], padded(observation))
                assert infos[i]["TimeLimit.truncated"] == truncated
                assert infos[i]["episode"] == pytest.approx(sums[i])
                kinds.add(truncated)
                sums[i] = dict.fromkeys(sums[i], 0.0)
                observation, _ = single.reset()
            else:
                assert infos[i] == {}
            np.testing.assert_array_equal(observations[i], padded(observation))
            assert adapter.drawn_watch_s()[i] == pytest.approx(single.drawn_watch_s())
    assert kinds == {False, True}


def test_joined_adapters_equal_each_alone() -> None:
    names = "low/rtx-4090/typical", "high/pixels-only/skimmer/pixels"
    scenarios = [Scenario.parse(name, **SHORT) for name in names]
    joined = make_vec_env(scenarios, [2, 2], "train", MAX_REPRESENTATIONS, 0.1)
    alone = [make_vec_env([scenario], [2], "train", MAX_REPRESENTATIONS, 0.1) for scenario in scenarios]
    joined.seed(7)
    for part, seed in zip(alone, (7, 9), strict=True):
        part.seed(seed)
    assert joined.num_envs == 4
    np.testing.assert_array_equal(joined.reset(), np.concatenate([part.reset() for part in alone]))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(200):
        masks = get_action_masks(joined)
        np.testing.assert_array_equal(masks, np.concatenate([get_action_masks(part) for part in alone]))
        actions = random_legal(rng, masks)
        observations, rewards, ended, infos = joined.step(actions)
        apart = [part.step(some) for part, some in zip(alone, (actions[:2], actions[2:]), strict=True)]
        np.testing.assert_array_equal(observations, np.concatenate([one[0] for one in apart]))
        np.testing.assert_array_equal(rewards, np.concatenate([one[1] for one in apart]))
        np.testing.assert_array_equal(ended, np.concatenate([one[2] for one in apart]))
        np.testing.assert_array_equal(joined.elapsed_s, np.concatenate([part.elapsed_s for part in alone]))
        for info, expected in zip(infos, [info for one in apart for info in one[3]], strict=True):
            assert info.get("episode") == expected.get("episode")
            ends += "episode" in info
    assert ends > 4
    assert joined.busy_s > 0.0


def test_rewards_weigh_alike_whatever_the_ladders_unit() -> None:
    plain = Ladder.load("published")
    dear = dataclasses.replace(
        plain,
        representations=tuple(dataclasses.replace(one, quality=8.0 * one.quality) for one in plain.representations),
    )
    scenarios = [Scenario.parse(DEFAULT_SCENARIO, ladder=ladder) for ladder in (plain.to_json(), dear.to_json())]
    joined = make_vec_env(scenarios, [1, 1], "train", R)
    joined._seeds = [0, 0]
    joined.reset()
    for _ in range(60):
        masks = joined.action_masks()
        _, rewards, *_ = joined.step(np.array([masks[0].nonzero()[0][-1]] * 2))
        assert rewards[1] == pytest.approx(rewards[0], rel=1e-5, abs=1e-6)


def test_a_ladder_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a ladder of at most 5 representations"):
        SB3VecEnv([PromptPreamVectorEnv(1, autoreset_mode=AutoresetMode.SAME_STEP)], 5)


def test_adapter_answers_as_stable_baselines3_asks() -> None:
    envs = PromptPreamVectorEnv(3, autoreset_mode=AutoresetMode.SAME_STEP, **SHORT)
    adapter = SB3VecEnv([envs], R)
    adapter.reset()
    assert is_masking_supported(adapter)
    assert not adapter.has_attr("no_such_attribute")
    assert len(adapter.env_method("action_masks", indices=[0, 2])) == 2
    assert adapter.env_is_wrapped(SB3VecEnv) == [False] * 3
    with pytest.raises(NotImplementedError, match="make another one"):
        adapter.set_attr("num_envs", 2)
    with pytest.raises(ValueError, match="expected SameStep, got NextStep"):
        SB3VecEnv([PromptPreamVectorEnv(2, **SHORT)], R)
