"""The masked DQN: its replay buffer against a naive one, and its targets worked by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.training.dqn import TimedReplayBuffer

GAMMA, ENVS, ACTIONS = 0.9, 3, 4


class FakeClock:
    elapsed_s = np.ones(ENVS)


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


def test_targets_take_the_best_legal_action_of_the_online_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.training.dqn import MaskedDQN, Transitions

    class Table(torch.nn.Module):
        def __init__(self, here: list[float], then: list[float]) -> None:
            super().__init__()
            self.values = torch.nn.Parameter(torch.tensor([here, then]))

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return self.values[observations.long().flatten()]

    class Policy(torch.nn.Module):
        def set_training_mode(self, mode: bool) -> None:
            self.train(mode)

    online, target = Table([0.0, 0.0, 0.0], [9.0, 1.0, 2.0]), Table([0.0, 0.0, 0.0], [50.0, 7.0, 3.0])
    batch = Transitions(
        observations=torch.tensor([[0.0], [0.0]]),
        actions=torch.tensor([[1], [2]]),
        rewards=torch.tensor([[0.5], [0.25]]),
        discounts=torch.tensor([[0.8], [0.0]]),  # the second ended its episode
        next_observations=torch.tensor([[1.0], [1.0]]),
        next_masks=torch.tensor([[False, True, True], [True, True, True]]),
    )
    model = MaskedDQN.__new__(MaskedDQN)
    model.policy = Policy()  # type: ignore[assignment]
    model.policy.optimizer = torch.optim.SGD(online.parameters(), lr=1.0)
    model.q_net, model.q_net_target = online, target  # type: ignore[assignment]
    model.learning_starts, model.n_envs, model.max_grad_norm, model._n_updates = 0, 1, 1e9, 0

    class Memory:
        n_steps = 1

        def size(self) -> int:
            return 10

        def sample(self, batch_size: int) -> Transitions:
            return batch

    model.replay_buffer = Memory()  # type: ignore[assignment]
    monkeypatch.setattr(MaskedDQN, "_update_learning_rate", lambda self, optimizer: None)
    logged: dict[str, float] = {}
    logger = type("Logger", (), {"record": lambda self, key, value, exclude=None: logged.update({key: value})})
    monkeypatch.setattr(MaskedDQN, "logger", logger())
    model.train(1, 2)
    # Among the legal 1 and 2 the online network prefers 2, whose value the target network says: 0.5 + 0.8 * 3 = 2.9.
    # Huber's loss is linear beyond 1: mean of 2.9 - 0.5 and 0.25^2 / 2
    assert logged["train/loss"] == pytest.approx((2.4 + 0.03125) / 2)
    # gradients: -1 / 2 and -0.25 / 2
    torch.testing.assert_close(online.values.detach()[0], torch.tensor([0.0, 0.5, 0.125]))
