"""The adapter that lets Stable-Baselines3 learn in native vector environments."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.learned.masks import Flags, without_idling
from agents.learned.padding import Padding
from agents.learned.sb3_policies import padded_spaces
from ppgym.core.qoe import REWARD_TERMS
from ppgym.planning.rollout_parameters import qoe_scale
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.scenario import Scenario

SUMMED = (*(f"reward_{name}" for name in REWARD_TERMS), "invalid_action")  # infos of a step that `episode` sums up
KEYS = ("elapsed_s", *SUMMED)

Step = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Flags, list[dict[str, Any]]]


class LearnerVectorEnv(PromptPreamVectorEnv):
    """The native vector environment, whose masks are those of a learned agent."""

    def action_masks(self) -> Flags:
        """What a learned agent may do now, bool [N, 1 + S * L * O]; see `agents.learned.masks`."""
        return without_idling(self._results.observation, super().action_masks(), self.world.features.layout)


class SB3VecEnv(VecEnv):
    """A Stable-Baselines3 `VecEnv` over native vector environments side by side: one model learns from them all.

    An environment that has ended starts anew in the same step. Its info then holds `terminal_observation`,
    `TimeLimit.truncated` and `episode`: the return `r` and length `l`, as Stable-Baselines3's own `Monitor` writes
    them, and the sums over the episode of each term of the reward and of `invalid`. The infos of the others are empty.

    Observations, masks and actions are padded (`agents.learned.padding`), so that worlds of any ladder stand side by
    side. Rewards are scaled to the QoE of the default ladder, so that they weigh alike.

    Attributes:
        parts: The vector environments, each of one scenario.
        paddings: That of each part.
        elapsed_s: [N] simulated seconds that the last step took.
        busy_s: Wall seconds that steps have taken so far.
    """

    def __init__(self, parts: Sequence[PromptPreamVectorEnv], representations: int, reward_scale: float = 1.0) -> None:
        """Wrap vector environments.

        Args:
            parts: At least one; each must reset in the same step.
            representations: R of the padded observations.
            reward_scale: Factor on the rewards that a learner gets; `episode` keeps the environment's own unit.

        Raises:
            ValueError: Another autoreset mode, or a ladder of more than R representations.
        """
        for part in parts:
            if part.autoreset_mode != AutoresetMode.SAME_STEP:
                raise ValueError(f"autoreset_mode: expected SameStep, got {part.autoreset_mode.value}")
        self.parts = tuple(parts)
        self.paddings = tuple(Padding(part.options, representations) for part in parts)
        self._ends = np.cumsum([part.num_envs for part in parts]).tolist()
        count = self._ends[-1]
        self.elapsed_s, self.busy_s = np.zeros(count), 0.0
        scales = [np.full(part.num_envs, reward_scale / qoe_scale(part.world.params)) for part in parts]
        self._reward_scale = np.concatenate(scales)
        self._actions = np.zeros(count, np.int64)
        self._sums = np.zeros((2 + len(SUMMED), count))  # rows: return, length, then SUMMED
        super().__init__(count, *padded_spaces(representations))

    def reset(self) -> npt.NDArray[np.float32]:
        """Start an episode in every environment, with the seeds that `seed` has set since the last reset."""
        seeds = [self._seeds[end - part.num_envs : end] for part, end in zip(self.parts, self._ends, strict=True)]
        observations = [
            padding.observations(part.reset(seed=some)[0])
            for part, padding, some in zip(self.parts, self.paddings, seeds, strict=True)
        ]
        self._sums[:] = 0.0
        self._reset_seeds()
        self._reset_options()
        return np.concatenate(observations)

    def action_masks(self) -> Flags:
        """What may be done now, bool [N, actions]."""
        pairs = zip(self.parts, self.paddings, strict=True)
        return np.concatenate([padding.masks(part.action_masks()) for part, padding in pairs])

    def drawn_watch_s(self) -> npt.NDArray[np.float64]:
        """[N] seconds that the viewers of the present episodes would watch; see `PromptPreamEnv`."""
        return np.concatenate([part.drawn_watch_s() for part in self.parts])

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions that `step_wait` carries out."""
        self._actions = actions

    def step_wait(self) -> Step:
        """Act in every environment.

        Returns:
            Observations [N, size], scaled rewards [N], whether an episode has ended [N], infos.
        """
        began_s = time.perf_counter()
        actions = np.split(self._actions, self._ends[:-1])
        triples = zip(self.parts, self.paddings, actions, strict=True)
        steps = [part.step(padding.to_world(some)) for part, padding, some in triples]
        pairs = zip(self.paddings, steps, strict=True)
        observations = np.concatenate([padding.observations(step[0]) for padding, step in pairs])
        rewards, terminated, truncated = map(np.concatenate, list(zip(*steps, strict=True))[1:4])
        infos = [step[4] for step in steps]
        ended = terminated | truncated
        self.elapsed_s, *summed = (np.concatenate([_last_step(one, key) for one in infos]) for key in KEYS)
        self._sums += np.stack([rewards, np.ones_like(rewards), *summed])
        finals = [one.get("final_obs", [None] * part.num_envs) for one, part in zip(infos, self.parts, strict=True)]
        final = list(itertools.chain.from_iterable(finals))
        padding_of = np.repeat(np.arange(len(self.parts)), [part.num_envs for part in self.parts])
        records: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(ended).tolist():
            total, length, *terms, invalid = self._sums[:, i].tolist()
            records[i] = {
                "terminal_observation": self.paddings[padding_of[i]].observations(final[i][None])[0],
                "TimeLimit.truncated": bool(truncated[i]),
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
        """An attribute of the vector environments, once for each environment asked for."""
        values = [value for part in self.parts for value in [getattr(part, attr_name)] * part.num_envs]
        return [values[i] for i in self._get_indices(indices)]

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


def _last_step(infos: Mapping[str, Any], key: str) -> npt.NDArray[np.float64]:
    """A value of the last step, in an environment that has started anew too."""
    values: npt.NDArray[np.float64] = infos[key]
    return np.where(infos["_final_info"], infos["final_info"][key], values) if "final_info" in infos else values


def make_vec_env(
    scenarios: Sequence[Scenario], counts: Sequence[int], split: str, representations: int, reward_scale: float = 1.0
) -> SB3VecEnv:
    """Environments of scenarios side by side.

    Args:
        scenarios: At least one.
        counts: How many environments of each.
        split: "train" or "validation".
        representations: R of the padded observations.
        reward_scale: Factor on the rewards.

    Returns:
        The adapter over them.
    """
    parts = [
        LearnerVectorEnv(count, scenario, split, AutoresetMode.SAME_STEP)
        for scenario, count in zip(scenarios, counts, strict=True)
    ]
    return SB3VecEnv(parts, representations, reward_scale)


def begin_episodes(model: BaseAlgorithm, seed: int) -> None:
    """Let a model's environments begin new episodes, drawn by the seed plus the timesteps so far.

    Args:
        model: In training.
        seed: Of the run.
    """
    assert model.env is not None, "a model in training has environments"
    model.env.seed(seed + model.num_timesteps)
    model._last_obs = model.env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(model.env.num_envs, np.bool_)
