"""The configuration of a training run, checked: hyperparameters, scenarios, torch's device, the folder.

A run is a folder: ``config.json``, ``latest`` and ``best`` checkpoints (`agents.learned.checkpoints`), ``comparison/``,
and what its agent keeps besides. The training itself is in `agents.training.run`.
"""

import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.learned.cards import read_card, settle
from agents.learned.checkpoints import write_checkpoint
from ppgym.files import check_keys, read_json, suggest, write_text
from ppgym.world.devices import DEVICES
from ppgym.world.ladders import LADDERS
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario
from ppgym.world.scenario_file import is_file_name, read_yaml
from ppgym.world.viewers import VIEWERS

ENV_ID = "PromptPream-v0"
PPO_KEYS = ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "ent_coef", "vf_coef")
DQN_KEYS = (
    *("buffer_size", "learning_starts", "batch_size", "tau", "gamma", "n_steps", "train_freq", "gradient_steps"),
    *("target_update_interval", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps"),
)
COMMON_KEYS = (
    *("n_timesteps", "n_envs", "policy", "policy_kwargs", "learning_rate", "max_grad_norm"),
    *("reward_scale", "warm_start", "worlds", "evaluation"),
)
KEYS = {
    "ppo": (*PPO_KEYS, *COMMON_KEYS),
    "dqn": (*DQN_KEYS, *COMMON_KEYS),
    "student": ("network", "worlds", "expert", "rounds", "fit", "evaluation"),
}
WORLDS = ("suite", "drawn")
BY_REWARD = {
    "warm_start": (
        *("agent", "decisions", "dagger_decisions", "exploration_share", "epochs", "batch_size", "learning_rate"),
    ),
    "worlds": WORLDS,
    "evaluation": ("every", "patience", "validation_episodes", "test_episodes"),
}
SECTIONS = {
    "ppo": BY_REWARD,
    "dqn": BY_REWARD,
    "student": {
        "network": ("width", "context_width"),
        "worlds": WORLDS,
        "fit": ("epochs", "batch_size", "learning_rate", "temperature", "regret_share"),
        "evaluation": ("validation_episodes", "test_episodes"),
    },
}
OPTIONAL = ("warm_start", "worlds")  # sections that may be null
ROUND_KEYS = ("episodes", "label_share", "exploration_share")
MOST = 10**9
COUNTS = {
    "batch_size buffer_size candidate_width context_width decisions episodes epochs every gradient_steps n_envs": 1,
    "n_epochs n_steps n_timesteps patience simulations slot_width target_update_interval test_episodes": 1,
    "train_freq validation_episodes width": 1,
    "dagger_decisions drawn learning_starts": 0,
}
"""Whole numbers up to `MOST`, and the least value of each."""
RANGES = {
    "exploration_final_eps exploration_fraction exploration_initial_eps exploration_share": (0, 1),
    "clip_range gae_lambda gamma label_share regret_share tau": (0, 1),
    "ent_coef": (-10, 10),
    "vf_coef": (0, 1e3),
    "learning_rate": (0, 1e3),
    "max_grad_norm reward_scale temperature": (1e-9, 1e3),
}
"""Least and greatest value of each number."""
CONFIG, LATEST = "config.json", "latest.safetensors"
HYPERPARAMS = Path(__file__).parents[1] / "hyperparams"


class Run(NamedTuple):
    """A training run."""

    folder: Path
    config: dict[str, Any]  # what config.json and the checkpoints' cards hold
    timesteps: int  # when it was opened
    curve: list[dict[str, float]]  # evaluations so far, each with its `timesteps` and `qoe`

    @property
    def done(self) -> bool:
        """Whether it was trained to its end, and evaluated there, before it was opened."""
        if self.config["agent"] == "student":
            return len(self.curve) >= len(self.config["hyperparams"]["rounds"])
        return self.evaluated and self.timesteps >= int(self.config["timesteps"])

    @property
    def evaluated(self) -> bool:
        """Whether it was evaluated at the step at which it was opened."""
        return bool(self.curve) and self.curve[-1]["timesteps"] == self.timesteps

    @property
    def out_of_patience(self) -> bool:
        """Whether as many evaluations as its hyperparameters allow have brought nothing better."""
        patience = self.config["hyperparams"]["evaluation"].get("patience")
        qoe = [scores["qoe"] for scores in self.curve]
        return patience is not None and bool(qoe) and len(qoe) - 1 - qoe.index(max(qoe)) >= patience

    def write_config(self) -> None:
        """Write config.json, so that the run can be resumed."""
        write_text(self.folder / CONFIG, f"{json.dumps(self.config, indent=2)}\n")

    def write_checkpoint(
        self,
        name: str,
        weights: Mapping[str, Tensor],
        timesteps: int,
        code: Mapping[str, Any],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Write a checkpoint with the curve so far.

        Args:
            name: "latest" or "best".
            weights: Named tensors.
            timesteps: So far.
            code: `agents.learned.cards.provenance`.
            optimizer: As for `agents.learned.checkpoints.write_checkpoint`.
        """
        card = {"config": self.config, "timesteps": timesteps, "scores": self.curve, **code}
        write_checkpoint(self.folder / f"{name}.safetensors", weights, card, optimizer)

    def improved(self) -> bool:
        """Whether the last evaluation is better than all before it."""
        *before, last = (scores["qoe"] for scores in self.curve)
        return last > max(before, default=float("-inf"))


def read_hyperparams(path: Path, agent: str) -> dict[str, Any]:
    """Read a file of hyperparameters, in rl-zoo's format.

    Args:
        path: YAML as agents/hyperparams/ppo.yml.
        agent: A key of `KEYS`.

    Returns:
        The hyperparameters for this environment.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such YAML, or has unknown or missing keys.
    """
    content = read_yaml(path)
    found = content.get(ENV_ID) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a mapping with the key {ENV_ID!r} and hyperparameters below it")
    check_hyperparams(str(path), found, agent)
    return found


def check_hyperparams(where: str, found: Mapping[str, Any], agent: str) -> None:
    """Check that hyperparameters have the keys that an agent needs, and no others, and numbers within reason.

    Args:
        where: Their file, for the message.
        found: The hyperparameters.
        agent: A key of `KEYS`.

    Raises:
        ValueError: A key is unknown or missing, a number is out of range, or a student has no round.
    """
    check_keys(where, found, KEYS[agent])
    for name, keys in SECTIONS[agent].items():
        if found[name] is not None or name not in OPTIONAL:
            check_keys(f"{where}: {name}", found[name], keys)
    for number, one in enumerate(found.get("rounds", ())):
        check_keys(f"{where}: rounds, {number}", one, ROUND_KEYS)
    if agent == "student" and not found["rounds"]:
        raise ValueError(f"{where}: rounds: expected at least one")
    _check_numbers(where, found, is_top=True)


def _rate(value: Any) -> Any:
    """The number of a learning rate, which may say "lin_3e-4"."""
    try:
        return float(value.removeprefix("lin_")) if isinstance(value, str) else value
    except ValueError:
        return value


def _check_numbers(where: str, found: Any, is_top: bool = False) -> None:
    if isinstance(found, list):
        for number, one in enumerate(found):
            _check_numbers(f"{where}, {number}", one)
    if not isinstance(found, Mapping):
        return
    for key, value in found.items():
        for names, least in COUNTS.items():
            nothing = key == "patience" and value is None
            if key in names.split() and not nothing and (type(value) is not int or not least <= value <= MOST):
                raise ValueError(f"{where}: {key}: expected a whole number from {least} to {MOST:,}, got {value!r}")
        for names, (low, high) in RANGES.items():
            if key in names.split():
                number = _rate(value) if key == "learning_rate" and is_top else value
                if type(number) not in (int, float) or not low <= number <= high:
                    raise ValueError(f"{where}: {key}: expected a number from {low} to {high:g}, got {value!r}")
        _check_numbers(f"{where}: {key}", value)


def names_of(pattern: str) -> list[str]:
    """The scenarios that a pattern stands for.

    Args:
        pattern: ``network/device/viewer[/ladder]``, each a name, several with commas between them, or ``*`` for all; or
            a scenario file.

    Returns:
        Names of scenarios: all combinations.
    """
    parts = pattern.split("/")
    known = (NETWORKS, DEVICES, VIEWERS, LADDERS)
    if is_file_name(pattern) or len(parts) not in (3, 4):
        return [pattern]  # its reader says what is wrong with it
    choices = [names if part == "*" else part.split(",") for part, names in zip(parts, known, strict=False)]
    return ["/".join(names) for names in itertools.product(*choices)]


def check_torch_device(name: str) -> None:
    """Check that torch has a device here.

    Args:
        name: As torch calls it.

    Raises:
        ValueError: It has no such device, with those that it has.
    """
    known = ["cpu"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        known += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]
    if name not in known:
        raise ValueError(f"--torch-device: torch has no {name!r} here; {suggest(name, known)}")


def begin_run(
    agent: str,
    scenario: str,
    overrides: Mapping[str, Any],
    seed: int,
    timesteps: int | None,
    hyperparams: Path | None,
    output: Path | None,
) -> Run:
    """Check the arguments of a new run; see `agents.training.run.train`. Nothing is written.

    Returns:
        The run.

    Raises:
        ValueError: An unknown name, a number out of range, or a folder that holds a run.
        FileNotFoundError: A file is missing.
    """
    if agent not in KEYS:
        raise ValueError(f"unknown agent {agent!r}; {suggest(agent, KEYS)}")
    for name in names_of(scenario):
        Scenario.parse(name, **overrides)
    params = read_hyperparams(hyperparams or HYPERPARAMS / f"{agent}.yml", agent)
    folder = output or Path("runs") / f"{agent}-{time.strftime('%Y%m%d-%H%M%S')}"
    if holds_run(folder):
        raise ValueError(f"{folder}: holds a run already; go on with it by --resume {folder}")
    config = {"agent": agent, "scenario": scenario, "overrides": dict(overrides), "seed": seed, "hyperparams": params}
    if agent == "student":
        _check_student(timesteps)
    else:
        config["timesteps"] = params["n_timesteps"] if timesteps is None else timesteps
    return Run(folder, config, 0, [])


def _check_student(timesteps: int | None) -> None:
    if timesteps is not None:
        raise ValueError("student: expected no --timesteps: its hyperparameters say how many episodes it learns from")


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a training run; what waits for its weights is put into its place."""
    if (folder / LATEST).is_file():
        settle(folder / LATEST)
    return (folder / CONFIG).is_file() or (folder / LATEST).with_suffix(".json").is_file()


def reopen_run(folder: Path, agent: str | None = None, timesteps: int | None = None) -> Run:
    """A run to go on with.

    Args:
        folder: Of the run.
        agent: The agent that is expected; any where None.
        timesteps: In all, instead of what it was configured for.

    Returns:
        The run.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run is another agent's, or one of its files is not what it should be.
    """
    if not holds_run(folder):
        raise FileNotFoundError(f"{folder}: expected a run with a file {CONFIG} or latest.json")
    if (folder / LATEST).with_suffix(".json").is_file():
        card = read_card(folder / LATEST)
    else:  # stopped before its first checkpoint
        card = {"config": read_json(folder / CONFIG), "timesteps": 0, "scores": []}
    check_hyperparams(str(folder), card["config"]["hyperparams"], card["config"]["agent"])
    config = dict(card["config"])
    if agent not in (None, config["agent"]):
        raise ValueError(f"--agent: {folder} is a run of {config['agent']!r}; expected that or nothing, got {agent!r}")
    if timesteps is not None:
        if config["agent"] == "student":
            _check_student(timesteps)
        config["timesteps"] = timesteps
    return Run(folder, config, card["timesteps"], card["scores"])
