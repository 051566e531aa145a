"""Viewers: how long they watch a video, and how likely they are to leave the session after it.

Curves only; drawing a whole feed's watch times is `scenario.py`, what a client should believe about a viewer is
`planning`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from ppgym.core.content import ROUNDING_S
from ppgym.core.state import F8
from ppgym.world.readers.formats import first_rows, format_of
from ppgym.world.readers.kuai import MIN_VIEWS, read_log
from ppgym.world.readers.retention import read_survival
from ppgym.world.readers.swipes import is_density, read_density
from ppgym.world.schemas import JsonFile, Share, Text, checked, shipped_or_path

VIEWERS = ("skimmer", "typical", "sticky")


@dataclass(frozen=True, eq=False)
class RetentionCurve:
    """P(watched at least c seconds), of one video of D seconds, rounded up.

    The form in which platforms publish retention, and that of the MMGC 2022 tables. Between whole seconds the
    curve is linear: within a second the leaving viewers leave uniformly. `survival[D]` is the atom of complete
    views, whose watch time is exactly the duration.

    Attributes:
        survival: float64 [D + 1], from 1, never rising, within [0, 1]; copied and read-only.
        duration_s: Seconds, more than D - 1 and at most D; NaN: D.

    Raises:
        ValueError: The array breaks a rule above.
    """

    survival: F8
    duration_s: float = math.nan

    def __post_init__(self) -> None:
        """Copy, freeze and check the array."""
        survival = np.array(self.survival, dtype=np.float64)
        if survival.ndim != 1 or survival.size < 2:
            raise ValueError(f"retention curve: expected D + 1 >= 2 values, got shape {survival.shape}")
        if survival[0] != 1:
            raise ValueError(f"retention curve: expected 1 at second 0, got {survival[0]}")
        if not ((survival >= 0) & (survival <= 1)).all():
            raise ValueError("retention curve: expected values within [0, 1]")
        rises = np.flatnonzero(np.diff(survival) > 0)
        if rises.size:
            raise ValueError(f"retention curve: rises from second {rises[0]} to {rises[0] + 1}, expected it never to")
        whole_s = survival.size - 1
        duration_s = float(whole_s if math.isnan(self.duration_s) else self.duration_s)
        if not whole_s - 1 < duration_s - ROUNDING_S <= whole_s:
            raise ValueError(
                f"retention curve of {duration_s:g} s: expected {math.ceil(duration_s) + 1} values, got {survival.size}"
            )
        survival.flags.writeable = False
        object.__setattr__(self, "survival", survival)
        object.__setattr__(self, "duration_s", duration_s)

    def _grid_s(self) -> F8:
        return np.minimum(np.arange(self.survival.size), self.duration_s)

    def at(self, seconds: npt.ArrayLike) -> F8:
        """P(watched at least `seconds`).

        Args:
            seconds: Content seconds, any shape.

        Returns:
            float64 of that shape; 1 before the start, 0 past the end.
        """
        seconds = np.asarray(seconds, dtype=np.float64)
        return np.asarray(np.interp(seconds, self._grid_s(), self.survival, left=1.0, right=0.0))

    @classmethod
    def read(cls, path: str | Path) -> "RetentionCurve":
        """Read a retention table, or a swipe density (`ppgym.world.readers`), packed by gzip or not.

        A table has rows of `second value`: P(watched at least so many seconds), for 0, 1, 2 and so on. A closing row of
        0 says that nobody watches past the end and is not part of the curve (MMGC 2022 tables have one: n + 2 rows for
        n chunks). A density has one probability mass a line, or rows of `second mass`; they add up to 1.

        Args:
            path: Text file.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a table; names file, line, value and what was expected.
        """
        path = Path(path)
        rows = first_rows(path)
        return cls(read_density(path) if len(rows[0].cells) == 1 or is_density(rows) else read_survival(path))


class Views(NamedTuple):
    """The retention curves of a log of views.

    Attributes:
        curves: By the name of the video, or of the class of durations, such as "10-15s".
        views: How many views each curve is made of, by the same names.
        notes: What was left out, for who prints it.
    """

    curves: dict[str, RetentionCurve]
    views: dict[str, int]
    notes: tuple[str, ...]


def read_views(path: str | Path, by: str = "duration", min_views: int = MIN_VIEWS) -> Views:
    """Read a log of views (KuaiRand, KuaiRec): a CSV file with `play_time_ms` and `duration_ms`, packed by gzip or not.

    Args:
        path: The file.
        by: "duration" for a curve for each class of durations, "video" for one for each `video_id`.
        min_views: That a curve needs.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a log, or no curve has enough views; names file, line, value and what was expected.
    """
    found, notes = read_log(Path(path), by, min_views)
    curves = {one.name: RetentionCurve(one.survival) for one in found}
    return Views(curves, {one.name: one.views for one in found}, notes)


class MeasuredViewers(NamedTuple):
    """How long the viewers of some videos watched, for videos of any duration.

    Attributes:
        curves: Of different durations.
    """

    curves: tuple[RetentionCurve, ...]

    def curve(self, duration_s: float) -> RetentionCurve:
        """The retention curve of a video.

        Args:
            duration_s: Seconds, above 0.

        Returns:
            The curve whose own duration is nearest, by their ratio, with the same shares at the same fractions.
        """
        nearest = min(self.curves, key=lambda one: abs(math.log(duration_s / one.duration_s)))
        ends_s = np.minimum(np.arange(math.ceil(duration_s - ROUNDING_S) + 1), duration_s)
        shares = nearest.at(np.minimum(ends_s / duration_s * nearest.duration_s, nearest.duration_s))
        return RetentionCurve(np.minimum.accumulate(shares), duration_s)  # rounding may not make it rise


def read_viewers(path: str | Path) -> MeasuredViewers:
    """Read viewers from a file: a log of views, by classes of durations, a retention table or a swipe density.

    Args:
        path: The file, packed by gzip or not.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a file; names file, line, value and what was expected.
    """
    if format_of(Path(path)) == "viewer_log":
        return MeasuredViewers(tuple(read_views(path).curves.values()))
    return MeasuredViewers((RetentionCurve.read(path),))


@checked
class ViewerProfile:
    """A kind of viewer: one retention curve for every duration, and a chance to leave the session.

    Of all views a share `completion` is complete. The others end at a fraction x of the video that follows a Weibull
    distribution truncated to [0, 1], F(x) = (1 - exp(-(x / scale) ** shape)) / (1 - exp(-(1 / scale) ** shape)).
    Weibull distributions fit watch time (DeLoad, arXiv 2510.18459); the atom at the end and the early hazard are what
    Dashlet (arXiv 2204.12954) measured.

    Attributes:
        name: Label.
        leave_p: P(the session ends after a video), each video anew.
        completion: P(complete view), in [0, 1].
        shape: Weibull shape, in [0.1, 10]; below 1 the hazard falls from the start on.
        scale: Weibull scale, a fraction of the video, in [0.01, 10].

    Raises:
        ValueError: A number is out of range.
    """

    name: Text
    leave_p: Share
    completion: Share
    shape: Annotated[float, Ge(0.1), Le(10)]
    scale: Annotated[float, Ge(0.01), Le(10)]

    def curve(self, duration_s: float) -> RetentionCurve:
        """The retention curve of a video.

        Args:
            duration_s: Seconds, above 0.

        Returns:
            The distribution above at whole seconds and at the duration, linear in between.

        Raises:
            ValueError: A duration of 0 s or less.
        """
        if duration_s <= 0:
            raise ValueError(f"expected a duration above 0 s, got {duration_s}")
        fraction = np.minimum(np.arange(math.ceil(duration_s - ROUNDING_S) + 1), duration_s) / duration_s
        left = -np.expm1(-((fraction / self.scale) ** self.shape))
        return RetentionCurve(1 - (1 - self.completion) * left / left[-1], duration_s)

    @classmethod
    def load(cls, name_or_path: str | Path) -> "ViewerProfile":
        """A shipped profile by name, or one from a file (format: traces/viewers/README.md).

        Args:
            name_or_path: One of `VIEWERS`, or the path of a JSON file.

        Raises:
            FileNotFoundError: No such name or file.
            ValueError: Not such a file; names file, key, value and what was expected.
        """
        return ViewerFile.read(viewer_path(name_or_path))


def viewer_path(name_or_path: str | Path) -> Path:
    """The file of a shipped viewer, or a user's; see `ViewerProfile.load`."""
    return shipped_or_path("viewers", name_or_path, VIEWERS)


@checked
class ViewerProvenance:
    """Where each number of a viewer's file comes from."""

    leave_p: Text
    completion: Text
    shape: Text
    scale: Text


@checked
class ViewerFile(ViewerProfile, JsonFile):
    """What a viewer's file holds besides.

    Attributes:
        description: For whom reads it.
        provenance: Where each number comes from.
    """

    SCHEMA: ClassVar[str] = "ppgym-viewer/1"

    description: Text
    provenance: ViewerProvenance
