"""A double DQN that respects masks, in its actions and in its targets; the rest is Stable-Baselines3's `DQN`.

The networks are in `agents.learned.networks`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import DQN
from torch.nn import functional

from agents.learned.networks import ILLEGAL
from agents.learned.sb3_policies import CandidateQPolicy, decide_by_value
from agents.training.buffers import TimedReplayBuffer


class MaskedDQN(DQN):
    """Double DQN over legal actions.

    It explores by the policy's temperature. `DQN` draws its explored actions uniformly, and most of those would fetch
    chunks that nobody will see.
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
        """Update the values towards n-step targets of the legal action that the online network values most.

        It learns nothing before the replay buffer holds `learning_starts` decisions; a resumed run fills it anew.

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
