"""The kernel with Numba's checks of bounds. `test_environment` runs without Numba too, where NumPy checks them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.length import TIMES

ROOT = Path(__file__).parents[2]
WORLDS = [
    "low/snapdragon-8-elite/typical",
    "medium/pixels-only/skimmer/pixels",
    "high/rtx-4090/sticky/promptmobile",
]
PLAY = """
import sys
from tests.hostile.soak import soak
for world in sys.argv[2:]:
    print(soak(int(sys.argv[1]), world))
"""


@pytest.mark.slow
@pytest.mark.skipif(TIMES == 1, reason="it compiles for minutes: PPGYM_HOSTILE=2 runs it")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the soak reads the memory of a process in /proc")
def test_no_index_leaves_its_array(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PLAY, str(20_000 * TIMES), *WORLDS]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900 * TIMES)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == len(WORLDS)
