"""Trains an agent and compares it with the heuristics: the command line. What it does is in `agents.training`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from ppgym.scenario import DEFAULT_SCENARIO


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train an agent, keep its checkpoints, and compare it with the heuristics on the test split.

    Ctrl-C saves the run.
    """

    agent: str = "ppo"
    """What to train: ppo or student."""
    scenario: str = DEFAULT_SCENARIO
    """network/device/viewer."""
    timesteps: int | None = None
    """Steps of training in all; by default as many as the hyperparameters say."""
    seed: int = 0
    """Seeds everything."""
    hyperparams: Path | None = None
    """YAML file; by default agents/hyperparams/AGENT.yml."""
    output: Path | None = None
    """Folder of the run; by default runs/AGENT-DATE."""
    resume: Path | None = None
    """Folder of a run to go on with, as it was configured; only --timesteps and --device count besides."""
    device: str = "cpu"
    """Device of torch."""
    network: Path | None = None
    """Folder of real network traces, instead of the scenario's."""
    videos: Path | None = None
    """Folder of real video sizes in the layout of the 2022 challenge."""
    viewers: Path | None = None
    """Folder of real retention curves, one for each of the videos."""


def main() -> None:
    """Run the command line; a mistake in it is one line on stderr and exit code 2."""
    arguments = tyro.cli(Arguments, description=Arguments.__doc__)
    folders = {"network": arguments.network, "videos": arguments.videos, "viewers": arguments.viewers}
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read on import; where cores are shared, spinning costs all
    from agents.training import train  # after parsing: --help shall not wait for a deep-learning library

    try:
        train(
            agent=arguments.agent,
            scenario=arguments.scenario,
            overrides={key: str(folder) for key, folder in folders.items() if folder is not None},
            seed=arguments.seed,
            timesteps=arguments.timesteps,
            hyperparams=arguments.hyperparams,
            output=arguments.output,
            resume=arguments.resume,
            device=arguments.device,
        )
    except (FileNotFoundError, ValueError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
