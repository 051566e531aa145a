"""Retention tables: rows of `second share`, the share of viewers who watch at least so long.

The form of the MMGC 2022 tables (github.com/AItransCompetition/Short-Video-Streaming-Challenge, folder user_ret), and
ppgym's own.
"""

from pathlib import Path

import numpy as np

from ppgym.core.state import F8
from ppgym.world.readers.rows import Row, read_rows
from ppgym.world.readers.text import plain_number

TOLERANCE = 1e-8  # of shares that were added up, or written in ten digits
MAX_VIDEO_S = 100_000
COLUMNS = "second value"


def is_retention(rows: list[Row]) -> bool:
    """Whether rows look like such a table: seconds 0, 1, 2 and so on, and shares that fall from 1 and never rise."""
    pairs = [[plain_number(cell) for cell in row.cells] for row in rows]
    if len(pairs) < 2 or any(len(pair) != 2 or None in pair for pair in pairs):
        return False
    seconds, shares = np.array(pairs, dtype=np.float64).T
    falls = abs(shares[0] - 1) <= TOLERANCE and (np.diff(shares) <= TOLERANCE).all() and -TOLERANCE <= shares[-1] < 1
    return bool(falls and (seconds == np.arange(len(pairs))).all())


def read_survival(path: Path) -> F8:
    """Read a table.

    A closing row of 0 says that nobody watches past the end and is not part of the curve (MMGC 2022 tables have one:
    n + 2 rows for n chunks).

    Args:
        path: The file, packed by gzip or not.

    Returns:
        float64 [D + 1], from 1, never rising, within [0, 1]; what misses that by 1e-8 is set right.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a table; names file, line, value and what was expected.
    """
    shares: list[float] = []
    for row in read_rows(path):
        row.expect(COLUMNS)
        second, share = plain_number(row.cells[0]), plain_number(row.cells[1])
        if second != len(shares):
            raise ValueError(f"{row.where}: expected second {len(shares)}, got {row.cells[0][:50]!r}")
        if share is None or not -TOLERANCE <= share <= 1 + TOLERANCE:
            raise ValueError(f"{row.where}: expected a probability within [0, 1], got {row.cells[1][:50]!r}")
        if not shares and share < 1 - TOLERANCE:
            raise ValueError(f"{row.where}: expected 1 at second 0, got {row.cells[1]}")
        if shares and share > shares[-1] + TOLERANCE:
            raise ValueError(f"{row.where}: expected at most {shares[-1]:g}, the value before it, got {row.cells[1]}")
        if second > MAX_VIDEO_S:
            raise ValueError(f"{row.where}: expected a video of at most {MAX_VIDEO_S:,} s, got more")
        shares.append(min(max(share, 0.0), shares[-1]) if shares else 1.0)
    if shares[-1] == 0:
        shares.pop()
    if len(shares) < 2:
        raise ValueError(f"{path}: expected rows for second 0, second 1 and so on up to the video's end")
    return np.array(shares)
