"""The adapter that shows the native vector environment to Stable-Baselines3. No learning here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from ppgym.core.qoe import REWARD_TERMS
from ppgym.vector_env import PromptPreamVectorEnv

TERM_KEYS = tuple(f"reward_{name}" for name in REWARD_TERMS)


class PromptPreamSB3VecEnv(VecEnv):
    """A thin Stable-Baselines3 `VecEnv` over `PromptPreamVectorEnv`.

    An environment that has ended starts anew in the same step. Its info then holds `terminal_observation`,
    `TimeLimit.truncated` and `episode`: what Stable-Baselines3's `Monitor` would write (return `r`, length `l`), and
    the sums over the episode of the reward's terms and of `invalid_action`. The infos of the others are empty.
    """

    def __init__(self, envs: PromptPreamVectorEnv, reward_scale: float = 1.0) -> None:
        """Wrap a vector environment.

        Args:
            envs: It must reset in the same step.
            reward_scale: Factor on the rewards that a learner sees; `episode` is in the environment's own unit.

        Raises:
            ValueError: Another autoreset mode.
        """
        if envs.autoreset_mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode: expected SameStep, got {envs.autoreset_mode.value}")
        self.envs = envs
        self.reward_scale = reward_scale
        self.elapsed_s = np.zeros(envs.num_envs)  # of the last step of each environment
        self._actions = np.zeros(envs.num_envs, np.int64)
        self._sums = np.zeros((envs.num_envs, len(TERM_KEYS) + 3))  # return, length, terms, invalid actions
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Start an episode in every environment, with the seeds of the last call of `seed`."""
        observations, _ = self.envs.reset(seed=self._seeds)
        self._sums[:] = 0.0
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Act in every environment."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        ended = terminated | truncated
        step_infos = infos
        if ended.any():
            final = infos["final_info"]
            step_infos = {key: np.where(ended, final[key], infos[key]) for key in ("elapsed_s", *TERM_KEYS, "invalid_action")}
        self.elapsed_s = step_infos["elapsed_s"]
        self._sums += np.stack(
            [rewards, np.ones_like(rewards), *(step_infos[key] for key in TERM_KEYS), step_infos["invalid_action"]],
            axis=1,
        )
        records: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(ended).tolist():
            total, length, *terms, invalid = self._sums[i].tolist()
            records[i] = {
                "terminal_observation": infos["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i]),
                "episode": {
                    "r": total,
                    "l": int(length),
                    **dict(zip(REWARD_TERMS, terms, strict=True)),
                    "invalid": int(invalid),
                },
            }
        self._sums[ended] = 0.0
        return observations, (rewards * self.reward_scale).astype(np.float32), ended, records

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the vector environment that answers for all environments, such as `action_masks`."""
        answers = getattr(self.envs, method_name)(*args, **kwargs)
        return [answers[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each environment asked for."""
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the environments share their attributes."""
        raise NotImplementedError("the environments of a vector share their attributes: make another vector")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """False for each environment asked for: nothing wraps them one by one."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()
