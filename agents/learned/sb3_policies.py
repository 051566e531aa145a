"""Policies of Stable-Baselines3 with the networks of `agents.learned.networks`: what PPO and DQN train.

The agents that decide with what was trained are in `agents.learned.policies`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from agents.learned.checkpoints import Tensors
from agents.learned.networks import ActionScorer, ActionValues, ActorCritic, draw, masked_log_softmax
from agents.learned.padding import PLACES, padded_layout
from agents.learned.policies import TEMPERATURE, choose, choose_by_value
from ppgym.core.actions import action_count
from ppgym.files import suggest


class CandidatePolicy(MaskableActorCriticPolicy):
    """A masked actor-critic policy with `ActionScorer` in place of a layer with weights for each of the actions.

    It computes the same as its parent with this network would, but faster: `torch.distributions` normalises the logits
    twice.
    """

    def __init__(
        self,
        *args: Any,
        representations: int,
        slot_width: int = 32,
        context_width: int = 128,
        candidate_width: int = 64,
        **kwargs: Any,
    ) -> None:
        """Make the policy; `ActionScorer` explains the arguments of its own."""
        self._network_arguments = (representations, slot_width, context_width, candidate_width)
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        network = ActorCritic(*self._network_arguments)
        self.mlp_extractor = network  # type: ignore[assignment]
        self.action_net = nn.Identity()
        self.value_net = nn.Linear(network.latent_dim_vf, 1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Act.

        Args:
            obs: [B, size].
            deterministic: Whether to take the likeliest action instead of drawing one.
            action_masks: [B, actions], true where an action is legal; None where all are.

        Returns:
            Actions [B], values [B, 1] and logarithms of the actions' probabilities [B].
        """
        logits, critic = self.mlp_extractor(obs)
        shares = masked_log_softmax(logits, action_masks)
        actions = shares.argmax(1) if deterministic else draw(shares.exp())
        return actions, self.value_net(critic), shares.gather(1, actions[:, None]).flatten()

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate actions.

        Args:
            obs: [B, size].
            actions: [B] of type int64.
            action_masks: [B, actions], true where an action is legal; None where all are.

        Returns:
            Values [B, 1], logarithms of the actions' probabilities [B] and entropies [B].
        """
        logits, critic = self.mlp_extractor(obs)
        shares = masked_log_softmax(logits, action_masks)
        chosen = shares.gather(1, actions[:, None]).flatten()
        return self.value_net(critic), chosen, -(shares.exp() * shares).sum(1)


class CandidateQPolicy(DQNPolicy):
    """Values of actions by `ActionValues`, in place of a layer with weights for each of the actions."""

    def __init__(
        self,
        *args: Any,
        representations: int,
        slot_width: int = 32,
        context_width: int = 128,
        candidate_width: int = 32,
        temperature: float = TEMPERATURE,
        **kwargs: Any,
    ) -> None:
        """Make the policy; `ActionScorer` explains most arguments of its own.

        Args:
            *args: As `DQNPolicy`.
            representations: R.
            slot_width: See there.
            context_width: See there.
            candidate_width: See there.
            temperature: Difference of values that makes an action e times as likely where actions are drawn.
            **kwargs: As `DQNPolicy`.
        """
        self._network_arguments = (representations, slot_width, context_width, candidate_width)
        self.temperature = temperature
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """Make one of the two networks."""
        network = super().make_q_net()
        scorer = ActionScorer(*self._network_arguments)
        network.q_net = ActionValues(scorer, self._network_arguments[2], self.temperature)  # type: ignore[assignment]
        return network.to(self.device)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Evaluate actions, as `CandidatePolicy` does.

        Args:
            obs: [B, size].
            actions: [B] of type int64.
            action_masks: [B, actions], true where an action is legal; None where all are.

        Returns:
            Values of the actions [B, 1], logarithms of their probabilities where actions are drawn [B], and None.
        """
        values = self.q_net(obs)
        shares = masked_log_softmax(values / self.temperature, action_masks)
        return values.gather(1, actions[:, None]), shares.gather(1, actions[:, None]).flatten(), None


POLICIES: dict[str, type[BasePolicy]] = {
    "CandidatePolicy": CandidatePolicy,
    "CandidateQPolicy": CandidateQPolicy,
    "MlpPolicy": MaskableActorCriticPolicy,
}


def policy_of(config: Mapping[str, Any], representations: int) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy that a run's configuration names, for ladders of a length.

    Args:
        config: Of the run.
        representations: R of its padded observations.

    Returns:
        Class and keyword arguments.

    Raises:
        ValueError: An unknown name.
    """
    name, kwargs = config["hyperparams"]["policy"], dict(config["hyperparams"]["policy_kwargs"])
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; {suggest(name, POLICIES)}")
    if name != "MlpPolicy":
        kwargs["representations"] = representations
    return POLICIES[name], kwargs


def padded_spaces(representations: int) -> tuple[spaces.Box, spaces.Discrete]:
    """Spaces of padded observations and actions; see `agents.learned.padding`."""
    size = padded_layout(representations).size
    return spaces.Box(-1.0, 1.0, (size,), np.float32), spaces.Discrete(action_count(PLACES * representations))


def load_weights(policy: nn.Module, weights: Tensors, path: Path) -> None:
    """Load weights into a network.

    Args:
        policy: The network.
        weights: Named tensors.
        path: Where they come from, for the message.

    Raises:
        ValueError: They are of another network.
    """
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected weights of a {type(policy).__name__}: {reason}") from error


@torch.inference_mode()
def decide(
    policy: MaskableActorCriticPolicy,
    observations: npt.NDArray[np.float32],
    masks: npt.NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Decide by a policy; see `agents.learned.policies.choose`.

    Args:
        policy: The policy.
        observations: [B, size].
        masks: [B, actions], true where an action is legal.
        rng: Draws the actions, if given.

    Returns:
        [B] legal actions.
    """
    distribution = policy.get_distribution(torch.as_tensor(observations, device=policy.device)).distribution
    return choose(distribution.logits.cpu().numpy(), masks, rng)  # type: ignore[union-attr]


@torch.inference_mode()
def decide_by_value(
    policy: CandidateQPolicy,
    observations: npt.NDArray[np.float32],
    masks: npt.NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Decide by the values of actions; see `agents.learned.policies.choose_by_value`.

    Args:
        policy: The policy.
        observations: [B, size].
        masks: [B, actions], true where an action is legal.
        rng: Draws the actions, if given, by the policy's temperature.

    Returns:
        [B] legal actions.
    """
    values = policy.q_net(torch.as_tensor(observations, device=policy.device)).cpu().numpy()
    return choose_by_value(values, masks, policy.temperature, rng)
