"""A learned policy with the rule that makes an action of its scores, in torch.

It is what is exported as a graph, and what decides where there is none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agents.learned.checkpoints import read_checkpoint
from agents.learned.deciders import representations_of
from agents.learned.masks import Flags, may_wait
from agents.learned.padding import padded_layout
from agents.learned.sb3_policies import load_weights, padded_spaces, policy_of
from agents.learned.student_network import StudentNetwork, act
from ppgym.core.observation import Layout


class Deployed(nn.Module):
    """A policy with the rule that makes an action of its logits, as the graph holds it."""

    def __init__(
        self,
        network: nn.Module,
        rule: Callable[[Tensor], Tensor],
        representations: int | None = None,
        never_idle_in: Layout | None = None,
    ) -> None:
        """Put them together.

        Args:
            network: From observations [B, size] to logits [B, actions].
            rule: From logits, -inf where an action may not be chosen, to actions [B].
            representations: R of the padded arrays that it takes; None where it takes those of any world.
            never_idle_in: Layout of the observations of a policy that `agents.learned.masks` keeps from idling; None
                where its network does so itself.
        """
        super().__init__()
        self.network = network
        self.rule = rule
        self.representations = representations
        self.never_idle_in = never_idle_in

    def forward(self, observation: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Decide.

        Args:
            observation: [B, size].
            mask: bool [B, actions], true where an action is legal.

        Returns:
            Actions [B], and logits [B, actions], -inf where an action may not be chosen.
        """
        if self.never_idle_in is not None:
            waits = mask[:, :1] & may_wait(observation, mask, self.never_idle_in)[:, None]
            mask = torch.cat([waits, mask[:, 1:]], dim=1)
        logits = self.network(observation).masked_fill(~mask, -torch.inf)
        return self.rule(logits), logits

    @torch.inference_mode()
    def logits(self, observations: npt.NDArray[np.float32], masks: Flags) -> npt.NDArray[np.float32]:
        """See `agents.learned.deciders.Decider`."""
        logits: npt.NDArray[np.float32] = self(torch.from_numpy(observations), torch.from_numpy(masks))[1].numpy()
        return logits


class Logits(nn.Module):
    """The logits of a Stable-Baselines3 actor-critic policy."""

    def __init__(self, policy: Any) -> None:
        """Wrap a policy."""
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor) -> Tensor:
        """Logits [B, actions] of observations [B, size]."""
        logits: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(observation))
        return logits


def best_valued(values: Tensor) -> Tensor:
    """Actions [B] of the greatest values [B, actions]."""
    return values.argmax(1)


def read_policy(agent: str, path: Path) -> Deployed:
    """A learned policy as a graph will hold it.

    Args:
        agent: "ppo", "dqn" or "student".
        path: Its weights.

    Returns:
        The policy with its rule.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    weights, card = read_checkpoint(path)
    config = card["config"]
    if agent == "student":
        student = StudentNetwork(**config["hyperparams"]["network"])
        load_weights(student, weights, path)
        return Deployed(student, act).eval()
    count = representations_of(config)
    policy_class, kwargs = policy_of(config, count)
    policy = policy_class(*padded_spaces(count), lambda _: 0.0, **kwargs)
    load_weights(policy, weights, path)
    if agent == "dqn":
        return Deployed(policy.q_net.q_net, best_valued, count, padded_layout(count)).eval()  # type: ignore[union-attr, arg-type]
    return Deployed(Logits(policy), act, count, padded_layout(count)).eval()
