"""`make train` installs the extra `rl` alone: a run needs nothing that only other extras bring."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.agents.training.tiny import SHORT, write_hyperparams

ROOT = Path(__file__).parents[3]
RUN = """
import json, sys
from pathlib import Path
blocked, hyperparams, folder, overrides = map(json.loads, sys.argv[1:])
sys.modules |= dict.fromkeys(blocked)
from agents.training import run
run.RIVALS = dict.fromkeys(run.RIVALS, ("random",))
run.train(output=Path(folder), hyperparams=Path(hyperparams), overrides=overrides)
"""


def brought_by(needs: list[str]) -> set[str]:
    """Names of the distributions that requirements bring, those that they need in turn included."""
    found: set[str] = set()
    left = [Requirement(need) for need in needs]
    while left:
        need = left.pop()
        name = re.sub("[-_.]+", "-", need.name).lower()
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            left += map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            continue
    return found


def test_a_run_needs_its_extra_alone(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    own = brought_by([*project["dependencies"], *extras["rl"]])
    others = brought_by([need for needs in extras.values() for need in needs]) - own
    modules = [
        module
        for module, names in metadata.packages_distributions().items()
        if all(re.sub("[-_.]+", "-", name).lower() in others for name in names)
    ]
    assert {"optuna", "plotly", "diffusers"} <= set(modules)
    assert not {"torch", "scipy", "matplotlib"} & set(modules)
    given = [modules, str(write_hyperparams(tmp_path / "tiny.yml")), str(tmp_path / "run"), SHORT]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(json.dumps, given)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "comparison" / "results.json").is_file()
