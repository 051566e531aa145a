"""Learned policies: their networks, and the agents that decide with trained weights.

The training is in `agents.training.run`, the files of weights are in `agents.learned.checkpoints`.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from agents.learned.checkpoints import Tensors, read_checkpoint
from agents.learned.masks import without_idling
from agents.learned.networks import ILLEGAL, ActionScorer, ActionValues, ActorCritic, draw, masked_log_softmax
from agents.learned.padding import PLACES, Padding, padded_layout
from agents.learned.training_range import Range, check_range
from ppgym.client import Client, client_of
from ppgym.core.actions import WAIT, action_count
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
        temperature: float = 0.1,
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
        rng: Draws the actions. None chooses `WAIT` where it is likelier than all downloads together, else the
            likeliest download. The likeliest single action would be `WAIT` too often: the downloads share their
            probability.

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


def decide_by_value(
    policy: CandidateQPolicy,
    observations: npt.NDArray[np.float32],
    masks: npt.NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> npt.NDArray[np.int64]:
    """Decide by the values of actions.

    Args:
        policy: The policy.
        observations: [B, size].
        masks: [B, actions], true where an action is legal.
        rng: Draws the actions, by the policy's temperature. None chooses those of the greatest value.

    Returns:
        [B] legal actions.
    """
    with torch.inference_mode():
        values = policy.q_net(torch.as_tensor(observations, device=policy.device)).cpu().numpy()
    if rng is not None:
        values = values + policy.temperature * rng.gumbel(size=values.shape)
    chosen: npt.NDArray[np.int64] = np.where(masks, values, ILLEGAL).argmax(axis=1)
    return chosen


@functools.lru_cache(maxsize=8)
def _load_policy(path: Path, written_ns: int, kind: type[BasePolicy], own: int) -> tuple[BasePolicy, int, Range]:
    """The policy of a checkpoint, R of its observations, and the range of its training; `own` is R of the world."""
    weights, card = read_checkpoint(path)
    config = card["config"]
    # A perceptron's weights are those of one R
    representations = config["representations"] if config["hyperparams"]["policy"] == "MlpPolicy" else own
    policy_class, kwargs = policy_of(config, representations)
    if not issubclass(policy_class, kind):
        raise ValueError(f"{path}: expected weights of a {kind.__name__}, got those of a {policy_class.__name__}")
    policy = policy_class(*padded_spaces(representations), lambda _: 0.0, **kwargs)
    load_weights(policy, weights, path)
    policy.set_training_mode(False)
    return policy, representations, config["trained_on"]


class LearnedAgent:
    """Decides with the weights of a checkpoint; the shipped ones by default."""

    WEIGHTS: ClassVar[Path]
    POLICY: ClassVar[type[BasePolicy]]
    DECIDE: ClassVar[Callable[..., npt.NDArray[np.int64]]]

    def __init__(
        self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, weights: str | Path | None = None
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Seeds what it draws when it is not asked to be deterministic.
            weights: ``.../NAME.safetensors`` with its card beside it.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: They are not what they should be, or the world is far from all that they were trained on.
        """
        path = Path(weights or self.WEIGHTS)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weights; `python train.py` makes some")
        self.client = client_of(client)
        self._rng = np.random.default_rng(seed)
        options = self.client.options
        own = 1 + max(option.representation for option in options)
        self._policy, representations, trained_on = _load_policy(path, path.stat().st_mtime_ns, self.POLICY, own)
        self._padding = Padding(options, representations)
        check_range(self.client.scenario, trained_on, path)

    def predict(
        self,
        observation: npt.NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Decide; see `agents.Agent`. Takes one observation or a batch."""
        legal = self.client.action_masks() if action_masks is None else np.asarray(action_masks, np.bool_)
        observations, layout = np.atleast_2d(observation), self.client.layout
        masks = without_idling(observations, np.atleast_2d(legal), layout)
        rng = None if deterministic else self._rng
        padded = self._padding.observations(observations), self._padding.masks(masks)
        actions = self._padding.to_world(type(self).DECIDE(self._policy, *padded, rng))
        return (actions[0] if observation.ndim == 1 else actions), state


class PPOAgent(LearnedAgent):
    """Decides by the policy that PPO has trained."""

    WEIGHTS = Path(__file__).parents[1] / "weights" / "ppo.safetensors"
    POLICY = MaskableActorCriticPolicy
    DECIDE = staticmethod(decide)


class DQNAgent(LearnedAgent):
    """Decides by the action values that DQN has trained."""

    WEIGHTS = Path(__file__).parents[1] / "weights" / "dqn.safetensors"
    POLICY = CandidateQPolicy
    DECIDE = staticmethod(decide_by_value)
