"""The vector environment: bit for bit `SyncVectorEnv` over the single one, in all autoreset modes."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ppgym.core.actions import fill_mask, find_candidates
from ppgym.core.episodes import view_sim
from ppgym.core.observation import observe
from ppgym.core.step import new_results
from ppgym.vector_env import PromptPreamVectorEnv
from tests.test_env import assert_same

COUNT = 5
SHORT = {"scenario": "medium/snapdragon-8-elite/skimmer", "n_videos": 3, "leave_p": 0.5}


def sync(mode: AutoresetMode, **kwargs: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gymnasium.make("PromptPream-v0", **kwargs)] * COUNT, autoreset_mode=mode)


def random_actions(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    """Mostly legal ones, sometimes any."""
    legal = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
    return np.where(rng.random(len(masks)) < 0.95, legal, rng.integers(0, masks.shape[1], len(masks)))


def assert_same_infos(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert sorted(ours) == sorted(theirs)
    for key, value in theirs.items():
        if isinstance(value, dict):
            assert_same_infos(ours[key], value)
        elif value.dtype == object:
            assert_same(list(ours[key]), list(value))
        else:
            assert_same(ours[key], value)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_it_equals_the_synchronous_vector_environment(mode: AutoresetMode) -> None:
    ours = gymnasium.make_vec("PromptPream-v0", num_envs=COUNT, autoreset_mode=mode, **SHORT)
    theirs = sync(mode, **SHORT)
    assert isinstance(ours, PromptPreamVectorEnv)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == mode

    rng = np.random.default_rng(0)
    observations, infos = ours.reset(seed=42)
    expected, expected_infos = theirs.reset(seed=42)
    assert_same(observations, expected)
    assert_same_infos(infos, expected_infos)
    ends = 0
    for _ in range(500):
        actions = random_actions(rng, infos["action_mask"])
        *results, infos = ours.step(actions)
        *expected, expected_infos = theirs.step(actions)
        assert_same(results, expected)
        assert_same_infos(infos, expected_infos)
        assert_same(ours.action_masks(), infos["action_mask"].astype(bool))
        ended = results[2] | results[3]
        ends += int(ended.sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            observations, infos = ours.reset(options={"reset_mask": ended})
            expected, expected_infos = theirs.reset(options={"reset_mask": ended.copy()})
            assert_same(observations, expected)
            assert_same_infos(infos, expected_infos)
            infos = {"action_mask": ours.action_masks()}
    assert ends > 20


@pytest.mark.parametrize("threads", [2, 3, COUNT])
def test_threads_and_shared_arrays_change_nothing(threads: int) -> None:
    options = SHORT | {"decoded_buffer_bytes": 25_000_000}  # so that memory forbids something now and then
    alone = PromptPreamVectorEnv(COUNT, **options)
    together = PromptPreamVectorEnv(COUNT, num_threads=threads, copy=False, **options)
    rng = np.random.default_rng(0)
    results, others = alone.reset(seed=7), together.reset(seed=7)
    for _ in range(300):
        assert_same(results[:-1], others[:-1])
        assert_same_infos(others[-1], results[-1])
        actions = random_actions(rng, results[-1]["action_mask"])
        results, others = alone.step(actions), together.step(actions)
    together.close()


@pytest.mark.parametrize("memory_bytes", [25_000_000, 512 * 2**20])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_a_row_shows_is_what_its_state_says(mode: AutoresetMode, memory_bytes: int) -> None:
    """Rows are written where they change; here each is written anew, whole."""
    envs = PromptPreamVectorEnv(COUNT, autoreset_mode=mode, decoded_buffer_bytes=memory_bytes, **SHORT)
    fresh = new_results(COUNT, envs.single_observation_space.shape[0], len(envs.options))
    rng = np.random.default_rng(1)
    observations, _ = envs.reset(seed=3)
    for _ in range(300):
        fresh.observation[:], fresh.mask[:] = np.nan, 9
        for i in range(COUNT):
            sim, state = view_sim(envs._sims, i), envs._states[i]
            find_candidates(sim, state, fresh.candidates)
            fill_mask(sim, state, fresh.candidates, fresh.mask[i])
            observe(sim, state, envs.world.features, fresh.candidates, fresh.observation[i])
        assert_same((observations, envs.action_masks()), (fresh.observation, fresh.mask.astype(np.bool_)))
        observations, _, terminated, truncated, _ = envs.step(random_actions(rng, envs.action_masks()))
        if mode == AutoresetMode.DISABLED and (terminated | truncated).any():
            observations, _ = envs.reset(options={"reset_mask": terminated | truncated})


def test_a_copy_goes_on_by_itself() -> None:
    envs = PromptPreamVectorEnv(COUNT, **SHORT)
    _, infos = envs.reset(seed=5)
    copied = pickle.loads(pickle.dumps(envs))
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions = random_actions(rng, infos["action_mask"])
        *results, infos = envs.step(actions)
        *others, others_infos = copied.step(actions)
        assert_same(others, results)
        assert_same_infos(others_infos, infos)


def test_arrays_that_are_not_copied_are_the_environments() -> None:
    envs = PromptPreamVectorEnv(2, copy=False)
    observations, infos = envs.reset(seed=0)
    again, *_, infos_again = envs.step(np.array([1, 2]))
    assert again is observations
    assert infos_again["action_mask"] is infos["action_mask"]


def test_the_default_mode_is_next_step_and_seeds_count_up() -> None:
    envs = gymnasium.make_vec("PromptPream-v0", num_envs=3)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observations, _ = envs.reset(seed=10)
    for i in range(3):
        single, _ = gymnasium.make("PromptPream-v0").reset(seed=10 + i)
        assert_same(observations[i], single)
    assert envs.np_random_seed == (10, 11, 12)
    again, _ = envs.reset(seed=[10, 11, 12])
    assert_same(again, observations)


def test_what_is_returned_is_the_callers() -> None:
    envs = gymnasium.make_vec("PromptPream-v0", num_envs=2)
    observations, infos = envs.reset(seed=0)
    before = observations.copy(), infos["action_mask"].copy()
    envs.step(np.array([1, 2]))
    assert_same((observations, infos["action_mask"]), before)


def test_misuse_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="num_envs"):
        PromptPreamVectorEnv(0)
    with pytest.raises(ValueError, match="num_threads: expected a whole number from 1 to 2"):
        PromptPreamVectorEnv(2, num_threads=3)
    envs = PromptPreamVectorEnv(2, max_wall_s=0.4, autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        envs.step([0, 0])
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        envs.step([0])
    envs.step([0, 0])
    with pytest.raises(gymnasium.error.ResetNeeded, match="ended"):
        envs.step([0, 0])
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": np.zeros(2, bool)})
    with pytest.raises(TypeError, match="reset_mask"):
        envs.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="seeds"):
        envs.reset(seed=[1])


def test_drawn_watch_seconds_are_the_exact_sums_up_to_the_last_video() -> None:
    envs: Any = gymnasium.make_vec("PromptPream-v0", num_envs=40)
    envs.reset(seed=0)
    drawn_s, episodes = envs.drawn_watch_s(), envs._episodes
    lengths = set()
    for i, (watch_s, leaves) in enumerate(zip(episodes.watch_s, episodes.leaves, strict=True)):
        seen = int(np.argmax(leaves)) + 1 if leaves.any() else len(leaves)
        lengths.add(seen)
        assert drawn_s[i] == watch_s[:seen].sum()
        single: Any = gymnasium.make("PromptPream-v0").unwrapped
        single.reset(seed=i)
        assert single.drawn_watch_s() == drawn_s[i]
    assert len(lengths) > 5
