"""The timeline: the link, one lane per compute unit and the screen, over time.

What lives here: `Timeline`, which turns the kernel's event log into spans, and two ways to draw it, as text and as
pixels. It draws what has happened and decides nothing; it knows the kernel's event kinds, not the scenario or the
environment. Matplotlib is imported only when pixels are asked for.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core import events
from ppgym.core.state import NO_ENTRY, SIMULTANEOUS_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINK = "link"
SCREEN = "screen"

TRANSFER, CANCELLED = "transfer", "cancelled"  # kinds of spans on the link
DECODE, ABORTED = "decode", "aborted"  # on a compute unit
PLAY, STALL = "play", "stall"  # on the screen

# The span that an event begins or ends
BEGINS = {
    events.EVENT_REQUEST: TRANSFER,
    events.EVENT_JOB_START: DECODE,
    events.EVENT_PLAY: PLAY,
    events.EVENT_STALL: STALL,
}
ENDS = {
    events.EVENT_ARRIVAL: TRANSFER,
    events.EVENT_CANCEL: CANCELLED,
    events.EVENT_JOB_END: DECODE,
    events.EVENT_JOB_ABORT: ABORTED,
    events.EVENT_PLAY_END: PLAY,
    events.EVENT_STALL_END: STALL,
}

Colour = tuple[float, float, float]  # red, green, blue in [0, 1]

# One hue per codec, from its cheapest representation to its best
CODEC_COLOURS: dict[str, tuple[Colour, Colour]] = {
    "h264": ((0.70, 0.84, 0.96), (0.07, 0.33, 0.62)),  # blue
    "hevc": ((0.70, 0.90, 0.87), (0.02, 0.45, 0.42)),  # teal
    "av1": ((0.84, 0.80, 0.93), (0.38, 0.22, 0.60)),  # violet
    "prompt": ((1.00, 0.84, 0.55), (0.88, 0.42, 0.02)),  # amber
}
OTHER_COLOURS: tuple[Colour, Colour] = ((0.85, 0.85, 0.85), (0.40, 0.40, 0.40))
STALL_COLOUR: Colour = (0.83, 0.10, 0.13)

INK = "#20262e"  # text and lines of the picture
LABELS_PIXELS = 60  # left of the lanes, for their names
LANE_INSET = 0.09  # of a lane's height, above and below

STALL_GLYPH = "!"
WASTE_GLYPH = "x"
SWIPE_GLYPH = "|"


class Span(NamedTuple):
    """A stretch of time in which one lane was busy with one chunk."""

    lane: str  # LINK, a compute unit's name or SCREEN
    row: int  # place within the lane; above 0 only on a link with several transfers at once
    start_s: float
    end_s: float
    video: int  # feed position
    chunk: int
    representation: int  # NO_ENTRY in a stall
    kind: str
    wasted: bool  # the video was left, or the session ended, before the chunk's playing began

    @property
    def label(self) -> str:
        """`video.chunk`."""
        return f"{self.video}.{self.chunk}"


class Swipe(NamedTuple):
    """The viewer left a video."""

    time_s: float
    video: int
    impatient: bool


class Timeline:
    """Spans built from the rows of an event log, as they come.

    A timeline may begin in the midst of an episode: an end whose beginning it has not seen is passed over.

    Attributes:
        lanes: Names of the lanes, in the order in which a chunk passes them.
        representation_names: Name of each representation.
        colours: Colour of each representation.
        swipes: The videos left so far, in order of time.
        session_end_s: When the viewer left the session, or None.
    """

    def __init__(
        self,
        option_representations: Sequence[int],
        option_units: Sequence[int],
        representation_names: Sequence[str],
        unit_names: Sequence[str],
        units_present: Sequence[bool] | None = None,
    ) -> None:
        """An empty timeline.

        Args:
            option_representations: Representation index of each option.
            option_units: Compute unit index of each option.
            representation_names: Name of each representation, `codec-rung`.
            unit_names: Name of each compute unit, in index order.
            units_present: Whether the device has each unit; the others get no lane. None means all.
        """
        present = [True] * len(unit_names) if units_present is None else units_present
        shown = [name for name, is_present in zip(unit_names, present, strict=True) if is_present]
        self.lanes = (LINK, *shown, SCREEN)
        self.representation_names = tuple(representation_names)
        self.colours = representation_colours(representation_names)
        self.swipes: list[Swipe] = []
        self.session_end_s: float | None = None
        self._option_representations = tuple(int(index) for index in option_representations)
        self._option_lanes = tuple(unit_names[index] for index in option_units)
        self._closed: list[Span] = []
        self._open: dict[tuple[str, int, int], Span] = {}
        self._begun: set[tuple[int, int]] = set()
        self._left: set[int] = set()

    def extend(self, rows: npt.NDArray[np.void]) -> None:
        """Take in what has happened since the last call.

        Args:
            rows: Array [N] of `EVENT_DTYPE`, in order of time.
        """
        for time_s, kind, video, chunk, option, value in rows.tolist():
            if kind == events.EVENT_PLAY:
                self._begun.add((video, chunk))
            if kind in BEGINS:
                self._begin(self._lane(BEGINS[kind], option), time_s, video, chunk, option, BEGINS[kind])
            elif kind in ENDS:
                self._end(self._lane(ENDS[kind], option), time_s, video, chunk, ENDS[kind])
            elif kind == events.EVENT_SWIPE:
                self._left.add(video)
                self.swipes.append(Swipe(time_s, video, bool(value)))
            elif kind == events.EVENT_SESSION_END:
                self.session_end_s = time_s

    def spans(self, until_s: float) -> list[Span]:
        """What every lane did up to a time.

        Args:
            until_s: Spans that begin later are left out; those still open, or that end later, end here.

        Returns:
            Spans in order of their start.
        """
        found = [
            span._replace(end_s=min(span.end_s, until_s), wasted=self._is_wasted(span))
            for span in (*self._closed, *self._open.values())
            if span.start_s < until_s
        ]
        return sorted(found, key=lambda span: (span.start_s, self.lanes.index(span.lane), span.row))

    def _lane(self, kind: str, option: int) -> str:
        return (
            LINK if kind in (TRANSFER, CANCELLED) else SCREEN if kind in (PLAY, STALL) else self._option_lanes[option]
        )

    def _begin(self, lane: str, time_s: float, video: int, chunk: int, option: int, kind: str) -> None:
        representation = NO_ENTRY if option == NO_ENTRY else self._option_representations[option]
        taken = {span.row for span in self._open.values() if span.lane == lane}
        row = next(row for row in range(len(taken) + 1) if row not in taken)
        span = Span(lane, row, time_s, math.inf, video, chunk, representation, kind, False)
        self._open[lane, video, chunk] = span

    def _end(self, lane: str, time_s: float, video: int, chunk: int, kind: str) -> None:
        span = self._open.pop((lane, video, chunk), None)
        if span is not None and time_s - span.start_s > SIMULTANEOUS_S:  # a stall that ends at once is none
            self._closed.append(span._replace(end_s=time_s, kind=kind))

    def _is_wasted(self, span: Span) -> bool:
        if span.lane == SCREEN or (span.video, span.chunk) in self._begun:
            return False
        return self.session_end_s is not None or span.video in self._left


def representation_colours(names: Sequence[str]) -> tuple[Colour, ...]:
    """A colour per representation: the codec gives the hue, the place in the codec's ladder the shade.

    Args:
        names: `codec-rung`, in ascending order of quality within a codec.

    Returns:
        Colours, one per name.
    """
    codecs = [name.split("-")[0] for name in names]
    colours = []
    for index, codec in enumerate(codecs):
        light, dark = CODEC_COLOURS.get(codec, OTHER_COLOURS)
        rung, rungs = codecs[:index].count(codec), codecs.count(codec)
        shade = rung / (rungs - 1) if rungs > 1 else 0.5
        red, green, blue = ((1 - shade) * a + shade * b for a, b in zip(light, dark, strict=True))
        colours.append((red, green, blue))
    return tuple(colours)


def headline(now_s: float, totals: Mapping[str, Any]) -> tuple[str, str]:
    """The totals in two lines.

    Args:
        now_s: Time since the episode began.
        totals: The cumulative keys of `info`; `return`, the sum of the rewards so far, is shown where given.

    Returns:
        (time and QoE, what it is made of), each at most 80 characters.
    """
    watched_s = totals["played_s"] + totals["rebuffer_s"]
    stall_ratio = totals["rebuffer_s"] / watched_s if watched_s > 0 else 0.0
    quality = totals["quality"] / totals["played_s"] if totals["played_s"] > 0 else 0.0
    downloaded_mbit, wasted_mbit = (totals[f"{key}_bytes"] * 8e-6 for key in ("downloaded", "wasted"))
    first = f"{now_s:.1f} s, videos watched: {totals['videos_watched']:.0f}"
    if "return" in totals:
        first += f", return {totals['return']:+.1f}"
    second = (
        f"played {totals['played_s']:.1f} s at {quality:.2f} Mbit/s, stalled {totals['rebuffer_s']:.1f} s "
        f"({stall_ratio:.0%}), wasted {wasted_mbit:.1f} of {downloaded_mbit:.1f} Mbit"
    )
    return first, second


# --- as text ----------------------------------------------------------------------------------------------------------


def render_ansi(
    timeline: Timeline, now_s: float, totals: Mapping[str, Any], window_s: float = 20.0, width: int = 80
) -> str:
    """Draw the last seconds as text.

    Each representation has a letter and a colour; the colour adds nothing that the letters do not say.

    Args:
        timeline: What happened.
        now_s: The right end of the picture, once `window_s` have passed.
        totals: See `headline`.
        window_s: Seconds shown.
        width: Columns, at least 40.

    Returns:
        Lines of at most `width` columns, coloured by ANSI escape codes.
    """
    margin = max(len(lane) for lane in timeline.lanes) + 1
    columns = width - margin
    start_s = max(0.0, now_s - window_s)
    scale = columns / window_s  # columns per second
    spans = [span for span in timeline.spans(now_s) if span.end_s > start_s]
    swipe_columns = {
        int((swipe.time_s - start_s) * scale) for swipe in timeline.swipes if start_s <= swipe.time_s < now_s
    }

    lines = [line for text in headline(now_s, totals) for line in textwrap.wrap(text, width)]
    lines.append(" " * margin + _ruler(start_s, window_s, columns))
    for lane in timeline.lanes:
        in_lane = [span for span in spans if span.lane == lane]
        for row in range(1 + max((span.row for span in in_lane), default=0)):
            cells = [(SWIPE_GLYPH if column in swipe_columns else " ", "") for column in range(columns)]
            for span in in_lane:
                if span.row == row:
                    _paint(cells, span, start_s, scale, timeline.colours)
            if lane == SCREEN:  # a swipe stays visible between two chunks
                for column in swipe_columns:
                    cells[column] = (SWIPE_GLYPH, "")
            lines.append((lane if row == 0 else "").ljust(margin) + _coloured(cells))
    return "\n".join([*lines, *_legend(timeline, width)])


def glyph(representation: int) -> str:
    """The letter of a representation: a, b, c, ..."""
    return chr(ord("a") + representation)


def _paint(cells: list[tuple[str, str]], span: Span, start_s: float, scale: float, colours: Sequence[Colour]) -> None:
    """Fill a span's cells with its letter, and with its label where both fit."""
    begin = max(0, int((span.start_s - start_s) * scale))
    end = min(len(cells), max(begin + 1, int((span.end_s - start_s) * scale)))
    fill = STALL_GLYPH if span.kind == STALL else WASTE_GLYPH if span.wasted else glyph(span.representation)
    colour = STALL_COLOUR if span.kind == STALL else colours[span.representation]
    text = span.label if span.kind != STALL and len(span.label) < end - begin else ""
    for column, character in zip(range(begin, end), text.ljust(end - begin, fill), strict=False):
        cells[column] = (character, _escape(colour))


def _escape(colour: Colour) -> str:
    """The code that sets a background and a foreground legible on it."""
    red, green, blue = (round(255 * part) for part in colour)
    return f"\x1b[48;2;{red};{green};{blue}m\x1b[{30 if _is_light(colour) else 97}m"


def _is_light(colour: Colour) -> bool:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.55  # luma


def _coloured(cells: Iterable[tuple[str, str]]) -> str:
    """Join cells, with a code only where the colour changes."""
    pieces: list[str] = []
    current = ""
    for character, escape in cells:
        if escape != current:
            pieces.append(("\x1b[0m" if current else "") + escape)
            current = escape
        pieces.append(character)
    return "".join(pieces).rstrip() + ("\x1b[0m" if current else "")


def _ruler(start_s: float, window_s: float, columns: int) -> str:
    """Times above the columns where they fall."""
    cells = [" "] * columns
    for tick_s in _ticks(start_s, window_s):
        column = int((tick_s - start_s) / window_s * columns)
        text = f"'{tick_s:g}s"
        if column + len(text) <= columns:
            cells[column : column + len(text)] = text
    return "".join(cells).rstrip()


def _ticks(start_s: float, window_s: float) -> Iterator[float]:
    """Round times of a window, every 5 s (or as many more as keep them at most ten)."""
    step_s = 5.0 * max(1, math.ceil(window_s / 50.0))
    for index in range(math.ceil(start_s / step_s), math.floor((start_s + window_s) / step_s) + 1):
        yield index * step_s


def _legend(timeline: Timeline, width: int) -> list[str]:
    """What the letters mean."""
    letters = [f"{glyph(index)} {name}" for index, name in enumerate(timeline.representation_names)]
    marks = [f"{STALL_GLYPH} stall", f"{WASTE_GLYPH} wasted", f"{SWIPE_GLYPH} swipe"]
    words = [entry.replace(" ", "\0") for entry in (*letters, *marks)]  # an entry is not broken
    return [line.replace("\0", " ") for line in textwrap.wrap("  ".join(words), width, break_on_hyphens=False)]


# --- as pixels --------------------------------------------------------------------------------------------------------


def render_rgb(
    timeline: Timeline,
    now_s: float,
    totals: Mapping[str, Any],
    window_s: float = 30.0,
    size: tuple[int, int] = (960, 540),
) -> npt.NDArray[np.uint8]:
    """Draw the last seconds as a picture.

    Args:
        timeline: What happened.
        now_s: The right end of the picture, once `window_s` have passed.
        totals: See `headline`.
        window_s: Seconds shown.
        size: (width, height) in pixels.

    Returns:
        Array [H, W, 3].

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing pixels needs matplotlib: pip install '.[bench]' in the clone of ppgym") from error

    dpi = 100
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi), dpi=dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    _draw(figure, timeline, now_s, totals, window_s)
    canvas.draw()
    pixels: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels


def _draw(figure: "Figure", timeline: Timeline, now_s: float, totals: Mapping[str, Any], window_s: float) -> None:
    """Draw everything onto an empty Matplotlib figure."""
    start_s = max(0.0, now_s - window_s)
    end_s = start_s + window_s
    left = LABELS_PIXELS / figure.bbox.width
    axes = figure.add_axes((left, 0.225, 0.982 - left, 0.61), xlim=(start_s, end_s), ylim=(len(timeline.lanes), -0.02))
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.set_xticks(list(_ticks(start_s, window_s)), [f"{tick_s:g} s" for tick_s in _ticks(start_s, window_s)])
    axes.set_yticks([place + 0.5 for place in range(len(timeline.lanes))], timeline.lanes, fontweight="bold")
    for place in range(len(timeline.lanes)):
        axes.axhspan(place + LANE_INSET, place + 1 - LANE_INSET, color="#f1f2f4", zorder=0)

    spans = [span for span in timeline.spans(now_s) if span.end_s > start_s]
    rows = 1 + max((span.row for span in spans if span.lane == LINK), default=0)
    pixels_per_s = figure.bbox.width * axes.get_position().width / window_s
    for span in spans:
        _draw_span(axes, timeline, span, start_s, rows if span.lane == LINK else 1, pixels_per_s)
    _draw_videos(axes, timeline, start_s, now_s, 55 / pixels_per_s)

    title, subtitle = headline(now_s, totals)
    figure.text(left, 0.94, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(left, 0.895, subtitle, fontsize=10.5, color=INK)
    _draw_legend(figure, timeline)


def _draw_span(axes: "Axes", timeline: Timeline, span: Span, start_s: float, rows: int, pixels_per_s: float) -> None:
    """One box, with its label where it fits, upright or turned."""
    from matplotlib.patches import Rectangle

    height = (1 - 2 * LANE_INSET) / rows
    top = timeline.lanes.index(span.lane) + LANE_INSET + span.row * height
    begin_s = max(span.start_s, start_s)
    colour = STALL_COLOUR if span.kind == STALL else timeline.colours[span.representation]
    box = Rectangle((begin_s, top), span.end_s - begin_s, height, linewidth=0.8, edgecolor="white", zorder=2)
    box.set_facecolor(colour)
    if span.kind == STALL:
        box.set(hatch="////", facecolor="#fdecec", edgecolor=STALL_COLOUR)
    elif span.wasted:
        box.set(hatch="xxxx", facecolor="white", edgecolor=colour)
    axes.add_patch(box)

    width_pixels = (span.end_s - begin_s) * pixels_per_s
    turned = width_pixels < 7 * len(span.label)
    if span.kind == STALL or width_pixels < 11 or (turned and rows > 1) or rows > 4:
        return
    axes.text(
        (begin_s + span.end_s) / 2,
        top + height / 2,
        span.label,
        rotation=90 if turned else 0,
        fontsize=8,
        color=INK if span.wasted or _is_light(colour) else "white",
        ha="center",
        va="center_baseline",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"} if span.wasted else None,
        zorder=3,
    )


def _draw_videos(axes: "Axes", timeline: Timeline, start_s: float, now_s: float, shortest_s: float) -> None:
    """Name the video on the screen above the lanes; a line through all of them where the viewer left it."""
    edges_s = [0.0, *(swipe.time_s for swipe in timeline.swipes)]
    if timeline.session_end_s is None:
        edges_s.append(now_s)
    for video, (begin_s, end_s) in enumerate(pairwise(edges_s)):
        centre_s = (max(begin_s, start_s) + min(end_s, now_s)) / 2
        if end_s - start_s > shortest_s and end_s - begin_s > shortest_s:
            axes.text(centre_s, -0.07, f"video {video}", fontsize=9, color=INK, ha="center")
    for swipe in timeline.swipes:
        if start_s <= swipe.time_s <= now_s:
            axes.axvline(swipe.time_s, color=STALL_COLOUR if swipe.impatient else INK, linewidth=1.4, zorder=2.5)
    axes.axvline(now_s, color=INK, linewidth=1, linestyle=":", zorder=2.5)


def _draw_legend(figure: "Figure", timeline: Timeline) -> None:
    """What the colours and hatches mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    named = zip(timeline.representation_names, timeline.colours, strict=True)
    handles = [Patch(facecolor=colour, label=name) for name, colour in named]
    handles += [
        Patch(facecolor="#fdecec", edgecolor=STALL_COLOUR, hatch="////", label="stall"),
        Patch(facecolor="white", edgecolor="0.45", hatch="xxxx", label="wasted"),
    ]
    lines = [Line2D([], [], color=INK, linewidth=1.4, label="swipe (red: out of patience)")]
    columns = math.ceil((len(handles) + 1) / 3)
    figure.legend(
        handles=[*handles, *lines], loc="lower center", ncols=columns, frameon=False, fontsize=9, columnspacing=4
    )
