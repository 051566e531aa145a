"""What a file or folder is: traces, videos, viewers, a device, a ladder or a scenario, with its figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppgym.world.networks import SPLITS, Network, NetworkTrace, load_network, rate_figures, read_folder
from ppgym.world.readers.columns import Columns
from ppgym.world.readers.dash import read_dash
from ppgym.world.readers.folders import listed, trace_files
from ppgym.world.readers.formats import OTHER_FORMATS, TRACE_FORMATS, format_of
from ppgym.world.readers.hls import read_hls
from ppgym.world.readers.pensieve_video import is_video_folder, read_video_sizes
from ppgym.world.readers.text import read_json_value
from ppgym.world.readers.video_sizes import VideoSizes
from ppgym.world.scenario_file import read_yaml
from ppgym.world.viewers import RetentionCurve, ViewerProfile, read_views

GAP = 5  # steps of so many median ones are gaps
SCENARIO_KEYS = ("network", "device", "viewer", "ladder", "scenario")
SCHEMAS = {
    "ppgym-catalog": ("videos", "videos"),
    "ppgym-device": ("device", "rows"),
    "ppgym-ladder": ("ladder", "representations"),
    "ppgym-viewer": ("viewer", "provenance"),
}
SHOWN = 13  # curves, rungs or videos


class Finding(NamedTuple):
    """What a file or folder is.

    Attributes:
        path: As it was given.
        what: In a few words.
        facts: Labels and texts, for people.
        traces: That it holds.
        curves: Of viewers that it holds, by name.
        videos: That it holds.
    """

    path: Path
    what: str
    facts: tuple[tuple[str, str], ...]
    traces: tuple[NetworkTrace, ...] = ()
    curves: Mapping[str, RetentionCurve] = {}
    videos: tuple[VideoSizes, ...] = ()


def inspect(path: str | Path, format: str = "auto", columns: Columns | None = None, by: str = "duration") -> Finding:
    """Say what a file or folder is.

    Args:
        path: File or folder.
        format: Of network traces; see `NetworkTrace.read`.
        columns: Of network traces; see `NetworkTrace.read`.
        by: Of a log of views; see `read_views`.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: It is nothing that ppgym reads, or a broken file; names it and what was expected.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    named = format != "auto" or columns is not None
    if path.is_dir():
        return _traces_of_folder(path, format, columns) if named else _folder(path)
    found = "trace" if named else format_of(path)
    if named or found in TRACE_FORMATS:
        trace = NetworkTrace.read(path, format, columns)
        about = TRACE_FORMATS.get(found) or TRACE_FORMATS.get(format) or TRACE_FORMATS["csv"]
        return _traces(path, f"network trace: {about}", Network((trace,), trace.notes))
    if found in ("retention", "swipes"):
        doubts = ("rates in Mbit/s may look the same; for a network trace name its format",)
        return _curves(path, OTHER_FORMATS[found], {path.name: RetentionCurve.read(path)}, doubts)
    if found == "viewer_log":
        curves, views, notes = read_views(path, by)
        shown = list(curves.items())[:SHOWN]
        facts = [(name, f"{views[name]} views, {_curve_text(curve)}") for name, curve in shown]
        return Finding(path, OTHER_FORMATS[found], (*facts, *_more(len(curves)), *_notes(notes)), curves=curves)
    if found == "dash":
        return _videos(path, OTHER_FORMATS[found], [read_dash(path, estimate=True)])
    if found == "hls":
        return _videos(path, OTHER_FORMATS[found], [read_hls(path, estimate=True)])
    if found == "video_sizes":
        return _videos(path, OTHER_FORMATS[found], [read_video_sizes(path.parent)])
    if found == "json":
        return _object(path, read_json_value(path))
    if found == "yaml":
        return _object(path, read_yaml(path))
    known = "; ".join((*TRACE_FORMATS.values(), *OTHER_FORMATS.values()))
    raise ValueError(f"{path}: looks like {found}; known formats are: {known}")


def _folder(path: Path) -> Finding:
    if is_video_folder(path):
        return _videos(path, OTHER_FORMATS["video_sizes"], [read_video_sizes(path)])
    if videos := [one for one in sorted(path.iterdir()) if one.is_dir() and is_video_folder(one)]:
        return _videos(path, "folder of videos", [read_video_sizes(one) for one in videos])
    files, notes = trace_files(path)
    if not files:
        raise ValueError(f"{path}: expected files that ppgym reads, got none{''.join(f'; {note}' for note in notes)}")
    formats = {name: format_of(file) for name, file in files.items()}
    if set(formats.values()) <= {"retention", "swipes"}:
        curves = {name: RetentionCurve.read(file) for name, file in files.items()}
        return _curves(path, "folder of viewers' retention curves", curves, notes)
    if not set(formats.values()) & set(OTHER_FORMATS):
        return _traces_of_folder(path)
    if set(formats.values()) <= {"json", "yaml"}:
        facts = [(name, inspect(file).what) for name, file in files.items()]
        return Finding(path, "folder", (*facts, *_notes(notes)))
    counts = Counter((TRACE_FORMATS | OTHER_FORMATS).get(one, one) for one in formats.values())
    return Finding(path, "folder", tuple((f"{count} of", what) for what, count in counts.items()))


def _traces_of_folder(path: Path, format: str = "auto", columns: Columns | None = None) -> Finding:
    network = read_folder(path, format, columns)
    if not network.traces:
        raise ValueError(f"{path}: expected trace files, got none")
    if format != "auto" or columns is not None:
        splits = "convert the folder to see how it is split"
    else:
        try:
            parts = {split: load_network(path, split) for split in SPLITS}
            splits = ", ".join(f"{len(part.traces)} {split}" for split, part in parts.items())
            network = network._replace(
                notes=tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
            )
        except ValueError as error:
            splits = f"none: {error}"
    finding = _traces(path, f"folder of {len(network.traces)} network traces", network)
    return finding._replace(facts=(("splits", splits), *finding.facts))


def _traces(path: Path, what: str, network: Network) -> Finding:
    traces = network.traces
    figures = rate_figures(traces)
    means = sorted(trace.mean_bps for trace in traces)
    spread = f" ({means[0] / 1e6:.4g} to {means[-1] / 1e6:.4g})" if len(traces) > 1 else ""
    shortest, longest = f"{figures.shortest_s:.6g}", f"{figures.longest_s:.6g}"
    facts = [
        ("mean", f"{figures.mean_bps / 1e6:.4g} Mbit/s{spread}"),
        ("median", f"{figures.median_bps / 1e6:.4g} Mbit/s"),
        ("floor", f"{figures.floor_bps / 1e6:.4g} Mbit/s"),
        ("duration", f"{shortest} s" if shortest == longest else f"{shortest} to {longest} s"),
        ("gaps", _gaps(traces)),
    ]
    return Finding(path, what, (*facts, *_notes(network.notes)), traces=traces)


def _gaps(traces: Sequence[NetworkTrace]) -> str:
    steps_s = [np.diff(trace.edges_s) for trace in traces]
    gaps_s = np.concatenate([steps[steps > GAP * np.median(steps)] for steps in steps_s])
    step_s = float(np.median(np.concatenate(steps_s)))
    if not gaps_s.size:
        return f"none; a step is {step_s:.4g} s"
    count = "1 step" if gaps_s.size == 1 else f"{gaps_s.size} steps"
    return f"{count} of more than {GAP} median ones ({step_s:.4g} s), up to {gaps_s.max():.4g} s"


def _curves(path: Path, what: str, curves: Mapping[str, RetentionCurve], notes: Sequence[str] = ()) -> Finding:
    shown = list(curves.items())[:SHOWN]
    facts = [(name if len(curves) > 1 else "viewers", _curve_text(curve)) for name, curve in shown]
    return Finding(path, what, (*facts, *_more(len(curves)), *_notes(notes)), curves=curves)


def _curve_text(curve: RetentionCurve) -> str:
    mean = float(np.trapezoid(curve.survival)) / curve.duration_s
    return f"{curve.duration_s:g} s, {mean:.3f} watched on average, {curve.survival[-1]:.3f} complete"


def _videos(path: Path, what: str, videos: Sequence[VideoSizes]) -> Finding:
    facts = []
    for video in videos[:SHOWN]:
        rungs = ", ".join(f"{bps / 1e3:g}" for bps in video.bitrates_bps)
        chunks = f"{len(video.chunk_bytes)} chunks of {video.chunk_s:.4g} s, {video.duration_s:.5g} s"
        facts.append((video.name, f"{chunks}; rungs of {rungs} kbit/s"))
    if len(videos) == 1:
        facts += _rungs(videos[0])
    notes = dict.fromkeys(note for video in videos for note in video.notes)
    return Finding(path, what, (*facts, *_more(len(videos)), *_notes(tuple(notes))), videos=tuple(videos))


def _rungs(video: VideoSizes) -> list[tuple[str, str]]:
    facts = []
    means_bps = video.chunk_bytes.sum(axis=0) * 8 / video.duration_s
    for place, mean_bps in enumerate(means_bps):
        size = f", {video.widths[place]}x{video.heights[place]}" if video.widths[place] else ""
        fps = f", {video.fps[place]:.4g} fps" if video.fps[place] else ""
        facts.append((f"{video.bitrates_bps[place] / 1e3:g} kbit/s", f"mean {mean_bps / 1e3:.4g} kbit/s{size}{fps}"))
    return facts


def _object(path: Path, content: Any) -> Finding:
    """A JSON or YAML file of ppgym's own."""
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a file of objects such as a scenario, got {type(content).__name__}")
    schema = str(content.get("schema"))
    kind, rows = SCHEMAS.get(schema.partition("/")[0], (None, ""))
    if kind == "viewer":
        viewer = ViewerProfile.load(path)
        curve = viewer.curve(15)
        facts = [("name", viewer.name), ("leave_p", f"{viewer.leave_p:g}"), ("of 15 s", _curve_text(curve))]
        return Finding(path, f"viewer ({schema})", tuple(facts), curves={viewer.name: curve})
    if kind is not None:
        texts = [(key, str(content[key])[:300]) for key in ("name", "description", "provenance") if key in content]
        count = len(content[rows]) if isinstance(content.get(rows), (dict, list)) else 0
        return Finding(path, f"{kind} ({schema})", (*texts, (rows, str(count))))
    if any(key in content for key in SCENARIO_KEYS):
        facts = [(str(key)[:20], str(value)[:300]) for key, value in list(content.items())[:SHOWN]]
        return Finding(path, "scenario", (*facts, *_more(len(content))))
    language = path.suffix.lstrip(".").upper() or "JSON"
    raise ValueError(
        f"{path}: looks like {language} with the keys {listed(list(map(str, content)))[:300]}; "
        f"known are scenarios ({', '.join(SCENARIO_KEYS)}) and files with a key 'schema' ({', '.join(SCHEMAS)})"
    )


def _more(count: int) -> list[tuple[str, str]]:
    return [("and", f"{count - SHOWN} more")] if count > SHOWN else []


def _notes(notes: Sequence[str]) -> list[tuple[str, str]]:
    return [("note", note) for note in notes]
