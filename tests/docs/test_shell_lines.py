"""Every shell line of README and site is parsed by its real command line; the quick ones of README are run."""

import argparse
import functools
import inspect
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tyro
from tyro.extras import SubcommandApp

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


class ParsedError(Exception):
    """A command line has been accepted; what it would do is left undone."""


def stop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the same signature that does nothing."""

    @functools.wraps(function)
    def parsed(*_: Any, **__: Any) -> Any:
        raise ParsedError

    return parsed


PARSE, PARSE_COMMAND, PARSE_ARGUMENTS = tyro.cli, SubcommandApp.cli, argparse.ArgumentParser.parse_args


def parse_only(function: Any, **options: Any) -> Any:
    """`tyro.cli` that stops before anything runs."""
    PARSE(stop(function) if inspect.isfunction(function) else function, **options)
    raise ParsedError


def parse_command_only(app: Any, **options: Any) -> Any:
    """`SubcommandApp.cli` that stops before the command runs."""
    stopped = SubcommandApp()
    for name, command in app._subcommands.items():
        stopped.command(stop(command.target), name=name)
    PARSE_COMMAND(stopped, **options)
    raise AssertionError("expected a command to be called")


def parse_arguments_only(parser: argparse.ArgumentParser, *arguments: Any) -> Any:
    """`ArgumentParser.parse_args` that stops before anything runs."""
    PARSE_ARGUMENTS(parser, *arguments)
    raise ParsedError


def check_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse `python SCRIPT ...` or `python -m MODULE ...`, or run `python -c CODE`."""
    if words[0] == "-c":
        exec(words[1], {})  # the project's own pages
        return
    is_module = words[0] == "-m"
    name, *arguments = words[1:] if is_module else words
    if is_module and name.split(".")[0] not in ("ppgym", "agents"):
        return  # a tool of another project
    path = ROOT / name
    source = "" if is_module else path.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    if is_module or "tyro" in source or "run_command" in source:
        monkeypatch.setattr(tyro, "cli", parse_only)
        monkeypatch.setattr(SubcommandApp, "cli", parse_command_only)
    elif "argparse" in source:
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_arguments_only)
    else:
        assert "sys.argv" in source or not arguments, f"{name} takes no arguments, got {arguments}"
        return
    if [name, *arguments] == ["evaluate.py", "--help"]:  # its list of commands is no command line of tyro
        runpy.run_path(str(path), run_name="__main__")
        return
    with pytest.raises(ParsedError):
        if is_module:
            runpy.run_module(name, run_name="__main__")
        else:
            runpy.run_path(str(path), run_name="__main__")


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
        if "-r" in rest:
            assert (ROOT / rest[rest.index("-r") + 1]).is_file(), line
        elif "--index-url" not in rest:  # of others
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
    """The words of a printed table without its last columns, which hold milliseconds."""
    words = []
    for line in map(str.split, text.splitlines()):
        shares = [i for i, word in enumerate(line) if word.endswith("%")]
        words += line[: shares[-1] + 2] if shares else line  # quality follows the last share
    return words


def quick() -> list[tuple[str, str]]:
    """The shell lines of README with the output that README shows after them."""
    text = pages()["README.md"]
    return [
        (shlex.join(words), block.output)
        for block in blocks(text)
        if block.language == "sh" and block.output is not None
        for words in commands(block)
    ]


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


def test_milliseconds_do_not_count() -> None:
    assert words_but_times("greedy 3 12% 15.3% 1.51 0.12 0.21") == words_but_times("greedy 3 12% 15.3% 1.51 9 9")
    assert words_but_times("greedy 3 12% 15.3% 1.51 0.12") != words_but_times("greedy 3 12% 15.4% 1.51 0.12")
