"""What Stable-Baselines3 needs to learn from native vector environments: an adapter, and a buffer that knows time.

No network and no training loop here.
"""

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ppgym.core.qoe import REWARD_TERMS
from ppgym.scenario import Scenario
from ppgym.vector_env import PromptPreamVectorEnv

SUMMED = (*(f"reward_{name}" for name in REWARD_TERMS), "invalid_action")  # infos of a step that an episode sums up


class SB3VecEnv(VecEnv):
    """A thin Stable-Baselines3 `VecEnv` over vector environments, each of a scenario, side by side.

    An environment that has ended starts anew in the same step. Its info then holds `terminal_observation`,
    `TimeLimit.truncated` and `episode`: what Stable-Baselines3's `Monitor` would write (return `r`, length `l`), and
    the sums over the episode of each term of the reward and of `invalid`. The infos of the others are empty.

    Attributes:
        parts: The vector environments.
        options: Pairs of representation and unit, the same in all scenarios.
        elapsed_s: [N] simulated seconds that the last step took.
        busy_s: Seconds of this machine that steps have taken so far.
    """

    def __init__(self, parts: Sequence[PromptPreamVectorEnv], reward_scale: float = 1.0) -> None:
        """Wrap vector environments.

        Args:
            parts: At least one. They must reset in the same step, and have the same observations and options.
            reward_scale: Factor on the rewards that a learner sees; `episode` keeps the environment's own unit.

        Raises:
            ValueError: Another autoreset mode, or spaces that differ.
        """
        first = parts[0]
        for part in parts:
            if part.autoreset_mode != AutoresetMode.SAME_STEP:
                raise ValueError(f"autoreset_mode: expected SameStep, got {part.autoreset_mode.value}")
            if [option.name for option in part.options] != [option.name for option in first.options]:
                raise ValueError(
                    f"scenarios of one model need the same options: {part.world.scenario} has others than "
                    f"{first.world.scenario}"
                )
        self.parts, self.options = tuple(parts), first.options
        ends = np.cumsum([part.num_envs for part in parts]).tolist()
        self._rows = [slice(end - part.num_envs, end) for part, end in zip(parts, ends, strict=True)]
        self._reward_scale = reward_scale
        self._actions = np.zeros(ends[-1], np.int64)
        self._sums = np.zeros((2 + len(SUMMED), ends[-1]))  # rows: return, length, then SUMMED
        self.elapsed_s = np.zeros(ends[-1])
        self.busy_s = 0.0
        self.render_mode = None  # asked for by the base class
        super().__init__(ends[-1], first.single_observation_space, first.single_action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start an episode in every environment, with the seeds that `seed` has set since the last reset."""
        observations = [
            part.reset(seed=self._seeds[rows])[0] for part, rows in zip(self.parts, self._rows, strict=True)
        ]
        self._sums[:] = 0.0
        self._reset_seeds()
        self._reset_options()
        return np.concatenate(observations)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What is legal now, [N, actions]."""
        return np.concatenate([part.action_masks() for part in self.parts])

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions that `step_wait` carries out."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Act in every environment.

        Returns:
            Observations [N, size], scaled rewards [N], whether an episode has ended [N], infos.
        """
        began_s = time.perf_counter()
        results = [part.step(self._actions[rows]) for part, rows in zip(self.parts, self._rows, strict=True)]
        observations, rewards, terminated, truncated = (
            np.concatenate([result[column] for result in results]) for column in range(4)
        )
        ended = terminated | truncated
        steps = np.concatenate([_steps(result[4], ended[rows]) for result, rows in zip(results, self._rows, strict=True)], 1)
        self.elapsed_s = steps[0]
        self._sums += np.stack([rewards, np.ones_like(rewards), *steps[1:]])
        records: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for result, rows in zip(results, self._rows, strict=True):
            for i in np.flatnonzero(ended[rows]).tolist():
                total, length, *terms, invalid = self._sums[:, rows.start + i].tolist()
                records[rows.start + i] = {
                    "terminal_observation": result[4]["final_obs"][i],
                    "TimeLimit.truncated": bool(result[3][i]),
                    "episode": {"r": total, "l": int(length)}
                    | dict(zip(REWARD_TERMS, terms, strict=True))
                    | {"invalid": int(invalid)},
                }
        self._sums[:, ended] = 0.0
        self.busy_s += time.perf_counter() - began_s
        return observations, (rewards * self._reward_scale).astype(np.float32), ended, records

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method that answers for all environments at once, such as `action_masks`."""
        answers = getattr(self, method_name)(*method_args, **method_kwargs)
        return [answers[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this adapter, once for each environment asked for."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the environments share their attributes."""
        raise NotImplementedError(f"{attr_name}: the environments of a vector share their attributes; make another one")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """False for each environment asked for: nothing wraps them one by one."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Close the vector environments."""
        for part in self.parts:
            part.close()


def _steps(infos: dict[str, Any], ended: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    keys = ("elapsed_s", *SUMMED)
    steps = np.stack([infos[key] for key in keys])
    if ended.any():  # the infos of these are of the episode that has just begun
        steps = np.where(ended, np.stack([infos["final_info"][key] for key in keys]), steps)
    return steps


def make_vec_env(scenarios: Sequence[Scenario], split: str, count: int, reward_scale: float = 1.0) -> SB3VecEnv:
    """Environments of scenarios, side by side and as many of each.

    Args:
        scenarios: At least one.
        split: "train" or "validation".
        count: How many in all, to the nearest number that the scenarios can share.
        reward_scale: Factor on the rewards.

    Returns:
        The adapter over them.
    """
    each = max(round(count / len(scenarios)), 1)
    parts = [PromptPreamVectorEnv(each, scenario, split, AutoresetMode.SAME_STEP) for scenario in scenarios]
    return SB3VecEnv(parts, reward_scale)


def begin_episodes(model: BaseAlgorithm, seed: int) -> None:
    """Let a model's environments begin new episodes, which follow from the seed and from how far training is.

    Args:
        model: In training.
        seed: Of the run.
    """
    assert model.env is not None, "a model in training has environments"
    model.env.seed(seed + model.num_timesteps)
    model._last_obs = model.env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(model.env.num_envs, np.bool_)


class Clock(Protocol):
    """What knows how long the last step took in each environment."""

    elapsed_s: npt.NDArray[np.float64]  # [N]


class TimedRolloutBuffer(MaskableRolloutBuffer):
    """A rollout buffer whose `gamma` and `gae_lambda` hold for a second, not for a decision.

    Decisions last from nothing to several seconds. Discounted by decision, waiting would put off what follows, and
    with it every penalty, more than a download that takes as long.
    """

    def __init__(self, *args: Any, clock: Clock, **kwargs: Any) -> None:
        """Make the buffer.

        Args:
            *args: As `MaskableRolloutBuffer`.
            clock: Asked after each step.
            **kwargs: As `MaskableRolloutBuffer`.
        """
        self._clock = clock
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.action_masks = self.action_masks.astype(np.bool_)  # a quarter of the memory to shuffle
        self._elapsed_s = np.zeros((self.buffer_size, self.n_envs), np.float32)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add a step of every environment."""
        self._elapsed_s[self.pos] = self._clock.elapsed_s
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: npt.NDArray[np.bool_]) -> None:
        """Generalised advantage estimates in event time.

        Args:
            last_values: [N] values of the observations after the last step.
            dones: [N] whether the last step ended an episode.
        """
        discount = self.gamma**self._elapsed_s
        trace = (self.gamma * self.gae_lambda) ** self._elapsed_s
        next_values, goes_on = last_values.clone().cpu().numpy().flatten(), ~dones
        advantage = np.zeros(self.n_envs, np.float32)
        for step in reversed(range(self.buffer_size)):
            surprise = self.rewards[step] + discount[step] * next_values * goes_on - self.values[step]
            advantage = surprise + trace[step] * goes_on * advantage
            self.advantages[step] = advantage
            next_values, goes_on = self.values[step], self.episode_starts[step] == 0.0
        self.returns = self.advantages + self.values
