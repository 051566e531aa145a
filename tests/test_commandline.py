"""Mistakes on a command line: one line each, and the extra that brings a missing library."""

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agents import make_agent
from ppgym.commandline import extras_of, install_hint, run_command
from ppgym.env import PromptPreamEnv

ROOT = Path(__file__).parents[1]


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("a.json: expected 1, got 2"), 2, "error: a.json: expected 1, got 2"),
        (FileNotFoundError("a.json: no such file"), 2, "error: a.json: no such file"),
        (KeyboardInterrupt(), 130, "stopped here"),
        (ModuleNotFoundError("x", name="torch._C"), 2, "error: needs torch: pip install '.[rl]' in the clone of ppgym"),
    ],
)
def test_a_mistake_is_one_line(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: raising(error), extra="rl", stopped="stopped here")
    assert stop.value.code == status
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("error", [TypeError("a bug"), ModuleNotFoundError("no", name="nobody")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(lambda: raising(error), extra="rl")


PRINTS = "from ppgym.commandline import run_command; run_command(lambda: print('line\\n' * {lines}), extra='bench')"


@pytest.mark.parametrize(
    "arguments", [["evaluate.py", "--help"], *(["-c", PRINTS.format(lines=lines)] for lines in (1, 100_000))]
)
def test_nothing_is_said_where_nobody_reads_on(arguments: list[str]) -> None:
    found = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert found.stdout is not None
    found.stdout.close()
    _, said = found.communicate()
    assert said == b""
    assert abs(found.returncode) in (signal.SIGPIPE, 128 + signal.SIGPIPE)


def test_a_pipe_of_ones_own_that_breaks_is_a_mistake() -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(lambda: raising(BrokenPipeError("a worker is gone")), extra="bench")
    assert raised.value.code == 2


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [f"{need}; extra == '{extra}'" for extra, needs in extras.items() for need in needs]
    assert set(extras_of("torch", requirements)) == {"rl", "codec"}
    assert set(extras_of("PIL", requirements)) == {"codec"}
    assert extras_of("numpy", [*requirements, "numpy>=1.26"]) == []
    assert install_hint(ModuleNotFoundError("no", name="stable_baselines3")) is not None
    assert install_hint(ModuleNotFoundError("no", name="nobody")) is None


def test_an_agent_of_the_current_folder_is_found_and_a_failed_import_says_why(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from agents.base import RandomLegal\n\nclass Mine(RandomLegal):\n    pass\n")
    (tmp_path / "broken.py").write_text("\nimport numpy\nnumpy.nothing\n")

    def run(agent: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "evaluate.py"), "run", "--agents", agent, "--sessions", "1"]
        command += ["--scenarios", "high/pixels-only/skimmer", "--workers", "1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = run("mine:Mine")
    assert found.returncode == 0, found.stderr
    assert "mine:Mine" in found.stdout
    broken = run("broken:Mine")
    assert broken.returncode == 2
    assert len(broken.stderr.splitlines()) == 1
    assert "has no attribute 'nothing'" in broken.stderr
    assert f"{tmp_path / 'broken.py'}, line 3)" in broken.stderr
    with pytest.raises(ValueError, match=r"cannot import 'nowhere': No module named 'nowhere'; .*current folder"):
        make_agent("nowhere:Mine", PromptPreamEnv())
