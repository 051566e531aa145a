"""Training: a model of a run's configuration, its beginning, its end, and the comparison with the heuristics.

What a run is told is in `agents.training.config`, what watches it in `agents.training.callback`, networks in
`agents.learned.networks`; the command line is train.py.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule

from agents import make_agent
from agents.learned.checkpoints import read_checkpoint, restore_training_state
from agents.learned.policies import CandidateQPolicy, load_weights, policy_of
from agents.training.callback import DECIDE, Monitor
from agents.training.config import DQN_KEYS, PPO_KEYS, begin_run, names_of, reopen_run, scenarios_of
from agents.training.dqn import MaskedDQN, TimedReplayBuffer
from agents.training.imitation import Demonstrations, demonstrate, demonstrate_student, imitate
from agents.training.vec_env import TimedRolloutBuffer, begin_episodes, make_vec_env
from ppgym.benchmark import run as leaderboard
from ppgym.benchmark.summary import Row
from ppgym.benchmark.tables import print_board, print_standings
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario

HEURISTICS = ("greedy", "no_save", "pdas", "fixed_preload", "next_one", "on_demand", "random")
UPDATE_THREADS = min(2, torch.get_num_threads())  # fixed: the sums of floats, and so the learning curve, depend on it
CORRECTED_SEEDS = 1_000_000  # beyond those of the episodes before
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


def make_model(config: Mapping[str, Any], device: str) -> Model:
    """An untrained model in its training environments.

    Args:
        config: The run's configuration.
        device: Of torch.

    Returns:
        The model, seeded.

    Raises:
        ValueError: A policy that is unknown or not of this agent.
    """
    params = config["hyperparams"]
    env = make_vec_env(scenarios_of(config), "train", params["n_envs"], params["reward_scale"])
    policy, policy_kwargs = policy_of(config, env.options)
    if (config["agent"] == "dqn") != issubclass(policy, CandidateQPolicy):
        raise ValueError(f"policy: {params['policy']!r} is not for {config['agent']}")
    common: dict[str, Any] = {
        "learning_rate": learning_rate_of(params["learning_rate"]),
        "max_grad_norm": params["max_grad_norm"],
        "policy_kwargs": policy_kwargs,
        "stats_window_size": env.num_envs,
        "seed": config["seed"],
        "device": device,
    }
    if config["agent"] == "ppo":
        common |= {"rollout_buffer_class": TimedRolloutBuffer, "rollout_buffer_kwargs": {"clock": env}}
        return MaskablePPO(policy, env, **common, **{key: params[key] for key in PPO_KEYS})  # type: ignore[arg-type]
    timing = {"clock": env, "gamma": params["gamma"], "n_steps": params["n_steps"]}
    common |= {"replay_buffer_class": TimedReplayBuffer, "replay_buffer_kwargs": timing}
    settings = {key: params[key] for key in DQN_KEYS if key != "n_steps"}
    return MaskedDQN(policy, env, **common, **settings)  # type: ignore[arg-type]


def teachers_of(teachers: str | Mapping[str, str], config: Mapping[str, Any]) -> dict[str, list[Scenario]]:
    """Who is imitated in which scenarios of a run.

    Args:
        teachers: An agent, or a pattern of scenarios for each of several; a scenario has each agent whose pattern it
            fits.
        config: Of the run.

    Returns:
        The agents that are imitated somewhere, with the scenarios.

    Raises:
        ValueError: A scenario fits no pattern, or a pattern has an unknown name.
    """
    own = scenarios_of(config)
    if isinstance(teachers, str):
        return {teachers: own}
    fitting = {agent: scenarios_of({**config, "scenario": pattern}) for agent, pattern in teachers.items()}
    shared = {agent: [scenario for scenario in own if scenario in fits] for agent, fits in fitting.items()}
    left = [scenario.name for scenario in own if not any(scenario in where for where in shared.values())]
    if left:
        raise ValueError(f"warm_start: agent: expected an agent for each scenario, got none for {', '.join(left)}")
    return {agent: where for agent, where in shared.items() if where}


def warm_start(model: Model, config: Mapping[str, Any], console: Console) -> None:
    """Let the model's policy imitate the agents that the configuration names, each in the scenarios given for it.

    Args:
        model: Its policy is changed.
        config: Of the run.
        console: Where it is announced.

    Raises:
        ValueError: A scenario of the run without an agent to imitate, or corrections without the student.
    """
    params = config["hyperparams"]
    start = params["warm_start"]
    if start is None:
        return
    scenarios = teachers_of(start["agent"], config)
    if start["corrections"] and "student" not in scenarios:
        raise ValueError(
            "warm_start: corrections: expected 0 where no scenario of the run has the student to imitate, "
            f"got {start['corrections']}"
        )
    watched = {"seed": config["seed"], "discount_per_s": params["gamma"], "stray_share": start["stray_share"]}
    parts = []
    for teacher, where in scenarios.items():
        decisions = start["decisions"] * len(where) // sum(map(len, scenarios.values()))
        console.print(f"Imitating {teacher}: {decisions:,} decisions, scenarios: {len(where)}")
        if teacher == "student":
            parts.append(demonstrate_student(where, decisions, **watched))
        else:
            envs = [PromptPreamEnv(scenario, "train") for scenario in where]
            cast = [(make_agent(teacher, env, seed=config["seed"]), env) for env in envs]
            parts.append(demonstrate(cast, decisions, **watched))
    fit = functools.partial(
        imitate,
        model.policy,
        epochs=start["epochs"],
        batch_size=start["batch_size"],
        learning_rate=start["learning_rate"],
        reward_scale=params["reward_scale"],
        seed=config["seed"],
    )
    fit(Demonstrations(*map(np.concatenate, zip(*parts, strict=True))))
    if start["corrections"]:
        console.print(f"Corrected by the student: {start['corrections']:,} decisions")
        actor = functools.partial(DECIDE[config["agent"]], model.policy)
        others = watched | {"seed": config["seed"] + CORRECTED_SEEDS}
        parts.append(demonstrate_student(scenarios["student"], start["corrections"], **others, actor=actor))
        fit(Demonstrations(*map(np.concatenate, zip(*parts, strict=True))))
    if isinstance(model, MaskedDQN):
        model.q_net_target.load_state_dict(model.q_net.state_dict())


def restore(model: Model, path: Path, config: Mapping[str, Any]) -> None:
    """Bring a model to where a checkpoint left it; its environments begin new episodes.

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


def compare(folder: Path, config: Mapping[str, Any]) -> list[Row]:
    """Play the best checkpoint and the heuristics on the same episodes of the test split, and print the table.

    Of several scenarios, the standings over them all are printed instead.

    Args:
        folder: Of the run; gets ``comparison/``.
        config: Of the run.

    Returns:
        The table's rows.
    """
    scenarios, agents = names_of(config["scenario"]), [config["agent"], *HEURISTICS]
    board = leaderboard.run(
        make_agent,
        agents,
        scenarios,
        episodes=max(round(config["hyperparams"]["evaluation"]["test_episodes"] / len(scenarios)), 1),
        output=folder / "comparison",
        overrides=config["overrides"],
        params={config["agent"]: {"weights": str(folder / "best.safetensors")}},
    )
    if len(scenarios) == 1:
        print_board(board)
    else:
        print_standings(board.overall, Console())
    return board.rows


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
    saved: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Train an agent, keep its checkpoints, and compare the best one with the heuristics on the test split.

    Args:
        agent: "ppo", "dqn", or "student" (see `agents.training.student`).
        scenario: Name of the scenario, or a pattern of several (`agents.training.config.names_of`) that one model
            shall serve.
        overrides: Fields of `Scenario` that differ from the named ones.
        seed: Seeds everything.
        timesteps: Steps of training in all; the hyperparameters' (or the resumed run's) where None.
        hyperparams: YAML file; agents/hyperparams/AGENT.yml where None.
        output: Folder of the run; runs/AGENT-DATE where None.
        resume: Folder of a run to go on with, as it was configured; of the other arguments, timesteps and device count.
        device: Of torch.
        saved: Called with "latest" or "best" when that checkpoint has been written.

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
        from agents.training.student import train_student  # which learns in another way, with parts of this file

        return train_student(scenario, overrides or {}, seed, timesteps, hyperparams, output, resume)
    console = Console(stderr=True)
    torch.set_num_threads(UPDATE_THREADS)
    if resume is None:
        run = begin_run(agent, scenario, overrides or {}, seed, timesteps, hyperparams, output)
    else:
        run = reopen_run(resume, timesteps)
    config = run.config
    console.print(f"Training {config['agent']} on {config['scenario']} in {run.folder}")
    model = make_model(config, device)
    monitor = Monitor(run, console, UPDATE_THREADS, saved)
    monitor.init_callback(model)
    model.set_logger(configure(str(run.folder / "tensorboard"), ["tensorboard"]))
    if resume is None:
        warm_start(model, config, console)
    else:
        restore(model, run.folder / "latest.safetensors", config)
    try:
        remaining = config["timesteps"] - model.num_timesteps
        log_interval = LOG_INTERVAL[config["agent"]]
        model.learn(remaining, callback=monitor, log_interval=log_interval, reset_num_timesteps=False)
        monitor.evaluate()
    except KeyboardInterrupt:
        monitor.save("latest")
        console.print(f"Stopped and saved; go on with --resume {run.folder}")
        raise
    finally:
        monitor.close()
    return compare(run.folder, config)
