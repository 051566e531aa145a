"""The picture of the break-even map: figures in, pixels out. What they are is found in `breakeven.py`.

Amber is where prompts gain, blue where pixels do, as in the timeline; matplotlib is imported only here, when asked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#12549e", "#ffffff", "#e06b05")  # pixels gain, neither, prompts gain
INK = "#20262e"
Rows = Sequence[Mapping[str, Any]]


def draw_map(results: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each plane: gain by cell, hatched where it is not told apart from 0, and the real devices.

    Args:
        results: What breakeven.json holds.
        path: Of the picture; its suffix says the format.
    """
    from matplotlib import rc_context
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    planes = list(dict.fromkeys(row["plane"] for row in results["rows"]))
    rows = {plane: [row for row in results["rows"] if row["plane"] == plane] for plane in planes}
    columns = [len({row["x"]["value"] for row in rows[plane]}) for plane in planes]
    most = float(np.percentile([abs(row["gain"]) for row in results["rows"]], 90))  # full colour, for the few beyond
    colours = LinearSegmentedColormap.from_list("gain", COLOURS)
    with rc_context({"font.size": 9, "text.color": INK, "axes.edgecolor": INK, "hatch.linewidth": 0.6}):
        figure = Figure(figsize=(11, 4), layout="constrained", dpi=140)
        panels = figure.subplots(1, len(planes), sharey=True, width_ratios=columns, squeeze=False)[0]
        for axes, plane in zip(panels, planes, strict=True):
            shown = _draw_plane(axes, rows[plane], colours, most)
            _mark_devices(axes, rows[plane], [each for each in results["devices"] if each["plane"] == plane])
        heights = _values(rows[planes[0]], "y")
        labels = [f"{mbps:.1f}" for mbps in heights]
        for network, mbps in results["networks"].items():
            labels[int(np.abs(np.array(heights) - mbps).argmin())] += f"\n{network}"
        panels[0].set_yticks(range(len(heights)), labels)
        panels[0].set_ylabel(rows[planes[0]][0]["y"]["name"])
        figure.colorbar(shown, ax=list(panels), label="QoE gained by prompts, per minute", pad=0.01, extend="both")
        figure.savefig(path)


def _draw_plane(axes: "Axes", rows: Rows, colours: Any, most: float) -> Any:
    """The cells; returns what a colour bar needs."""
    from matplotlib.patches import Rectangle

    x, y = _values(rows, "x"), _values(rows, "y")
    gain = np.zeros((len(y), len(x)))
    for row in rows:
        i, j = y.index(row["y"]["value"]), x.index(row["x"]["value"])
        gain[i, j] = row["gain"]
        low, high = row["ci95"]
        text = axes.text(j, i, f"{row['gain']:+.1f}", ha="center", va="center")
        if low <= 0.0 <= high:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.7", linewidth=0))
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8})
    shown = axes.imshow(gain, cmap=colours, vmin=-most, vmax=most, origin="lower", aspect="auto")
    axes.set_xticks(range(len(x)), [f"{value:g}" for value in x])
    axes.set_xlabel(rows[0]["x"]["name"])
    return shown


def _mark_devices(axes: "Axes", rows: Rows, devices: Rows) -> None:
    """Real devices along the upper edge, between the columns by ratio where these grow by ratios."""
    x = np.array(_values(rows, "x"))
    by_ratio = x[0] > 0.0 and np.allclose(x[1:] / x[:-1], x[1] / x[0])
    for name, value in {each["name"]: each["x"] for each in devices}.items():
        place = np.log(value / x[0]) / np.log(x[1] / x[0]) if by_ratio else np.interp(value, x, np.arange(len(x)))
        axes.annotate(
            name.removeprefix("snapdragon-"),
            (float(place), 1.0),
            (0, 9),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=30,
            rotation_mode="anchor",
            arrowprops={"arrowstyle": "-|>", "color": INK, "relpos": (0, 0), "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def _values(rows: Rows, axis: str) -> list[float]:
    return sorted({row[axis]["value"] for row in rows})
