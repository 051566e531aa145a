"""Compare policies, measure the simulator, check results: `python evaluate.py --help`; alone, the quick suite."""

import os
import sys

# Read on import: a decision is a small batch, for which threads of one process only fight those of the other workers
os.environ.setdefault("OMP_NUM_THREADS", "1")

from agents.cli import app

if __name__ == "__main__":
    try:
        app.cli(args=sys.argv[1:] or ["run"])
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; with --output, the same command goes on from here", file=sys.stderr)
        sys.exit(130)
