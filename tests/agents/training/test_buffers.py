"""Buffers that know how long decisions last: rollouts as Stable-Baselines3 has them, replay against a naive one."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer

from agents.training.buffers import TimedReplayBuffer, TimedRolloutBuffer

GAMMA, ENVS, ACTIONS = 0.9, 3, 4


class FakeClock:
    elapsed_s = np.ones(2)


def fill(buffer: MaskableRolloutBuffer, clock: FakeClock, elapsed_s: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for step in range(buffer.buffer_size):
        clock.elapsed_s = elapsed_s[step]
        buffer.add(
            np.zeros((2, 1)),
            np.zeros((2, 1)),
            rng.normal(size=2),
            np.array([step == 2, False]),
            torch.tensor(rng.normal(size=2)),
            torch.zeros(2),
        )
    buffer.compute_returns_and_advantage(torch.tensor([0.3, 0.4]), np.array([False, True]))


def make_buffer(kind: type[MaskableRolloutBuffer], **kwargs: Any) -> Any:
    box, discrete = spaces.Box(-1.0, 1.0, (1,), np.float32), spaces.Discrete(2)
    return kind(5, box, discrete, "cpu", gamma=0.9, gae_lambda=0.8, n_envs=2, **kwargs)


def test_a_decision_a_second_discounts_as_stable_baselines3() -> None:
    clock = FakeClock()
    timed, plain = make_buffer(TimedRolloutBuffer, clock=clock), make_buffer(MaskableRolloutBuffer)
    for buffer in (timed, plain):
        fill(buffer, clock, np.ones((5, 2)))
    np.testing.assert_allclose(timed.advantages, plain.advantages, rtol=1e-5)
    np.testing.assert_allclose(timed.returns, plain.returns, rtol=1e-5)


def test_discounts_by_elapsed_seconds() -> None:
    clock = FakeClock()
    timed = make_buffer(TimedRolloutBuffer, clock=clock)
    elapsed_s = np.random.default_rng(1).exponential(size=(5, 2))
    fill(timed, clock, elapsed_s)
    last = timed.rewards[4, 0] + 0.9 ** elapsed_s[4, 0] * 0.3 - timed.values[4, 0]
    before = timed.rewards[3, 0] + 0.9 ** elapsed_s[3, 0] * timed.values[4, 0] - timed.values[3, 0]
    assert timed.advantages[4, 0] == pytest.approx(last, rel=1e-5)
    assert timed.advantages[3, 0] == pytest.approx(before + 0.72 ** elapsed_s[3, 0] * last, rel=1e-5)
    # the episode of environment 0 ended with step 1, that of environment 1 with step 4
    assert timed.advantages[1, 0] == pytest.approx(timed.rewards[1, 0] - timed.values[1, 0], rel=1e-5)
    assert timed.advantages[4, 1] == pytest.approx(timed.rewards[4, 1] - timed.values[4, 1], rel=1e-5)


def filled_buffer(rows: int, steps: int, n_steps: int = 3) -> tuple[TimedReplayBuffer, list[dict[str, Any]]]:
    """A buffer, and the steps that went into it; what an environment saw next is in the next step."""
    clock, rng = FakeClock(), np.random.default_rng(0)
    box, discrete = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(ACTIONS)
    buffer = TimedReplayBuffer(
        rows * ENVS, box, discrete, "cpu", n_envs=ENVS, clock=clock, gamma=GAMMA, n_steps=n_steps
    )
    seen = []
    for number in range(steps):
        terminated, truncated = rng.random(ENVS) < 0.15, rng.random(ENVS) < 0.1
        step = {
            "observation": np.stack([np.full(ENVS, number), np.arange(ENVS)], axis=1).astype(np.float32) / 100,
            "action": rng.integers(0, ACTIONS, ENVS),
            "reward": rng.normal(size=ENVS).astype(np.float32),
            "ended": terminated | truncated,
            "truncated": truncated & ~terminated,
            "elapsed_s": rng.exponential(size=ENVS),
            "mask": rng.random((ENVS, ACTIONS)) < 0.5,
        }
        clock.elapsed_s, buffer.masks = step["elapsed_s"], step["mask"]
        infos = [{"TimeLimit.truncated": bool(cut)} for cut in step["truncated"]]
        terminal = np.full((ENVS, 2), -1.0, np.float32)  # where an episode goes on, the next call overwrites it
        buffer.add(step["observation"], terminal, step["action"], step["reward"], step["ended"], infos)
        seen.append(step)
    return buffer, seen


def naive(seen: list[dict[str, Any]], first: int, env: int, n_steps: int) -> tuple[float, float, int]:
    """Discounted rewards from a step on, the discount of what comes then (0 if nothing does), and at which step."""
    total, clock_s = 0.0, 0.0
    for number in range(first, first + n_steps):
        step = seen[number]
        if step["truncated"][env]:
            return total, GAMMA**clock_s, number
        total += GAMMA**clock_s * step["reward"][env]
        clock_s += step["elapsed_s"][env]
        if step["ended"][env]:
            return total, 0.0, number + 1
    return total, GAMMA**clock_s, first + n_steps


@pytest.mark.parametrize("steps", [12, 20, 47])  # the buffer half full, just full, and overwritten
def test_transitions_equal_naive_ones(steps: int) -> None:
    buffer, seen = filled_buffer(rows=20, steps=steps)
    np.random.seed(0)  # noqa: NPY002 (Stable-Baselines3 draws from it)
    batch = buffer.sample(500)
    drawn = set()
    for i in range(500):
        number, env = (round(100 * float(value)) for value in batch.observations[i])
        drawn.add(number)
        assert not seen[number]["truncated"][env]
        total, discount, then = naive(seen, number, env, 3)
        assert int(batch.actions[i, 0]) == seen[number]["action"][env]
        assert float(batch.rewards[i, 0]) == pytest.approx(total, rel=1e-4, abs=1e-5)
        assert float(batch.discounts[i, 0]) == pytest.approx(discount, rel=1e-4)
        if discount > 0.0:
            np.testing.assert_array_equal(batch.next_observations[i].numpy(), seen[then]["observation"][env])
            np.testing.assert_array_equal(batch.next_masks[i].numpy(), seen[then]["mask"][env])
    oldest = max(steps - 19, 0)  # of a full buffer one row is about to be overwritten
    assert drawn == set(range(oldest, steps - 3))
