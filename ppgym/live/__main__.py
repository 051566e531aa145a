"""`python -m ppgym.live COMMAND`: the command line of live sessions."""

import sys
from collections.abc import Sequence

from ppgym.commandline import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: Of the command line, the command's name first; those of this process by default.

    Raises:
        SystemExit: With status 2 where a file or a value is wrong; standard error says what.
    """

    def command() -> None:
        from ppgym.live.commands import app

        app.cli(prog="python -m ppgym.live", args=arguments or sys.argv[1:] or ["--help"])

    run_command(command, extra="live")


if __name__ == "__main__":
    main()
