"""The plots of a scenario: QoE with intervals, the terms of QoE, and stalls against waste.

They have no theme: page.js gives them the colours of the page, light or dark.
"""

from collections.abc import Sequence
from html import escape
from statistics import median

import plotly.graph_objects as go

from ppgym.rendering import CODEC_COLOURS, STALL_COLOUR, Colour
from ppgym.report.results import Row, interval_or_point, leader

NEUTRAL = "#7b8794"
TERMS = {  # colour and hatching of each term of QoE
    "quality": ("#2f76bd", ""),
    "rebuffer": ("", "/"),
    "switch": ("#8d6cc0", ""),
    "waste": ("#8a939e", "x"),
    "energy": ("#159a8c", "."),
}
ROW_PIXELS = 24
FRAME_PIXELS = 100
LEAST_PIXELS = 320
LONGEST_NAME = 24  # characters of an agent's name on an axis
FAR_OFF = 8.0  # see `far_below`, of stalls and waste


def css(colour: Colour) -> str:
    """A colour as CSS writes it."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


PIXELS, PROMPTS = (css(CODEC_COLOURS[codec][1]) for codec in ("h264", "prompt"))


def blank_layout(**more: object) -> go.Layout:
    """A layout without plotly's own theme."""
    return go.Layout(template=go.layout.Template(), margin={"l": 8, "r": 8, "t": 8, "b": 8}, **more)


def _height(rows: Sequence[Row]) -> int:
    return max(LEAST_PIXELS, FRAME_PIXELS + ROW_PIXELS * len(rows))


def _agent_axis(rows: Sequence[Row]) -> dict[str, object]:
    """An axis of agents; it shows the end of a long name, such as an import path."""
    names = [row["agent"] for row in rows]
    short = [
        name if len(name) <= LONGEST_NAME else "\N{HORIZONTAL ELLIPSIS}" + name[1 - LONGEST_NAME :] for name in names
    ]
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": [escape(name) for name in names],
        "ticktext": [escape(name) for name in short],
    }


def far_below(values: Sequence[float], far: float = 4.0) -> list[bool]:
    """Which values lie so far below the others that an axis with room for all would squeeze the rest.

    Args:
        values: At least one.
        far: A value is too far where its distance from the largest is more than this many times the median's distance,
            and more than this many tenths of the largest value.

    Returns:
        Whether each is too far.
    """
    best = max(values)
    floor = best - far * max(best - median(values), 0.1 * abs(best))
    return [value < floor for value in values]


def _cut(figure: go.Figure, rows: Sequence[Row], below: Sequence[bool], low: float, high: float) -> None:
    """Let the axis end above the rows that lie far below the rest, and write their QoE at its edge."""
    if not any(below):
        return
    room = 0.04 * (high - low)
    figure.update_layout(xaxis={"range": [low - 2 * room, high + room]})
    for row, is_below in zip(rows, below, strict=True):
        if is_below:
            text = f"\N{BLACK LEFT-POINTING SMALL TRIANGLE} {row['qoe']:.0f}".replace("-", "\N{MINUS SIGN}")
            figure.add_annotation(
                x=0, xref="x domain", xanchor="left", y=escape(row["agent"]), text=text, showarrow=False
            )


def qoe_figure(rows: Sequence[Row]) -> go.Figure:
    """QoE with its 95 % interval, best agent on top; a band for the bound.

    Args:
        rows: Of one scenario.

    Returns:
        The figure; agents that send prompts are amber, those that send none blue, those that do not compete hollow.
    """
    order = sorted(rows, key=lambda row: row["qoe"])
    colours = [_colour(row) for row in order]
    figure = go.Figure(layout=blank_layout(height=_height(rows), showlegend=False))
    for row, colour in zip(order, colours, strict=True):
        low, high = interval_or_point(row)
        figure.add_scatter(
            x=[row["qoe"]],
            y=[escape(row["agent"])],
            error_x={
                "array": [high - row["qoe"]],
                "arrayminus": [row["qoe"] - low],
                "color": colour,
                "thickness": 2,
                "width": 4,
            },
            mode="markers",
            marker={"size": 9, "color": colour, "symbol": "circle" if row["ranked"] else "circle-open"},
            hovertemplate=f"%{{y}}: %{{x:.1f}} ({low:.1f} to {high:.1f})<extra></extra>",
        )
    bound = next((row for row in rows if row.get("bound") is not None), None)
    if bound is not None:
        low, high = bound.get("bound_ci95") or (bound["bound"], bound["bound"])
        figure.add_vrect(x0=low, x1=high, fillcolor=NEUTRAL, opacity=0.18, line_width=0)
        figure.add_vline(
            x=bound["bound"],
            line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
            annotation={"text": "bound", "xanchor": "right", "yanchor": "bottom"},
        )
    below = far_below([row["qoe"] for row in order])
    edges = [
        edge for row, is_below in zip(order, below, strict=True) if not is_below for edge in interval_or_point(row)
    ]
    _cut(figure, order, below, min(edges), max([*edges, high] if bound else edges))
    figure.update_layout(
        margin={"t": 24},
        xaxis={"title": {"text": "QoE per minute"}, "zeroline": True},
        yaxis=_agent_axis(order),
    )
    return figure


def _colour(row: Row) -> str:
    share = row.get("generative_share")
    return NEUTRAL if share is None else PROMPTS if share > 0.0 else PIXELS


def terms_figure(rows: Sequence[Row]) -> go.Figure:
    """What QoE is made of: quality to the right, its costs to the left.

    Args:
        rows: Of one scenario.

    Returns:
        The figure: stacked bars, a tick where they add up to QoE.
    """
    order = sorted(rows, key=lambda row: row["qoe"])
    agents = [escape(row["agent"]) for row in order]
    figure = go.Figure(layout=blank_layout(height=_height(rows), barmode="relative"))
    for name, (colour, hatch) in TERMS.items():
        values = [row["terms"].get(name, 0.0) for row in order]
        if any(values):
            colour = colour or css(STALL_COLOUR)
            figure.add_bar(
                x=values,
                y=agents,
                name=name,
                orientation="h",
                marker={"color": colour, "pattern": {"shape": hatch, "size": 6, "fillmode": "replace"}},
                hovertemplate=f"%{{y}}, {name}: %{{x:+.1f}}<extra></extra>",
            )
    figure.add_scatter(
        x=[row["qoe"] for row in order],
        y=agents,
        name="QoE",
        mode="markers",
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 3}},
        hovertemplate="%{y}, QoE: %{x:.1f}<extra></extra>",
        meta="ink",
    )
    costs, gains = (
        [sum(sign * max(sign * v, 0.0) for v in row["terms"].values()) for row in order] for sign in (-1, 1)
    )
    below = far_below(costs)
    _cut(
        figure, order, below, min(cost for cost, is_below in zip(costs, below, strict=True) if not is_below), max(gains)
    )
    figure.update_layout(
        bargap=0.3,
        xaxis={"title": {"text": "QoE per minute"}, "zeroline": True},
        yaxis=_agent_axis(order),
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    )
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Points that no other beats in one coordinate without losing in the other; small is good.

    Args:
        points: (x, y) of each.

    Returns:
        Their indices, by ascending x.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


def trade_off_figure(rows: Sequence[Row]) -> go.Figure:
    """Waste against stalls, with the front of the agents that compete.

    Args:
        rows: Of one scenario.

    Returns:
        The figure; the leader and the agents on the front are named, the others when pointed at. Agents far off are
        told beyond its edge.
    """
    ranked = [row for row in rows if row["ranked"]]
    points = [(100.0 * row["waste_ratio"], 100.0 * row["stall_ratio"]) for row in ranked]
    front, first = pareto_front(points), leader(ranked)
    figure = go.Figure(layout=blank_layout(height=420, showlegend=False))
    figure.add_scatter(
        x=[points[i][0] for i in front],
        y=[points[i][1] for i in front],
        mode="lines",
        line={"shape": "hv", "width": 1.5, "dash": "dash", "color": NEUTRAL},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        text=[escape(row["agent"]) if i in front or row["agent"] == first else "" for i, row in enumerate(ranked)],
        hovertext=[escape(row["agent"]) for row in ranked],
        mode="markers+text",
        textposition=["bottom left" if i in front else "top right" for i in range(len(ranked))],
        marker={"size": 10, "color": [_colour(row) for row in ranked]},
        hovertemplate="%{hovertext}: waste %{x:.1f} %, stalls %{y:.1f} %<extra></extra>",
    )
    figure.update_layout(
        xaxis={"title": {"text": "wasted bytes, %"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "stall time, %"}, "rangemode": "tozero"},
    )
    too_far = [far_below([-value for value in axis], FAR_OFF) for axis in zip(*points, strict=True)]
    far_off = [any(axes) for axes in zip(*too_far, strict=True)]
    if any(far_off):
        kept = [point for point, is_far in zip(points, far_off, strict=True) if not is_far]
        right, top = (1.08 * max(axis) for axis in zip(*kept, strict=True))
        beyond = [
            f"{escape(row['agent'])} ({x:.0f}, {y:.0f})"
            for row, (x, y), is_far in zip(ranked, points, far_off, strict=True)
            if is_far
        ]
        figure.update_layout(xaxis={"range": [0.0, right]}, yaxis={"range": [0.0, top]})
        figure.add_annotation(
            x=1,
            xref="x domain",
            xanchor="right",
            y=1,
            yref="y domain",
            text=f"beyond: {', '.join(beyond)}",
            showarrow=False,
        )
    return figure
