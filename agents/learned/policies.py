"""The agents that decide with weights that PPO and DQN have trained.

How a checkpoint scores actions is in `agents.learned.deciders`, the training in `agents.training.run`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.learned.deciders import load_decider, representations_of
from agents.learned.masks import Flags, without_idling
from agents.learned.padding import Padding
from agents.learned.training_range import check_range
from ppgym.client import Client, client_of
from ppgym.core.actions import WAIT

TEMPERATURE = 0.1  # difference of (scaled) values that makes an action e times as likely, where a card does not say

Actions = npt.NDArray[np.int64]


def choose(logits: npt.NDArray[np.floating[Any]], masks: Flags, rng: np.random.Generator | None = None) -> Actions:
    """Choose actions by their logits.

    Args:
        logits: [B, actions].
        masks: [B, actions], true where an action is legal: one in each row at least.
        rng: Draws the actions. None chooses `WAIT` where it is likelier than all downloads together, else the
            likeliest download. The likeliest single action would be `WAIT` too often: the downloads share their
            probability.

    Returns:
        [B] legal actions.
    """
    logits = np.where(masks, logits, -np.inf)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    if rng is not None:
        bounds = shares.cumsum(axis=1)
        drawn: Actions = (bounds > rng.random((len(shares), 1)) * bounds[:, -1:]).argmax(axis=1)
        return drawn
    waits = shares[:, WAIT] > shares[:, 1:].sum(axis=1)
    return np.where(waits, WAIT, 1 + logits[:, 1:].argmax(axis=1))


def choose_by_value(
    values: npt.NDArray[np.floating[Any]], masks: Flags, temperature: float, rng: np.random.Generator | None = None
) -> Actions:
    """Choose actions by their values.

    Args:
        values: [B, actions].
        masks: [B, actions], true where an action is legal: one in each row at least.
        temperature: Difference of values that makes an action e times as likely where actions are drawn.
        rng: Draws the actions. None chooses those of the greatest value.

    Returns:
        [B] legal actions.
    """
    if rng is not None:
        values = values + temperature * rng.gumbel(size=values.shape)
    chosen: Actions = np.where(masks, values, -np.inf).argmax(axis=1)
    return chosen


class LearnedAgent:
    """Decides with the weights of a checkpoint; the shipped ones by default."""

    NAME: ClassVar[str]
    WEIGHTS: ClassVar[Path]

    def __init__(
        self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, weights: str | Path | None = None
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Seeds what it draws when it is not asked to be deterministic.
            weights: ``.../NAME.safetensors`` with its card beside it. Where ``NAME.onnx`` is there too, that decides,
                and torch is not needed.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: They are not what they should be, or the world is far from all that they were trained on.
        """
        path = Path(weights or self.WEIGHTS)
        self.client = client_of(client)
        self._rng = np.random.default_rng(seed)
        self._decider, self._config = load_decider(path, self.NAME)
        self._padding = Padding(self.client.options, representations_of(self._config))
        check_range(self.client.scenario, self._config["trained_on"], path)

    def predict(
        self,
        observation: npt.NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[Actions, Any]:
        """Decide; see `agents.Agent`. Takes one observation or a batch."""
        legal = self.client.action_masks() if action_masks is None else np.asarray(action_masks, np.bool_)
        observations = np.atleast_2d(observation)
        masks = self._padding.masks(without_idling(observations, np.atleast_2d(legal), self.client.layout))
        logits = self._decider.logits(self._padding.observations(observations), masks)
        actions = self._padding.to_world(self._choose(logits, masks, None if deterministic else self._rng))
        return (actions[0] if observation.ndim == 1 else actions), state

    def _choose(self, logits: npt.NDArray[np.float32], masks: Flags, rng: np.random.Generator | None) -> Actions:
        return choose(logits, masks, rng)


class PPOAgent(LearnedAgent):
    """Decides by the policy that PPO has trained."""

    NAME = "ppo"
    WEIGHTS = Path(__file__).parents[1] / "weights" / "ppo.safetensors"


class DQNAgent(LearnedAgent):
    """Decides by the action values that DQN has trained."""

    NAME = "dqn"
    WEIGHTS = Path(__file__).parents[1] / "weights" / "dqn.safetensors"

    def _choose(self, logits: npt.NDArray[np.float32], masks: Flags, rng: np.random.Generator | None) -> Actions:
        settings: Mapping[str, Any] = self._config["hyperparams"]["policy_kwargs"]
        return choose_by_value(logits, masks, settings.get("temperature", TEMPERATURE), rng)
