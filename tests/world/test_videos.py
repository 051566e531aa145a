"""The catalog: the kernel's arrays by hand, cutting, other bitrates, sound, the shipped feeds, broken files."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.core.content import content_s
from ppgym.core.state import CatalogArrays
from ppgym.files import data_root
from ppgym.world.ladders import PIXEL_BPS, Ladder, Representation
from ppgym.world.networks import SPLITS
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.videos import (
    LEAST_CHUNK_S,
    Catalog,
    Video,
    count_chunks,
    cut,
    generate_videos,
    load_videos,
    read_mmgc,
    sizes_at,
)
from ppgym.world.viewers import RetentionCurve

NOMINAL = np.array([[93750.0, 150000.0, 231250.0]])  # bytes of a second at 750, 1200 and 1850 kbit/s
PUBLISHED = Ladder.load("published")


def _curve(*survival: float) -> RetentionCurve:
    return RetentionCurve(np.array([1.0, *survival]))


def _ladder(*bitrates_bps: float, kind: str = "pixel", chunk_s: float = 1.0) -> Ladder:
    rows = [
        Representation(name=f"r{bps:g}", codec="c", kind=kind, bitrate_bps=bps, quality=bps / 1e6)
        for bps in bitrates_bps
    ]
    return Ladder(name="own", chunk_s=chunk_s, representations=tuple(rows))


def test_arrays_by_hand() -> None:
    catalog = Catalog((Video("a", NOMINAL), Video("b", NOMINAL * [[1], [2]])), PUBLISHED)
    assert catalog.durations_s == (1, 2)
    arrays = catalog.arrays([_curve(0.25), _curve(0.5, 0.125)])
    prompts = [17616, 35232, 70464]
    zero = [0] * 6
    np.testing.assert_array_equal(
        arrays.chunk_bytes,
        [
            [[93750, 150000, 231250, *prompts], zero],
            [[93750, 150000, 231250, *prompts], [187500, 300000, 462500, *prompts]],
        ],
    )
    quality = [one.quality for one in PUBLISHED.representations]
    np.testing.assert_array_equal(arrays.quality, [[quality, zero], [quality, quality]])
    np.testing.assert_array_equal(arrays.retention, [[1, 0.25, 0], [1, 0.5, 0.125]])
    np.testing.assert_array_equal(arrays.n_chunks, [1, 2])
    np.testing.assert_array_equal(arrays.duration_s, [1, 2])
    np.testing.assert_array_equal(arrays.memory_bytes_per_s, [11796480] * 6)
    assert [array.dtype for array in arrays] == ["int32", "f8", "f8", "f8", "f8", "f8"]
    assert isinstance(arrays, CatalogArrays)
    assert all(array.flags.writeable for array in arrays)  # the kernel is compiled for such arrays alone
    arrays.chunk_bytes[:] = 0
    assert catalog.arrays([_curve(0.25), _curve(0.5, 0.125)]).chunk_bytes[0, 0, 0] == 93750, "they are nobody else's"


def test_representations_may_stand_in_any_order() -> None:
    low, _, high, prompt, *_ = PUBLISHED.representations
    ladder = Ladder(name="mixed", representations=(high, prompt, low))
    video = Video("a", np.array([[1.0, 2.0]]), bitrates_bps=(750e3, 1850e3))
    np.testing.assert_array_equal(Catalog((video,), ladder).arrays([_curve(0.5)]).chunk_bytes, [[[2, 17616, 1]]])


def test_a_short_last_chunk_by_hand() -> None:
    """5.5 s known in chunks of 1 s, played in chunks of 2 s: 2, 2 and 1.5 s."""
    sizes = np.array([[100.0], [200], [300], [400], [500], [60]])
    video = Video("a", sizes, duration_s=5.5, bitrates_bps=(1e6,))
    rows = (
        Representation(name="p", codec="h264", kind="pixel", bitrate_bps=1e6, quality=1.0),
        Representation(name="g", codec="prompt", kind="generative", bitrate_bps=8000.0, quality=0.5),
    )
    world = Catalog((video,), Ladder(name="two", chunk_s=2.0, representations=rows))
    curve = RetentionCurve(np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), 5.5)
    arrays = world.arrays([curve])
    np.testing.assert_allclose(arrays.chunk_bytes[0], [[300, 2000], [700, 2000], [560, 1500]], rtol=1e-12)
    assert (arrays.n_chunks[0], arrays.duration_s[0]) == (3, 5.5)
    with_sound = world.arrays([curve], audio_bps=800.0)
    np.testing.assert_allclose(with_sound.chunk_bytes[0] - arrays.chunk_bytes[0], [[200] * 2, [200] * 2, [150] * 2])


videos = st.builds(
    lambda sizes, chunk_s, share: Video(
        "v", np.array(sizes), chunk_s, (len(sizes) - 1 + share) * chunk_s, bitrates_bps=(1e6, 2e6)
    ),
    st.lists(st.tuples(st.floats(1, 1e9), st.floats(1, 1e9)), min_size=1, max_size=40),
    st.sampled_from([0.5, 1.0, 2.0, 4.0, 9.99]),
    st.sampled_from([0.1, 0.25, 0.5, 1.0]),
)


@given(videos, st.floats(0.5, 10))
def test_cutting_keeps_bytes_and_seconds(video: Video, chunk_s: float) -> None:
    chunks = cut(video, chunk_s)
    np.testing.assert_allclose(chunks.sum(axis=0), video.chunk_bytes.sum(axis=0), rtol=1e-9)
    assert (chunks > 0).all()
    count = count_chunks(video.duration_s, chunk_s)
    assert len(chunks) == count
    last_s = video.duration_s - (count - 1) * chunk_s
    assert 0 < last_s <= chunk_s + LEAST_CHUNK_S
    np.testing.assert_array_equal(cut(video, video.chunk_s), video.chunk_bytes)


def test_the_content_of_the_chunks_adds_up_to_the_duration() -> None:
    """In the world as the kernel sees it, shipped videos in chunks of 2 s."""
    ladder = {**PUBLISHED.to_json(), "chunk_s": 2.0}
    usual, world = (make_world(Scenario.parse(ladder=one, audio_bps=0.0), "test") for one in ("published", ladder))
    assert world.params.chunk_s == 2.0
    for k, duration_s in enumerate(world.catalog.duration_s):
        parts = [content_s(world.params, world.catalog, k, c) for c in range(world.catalog.n_chunks[k])]
        assert sum(parts) == duration_s
        assert parts[-1] == (2.0 if duration_s % 2 == 0 else 1.0)
    np.testing.assert_array_equal(usual.catalog.duration_s, world.catalog.duration_s)
    totals = [one.catalog.chunk_bytes.sum(axis=1) for one in (usual, world)]
    np.testing.assert_allclose(*totals, rtol=1e-12)


def test_sizes_are_exact_at_the_labels_and_rise_between() -> None:
    known = np.array([[100.0, 180.0, 300.0], [50.0, 51.0, 400.0]])
    for place, bps in enumerate(PIXEL_BPS):
        np.testing.assert_array_equal(sizes_at(known, PIXEL_BPS, bps), known[:, place])
    rates_bps = np.sort(np.append(np.geomspace(1e4, 1e8, 400), PIXEL_BPS))
    sizes = np.array([sizes_at(known, PIXEL_BPS, bps) for bps in rates_bps])
    assert (np.diff(sizes, axis=0) > 0).all()
    np.testing.assert_allclose(sizes_at(known, PIXEL_BPS, 375e3), known[:, 0] / 2)
    np.testing.assert_allclose(sizes_at(known, PIXEL_BPS, 3700e3), known[:, 2] * 2)
    middle_bps = np.sqrt(750e3 * 1200e3)
    np.testing.assert_allclose(sizes_at(known, PIXEL_BPS, middle_bps), np.sqrt(known[:, 0] * known[:, 1]))


def test_sound_comes_with_every_representation() -> None:
    silent, loud, usual = (
        make_world(Scenario.parse(**one), "test").catalog for one in ({"audio_bps": 0.0}, {"audio_bps": 8e4}, {})
    )
    held = silent.chunk_bytes > 0
    np.testing.assert_allclose((loud.chunk_bytes - silent.chunk_bytes)[held], 1e4)
    np.testing.assert_allclose((usual.chunk_bytes - silent.chunk_bytes)[held], 8e3)
    assert (loud.chunk_bytes[~held] == 0).all()
    np.testing.assert_array_equal(loud.quality, silent.quality)


@pytest.mark.parametrize("chunk_bytes", [[[]], [1.0, 2.0], [[0.0]], [[-1.0]], [[np.nan]]])
def test_a_video_refuses_sizes_that_are_none(chunk_bytes: list[object]) -> None:
    with pytest.raises(ValueError, match="video 'a': expected"):
        Video("a", np.array(chunk_bytes))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration_s": 0.0}, "expected a duration of 1 chunks of 1 s, the last perhaps short, got 0 s"),
        ({"duration_s": 1.5}, "expected a duration"),
        ({"chunk_s": 2.0, "duration_s": 2.5}, "expected a duration of 1 chunks of 2 s"),
        ({"bitrates_bps": (1e6, 2e6)}, r"expected sizes of shape \[C, 2\], got \(1, 3\)"),
        ({"bitrates_bps": (2e6, 1e6, 3e6)}, "expected bitrates above 0 that rise"),
        ({"bitrates_bps": (0.0, 1e6, 3e6)}, "expected bitrates above 0 that rise"),
    ],
)
def test_a_video_refuses_what_does_not_fit_its_sizes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"video 'a': {message}"):
        Video("a", NOMINAL, **fields)


def test_a_catalog_refuses_what_does_not_fit() -> None:
    video = Video("a", NOMINAL)
    with pytest.raises(ValueError, match="at least one video"):
        Catalog((), PUBLISHED)
    with pytest.raises(ValueError, match="for each of 1 videos, got 2"):
        Catalog((video,), PUBLISHED).arrays([_curve(0.5), _curve(0.5)])
    with pytest.raises(ValueError, match="video 'a': expected a retention curve of 1 s, got 2 s"):
        Catalog((video,), PUBLISHED).arrays([_curve(0.5, 0.5)])
    long = Video("long", np.ones((2, 3)), 10_000.0)
    with pytest.raises(ValueError, match="expected at most 32767 chunks, got 40000"):
        Catalog((long,), _ladder(1e6, chunk_s=0.5))


def test_shipped_videos_are_disjoint_and_match_the_facts() -> None:
    splits = [load_videos(split) for split in SPLITS]
    assert [len(videos) for videos in splits] == [200, 60, 100]
    names = [video.name for videos in splits for video in videos]
    sizes = {video.chunk_bytes.tobytes() for videos in splits for video in videos}
    assert len(set(names)) == len(sizes) == 360
    for videos in splits:
        durations_s = [video.duration_s for video in videos]
        np.testing.assert_allclose(np.percentile(durations_s, [10, 50, 90]), [7.6, 14.9, 23.8], atol=1.5)
        rates_bps = np.array([video.chunk_bytes.mean(axis=0) * 8 for video in videos])
        np.testing.assert_allclose(rates_bps.mean(axis=0), [750e3, 1200e3, 1850e3], rtol=0.05)


@pytest.mark.parametrize("split", SPLITS)
def test_shipped_videos_are_the_generated_ones(split: str) -> None:
    for shipped, generated in zip(load_videos(split), generate_videos(split), strict=True):
        assert (shipped.name, shipped.duration_s) == (generated.name, generated.duration_s)
        np.testing.assert_array_equal(shipped.chunk_bytes, generated.chunk_bytes)


def test_loading_is_cached() -> None:
    assert load_videos("test") is load_videos("test")


def test_videos_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes((data_root() / "videos" / "validation.json").read_bytes())
    assert [v.name for v in load_videos(path)] == [v.name for v in load_videos("validation")]
    assert make_world(Scenario.parse(videos=path), "train").n_videos == 20
    with pytest.raises(FileNotFoundError, match="no video and no file 'trian'; did you mean 'train'"):
        load_videos("trian")


def test_a_file_may_hold_short_last_chunks(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(CONTENT | {"chunk_s": 4.0, "durations_s": {"b": 6.5}}))
    one, two = load_videos(path)
    assert (one.duration_s, two.duration_s) == (4.0, 6.5)
    np.testing.assert_array_equal(two.chunk_bytes, [[10, 30], [20, 40]])


CONTENT = {
    "schema": "ppgym-catalog/2",
    "provenance": "made up",
    "chunk_s": 1.0,
    "bitrates_bps": [1e6, 2e6],
    "videos": {"a": [[1], [2]], "b": [[10, 20], [30, 40]]},
}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": "ppgym-catalog/1"}, "schema: expected 'ppgym-catalog/2', got 'ppgym-catalog/1'"),
        ({"chunk_s": 0.4}, r"chunk_s: expected greater than or equal to 0\.5, got 0\.4"),
        ({"chunk_s": 10.5}, r"chunk_s: expected less than or equal to 10, got 10\.5"),
        ({"bitrates_bps": []}, "bitrates_bps: expected at least 1 item"),
        ({"bitrates_bps": [1e6, 0]}, r"bitrates_bps\[1\]: expected greater than 0 .*, got 0"),
        ({"bitrates_bps": [2e6, 1e6]}, "video 'a': expected bitrates above 0 that rise"),
        ({"videos": {}}, "videos: expected at least 1 item"),
        ({"videos": {"a": [[1]]}}, r"videos\.a: expected 2 lists, one for each bitrate, got 1"),
        ({"videos": {"a": [[1, 2], [2]]}}, r"videos\.a: expected as many chunks in every list, got 2, 1"),
        ({"videos": {"a": [[], []]}}, r"videos\.a\[0\]: expected at least 1 item"),
        ({"videos": {"a": [[1], [0]]}}, r"videos\.a\[1\]\[0\]: expected greater than 0 .*, got 0"),
        ({"videos": {"a": [[1], ["3"]]}}, r"videos\.a\[1\]\[0\]: .*got '3'"),
        ({"durations_s": {"c": 1}}, r"durations_s\.c: expected a video; .*known: a, b"),
        ({"durations_s": {"b": 1.0}}, "video 'b': expected a duration of 2 chunks of 1 s"),
        ({"durations_s": {"b": 2.5}}, "video 'b': expected a duration of 2 chunks of 1 s"),
        ({"durations_s": {"b": -1}}, r"durations_s\.b: expected greater than 0 .*, got -1"),
        ({"provenance": ""}, "provenance: expected a text"),
        ({"extra": 1}, "extra: unknown key"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_video(tmp_path: Path, edit: dict[str, object], message: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(CONTENT | edit))
    with pytest.raises(ValueError, match=message) as error:
        load_videos(path)
    assert str(path) in str(error.value)


@pytest.fixture
def mmgc(tmp_path: Path) -> Path:
    """Two made-up videos in the challenge's layout."""
    for name, chunks in (("1_a", 2), ("2_b", 3)):
        folder = tmp_path / "sizes" / name
        folder.mkdir(parents=True)
        for rung in range(3):
            (folder / f"video_size_{rung}").write_text("".join(f"{100 * (rung + 1) + c}\n" for c in range(chunks)))
        (tmp_path / "curves").mkdir(exist_ok=True)
        rows = [f"{c}\t{1 - c / 10}" for c in range(chunks + 1)]
        (tmp_path / "curves" / name).write_text("\n".join([*rows, f"{chunks + 1}  0"]))
    return tmp_path


def test_the_mmgc_layout_by_hand(mmgc: Path) -> None:
    videos, curves = read_mmgc(mmgc / "sizes", mmgc / "curves")
    assert [video.name for video in videos] == ["1_a", "2_b"]
    np.testing.assert_array_equal(videos[0].chunk_bytes, [[100, 200, 300], [101, 201, 301]])
    np.testing.assert_allclose(curves[1].survival, [1, 0.9, 0.8, 0.7])
    assert Catalog(videos, PUBLISHED).arrays(curves).chunk_bytes.shape == (2, 3, 6)
    assert read_mmgc(mmgc / "sizes")[1] == ()


@pytest.mark.parametrize(
    ("file", "text", "error", "message"),
    [
        ("sizes/1_a/video_size_1", None, FileNotFoundError, "video_size_1: no such file"),
        ("sizes/1_a/video_size_1", "200\n", ValueError, "video_size_1: expected 2 chunks as in video_size_0, got 1"),
        ("sizes/2_b/video_size_0", "1\n\n-2\n3\n", ValueError, "line 3: expected a whole number of bytes.*got '-2'"),
        ("sizes/2_b/video_size_0", "1\n2.5\n3\n", ValueError, r"line 2: expected a whole number.*got '2\.5'"),
        (
            "sizes/2_b/video_size_0",
            "1\n0\n3\n",
            ValueError,
            "line 2: expected a whole number of bytes above 0, got '0'",
        ),
        ("sizes/2_b/video_size_0", "", ValueError, "video_size_0: the file is empty"),
        ("curves/2_b", None, FileNotFoundError, "2_b: no such file"),
        ("curves/2_b", "0 1\n1 0.5\n2 0.4\n", ValueError, "2_b: expected a curve of 3 s, .*got 2 s"),
        ("curves/2_b", "0 1\n1 0.5\n2 0.6\n", ValueError, "2_b, line 3: expected at most"),
    ],
)
def test_a_broken_mmgc_folder_is_refused_by_file(
    mmgc: Path, file: str, text: str | None, error: type[Exception], message: str
) -> None:
    (mmgc / file).unlink()
    if text is not None:
        (mmgc / file).write_text(text)
    with pytest.raises(error, match=message):
        read_mmgc(mmgc / "sizes", mmgc / "curves")


def test_a_missing_or_empty_mmgc_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        read_mmgc(tmp_path / "gone")
    with pytest.raises(ValueError, match="expected a folder for each video"):
        read_mmgc(tmp_path)


@pytest.mark.skipif("PPGYM_MMGC2022" not in os.environ, reason="PPGYM_MMGC2022 names no folder of MMGC 2022 data")
def test_mmgc_sizes_and_curves_are_read() -> None:
    root = Path(os.environ["PPGYM_MMGC2022"])
    videos, curves = read_mmgc(root / "short_video_size", root / "user_ret")
    assert [video.duration_s for video in videos] == [17, 26, 37, 40, 47, 6, 125]
    arrays = Catalog(videos, PUBLISHED).arrays(curves)
    assert arrays.retention.shape == (7, 126)
    np.testing.assert_allclose(arrays.chunk_bytes[:, :, 0].sum(axis=1) * 8 / arrays.n_chunks, 800e3, rtol=0.15)
