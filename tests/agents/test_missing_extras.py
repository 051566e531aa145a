"""Entry points of learned agents without a library that they need: one line names the extra that brings it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = "import runpy, sys; sys.modules[sys.argv[1]] = None; sys.argv = sys.argv[2:]; "
SCRIPT = WITHOUT + "runpy.run_path(sys.argv[0], run_name='__main__')"
MODULE = WITHOUT + "runpy.run_module(sys.argv[0], run_name='__main__')"


@pytest.mark.parametrize(
    ("how", "command", "missing", "extra"),
    [
        (SCRIPT, ["train.py", "--resume", "no/such/run"], "torch", "rl"),
        (SCRIPT, ["train.py", "--resume", "no/such/run"], "tensorboard", "rl"),
        (SCRIPT, ["evaluate.py", "run", "--agents", "ppo", "--workers", "1"], "onnxruntime", "bench"),
        (MODULE, ["agents.learned.onnx_export", "--output", "no/such/file.onnx"], "onnxscript", "deploy"),
        (SCRIPT, ["examples/cleanrl_ppo.py"], "torch", "rl"),
        (SCRIPT, ["examples/rllib_ppo.py"], "ray", "ray"),
    ],
)
def test_the_extra_is_named(how: str, command: list[str], missing: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", how, missing, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"needs {missing}: pip install '.[{extra}]' in the clone of ppgym")
