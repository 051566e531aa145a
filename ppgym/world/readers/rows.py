"""Text files that hold rows of columns: network traces, retention tables, chunk sizes and logs."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ppgym.world.readers.text import MAX_LINES, plain_digits_hint, plain_number, read_lines, read_text

MAX_WHOLE_DIGITS = 15  # of a whole number, so that a float holds it
DELIMITERS = ",;\t"


class Row(NamedTuple):
    """One row of a text file.

    Attributes:
        path: The file.
        line: Number of its line, from 1.
        cells: The columns' text.
    """

    path: Path
    line: int
    cells: list[str]

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.line}"

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
            ValueError: Not such a number, or not one in plain digits.
        """
        text = self.cells[column]
        value = plain_number(text)
        if value is None or not 0 <= value < math.inf:
            raise ValueError(
                f"{self.where}: expected {what}, a finite number of at least 0, got {text[:50]!r}"
                f"{plain_digits_hint(text)}"
            )
        return value

    def whole(self, column: int, what: str) -> int:
        """The whole number in a column.

        Args:
            column: Which column, from 0.
            what: What the number is, for the message.

        Returns:
            A whole number of at least 0.

        Raises:
            ValueError: Not such a number, or one of more than 15 digits.
        """
        text = self.cells[column]
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_WHOLE_DIGITS):
            raise ValueError(
                f"{self.where}: expected {what} of at most {MAX_WHOLE_DIGITS} digits, got {text[:50]!r}"
                f"{plain_digits_hint(text)}"
            )
        return int(text)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a text file, cut at white space. Blank lines are ignored, and lines that begin with `#`.

    Args:
        path: The file, packed by gzip or not.

    Yields:
        At least one row.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty, too large, not UTF-8 text, or has too many lines.
    """
    text = read_text(path)
    if text.count("\n") > MAX_LINES:
        raise ValueError(f"{path}: expected at most {MAX_LINES:,} lines, got more")
    found = False
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if cells and not cells[0].startswith("#"):
            found = True
            yield Row(path, number, cells)
    if not found:
        raise ValueError(f"{path}: the file is empty but for comments")


class Table(NamedTuple):
    """A file of separated values.

    Attributes:
        path: The file.
        names: Of the columns, as the header writes them.
        rows: One for each line after the header, each with a cell for every name.
    """

    path: Path
    names: list[str]
    rows: Iterator[Row]

    def column(self, name: str) -> int:
        """The place of a column.

        Raises:
            ValueError: No such column, or several.
        """
        if self.names.count(name) != 1:
            known = ", ".join(self.names)[:500]
            raise ValueError(
                f"{self.path}: expected one column {name!r}, got {self.names.count(name)}; columns: {known}"
            )
        return self.names.index(name)


def read_table(path: Path) -> Table:
    """A file of values that are separated by commas, semicolons or tabs, with a header that names its columns.

    Blank lines are ignored, and lines that begin with `#`. Rows are read one at a time.

    Args:
        path: The file, packed by gzip or not.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file has no header, or as `read_lines`; later, a row of another number of columns.
    """
    kept = ((number, line) for number, line in read_lines(path) if line.strip() and not line.startswith("#"))
    header = next(kept, None)
    if header is None:
        raise ValueError(f"{path}: the file is empty but for comments")
    number, line = header
    delimiter = max(DELIMITERS, key=line.count)
    names = _cells(path, number, line.strip(), delimiter)
    if any(plain_number(name) is not None for name in names):
        raise ValueError(f"{path}, line {number}: expected a header that names the columns, got {line.strip()[:80]!r}")
    return Table(path, names, _table_rows(path, kept, delimiter, len(names)))


def _table_rows(path: Path, lines: Iterator[tuple[int, str]], delimiter: str, columns: int) -> Iterator[Row]:
    for number, line in lines:
        cells = _cells(path, number, line.rstrip("\r\n"), delimiter)
        if len(cells) != columns:
            raise ValueError(f"{path}, line {number}: expected {columns} columns as in the header, got {len(cells)}")
        yield Row(path, number, cells)


def _cells(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}: expected separated values: {error}") from error
