"""A feed of real pixel chunks that needs no generator, in a second: for tests of the wire, the books and the faults."""

import functools
import hashlib
import json
from pathlib import Path

from ppgym.codec.clips import draw_frames
from ppgym.codec.pixel import encode_chunks
from ppgym.files import write_bytes, write_json
from ppgym.live.feed import CATALOG, DEVICE, LADDER, MANIFEST, SCENARIO, ChunkFile, FeedVideo, Manifest
from ppgym.world.devices import NO_CONTENTION, DecodeRow, DeviceProfile
from ppgym.world.ladders import Ladder, Representation

RATES_BPS = (24e3, 96e3)
SECONDS = (3, 2, 3)  # of the videos


@functools.cache
def encoded(family: str, seconds: int, bps: float) -> tuple[bytes, ...]:
    """Chunks of a drawn clip of 64 x 64 pixels."""
    frames = draw_frames(family, 7, range(30 * seconds), split="heldout", size_px=64)
    return tuple(encode_chunks(frames, "h264", bps, 30.0))


def write_feed(folder: Path) -> Manifest:
    """Write a feed of three videos in two representations, with a device that decodes them."""
    videos = []
    for number, seconds in enumerate(SECONDS):
        rungs = [encoded(("pans", "shapes", "textures")[number], seconds, bps) for bps in RATES_BPS]
        chunks = []
        for second in range(seconds):
            files = []
            for r, rung in enumerate(rungs):
                path = f"v{number}/{second}-r{r}.h264"
                write_bytes(folder / path, rung[second])
                digest = hashlib.sha256(rung[second]).hexdigest()
                files.append(ChunkFile(path=path, size_bytes=len(rung[second]), sha256=digest, quality=1.0 + r))
            chunks.append(tuple(files))
        videos.append(FeedVideo(name=f"v{number}", duration_s=float(seconds), chunks=tuple(chunks)))
    size = {"width": 64, "height": 64, "fps": 30.0}
    ladder = Ladder(
        name="test",
        representations=tuple(
            Representation(name=f"h264-{r}", codec="h264", kind="pixel", bitrate_bps=bps, quality=1.0 + r, **size)
            for r, bps in enumerate(RATES_BPS)
        ),
    )
    manifest = Manifest(name="test", provenance="drawn", ladder=ladder, videos=tuple(videos))
    ladder.write(folder / LADDER)
    columns = {
        video.name: [[float(chunk[r].size_bytes) for chunk in video.chunks] for r in range(len(RATES_BPS))]
        for video in videos
    }
    catalog = {"schema": "ppgym-catalog/2", "provenance": "drawn", "chunk_s": 1.0, "bitrates_bps": list(RATES_BPS)}
    write_json(folder / CATALOG, catalog | {"videos": columns})
    fields = {"ladder": LADDER, "videos": CATALOG, "audio_bps": 0, "bandwidth_scale": 0.2, "rtt_s": 0.02}
    write_bytes(folder / SCENARIO, json.dumps(fields).encode())
    rows = tuple(
        DecodeRow(codec="h264", unit=unit, seconds=0.02, provenance="assumption", source="a test", formula="-", **size)
        for unit in ("cpu", "vdec")
    )
    profile = {"name": "test", "description": "a test", "provenance": "a test", "rows": rows, "jitter_sigma": 0.0}
    jitter = {"jitter_provenance": "assumption", "jitter_source": "a test"}
    DeviceProfile(**profile, **jitter, **NO_CONTENTION).write(folder / DEVICE)  # type: ignore[arg-type]
    write_json(folder / MANIFEST, manifest.to_json())
    return manifest
