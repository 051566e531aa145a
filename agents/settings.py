"""The option `--set KEY=VALUE ...` of all command lines: fields of a scenario that differ."""

from collections.abc import Sequence
from typing import Annotated

import tyro

Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [KEY=VALUE ...]")]


def gather_settings(arguments: Sequence[str]) -> list[str]:
    """Gather the values of all options `--set` in the first one, so that it may be given as often as one likes.

    Args:
        arguments: Of a command line.

    Returns:
        The arguments with one `--set` at most.
    """
    rest, settings, inside = list[str](), list[str](), False
    for argument in arguments:
        if argument.startswith("--"):
            inside = argument == "--set" or argument.startswith("--set=")
            settings += [argument.removeprefix("--set=")] if argument.startswith("--set=") else []
        elif inside:
            settings.append(argument)
        if not inside:
            rest.append(argument)
    return [*rest, "--set", *settings] if settings else rest
