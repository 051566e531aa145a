"""The callback of training by reward: evaluates the model at intervals, keeps checkpoints, logs, shows the progress."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image

from agents.learned.cards import provenance
from agents.learned.masks import without_idling
from agents.learned.padding import Padding
from agents.learned.sb3_policies import decide, decide_by_value
from agents.training.config import Run
from agents.training.vec_env import SB3VecEnv, begin_episodes, make_vec_env
from agents.training.worlds import share_out, world_groups
from ppgym.core.qoe import REWARD_TERMS
from ppgym.env import PromptPreamEnv
from ppgym.planning.rollout_parameters import qoe_scale
from ppgym.progress import Progress

VALIDATION_WORLDS = 16  # of each group
DECIDE: dict[str, Callable[..., npt.NDArray[np.int64]]] = {"ppo": decide, "dqn": decide_by_value}


class TrainingCallback(BaseCallback):
    """Evaluates, keeps checkpoints, logs and shows the progress of a run."""

    def __init__(self, run: Run, console: Console, update_threads: int, saved: Callable[[str], None]) -> None:
        """Make the callback.

        Args:
            run: Its curve goes on.
            console: Where progress is shown.
            update_threads: Threads of torch while the model is updated.
            saved: Called with "latest" or "best" when that checkpoint has been written.
        """
        super().__init__()
        self.run, self.console, self._update_threads, self._saved = run, console, update_threads, saved
        evaluation = run.config["hyperparams"]["evaluation"]
        self._code = provenance()  # now: something else may be committed during the run
        self._every, self._is_best_due = evaluation["every"], False
        self._decide = DECIDE[run.config["agent"]]
        self._groups = [group[:VALIDATION_WORLDS] for group in world_groups(run.config)]
        scenarios, counts = share_out(self._groups, evaluation["validation_episodes"])
        self._validation = make_vec_env(scenarios, counts, "validation", run.config["representations"])
        self._drawn = PromptPreamEnv(scenarios[0], "validation", render_mode="rgb_array")
        self._evaluation_s, self._note = 0.0, ""
        self._progress = Progress("Training", run.config["timesteps"] - run.timesteps, console)

    def save(self) -> None:
        """Write the model as it is as the latest checkpoint, and as the best before that, if it is and is not yet."""
        policy = self.model.policy
        for name in ("best", "latest") if self._is_best_due else ("latest",):  # a resumed run begins at the latest
            optimizer = policy.optimizer if name == "latest" else None
            self.run.write_checkpoint(name, policy.state_dict(), self.model.num_timesteps, self._code, optimizer)
            self._saved(name)
        self._is_best_due = False

    def evaluate(self) -> None:
        """Evaluate the model on the validation split; write it as the latest checkpoint, and as the best if it is.

        PPO's environments begin new episodes here, as they do where a run is resumed: a resumed run is the same to the
        bit. DQN's do not: a resumed run has lost its replay buffer anyway.
        """
        began_s = time.perf_counter()
        scores, timeline = self._scores(), self._timeline()
        timesteps = self.model.num_timesteps
        self.run.curve.append({"timesteps": timesteps, **scores})
        self._is_best_due = self.run.improved()
        for name, score in scores.items():
            self.logger.record(f"validation/{name}", score)
        self.logger.record("validation/timeline", Image(timeline, "HWC"))
        self.logger.dump(timesteps)
        self.save()
        if self.run.config["agent"] == "ppo":
            begin_episodes(self.model, self.run.config["seed"])
        terms = ", ".join(f"{name} {scores[name]:.1f}" for name in REWARD_TERMS)
        found = f"validation QoE/min {scores['qoe']:.1f}, return {scores['return']:.1f} ({terms})"
        self.console.print(f"{timesteps:>9,} steps: {found}", soft_wrap=True)
        self._evaluation_s += time.perf_counter() - began_s

    def _scores(self) -> dict[str, float]:
        """Means over one episode in each environment of validation, always the same ones, without exploration.

        `qoe` is what benchmarks rank by, in units of the default ladder: the sum of the returns over that of the drawn
        watch minutes, its mean over the scenarios of a group of worlds, and the mean over the groups.
        """
        env = self._validation
        env.seed(0)
        observations = env.reset()
        firsts = np.cumsum([0, *(part.num_envs for part in env.parts[:-1])])
        minutes = np.add.reduceat(env.drawn_watch_s(), firsts) / 60.0  # [scenarios]
        episodes: list[dict[str, float] | None] = [None] * env.num_envs
        while None in episodes:
            env.step_async(self._decide(self.model.policy, observations, env.action_masks()))
            observations, _, ended, infos = env.step_wait()
            for i in np.flatnonzero(ended).tolist():
                episodes[i] = episodes[i] or infos[i]["episode"]
        names = {"return": "r", "length": "l", "invalid": "invalid"} | {name: name for name in REWARD_TERMS}
        played = {name: np.array([episode[key] for episode in episodes if episode]) for name, key in names.items()}
        scales = np.array([qoe_scale(part.world.params) for part in env.parts])
        qoe = np.add.reduceat(played["return"], firsts) / minutes / scales
        groups = np.split(qoe, np.cumsum([len(group) for group in self._groups])[:-1])
        means = {name: float(values.mean()) for name, values in played.items()}
        return {"qoe": float(np.mean([group.mean() for group in groups])), **means}

    def _timeline(self) -> npt.NDArray[np.uint8]:
        """A picture of the first scenario's first episode, as the model plays it now."""
        observation, _ = self._drawn.reset(seed=0)
        layout, ended = self._drawn.world.features.layout, False
        padding = Padding(self._drawn.options, self.run.config["representations"])
        while not ended:
            masks = without_idling(observation[None], self._drawn.action_masks()[None], layout)
            padded = padding.observations(observation[None]), padding.masks(masks)
            action = padding.to_world(self._decide(self.model.policy, *padded))[0]
            observation, _, terminated, truncated, _ = self._drawn.step(action)
            ended = terminated or truncated
        picture: npt.NDArray[np.uint8] = self._drawn.render()  # type: ignore[assignment]
        return picture

    def _on_training_start(self) -> None:
        self._progress.start()
        env: SB3VecEnv = self.training_env  # type: ignore[assignment]
        self._began_s, self._busy_s, self._began_timesteps = time.perf_counter(), env.busy_s, self.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.run.config["agent"] == "ppo":
            torch.set_num_threads(1)  # small batches: a second thread only waits
        last = self.run.curve[-1]["timesteps"] if self.run.curve else -self._every
        if self.num_timesteps >= last + self._every:
            self.evaluate()

    def _on_step(self) -> bool:
        self._progress.advance(self.training_env.num_envs, self._note)
        if self.run.out_of_patience:
            patience = self.run.config["hyperparams"]["evaluation"]["patience"]
            self.console.print(f"Stopped early: no better for {patience} evaluations")
            return False
        return True

    def _on_rollout_end(self) -> None:
        torch.set_num_threads(self._update_threads)
        episodes = self.model.ep_info_buffer
        if not episodes:
            return
        for name in (*REWARD_TERMS, "invalid"):
            self.logger.record(f"rollout/{name}", float(np.mean([episode[name] for episode in episodes])))
        self._note = f"return {np.mean([episode['r'] for episode in episodes]):.1f}"

    def _on_training_end(self) -> None:
        env: SB3VecEnv = self.training_env  # type: ignore[assignment]
        wall_s = time.perf_counter() - self._began_s - self._evaluation_s
        steps = self.num_timesteps - self._began_timesteps
        share = (env.busy_s - self._busy_s) / wall_s
        self.console.print(f"{steps / wall_s:,.0f} environment steps/s, {share:.0%} of the time in the environment")

    def close(self) -> None:
        """Take the progress off the screen."""
        self._progress.stop()
