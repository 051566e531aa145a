"""Training: begins or resumes a run, lets its agent learn, and compares it with its rivals at the end.

The configuration is in `agents.training.config`; learning from the planner's labels is in `agents.training.student`,
learning by reward is here, watched by `agents.training.callback`. The command line is train.py.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorboard  # noqa: F401 (Stable-Baselines3 needs it, and says so after minutes)
import torch
from rich.console import Console
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule

from agents import REGISTRY, make_agent
from agents.learned.checkpoints import read_checkpoint, restore_training_state
from agents.learned.sb3_policies import CandidateQPolicy, load_weights, policy_of
from agents.learned.training_range import range_of
from agents.training.buffers import TimedReplayBuffer, TimedRolloutBuffer
from agents.training.callback import DECIDE, TrainingCallback
from agents.training.config import (
    DQN_KEYS,
    LATEST,
    PPO_KEYS,
    Run,
    begin_run,
    check_torch_device,
    names_of,
    reopen_run,
)
from agents.training.dqn import MaskedDQN
from agents.training.imitation import STEPS, Demonstrations, demonstrate, demonstrate_student, imitate
from agents.training.planner_labels import EXPERT
from agents.training.student import train_student
from agents.training.vec_env import SB3VecEnv, begin_episodes, make_vec_env
from agents.training.worlds import most_representations, share_out, world_groups
from ppgym.benchmark.run import PAGE, run_benchmark
from ppgym.benchmark.summary import Row
from ppgym.benchmark.tables import print_board, print_standings
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO

RULES = ("greedy", "no_save", "pdas", "fixed_preload", "next_one", "on_demand", "random")
RIVALS = {"ppo": RULES, "dqn": RULES, "student": (EXPERT, "ppo", "greedy", "fixed_preload")}
"""The agents that each trained agent is compared with."""

UPDATE_THREADS = min(2, torch.get_num_threads())  # fixed: the sums of floats, and so the learning curve, depend on it
DAGGER_SEEDS = 1_000_000  # beyond the seeds of the episodes that the expert plays
COMPARISON = "comparison"  # folder of a run; its page is written last
LOG_INTERVAL = {"ppo": 1, "dqn": 1000}  # rollouts or, of DQN, episodes

Model = MaskablePPO | MaskedDQN


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


def training_envs(config: Mapping[str, Any], count: int, reward_scale: float = 1.0) -> SB3VecEnv:
    """Environments of a run's worlds, on the train split.

    Args:
        config: Of the run.
        count: How many in all, about.
        reward_scale: Factor on the rewards.

    Returns:
        The environments.
    """
    scenarios, counts = share_out(world_groups(config), count)
    return make_vec_env(scenarios, counts, "train", config["representations"], reward_scale)


def make_model(config: Mapping[str, Any], torch_device: str) -> Model:
    """An untrained model in its training environments.

    Args:
        config: The run's configuration.
        torch_device: Where it is trained.

    Returns:
        The model, seeded.

    Raises:
        ValueError: A policy that is unknown or not of this agent.
    """
    params = config["hyperparams"]
    env = training_envs(config, params["n_envs"], params["reward_scale"])
    policy, policy_kwargs = policy_of(config, config["representations"])
    if (config["agent"] == "dqn") != issubclass(policy, CandidateQPolicy):
        raise ValueError(f"policy: {params['policy']!r} is not for {config['agent']}")
    common: dict[str, Any] = {
        "learning_rate": learning_rate_of(params["learning_rate"]),
        "max_grad_norm": params["max_grad_norm"],
        "policy_kwargs": policy_kwargs,
        "stats_window_size": env.num_envs,
        "seed": config["seed"],
        "device": torch_device,
    }
    if config["agent"] == "ppo":
        common |= {"rollout_buffer_class": TimedRolloutBuffer, "rollout_buffer_kwargs": {"clock": env}}
        return MaskablePPO(policy, env, **common, **{key: params[key] for key in PPO_KEYS})  # type: ignore[arg-type]
    timing = {"clock": env, "gamma": params["gamma"], "n_steps": params["n_steps"]}
    common |= {"replay_buffer_class": TimedReplayBuffer, "replay_buffer_kwargs": timing}
    settings = {key: params[key] for key in DQN_KEYS if key != "n_steps"}
    return MaskedDQN(policy, env, **common, **settings)  # type: ignore[arg-type]


def warm_start(model: Model, config: Mapping[str, Any], console: Console) -> None:
    """Let the model's policy imitate an expert in the run's worlds.

    Args:
        model: Its policy is changed.
        config: Of the run; it has a `warm_start`.
        console: Where it is announced.
    """
    params = config["hyperparams"]
    start = params["warm_start"]
    expert, decisions = start["agent"], start["decisions"]
    episodes = {"discount_per_s": params["gamma"], "exploration_share": start["exploration_share"]}
    console.print(f"Imitating {expert}: {decisions:,} decisions")
    if expert == "student":
        parts = [demonstrate_student(training_envs(config, -(-decisions // STEPS)), seed=config["seed"], **episodes)]
    else:
        envs = [PromptPreamEnv(world.parse(), "train") for group in world_groups(config) for world in group]
        agents = [(make_agent(expert, env, seed=config["seed"]), env) for env in envs]
        count = config["representations"]
        parts = [demonstrate(agents, decisions, representations=count, seed=config["seed"], **episodes)]
    fit = functools.partial(
        imitate,
        model.policy,
        epochs=start["epochs"],
        batch_size=start["batch_size"],
        learning_rate=start["learning_rate"],
        reward_scale=params["reward_scale"],
        seed=config["seed"],
    )
    fit(parts[0])
    if start["dagger_decisions"]:
        console.print(f"The policy acts and the student labels: {start['dagger_decisions']:,} decisions")
        actor = functools.partial(DECIDE[config["agent"]], model.policy)
        learner = training_envs(config, -(-start["dagger_decisions"] // STEPS))
        parts.append(demonstrate_student(learner, seed=config["seed"] + DAGGER_SEEDS, **episodes, actor=actor))
        fit(Demonstrations(*map(np.concatenate, zip(*parts, strict=True))))
    if isinstance(model, MaskedDQN):
        model.q_net_target.load_state_dict(model.q_net.state_dict())


def restore(model: Model, path: Path, config: Mapping[str, Any]) -> None:
    """Restore a model from a checkpoint; its environments begin new episodes.

    Args:
        model: An untrained one of the same configuration.
        path: The checkpoint.
        config: Of the run.
    """
    weights, card = read_checkpoint(path)
    load_weights(model.policy, weights, path)
    restore_training_state(path, model.policy.optimizer)
    model.num_timesteps = card["timesteps"]
    begin_episodes(model, config["seed"])


def forget_comparison(folder: Path) -> None:
    """Delete the page by which a run counts as compared."""
    (folder / COMPARISON / PAGE).unlink(missing_ok=True)


def compare_with_rivals(run: Run) -> list[Row]:
    """Play the best checkpoint and its rivals on the same sessions of the test split, and print the table.

    Of several scenarios, the standings over them all are printed instead.

    Args:
        run: Its folder gets ``comparison/``, in place of that of an earlier checkpoint.

    Returns:
        The table's rows.
    """
    agent, scenarios = run.config["agent"], names_of(run.config["scenario"])
    forget_comparison(run.folder)
    shutil.rmtree(run.folder / COMPARISON, ignore_errors=True)
    board = run_benchmark(
        REGISTRY,
        [agent, *RIVALS[agent]],
        scenarios,
        sessions=max(round(run.config["hyperparams"]["evaluation"]["test_episodes"] / len(scenarios)), 1),
        output=run.folder / COMPARISON,
        overrides=run.config["overrides"],
        params={agent: {"weights": str(run.folder / "best.safetensors")}},
    )
    if len(scenarios) == 1:
        print_board(board)
    else:
        print_standings(board.overall, Console())
    return board.rows


def train_by_reward(run: Run, console: Console, torch_device: str, saved: Callable[[str], None]) -> None:
    """Train PPO or DQN; see `train` for the arguments.

    Args:
        run: New or reopened.
        console: Where progress is shown.
        torch_device: Where the model is trained.
        saved: As for `train`.
    """
    torch.set_num_threads(UPDATE_THREADS)
    start = run.config["hyperparams"]["warm_start"]
    if start is not None and start["dagger_decisions"] and start["agent"] != "student":
        raise ValueError(
            f"warm_start: dagger_decisions: expected 0 where {start['agent']} is imitated: the student alone labels, "
            f"got {start['dagger_decisions']}"
        )
    model = make_model(run.config, torch_device)
    run.write_config()
    callback = TrainingCallback(run, console, UPDATE_THREADS, saved)
    callback.init_callback(model)
    model.set_logger(configure(str(run.folder / "tensorboard"), ["tensorboard"]))
    if run.timesteps or run.curve:
        restore(model, run.folder / LATEST, run.config)
    elif start is not None:
        warm_start(model, run.config, console)
    try:
        remaining = run.config["timesteps"] - model.num_timesteps
        log_interval = LOG_INTERVAL[run.config["agent"]]
        model.learn(remaining, callback=callback, log_interval=log_interval, reset_num_timesteps=False)
        callback.evaluate()
    except KeyboardInterrupt:
        callback.save()
        raise
    finally:
        callback.close()


def train(
    *,
    agent: str | None = None,
    scenario: str = DEFAULT_SCENARIO,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    timesteps: int | None = None,
    hyperparams: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    torch_device: str = "cpu",
    saved: Callable[[str], None] = lambda name: None,
    workers: int | None = None,
) -> list[Row]:
    """Train an agent, keep its checkpoints, and compare the best one with its rivals on the test split.

    Args:
        agent: "ppo", "dqn" or "student"; "ppo", or the resumed run's, where None.
        scenario: Name of the scenario, or a pattern of several (`agents.training.config.names_of`) that one model
            shall serve.
        overrides: Fields of `Scenario` that differ from the named ones.
        seed: Seeds everything.
        timesteps: Steps of training in all; the hyperparameters' (or the resumed run's) where None. A student has none.
        hyperparams: YAML file; agents/hyperparams/AGENT.yml where None.
        output: Folder of the run; runs/AGENT-DATE where None.
        resume: Folder of a run to go on with, as it was configured; of the other arguments, agent (which must be the
            run's), timesteps and torch_device count.
        torch_device: Where networks are trained, as torch calls it: "cpu", "cuda" ...
        saved: Called with "latest" or "best" when that checkpoint has been written.
        workers: Processes that play and label a student's episodes; as many as there are CPUs where None.

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
    check_torch_device(torch_device)
    if resume is None:
        run = begin_run(agent or "ppo", scenario, overrides or {}, seed, timesteps, hyperparams, output)
        groups = world_groups(run.config)
        drawn = run.config["hyperparams"]["worlds"] is not None
        run.config["representations"] = most_representations(groups, drawn)
        run.config["trained_on"] = range_of(world.parse() for group in groups for world in group)
    else:
        run = reopen_run(resume, agent, timesteps)
    compared = (run.folder / COMPARISON / PAGE).is_file()  # else it was stopped before
    if run.done and compared and "timesteps" in run.config:
        raise ValueError(f"{resume}: has its {run.timesteps} timesteps; ask for more with --timesteps")
    is_trained = run.done or (run.out_of_patience and not compared)
    console = Console(stderr=True)
    console.print(f"Training {run.config['agent']} on {run.config['scenario']} in {run.folder}", soft_wrap=True)
    if not is_trained:
        forget_comparison(run.folder)
    try:
        if is_trained:
            console.print("It has been trained to its end")
        elif run.config["agent"] == "student":
            train_student(run, console, torch_device, saved, workers or os.cpu_count() or 1)
        else:
            train_by_reward(run, console, torch_device, saved)
    except KeyboardInterrupt:
        console.print(f"Stopped and saved; go on with --resume {run.folder}", soft_wrap=True)
        raise
    return compare_with_rivals(run)
