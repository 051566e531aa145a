"""Long commands that are killed at random moments: the same command goes on, and its results are those of a whole run.

`tune` keeps nothing on the way, so it starts anew; what counts is that no half of a file is left.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppgym.benchmark.records import Journal, read_records
from tests.hostile.length import TIMES

pytest.importorskip("torch", reason="needs the extra `rl`")
pytest.importorskip("optuna", reason="needs the extra `bench`")

ROOT = Path(__file__).parents[2]
START = "import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
SCRIPTS = {
    "study": """
from agents.studies import planner
planner.BUDGETS = (4, 8)
planner.BELIEVERS = {name: {"agent": name} for name in ("pdas", "dashlet")}
planner.THINKERS = ("greedy",)
planner.make_planner_tables(sessions=6, output=folder)
""",
    "claims": """
from agents.studies import paper_claims
from agents.studies.cached_episodes import Variant
from ppgym.world.scenario import DEFAULT_SCENARIO
quick = {"simulations": 8}
paper_claims.PIXEL_SWEEP = (Variant("static"), Variant("no_save"), Variant("next_one"))
paper_claims.KNOB = (quick, quick | {"waste_weight": 4.0, "stall_weight": 2.0})
paper_claims.check_claims((DEFAULT_SCENARIO,), sessions=4, validation_sessions=3, ablations=False, output=folder)
""",
    "breakeven": """
from agents.studies import breakeven
from agents.studies.cached_episodes import Variant
breakeven.BANDWIDTHS = (1.0, 3.0)
breakeven.NAMED = {"low": 1.0, "high": 3.0}
SPEED, _, PRICE, _ = breakeven.PLANES
breakeven.PLANES = (SPEED._replace(values=(1.0, 8.0)), PRICE._replace(values=(0.0, 0.4)))
breakeven.DEVICES = ("rtx-4090",)
breakeven.PLANNER = breakeven.PIXELS = Variant("greedy")
breakeven.find_breakeven(sessions=4, output=folder)
""",
    "tune": """
from agents.studies.tuning import tune
tune("fixed_preload", ("low/pixels-only/typical",), trials=6, sessions=9, folder=folder)
""",
    "train": """
import agents.training.run as training
from tests.agents.training.tiny import SHORT, write_hyperparams
training.RIVALS = dict.fromkeys(training.RIVALS, ("random",))
training.UPDATE_THREADS = 1
new = {"output": folder, "hyperparams": write_hyperparams(folder.parent / "tiny.yml"), "overrides": SHORT}
training.train(**({"resume": folder} if (folder / "config.json").exists() else new))
""",
}
QUICK = "breakeven", "train"
TIMED = {"wall_time_s", "decision_us"}
REPORTED = {"study": "study.json", "claims": "claims.json", "breakeven": "breakeven.json"}


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-c", START + SCRIPTS[command], str(folder)]
    return subprocess.Popen(
        script, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(command: str, folder: Path) -> float:
    """Run to the end; returns the seconds that it took."""
    began_s = time.monotonic()
    run = start(command, folder)
    _, said = run.communicate(timeout=600)
    assert run.returncode == 0, said
    return time.monotonic() - began_s


def results(command: str, folder: Path) -> Any:
    """What a command has found, without what it took."""
    if command == "tune":
        return yaml.safe_load((folder / "fixed_preload.yml").read_text())
    if command == "train":
        card = json.loads((folder / "latest.json").read_text())
        return card["scores"], card["sha256"], card["timesteps"]
    records = [{key: value for key, value in record.items() if key not in TIMED} for record in read_records(folder)]
    report = json.loads((folder / REPORTED[command]).read_text())
    return sorted(json.dumps(record, sort_keys=True) for record in records), without_times(report)


def without_times(report: Any) -> Any:
    if isinstance(report, dict):
        return {key: without_times(value) for key, value in report.items() if not key.startswith("decision_ms")}
    return [without_times(value) for value in report] if isinstance(report, list) else report


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_killed_at_random_moments_loses_and_doubles_nothing(command: str, tmp_path: Path) -> None:
    if TIMES == 1 and command not in QUICK:
        pytest.skip("takes half a minute and goes on as `breakeven` does: PPGYM_HOSTILE=2 kills it")
    took_s = finish(command, tmp_path / "whole")
    folder, rng, kills = tmp_path / "killed", random.Random(f"{command} {TIMES}"), 0
    while kills < TIMES:
        began_s, run = time.monotonic(), start(command, folder)
        try:
            run.wait(timeout=took_s * rng.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            run.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        _, said = run.communicate(timeout=60)
        for path in folder.rglob("*.json"):
            json.loads(path.read_text())  # whole, or not there
        for path in folder.glob("*.yml"):
            assert "versions" in yaml.safe_load(path.read_text())
        if run.returncode:
            assert run.returncode in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130), said
            kills += 1
        else:  # it came to its end first: a new one, killed sooner, for the first run of all compiles
            took_s = min(took_s, time.monotonic() - began_s)
            assert results(command, folder) == results(command, tmp_path / "whole")
            shutil.rmtree(folder)
    finish(command, folder)
    assert results(command, folder) == results(command, tmp_path / "whole")
    assert not (folder / Journal.NAME).exists()
