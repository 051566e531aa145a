"""Tables for a terminal, and names of others in them: nothing in a name acts on what shows it."""

import html
import re

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from ppgym.commandline import printable


def for_terminal(name: str) -> str:
    """A name as rich prints it: without its markup, and without control characters."""
    return escape(printable(name).replace("\n", " "))


def for_markdown(name: str) -> str:
    """A name in a page of Markdown, where neither HTML nor Markdown in it counts."""
    plain = html.escape(printable(name).replace("\n", " "), quote=False)
    return re.sub(r"([\\`*\[\]!~#])", r"\\\1", plain)


def for_csv(cell: str) -> str:
    """A text in a table that a spreadsheet may open: with a quotation mark before it where it would be a formula."""
    plain = printable(cell).replace("\n", " ")
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@")) else plain


def new_table(*headings: str) -> Table:
    """A table of agents, whose first column folds long names, so that no figure ever wraps.

    Args:
        headings: Of the columns after the first.

    Returns:
        The table, without rows.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("agent", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
