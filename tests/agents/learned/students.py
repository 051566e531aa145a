"""What tests of the student share: an environment after some steps, a written student."""

from pathlib import Path
from typing import Any

import numpy as np

from agents.learned.cards import provenance
from agents.learned.checkpoints import write_checkpoint
from agents.learned.student_network import StudentNetwork
from agents.learned.training_range import describe
from ppgym.env import PromptPreamEnv

OPTIONS = 15
EVERYWHERE = {name: [0.0, 1e9] for name in describe(PromptPreamEnv().world.scenario)}


def visited(seed: int, steps: int) -> tuple[PromptPreamEnv, np.random.Generator]:
    """An environment after some random legal steps."""
    env, rng = PromptPreamEnv(), np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(steps):
        env.step(int(rng.choice(np.flatnonzero(env.action_masks()))))
    return env, rng


def save_student(path: Path, network: StudentNetwork, **config: Any) -> Path:
    config = {
        "agent": "student",
        "hyperparams": {"network": {}, "fit": {"temperature": 0.5}},
        "trained_on": EVERYWHERE,
    } | config
    write_checkpoint(path, network.state_dict(), {"config": config, "timesteps": 0, "scores": [], **provenance()})
    return path
