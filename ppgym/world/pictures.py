"""Pictures of traces, viewers and videos. Matplotlib is imported only here, when asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppgym.files import replacing
from ppgym.world.inspection import Finding
from ppgym.world.networks import NetworkTrace
from ppgym.world.readers.video_sizes import VideoSizes
from ppgym.world.viewers import RetentionCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 8  # lines of a picture
WIDTH_INCHES, HEIGHT_INCHES = 9.0, 2.8  # of a picture


def draw(findings: Sequence[Finding], output: Path) -> None:
    """Draw what was found, one picture below the other.

    Args:
        findings: Those of traces, retention curves and videos are drawn, the others left out.
        output: PNG file to write.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        ValueError: There is nothing to draw, or another ending than `.png`.
    """
    from matplotlib.figure import Figure

    if output.suffix.lower() != ".png":
        raise ValueError(f"{output}: expected a name that ends in .png")
    drawn = [finding for finding in findings if finding.traces or finding.curves or finding.videos]
    if not drawn:
        raise ValueError("nothing to draw: expected traces, viewers or videos")
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES * len(drawn)), layout="constrained")
    for place, finding in enumerate(drawn, start=1):
        axes = figure.add_subplot(len(drawn), 1, place)
        axes.set_title(f"{finding.path}: {finding.what}", fontsize=9, loc="left")
        axes.spines[["right", "top"]].set_visible(False)
        if finding.traces:
            lines = _draw_traces(axes, finding.traces)
        elif finding.curves:
            lines = _draw_curves(axes, finding.curves)
        else:
            lines = _draw_video(axes, finding.videos[0])
        if lines > 1:
            axes.legend(fontsize=7, frameon=False, loc="upper right")
    with replacing(output) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_traces(axes: "Axes", traces: Sequence[NetworkTrace]) -> int:
    for trace in traces[:SHOWN]:
        axes.stairs(trace.rates_bps / 1e6, trace.edges_s, label=trace.name, linewidth=0.9)
    axes.set(xlabel="s", ylabel="Mbit/s", ylim=(0, None))
    return len(traces)


def _draw_curves(axes: "Axes", curves: Mapping[str, RetentionCurve]) -> int:
    for name, curve in list(curves.items())[:SHOWN]:
        axes.plot(np.arange(curve.duration_s + 1), curve.survival, label=name)
    axes.set(xlabel="s", ylabel="share that watches on", ylim=(0, 1.02))
    return len(curves)


def _draw_video(axes: "Axes", video: VideoSizes) -> int:
    edges_s = np.append(np.arange(len(video.chunk_bytes)) * video.chunk_s, video.duration_s)
    for bitrate_bps, sizes in zip(video.bitrates_bps, video.chunk_bytes.T, strict=True):
        axes.stairs(sizes * 8 / np.diff(edges_s) / 1e3, edges_s, label=f"{bitrate_bps / 1e3:g} kbit/s")
    axes.set(xlabel=f"s of {video.name}", ylabel="kbit/s", ylim=(0, None))
    return len(video.bitrates_bps)
