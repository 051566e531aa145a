"""Chunk sizes of Pensieve and MMGC 2022, DASH manifests and HLS playlists, and what is refused."""

import gzip
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ppgym.world.readers.dash import read_dash
from ppgym.world.readers.hls import read_hls
from ppgym.world.readers.pensieve_video import read_video_sizes
from ppgym.world.readers.video_sizes import VideoSizes

PENSIEVE_KBPS = (300, 750, 1200, 1850, 2850, 4300)


def write_sizes(folder: Path, kbps: Sequence[float], chunk_s: float = 4, chunks: int = 5) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    spread = np.linspace(0.8, 1.2, chunks)
    sizes = np.array([np.rint(rate * 125 * chunk_s * spread) for rate in kbps])
    for rung, column in enumerate(sizes):
        (folder / f"video_size_{rung}").write_text("".join(f"{size:.0f}\n" for size in column))
    return sizes


def test_pensieves_video(tmp_path: Path) -> None:
    sizes = write_sizes(tmp_path / "clip", PENSIEVE_KBPS)
    packed = tmp_path / "clip" / "video_size_3"
    (tmp_path / "clip" / "video_size_3.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    video = read_video_sizes(tmp_path / "clip")
    assert video[:4] == ("clip", 4.0, 20.0, (300e3, 750e3, 1200e3, 1850e3, 2850e3, 4300e3))
    np.testing.assert_array_equal(video.chunk_bytes, sizes.T)
    assert video.widths == video.heights == video.fps == (None,) * 6


def test_other_layouts_need_their_labels(tmp_path: Path) -> None:
    write_sizes(tmp_path / "three", (750, 1200, 1850), 1)
    assert read_video_sizes(tmp_path / "three").chunk_s == 1
    write_sizes(tmp_path / "two", (500, 900), 2)
    with pytest.raises(ValueError, match=r"expected 6 files \(Pensieve\) or 3 \(MMGC 2022\), got 2; give bitrates"):
        read_video_sizes(tmp_path / "two")
    assert read_video_sizes(tmp_path / "two", [500e3, 900e3], 2).duration_s == 10
    with pytest.raises(ValueError, match="expected a bitrate for each of 2 files, got 1"):
        read_video_sizes(tmp_path / "two", [500e3], 2)


@pytest.mark.parametrize(
    ("rung", "text", "message"),
    [
        (1, "1_000\n", r"video_size_1, line 1: expected a whole number of bytes.*got '1_000'; write it in"),
        (1, "\u0661\n", r"video_size_1, line 1: expected a whole number of bytes.*write it in"),
        (1, "0\n", r"video_size_1, line 1: expected a whole number of bytes above 0"),
        (1, "5 5\n", "line 1: expected 1 columns"),
        (1, "9" * 16, "of at most 15 digits"),
        (1, "400000\n" * 4, "video_size_1: expected 5 segments of 4 s as in .*video_size_0, got 4 of 4 s"),
        (1, "90000\n" * 5, r"video_size_1: expected more bytes than .*video_size_0 has, 750000, got 450000"),
        (1, "900000\n" * 5, r"video_size_1: expected a mean within a factor of 2 of its label, 750 kbit/s, got 1800"),
    ],
)
def test_bad_sizes_are_refused(rung: int, text: str, message: str, tmp_path: Path) -> None:
    write_sizes(tmp_path / "v", PENSIEVE_KBPS)
    (tmp_path / "v" / f"video_size_{rung}").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_video_sizes(tmp_path / "v")


def test_a_missing_rung_is_named(tmp_path: Path) -> None:
    write_sizes(tmp_path / "v", PENSIEVE_KBPS)
    (tmp_path / "v" / "video_size_2").unlink()
    with pytest.raises(FileNotFoundError, match="expected files video_size_0, video_size_1 and so on, got"):
        read_video_sizes(tmp_path / "v")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_video_sizes(tmp_path / "w")


def mpd(representations: str, *, duration: str = "PT9.0S", before: str = "", extra: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        f'mediaPresentationDuration="{duration}"><Period><AdaptationSet contentType="audio"/>'
        f'<AdaptationSet mimeType="video/mp4" frameRate="30000/1001">{extra}{representations}</AdaptationSet>'
        "</Period></MPD>"
    )


def representation(kbps: int, sizes: Sequence[int], height: int = 480, seconds: float = 4) -> str:
    starts = np.cumsum([100, *sizes])
    urls = "".join(f'<SegmentURL mediaRange="{a}-{b - 1}"/>' for a, b in pairwise(starts))
    return (
        f'<Representation id="{height}p" bandwidth="{kbps * 1000}" width="{height * 16 // 9}" height="{height}">'
        f'<BaseURL>v.mp4</BaseURL><SegmentList timescale="1000" duration="{seconds * 1000:.0f}">'
        f'<Initialization range="0-99"/>{urls}</SegmentList></Representation>'
    )


LOW, HIGH = representation(500, [250_000, 240_000, 60_000]), representation(1000, [500_000, 510_000, 120_000], 720)


def test_a_manifest_with_ranges(tmp_path: Path) -> None:
    path = tmp_path / "clip.mpd"
    path.write_text(mpd(HIGH + LOW))
    video = read_dash(path)
    np.testing.assert_array_equal(video.chunk_bytes, [[250_000, 500_000], [240_000, 510_000], [60_000, 120_000]])
    assert video[:4] == ("clip", 4.0, 9.0, (500e3, 1000e3))
    assert (video.widths, video.heights) == ((853, 1280), (480, 720))
    assert video.fps == (30000 / 1001,) * 2
    assert video.notes == ()


@pytest.mark.parametrize(
    "plan",
    [
        '<SegmentTemplate media="$Number$.m4s" timescale="1000" duration="4000"/>',
        '<SegmentTemplate timescale="1000"><SegmentTimeline><S t="0" d="4000" r="1"/><S d="1000"/>'
        "</SegmentTimeline></SegmentTemplate>",
        '<SegmentTemplate timescale="1000"><SegmentTimeline><S t="0" d="4000"/><S d="4000" r="-1"/>'
        "</SegmentTimeline></SegmentTemplate>",
    ],
)
def test_sizes_that_are_not_stated_are_estimated_if_asked(plan: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mpd"
    path.write_text(mpd('<Representation id="a" bandwidth="800000"/>', extra=plan))
    with pytest.raises(ValueError, match="Representation 'a': its segments' sizes are not stated; ask for an estimate"):
        read_dash(path)
    video = read_dash(path, estimate=True)
    np.testing.assert_allclose(video.chunk_bytes, [[400_000], [400_000], [100_000]])
    assert video.notes == ("sizes are not stated: they are bitrate x seconds",)
    assert video.widths == (None,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mpd(LOW, before='<!DOCTYPE x [<!ENTITY a "b">]>'), "expected a manifest without DOCTYPE and entities"),
        (mpd(LOW, before="<!doctype x>"), "expected a manifest without DOCTYPE"),
        (mpd(LOW)[:-3], "line 2: expected XML"),
        ("<SVG/>", "expected a DASH manifest, an element MPD, got 'SVG'"),
        (mpd(LOW).replace("</Period>", "</Period><Period/>"), "expected one Period, got 2"),
        (mpd(LOW).replace("video/mp4", "audio/mp4"), "expected one AdaptationSet of video, got 0"),
        (mpd(""), "expected 1 to 12 rungs of video, got 0"),
        (mpd(LOW, duration="9 s"), "mediaPresentationDuration: expected such as 'PT1M30.5S', got '9 s'"),
        (mpd(LOW, duration="P"), "mediaPresentationDuration: expected such as"),
        (mpd(LOW, duration="PT99999999S"), "expected at most 32,767 segments"),
        (mpd(LOW + LOW), "expected another bitrate than that of"),
        (mpd(LOW).replace("500000", "x"), "'480p': bandwidth: expected a number above 0, got 'x'"),
        (mpd(LOW).replace('mediaRange="100-', 'mediaRange="x-'), "mediaRange: expected such as '0-4999', got 'x-"),
        (mpd(LOW, duration="PT20S"), "expected a SegmentURL for each of 5 segments, got 3"),
        (
            mpd(LOW + representation(1000, [200_000, 200_000, 60_000])),
            "expected more bytes than .*'480p'.* has, 550000",
        ),
        (
            mpd(representation(500, [850_000, 850_000, 240_000])),
            "within a factor of 2 of its label, 500 kbit/s, got 1724",
        ),
        (mpd('<Representation id="a" bandwidth="8"/>'), "expected a SegmentList or SegmentTemplate"),
        (
            mpd(
                '<Representation id="a" bandwidth="8"/>',
                extra='<SegmentTemplate><SegmentTimeline><S d="1" r="9999999"/></SegmentTimeline></SegmentTemplate>',
            ),
            "expected at most 32,767 segments, got more",
        ),
        (
            mpd(
                '<Representation id="a" bandwidth="8"/>',
                extra='<SegmentTemplate><SegmentTimeline><S d="1"/><S d="4"/>'
                '<S d="1"/></SegmentTimeline></SegmentTemplate>',
            ),
            "expected segments of 2.5 s and a last one that is no longer, got one of 1 s",
        ),
    ],
)
def test_bad_manifests_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mpd"
    path.write_text(text)
    start_s = time.process_time()
    with pytest.raises(ValueError, match=message):
        read_dash(path)
    assert time.process_time() - start_s < 0.5


def hls_media(sizes: Sequence[int], seconds: Sequence[float] = (4, 4, 1)) -> str:
    ranges = [f"#EXT-X-BYTERANGE:{size}@0\n" for size in sizes] or [""] * len(seconds)
    parts = [f"#EXTINF:{length},\n{text}v.ts\n" for length, text in zip(seconds, ranges, strict=False)]
    return "#EXTM3U\n#EXT-X-TARGETDURATION:4\n" + "".join(parts) + "#EXT-X-ENDLIST\n"


MASTER = (
    '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1400000,AVERAGE-BANDWIDTH=1000000,CODECS="avc1,mp4a",RESOLUTION=1280x720,'
    "FRAME-RATE=24.000\nhigh/v.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=854x480\nlow.m3u8\n"
    "#EXT-X-STREAM-INF:BANDWIDTH=64000\nsound.m3u8\n"
)


@pytest.fixture
def hls(tmp_path: Path) -> Callable[..., VideoSizes]:
    def read(master: str = MASTER, estimate: bool = False, **files: str) -> VideoSizes:
        (tmp_path / "high").mkdir(exist_ok=True)
        files = {"low": hls_media([250_000, 240_000, 60_000]), "high": hls_media([500_000, 510_000, 120_000])} | files
        (tmp_path / "low.m3u8").write_text(files["low"])
        (tmp_path / "high" / "v.m3u8").write_text(files["high"])
        (tmp_path / "sound.m3u8").write_text(hls_media([32_000, 32_000, 8_000]))
        (tmp_path / "clip.m3u8").write_text(master)
        return read_hls(tmp_path / "clip.m3u8", estimate)

    return read


def test_a_playlist_with_ranges(hls: Callable[..., VideoSizes]) -> None:
    video = hls()
    np.testing.assert_array_equal(video.chunk_bytes, [[250_000, 500_000], [240_000, 510_000], [60_000, 120_000]])
    assert video[:4] == ("clip", 4.0, 9.0, (500e3, 1000e3))
    assert (video.widths, video.heights, video.fps) == ((854, 1280), (480, 720), (None, 24.0))


def test_segments_may_be_uneven_by_a_tenth(tmp_path: Path) -> None:
    path = tmp_path / "one.m3u8"
    path.write_text(hls_media([250_000, 240_000, 260_000], (4.004, 3.904, 4.1)))
    video = read_hls(path)
    assert video.chunk_s == pytest.approx(3.954)
    assert video.duration_s == pytest.approx(3 * 3.954)
    assert video.duration_s <= 3 * video.chunk_s + 1e-12


def test_a_rung_may_be_listed_with_several_sounds(hls: Callable[..., VideoSizes]) -> None:
    again = '#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=854x480,AUDIO="b"\nlow.m3u8\n'
    assert hls(MASTER + again).bitrates_bps == (500e3, 1000e3)


def test_a_playlist_of_one_rung(tmp_path: Path) -> None:
    path = tmp_path / "one.m3u8"
    path.write_text(hls_media([250_000, 240_000, 60_000]))
    video = read_hls(path)
    assert video.bitrates_bps == (550_000 * 8 / 9,)
    path.write_text(hls_media([]))
    with pytest.raises(ValueError, match="sizes are not stated; give the multivariant playlist"):
        read_hls(path)


def test_a_playlist_without_ranges(hls: Callable[..., VideoSizes]) -> None:
    without = {"low": hls_media([]), "high": hls_media([])}
    with pytest.raises(ValueError, match=r"rung 'low\.m3u8': its segments' sizes are not stated"):
        hls(**without)
    np.testing.assert_allclose(hls(estimate=True, **without).chunk_bytes[-1], [62_500, 125_000])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("low.m3u8", "../low.m3u8"), "expected media playlists in its own folder, got '../low.m3u8'"),
        (("low.m3u8", "/etc/passwd"), "expected media playlists in its own folder"),
        (("low.m3u8", "http://x/low.m3u8"), "expected media playlists in its own folder"),
        (("low.m3u8", "%2e%2e/low.m3u8"), "expected media playlists in its own folder"),
        (("BANDWIDTH=500000", "BANDWIDTH=1_0"), r"rung 'low\.m3u8': BANDWIDTH: expected a number above 0, got '1_0'"),
        (("#EXTM3U\n", "#EXT\n"), "expected an HLS playlist"),
        (("sound.m3u8\n", ""), "expected an address after the last EXT-X-STREAM-INF"),
    ],
)
def test_bad_playlists_are_refused(edit: tuple[str, str], message: str, hls: Callable[..., VideoSizes]) -> None:
    with pytest.raises(ValueError, match=message):
        hls(MASTER.replace(*edit))


@pytest.mark.parametrize(
    ("low", "message"),
    [
        (
            hls_media([1, 2, 3]).replace("#EXT-X-BYTERANGE:2@0\n", ""),
            "expected a byte range for each of 3 segments, got 2",
        ),
        (hls_media([1, 2, 3]).replace(":2@0", ":x"), "EXT-X-BYTERANGE: expected bytes above 0"),
        (hls_media([1, 2, 3]).replace("EXTINF:4", "EXTINF:four"), "EXTINF: expected seconds above 0, got 'four,'"),
        ("#EXTM3U\n", "expected 1 to 32,767 segments, got 0"),
        (hls_media([250_000, 240_000, 60_000, 9], (4, 4, 1, 1)), "expected segments of 3 s"),
    ],
)
def test_bad_media_playlists_are_refused(low: str, message: str, hls: Callable[..., VideoSizes]) -> None:
    with pytest.raises(ValueError, match=message):
        hls(low=low)


def test_a_missing_media_playlist_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.m3u8").write_text(MASTER)
    with pytest.raises(FileNotFoundError, match=r"v\.m3u8: no such file"):
        read_hls(tmp_path / "clip.m3u8")
