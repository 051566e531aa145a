"""The adapter to Stable-Baselines3: equal to single environments, and to each part alone."""

import dataclasses

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import VecEnv

from agents.learned.student import StudentVectorEnv
from agents.training.vec_env import SB3VecEnv, make_vec_env
from ppgym.core.qoe import REWARD_TERMS
from ppgym.env import PromptPreamEnv
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario
from tests.agents.training.tiny import SHORT


def random_legal(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    return (rng.random(masks.shape) * masks).argmax(axis=1)


def test_adapter_equals_single_environments() -> None:
    count, scale = 3, 0.1
    singles = [PromptPreamEnv(**SHORT) for _ in range(count)]
    adapter = SB3VecEnv([PromptPreamVectorEnv(count, autoreset_mode=AutoresetMode.SAME_STEP, **SHORT)], scale)
    assert isinstance(adapter, VecEnv)
    adapter.seed(5)
    observations = adapter.reset()
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(observations[i], single.reset(seed=5 + i)[0])
    sums = [dict.fromkeys(("r", "l", *REWARD_TERMS, "invalid"), 0.0) for _ in singles]
    rng, kinds = np.random.default_rng(0), set()
    for _ in range(600):
        masks = get_action_masks(adapter)
        actions = random_legal(rng, masks)
        actions[0] = 300 if rng.random() < 0.1 else actions[0]  # at times illegal
        observations, rewards, ended, infos = adapter.step(actions)
        assert rewards.dtype == np.float32
        for i, single in enumerate(singles):
            np.testing.assert_array_equal(masks[i], single.action_masks())
            observation, reward, terminated, truncated, info = single.step(actions[i])
            for key, value in {"r": reward, "l": 1, "invalid": info["invalid_action"]}.items():
                sums[i][key] += value
            for name in REWARD_TERMS:
                sums[i][name] += info[f"reward_{name}"]
            assert rewards[i] == np.float32(scale * reward)
            assert adapter.elapsed_s[i] == info["elapsed_s"]
            assert ended[i] == (terminated or truncated)
            if ended[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], observation)
                assert infos[i]["TimeLimit.truncated"] == truncated
                assert infos[i]["episode"] == pytest.approx(sums[i])
                kinds.add(truncated)
                sums[i] = dict.fromkeys(sums[i], 0.0)
                observation, _ = single.reset()
            else:
                assert infos[i] == {}
            np.testing.assert_array_equal(observations[i], observation)
            assert adapter.drawn_watch_s()[i] == pytest.approx(single.drawn_watch_s())
    assert kinds == {False, True}


def test_joined_adapters_equal_each_alone() -> None:
    scenarios = [Scenario.parse(name, **SHORT) for name in ("low/rtx-4090/typical", "high/pixels-only/skimmer")]
    joined = make_vec_env(scenarios, "train", 5, 0.1)  # 2 of each
    alone = [make_vec_env([scenario], "train", 2, 0.1) for scenario in scenarios]
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


def test_scenarios_with_other_options_are_not_joined() -> None:
    parts = [PromptPreamVectorEnv(1, autoreset_mode=AutoresetMode.SAME_STEP) for _ in range(2)]
    world = parts[1].world
    parts[1].world = dataclasses.replace(world, options=world.options[::-1])
    with pytest.raises(ValueError, match="the same options everywhere"):
        SB3VecEnv(parts)


def test_adapter_answers_as_stable_baselines3_asks() -> None:
    envs = PromptPreamVectorEnv(3, autoreset_mode=AutoresetMode.SAME_STEP, **SHORT)
    adapter = SB3VecEnv([envs])
    adapter.reset()
    assert is_masking_supported(adapter)
    assert not adapter.has_attr("no_such_attribute")
    assert len(adapter.env_method("action_masks", indices=[0, 2])) == 2
    assert adapter.env_is_wrapped(SB3VecEnv) == [False] * 3
    with pytest.raises(NotImplementedError, match="make another one"):
        adapter.set_attr("num_envs", 2)
    with pytest.raises(ValueError, match="expected SameStep, got NextStep"):
        SB3VecEnv([PromptPreamVectorEnv(2, **SHORT)])


def test_environments_of_the_student_are_joined_too() -> None:
    def parts() -> list[StudentVectorEnv]:
        return [
            StudentVectorEnv(count, name, "train", AutoresetMode.SAME_STEP)
            for name, count in ((DEFAULT_SCENARIO, 2), ("high/rtx-4090/typical", 1))
        ]

    joined, alone = SB3VecEnv(parts(), 0.1), [SB3VecEnv([part], 0.1) for part in parts()]
    joined.seed(4)
    alone[0].seed(4)
    alone[1].seed(6)
    np.testing.assert_array_equal(joined.reset(), np.concatenate([one.reset() for one in alone]))
    rng = np.random.default_rng(0)
    for _ in range(150):
        np.testing.assert_array_equal(joined.drawn_watch_s(), np.concatenate([one.drawn_watch_s() for one in alone]))
        masks = np.array(joined.env_method("action_masks"))
        actions = random_legal(rng, masks)
        mine = joined.step(actions)
        theirs = [alone[0].step(actions[:2]), alone[1].step(actions[2:])]
        for column in range(3):
            np.testing.assert_array_equal(mine[column], np.concatenate([one[column] for one in theirs]))
        np.testing.assert_array_equal(joined.elapsed_s, np.concatenate([one.elapsed_s for one in alone]))
