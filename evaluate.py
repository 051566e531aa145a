"""Compare policies, measure the simulator, check results: `python evaluate.py --help`; alone, the quick suite."""

import os
import sys

# Read on import: a decision is a small batch, for which threads of one process only fight those of the other workers
os.environ.setdefault("OMP_NUM_THREADS", "1")

from ppgym.commandline import run_command


def main() -> None:
    """Parse the command line and run the command."""
    sys.path.append(os.getcwd())  # an agent `module:Class` may lie in the current folder
    from agents.cli import app
    from agents.settings import gather_settings

    app.cli(args=gather_settings(sys.argv[1:]) or ["run"])


if __name__ == "__main__":
    run_command(main, extra="bench", stopped="stopped; with --output, the same command goes on from here")
