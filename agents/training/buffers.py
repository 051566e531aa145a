"""Buffers whose discounts hold for a second, not for a decision: of rollouts (PPO) and of replay (DQN)."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from torch import Tensor


class Clock(Protocol):
    """Knows how long the last step took in each environment."""

    elapsed_s: npt.NDArray[np.float64]  # [N]


class TimedRolloutBuffer(MaskableRolloutBuffer):
    """A rollout buffer whose `gamma` and `gae_lambda` hold for a second, not for a decision.

    Decisions last from nothing to several seconds. A discount per decision would favour waiting: many short waits
    discount the penalties that follow more than one download of the same length does.
    """

    def __init__(self, *args: Any, clock: Clock, **kwargs: Any) -> None:
        """Make the buffer.

        Args:
            *args: As `MaskableRolloutBuffer`.
            clock: Asked after each step.
            **kwargs: As `MaskableRolloutBuffer`.
        """
        self._clock = clock
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.action_masks = self.action_masks.astype(np.bool_)  # a quarter of the memory to shuffle
        self._elapsed_s = np.zeros((self.buffer_size, self.n_envs), np.float32)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add a step of every environment."""
        self._elapsed_s[self.pos] = self._clock.elapsed_s
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: npt.NDArray[np.bool_]) -> None:
        """Generalised advantage estimates in event time.

        Args:
            last_values: [N] values of the observations after the last step.
            dones: [N] whether the last step ended an episode.
        """
        discount = self.gamma**self._elapsed_s
        trace = (self.gamma * self.gae_lambda) ** self._elapsed_s
        next_values, goes_on = last_values.clone().cpu().numpy().flatten(), ~dones
        advantage = np.zeros(self.n_envs, np.float32)
        for step in reversed(range(self.buffer_size)):
            surprise = self.rewards[step] + discount[step] * next_values * goes_on - self.values[step]
            advantage = surprise + trace[step] * goes_on * advantage
            self.advantages[step] = advantage
            next_values, goes_on = self.values[step], self.episode_starts[step] == 0.0
        self.returns = self.advantages + self.values


class Transitions(NamedTuple):
    """B decisions, each with what followed within the next n."""

    observations: Tensor  # [B, size]
    actions: Tensor  # [B, 1]
    rewards: Tensor  # [B, 1] discounted sum
    discounts: Tensor  # [B, 1] of the value of the next observation; 0 where the episode has ended
    next_observations: Tensor  # [B, size]
    next_masks: Tensor  # [B, actions]


class TimedReplayBuffer(ReplayBuffer):
    """A replay buffer of n-step transitions whose discount holds for a second, not for a decision.

    A row holds one step of every environment: observation, mask, action and reward. The next row holds the next
    observation. A transition ends early where its episode ends. A terminated episode has no value after its last step.
    A truncated one would have, but no row holds its last observation: the transition ends one step before.
    """

    def __init__(self, *args: Any, clock: Clock, gamma: float, n_steps: int, **kwargs: Any) -> None:
        """Make the buffer.

        Args:
            *args: As `ReplayBuffer`.
            clock: Asked after each step how long it took.
            gamma: Discount of a second.
            n_steps: Decisions in a transition.
            **kwargs: As `ReplayBuffer`.
        """
        kwargs |= {"optimize_memory_usage": True, "handle_timeout_termination": False}
        super().__init__(*args, **kwargs)
        self._clock, self._gamma, self.n_steps = clock, gamma, n_steps
        self._elapsed_s = np.zeros((self.buffer_size, self.n_envs), np.float32)
        self._truncated = np.zeros((self.buffer_size, self.n_envs), np.bool_)
        self._masks = np.zeros((self.buffer_size, self.n_envs, int(self.action_space.n)), np.bool_)  # type: ignore[attr-defined]
        self.masks = np.zeros((0, 0), np.bool_)  # [N, actions] of the decision that `add` records next; set it before

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: list[dict[str, Any]]) -> None:
        """Add a step of every environment; see `ReplayBuffer`."""
        self._elapsed_s[self.pos] = self._clock.elapsed_s
        self._truncated[self.pos] = [info.get("TimeLimit.truncated", False) for info in infos]
        self._masks[self.pos] = self.masks
        super().add(obs, next_obs, action, reward, done, infos)

    def sample(self, batch_size: int, env: Any = None) -> Transitions:  # type: ignore[override]
        """Draw transitions.

        Args:
            batch_size: B.
            env: Not used.

        Returns:
            The transitions.
        """
        # In a full buffer the row to be written next holds the last step's next observation
        oldest, count = (self.pos + 1, self.buffer_size - 1) if self.full else (0, self.pos)
        rows, columns = np.zeros(batch_size, np.int64), np.zeros(batch_size, np.int64)
        wanted = np.ones(batch_size, np.bool_)
        while wanted.any():
            ages = np.random.randint(0, count - self.n_steps, wanted.sum())  # noqa: NPY002 (Stable-Baselines3 seeds it)
            rows[wanted] = (oldest + ages) % self.buffer_size
            columns[wanted] = np.random.randint(0, self.n_envs, wanted.sum())  # noqa: NPY002
            wanted = self._truncated[rows, columns]  # their next observation is not known
        return self._transitions(rows, columns)

    def _transitions(self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Transitions:
        rewards, discounts = np.zeros(len(rows), np.float32), np.ones(len(rows), np.float32)
        ends, alive = rows, np.ones(len(rows), np.bool_)
        for step in range(self.n_steps):
            here = (rows + step) % self.buffer_size
            alive &= ~self._truncated[here, columns]
            rewards += alive * discounts * self.rewards[here, columns]
            discounts *= np.where(alive, self._gamma ** self._elapsed_s[here, columns], 1.0)
            discounts *= np.where(alive, 1.0 - self.dones[here, columns], 1.0)
            ends = np.where(alive, here + 1, ends)
            alive &= self.dones[here, columns] == 0.0
        ends = ends % self.buffer_size
        return Transitions(
            *(
                self.to_torch(array)
                for array in (
                    self.observations[rows, columns],
                    self.actions[rows, columns],
                    rewards[:, None],
                    discounts[:, None],
                    self.observations[ends, columns],
                    self._masks[ends, columns],
                )
            )
        )
