"""Fine-tuning of a student by PPO, in environments of several scenarios side by side.

The network and what it sees are in `agents.learned.student`; how it is taught before is in
`agents.training.distillation`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from agents.learned.student import StudentNetwork, StudentVectorEnv
from agents.training.vec_env import JoinedVecEnv, SB3VecEnv, TimedRolloutBuffer


class WeightedRolloutBuffer(TimedRolloutBuffer):
    """A timed rollout buffer whose advantages count by the root of their episode's weight in the benchmark's mean.

    By the weight itself, a few short episodes would have most of it. It is fixed when the episode is drawn, so that
    no decision changes it: the policy's gradient is that of the weighted mean of returns, whatever the critic's unit.
    """

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._weight = np.zeros((self.buffer_size, self.n_envs), np.float32)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add a step of every environment."""
        self._weight[self.pos] = np.sqrt(self._clock.weight)  # type: ignore[attr-defined]
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: npt.NDArray[np.bool_]) -> None:
        """Estimate, then weigh."""
        super().compute_returns_and_advantage(last_values, dones)
        self.advantages *= self._weight


class StudentActorCritic(nn.Module):
    """What Stable-Baselines3 calls an extractor: its two "latents" are the logits and what the value is read from."""

    def __init__(self, options: int, network: Mapping[str, int], critic_width: int) -> None:
        """Make both networks.

        Args:
            options: O.
            network: Keyword arguments of `StudentNetwork`.
            critic_width: Of the critic's layers.
        """
        super().__init__()
        self.actor = StudentNetwork(options, **network)
        self._seen = self.actor.layout.requests
        self.critic = nn.Sequential(
            nn.Linear(self._seen, critic_width), nn.ReLU(), nn.Linear(critic_width, critic_width), nn.ReLU()
        )
        self.latent_dim_vf = critic_width

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the critic's code."""
        return self.forward_actor(seen), self.forward_critic(seen)

    def forward_actor(self, seen: Tensor) -> Tensor:
        """Logits [B, 1 + S * L * O]."""
        logits: Tensor = self.actor(seen)
        return logits

    def forward_critic(self, seen: Tensor) -> Tensor:
        """The critic's code [B, critic_width]: of the situation, the slots and the candidates."""
        code: Tensor = self.critic(seen[:, : self._seen])
        return code


class StudentPolicy(MaskableActorCriticPolicy):
    """A masked actor-critic policy around the student."""

    def __init__(self, *args: Any, options: int, network: Mapping[str, int], critic_width: int, **kwargs: Any) -> None:
        """Make the policy; see `StudentActorCritic` for the arguments."""
        self._network_arguments = (options, network, critic_width)
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        networks = StudentActorCritic(*self._network_arguments)
        self.mlp_extractor = networks  # type: ignore[assignment]
        self.action_net = nn.Identity()
        self.value_net = nn.Linear(networks.latent_dim_vf, 1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]


def make_ppo(
    scenarios: Mapping[str, int],
    network: Mapping[str, int],
    critic_width: int,
    params: Mapping[str, Any],
    reward_scale: float,
    seed: int,
) -> MaskablePPO:
    """PPO with an untrained student.

    Args:
        scenarios: How many environments of each.
        network: Keyword arguments of `StudentNetwork`.
        critic_width: Of the critic's layers.
        params: Keyword arguments of `MaskablePPO`.
        reward_scale: Factor on the rewards.
        seed: Seeds it.

    Returns:
        The model.
    """
    env = JoinedVecEnv(
        [
            SB3VecEnv(StudentVectorEnv(count, name, "train", AutoresetMode.SAME_STEP), reward_scale)
            for name, count in scenarios.items()
        ]
    )
    return MaskablePPO(
        StudentPolicy,
        env,
        policy_kwargs={
            "options": len(env.parts[0].envs.options),
            "network": dict(network),
            "critic_width": critic_width,
        },
        rollout_buffer_class=WeightedRolloutBuffer,
        rollout_buffer_kwargs={"clock": env},
        seed=seed,
        device="cpu",
        **params,
    )


def student_of(model: Any) -> StudentNetwork:
    """The student inside a model.

    Args:
        model: Made by `make_ppo`.

    Returns:
        Its network, as it is.
    """
    student: StudentNetwork = model.policy.mlp_extractor.actor
    return student
