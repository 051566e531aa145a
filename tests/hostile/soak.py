"""A soak: millions of steps of many environments. Memory stays flat, and observations stay in their box.

python -m tests.hostile.soak --steps 5000000
"""

import argparse
import time
from pathlib import Path

import numpy as np

from ppgym.vector_env import PromptPreamVectorEnv

ENVS = 64
GROWTH_BYTES = 20 * 2**20  # after the first tenth of the steps


def resident_bytes() -> int:
    """Memory of this process."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def soak(steps: int, scenario: str, seed: int = 0) -> tuple[int, int]:
    """Play random legal actions.

    Args:
        steps: Of all environments together.
        scenario: Name of a scenario.
        seed: Of episodes and actions.

    Returns:
        Sessions played, and bytes by which memory has grown after the first tenth of the steps.

    Raises:
        AssertionError: An observation lies outside of the box, or a reward or a total is not finite.
    """
    envs, rng = PromptPreamVectorEnv(ENVS, scenario), np.random.default_rng(seed)
    _, infos = envs.reset(seed=seed)
    sessions = begun_bytes = 0
    rounds = steps // ENVS
    for number in range(rounds):
        if number == rounds // 10:
            begun_bytes = resident_bytes()
        draws = rng.random(infos["action_mask"].shape, np.float32) * infos["action_mask"]
        observations, rewards, terminated, truncated, infos = envs.step(draws.argmax(axis=1))
        assert observations.min() >= 0.0 and observations.max() <= 1.0  # not of NaN either
        assert np.isfinite(rewards).all()
        assert all(np.isfinite(infos[key]).all() for key in ("time_s", "energy_j", "downloaded_bytes", "quality"))
        sessions += int((terminated | truncated).sum())
    return sessions, resident_bytes() - begun_bytes


def main() -> None:
    """Play, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000_000)
    parser.add_argument("--scenario", default="low/snapdragon-8-elite/typical")
    given = parser.parse_args()
    started_s = time.perf_counter()
    sessions, grown = soak(given.steps, given.scenario)
    rate = given.steps / (time.perf_counter() - started_s)
    print(f"{given.steps:,} steps, {sessions:,} sessions, {rate:,.0f} steps/s, memory grew by {grown / 2**20:.1f} MiB")
    assert grown < GROWTH_BYTES


if __name__ == "__main__":
    main()
