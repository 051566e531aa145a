"""Every reader of files that come from outside, each with good files from which bad ones are made."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ppgym.benchmark.records import Journal, read_records
from ppgym.benchmark.seals import Seal
from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.ppv import PpvFile, write_ppv
from ppgym.files import read_json
from ppgym.report.breakeven import read_planes
from ppgym.report.results import read_run
from ppgym.world.devices import DeviceProfile
from ppgym.world.inspection import inspect
from ppgym.world.ladders import Ladder
from ppgym.world.networks import NetworkTrace
from ppgym.world.readers.kuai import read_log
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.sessions import Sessions
from ppgym.world.videos import read_videos
from ppgym.world.viewers import RetentionCurve, ViewerProfile
from tests.codec.fakes import make_chunk

TRACES = Path(__file__).parents[2] / "traces"


class Reader(NamedTuple):
    """A reader, and files that it takes."""

    label: str
    name: str  # of the file
    seeds: tuple[bytes, ...]
    read: Callable[[Path], Any]
    prepare: Callable[[Path], Any] = lambda path: None  # what lies beside the file


def finite(*values: Any) -> None:
    """What is taken is finite."""
    for value in values:
        if not np.isfinite(np.asarray(value, np.float64)).all():
            raise AssertionError("taken, and not finite")


def read_trace(path: Path) -> None:
    trace = NetworkTrace.read(path)
    finite(trace.edges_s, trace.rates_bps, trace.mean_bps)


def read_world(path: Path) -> None:
    scenario = Scenario.parse(str(path))
    try:
        world = make_world(scenario, "test")
    except ValueError as error:  # which names what the scenario names
        raise ValueError(f"{path}: {error}") from None
    finite(world.catalog.chunk_bytes, world.catalog.quality, world.links.bits, world.params.weight_waste)


def read_sizes(path: Path) -> None:
    for video in read_videos(path):
        finite(video.chunk_bytes, video.duration_s)


def read_device(path: Path) -> None:
    profile = DeviceProfile.load(path)
    finite(profile.contention_array(), [row.seconds for row in profile.rows])


def read_ladder(path: Path) -> None:
    ladder = Ladder.load(str(path))
    finite(ladder.top_quality, ladder.b_mbps)


def read_viewer(path: Path) -> None:
    finite(ViewerProfile.load(path).curve(30.0).survival)


def read_curve(path: Path) -> None:
    finite(RetentionCurve.read(path).survival)


def read_journal(path: Path) -> None:
    with Journal(path.parent, "plan") as journal:
        assert all(one == {"actions": [1, 2]} for one in journal.finished.values()), "a damaged line is taken"


def read_seal(path: Path) -> None:
    Seal.parse(path.read_bytes(), str(path))


def read_chunk(path: Path) -> None:
    try:
        chunk = PromptChunk.from_bytes(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    assert chunk.to_bytes() == path.read_bytes()


def read_ppv(path: Path) -> None:
    for chunk in PpvFile(path):
        chunk.to_bytes()


def _text(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode()


def _records() -> bytes:
    record = {
        "scenario": "low/pixels-only/typical",
        "seed": 7,
        "agent": "on_demand",
        "agent_seed": 3,
        "params": {"a": 1},
        "overrides": {"rtt_s": 0.1, "network": "low"},
        "split": "test",
        "actions": [0, 3, 0, 7],
        "totals": {"return": 1.5, "drawn_watch_s": 60.0},
        "versions": {"env": "PromptPream-v0"},
        "wall_time_s": 0.1,
        "decision_us": {"12": 3, "250": 1},
    }
    return b"".join(json.dumps(record | {"seed": seed}).encode() + b"\n" for seed in range(4))


def _results() -> bytes:
    row = {
        "scenario": "low/pixels-only/typical",
        "agent": "on_demand",
        "sessions": 4,
        "qoe": 10.0,
        "qoe_ci95": [9.0, 11.0],
        "ranked": True,
        "stall_ratio": 0.1,
        "waste_ratio": 0.2,
        "terms": {"quality": 1.0},
        "utilisation": {"cpu": 0.1},
    }
    return json.dumps({"rows": [row], "overall": []}).encode()


def _journal(path: Path | None = None) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder, Journal(Path(folder), "plan") as journal:
        for place in range(4):
            journal.keep(place, {"actions": [1, 2]})
        return journal.path.read_bytes()


def _seal() -> bytes:
    content = {
        "suite": "quick",
        "sessions": 2,
        "secret": "0" * 64,
        "beacon": None,
        "code": {"ppgym": "0"},
        "generator": "0",
        "kernel": "0",
        "versions": {"numpy": "2"},
    }
    known = Seal.__dataclass_fields__
    return json.dumps({key: content[key] for key in known}).encode()


def _sessions() -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.npz"
        Sessions.generate(("low/pixels-only/skimmer",), 1, 5).write(path)
        return path.read_bytes()


def _chunk() -> bytes:
    return make_chunk().to_bytes()


def _ppv() -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ppv"
        write_ppv(path, [make_chunk(), make_chunk(rank=3)], b"sound")
        return path.read_bytes()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(3))
    return buffer.getvalue()


SECONDS = _text("# seconds Mbit/s", *(f"{i * 0.5} {1 + i % 3}.25" for i in range(20)))
MILLISECONDS = _text(*(f"{i * 500} {1000 + i}" for i in range(20)))
MAHIMAHI = _text(*(str(i * 7) for i in range(60)))
SIX = _text(*(f"{1289 + i} 1289406{i:03} 59.8 10.7 {90000 + i} 1000" for i in range(12)))
CSV = _text("time,rate_mbps,cell", *(f"{i},{2 + i % 4},a" for i in range(20)))
SABRE = json.dumps([{"duration_ms": 1000, "bandwidth_kbps": 500 + i, "latency_ms": 20} for i in range(9)]).encode()
RETENTION = _text(*(f"{i} {1 - i / 20}" for i in range(12)))
KUAI = _text("user_id,video_id,play_duration,video_duration", *(f"{i},{i % 3},{900 * i},9000" for i in range(90)))
HLS = _text(
    *("#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", "#EXT-X-BYTERANGE:5000@0", "a.mp4"),
    *("#EXTINF:2.0,", "#EXT-X-BYTERANGE:6000@5000", "a.mp4", "#EXT-X-ENDLIST"),
)
MASTER = _text("#EXTM3U", "#EXT-X-STREAM-INF:BANDWIDTH=20000,RESOLUTION=640x360", "media.m3u8")
MPD = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT4S"><Period>'
    b'<AdaptationSet contentType="video"><Representation id="a" bandwidth="20000" width="640" height="360">'
    b'<SegmentList duration="2" timescale="1"><SegmentURL mediaRange="0-4999"/><SegmentURL mediaRange="5000-9999"/>'
    b"</SegmentList></Representation></AdaptationSet></Period></MPD>"
)
CATALOG = json.dumps(
    {
        "schema": "ppgym-catalog/2",
        "provenance": "drawn",
        "chunk_s": 1.0,
        "bitrates_bps": [1e6, 2e6],
        "videos": {"a": [[100, 200, 150], [200, 300, 250]], "b": [[100], [200]]},
        "durations_s": {"a": 2.5},
    }
).encode()
SCENARIO = {
    "network": "low",
    "device": "snapdragon-8-elite",
    "viewer": "typical",
    "rtt_s": 0.1,
    "n_videos": 4,
    "qoe": {"waste": 2.0, "rebuffer": None},
    "patience": [[1, 1.0], [5, 0.5]],
    "contention": [[1.0] * 5] * 4,
    "ladder": {
        "name": "mine",
        "chunk_s": 2.0,
        "representations": [
            {"name": "a", "codec": "av1", "kind": "pixel", "bitrate_bps": 1e6, "quality": 1.0},
            {"name": "b", "codec": "prompt", "kind": "generative", "bitrate_bps": 1e5, "quality": 0.8, "fps": 24},
        ],
    },
}
PLANES = json.dumps(
    {
        "rows": [
            {
                "plane": "speed",
                "x": {"name": "Mbit/s", "value": x},
                "y": {"name": "speed", "value": y},
                "gain": x - y,
                "ci95": [0.0, 1.0],
            }
            for x in (1, 2)
            for y in (1, 2)
        ],
        "devices": [{"name": "a phone", "x": 1.5, "y": 1}],
    }
).encode()


def _media_beside(path: Path) -> None:
    (path.parent / "media.m3u8").write_bytes(HLS)


def _records_beside(path: Path) -> None:
    (path.parent / "records.jsonl").write_bytes(_records())


def _shipped(folder: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((TRACES / folder).glob("*.json")))


YAML = yaml.safe_dump(json.loads(json.dumps(SCENARIO))).encode()  # without aliases
ROWS = (SECONDS, MILLISECONDS, MAHIMAHI, SIX, CSV, SABRE)

READERS = (
    Reader("traces", "trace.txt", ROWS, read_trace),
    Reader("packed traces", "trace.gz", tuple(gzip.compress(one, mtime=0) for one in ROWS), read_trace),
    Reader("inspect", "file", (*ROWS, RETENTION, KUAI, HLS, MPD, CATALOG), lambda path: str(inspect(path))),
    Reader("inspect CSV", "log.csv", (CSV, KUAI), lambda path: str(inspect(path))),
    Reader("inspect npz", "file.npz", (_npz(),), lambda path: str(inspect(path))),
    Reader("retention", "curve", (RETENTION,), read_curve),
    Reader("view logs", "log.csv", (KUAI,), read_log),
    Reader("DASH", "a.mpd", (MPD,), read_sizes),
    Reader("HLS", "a.m3u8", (HLS, MASTER), read_sizes, _media_beside),
    Reader("videos", "videos.json", (CATALOG,), read_sizes),
    Reader("devices", "device.json", _shipped("devices"), read_device),
    Reader("ladders", "ladder.json", _shipped("ladders"), read_ladder),
    Reader("viewers", "viewer.json", _shipped("viewers"), read_viewer),
    Reader("scenarios, YAML", "mine.yml", (YAML,), read_world),
    Reader("scenarios, JSON", "mine.json", (json.dumps(SCENARIO).encode(),), read_world),
    Reader("records", "records.jsonl", (_records(),), lambda path: list(read_records(path.parent))),
    Reader(
        "packed records",
        "records.jsonl.gz",
        (gzip.compress(_records(), mtime=0),),
        lambda path: list(read_records(path.parent)),
    ),
    Reader("results", "results.json", (_results(),), lambda path: read_run(path.parent), _records_beside),
    Reader("JSON", "any.json", (_results(), PLANES), read_json),
    Reader("break-even maps", "map.json", (PLANES,), read_planes),
    Reader("journals", Journal.NAME, (_journal(),), read_journal),
    Reader("seals", "seal.json", (_seal(),), read_seal),
    Reader("sealed sessions", "sessions.npz", (_sessions(),), Sessions.read),
    Reader("chunks", "chunk", (_chunk(),), read_chunk),
    Reader("ppv", "clip.ppv", (_ppv(),), read_ppv),
)
