"""Videos of DASH manifests (`.mpd`), with the sizes of their segments where the manifest states byte ranges.

Source of the format: ISO/IEC 23009-1, of which one Period with one AdaptationSet of video is read. Sizes are stated by
`SegmentURL` with `mediaRange="first-last"`. A `SegmentTemplate` states none.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from ppgym.world.readers.text import plain_number, read_text
from ppgym.world.readers.video_sizes import MAX_CHUNKS, Rung, VideoSizes, sizes_of_rungs

MAX_MANIFEST_BYTES = 8 * 2**20
MAX_REPEATS_DIGITS = 15
_DURATION = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,8}(?:\.\d{1,9})?)S)?)?", re.ASCII)
_RANGE = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


def read_dash(path: Path, estimate: bool = False) -> VideoSizes:
    """Read a manifest.

    Args:
        path: The file. One with a DOCTYPE is refused: nothing in it is expanded.
        estimate: Whether bitrate x seconds takes the place of sizes that are not stated.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a manifest, or sizes are not stated; names file, value and what was expected.
    """
    root = _parsed(path)
    periods = _children(root, "Period")
    if len(periods) != 1:
        raise ValueError(f"{path}: expected one Period, got {len(periods)}; keep one of them")
    sets = [one for one in _children(periods[0], "AdaptationSet") if _is_video(one)]
    if len(sets) != 1:
        raise ValueError(f"{path}: expected one AdaptationSet of video, got {len(sets)}; keep one of them")
    duration_s = _duration_s(path, periods[0].get("duration") or root.get("mediaPresentationDuration") or "")
    rungs = [_rung(path, [one, sets[0], periods[0]], duration_s) for one in _children(sets[0], "Representation")]
    return sizes_of_rungs(path, path.stem, rungs, estimate)


def _parsed(path: Path) -> ET.Element:
    text = read_text(path, MAX_MANIFEST_BYTES)
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ValueError(f"{path}: expected a manifest without DOCTYPE and entities; remove them")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"{path}, line {error.position[0]}: expected XML: {error}") from error
    if _name(root) != "MPD":
        raise ValueError(f"{path}: expected a DASH manifest, an element MPD, got {_name(root)[:50]!r}")
    return root


def _name(element: ET.Element) -> str:
    """A tag without its namespace."""
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if _name(child) == name]


def _is_video(adaptation: ET.Element) -> bool:
    """Whether an adaptation set holds video, as it says or as its representations do."""
    kinds = [(one.get("contentType") or one.get("mimeType") or "") for one in (adaptation, *adaptation)]
    stated = [kind for kind in kinds if kind]
    return stated[0].startswith("video") if stated else any(one.get("width") for one in (adaptation, *adaptation))


def _duration_s(path: Path, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        raise ValueError(f"{path}: mediaPresentationDuration: expected such as 'PT1M30.5S', got {text[:50]!r}")
    days, hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _rung(path: Path, levels: list[ET.Element], duration_s: float) -> Rung:
    """A representation, which inherits from its adaptation set and its period."""
    where = f"{path}, Representation {(levels[0].get('id') or '?')[:50]!r}"

    def stated(name: str) -> str | None:
        return next((level.get(name) for level in levels if level.get(name) is not None), None)

    bitrate_bps = _above_0(where, "bandwidth", stated("bandwidth"))
    width, height = (_pixels(where, name, stated(name)) for name in ("width", "height"))
    segment_bytes = tuple(_range_bytes(where, levels))
    segments_s = tuple(_segments_s(where, levels, duration_s, len(segment_bytes)))
    if segment_bytes and len(segment_bytes) != len(segments_s):
        raise ValueError(
            f"{where}: expected a SegmentURL for each of {len(segments_s)} segments, got {len(segment_bytes)}"
        )
    return Rung(where, bitrate_bps, segments_s, segment_bytes, width, height, _fps(where, stated("frameRate")))


def _range_bytes(where: str, levels: list[ET.Element]) -> Iterator[float]:
    """The bytes of each segment where they are stated."""
    urls = next((found for level in levels for one in _children(level, "SegmentList") if (found := list(one))), [])
    for url in urls:
        if _name(url) == "SegmentURL" and (text := url.get("mediaRange")) is not None:
            match = _RANGE.fullmatch(text)
            if not match or int(match[2]) < int(match[1]):
                raise ValueError(f"{where}: mediaRange: expected such as '0-4999', got {text[:50]!r}")
            yield float(int(match[2]) - int(match[1]) + 1)


def _segments_s(where: str, levels: list[ET.Element], duration_s: float, ranges: int) -> Iterator[float]:
    """The seconds of each segment: by a timeline, or a duration that all but the last one have."""
    plans = [one for level in levels for name in ("SegmentList", "SegmentTemplate") for one in _children(level, name)]
    scale = next((plan.get("timescale") for plan in plans if plan.get("timescale")), "1")
    per_s = _above_0(where, "timescale", scale)
    timelines = [timeline for plan in plans for timeline in _children(plan, "SegmentTimeline")]
    if timelines:
        yield from _timeline_s(where, timelines[0], per_s, duration_s)
        return
    length = next((plan.get("duration") for plan in plans if plan.get("duration")), None)
    if length is None:
        raise ValueError(f"{where}: expected a SegmentList or SegmentTemplate with a duration or a SegmentTimeline")
    chunk_s = _above_0(where, "duration", length) / per_s
    count = math.ceil(duration_s / chunk_s - 1e-6)
    if count > MAX_CHUNKS:
        raise ValueError(f"{where}: expected at most {MAX_CHUNKS:,} segments, got {count:,}")
    if ranges == count - 1:  # the last one is part of the one before it
        count = ranges
    yield from [chunk_s] * (count - 1)
    yield min(chunk_s, duration_s - chunk_s * (count - 1))


def _timeline_s(where: str, timeline: ET.Element, per_s: float, duration_s: float) -> Iterator[float]:
    count, elapsed_s = 0, 0.0
    for entry in _children(timeline, "S"):
        segment_s = _above_0(where, "S: d", entry.get("d")) / per_s
        text = entry.get("r") or "0"
        if text == "-1":  # up to the end
            rest_s = duration_s - elapsed_s
            segments = max(math.ceil(rest_s / segment_s - 1e-6), 1)
            last_s = rest_s - segment_s * (segments - 1)
        elif text.isascii() and text.isdigit() and len(text) <= MAX_REPEATS_DIGITS:
            segments, last_s = int(text) + 1, segment_s
        else:
            raise ValueError(f"{where}: S: r: expected -1 or a whole number of at least 0, got {text[:50]!r}")
        count, elapsed_s = count + segments, elapsed_s + segments * segment_s
        if count > MAX_CHUNKS:
            raise ValueError(f"{where}: expected at most {MAX_CHUNKS:,} segments, got more")
        yield from [*[segment_s] * (segments - 1), last_s]


def _above_0(where: str, name: str, text: str | None) -> float:
    value = plain_number(text or "")
    if value is None or not 0 < value <= 1e15:
        raise ValueError(f"{where}: {name}: expected a number above 0, got {(text or '')[:50]!r}")
    return value


def _pixels(where: str, name: str, text: str | None) -> int | None:
    return None if text is None else int(_above_0(where, name, text))


def _fps(where: str, text: str | None) -> float | None:
    """Frames per second, such as "30" or "30000/1001"."""
    if text is None:
        return None
    frames, slash, seconds = text.partition("/")
    return _above_0(where, "frameRate", frames) / (_above_0(where, "frameRate", seconds) if slash else 1.0)
