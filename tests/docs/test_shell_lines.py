"""Every shell line of README and site is parsed by its real command line; the quick ones of README are run."""

import functools
import inspect
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from tests.docs.pages import ROOT, blocks, commands, pages

LINES = sorted(
    {
        shlex.join(words)
        for text in pages().values()
        for block in blocks(text)
        if block.language == "sh"
        for words in commands(block)
    }
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
SHELL = ("cd", "git", "pre-commit", "export")  # no command line of this project
PARSE = tyro.cli


class ParsedError(Exception):
    """A command line has been accepted; what it would do is left undone."""


def stop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the same signature that does nothing."""

    @functools.wraps(function)
    def parsed(*_: Any, **__: Any) -> Any:
        raise ParsedError

    return parsed


def parse_only(function: Any, **options: Any) -> Any:
    """What stands in for `tyro.cli`: it parses, and stops before anything runs."""
    PARSE(stop(function) if inspect.isfunction(function) else function, **options)
    raise ParsedError


def check_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse `python SCRIPT ...`, `python -m MODULE ...`, or run `python -c CODE`."""
    if words[0] == "-c":
        exec(words[1], {})  # the project's own pages
        return
    script, arguments = (words[1], words[2:]) if words[0] == "-m" else (words[0], words[1:])
    monkeypatch.setattr(tyro, "cli", parse_only)
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", parse_only)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    if words[0] == "-m" and script.split(".")[0] not in ("ppgym", "agents"):
        return  # a tool of another project
    source = (ROOT / script).read_text(encoding="utf-8") if words[0] != "-m" else ""
    if words[0] != "-m" and "tyro" not in source and "cli" not in source:
        assert not arguments or "argparse" in source, f"{script} takes no arguments, got {arguments}"
        return
    with pytest.raises(ParsedError):
        runpy.run_module(script, run_name="__main__") if words[0] == "-m" else runpy.run_path(
            str(ROOT / script), run_name="__main__"
        )


def check(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a shell line would be accepted."""
    words = shlex.split(line)
    while "=" in words[0]:  # a variable of the environment
        words = words[1:]
    command, *rest = words
    if command == "python" or command.endswith("/python"):
        check_python(rest, monkeypatch)
    elif command == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS, line
    elif command == "pip":
        extras = {extra for word in rest for found in re.findall(r"\[(.+)\]", word) for extra in found.split(",")}
        assert extras <= set(PYPROJECT["project"]["optional-dependencies"]), line
        assert any(word.startswith(".") for word in rest), f"{line}: expected the clone, for ppgym is on no index"
    else:
        assert command in SHELL, f"{line}: expected a command that this test knows"


@pytest.mark.filterwarnings("ignore::RuntimeWarning:runpy")
@pytest.mark.parametrize("line", LINES)
def test_is_parsed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check(line, monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "python evaluate.py runn",
        "python evaluate.py run --no-such-option 3",
        "python train.py --timesteps many",
        "make tset",
        "pip install '.[no-such-extra]'",
        "pip install ppgym",
        "no-such-command",
    ],
)
def test_a_wrong_line_is_noticed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises((AssertionError, SystemExit)):
        check(line, monkeypatch)


def words_but_times(text: str) -> list[str]:
    """The words of a table without its last column or two, which hold milliseconds."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [word for line in lines for word in (line[:-2] if re.search(r"%.*\d\.\d\d \s*\d", " ".join(line)) else line)]


def quick() -> list[tuple[str, str]]:
    """The shell lines of README with the output that README shows after them."""
    text = pages()["README.md"]
    found = [(block.text.strip(), block.output) for block in blocks(text) if block.language == "sh"]
    return [(line, output) for line, output in found if output is not None]


@pytest.mark.parametrize(("line", "output"), quick())
def test_prints_what_readme_shows(line: str, output: str) -> None:
    command = shlex.split(line)
    assert command[0] == "python"
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert words_but_times(done.stdout) == words_but_times(output), done.stdout


def test_there_are_lines() -> None:
    assert len(LINES) > 20
    assert quick()
    assert Path(ROOT / "README.md").is_file()
