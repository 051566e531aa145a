"""`python -m ppgym.world COMMAND`: the command line of worlds."""

from collections.abc import Sequence

from ppgym.commandline import run_module


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; see `ppgym.commandline.run_module`.

    Args:
        arguments: Of the command line, the command's name first; those of this process by default.
    """
    run_module("ppgym.world", arguments, extra="bench")


if __name__ == "__main__":
    main()
