"""The break-even map: on which conditions prompts pay. It is read from a file and drawn; nothing is measured here."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ppgym.files import read_json
from ppgym.report.figures import blank_layout

GAIN_COLOURS = ((0.0, "#12549e"), (0.25, "#7fb2e0"), (0.5, "#f3f1ee"), (0.75, "#f5b64d"), (1.0, "#b45309"))


@dataclass(frozen=True)
class Plane:
    """QoE gain of prompts over pixels on a grid of two conditions.

    Attributes:
        name: Of the plane.
        x_name: What varies from left to right.
        y_name: What varies from bottom to top.
        x: [X] ascending.
        y: [Y] ascending.
        gain: [Y][X], NaN where there is no cell.
        low: [Y][X] lower edge of its 95 % interval.
        high: [Y][X] upper edge.
        devices: (name, x, y) of real devices, in the units of the axes.
    """

    name: str
    x_name: str
    y_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    gain: tuple[tuple[float, ...], ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]
    devices: tuple[tuple[str, float, float], ...]


def read_planes(path: Path) -> list[Plane]:
    """Read a break-even file.

    Args:
        path: JSON object with `rows` (`plane`, `x` and `y` with `name` and `value`, `gain`, `ci95`) and `devices`
            (`name`, `x`, `y`, and `plane` where they belong to one alone).

    Returns:
        The planes, in the order of the file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A row or device that is not of this form.
    """
    content = read_json(path)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        for row in content["rows"]:
            rows[row["plane"]].append(row)
        return [_plane(name, cells, content.get("devices", [])) for name, cells in rows.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected rows with plane, x, y, gain and ci95, and devices: {error!r}") from error


def _plane(name: str, cells: Sequence[dict[str, Any]], devices: Sequence[dict[str, Any]]) -> Plane:
    x, y = (tuple(sorted({float(cell[axis]["value"]) for cell in cells})) for axis in ("x", "y"))
    grid = np.full((3, len(y), len(x)), math.nan)
    for cell in cells:
        place = y.index(float(cell["y"]["value"])), x.index(float(cell["x"]["value"]))
        low, high = cell.get("ci95") or (math.nan, math.nan)
        grid[:, *place] = cell["gain"], low, high
    marks = [
        (str(device["name"]), float(device["x"]), float(device["y"]))
        for device in devices
        if device.get("plane", name) == name and device.get("x") is not None and device.get("y") is not None
    ]
    gain, low, high = (tuple(map(tuple, layer.tolist())) for layer in grid)
    return Plane(name, cells[0]["x"]["name"], cells[0]["y"]["name"], x, y, gain, low, high, tuple(marks))


def breakeven_figure(plane: Plane) -> go.Figure:
    """A map of gain: amber where prompts pay, blue where pixels do, a line where neither does.

    All cells have one size, and devices lie between them by interpolation. A dot marks a cell whose interval holds 0.

    Args:
        plane: The plane.

    Returns:
        The figure.
    """
    gain, low, high = (np.array(layer) for layer in (plane.gain, plane.low, plane.high))
    places = [*range(len(plane.x))], [*range(len(plane.y))]
    ticks = [[f"{value:g}" for value in axis] for axis in (plane.x, plane.y)]
    most = float(np.nanmax(np.abs(gain))) or 1.0
    undecided = np.argwhere((low <= 0.0) & (high >= 0.0))
    said = [
        [
            f"{escape(plane.x_name)} {ticks[0][i]}<br>{escape(plane.y_name)} {ticks[1][j]}"
            f"<br>gain {gain[j, i]:+.1f} ({low[j, i]:+.1f} to {high[j, i]:+.1f})"
            for i in places[0]
        ]
        for j in places[1]
    ]
    figure = go.Figure(layout=blank_layout())
    cells = [[None if math.isnan(value) else value for value in line] for line in plane.gain]
    figure.add_heatmap(
        x=places[0],
        y=places[1],
        z=cells,
        zmin=-most,
        zmax=most,
        colorscale=GAIN_COLOURS,
        text=said,
        hovertemplate="%{text}<extra></extra>",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "QoE/min gained", "side": "right"}, "thickness": 12, "outlinewidth": 0},
    )
    if min(len(plane.x), len(plane.y)) > 1:
        figure.add_contour(
            x=places[0],
            y=places[1],
            z=cells,
            contours={"start": 0, "end": 0, "size": 1, "coloring": "none"},
            line={"width": 2.5, "color": "#111827"},
            showscale=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=undecided[:, 1].tolist(),
        y=undecided[:, 0].tolist(),
        mode="markers",
        marker={"size": 4, "color": "#374151"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[_place(x, plane.x) for _, x, _ in plane.devices],
        y=[_place(y, plane.y) for _, _, y in plane.devices],
        text=_labels(plane),
        hovertext=[escape(name) for name, _, _ in plane.devices],
        mode="markers+text",
        textposition=[_side(x, plane) for _, x, _ in plane.devices],
        textfont={"color": "#111827"},
        cliponaxis=False,
        marker={"size": 11, "symbol": "diamond", "color": "#ffffff", "line": {"width": 2, "color": "#111827"}},
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_layout(
        showlegend=False,
        xaxis={"title": {"text": escape(plane.x_name)}, "tickvals": places[0], "ticktext": ticks[0], "showgrid": False},
        yaxis={"title": {"text": escape(plane.y_name)}, "tickvals": places[1], "ticktext": ticks[1], "showgrid": False},
    )
    return figure


def _labels(plane: Plane) -> list[str]:
    """The name of each device at its uppermost mark, without its family; nothing at the others."""
    top = {name: max(y for other, _, y in plane.devices if other == name) for name, _, _ in plane.devices}
    return [escape(name.removeprefix("snapdragon-")) if y == top[name] else "" for name, _, y in plane.devices]


def _side(x: float, plane: Plane) -> str:
    """Where a label stands: devices side by side take turns, so that their names do not overlap."""
    return ("top center", "bottom center")[sorted({x for _, x, _ in plane.devices}).index(x) % 2]


def _place(value: float, axis: Sequence[float]) -> float:
    """A value's position among the cells: interpolated, by ratio where all are above 0; at the edge outside them."""
    steps = np.array(axis)
    if steps[0] > 0.0 and value > 0.0:
        steps, value = np.log(steps), math.log(value)
    return float(np.interp(value, steps, np.arange(len(steps))))
