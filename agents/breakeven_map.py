"""The picture of the break-even map. What it shows is found in `breakeven.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def draw_map(results: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each plane: cells by gain, hatched where it is not told apart from 0, and the real devices.

    Args:
        results: What breakeven.json holds.
        path: Of the picture.
    """
    from matplotlib.figure import Figure

    planes = list(dict.fromkeys(row["plane"] for row in results["rows"]))
    figure = Figure(figsize=(4.6 * len(planes), 3.9), layout="constrained", dpi=110)
    most = max(abs(row["gain"]) for row in results["rows"])
    for place, plane in enumerate(planes):
        axes = figure.add_subplot(1, len(planes), place + 1)
        rows = [row for row in results["rows"] if row["plane"] == plane]
        x, y = (np.array(sorted({row[axis]["value"] for row in rows})) for axis in "xy")
        gain = np.full((len(y), len(x)), np.nan)
        for row in rows:
            i, j = np.flatnonzero(y == row["y"]["value"])[0], np.flatnonzero(x == row["x"]["value"])[0]
            gain[i, j] = row["gain"]
            unsure = row["ci95"][0] <= 0.0 <= row["ci95"][1]
            axes.text(j, i, f"{row['gain']:+.0f}", ha="center", va="center", color="0.35" if unsure else "black")
            if unsure:
                axes.add_patch(_hatch(j, i))
        shown = axes.imshow(gain, cmap="RdBu", vmin=-most, vmax=most, origin="lower", aspect="auto")
        axes.set_xticks(range(len(x)), [f"{value:g}" for value in x])
        axes.set_yticks(range(len(y)), [f"{value:.1f}" for value in y])
        axes.set_xlabel(rows[0]["x"]["name"])
        if place == 0:
            axes.set_ylabel(rows[0]["y"]["name"])
            figure.colorbar(shown, ax=figure.axes, label="gain in QoE / min")
    figure.savefig(path)


def _hatch(j: int, i: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.6", linewidth=0)
