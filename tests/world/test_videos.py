"""The catalog: the ladder's arithmetic, the kernel's arrays, the generated feeds, every way a file can be broken."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ppgym.core.state import CatalogArrays
from ppgym.files import data_root
from ppgym.world.ladders import Representation, default_ladder
from ppgym.world.networks import SPLITS
from ppgym.world.videos import Catalog, Video, generate_videos, load_catalog
from ppgym.world.viewers import RetentionCurve

NOMINAL = np.array([[93750.0, 150000.0, 231250.0]])  # bytes of a second at 750, 1200 and 1850 kbit/s


def _curve(*survival: float) -> RetentionCurve:
    return RetentionCurve(np.array([1.0, *survival]))


def test_the_default_ladder_by_hand() -> None:
    ladder = default_ladder()
    names = ["h264-750k", "h264-1200k", "h264-1850k", "prompt-r4", "prompt-r8", "prompt-r16"]
    assert [r.name for r in ladder] == names
    assert [r.is_prompt for r in ladder] == [False] * 3 + [True] * 3
    # chained kbit/s, Promptus: 8.808 r fps / interval = 105.7, 211.4, 422.8; x 4 x 1.5
    np.testing.assert_allclose([r.quality for r in ladder], [0.75, 1.2, 1.85, 0.634, 1.268, 1.85], atol=5e-4)
    # a chunk that decodes alone: 4 keyframes x 1101 r
    assert [r.bitrate_bps / 8 for r in ladder[3:]] == [4 * 1101 * 4, 4 * 1101 * 8, 4 * 1101 * 16]
    assert all(r.memory_bytes == 512 * 512 * 1.5 * 30 for r in ladder)


@pytest.mark.parametrize("scale", [0.0, 0.5, 0.99, 1.2])
def test_the_scale_multiplies_every_prompt_and_no_pixels(scale: float) -> None:
    scaled, plain = default_ladder(scale), default_ladder()
    assert [r.quality for r in scaled[:3]] == [r.quality for r in plain[:3]]
    np.testing.assert_allclose([r.quality for r in scaled[3:]], [scale * r.quality for r in plain[3:]])


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_a_scale_must_be_a_number(scale: float) -> None:
    with pytest.raises(ValueError, match="prompt_quality_scale"):
        default_ladder(scale)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codec": "h265"}, "codec: unknown 'h265'; did you mean 'h264'"),
        ({"bitrate_bps": 0}, "bitrate_bps: expected greater than 0, got 0"),
        ({"quality": float("nan")}, "quality: expected a finite number, got nan"),
        ({"fps": -1}, "fps: expected greater than 0, got -1"),
        ({"rank": 4}, "expected a rank above 0 for prompts, 0 for pixels, got 4"),
        ({"rank": -1}, "rank: expected greater than or equal to 0, got -1"),
        ({"codec": "prompt"}, "expected a rank above 0 for prompts, 0 for pixels, got 0"),
    ],
)
def test_a_representation_refuses_nonsense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Representation(**({"codec": "h264", "bitrate_bps": 1e6, "quality": 1.0} | fields))  # type: ignore[arg-type]


def test_arrays_by_hand() -> None:
    catalog = Catalog((Video("a", NOMINAL), Video("b", NOMINAL * [[1], [2]])), default_ladder())
    assert catalog.n_chunks == (1, 2)
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
    quality = [r.quality for r in default_ladder()]
    np.testing.assert_array_equal(arrays.quality, [[quality, zero], [quality, quality]])
    np.testing.assert_array_equal(arrays.retention, [[1, 0.25, 0], [1, 0.5, 0.125]])
    np.testing.assert_array_equal(arrays.n_chunks, [1, 2])
    np.testing.assert_array_equal(arrays.memory_bytes, [11796480] * 6)
    assert [array.dtype for array in arrays] == ["int32", "f8", "f8", "f8", "f8"]
    assert isinstance(arrays, CatalogArrays)
    assert all(array.flags.writeable for array in arrays)  # the kernel is compiled for such arrays alone
    arrays.chunk_bytes[:] = 0
    assert catalog.arrays([_curve(0.25), _curve(0.5, 0.125)]).chunk_bytes[0, 0, 0] == 93750, "they are nobody else's"


def test_prompts_may_stand_anywhere_in_the_ladder() -> None:
    low, _, high, prompt, *_ = default_ladder()
    catalog = Catalog((Video("a", np.array([[1.0, 2.0]])),), (low, prompt, high))
    np.testing.assert_array_equal(catalog.arrays([_curve(0.5)]).chunk_bytes, [[[1, 17616, 2]]])


@pytest.mark.parametrize("chunk_bytes", [[[]], [1.0, 2.0], [[0.0]], [[-1.0]], [[np.nan]]])
def test_a_video_refuses_sizes_that_are_none(chunk_bytes: list[object]) -> None:
    with pytest.raises(ValueError, match="video 'a': expected"):
        Video("a", np.array(chunk_bytes))


def test_a_catalog_refuses_what_does_not_fit() -> None:
    ladder, video = default_ladder(), Video("a", NOMINAL)
    with pytest.raises(ValueError, match="at least one video"):
        Catalog((), ladder)
    with pytest.raises(ValueError, match="video 'a': expected sizes in 2 pixel representations, got 3"):
        Catalog((video,), ladder[:2])
    with pytest.raises(ValueError, match="different names"):
        Catalog((video,), (*ladder, ladder[3]))
    with pytest.raises(ValueError, match="for each of 1 videos, got 2"):
        Catalog((video,), ladder).arrays([_curve(0.5), _curve(0.5)])
    with pytest.raises(ValueError, match="video 'a': expected a retention curve of 1 s, one a chunk, got 2 s"):
        Catalog((video,), ladder).arrays([_curve(0.5, 0.5)])


def test_shipped_catalogs_are_disjoint_and_match_the_facts() -> None:
    catalogs = [load_catalog(split) for split in SPLITS]
    assert [len(catalog.videos) for catalog in catalogs] == [200, 60, 100]
    names = [video.name for catalog in catalogs for video in catalog.videos]
    sizes = {video.chunk_bytes.tobytes() for catalog in catalogs for video in catalog.videos}
    assert len(set(names)) == len(sizes) == 360
    for catalog in catalogs:
        np.testing.assert_allclose(np.percentile(catalog.n_chunks, [10, 50, 90]), [7.6, 14.9, 23.8], atol=1.5)
        rates_bps = np.array([video.chunk_bytes.mean(axis=0) * 8 for video in catalog.videos])
        np.testing.assert_allclose(rates_bps.mean(axis=0), [750e3, 1200e3, 1850e3], rtol=0.05)


@pytest.mark.parametrize("split", SPLITS)
def test_a_shipped_catalog_is_the_generated_one(split: str) -> None:
    for shipped, generated in zip(load_catalog(split).videos, generate_videos(split), strict=True):
        assert shipped.name == generated.name
        np.testing.assert_array_equal(shipped.chunk_bytes, generated.chunk_bytes)


def test_loading_takes_the_scale_and_is_cached() -> None:
    assert load_catalog("test") is load_catalog("test")
    assert load_catalog("test", 0.5).representations == default_ladder(0.5)


def test_a_catalog_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes((data_root() / "videos" / "validation.json").read_bytes())
    assert load_catalog(path).n_chunks == load_catalog("validation").n_chunks
    with pytest.raises(FileNotFoundError, match="no video and no file 'trian'; did you mean 'train'"):
        load_catalog("trian")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": "other"}, "schema: expected 'ppgym-catalog/1', got 'other'"),
        ({"representations": ["h264-750k"]}, r"2 problems\n  representations\[1\]: is missing"),
        ({"representations": ["h264-1200k"] * 3}, r"representations\[0\]: unknown 'h264-1200k'; .*known: h264-750k"),
        ({"videos": {}}, "videos: expected at least 1 item"),
        ({"videos": {"a": [[1], [2]]}}, r"videos\.a\[2\]: is missing"),
        ({"videos": {"a": [[1, 2], [2, 3], [3]]}}, r"videos\.a: expected as many chunks in every list, got 2, 2, 1"),
        ({"videos": {"a": [[], [], []]}}, r"videos\.a\[0\]: expected at least 1 item"),
        ({"videos": {"a": [[1], [2], [0]]}}, r"videos\.a\[2\]\[0\]: expected greater than 0, got 0"),
        ({"videos": {"a": [[1], [2], ["3"]]}}, r"videos\.a\[2\]\[0\]: .*got '3'"),
        ({"provenance": ""}, "provenance: expected a text"),
        ({"extra": 1}, "extra: unknown key"),
    ],
)
def test_a_broken_catalog_is_refused_by_file_and_video(tmp_path: Path, edit: dict[str, object], message: str) -> None:
    content = {
        "schema": "ppgym-catalog/1",
        "provenance": "made up",
        "representations": ["h264-750k", "h264-1200k", "h264-1850k"],
        "videos": {"a": [[1], [2], [3]]},
    }
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(content | edit))
    with pytest.raises(ValueError, match=message) as error:
        load_catalog(path)
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
    catalog, curves = Catalog.read_mmgc(mmgc / "sizes", mmgc / "curves", prompt_quality_scale=0.5)
    assert [video.name for video in catalog.videos] == ["1_a", "2_b"]
    np.testing.assert_array_equal(catalog.videos[0].chunk_bytes, [[100, 200, 300], [101, 201, 301]])
    assert catalog.representations == default_ladder(0.5)
    np.testing.assert_allclose(curves[1].survival, [1, 0.9, 0.8, 0.7])
    assert catalog.arrays(curves).chunk_bytes.shape == (2, 3, 6)
    assert Catalog.read_mmgc(mmgc / "sizes")[1] == ()


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
        Catalog.read_mmgc(mmgc / "sizes", mmgc / "curves")


def test_a_missing_or_empty_mmgc_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        Catalog.read_mmgc(tmp_path / "gone")
    with pytest.raises(ValueError, match="expected a folder for each video"):
        Catalog.read_mmgc(tmp_path)


@pytest.mark.skipif("PPGYM_MMGC2022" not in os.environ, reason="PPGYM_MMGC2022 names no folder of MMGC 2022 data")
def test_mmgc_sizes_and_curves_are_read() -> None:
    root = Path(os.environ["PPGYM_MMGC2022"])
    catalog, curves = Catalog.read_mmgc(root / "short_video_size", root / "user_ret")
    assert catalog.n_chunks == (17, 26, 37, 40, 47, 6, 125)
    arrays = catalog.arrays(curves)
    assert arrays.retention.shape == (7, 126)
    np.testing.assert_allclose(arrays.chunk_bytes[:, :, 0].sum(axis=1) * 8 / arrays.n_chunks, 800e3, rtol=0.15)
