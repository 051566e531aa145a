"""What all command lines share: a mistake is one line, and a missing library names the extra that brings it.

No command lives here.
"""

import importlib
import importlib.metadata
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TextIO


def run_command(command: Callable[[], object], extra: str, stopped: str = "stopped") -> None:
    """Run what a command line asks for. A mistake is one line on standard error and exit status 2.

    Args:
        command: The command, which imports the libraries that it needs.
        extra: The extra of pyproject.toml that the command belongs to.
        stopped: What Ctrl-C says; the exit status is 130 then.

    Raises:
        SystemExit: Something is wrong with a value or a file, a library is missing, or the user has stopped it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in another encoding than UTF-8 a sign may be missing
            stream.reconfigure(errors="replace")
    try:
        command()
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        hint = install_hint(error, extra)
        if hint is None:
            raise
        print(f"error: {hint}", file=sys.stderr)
        sys.exit(2)
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and is_unread(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to print
            sys.exit(128 + signal.SIGPIPE)
        print(f"error: {printable(str(error) or type(error).__name__)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)


def is_unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads any more, as into `head`."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except OSError:  # no file, as under a test
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def printable(text: str) -> str:
    """A text whose control characters are spelled out: none of them reaches a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def run_module(module: str, arguments: Sequence[str] | None, extra: str) -> None:
    """Run the command line of a package, `python -m PACKAGE COMMAND`: the `app` of its module `commands`.

    Args:
        module: Full name of the package.
        arguments: Of the command line, the command's name first; those of this process where None.
        extra: The extra of pyproject.toml that it belongs to.

    Raises:
        SystemExit: With status 2 where a file or a value is wrong; standard error says what.
    """

    def command() -> None:
        app = importlib.import_module(f"{module}.commands").app
        app.cli(prog=f"python -m {module}", args=arguments or sys.argv[1:] or ["--help"])

    run_command(command, extra=extra)


def install_hint(error: ModuleNotFoundError, preferred: str = "") -> str | None:
    """What to install where a library of ours is missing.

    Args:
        error: Names the module that was not found.
        preferred: The extra to name where several bring the library.

    Returns:
        One line such as "needs torch: pip install '.[rl]' in the clone of ppgym"; None for a module that no extra
        brings.
    """
    module = (error.name or "").partition(".")[0]
    extras = extras_of(module, importlib.metadata.requires("ppgym") or ())
    if not extras:
        return None
    extra = preferred if preferred in extras else extras[0]
    return f"needs {module}: pip install '.[{extra}]' in the clone of ppgym"


MODULE_NAMES = {"cvvdp": "pycvvdp", "pillow": "pil", "pyyaml": "yaml"}  # where a package's name differs


def extras_of(module: str, requirements: Sequence[str]) -> list[str]:
    """The extras that bring a module.

    Args:
        module: Name of a top-level module.
        requirements: As `importlib.metadata.requires` gives them.

    Returns:
        Names but `all`, which brings every one.
    """
    found = []
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match is not None:
            package = re.sub(r"[-.]", "_", match[1].lower())
            if match[2] != "all" and MODULE_NAMES.get(package, package) == module.lower():
                found.append(match[2])
    return found


def command_line(program: str, *arguments: str, **options: object) -> str:
    """How a command is written, for results that name the command that made them.

    Args:
        program: The program, and the command's name.
        *arguments: Its positional arguments.
        **options: Its options by the names of the parameters. None, False and () are left out, True is a flag.

    Returns:
        One line, such as "python -m ppgym.codec heldout --clips 3 --keyframe-interval 6".
    """
    words = [program, *arguments]
    for name, value in options.items():
        if value is None or value is False or value == ():
            continue
        values = () if value is True else value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return " ".join(words)
