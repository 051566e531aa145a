"""Starts the challenge's `run.py` of 2022 on today's Python and NumPy.

Copy this file beside `run.py` and start it there in its place, with its arguments:

    python shim.py --solution submit/ --trace low

Three things are in the way of `run.py`, and nothing else is changed: its simulator imports a module of NumPy that
NumPy 2 lacks; its seeds are NumPy's integers, which Python's `random.seed` refuses from 3.11 on; and the template
`solution.py` beside it is found before the one of `--solution`.
"""

import argparse
import importlib.util
import operator
import os
import random
import runpy
import sys
import types
from typing import Any


def stand_in() -> None:
    """Stand in for NumPy's module of small helpers, of which the simulator imports one that it never calls."""
    if importlib.util.find_spec("numpy.lib.utils") is None:
        module = types.ModuleType("numpy.lib.utils")
        module._split_line = None  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module


def accept_whole_numbers() -> None:
    """Let `random.seed` take whole numbers of any type."""
    seed = random.seed

    def seed_plainly(a: Any = None, version: int = 2) -> None:
        seed(operator.index(a) if hasattr(a, "__index__") else a, version)

    random.seed = seed_plainly  # type: ignore[assignment]


def main() -> None:
    """Prepare, then run `run.py`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--solution", default="./")
    solution = parser.parse_known_args()[0].solution
    stand_in()
    accept_whole_numbers()
    sys.path.insert(0, os.getcwd())
    sys.path.insert(0, os.path.abspath(solution))
    sys.argv[0] = "run.py"
    runpy.run_path("run.py", run_name="__main__")


if __name__ == "__main__":
    main()
