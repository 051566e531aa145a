"""Trains agents and compares them with others: the command line. The training is in `agents.training.run`."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppgym.commandline import run_command
from ppgym.world.scenario import DEFAULT_SCENARIO
from ppgym.world.scenario_file import parse_settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train an agent, keep its checkpoints, and compare it with others on the test split.

    Ctrl-C saves the run.
    """

    agent: str | None = None
    """What to train: ppo, dqn or student; by default ppo or, with --resume, the run's agent."""
    scenario: str = DEFAULT_SCENARIO
    """network/device/viewer[/ladder], or a scenario file; names with commas between them, or * for all, train one model
    for several scenarios."""
    timesteps: int | None = None
    """Steps of training in all; by default the hyperparameters say how many. A student has none."""
    seed: int = 0
    """Seeds everything."""
    seeds: int = 1
    """Number of runs, with seeds from --seed on."""
    engine: str = "local"
    """Where several runs train: local, or ray: the cluster that RAY_ADDRESS names, a local one by default."""
    hyperparams: tuple[Path, ...] = ()
    """YAML file, or several to try; by default agents/hyperparams/AGENT.yml."""
    output: Path | None = None
    """Folder of the run; by default runs/AGENT-DATE."""
    resume: Path | None = None
    """Folder of a run to go on with, as it was configured; only --timesteps and --torch-device count besides."""
    torch_device: str = "cpu"
    """Where networks are trained, as torch calls it: cpu, cuda ..."""
    set: tuple[str, ...] = ()
    """Fields of the scenario that differ, as KEY=VALUE: bandwidth_scale=2 qoe.waste=2 network=my_traces."""


def main() -> None:
    """Parse the command line and train."""
    import tyro

    from agents.settings import gather_settings

    given = tyro.cli(Arguments, description=Arguments.__doc__, args=gather_settings(sys.argv[1:]))
    overrides = parse_settings(given.set)
    arguments: dict[str, Any] = {"agent": given.agent, "scenario": given.scenario, "overrides": overrides}
    arguments |= {"timesteps": given.timesteps, "torch_device": given.torch_device}
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read on import; where cores are shared, spinning costs all
    from agents.training.run import train  # after parsing: --help shall not wait for a deep-learning library
    from agents.training.sweep import plan_sweep, train_sweep

    sweep = plan_sweep(given.seed, given.seeds, given.hyperparams)
    if len(sweep) == 1 and given.engine == "local":
        arguments |= {"seed": given.seed, "hyperparams": sweep[0].hyperparams, "output": given.output}
        train(**arguments, resume=given.resume)
    elif given.resume is not None:
        raise ValueError("--resume: expected one run; several go on by the same command with the same --output")
    else:
        output = given.output or Path("runs") / f"{given.agent or 'ppo'}-{time.strftime('%Y%m%d-%H%M%S')}"
        train_sweep(sweep, output, arguments, given.engine)


if __name__ == "__main__":
    run_command(main, extra="rl")
