"""Training runs: their configuration, the loop with evaluation and checkpoints, and the comparison at their end.

A run is a folder: ``latest`` and ``best`` checkpoints (`agents.checkpoints`), ``tensorboard/`` and ``comparison/``.
Networks are in `agents.learned`, the command line is in train.py.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule

from agents import make_agent
from agents.checkpoints import (
    provenance,
    read_card,
    read_checkpoint,
    restore_training_state,
    write_checkpoint,
    write_training_state,
)
from agents.imitation import demonstrate, imitate
from agents.learned import decide, load_weights, policy_of
from agents.sb3 import SB3VecEnv, TimedRolloutBuffer
from ppgym import benchmark
from ppgym.core.qoe import REWARD_TERMS
from ppgym.data import check_keys, suggest
from ppgym.env import PromptPreamEnv
from ppgym.scenario import DEFAULT_SCENARIO, Scenario
from ppgym.vector_env import PromptPreamVectorEnv

TRAINABLE = ("ppo", "student")
HEURISTICS = ("greedy", "fixed_preload", "next_one", "on_demand", "random")
UPDATE_THREADS = min(2, torch.get_num_threads())  # fixed: the sums of floats, and so the learning curve, depend on it
ENV_ID = "PromptPream-v0"
SB3_KEYS = ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "ent_coef", "vf_coef")
KEYS = (
    *SB3_KEYS,
    *("n_timesteps", "n_envs", "policy", "policy_kwargs", "learning_rate", "max_grad_norm"),
    *("reward_scale", "warm_start", "evaluation"),
)
WARM_START_KEYS = ("agent", "decisions", "stray_share", "epochs", "batch_size", "learning_rate")
EVALUATION_KEYS = ("every", "validation_episodes", "test_episodes")


def read_hyperparams(path: Path) -> dict[str, Any]:
    """Read a file of hyperparameters.

    Args:
        path: YAML as agents/hyperparams/ppo.yml.

    Returns:
        The hyperparameters.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such YAML, or has unknown or missing keys.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    found = content.get(ENV_ID) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a mapping with the key {ENV_ID!r} and hyperparameters below it")
    check_keys(str(path), found, KEYS)
    check_keys(f"{path}: evaluation", found["evaluation"], EVALUATION_KEYS)
    if found["warm_start"] is not None:
        check_keys(f"{path}: warm_start", found["warm_start"], WARM_START_KEYS)
    return found


def learning_rate_of(value: float | str) -> float | LinearSchedule:
    """A learning rate in rl-zoo's notation.

    Args:
        value: A number, or "lin_5e-4" for one that falls to zero linearly.

    Returns:
        What Stable-Baselines3 takes.
    """
    text = str(value)
    if text.startswith("lin_"):
        return LinearSchedule(float(text.removeprefix("lin_")), 0.0, 1.0)
    return float(text)


def make_vec_env(config: Mapping[str, Any], split: str, count: int, reward_scale: float = 1.0) -> SB3VecEnv:
    """Environments of a run's scenario.

    Args:
        config: The run's configuration.
        split: "train" or "validation".
        count: How many.
        reward_scale: Factor on the rewards.

    Returns:
        The adapter over them.
    """
    scenario = Scenario.parse(config["scenario"], **config["overrides"])
    return SB3VecEnv(PromptPreamVectorEnv(count, scenario, split, AutoresetMode.SAME_STEP), reward_scale)


def make_model(config: Mapping[str, Any], device: str) -> MaskablePPO:
    """An untrained model in its training environments.

    Args:
        config: The run's configuration.
        device: Of torch.

    Returns:
        The model, seeded.
    """
    params = config["hyperparams"]
    env = make_vec_env(config, "train", params["n_envs"], params["reward_scale"])
    policy, policy_kwargs = policy_of(config, env.envs.options)
    return MaskablePPO(
        policy,
        env,
        learning_rate=learning_rate_of(params["learning_rate"]),
        max_grad_norm=params["max_grad_norm"],
        policy_kwargs=policy_kwargs,
        rollout_buffer_class=TimedRolloutBuffer,
        rollout_buffer_kwargs={"clock": env},
        stats_window_size=params["n_envs"],
        seed=config["seed"],
        device=device,
        **{key: params[key] for key in SB3_KEYS},
    )


def evaluate(model: MaskablePPO, env: SB3VecEnv) -> dict[str, float]:
    """Play one episode in each environment, always the same ones, and without exploring.

    Args:
        model: Who plays.
        env: Where.

    Returns:
        Means over the episodes: `return`, each term of the reward, `length` and `invalid`.
    """
    env.seed(0)
    observations = env.reset()
    episodes: list[dict[str, float] | None] = [None] * env.num_envs
    while None in episodes:
        env.step_async(decide(model.policy, observations, env.envs.action_masks()))
        observations, _, ended, infos = env.step_wait()
        for i in np.flatnonzero(ended).tolist():
            episodes[i] = episodes[i] or infos[i]["episode"]
    names = {"return": "r", "length": "l", "invalid": "invalid"} | {name: name for name in REWARD_TERMS}
    return {name: float(np.mean([episode[key] for episode in episodes if episode])) for name, key in names.items()}


class Monitor(BaseCallback):
    """Watches a run: logs QoE terms, evaluates at intervals, keeps checkpoints, and shows the progress."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], curve: list[dict[str, float]], console: Console
    ) -> None:
        """Make the callback.

        Args:
            folder: Of the run.
            config: Of the run.
            curve: Evaluations so far, each with its `timesteps`; goes on.
            console: Where progress is shown.
        """
        super().__init__()
        self.folder, self.config, self.curve, self.console = folder, config, curve, console
        evaluation = config["hyperparams"]["evaluation"]
        self._every = evaluation["every"]
        self._validation = make_vec_env(config, "validation", evaluation["validation_episodes"])
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("return {task.fields[mean_return]:.1f}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=config["timesteps"], mean_return=float("nan"))

    def save(self, name: str) -> None:
        """Write a checkpoint of the model as it is.

        Args:
            name: "latest" or "best".
        """
        path = self.folder / f"{name}.safetensors"
        card = {"config": self.config, "timesteps": self.model.num_timesteps, "scores": self.curve, **provenance()}
        write_checkpoint(path, self.model.policy.state_dict(), card)
        if name == "latest":
            write_training_state(path, self.model.policy.optimizer)

    def evaluate(self) -> None:
        """Evaluate the model on the validation split; keep it, and keep it as the best if it is."""
        scores = evaluate(self.model, self._validation)  # type: ignore[arg-type]
        best = max((row["return"] for row in self.curve), default=float("-inf"))
        timesteps = self.model.num_timesteps
        self.curve.append({"timesteps": timesteps, **scores})
        for name, score in scores.items():
            self.logger.record(f"validation/{name}", score)
        self.logger.dump(timesteps)
        self.save("latest")
        if scores["return"] > best:
            self.save("best")
        terms = ", ".join(f"{name} {scores[name]:.1f}" for name in REWARD_TERMS)
        self.console.print(f"{timesteps:>9,} steps: validation return {scores['return']:.1f} ({terms})", soft_wrap=True)

    def _on_training_start(self) -> None:
        self._progress.start()

    def _on_rollout_start(self) -> None:
        torch.set_num_threads(1)  # small batches: a second thread only waits
        last = self.curve[-1]["timesteps"] if self.curve else -self._every
        if self.num_timesteps >= last + self._every:
            self.evaluate()

    def _on_step(self) -> bool:
        self._progress.update(self._task, completed=self.num_timesteps)
        return True

    def _on_training_end(self) -> None:
        torch.set_num_threads(1)

    def _on_rollout_end(self) -> None:
        torch.set_num_threads(UPDATE_THREADS)
        episodes = self.model.ep_info_buffer
        if not episodes:
            return
        for name in (*REWARD_TERMS, "invalid"):
            self.logger.record(f"rollout/{name}", float(np.mean([episode[name] for episode in episodes])))
        self._progress.update(self._task, mean_return=float(np.mean([episode["r"] for episode in episodes])))

    def close(self) -> None:
        """Take the progress off the screen."""
        self._progress.stop()


def begin_run(
    agent: str,
    scenario: str,
    overrides: Mapping[str, Any],
    seed: int,
    timesteps: int | None,
    hyperparams: Path | None,
    output: Path | None,
) -> tuple[Path, dict[str, Any]]:
    """Check what a new run is told; see `train` for the arguments.

    Returns:
        Its folder and its configuration.

    Raises:
        ValueError: An unknown name, a number out of range, or a folder that holds a run.
        FileNotFoundError: A file is missing.
    """
    if agent not in TRAINABLE:
        raise ValueError(f"unknown agent {agent!r}; {suggest(agent, TRAINABLE)}")
    Scenario.parse(scenario, **overrides)
    params = read_hyperparams(hyperparams or Path(__file__).parent / "hyperparams" / f"{agent}.yml")
    folder = output or Path("runs") / f"{agent}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (folder / "latest.json").exists():
        raise ValueError(f"{folder}: holds a run already; go on with it by --resume {folder}")
    config = {
        "agent": agent,
        "scenario": scenario,
        "overrides": dict(overrides),
        "seed": seed,
        "timesteps": int(params["n_timesteps"]) if timesteps is None else timesteps,
        "hyperparams": params,
    }
    return folder, config


def compare(folder: Path, config: Mapping[str, Any]) -> list[benchmark.Row]:
    """Play the best checkpoint and the heuristics on the same episodes of the test split, and print the table.

    Args:
        folder: Of the run; gets ``comparison/``.
        config: Of the run.

    Returns:
        The table's rows.
    """
    rows = benchmark.run(
        make_agent,
        [config["agent"], *HEURISTICS],
        [config["scenario"]],
        episodes=config["hyperparams"]["evaluation"]["test_episodes"],
        output=folder / "comparison",
        overrides=config["overrides"],
        params={config["agent"]: {"weights": str(folder / "best.safetensors")}},
    )
    benchmark.print_table(rows)
    return rows


def train(
    *,
    agent: str = "ppo",
    scenario: str = DEFAULT_SCENARIO,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    timesteps: int | None = None,
    hyperparams: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    device: str = "cpu",
) -> list[benchmark.Row]:
    """Train an agent, keep its checkpoints, and compare the best one with the heuristics on the test split.

    Args:
        agent: One of `TRAINABLE`.
        scenario: Name of the scenario.
        overrides: Fields of `Scenario` that differ from the named ones.
        seed: Seeds everything.
        timesteps: Steps of training in all; the hyperparameters' (or the resumed run's) where None.
        hyperparams: YAML file; agents/hyperparams/AGENT.yml where None.
        output: Folder of the run; runs/AGENT-DATE where None.
        resume: Folder of a run to go on with, as it was configured; of the other arguments, timesteps and device count.
        device: Of torch.

    Returns:
        Rows of the comparison.

    Raises:
        ValueError: An unknown name, a number out of range, or a file that is not what it should be.
        FileNotFoundError: A file or folder is missing.
        KeyboardInterrupt: The user's; the run is saved by then.
    """
    for name, value, least in (("seed", seed, 0), ("timesteps", timesteps, 1)):
        if value is not None and value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    if agent == "student":
        from agents.student_training import train_student  # which learns in another way, with parts of this file

        return train_student(scenario, overrides or {}, seed, timesteps, hyperparams, output, resume)
    console = Console(stderr=True)
    torch.set_num_threads(UPDATE_THREADS)
    if resume is None:
        folder, config = begin_run(agent, scenario, overrides or {}, seed, timesteps, hyperparams, output)
        curve: list[dict[str, float]] = []
    else:
        folder, card = resume, read_card(resume / "latest.safetensors")
        config, curve = dict(card["config"]), card["scores"]
        if timesteps is not None:
            config["timesteps"] = timesteps
        if card["timesteps"] >= config["timesteps"]:
            raise ValueError(f"{folder}: has its {card['timesteps']} timesteps; ask for more with --timesteps")
    console.print(f"Training {config['agent']} on {config['scenario']} in {folder}")
    model = make_model(config, device)
    monitor = Monitor(folder, config, curve, console)
    monitor.init_callback(model)
    model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
    if resume is None:
        warm_start(model, config, console)
    else:
        restore(model, folder / "latest.safetensors", config["seed"])
    try:
        remaining = config["timesteps"] - model.num_timesteps
        model.learn(remaining, callback=monitor, reset_num_timesteps=False)
        monitor.evaluate()
    except KeyboardInterrupt:
        monitor.save("latest")
        console.print(f"Stopped and saved; go on with --resume {folder}")
        raise
    finally:
        monitor.close()
    return compare(folder, config)


def warm_start(model: MaskablePPO, config: Mapping[str, Any], console: Console) -> None:
    """Let the model's policy imitate an agent, if the configuration names one.

    Args:
        model: Its policy is changed.
        config: Of the run.
        console: Where it is announced.
    """
    params = config["hyperparams"]
    start = params["warm_start"]
    if start is None:
        return
    console.print(f"Imitating {start['agent']}: {start['decisions']:,} decisions")
    env = PromptPreamEnv(Scenario.parse(config["scenario"], **config["overrides"]), "train")
    shown = demonstrate(
        make_agent(start["agent"], env, seed=config["seed"]),
        env,
        start["decisions"],
        seed=config["seed"],
        discount_per_s=params["gamma"],
        stray_share=start["stray_share"],
    )
    imitate(
        model.policy,
        shown,
        epochs=start["epochs"],
        batch_size=start["batch_size"],
        learning_rate=start["learning_rate"],
        reward_scale=params["reward_scale"],
        seed=config["seed"],
    )


def restore(model: MaskablePPO, path: Path, seed: int) -> None:
    """Bring a model to where a checkpoint left it; its environments begin new episodes.

    Args:
        model: An untrained one of the same configuration.
        path: The checkpoint.
        seed: Of the run.
    """
    weights, card = read_checkpoint(path)
    load_weights(model.policy, weights, path)
    restore_training_state(path, model.policy.optimizer)
    model.num_timesteps = card["timesteps"]
    model.env.seed(seed + model.num_timesteps)  # type: ignore[union-attr]
