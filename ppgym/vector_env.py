"""The vector shell around the kernel: many environments as arrays, stepped in one call.

Bitwise equal to `gymnasium.vector.SyncVectorEnv` over `PromptPreamEnv` for the same seeds and actions, in all three
autoreset modes; only faster.
"""

import reprlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from ppgym.action_index import as_index
from ppgym.core.bound import Bound
from ppgym.core.episodes import drawn_watch_s
from ppgym.core.state import new_states
from ppgym.core.step import (
    INFO_COLUMNS,
    INVALID_ACTION,
    RESTART,
    SKIP,
    STEP,
    VIDEOS_WATCHED,
    Share,
    new_results,
    share_out,
    step_many,
)
from ppgym.env import PromptPreamEnv
from ppgym.world.options import Option
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario, World, make_rng, make_world

MAX_ENVS = 1_000_000

Observations = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Infos = dict[str, Any]


class PromptPreamVectorEnv(gymnasium.vector.VectorEnv[Observations, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """Many `PromptPreamEnv` as one; its documentation is the decision process's.

    ```python
    envs = gymnasium.make_vec("PromptPream-v0", num_envs=1024, scenario="low/snapdragon-8-elite/typical")
    observations, infos = envs.reset(seed=0)  # seeds 0, 1, ..., 1023
    observations, rewards, terminations, truncations, infos = envs.step(actions)
    ```

    Infos are arrays with a leading axis of environments, each with its `_key` mask; `action_masks()` gives the bool
    form of `infos["action_mask"]`. The arrays returned are the caller's. With `copy=False` observations and
    `infos["action_mask"]` are the environment's own, for reading alone: a step writes only what changes. With
    `torch.from_numpy` nothing is copied then.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Mapping[str, Any] | Scenario = DEFAULT_SCENARIO,
        split: str = "train",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: None = None,
        num_threads: int = 1,
        copy: bool = True,
        **overrides: Any,
    ) -> None:
        """Make the environments.

        Args:
            num_envs: N, at least 1.
            scenario: Name of a scenario, its fields as JSON holds them, or one ready made.
            split: "train", "validation" or "test".
            autoreset_mode: "NextStep", "SameStep" or "Disabled".
            render_mode: None; `SyncVectorEnv` draws pictures.
            num_threads: Threads that share a step; what they return does not depend on it.
            copy: Whether observations and masks that are returned are copies.
            **overrides: Fields of `ppgym.world.scenario.Scenario`, as JSON would hold them.

        Raises:
            ValueError: A bad number, name, field, split or mode.
            FileNotFoundError: A file that the scenario names is missing.
        """
        if type(num_envs) is not int or not 1 <= num_envs <= MAX_ENVS:
            raise ValueError(f"num_envs: expected a whole number from 1 to {MAX_ENVS:,}, got {reprlib.repr(num_envs)}")
        if render_mode is not None:
            raise ValueError(
                f"render_mode: the vector environment draws nothing, got {reprlib.repr(render_mode)}; for pictures use "
                "make_vec(..., vectorization_mode='sync')"
            )
        modes = [mode.value for mode in AutoresetMode]
        if not isinstance(autoreset_mode, AutoresetMode) and autoreset_mode not in modes:
            raise ValueError(f"autoreset_mode: expected one of {modes}, got {reprlib.repr(autoreset_mode)}")
        if type(num_threads) is not int or not 1 <= num_threads <= num_envs:
            raise ValueError(
                f"num_threads: expected a whole number from 1 to {num_envs}, one an environment at most, "
                f"got {reprlib.repr(num_threads)}"
            )
        if type(copy) is not bool:
            raise ValueError(f"copy: expected True or False, got {reprlib.repr(copy)}")
        single = PromptPreamEnv(scenario, split, **overrides)
        self.world: World = make_world(single.world.scenario, split)
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.single_action_space: spaces.Discrete = single.action_space
        self.single_observation_space = single.observation_space
        self.action_space = batch_space(single.action_space, num_envs)
        self.observation_space = batch_space(single.observation_space, num_envs)

        self._states = new_states(num_envs)
        self._episodes = self.world.new_episodes(num_envs)
        self._sims = self.world.sims(self._episodes)
        self._results = new_results(num_envs, self.world.features.layout.size, len(self.world.options))
        self._todo = np.full(num_envs, SKIP, np.uint8)
        self._actions = np.zeros(num_envs, np.int64)
        whole = Share(self._sims, self.world.features, self._states, self._todo, self._actions, self._results)
        shares = [whole] if num_threads == 1 else share_out(num_threads, whole)
        self._parts = [Bound(step_many, *share) for share in shares]
        self._threads = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._copy = copy
        self._begun = np.zeros(num_envs, np.bool_)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._seeds: list[int | None] = [None] * num_envs

    @property
    def options(self) -> tuple[Option, ...]:
        """The option table, as `PromptPreamEnv.options`."""
        return self.world.options

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seed of each environment."""
        return tuple(self._seeds)

    def action_masks(self) -> Flags:
        """What is legal now, bool [N, 1 + S * L * O]."""
        return self._results.mask.astype(np.bool_)

    def drawn_watch_s(self) -> npt.NDArray[np.float64]:
        """Content seconds that the viewers would watch in the current episodes, [N]; see `PromptPreamEnv`."""
        return drawn_watch_s(self._episodes)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Infos]:
        """Draw and start episodes.

        Args:
            seed: s seeds s, s + 1, ...; a sequence seeds one each; None goes on.
            options: `reset_mask`, bool [N], restarts those environments only.

        Returns:
            Observations [N, size] and infos; with a mask, the others' observations are their last ones.

        Raises:
            ValueError: Another number of seeds, or a mask of another shape or without a True.
            TypeError: A mask that is no bool array.
        """
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: expected {self.num_envs} seeds, one an environment, got {len(seeds)}")
        chosen = self._chosen(options)
        for i in np.flatnonzero(chosen).tolist():
            self._seed(i, seeds[i])
        self._restart(chosen)
        return self._observations(), self._infos(chosen)

    def step(self, actions: npt.ArrayLike) -> tuple[Observations, npt.NDArray[np.float64], Flags, Flags, Infos]:
        """Act in every environment.

        Args:
            actions: [N] indices of actions.

        Returns:
            Observations [N, size], rewards [N], terminations [N], truncations [N], infos.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or, without autoreset, after an end.
            TypeError: An action is no integer.
            ValueError: Another number of actions.
        """
        indices = self._indices(actions)
        if not self._begun.all():
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        results = self._results
        ended = results.terminated | results.truncated
        any_ended = bool(ended.any())
        if any_ended and self.autoreset_mode == AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(
                f"environments {np.flatnonzero(ended).tolist()} have ended: reset them with the option reset_mask"
            )
        self._actions[:] = indices
        self._todo[:] = STEP
        if any_ended:
            self._draw(ended)
            self._todo[ended] = RESTART
        self._move()

        rewards, terminated, truncated = results.reward.copy(), results.terminated.copy(), results.truncated.copy()
        everyone = np.ones(self.num_envs, np.bool_)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            ended = terminated | truncated
            if ended.any():
                final = self._final(ended)
                self._restart(ended)
                return self._observations(), rewards, terminated, truncated, final | self._infos(everyone)
        return self._observations(), rewards, terminated, truncated, self._infos(everyone)

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()

    def _indices(self, actions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Actions as the kernel takes them; an index that 64 bits do not hold lies outside of the space, as -1 does."""
        given = np.asarray(actions)
        if given.shape != (self.num_envs,):
            raise ValueError(f"actions: expected shape ({self.num_envs},), got {given.shape}")
        if given.dtype.kind == "O":
            space = self.single_action_space.n
            return np.array([index if 0 <= index < space else -1 for index in map(as_index, given)], np.int64)
        if given.dtype.kind not in "iu":
            raise TypeError(f"actions: expected integers, got an array of {given.dtype}")
        return given.astype(np.int64)

    def _chosen(self, options: dict[str, Any] | None) -> Flags:
        if options is None or "reset_mask" not in options:
            return np.ones(self.num_envs, np.bool_)
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask']: expected a bool array, got {mask!r}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"options['reset_mask']: expected shape ({self.num_envs},) and a True, got {mask!r}")
        return mask

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._rngs[i], self._seeds[i] = make_rng(seed, self.world.split), seed
        elif self._rngs[i] is None:
            self._rngs[i], self._seeds[i] = gymnasium.utils.seeding.np_random()

    def _draw(self, chosen: Flags) -> None:
        for i in np.flatnonzero(chosen).tolist():
            rng = self._rngs[i]
            assert rng is not None, "every environment is seeded by its first reset"
            self.world.draw(rng, self._episodes, i)

    def _restart(self, chosen: Flags) -> None:
        self._draw(chosen)
        self._todo[:] = SKIP
        self._todo[chosen] = RESTART
        self._move()
        self._begun |= chosen

    def _move(self) -> None:
        for_each = map if self._threads is None else self._threads.map
        list(for_each(Bound.__call__, self._parts))

    def _observations(self) -> Observations:
        return self._results.observation.copy() if self._copy else self._results.observation

    def _infos(self, shown: Flags) -> Infos:
        infos: Infos = {}
        columns = self._results.info.T.copy()
        if not shown.all():
            columns[:, ~shown] = 0.0
        for place, key in enumerate(INFO_COLUMNS):
            infos[key] = columns[place]
        infos["videos_watched"] = columns[VIDEOS_WATCHED].astype(np.int64)
        infos["invalid_action"] = columns[INVALID_ACTION] != 0.0
        infos["action_mask"] = self._results.mask
        if self._copy or not shown.all():
            infos["action_mask"] = self._results.mask.copy()
            infos["action_mask"][~shown] = 0
        return {name: value for key in infos for name, value in ((key, infos[key]), (f"_{key}", shown.copy()))}

    def _final(self, ended: Flags) -> Infos:
        observations = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended).tolist():
            observations[i] = self._results.observation[i].copy()
        return {
            "final_obs": observations,
            "_final_obs": ended.copy(),
            "final_info": self._infos(ended),
            "_final_info": ended.copy(),
        }
