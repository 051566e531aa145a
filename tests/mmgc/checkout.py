"""A folder of the official repository's layout, without any of its code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.mmgc.oracle import write_dataset

HERE = Path(__file__).parent
CLONE = HERE.parents[1]
EXAMPLE = CLONE / "examples" / "mmgc"
TEMPLATE = '"""The template."""\nraise SystemExit("the template beside run.py was found")\n'


def make_checkout(root: Path) -> Path:
    """Write data of seven short videos, an imitation of run.py and of the simulator, and the template that shadows."""
    rng = np.random.default_rng(7)
    sizes, curves = [], []
    for chunks in (5, 2, 9, 3, 14, 4, 6):
        base = rng.integers(20_000, 200_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.sort(rng.integers(0, 12, chunks) / 12)[::-1]
        curves.append([(0, 1.0), *enumerate(shares.round(9).tolist(), start=1), (chunks + 1, 0.0)])
    traces = [[(0.5 * row, float(rate)) for row, rate in enumerate(rng.uniform(0.2, 3.0, 300))] for _ in range(3)]
    write_dataset(root / "data", sizes, curves, {"low": traces})
    (root / "simulator").mkdir()
    (root / "simulator" / "video_player.py").write_text("BITRATE_LEVELS = 3\nVIDEO_CHUNCK_LEN = 1000.0\n")
    oracle = (HERE / "oracle.py").read_text()
    controller = oracle.replace("import itertools\n", "import itertools\nfrom numpy.lib.utils import _split_line\n", 1)
    (root / "simulator" / "controller.py").write_text(controller)
    shutil.copy(HERE / "run_imitation.py", root / "run.py")
    (root / "solution.py").write_text(TEMPLATE)
    (root / "submit").mkdir()
    return root


def add_entry(root: Path, name: str) -> Path:
    """Put an entry of `entries` into a checkout as submit/solution.py."""
    shutil.copy(HERE / "entries" / f"{name}.py", root / "submit" / "solution.py")
    if name == "lazy":
        agents = root / "submit" / "results" / "agents"
        agents.mkdir(parents=True)
        (agents / "__init__.py").write_text("")
        (agents / "brain.py").write_text(
            "class Brain:\n"
            "    def choose(self, players):\n"
            "        return next((seq for seq, player in enumerate(players) if player.get_remain_video_num()), None)\n"
        )
        (root / "shared.py").write_text("HERE = True\n")
        (agents.parent / "rungs.json").write_text(json.dumps([1, 2]))
        # What pickle makes of an instance, without importing the entry's package here
        (agents.parent / "brain.pickle").write_bytes(b"\x80\x03cagents.brain\nBrain\nq\x00)\x81q\x01.")
    return root / "submit" / "solution.py"


def run_there(root: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Start the checkout's run.py by the shim, as README.md says.

    Args:
        root: The checkout.
        arguments: Of run.py.
        path: What is importable before all that is installed.
    """
    shutil.copy(EXAMPLE / "shim.py", root)
    command = [sys.executable, "shim.py", *arguments]
    return subprocess.run(command, cwd=root, env={"PYTHONPATH": str(path)}, capture_output=True, text=True)
