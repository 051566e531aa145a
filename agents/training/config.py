"""What a training run is told, checked: files of hyperparameters, scenarios, the folder.

A run is a folder: ``latest`` and ``best`` checkpoints (`agents.learned.checkpoints`), ``tensorboard/`` and
``comparison/``. How it is trained is in `agents.training.run`.
"""

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from agents.learned.checkpoints import read_card
from ppgym.files import check_keys, suggest
from ppgym.world.devices import DEVICES
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario
from ppgym.world.viewers import VIEWERS

ENV_ID = "PromptPream-v0"
PPO_KEYS = ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "ent_coef", "vf_coef")
DQN_KEYS = (
    *("buffer_size", "learning_starts", "batch_size", "tau", "gamma", "n_steps", "train_freq", "gradient_steps"),
    *("target_update_interval", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps"),
)
COMMON_KEYS = (
    *("n_timesteps", "n_envs", "policy", "policy_kwargs", "learning_rate", "max_grad_norm"),
    *("reward_scale", "warm_start", "evaluation"),
)
KEYS = {"ppo": (*PPO_KEYS, *COMMON_KEYS), "dqn": (*DQN_KEYS, *COMMON_KEYS)}
WARM_START_KEYS = ("agent", "decisions", "corrections", "stray_share", "epochs", "batch_size", "learning_rate")
EVALUATION_KEYS = ("every", "patience", "validation_episodes", "test_episodes")


class Run(NamedTuple):
    """A training run."""

    folder: Path
    config: dict[str, Any]  # what its cards hold
    curve: list[dict[str, float]]  # evaluations so far, each with its `timesteps`


def read_zoo_file(path: Path) -> dict[str, Any]:
    """What a YAML file in rl-zoo's format says of this environment, whatever the agent.

    Args:
        path: The file.

    Returns:
        The hyperparameters, unchecked.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such YAML.
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
    return found


def read_hyperparams(path: Path, agent: str) -> dict[str, Any]:
    """Read a file of hyperparameters.

    Args:
        path: YAML as agents/hyperparams/ppo.yml.
        agent: A key of `KEYS`.

    Returns:
        The hyperparameters.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such YAML, or has unknown or missing keys.
    """
    found = read_zoo_file(path)
    check_keys(str(path), found, KEYS[agent])
    check_keys(f"{path}: evaluation", found["evaluation"], EVALUATION_KEYS)
    if found["warm_start"] is not None:
        check_keys(f"{path}: warm_start", found["warm_start"], WARM_START_KEYS)
    return found


def names_of(pattern: str) -> list[str]:
    """The scenarios that a pattern stands for.

    Args:
        pattern: ``network/device/viewer``, each a name, several with commas between them, or ``*`` for all.

    Returns:
        Names of scenarios: all combinations.
    """
    parts = pattern.split("/")
    known = (NETWORKS, DEVICES, VIEWERS)
    if len(parts) != len(known):
        return [pattern]  # whose reader says what is wrong with it
    choices = [names if part == "*" else part.split(",") for part, names in zip(parts, known, strict=True)]
    return ["/".join(names) for names in itertools.product(*choices)]


def scenarios_of(config: Mapping[str, Any]) -> list[Scenario]:
    """The scenarios of a run.

    Args:
        config: Of the run.

    Returns:
        One or more; a model is trained on all of them at once.

    Raises:
        ValueError: An unknown name.
    """
    return [Scenario.parse(name, **config["overrides"]) for name in names_of(config["scenario"])]


def begin_run(
    agent: str,
    scenario: str,
    overrides: Mapping[str, Any],
    seed: int,
    timesteps: int | None,
    hyperparams: Path | None,
    output: Path | None,
) -> Run:
    """Check what a new run is told; see `agents.training.run.train` for the arguments.

    Returns:
        The run.

    Raises:
        ValueError: An unknown name, a number out of range, or a folder that holds a run.
        FileNotFoundError: A file is missing.
    """
    if agent not in KEYS:
        raise ValueError(f"unknown agent {agent!r}; {suggest(agent, (*KEYS, 'student'))}")
    scenarios_of({"scenario": scenario, "overrides": overrides})
    params = read_hyperparams(hyperparams or Path(__file__).parents[1] / "hyperparams" / f"{agent}.yml", agent)
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
    return Run(folder, config, [])


def reopen_run(folder: Path, timesteps: int | None) -> Run:
    """A run to go on with.

    Args:
        folder: Of the run.
        timesteps: In all, instead of what it was configured for.

    Returns:
        The run.

    Raises:
        FileNotFoundError: It has no checkpoint.
        ValueError: It has its timesteps, or the checkpoint is none.
    """
    card = read_card(folder / "latest.safetensors")
    config = dict(card["config"])
    if timesteps is not None:
        config["timesteps"] = timesteps
    if card["timesteps"] >= config["timesteps"]:
        raise ValueError(f"{folder}: has its {card['timesteps']} timesteps; ask for more with --timesteps")
    return Run(folder, config, card["scores"])
