"""The built wheel: what is in it, and that it works in an environment of its own, outside the clone."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import ppgym

ROOT = Path(__file__).parents[1]

# What a user's first program does. It prints where it found the package, its data and what it saw.
PROGRAM = """
import json, sys
sys.modules |= dict.fromkeys(json.loads(sys.argv[1]))  # what only extras bring cannot be imported
import ppgym, gymnasium
from ppgym.files import data_root

env = gymnasium.make("PromptPream-v0")
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(0)
print(json.dumps({
    "package": ppgym.__file__,
    "data": str(data_root()),
    "version": ppgym.__version__,
    "legal": env.observation_space.contains(observation),
    "time_s": float(info["time_s"]),
}))
"""


def modules_of_extras(site_packages: Path) -> list[str]:
    """The installed modules that an extra brings and `pip install .` alone does not."""
    names: dict[bool, set[str]] = {True: set(), False: set()}
    installed = importlib.metadata.Distribution.at(site_packages / f"ppgym-{ppgym.__version__}.dist-info")
    for requirement in installed.requires or ():
        name = re.split(r"[^\w.-]", requirement)[0]
        names["extra ==" in requirement].add(name.lower())
    modules = importlib.metadata.packages_distributions()
    return [name for name, by in modules.items() if {package.lower() for package in by} & (names[True] - names[False])]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_package_and_its_data_alone(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"ppgym", f"ppgym-{ppgym.__version__}.dist-info"}

    traces = ROOT / "traces"
    wanted = {path.relative_to(traces).as_posix() for path in traces.rglob("*") if path.is_file()}
    wanted = {name for name in wanted if not name.endswith((".py", ".pyc"))}
    assert wanted
    assert {name.removeprefix("ppgym/_data/") for name in names if name.startswith("ppgym/_data/")} == wanted


def test_wheel_holds_what_a_browser_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assets = {str(path.relative_to(ROOT)) for path in (ROOT / "ppgym").glob("*/assets/*")}
    assert {name for name in names if "/assets/" in name} == assets
    assert "ppgym/report/assets/page.html" in names


def test_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Dependencies are borrowed: these paths come last, and path files inside them (an editable ppgym's) do not count.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    unwanted = modules_of_extras(site_packages)
    assert {"torch", "rich", "platformdirs", "tyro"} <= {*unwanted}
    assert not {"numpy", "pydantic", "yaml"} & {*unwanted}
    seen = json.loads(run(python, "-I", "-c", PROGRAM, json.dumps(unwanted), cwd=tmp_path).splitlines()[-1])
    assert Path(seen["package"]).is_relative_to(site_packages)
    assert Path(seen["data"]).is_relative_to(site_packages)
    assert seen["version"] == ppgym.__version__
    assert seen["legal"]
    assert seen["time_s"] > 0.0


def test_versions_agree() -> None:
    assert importlib.metadata.version("ppgym") == ppgym.__version__
    assert f"version: {ppgym.__version__}\n" in (ROOT / "CITATION.cff").read_text()
