"""Hyperparameters of runs that take seconds."""

from pathlib import Path
from typing import Any

import yaml

from agents.training.config import COMMON_KEYS

SHORT: dict[str, Any] = {"n_videos": 2, "max_wall_s": 25.0}
TINY: dict[str, Any] = {
    "n_timesteps": 256,
    "n_envs": 8,
    "policy": "CandidatePolicy",
    "policy_kwargs": {"slot_width": 8, "context_width": 16, "candidate_width": 8},
    "n_steps": 16,
    "batch_size": 64,
    "n_epochs": 1,
    "learning_rate": "lin_1e-3",
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "reward_scale": 0.1,
    "worlds": None,
    "warm_start": {
        "agent": "on_demand",
        "decisions": 64,
        "dagger_decisions": 0,
        "exploration_share": 0.0,
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 1e-2,
    },
    "evaluation": {"every": 128, "patience": None, "validation_episodes": 3, "test_episodes": 1},
}


TINY_DQN: dict[str, Any] = {key: TINY[key] for key in COMMON_KEYS} | {
    "policy": "CandidateQPolicy",
    "policy_kwargs": {**TINY["policy_kwargs"], "temperature": 0.1},
    "buffer_size": 400,
    "learning_starts": 32,
    "batch_size": 16,
    "tau": 0.1,
    "gamma": 0.99,
    "n_steps": 3,
    "train_freq": 1,
    "gradient_steps": 1,
    "target_update_interval": 32,
    "exploration_fraction": 0.5,
    "exploration_initial_eps": 0.5,
    "exploration_final_eps": 0.1,
}


TINY_STUDENT: dict[str, Any] = {
    "network": {"width": 8, "context_width": 16},
    "worlds": {"suite": "quick", "drawn": 2},
    "expert": {"simulations": 4},
    "rounds": [
        {"episodes": 6, "label_share": 1.0, "exploration_share": 0.1},
        {"episodes": 6, "label_share": 0.3, "exploration_share": 0.1},
    ],
    "fit": {
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "temperature": 0.1,
        "regret_share": 0.1,
    },
    "evaluation": {"validation_episodes": 2, "test_episodes": 1},
}


EXPERT = {"simulations": 16}


def write_hyperparams(path: Path, base: dict[str, Any] = TINY, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({"PromptPream-v0": base | changes}))
    return path
