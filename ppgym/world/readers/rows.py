"""Text files that hold rows of columns: network traces, retention tables and chunk sizes."""

import math
from pathlib import Path
from typing import NamedTuple

from ppgym.files import read_text


class Row(NamedTuple):
    """One row of a text file.

    Attributes:
        where: File and line, for messages.
        cells: The columns' text.
    """

    where: str
    cells: list[str]

    def expect(self, columns: str) -> None:
        """Refuse another number of columns.

        Args:
            columns: Their names, separated by spaces.

        Raises:
            ValueError: More columns, or fewer.
        """
        count, got = len(columns.split()), len(self.cells)
        if got != count:
            raise ValueError(f"{self.where}: expected {count} columns ({columns}), got {got}: {' '.join(self.cells)!r}")

    def number(self, column: int, what: str) -> float:
        """The number in a column.

        Args:
            column: Which column, from 0.
            what: What the number is, for the message.

        Returns:
            A finite number of at least 0.

        Raises:
            ValueError: Not such a number.
        """
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{self.where}: expected {what}, a finite number of at least 0, got {self.cells[column]!r}"
            )
        return value


def read_rows(path: Path) -> list[Row]:
    """The rows of a text file. Blank lines are ignored.

    Args:
        path: The file.

    Returns:
        At least one row.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty or not UTF-8 text.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [Row(f"{path}, line {number}", line.split()) for number, line in lines if line.strip()]
