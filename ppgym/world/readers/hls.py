"""Videos of HLS playlists (`.m3u8`), with the sizes of their segments where the playlists state byte ranges.

Source of the format: RFC 8216. A multivariant playlist names the media playlist of each rung, which must lie in the
same folder or below it. Sizes are stated by `EXT-X-BYTERANGE`.
"""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ppgym.world.readers.text import plain_number, read_text
from ppgym.world.readers.video_sizes import MAX_CHUNKS, MAX_RUNGS, Rung, VideoSizes, sizes_of_rungs

MAX_NAME_BYTES = 255  # of a file
MAX_PLAYLIST_BYTES = 8 * 2**20
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]+)')
_RANGE = re.compile(r"(\d{1,15})(@\d{1,15})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


def read_hls(path: Path, estimate: bool = False) -> VideoSizes:
    """Read a playlist.

    Args:
        path: Multivariant playlist, or the media playlist of a single rung with stated sizes.
        estimate: Whether bitrate x seconds takes the place of sizes that are not stated.

    Raises:
        FileNotFoundError: No such file, or a media playlist is missing.
        ValueError: Not such a playlist, or sizes are not stated; names file, value and what was expected.
    """
    lines = _lines(path)
    streams = {
        _next_uri(path, lines[number:]): dict(_ATTRIBUTE.findall(line.partition(":")[2]))
        for number, line in enumerate(lines, start=1)
        if line.startswith("#EXT-X-STREAM-INF:")
    }  # a rung may be listed once for each of several sounds
    if len(streams) > MAX_RUNGS:
        raise ValueError(f"{path}: expected at most {MAX_RUNGS} rungs, got {len(streams)}")
    if not streams:
        segments_s, segment_bytes = _media(path)
        if not segment_bytes:
            raise ValueError(
                f"{path}: its segments' sizes are not stated; give the multivariant playlist that names it"
            )
        bitrate_bps = sum(segment_bytes) * 8 / sum(segments_s)
        return sizes_of_rungs(path, path.stem, [Rung(str(path), bitrate_bps, segments_s, segment_bytes)])
    rungs = [_rung(path, attributes, uri) for uri, attributes in streams.items()]
    if any(rung.width for rung in rungs):  # sound alone has no width
        rungs = [rung for rung in rungs if rung.width]
    return sizes_of_rungs(path, path.stem, rungs, estimate)


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path, MAX_PLAYLIST_BYTES).splitlines() if line.strip()]
    if not lines[0].startswith("#EXTM3U"):
        raise ValueError(f"{path}: expected an HLS playlist, with a first line '#EXTM3U', got {lines[0][:50]!r}")
    return lines


def _next_uri(path: Path, lines: list[str]) -> str:
    uri = next((line for line in lines if not line.startswith("#")), None)
    if uri is None:
        raise ValueError(f"{path}: expected an address after the last EXT-X-STREAM-INF")
    return uri


def _rung(path: Path, attributes: dict[str, str], uri: str) -> Rung:
    address = urlsplit(uri)
    place = PurePosixPath(unquote(address.path))
    if address.scheme or address.netloc or place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{path}: expected media playlists in its own folder, got {uri[:80]!r}; copy them there")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in place.parts):
        raise ValueError(f"{path}: expected names of at most {MAX_NAME_BYTES} bytes, got {uri[:80]!r}")
    where = f"{path}, rung {uri[:50]!r}"
    label = attributes.get("AVERAGE-BANDWIDTH") or attributes.get("BANDWIDTH") or ""
    bitrate_bps = plain_number(label)
    if bitrate_bps is None or not 0 < bitrate_bps <= 1e15:
        raise ValueError(f"{where}: BANDWIDTH: expected a number above 0, got {label[:50]!r}")
    size = _SIZE.fullmatch(attributes.get("RESOLUTION", ""))
    fps = plain_number(attributes.get("FRAME-RATE", ""))
    segments_s, segment_bytes = _media(path.parent / place)
    width, height = (int(size[1]), int(size[2])) if size else (None, None)
    return Rung(where, bitrate_bps, segments_s, segment_bytes, width, height, fps)


def _media(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds of a media playlist's segments, and their bytes where all are stated."""
    segments_s: list[float] = []
    sizes: list[float] = []
    for line in _lines(path):
        tag, _, text = line.partition(":")
        if tag == "#EXTINF":
            seconds = plain_number(text.partition(",")[0].strip())
            if seconds is None or not 0 < seconds <= 1e6:
                raise ValueError(f"{path}: EXTINF: expected seconds above 0, got {text[:50]!r}")
            segments_s.append(seconds)
        elif tag == "#EXT-X-BYTERANGE":
            match = _RANGE.fullmatch(text.strip())
            if not match or int(match[1]) == 0:
                raise ValueError(f"{path}: EXT-X-BYTERANGE: expected bytes above 0 such as '5000@0', got {text[:50]!r}")
            sizes.append(float(match[1]))
    if not 1 <= len(segments_s) <= MAX_CHUNKS:
        raise ValueError(f"{path}: expected 1 to {MAX_CHUNKS:,} segments, got {len(segments_s)}")
    if sizes and len(sizes) != len(segments_s):
        raise ValueError(f"{path}: expected a byte range for each of {len(segments_s)} segments, got {len(sizes)}")
    return tuple(segments_s), tuple(sizes)
