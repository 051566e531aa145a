"""`python -m ppgym.codec COMMAND`: the codec wing's command line."""

import importlib
import sys
from collections.abc import Sequence

import tyro

from ppgym.files import suggest

# Each command's function; its module is imported only when it is called for
COMMANDS = {
    "encode": "ppgym.codec.commands:encode",
    "decode": "ppgym.codec.commands:decode",
    "compare": "ppgym.codec.commands:compare",
    "ladder": "ppgym.codec.commands:ladder",
    "profile": "ppgym.codec.profiler:profile",
    "train-tiny": "ppgym.codec.train_tiny:train_tiny",
    "heldout": "ppgym.codec.heldout:heldout",
    "inversion": "ppgym.codec.heldout:inversion",
    "chaining": "ppgym.codec.heldout:chaining",
    "speed": "ppgym.codec.speed:speed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Of the command line, the command's name first; those of this process by default.

    Returns:
        Exit status: 2 where something is wrong with a file or a value, which is said on standard error.
    """
    name, *rest = arguments if arguments is not None else sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: python -m ppgym.codec COMMAND ...; COMMAND --help says more\ncommands: {', '.join(COMMANDS)}")
        return 0
    if name not in COMMANDS:
        print(f"unknown command {name!r}; {suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name].split(":")
    command = getattr(importlib.import_module(module), function)
    try:
        tyro.cli(command, args=rest, prog=f"python -m ppgym.codec {name}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
