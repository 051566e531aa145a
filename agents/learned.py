"""Policies that are learned: their network, and the agents that decide with trained weights.

How they are trained is in `agents.training`; how weights are kept is in `agents.checkpoints`. No physics and no
heuristics here.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from ppgym.core.observation import make_layout, observation_fields
from ppgym.core.state import LOOKAHEAD, SLOTS, UNITS
from ppgym.scenario import World

SLOT_FIELDS = 6  # fields of the observation with one value a slot
CANDIDATE_FIELDS = 2  # fields with one value a candidate
REPRESENTATION_FIELDS = 3  # fields with one value a candidate and representation


class Encoder(nn.Module):
    """Summarises the observation: a code of each slot, with weights shared by the slots, and a context of it all.

    S slots, L look-aheads, R representations, O options, U compute units, B the batch.
    """

    def __init__(self, representations: int, options: int, slot_width: int, context_width: int) -> None:
        """Make the layers.

        Args:
            representations: R.
            options: O.
            slot_width: Length of a slot's code.
            context_width: Length of the context.
        """
        super().__init__()
        self.representations = representations
        self.layout = make_layout(observation_fields(representations, options))
        self.candidate_size = CANDIDATE_FIELDS + REPRESENTATION_FIELDS * representations
        rest = self.layout.size - self.layout.unit_present
        self.slot = nn.Linear(SLOT_FIELDS + LOOKAHEAD * self.candidate_size, slot_width)
        self.context = nn.Sequential(
            nn.Linear(rest + SLOTS * slot_width, context_width),
            nn.ReLU(),
            nn.Linear(context_width, context_width),
            nn.ReLU(),
        )

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode.

        Args:
            observation: [B, size].

        Returns:
            Candidates' own values [B, S, L, candidate_size], slots' codes [B, S, slot_width] and context
            [B, context_width].
        """
        layout = self.layout
        slots = observation[:, : layout.survival].view(-1, SLOT_FIELDS, SLOTS).transpose(1, 2)
        plain = observation[:, layout.survival : layout.candidate_bytes]
        plain = plain.view(-1, CANDIDATE_FIELDS, SLOTS, LOOKAHEAD).permute(0, 2, 3, 1)
        ladder = observation[:, layout.candidate_bytes : layout.unit_present]
        ladder = ladder.view(-1, REPRESENTATION_FIELDS, SLOTS, LOOKAHEAD, self.representations)
        candidates = torch.cat([plain, ladder.permute(0, 2, 3, 1, 4).flatten(3)], dim=-1)
        codes = torch.relu(self.slot(torch.cat([slots, candidates.flatten(2)], dim=-1)))
        rest = observation[:, layout.unit_present :]
        return candidates, codes, self.context(torch.cat([rest, codes.flatten(1)], dim=-1))


class ActionScorer(nn.Module):
    """Scores every action from shared weights: a candidate's code times an option's code; `WAIT` from the context."""

    def __init__(
        self,
        option_representation: Sequence[int],
        option_unit: Sequence[int],
        slot_width: int,
        context_width: int,
        candidate_width: int,
    ) -> None:
        """Make the layers.

        Args:
            option_representation: [O] representation of each option.
            option_unit: [O] compute unit of each option.
            slot_width: Length of a slot's code.
            context_width: Length of the context.
            candidate_width: Length of the codes of candidates and options.
        """
        super().__init__()
        representations = max(option_representation) + 1
        self.encoder = Encoder(representations, len(option_unit), slot_width, context_width)
        self.from_candidate = nn.Linear(self.encoder.candidate_size, candidate_width)
        self.from_slot = nn.Linear(slot_width, candidate_width, bias=False)
        self.from_context = nn.Linear(context_width, candidate_width, bias=False)
        self.place = nn.Parameter(torch.zeros(SLOTS, LOOKAHEAD, candidate_width))
        self.mix = nn.Linear(candidate_width, candidate_width)
        self.representation = nn.Embedding(representations, candidate_width)
        self.unit = nn.Embedding(UNITS, candidate_width)
        self.from_option = nn.Linear(4, candidate_width)
        near_first = -torch.arange(SLOTS)[:, None] - torch.arange(LOOKAHEAD)[None, :]
        self.preference = nn.Parameter(near_first.flatten().float())
        self.wait = nn.Linear(context_width, 1)
        self.scale = 1.0 / math.sqrt(candidate_width)
        self.register_buffer("option_representation", torch.tensor(option_representation), persistent=False)
        self.register_buffer("option_unit", torch.tensor(option_unit), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Score.

        Args:
            observation: [B, size].

        Returns:
            Logits [B, 1 + S * L * O].
        """
        layout, units = self.encoder.layout, self.option_unit
        candidates, slots, context = self.encoder(observation)
        around = self.from_slot(slots) + self.from_context(context)[:, None]
        codes = torch.relu(self.from_candidate(candidates) + around[:, :, None] + self.place)
        codes = torch.relu(self.mix(codes)).flatten(1, 2)  # [B, S * L, D]
        features = torch.stack(
            [
                observation[:, layout.option_decode : layout.throughput],
                observation[:, layout.unit_present + units],
                observation[:, layout.unit_backlog + units],
                observation[:, layout.unit_speed + units],
            ],
            dim=-1,
        )
        options = self.from_option(features) + self.representation(self.option_representation) + self.unit(units)
        downloads = torch.bmm(codes, options.transpose(1, 2)) * self.scale + self.preference[:, None]
        return torch.cat([self.wait(context), downloads.flatten(1)], dim=-1)


class ActorCritic(nn.Module):
    """What Stable-Baselines3 calls an extractor: its two "latents" are the logits and what the value is read from."""

    def __init__(
        self,
        option_representation: Sequence[int],
        option_unit: Sequence[int],
        slot_width: int,
        context_width: int,
        candidate_width: int,
    ) -> None:
        """Make both networks; see `ActionScorer` for the arguments."""
        super().__init__()
        representations = max(option_representation) + 1
        self.actor = ActionScorer(option_representation, option_unit, slot_width, context_width, candidate_width)
        self.critic = Encoder(representations, len(option_unit), slot_width, context_width)
        self.latent_dim_vf = context_width

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the critic's context."""
        return self.forward_actor(observation), self.forward_critic(observation)

    def forward_actor(self, observation: Tensor) -> Tensor:
        """Logits [B, 1 + S * L * O]."""
        logits: Tensor = self.actor(observation)
        return logits

    def forward_critic(self, observation: Tensor) -> Tensor:
        """The critic's context [B, context_width]."""
        context: Tensor = self.critic(observation)[2]
        return context


class CandidatePolicy(MaskableActorCriticPolicy):
    """A masked actor-critic policy with `ActionScorer` in place of a layer with weights for each of the actions."""

    def __init__(
        self,
        *args: Any,
        option_representation: Sequence[int],
        option_unit: Sequence[int],
        slot_width: int = 32,
        context_width: int = 128,
        candidate_width: int = 64,
        **kwargs: Any,
    ) -> None:
        """Make the policy; `ActionScorer` explains the arguments of its own."""
        self._make_network = lambda: ActorCritic(
            option_representation, option_unit, slot_width, context_width, candidate_width
        )
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        network = self._make_network()
        self.mlp_extractor = network  # type: ignore[assignment]
        self.action_net = nn.Identity()
        self.value_net = nn.Linear(network.latent_dim_vf, 1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)
