"""A DQN that respects masks, in what it does and in what it learns from, and that knows how long decisions last.

The algorithm and its memory are Stable-Baselines3's but for that; no network and no training loop here.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from torch import Tensor
from torch.nn import functional

from agents.learned.networks import ILLEGAL
from agents.learned.policies import CandidateQPolicy, decide_by_value
from agents.training.vec_env import JoinedVecEnv


class Transitions(NamedTuple):
    """What is learned from: decisions, each with what followed within the next n; B of them."""

    observations: Tensor  # [B, size]
    actions: Tensor  # [B, 1]
    rewards: Tensor  # [B, 1] discounted sum
    discounts: Tensor  # [B, 1] of the value of what came then; 0 where the episode has ended
    next_observations: Tensor  # [B, size]
    next_masks: Tensor  # [B, actions]


class TimedReplayBuffer(ReplayBuffer):
    """A replay buffer of n-step transitions whose discount holds for a second, not for a decision.

    A row holds what every environment saw, what was legal, what it did and what came of it; what it saw next is the
    next row. A transition ends early where its episode does: with nothing to come where it was terminated, and before
    the last step where it was truncated, since what would have come then is in no row.
    """

    def __init__(self, *args: Any, clock: JoinedVecEnv, gamma: float, n_steps: int, **kwargs: Any) -> None:
        """Make the buffer.

        Args:
            *args: As `ReplayBuffer`.
            clock: Asked after each step how long it took.
            gamma: Discount of a second.
            n_steps: Decisions of a transition.
            **kwargs: As `ReplayBuffer`.
        """
        kwargs |= {"optimize_memory_usage": True, "handle_timeout_termination": False}
        super().__init__(*args, **kwargs)
        self._clock, self._gamma, self.n_steps = clock, gamma, n_steps
        self._elapsed_s = np.zeros((self.buffer_size, self.n_envs), np.float32)
        self._truncated = np.zeros((self.buffer_size, self.n_envs), np.bool_)
        self._masks = np.zeros((self.buffer_size, self.n_envs, int(self.action_space.n)), np.bool_)  # type: ignore[attr-defined]
        self.masks = np.zeros(
            (0, 0), np.bool_
        )  # [N, actions] of the decision that `add` records next; set from outside

    def add(
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
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
        # In a full buffer the row to be written next holds already what was seen last
        oldest, count = (self.pos + 1, self.buffer_size - 1) if self.full else (0, self.pos)
        rows, columns = np.zeros(batch_size, np.int64), np.zeros(batch_size, np.int64)
        wanted = np.ones(batch_size, np.bool_)
        while wanted.any():
            ages = np.random.randint(0, count - self.n_steps, wanted.sum())  # noqa: NPY002 (Stable-Baselines3 seeds it)
            rows[wanted] = (oldest + ages) % self.buffer_size
            columns[wanted] = np.random.randint(0, self.n_envs, wanted.sum())  # noqa: NPY002
            wanted = self._truncated[rows, columns]  # nothing is known of what came of these
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


class MaskedDQN(DQN):
    """Double DQN over legal actions.

    Where `DQN` tries an action drawn evenly, which in this game mostly fetches what nobody will see, this draws one by
    the policy's temperature.
    """

    policy: CandidateQPolicy
    replay_buffer: TimedReplayBuffer

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        masks = self.env.action_masks()  # type: ignore[union-attr]
        explored = np.random.rand(n_envs) < self.exploration_rate  # noqa: NPY002 (Stable-Baselines3 seeds it)
        noise = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
        greedy = decide_by_value(self.policy, self._last_obs, masks)  # type: ignore[arg-type]
        drawn = decide_by_value(self.policy, self._last_obs, masks, noise)  # type: ignore[arg-type]
        actions = np.where(explored, drawn, greedy)
        self.replay_buffer.masks = masks
        return actions, actions

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update the values towards n-step targets, whose action is the online network's best among the legal ones.

        Nothing is learned until the replay buffer holds `learning_starts` decisions, of a run that goes on too.

        Args:
            gradient_steps: How many updates.
            batch_size: Transitions of each.
        """
        least = max(self.learning_starts // self.n_envs, self.replay_buffer.n_steps)
        if self.replay_buffer.size() <= least:
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size)
            with torch.no_grad():
                ahead = self.q_net(batch.next_observations).masked_fill(~batch.next_masks, ILLEGAL)
                best = ahead.argmax(dim=1, keepdim=True)
                worth = self.q_net_target(batch.next_observations).gather(1, best)
                targets = batch.rewards + batch.discounts * worth
            loss = functional.smooth_l1_loss(self.q_net(batch.observations).gather(1, batch.actions.long()), targets)
            losses.append(loss.item())
            self.policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.q_net.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(np.mean(losses)))
