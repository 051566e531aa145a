"""Networks that score the actions of an observation, with weights shared by slots, candidates, representations, units.

They know a representation by its codec's kind, relative bytes, quality and seconds, never by its place in the ladder:
the same weights serve a ladder of any length. Their observations are padded (`agents.learned.padding`).
`agents.training.run` trains them, the agents in `agents.learned.policies` decide with them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.learned.padding import GENERATIVE_UNITS, PIXEL_UNITS, PLACES, padded_layout
from ppgym.core.state import LOOKAHEAD, SLOTS, UNITS

CANDIDATES = SLOTS * LOOKAHEAD
SLOT_FIELDS = 6  # fields of the observation with one value a slot
CANDIDATE_FIELDS = 2  # fields with one value a candidate
REPRESENTATION_FIELDS = 3  # fields with one value a candidate and representation; the last one is 1 where none can
OPTION_FIELDS = 4  # fields with one value an option; the first one is 1 where illegal, the last one the codec's kind
UNIT_FIELDS = 4  # fields with one value a unit
POOLED = 8  # length of what a candidate's representations are pooled to
GAIN, CENTRE = 4.0, 0.4  # values of an observation lie within [0, 1], most of them below 1/2; layers see them larger
ILLEGAL = -1e8  # in place of an illegal action's logit or value; sb3-contrib's number


class Encoding(NamedTuple):
    """What `Encoder` makes of an observation; C = S * L candidates."""

    candidates: Tensor  # [B, C, CANDIDATE_FIELDS + POOLED]
    ladder: Tensor  # [B, POOLED, C, R], of each candidate in each representation
    slots: Tensor  # [B, S, slot_width]
    options: Tensor  # [B, R * PLACES, option_width]
    context: Tensor  # [B, context_width]


class Encoder(nn.Module):
    """Summarises the observation: codes of each slot and option, with shared weights, and a context of it all.

    S slots, L look-aheads, R representations, U compute units, B the batch.
    """

    def __init__(self, representations: int, slot_width: int, context_width: int, option_width: int) -> None:
        """Make the layers; no weight depends on R.

        Args:
            representations: R.
            slot_width: Length of a slot's code.
            context_width: Length of the context.
            option_width: Length of an option's code.
        """
        super().__init__()
        self.layout = layout = padded_layout(representations)
        self.representations = representations
        rest = layout.option_decode - layout.unit_present + layout.size - layout.throughput
        self.pool = nn.Conv1d(REPRESENTATION_FIELDS, POOLED, 1)
        self.slot = nn.Linear(SLOT_FIELDS + LOOKAHEAD * (CANDIDATE_FIELDS + POOLED), slot_width)
        self.option = nn.Linear(OPTION_FIELDS + UNIT_FIELDS + UNITS + REPRESENTATION_FIELDS, option_width)
        self.context = nn.Sequential(
            nn.Linear(rest + SLOTS * slot_width + option_width, context_width),
            nn.ReLU(),
            nn.Linear(context_width, context_width),
            nn.ReLU(),
        )
        self.names: Tensor
        self.register_buffer("names", torch.eye(UNITS), persistent=False)

    def forward(self, observation: Tensor) -> Encoding:
        """Encode.

        Args:
            observation: [B, size], padded.

        Returns:
            The codes.
        """
        layout, count = self.layout, self.representations
        legal = (observation[:, layout.option_decode : layout.option_load] < 1.0).float()
        is_generative = observation[:, layout.option_generative : layout.throughput]
        shown = observation[:, layout.candidate_bytes : layout.unit_present]
        decodable = (shown.view(-1, REPRESENTATION_FIELDS, CANDIDATES, count)[:, -1:] < 1.0).float()
        observation = GAIN * (observation - CENTRE)
        ladder = observation[:, layout.candidate_bytes : layout.unit_present].reshape(
            -1, REPRESENTATION_FIELDS, CANDIDATES * count
        )
        codes = torch.relu(self.pool(ladder)).view(-1, POOLED, CANDIDATES, count)
        pooled = (codes * decodable).amax(3).transpose(1, 2)
        plain = observation[:, layout.survival : layout.candidate_bytes].view(-1, CANDIDATE_FIELDS, CANDIDATES)
        candidates = torch.cat([plain.transpose(1, 2), pooled], dim=-1)
        own = observation[:, : layout.survival].view(-1, SLOT_FIELDS, SLOTS).transpose(1, 2)
        slots = torch.relu(
            self.slot(torch.cat([own, candidates.view(-1, SLOTS, LOOKAHEAD * (CANDIDATE_FIELDS + POOLED))], dim=-1))
        )
        means = (ladder.view(-1, REPRESENTATION_FIELDS, CANDIDATES, count) * decodable).sum(2)
        means = means / decodable.sum(2).clamp(min=1.0)
        options = self.encode_options(observation, is_generative, means)
        best = (options * legal[..., None]).amax(1)
        units = observation[:, layout.unit_present : layout.option_decode]
        rest = torch.cat([units, observation[:, layout.throughput :], slots.flatten(1), best], dim=-1)
        return Encoding(candidates, codes, slots, options, self.context(rest))

    def encode_options(self, observation: Tensor, is_generative: Tensor, means: Tensor) -> Tensor:
        """Codes of the options, from their own values, those of their units and those of their representations.

        Args:
            observation: [B, size], centred.
            is_generative: [B, R * PLACES].
            means: [B, REPRESENTATION_FIELDS, R], over the candidates that some unit decodes.

        Returns:
            [B, R * PLACES, option_width].
        """
        layout = self.layout
        own = observation[:, layout.option_decode : layout.throughput].view(
            -1, OPTION_FIELDS, self.representations, PLACES
        )
        units = observation[:, layout.unit_present : layout.option_decode].view(-1, UNIT_FIELDS, UNITS).transpose(1, 2)
        units = torch.cat([units, self.names.expand(observation.shape[0], UNITS, UNITS)], dim=-1)
        # The third place of a pixel codec is none: it shows the second one's unit, and is never legal
        pixel, generative = units[:, [*PIXEL_UNITS, PIXEL_UNITS[-1]]], units[:, list(GENERATIVE_UNITS)]
        kind = is_generative.view(-1, self.representations, PLACES)[:, :, :1, None]  # by place 0, which every codec has
        of_unit = pixel[:, None] + kind * (generative - pixel)[:, None]
        of_representation = means.transpose(1, 2)[:, :, None].expand(-1, -1, PLACES, -1)
        features = torch.cat([own.permute(0, 2, 3, 1), of_unit, of_representation], dim=-1)
        return torch.relu(self.option(features)).flatten(1, 2)


class ActionScorer(nn.Module):
    """Scores every action from shared weights.

    A download's score is its candidate's code times its option's, plus what the candidate makes of its own chunk in the
    option's representation. `WAIT` is scored from the context. All is products of matrices: with a layer for each pair
    of candidate and representation a pass takes more than twice as long.
    """

    def __init__(self, representations: int, slot_width: int, context_width: int, candidate_width: int) -> None:
        """Make the layers; no weight depends on R.

        Args:
            representations: R.
            slot_width: Length of a slot's code.
            context_width: Length of the context.
            candidate_width: Length of the codes of candidates and options.
        """
        super().__init__()
        self.encoder = Encoder(representations, slot_width, context_width, candidate_width)
        self.from_candidate = nn.Linear(CANDIDATE_FIELDS + POOLED, candidate_width)
        self.from_slot = nn.Linear(slot_width, candidate_width, bias=False)
        self.from_context = nn.Linear(context_width, candidate_width, bias=False)
        self.place = nn.Parameter(torch.zeros(SLOTS, LOOKAHEAD, candidate_width))
        self.mix = nn.Linear(candidate_width, candidate_width)
        self.of_chunk = nn.Linear(candidate_width, POOLED)
        self.from_option = nn.Linear(candidate_width, candidate_width)  # signed: a score may fall, too
        # Begins with the order of playing: far chunks, tried at random, are mostly waste
        near_first = -torch.arange(SLOTS)[:, None] - torch.arange(LOOKAHEAD)[None, :]
        self.preference = nn.Parameter(near_first.flatten().float())
        self.wait = nn.Linear(context_width, 1)

    def forward(self, observation: Tensor) -> Tensor:
        """Score.

        Args:
            observation: [B, size], padded.

        Returns:
            Logits [B, 1 + S * L * R * PLACES].
        """
        return self.score(self.encoder(observation))

    def score(self, encoding: Encoding) -> Tensor:
        """Score what is encoded already.

        Args:
            encoding: Of `Encoder`.

        Returns:
            Logits [B, 1 + S * L * R * PLACES].
        """
        around = self.from_slot(encoding.slots) + self.from_context(encoding.context)[:, None]
        around = (around[:, :, None] + self.place).flatten(1, 2)
        codes = torch.relu(self.from_candidate(encoding.candidates) + around)  # [B, C, D]
        requests = torch.matmul(torch.relu(self.mix(codes)), self.from_option(encoding.options).transpose(1, 2))
        chunks = (self.of_chunk(codes).transpose(1, 2)[..., None] * encoding.ladder).sum(1)  # [B, C, R]
        downloads = requests.view(*chunks.shape, PLACES) + (chunks + self.preference[:, None])[..., None]
        return torch.cat([self.wait(encoding.context), downloads.flatten(1)], dim=-1)


class ActorCritic(nn.Module):
    """What Stable-Baselines3 calls an extractor: its two "latents" are the logits and what the value is read from."""

    def __init__(self, representations: int, slot_width: int, context_width: int, candidate_width: int) -> None:
        """Make both networks; see `ActionScorer` for the arguments."""
        super().__init__()
        widths = slot_width, context_width, candidate_width
        self.actor = ActionScorer(representations, *widths)
        self.critic = Encoder(representations, *widths)
        self.latent_dim_vf = context_width

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the critic's context."""
        return self.forward_actor(observation), self.forward_critic(observation)

    def forward_actor(self, observation: Tensor) -> Tensor:
        """Logits [B, 1 + S * L * R * PLACES]."""
        logits: Tensor = self.actor(observation)
        return logits

    def forward_critic(self, observation: Tensor) -> Tensor:
        """The critic's context [B, context_width]."""
        context: Tensor = self.critic(observation).context
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
            Values [B, 1 + S * L * R * PLACES].
        """
        encoding = self.scorer.encoder(observation)
        values: Tensor = self.state(encoding.context) + self.unit * self.scorer.score(encoding)
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
