"""The masked DQN: its targets worked by hand."""

import pytest
import torch

from agents.training.buffers import Transitions
from agents.training.dqn import MaskedDQN


def test_targets_take_the_best_legal_action_of_the_online_network(monkeypatch: pytest.MonkeyPatch) -> None:
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
