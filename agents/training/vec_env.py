"""What Stable-Baselines3 needs to learn from native vector environments: adapters, and a buffer that knows time.

No network and no training loop here.
"""

import itertools
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

from agents.learned.masks import Flags, without_idling
from ppgym.core.qoe import REWARD_TERMS
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.scenario import Scenario

SUMMED = (*(f"reward_{name}" for name in REWARD_TERMS), "invalid_action")  # infos of a step that an episode sums up


class LearnerVectorEnv(PromptPreamVectorEnv):
    """The native vector environment, whose masks are those of a learned agent."""

    def action_masks(self) -> Flags:
        """What a learned agent may do now, bool [N, 1 + S * L * O]; see `agents.learned.masks`."""
        return without_idling(self._results.observation, super().action_masks(), self.world.features.layout)


class SB3VecEnv(VecEnv):
    """A thin Stable-Baselines3 `VecEnv` over `PromptPreamVectorEnv`.

    An environment that has ended starts anew in the same step. Its info then holds `terminal_observation`,
    `TimeLimit.truncated` and `episode`: what Stable-Baselines3's `Monitor` would write (return `r`, length `l`), and
    the sums over the episode of each term of the reward and of `invalid`. The infos of the others are empty.

    Attributes:
        envs: The vector environment.
        elapsed_s: [N] simulated seconds that the last step took.
        weight: [N] 1 over the minutes that the viewer of the last step's episode would watch: what its return counts
            for in a benchmark's mean.
    """

    def __init__(self, envs: PromptPreamVectorEnv, reward_scale: float = 1.0) -> None:
        """Wrap a vector environment.

        Args:
            envs: It must reset in the same step.
            reward_scale: Factor on the rewards that a learner sees; `episode` keeps the environment's own unit.

        Raises:
            ValueError: Another autoreset mode.
        """
        if envs.autoreset_mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode: expected SameStep, got {envs.autoreset_mode.value}")
        self.envs = envs
        self.elapsed_s = np.zeros(envs.num_envs)
        self.weight = self._next_weight = np.ones(envs.num_envs)
        self._reward_scale = reward_scale
        self._actions = np.zeros(envs.num_envs, np.int64)
        self._sums = np.zeros((2 + len(SUMMED), envs.num_envs))  # rows: return, length, then SUMMED
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start an episode in every environment, with the seeds that `seed` has set since the last reset."""
        observations, _ = self.envs.reset(seed=self._seeds)
        self._next_weight = 60.0 / self.envs.drawn_watch_s()
        self._sums[:] = 0.0
        self._reset_seeds()
        self._reset_options()
        return observations

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
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        ended = terminated | truncated
        steps = {key: infos[key] for key in ("elapsed_s", *SUMMED)}
        self.weight = self._next_weight
        if ended.any():  # the infos of these are of the episode that has just begun
            self._next_weight = 60.0 / self.envs.drawn_watch_s()
            steps = {key: np.where(ended, infos["final_info"][key], values) for key, values in steps.items()}
        self.elapsed_s = steps["elapsed_s"]
        self._sums += np.stack([rewards, np.ones_like(rewards), *(steps[key] for key in SUMMED)])
        records: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(ended).tolist():
            total, length, *terms, invalid = self._sums[:, i].tolist()
            records[i] = {
                "terminal_observation": infos["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i]),
                "episode": {"r": total, "l": int(length)}
                | dict(zip(REWARD_TERMS, terms, strict=True))
                | {"invalid": int(invalid)},
            }
        self._sums[:, ended] = 0.0
        return observations, (rewards * self._reward_scale).astype(np.float32), ended, records

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method that answers for all environments at once, such as `action_masks`."""
        answers = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        return [answers[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each environment asked for."""
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the environments share their attributes."""
        raise NotImplementedError(f"{attr_name}: the environments of a vector share their attributes; make another one")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """False for each environment asked for: nothing wraps them one by one."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()


class JoinedVecEnv(VecEnv):
    """Adapters side by side, each over environments of a scenario: one model learns from them all.

    Attributes:
        parts: The adapters.
        options: The option table of the first scenario.
        elapsed_s: [N] simulated seconds that the last step took.
        weight: [N]; see `SB3VecEnv`.
        busy_s: Seconds of this machine that steps have taken so far.
    """

    def __init__(self, parts: Sequence[SB3VecEnv]) -> None:
        """Join adapters.

        Args:
            parts: At least one.

        Raises:
            ValueError: Their scenarios have other options, so that an action would mean another thing.
        """
        first = parts[0]
        for part in parts:
            if [option.name for option in part.envs.options] != [option.name for option in first.envs.options]:
                here, there = part.envs.world.scenario, first.envs.world.scenario
                raise ValueError(f"one model needs the same options everywhere: {here} has others than {there}")
        self.parts, self.options = tuple(parts), first.envs.options
        self._ends = np.cumsum([part.num_envs for part in parts])
        self.elapsed_s = np.zeros(int(self._ends[-1]))
        self.weight = np.ones(int(self._ends[-1]))
        self.busy_s = 0.0
        super().__init__(int(self._ends[-1]), first.observation_space, first.action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start an episode in every environment, with the seeds that `seed` has set since the last reset."""
        if self._seeds[0] is not None:
            for part, first in zip(self.parts, [0, *self._ends[:-1].tolist()], strict=True):
                part.seed(self._seeds[first])
        self._reset_seeds()
        return np.concatenate([part.reset() for part in self.parts])

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What may be done now, [N, actions]."""
        return np.concatenate([part.envs.action_masks() for part in self.parts])

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions that `step_wait` carries out."""
        for part, some in zip(self.parts, np.split(actions, self._ends[:-1]), strict=True):
            part.step_async(some)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Act in every environment; see `SB3VecEnv.step_wait`."""
        began_s = time.perf_counter()
        observations, rewards, ended, infos = zip(*[part.step_wait() for part in self.parts], strict=True)
        self.elapsed_s = np.concatenate([part.elapsed_s for part in self.parts])
        self.weight = np.concatenate([part.weight for part in self.parts])
        joined = np.concatenate(observations), np.concatenate(rewards), np.concatenate(ended)
        self.busy_s += time.perf_counter() - began_s
        return *joined, list(itertools.chain.from_iterable(infos))

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method that answers for all environments at once, such as `action_masks`."""
        answers = getattr(self, method_name)(*method_args, **method_kwargs)
        return [answers[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each environment asked for."""
        values = [value for part in self.parts for value in part.get_attr(attr_name)]
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused; see `SB3VecEnv.set_attr`."""
        self.parts[0].set_attr(attr_name, value, indices)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """False for each environment asked for: nothing wraps them one by one."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Close all."""
        for part in self.parts:
            part.close()


def make_vec_env(scenarios: Sequence[Scenario], split: str, count: int, reward_scale: float = 1.0) -> JoinedVecEnv:
    """Environments of scenarios, side by side and as many of each.

    Args:
        scenarios: At least one.
        split: "train" or "validation".
        count: How many in all, to the nearest number that the scenarios can share.
        reward_scale: Factor on the rewards.

    Returns:
        The adapters over them, joined.
    """
    each = max(round(count / len(scenarios)), 1)
    envs = [LearnerVectorEnv(each, scenario, split, AutoresetMode.SAME_STEP) for scenario in scenarios]
    return JoinedVecEnv([SB3VecEnv(env, reward_scale) for env in envs])


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
