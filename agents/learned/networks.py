"""Networks that score the actions of an observation, with weights shared by slots, candidates and options.

`agents.training.run` trains them, the agents in `agents.learned.policies` decide with them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppgym.core.observation import Layout, make_layout, observation_fields
from ppgym.core.state import LOOKAHEAD, SLOTS, UNITS

SLOT_FIELDS = 6  # fields of the observation with one value a slot
CANDIDATE_FIELDS = 2  # fields with one value a candidate
REPRESENTATION_FIELDS = 3  # fields with one value a candidate and representation
ILLEGAL = -1e8  # in place of an illegal action's logit or value; sb3-contrib's number


def slot_columns(representations: int, layout: Layout) -> list[int]:
    """Where in the observation the values of each slot are: its own fields, then those of its candidates in turn.

    Args:
        representations: R.
        layout: Of the observation.

    Returns:
        [S * (SLOT_FIELDS + L * candidate_size)] indices.
    """
    own = np.arange(layout.survival).reshape(SLOT_FIELDS, SLOTS).T
    plain = np.arange(layout.survival, layout.candidate_bytes).reshape(CANDIDATE_FIELDS, SLOTS, LOOKAHEAD)
    ladder = np.arange(layout.candidate_bytes, layout.unit_present).reshape(
        REPRESENTATION_FIELDS, SLOTS, LOOKAHEAD, representations
    )
    candidates = [plain.transpose(1, 2, 0), ladder.transpose(1, 2, 0, 3).reshape(SLOTS, LOOKAHEAD, -1)]
    together = np.concatenate([own, np.concatenate(candidates, axis=-1).reshape(SLOTS, -1)], axis=1)
    return [int(column) for column in together.ravel()]


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
        self.columns: Tensor
        self.register_buffer("columns", torch.tensor(slot_columns(representations, self.layout)), persistent=False)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode.

        Args:
            observation: [B, size].

        Returns:
            Candidates' own values [B, S, L, candidate_size], slots' codes [B, S, slot_width] and context
            [B, context_width].
        """
        slots = observation.index_select(1, self.columns).view(-1, SLOTS, self.slot.in_features)
        codes = torch.relu(self.slot(slots))
        rest = observation[:, self.layout.unit_present :]
        context = self.context(torch.cat([rest, codes.flatten(1)], dim=-1))
        candidates = slots[:, :, SLOT_FIELDS:].reshape(-1, SLOTS, LOOKAHEAD, self.candidate_size)
        return candidates, codes, context


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
        # Begins with the order of playing: far chunks, tried at random, are mostly waste
        near_first = -torch.arange(SLOTS)[:, None] - torch.arange(LOOKAHEAD)[None, :]
        self.preference = nn.Parameter(near_first.flatten().float())
        self.wait = nn.Linear(context_width, 1)
        self.scale = 1.0 / math.sqrt(candidate_width)
        self.option_representation: Tensor
        self.option_unit: Tensor
        self.option_columns: Tensor
        self.register_buffer("option_representation", torch.tensor(option_representation), persistent=False)
        self.register_buffer("option_unit", torch.tensor(option_unit), persistent=False)
        layout, units = self.encoder.layout, np.array(option_unit)
        columns = [layout.option_decode + np.arange(len(units))]
        columns += [first + units for first in (layout.unit_present, layout.unit_backlog, layout.unit_speed)]
        self.register_buffer("option_columns", torch.tensor(np.concatenate(columns)), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Score.

        Args:
            observation: [B, size].

        Returns:
            Logits [B, 1 + S * L * O].
        """
        return self.score(observation, *self.encoder(observation))

    def score(self, observation: Tensor, candidates: Tensor, slots: Tensor, context: Tensor) -> Tensor:
        """Score what is encoded already.

        Args:
            observation: [B, size].
            candidates: Of `Encoder`, as the other two.
            slots: [B, S, slot_width].
            context: [B, context_width].

        Returns:
            Logits [B, 1 + S * L * O].
        """
        around = self.from_slot(slots) + self.from_context(context)[:, None]
        codes = torch.relu(self.from_candidate(candidates) + around[:, :, None] + self.place)
        codes = torch.relu(self.mix(codes)).flatten(1, 2)  # [B, S * L, D]
        # An option's code is a constant plus from_option.weight @ features; multiplied out, so that no array of
        # codes [B, O, D] is made: codes @ code = codes @ constant + (codes @ from_option.weight) @ features
        constant = self.from_option.bias + self.representation(self.option_representation) + self.unit(self.option_unit)
        products = functional.linear(codes, torch.cat([constant, self.from_option.weight.T]))  # [B, S * L, O + 4]
        fixed, varying = products[:, :, : len(constant)], products[:, :, len(constant) :]
        features = observation.index_select(1, self.option_columns).view(-1, 4, len(constant))
        downloads = torch.baddbmm(fixed, varying, features) * self.scale + self.preference[:, None]
        return torch.cat([self.wait(context), downloads.flatten(1)], dim=-1)


class ActorCritic(nn.Module):
    """What Stable-Baselines3 calls an extractor: its two "latents" are the logits and what the value is read from."""

    def __init__(self, option_representation: Sequence[int], option_unit: Sequence[int], *widths: int) -> None:
        """Make both networks.

        Args:
            option_representation: [O], as the other arguments of `ActionScorer`.
            option_unit: [O].
            *widths: Of slots, context and candidates.
        """
        super().__init__()
        slot_width, context_width, _ = widths
        self.actor = ActionScorer(option_representation, option_unit, *widths)
        self.critic = Encoder(max(option_representation) + 1, len(option_unit), slot_width, context_width)
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


class ActionValues(nn.Module):
    """Values of actions: that of the observation, plus what `ActionScorer` says of each action, in small units."""

    def __init__(self, scorer: ActionScorer, context_width: int, unit: float) -> None:
        """Make the network.

        Args:
            scorer: Scores the actions.
            context_width: Length of its context.
            unit: Value of a score of 1.
        """
        super().__init__()
        self.scorer = scorer
        self.state = nn.Linear(context_width, 1)
        self.unit = unit

    def forward(self, observation: Tensor) -> Tensor:
        """Value.

        Args:
            observation: [B, size].

        Returns:
            Values [B, 1 + S * L * O].
        """
        candidates, slots, context = self.scorer.encoder(observation)
        values: Tensor = self.state(context) + self.unit * self.scorer.score(observation, candidates, slots, context)
        return values


def masked_log_softmax(logits: Tensor, masks: Any) -> Tensor:
    """Logarithms of probabilities, of legal actions alone.

    Args:
        logits: [B, actions].
        masks: [B, actions], true where an action is legal; None where all are.

    Returns:
        [B, actions]; finite, and of no weight where an action is illegal.
    """
    if masks is not None:
        logits = logits.masked_fill(~torch.as_tensor(masks, dtype=torch.bool, device=logits.device), ILLEGAL)
    return functional.log_softmax(logits, dim=1)


def draw(shares: Tensor) -> Tensor:
    """Draw from categorical distributions: one number each, where `torch.multinomial` takes one an action.

    Args:
        shares: [B, actions] probabilities.

    Returns:
        [B] actions of a probability above 0; the first one where rounding leaves none.
    """
    bounds = shares.cumsum(1)
    return (bounds > torch.rand(len(shares), 1, device=shares.device) * bounds[:, -1:]).int().argmax(1)
