"""Patience as a person writes it down, and as the table that `ppgym.core.patience` draws from."""

import itertools
import reprlib
from typing import Any

from ppgym.core.patience import LEAST_SHARE
from ppgym.files import suggest
from ppgym.world.schemas import NotNegative, Share

# P(patience > seconds). Nobody leaves before 2 s, about a quarter has left at 5 s and almost half at 10 s: measured for
# start-up on the web (Krishnan and Sitaraman, IMC'12; the quarter and the half as quoted in the press of January 2013).
# That it holds for every stall of a short video is an assumption.
PUBLISHED = ((2.0, 1.0), (5.0, 0.75), (10.0, 0.52))

Patience = tuple[tuple[NotNegative, Share], ...]


def patience_rows(patience: Any) -> Patience:
    """The table of a patience.

    Args:
        patience: "published", "none" (endless), seconds, two of them for a uniform draw between, or rows of (seconds,
            share of viewers who bear longer stalls).

    Returns:
        Rows of (seconds, share), the first share 1; none for endless patience.

    Raises:
        ValueError: An unknown word, seconds out of order, shares that rise, or a share too small to tell from 0.
    """
    if isinstance(patience, str):
        if patience not in ("published", "none"):
            raise ValueError(f"patience: unknown {reprlib.repr(patience)}; {suggest(patience, ('published', 'none'))}")
        return PUBLISHED if patience == "published" else ()
    if isinstance(patience, float | int):
        return (float(patience), 1.0), (float(patience), 0.0)
    if len(patience) == 2 and not isinstance(patience[0], tuple):
        rows: Any = ((patience[0], 1.0), (patience[1], 0.0))
    else:
        rows = patience if patience and patience[0][1] == 1 else ((0.0, 1.0), *patience)
    seconds, shares = zip(*rows, strict=True)
    falls = all(before >= after and before > 0 for before, after in itertools.pairwise(shares))
    if list(seconds) != sorted(seconds) or not falls or 0 < shares[-1] < LEAST_SHARE:
        raise ValueError(
            "patience: expected seconds that rise and shares that fall, none between 0 and "
            f"{LEAST_SHARE:g}, got {reprlib.repr(patience)}"
        )
    return tuple(rows)
