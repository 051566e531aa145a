"""The scripts of examples/ run, for a few iterations."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_cleanrl_ppo() -> None:
    out = run("cleanrl_ppo.py", "--iterations", "3", "--num-envs", "8", "--num-steps", "128")
    assert re.findall(r"^\d+: return -?\d+\.\d, [\d,]+ decisions/s$", out, re.MULTILINE)[-1].startswith("3: ")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_rllib_ppo() -> None:
    assert len((EXAMPLES / "rllib_ppo.py").read_text().splitlines()) < 60
    out = run("rllib_ppo.py", "--iterations", "1", "--runners", "0", "--batch", "256")
    assert re.search(r"^1: 256 decisions, return", out, re.MULTILINE)
