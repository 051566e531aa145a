"""The picture of the break-even map: figures in, pixels out. What they are is found in `breakeven.py`.

Amber is where prompts gain, blue where pixels do, as in the timeline; matplotlib is imported only here, when asked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppgym.report.breakeven import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#12549e", "#ffffff", "#e06b05")  # pixels gain, neither, prompts gain
INK = "#20262e"


def draw_map(planes: Sequence[Plane], networks: Mapping[str, float], path: Path) -> None:
    """Draw a panel for each plane: gain by cell, hatched where it is not told apart from 0, and the real devices.

    Args:
        planes: What to draw, with the same bandwidths upwards.
        networks: Mean of each named network in Mbit/s.
        path: Of the picture; its suffix says the format.
    """
    from matplotlib import rc_context
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    columns = [len(plane.x) for plane in planes]
    gains = np.concatenate([np.ravel(plane.gain) for plane in planes])
    most = float(np.percentile(np.abs(gains), 90))  # full colour, for the few beyond
    colours = LinearSegmentedColormap.from_list("gain", COLOURS)
    with rc_context({"font.size": 9, "text.color": INK, "axes.edgecolor": INK, "hatch.linewidth": 0.6}):
        figure = Figure(figsize=(3.5 * len(planes) + 1, 4), layout="constrained", dpi=140)
        panels = figure.subplots(1, len(planes), sharey=True, width_ratios=columns, squeeze=False)[0]
        for axes, plane in zip(panels, planes, strict=True):
            shown = _draw_plane(axes, plane, colours, most)
            _mark_devices(axes, plane)
        heights = planes[0].y
        labels = [f"{mbps:.1f}" for mbps in heights]
        for network, mbps in networks.items():
            labels[int(np.abs(np.array(heights) - mbps).argmin())] += f"\n{network}"
        panels[0].set_yticks(range(len(heights)), labels)
        panels[0].set_ylabel(planes[0].y_name)
        figure.colorbar(shown, ax=list(panels), label="QoE gained by prompts, per minute", pad=0.01, extend="both")
        figure.savefig(path)


def _draw_plane(axes: "Axes", plane: Plane, colours: Any, most: float) -> Any:
    """The cells; returns what a colour bar needs."""
    from matplotlib.patches import Rectangle

    for (i, j), gain in np.ndenumerate(plane.gain):
        text = axes.text(j, i, f"{gain:+.1f}", ha="center", va="center")
        if plane.low[i][j] <= 0.0 <= plane.high[i][j]:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.7", linewidth=0))
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8})
    shown = axes.imshow(plane.gain, cmap=colours, vmin=-most, vmax=most, origin="lower", aspect="auto")
    axes.set_xticks(range(len(plane.x)), [f"{value:g}" for value in plane.x])
    axes.set_xlabel(plane.x_name)
    return shown


def _mark_devices(axes: "Axes", plane: Plane) -> None:
    """Real devices along the upper edge, between the columns by ratio where these grow by ratios."""
    x = np.array(plane.x)
    by_ratio = x[0] > 0.0 and np.allclose(x[1:] / x[:-1], x[1] / x[0])
    for name, value in {name: value for name, value, _ in plane.devices}.items():
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
