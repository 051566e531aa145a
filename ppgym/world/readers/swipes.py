"""Swipe densities: the probability mass of each second in which viewers leave a video.

One mass a line, or rows of `second mass`, from second 0 on. The last mass is the atom of complete views: of n masses
the video has n - 1 seconds. Source of the idea: Dashlet (arXiv 2204.12954), whose policy takes such a distribution for
each video.
"""

from pathlib import Path

import numpy as np

from ppgym.core.state import F8
from ppgym.world.readers.retention import MAX_VIDEO_S
from ppgym.world.readers.rows import Row, read_rows
from ppgym.world.readers.text import plain_number

TOLERANCE = 1e-6  # by which masses of ten digits may miss 1 when they are added up


def is_density(rows: list[Row]) -> bool:
    """Whether rows look like such a density: one or two columns whose last one adds up to 1."""
    masses = [plain_number(row.cells[-1]) for row in rows]
    known = [mass for mass in masses if mass is not None and 0 <= mass <= 1]
    if len(known) < max(len(masses), 2) or {len(row.cells) for row in rows} not in ({1}, {2}):
        return False
    seconds = [plain_number(row.cells[0]) for row in rows] if len(rows[0].cells) == 2 else list(range(len(rows)))
    return abs(sum(known) - 1) <= TOLERANCE and seconds == list(range(len(rows))) and max(known) < 1


def read_density(path: Path) -> F8:
    """Read a density as a retention curve.

    Args:
        path: The file, packed by gzip or not.

    Returns:
        float64 [D + 1], P(watched at least c seconds) for c = 0 to D; the last one is the atom at the end.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a density; names file, line, value and what was expected.
    """
    masses: list[float] = []
    for row in read_rows(path):
        row.expect("mass" if len(row.cells) == 1 else "second mass")
        if len(row.cells) == 2 and row.number(0, "a second") != len(masses):
            raise ValueError(f"{row.where}: expected second {len(masses)}, got {row.cells[0]!r}")
        masses.append(row.number(len(row.cells) - 1, "a probability mass"))
        if len(masses) > MAX_VIDEO_S:
            raise ValueError(f"{row.where}: expected a video of at most {MAX_VIDEO_S:,} s, got more")
    total = sum(masses)
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"{path}: expected masses that add up to 1, got {total:.9g}")
    if len(masses) < 2:
        raise ValueError(f"{path}: expected a mass for each second and one for complete views, got 1")
    left = np.cumsum(masses[::-1])[::-1]  # the mass from each second on
    return np.asarray(left / left[0])
