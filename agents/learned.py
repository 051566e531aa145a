"""Policies that are learned: their network, and the agents that decide with trained weights.

How they are trained is in `agents.training`; how weights are kept is in `agents.checkpoints`. No physics and no
heuristics here.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from agents.checkpoints import Tensors, read_checkpoint
from ppgym.core.actions import WAIT
from ppgym.core.observation import make_layout, observation_fields
from ppgym.core.state import LOOKAHEAD, SLOTS, UNIT_NAMES, UNITS
from ppgym.data import suggest
from ppgym.env import PromptPreamEnv
from ppgym.scenario import Option, World

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
        # Begins with the order of playing: far chunks, tried at random, are mostly waste
        near_first = -torch.arange(SLOTS)[:, None] - torch.arange(LOOKAHEAD)[None, :]
        self.preference = nn.Parameter(near_first.flatten().float())
        self.wait = nn.Linear(context_width, 1)
        self.scale = 1.0 / math.sqrt(candidate_width)
        self.option_representation: Tensor
        self.option_unit: Tensor
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
        self.actor = ActionScorer(option_representation, option_unit, slot_width, context_width, candidate_width)
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
        self._network_arguments = (option_representation, option_unit, slot_width, context_width, candidate_width)
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        network = ActorCritic(*self._network_arguments)
        self.mlp_extractor = network  # type: ignore[assignment]
        self.action_net = nn.Identity()
        self.value_net = nn.Linear(network.latent_dim_vf, 1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]


POLICIES: dict[str, type[MaskableActorCriticPolicy]] = {
    "CandidatePolicy": CandidatePolicy,
    "MlpPolicy": MaskableActorCriticPolicy,
}


def policy_of(
    config: Mapping[str, Any], options: Sequence[Option]
) -> tuple[type[MaskableActorCriticPolicy], dict[str, Any]]:
    """The policy that a run's configuration names, for an option table.

    Args:
        config: Of the run.
        options: The option table of its environments.

    Returns:
        Class and keyword arguments.

    Raises:
        ValueError: An unknown name.
    """
    name, kwargs = config["hyperparams"]["policy"], dict(config["hyperparams"]["policy_kwargs"])
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; {suggest(name, POLICIES)}")
    if name == "CandidatePolicy":
        kwargs["option_representation"] = [option.representation for option in options]
        kwargs["option_unit"] = [UNIT_NAMES.index(option.unit) for option in options]
    return POLICIES[name], kwargs


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
        raise ValueError(
            f"{path}: expected weights of a {type(policy).__name__} for this scenario: {reason}"
        ) from error


def decide(
    policy: MaskableActorCriticPolicy,
    observations: npt.NDArray[np.float32],
    masks: npt.NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Decide by a policy.

    Args:
        policy: The policy.
        observations: [B, size].
        masks: [B, actions], true where an action is legal.
        rng: Draws the actions. None chooses: `WAIT` where that is likelier than all downloads together, else the
            likeliest download; the likeliest single action would wait wherever downloads share what is likely.

    Returns:
        [B] legal actions.
    """
    with torch.inference_mode():
        distribution = policy.get_distribution(torch.as_tensor(observations, device=policy.device), masks).distribution
        shares = distribution.probs.cpu().numpy()  # type: ignore[union-attr]
    if rng is not None:
        bounds = shares.cumsum(axis=1, dtype=np.float64)
        drawn: npt.NDArray[np.int64] = (bounds > rng.random((len(shares), 1)) * bounds[:, -1:]).argmax(axis=1)
        return drawn
    downloads = 1 + np.where(masks[:, 1:], shares[:, 1:], -1.0).argmax(axis=1)
    return np.where((shares[:, WAIT] > 0.5) | ~masks[:, 1:].any(axis=1), WAIT, downloads)


@functools.lru_cache(maxsize=8)
def _load_policy(path: Path, written_ns: int, world: World, actions: int) -> MaskableActorCriticPolicy:
    weights, card = read_checkpoint(path)
    policy_class, kwargs = policy_of(card["config"], world.options)
    size = (world.features.layout.size,)
    policy = policy_class(
        gymnasium.spaces.Box(-1.0, 1.0, size, np.float32), gymnasium.spaces.Discrete(actions), lambda _: 0.0, **kwargs
    )
    load_weights(policy, weights, path)
    policy.set_training_mode(False)
    return policy


class PPOAgent:
    """Decides with the weights of a checkpoint; the shipped ones by default."""

    WEIGHTS = Path(__file__).parent / "weights" / "ppo.safetensors"

    def __init__(
        self, env: gymnasium.Env[Any, Any], *, seed: int | None = None, weights: str | Path | None = None
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Seeds what it draws when it is not asked to be deterministic.
            weights: ``.../NAME.safetensors`` with its card beside it.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: They are not what they should be.
        """
        path = Path(weights or self.WEIGHTS)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weights; `python train.py` makes some")
        self._env: PromptPreamEnv = env.unwrapped  # type: ignore[assignment]
        self._rng = np.random.default_rng(seed)
        self._policy = _load_policy(path, path.stat().st_mtime_ns, self._env.world, int(self._env.action_space.n))

    def predict(
        self,
        observation: npt.NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Decide; see `agents.Agent`. Takes one observation or a batch."""
        masks = self._env.action_masks() if action_masks is None else np.asarray(action_masks, np.bool_)
        rng = None if deterministic else self._rng
        actions = decide(self._policy, np.atleast_2d(observation), np.atleast_2d(masks), rng)
        return (actions[0] if observation.ndim == 1 else actions), state
