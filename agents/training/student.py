"""A training run of the student: lessons and fits, round by round, then fine-tuning, and the comparison at its end.

A run is a folder: ``lessons-0/`` and ``round-0.safetensors``, and so on by round, ``latest`` and ``best`` checkpoints,
``tensorboard/`` and ``comparison/``. What is there is not made again, so that a run that was stopped goes on. Fitting
itself is in `agents.training.distillation`; what PPO does to a student is in `agents.training.finetuning`.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from torch import nn

from agents import make_agent
from agents.learned.checkpoints import (
    CARD,
    provenance,
    read_checkpoint,
    restore_training_state,
    write_checkpoint,
    write_training_state,
)
from agents.learned.policies import load_weights
from agents.learned.student import StudentNetwork, StudentVectorEnv, play
from agents.training.config import read_zoo_file
from agents.training.distillation import collate, fit, show
from agents.training.finetuning import make_ppo, student_of
from agents.training.planner_labels import TEACHER, give_lessons, read_lessons
from agents.training.run import learning_rate_of
from ppgym.benchmark import episodes as benchmark
from ppgym.benchmark import run as leaderboard
from ppgym.benchmark.summary import Row
from ppgym.benchmark.tables import print_board
from ppgym.files import check_keys, read_json, write_text
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario

HYPERPARAMS = Path(__file__).parents[1] / "hyperparams" / "student.yml"
RIVALS = (TEACHER, "ppo", "greedy", "fixed_preload")
SECTIONS = {
    "": ("network", "others", "teacher", "rounds", "fit", "fine_tuning", "evaluation"),
    "network": ("width", "context_width"),
    "fit": ("epochs", "batch_size", "learning_rate", "temperature", "regret_share", "weight_power"),
    "fine_tuning": (
        *("n_timesteps", "n_envs", "n_steps", "batch_size", "n_epochs", "learning_rate", "gamma", "gae_lambda"),
        *("clip_range", "ent_coef", "vf_coef", "max_grad_norm", "sharpen", "critic_rollouts", "reward_scale"),
    ),
    "evaluation": ("every", "validation_episodes", "test_episodes"),
}
ROUND_KEYS = ("episodes", "commented_share", "stray_share")
NOT_PPO = ("n_timesteps", "n_envs", "learning_rate", "sharpen", "critic_rollouts", "reward_scale")
FIRST_SEED, SEEDS_A_RUN, SEEDS_A_ROUND = 1_000_000, 100_000, 10_000  # of the lessons' episodes
CRITIC = 128  # width
CONFIG = "config.json"


def read_student_hyperparams(path: Path) -> dict[str, Any]:
    """Read a file of hyperparameters.

    Args:
        path: YAML as agents/hyperparams/student.yml.

    Returns:
        The hyperparameters.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such YAML, or has unknown or missing keys.
    """
    found = read_zoo_file(path)
    for name, keys in SECTIONS.items():
        check_keys(f"{path}: {name}" if name else str(path), found[name] if name else found, keys)
    for number, one in enumerate(found["rounds"]):
        check_keys(f"{path}: rounds, {number}", one, ROUND_KEYS)
    if not found["rounds"]:
        raise ValueError(f"{path}: rounds: expected at least one")
    return found


def scenarios_of(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The scenario that a run is for, and the others that it learns besides."""
    scenario, others = config["scenario"], config["hyperparams"]["others"]
    return scenario, [] if others is None else [s for s in benchmark.suite(others).scenarios if s != scenario]


def share_out(config: Mapping[str, Any], count: int) -> dict[str, int]:
    """How many of some environments each scenario gets: half of them the run's, if there are others."""
    scenario, others = scenarios_of(config)
    each = count // (2 * len(others)) if others else 0
    return {scenario: count - each * len(others)} | {other: each for other in others}


class Validation:
    """Episodes of the validation split, always the same ones."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the environments: as many of the run's scenario as of all others together."""
        count = config["hyperparams"]["evaluation"]["validation_episodes"]
        scenario, others = scenarios_of(config)
        self._envs = [StudentVectorEnv(count, scenario, "validation")]
        self._envs += [StudentVectorEnv(-(-count // len(others)), other, "validation") for other in others]

    def score(self, network: nn.Module) -> dict[str, float]:
        """Play.

        Args:
            network: Who.

        Returns:
            Mean QoE in the run's scenario, in the others, and of the two: "scenario", "others", "qoe".
        """
        means = [float(play(network, envs, 0).mean()) for envs in self._envs]
        others = float(np.mean(means[1:] or means))
        return {"scenario": means[0], "others": others, "qoe": (means[0] + others) / 2.0}


def lesson_jobs(folder: Path, config: Mapping[str, Any], number: int) -> list[benchmark.Job]:
    """The episodes of a round: the teacher plays the first, the student of the round before the others.

    Args:
        folder: Of the run.
        config: Of the run.
        number: Of the round, from 0.

    Returns:
        The episodes; every other one is of the run's scenario, if there are others.
    """
    scenario, others = scenarios_of(config)
    count = config["hyperparams"]["rounds"][number]["episodes"]
    names = [others[i // 2 % len(others)] if others and i % 2 else scenario for i in range(count)]
    first = FIRST_SEED + SEEDS_A_RUN * config["seed"] + SEEDS_A_ROUND * number
    player, params = TEACHER, {}
    if number > 0:
        player, params = "student", {"weights": str(folder / f"round-{number - 1}.safetensors")}
    return [benchmark.Job(name, {}, "train", player, params, first + i) for i, name in enumerate(names)]


def learn_round(folder: Path, config: Mapping[str, Any], number: int, validation: Validation, console: Console) -> None:
    """Make the lessons of a round, and fit a student to all lessons so far.

    Args:
        folder: Of the run; gets ``lessons-NUMBER/`` and ``round-NUMBER.safetensors``.
        config: Of the run.
        number: Of the round, from 0.
        validation: Judges the student.
        console: Where the result is announced.
    """
    path, params = folder / f"round-{number}.safetensors", config["hyperparams"]
    if path.is_file():
        return
    one = params["rounds"][number]
    give_lessons(
        folder / f"lessons-{number}",
        lesson_jobs(folder, config, number),
        teacher=params["teacher"],
        commented_share=one["commented_share"],
        stray_share=one["stray_share"],
        workers=len(os.sched_getaffinity(0)),
    )
    lessons = [lesson for k in range(number + 1) for lesson in read_lessons(folder / f"lessons-{k}")]
    sheet = collate([show(lesson, "train") for lesson in lessons])
    torch.manual_seed(config["seed"])
    network = StudentNetwork(sheet.options, **params["network"])
    fit(network, sheet, seed=config["seed"], **params["fit"])
    scores = {"timesteps": 0, "comments": len(sheet.seen)} | validation.score(network)
    keep(path, network, config, [scores])
    console.print(f"round {number}: {scores['comments']:,} comments, {describe(scores)}")


def keep(path: Path, network: nn.Module, config: Mapping[str, Any], scores: list[dict[str, float]]) -> None:
    """Write a student.

    Args:
        path: ``.../NAME.safetensors``.
        network: The student.
        config: Of the run.
        scores: So far, the last first seen with this student.
    """
    card = {"config": config, "timesteps": scores[-1]["timesteps"], "scores": scores, **provenance()}
    write_checkpoint(path, network.state_dict(), card)


def describe(scores: Mapping[str, float]) -> str:
    """Scores in words."""
    return f"validation QoE {scores['scenario']:.1f}, other scenarios {scores['others']:.1f}"


class Tutor(BaseCallback):
    """Watches fine-tuning: lets the critic learn first, evaluates at intervals, keeps checkpoints, shows progress."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        scores: list[dict[str, float]],
        validation: Validation,
        console: Console,
    ) -> None:
        """Make the callback.

        Args:
            folder: Of the run.
            config: Of the run.
            scores: Evaluations so far; goes on.
            validation: Judges the student.
            console: Where progress is shown.
        """
        super().__init__()
        self.folder, self.config, self.scores, self.validation, self.console = (
            folder,
            config,
            scores,
            validation,
            console,
        )
        params = config["hyperparams"]["fine_tuning"]
        self._rollout = params["n_envs"] * params["n_steps"]
        self._critic_only = self._rollout * params["critic_rollouts"]
        self._every = self._rollout * config["hyperparams"]["evaluation"]["every"]
        self._progress = Progress(
            TextColumn("fine-tuning"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=params["n_timesteps"])

    def student(self) -> StudentNetwork:
        """The student as it is."""
        return student_of(self.model)

    def save(self) -> None:
        """Write the latest checkpoint: the whole policy, and what training needs to go on."""
        path = self.folder / "latest.safetensors"
        card = {"config": self.config, "timesteps": self.num_timesteps, "scores": self.scores, **provenance()}
        write_checkpoint(path, self.model.policy.state_dict(), card)
        write_training_state(path, self.model.policy.optimizer)

    def evaluate(self) -> None:
        """Evaluate the student; keep it, and keep it as the best if it is."""
        best = max(score["qoe"] for score in self.scores)
        self.scores.append({"timesteps": self.num_timesteps, **self.validation.score(self.student())})
        for name in ("scenario", "others", "qoe"):
            self.logger.record(f"validation/{name}", self.scores[-1][name])
        self.logger.dump(self.num_timesteps)
        self.save()
        if self.scores[-1]["qoe"] > best:
            keep(self.folder / "best.safetensors", self.student(), self.config, self.scores)
        self.console.print(f"{self.num_timesteps:>9,} steps: {describe(self.scores[-1])}")

    def _on_training_start(self) -> None:
        self._progress.start()

    def _on_rollout_start(self) -> None:
        for parameter in self.student().parameters():
            parameter.requires_grad_(self.num_timesteps >= self._critic_only)
        if self.num_timesteps >= self.scores[-1]["timesteps"] + self._every and self.num_timesteps > self._critic_only:
            self.evaluate()

    def _on_step(self) -> bool:
        self._progress.update(self._task, completed=self.num_timesteps)
        return True

    def close(self) -> None:
        """Stop showing progress."""
        self._progress.stop()


def fine_tune(folder: Path, config: Mapping[str, Any], validation: Validation, console: Console) -> None:
    """Fine-tune the last round's student by PPO; the best student seen on the validation split remains.

    Args:
        folder: Of the run; gets ``latest`` and ``best``.
        config: Of the run.
        validation: Judges the student.
        console: Where progress is shown.

    Raises:
        KeyboardInterrupt: The user's; the run is saved by then.
    """
    params = config["hyperparams"]["fine_tuning"]
    last = folder / f"round-{len(config['hyperparams']['rounds']) - 1}.safetensors"
    latest = folder / "latest.safetensors"
    weights, card = read_checkpoint(latest if latest.is_file() else last)
    if not (folder / "best.safetensors").is_file():
        write_checkpoint(folder / "best.safetensors", weights, {key: card[key] for key in CARD})
    if card["timesteps"] >= config["timesteps"]:
        return
    ppo = {key: value for key, value in params.items() if key not in NOT_PPO}
    ppo["learning_rate"] = learning_rate_of(params["learning_rate"])
    counts = share_out(config, params["n_envs"])
    model = make_ppo(counts, config["hyperparams"]["network"], CRITIC, ppo, params["reward_scale"], config["seed"])
    model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
    if latest.is_file():
        load_weights(model.policy, weights, latest)
        restore_training_state(latest, model.policy.optimizer)
        model.num_timesteps = card["timesteps"]
        model.env.seed(config["seed"] + model.num_timesteps)  # type: ignore[union-attr]
    else:
        load_weights(student_of(model), weights, last)
        student_of(model).sharpen(params["sharpen"])
    tutor = Tutor(folder, config, card["scores"], validation, console)
    tutor.init_callback(model)
    try:
        model.learn(config["timesteps"] - model.num_timesteps, callback=tutor, reset_num_timesteps=False)
        tutor.evaluate()
    except KeyboardInterrupt:
        tutor.save()
        console.print(f"Stopped and saved; go on with --resume {folder}")
        raise
    finally:
        tutor.close()


def begin_run(
    scenario: str, seed: int, timesteps: int | None, hyperparams: Path | None, output: Path | None
) -> tuple[Path, dict[str, Any]]:
    """Folder and configuration of a new run; see `train_student` for the arguments.

    Raises:
        ValueError: An unknown scenario, a folder that holds a run already, or hyperparameters that are none.
        FileNotFoundError: No such hyperparameters.
    """
    Scenario.parse(scenario)
    params = read_student_hyperparams(hyperparams or HYPERPARAMS)
    folder = output or Path("runs") / f"student-{time.strftime('%Y%m%d-%H%M%S')}"
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder}: holds a run already; go on with --resume {folder}, or choose another --output")
    config = {
        "agent": "student",
        "scenario": scenario,
        "seed": seed,
        "timesteps": params["fine_tuning"]["n_timesteps"] if timesteps is None else timesteps,
        "network": params["network"],
        "temperature": params["fit"]["temperature"],
        "hyperparams": params,
    }
    write_text(folder / CONFIG, f"{json.dumps(config, indent=2)}\n")
    return folder, config


def train_student(
    scenario: str = DEFAULT_SCENARIO,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    timesteps: int | None = None,
    hyperparams: Path | None = None,
    output: Path | None = None,
    resume: Path | None = None,
) -> list[Row]:
    """Train a student, keep its checkpoints, and compare the best one with its teacher on the test split.

    Args:
        scenario: The scenario that half of its episodes are of.
        overrides: None or empty: a student is taught in scenarios as they are shipped.
        seed: Seeds everything.
        timesteps: Steps of fine-tuning; the hyperparameters' (or the resumed run's) where None.
        hyperparams: YAML file; agents/hyperparams/student.yml where None.
        output: Folder of the run; runs/student-DATE where None.
        resume: Folder of a run to go on with, as it was configured; of the other arguments, only timesteps counts.

    Returns:
        Rows of the comparison.

    Raises:
        ValueError: An unknown name, a number out of range, or a file that is not what it should be.
        FileNotFoundError: A file or folder is missing.
        KeyboardInterrupt: The user's; what is finished is kept.
    """
    if overrides:
        raise ValueError(f"student: is taught in scenarios as they are shipped; expected no {', '.join(overrides)}")
    console = Console(stderr=True)
    torch.set_num_threads(1)  # small batches: a second thread only waits
    if resume is None:
        folder, config = begin_run(scenario, seed, timesteps, hyperparams, output)
    else:
        folder, config = resume, read_json(resume / CONFIG)
        config["timesteps"] = config["timesteps"] if timesteps is None else timesteps
    console.print(f"Training student on {config['scenario']} in {folder}")
    validation = Validation(config)
    for number in range(len(config["hyperparams"]["rounds"])):
        learn_round(folder, config, number, validation, console)
    fine_tune(folder, config, validation, console)
    board = leaderboard.run(
        make_agent,
        ["student", *RIVALS],
        [config["scenario"]],
        episodes=config["hyperparams"]["evaluation"]["test_episodes"],
        output=folder / "comparison",
        params={"student": {"weights": str(folder / "best.safetensors")}},
    )
    print_board(board)
    return board.rows
