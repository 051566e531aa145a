"""Logs of views: CSV files with a row for each view, its `play_time_ms` and the video's `duration_ms`.

Sources of the layout: KuaiRand (kuairand.com, columns `play_time_ms`, `duration_ms`) and KuaiRec (kuairec.com, columns
`play_duration`, `video_duration`, both in milliseconds); both have `video_id`. Their data is CC BY-SA 4.0; none is
here.
"""

import math
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8
from ppgym.world.readers.retention import MAX_VIDEO_S
from ppgym.world.readers.rows import read_table

LAYOUTS = (("play_time_ms", "duration_ms"), ("play_duration", "video_duration"))
VIDEO = "video_id"
BY = ("duration", "video")
CLASS_ENDS_S = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, MAX_VIDEO_S)
MIN_VIEWS = 30
MAX_VIDEOS = 200_000


class ViewCurve(NamedTuple):
    """How long the viewers of a video, or of a class of videos, watch.

    Attributes:
        name: The video, or the class by its durations, such as "10-15s".
        views: How many views the curve is made of.
        survival: float64 [D + 1], the share of views of at least c seconds, c = 0 to D; the last one is the atom of
            complete views.
    """

    name: str
    views: int
    survival: F8


class ViewLog(NamedTuple):
    """What a log of views holds.

    Attributes:
        curves: By the order of durations, or of first views.
        notes: What was left out.
    """

    curves: tuple[ViewCurve, ...]
    notes: tuple[str, ...]


def is_log(names: list[str]) -> bool:
    """Whether a header is that of such a log."""
    return any(set(layout) <= set(names) for layout in LAYOUTS)


def read_log(path: Path, by: str = "duration", min_views: int = MIN_VIEWS) -> ViewLog:
    """Read a log as retention curves.

    A view of a share x of its video counts as one of x D seconds, D being the whole seconds of its video, or of the
    median video of its class. A view as long as the video or longer (it played again) is complete. Views of videos
    without a duration are left out.

    Args:
        path: The file, packed by gzip or not.
        by: "duration" for a curve for each class of `CLASS_ENDS_S`, "video" for one for each video.
        min_views: That a curve needs.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a log, or no curve has enough views; names file, line, value and what was expected.
    """
    if by not in BY:
        raise ValueError(f"expected curves by {' or '.join(BY)}, got {by!r}")
    table = read_table(path)
    layout = next((layout for layout in LAYOUTS if set(layout) <= set(table.names)), LAYOUTS[0])
    play, duration = map(table.column, layout)
    video = table.column(VIDEO) if by == "video" else -1
    groups: dict[str | int, array[float]] = {}  # of each view the video's seconds, and those that were played
    without = 0
    for row in table.rows:
        duration_s = row.number(duration, "milliseconds of the video") / 1e3
        played_s = row.number(play, "milliseconds played") / 1e3
        if duration_s == 0:
            without += 1
            continue
        if duration_s > MAX_VIDEO_S:
            raise ValueError(f"{row.where}: expected a video of at most {MAX_VIDEO_S:,} s, got {duration_s:g} s")
        key = row.cells[video] if by == "video" else next(end for end in CLASS_ENDS_S if duration_s <= end)
        groups.setdefault(key, array("d")).extend((duration_s, min(played_s, duration_s)))
        if len(groups) > MAX_VIDEOS:
            raise ValueError(f"{row.where}: expected at most {MAX_VIDEOS:,} videos, got more; take curves by duration")
    keys = sorted(groups, key=lambda key: (isinstance(key, str), key)) if by == "duration" else list(groups)
    curves = tuple(_curve(_name(key), groups[key]) for key in keys if len(groups[key]) // 2 >= min_views)
    if not curves:
        raise ValueError(f"{path}: expected at least {min_views} views of one {by}, got fewer of each of {len(groups)}")
    few = len(groups) - len(curves)
    notes = []
    if without:
        notes.append(f"{without} views of videos without a duration are left out")
    if few:
        notes.append(f"{few} {'videos' if by == 'video' else 'classes'} of fewer than {min_views} views are left out")
    return ViewLog(curves, tuple(notes))


def _name(key: str | int) -> str:
    if isinstance(key, str):
        return key
    place = CLASS_ENDS_S.index(key)
    return f"{CLASS_ENDS_S[place - 1] if place else 0}-{key}s"


def _curve(name: str, views: "array[float]") -> ViewCurve:
    durations_s, played_s = np.array(views).reshape(-1, 2).T
    seconds = max(1, math.floor(float(np.median(durations_s)) + 0.5))
    watched_s = np.sort(played_s * seconds / durations_s)
    fewer = np.searchsorted(watched_s, np.arange(seconds + 1), side="left")  # views that end before each second
    return ViewCurve(name, len(watched_s), 1 - fewer / len(watched_s))
