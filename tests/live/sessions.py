"""How tests play live sessions, and look for what they leave behind."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ppgym.live.env import PromptPreamLiveEnv


def first_legal(env: PromptPreamLiveEnv) -> int:
    """Request the first chunk that can be requested, else wait."""
    legal = np.flatnonzero(env.action_masks())
    return int(legal[1]) if len(legal) > 1 else 0


def play(env: PromptPreamLiveEnv, seed: int, at_step: Callable[[int], Any] = lambda step: None) -> dict[str, Any]:
    """Play a session to its end; returns the last info."""
    _, info = env.reset(seed=seed)
    ended, step = False, 0
    while not ended:
        at_step(step)
        _, _, terminated, truncated, info = env.step(first_legal(env))
        ended, step = terminated or truncated, step + 1
    return info


def children() -> set[int]:
    """Processes of this one that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(path.parent.name))
    return found


def worker_pid(env: PromptPreamLiveEnv, unit: int) -> int:
    """The process that decodes on a unit."""
    worker = env._live.units[unit]._worker
    assert worker is not None
    return worker.result().process.pid


def stop_worker(env: PromptPreamLiveEnv, unit: int, how: signal.Signals) -> None:
    """Send a signal to the process that decodes on a unit."""
    os.kill(worker_pid(env, unit), how)
