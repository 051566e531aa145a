"""Tables for a terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


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
