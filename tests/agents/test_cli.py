"""The command line of evaluate.py: what it prints, what it writes and how it refuses."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from agents import REGISTRY
from evaluate import COMMANDS
from ppgym.benchmark.episodes import SUITES
from ppgym.benchmark.validation import check_run

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "evaluate.py")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the script in this process.

    Returns:
        Its exit code.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    try:
        runpy.run_path(SCRIPT, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_run_prints_its_table_and_its_records_come_back(tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "80", "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            check=False,
        )

    ran = script(
        *("run", "--agents", "random", "agents.rules.greedy:Greedy", "--scenarios", "high/rtx-4090/skimmer"),
        *("--sessions", "2", "--seed", "3", "--workers", "2", "--output", "out"),
    )
    assert ran.returncode == 0, ran.stderr
    assert "high/rtx-4090/skimmer, 2 sessions" in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines()) <= 80
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [(row["agent"], row["sessions"]) for row in rows] == [("random", 2), ("agents.rules.greedy:Greedy", 2)]

    checked = script("validate", "out")
    assert (checked.returncode, checked.stdout) == (0, checked.stdout)
    assert checked.stdout.startswith("4 records come back (")
    path = tmp_path / "out" / "records.jsonl"
    path.write_text(path.read_text().replace('"played_s": ', '"played_s": 1', 1))
    refused = script("validate", "out")
    assert refused.returncode == 2
    assert "1 of 4 records do not come back" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_writes_its_report_and_keeps_its_records_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = ["--scenarios", "high/rtx-4090/skimmer", "--sessions", "2", "--sessions-in-report", "1"]
    assert call(monkeypatch, "run", "--agents", "greedy", "random", *options, "--report", str(tmp_path / "a.html")) == 0
    page = (tmp_path / "a.html").read_text()
    assert "high/rtx-4090/skimmer: 2 paired sessions" in page
    assert page.count('id="episode-') == 1
    assert check_run(tmp_path / "a.run", REGISTRY).records == 4


def test_no_arguments_mean_the_quick_suite(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # plays in this process, which has compiled everything
    quick = SUITES["quick"]
    monkeypatch.setitem(SUITES, "quick", quick._replace(sessions=1))
    assert call(monkeypatch) == 0
    text = capsys.readouterr().out
    for scenario in quick.scenarios:
        assert f"{scenario}, 1 session" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agents", "gredy"], "did you mean 'greedy'"),
        (["--scenarios", "low/snapdragon-8-elit/typical"], "did you mean 'snapdragon-8-elite'"),
        (["--suite", "quik"], "did you mean 'quick'"),
        (["--sessions", "0"], "sessions: expected at least 1"),
        (["--baseline", "greedi"], "does not play; did you mean 'greedy'"),
        (["--set", "network=nowhere"], "nowhere"),
        (["--set", "videos=nowhere"], "nowhere"),
        (["--set", "viewers=nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_bad_input_ends_in_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert call(monkeypatch, "run", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    assert message in captured.err


def test_validating_a_missing_folder_ends_in_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(monkeypatch, "validate", str(tmp_path / "nowhere")) == 2
    assert "records.jsonl" in capsys.readouterr().err


@pytest.mark.skipif("PPGYM_MMGC2022" not in os.environ, reason="PPGYM_MMGC2022 does not name the 2022 challenge's data")
def test_real_data_of_the_2022_challenge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = Path(os.environ["PPGYM_MMGC2022"])
    folders = {"network": "network_traces", "videos": "short_video_size", "viewers": "user_ret"}
    options = ["--set", *(f"{key}={data / name}" for key, name in folders.items())]
    scenario = "low/snapdragon-8-elite/typical"
    arguments = ["--scenarios", scenario, "--sessions", "2", "--output", str(tmp_path), *options]
    assert call(monkeypatch, "run", "--agents", "fixed_preload", "greedy", *arguments) == 0
    assert str(data / "user_ret") in capsys.readouterr().out
    assert check_run(tmp_path, REGISTRY, data).records == 4


def test_the_list_of_commands_needs_no_library_and_names_them_all() -> None:
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
    code += "print(sorted({'gymnasium', 'numba', 'numpy', 'scipy', 'torch', 'tyro'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, SCRIPT, "--help"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done[-1] == "[]"
    assert max(map(len, done)) <= 80
    assert [line.split()[0] for line in done if line.startswith("  ") and line[2] != " "] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(monkeypatch, command, "--help") == 0
    assert f"evaluate.py {command}" in capsys.readouterr().out


def test_an_unknown_command_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "validat") == 2
    assert capsys.readouterr().err.startswith("error: unknown command 'validat'; did you mean 'validate'?")
