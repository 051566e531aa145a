"""Measured ladders: curves by hand, the table of a generator that needs no model, and the catalog that takes it."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import ppgym  # noqa: F401  (registers the environment)
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.videos import Catalog, load_videos, sizes_at
from ppgym.world.viewers import ViewerProfile
from tests.codec.fakes import IDENTITY, FakeGenerator, fake_inversion, moving_clip

pytest.importorskip("av")

from PIL import Image

from ppgym.codec import prompt, rate_curve
from ppgym.codec.encoding import describe_job
from ppgym.codec.ladder import AUDIO_BPS, Measurement, measure_ladder, rate_scale, scenario_for
from ppgym.codec.metrics import psnr_db
from ppgym.codec.parts import Parts
from ppgym.codec.pixel import split_seconds
from ppgym.codec.rate_curve import CLAMPED_HIGH, CLAMPED_LOW, MEASURED, RateCurve, RatePoint, Reading
from ppgym.codec.search import Search
from ppgym.codec.shapes import FULL, SHAPES, Shape, decode_shaped, encode_shaped, encode_within, possible_shapes
from ppgym.codec.video import Clip, Size

CURVE = RateCurve(
    "h264",
    (
        RatePoint(50, Shape(2, 1), 1e3, {"psnr": 20, "ssim": 0.5}),
        RatePoint(40, FULL, 1e4, {"psnr": 30, "ssim": 0.7}),
        RatePoint(30, FULL, 1e5, {"psnr": 29, "ssim": 0.6}),
        RatePoint(20, FULL, 1e6, {"psnr": 40, "ssim": 0.9}),
    ),
)


@pytest.mark.parametrize(
    ("bitrate_bps", "ssim", "flag"),
    [
        (1e3, 0.5, MEASURED),
        (10**3.5, 0.6, MEASURED),  # half way in the logarithm
        (1e5, 0.7, MEASURED),  # worse than a lower rate, which one would take instead
        (10**5.5, 0.8, MEASURED),
        (999, 0.5, CLAMPED_LOW),
        (2e6, 0.9, CLAMPED_HIGH),
    ],
)
def test_quality_at_a_rate_by_hand(bitrate_bps: float, ssim: float, flag: str) -> None:
    assert CURVE.quality_at(bitrate_bps, "ssim") == (pytest.approx(ssim), flag)


@pytest.mark.parametrize(
    ("ssim", "bitrate_bps", "flag"),
    [
        (0.5, 1e3, MEASURED),
        (0.6, 10**3.5, MEASURED),
        (0.7, 1e4, MEASURED),  # the least of the rates that reach it
        (0.8, 10**5.5, MEASURED),
        (0.4, 1e3, CLAMPED_LOW),
        (0.95, 1e6, CLAMPED_HIGH),
    ],
)
def test_the_equivalent_rate_by_hand(ssim: float, bitrate_bps: float, flag: str) -> None:
    assert CURVE.bitrate_for(ssim, "ssim") == (pytest.approx(bitrate_bps), flag)


def test_other_measures_have_their_own_curve() -> None:
    assert CURVE.quality_at(10**3.5, "psnr") == Reading(pytest.approx(25), MEASURED)
    assert CURVE.bitrate_for(35, "psnr").value == pytest.approx(10**5.5)


def test_a_curve_of_one_shape_and_its_json() -> None:
    assert [point.crf for point in CURVE.in_shape(FULL).points] == [40, 30, 20]
    assert RateCurve.from_json("h264", json.loads(json.dumps(CURVE.to_json()))) == CURVE


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_measured_curve_rises(codec: str) -> None:
    names = ("psnr", "ssim")
    curve = RateCurve.measure(moving_clip(4), codec, 8.0, names, crfs=(20, 35, 50), shapes=(FULL,))
    assert [point.crf for point in curve.points] == [50, 35, 20]
    assert [point.bitrate_bps for point in curve.points] == sorted(point.bitrate_bps for point in curve.points)
    for name in names:
        values = [point.scores[name] for point in curve.points]
        assert values == sorted(values)


def test_shapes_by_hand() -> None:
    assert Shape(1.5, 2).size_px(128, 130) == (86, 86)
    # sides of 64 at least for HEVC and AV1, 32 for H.264
    assert possible_shapes("hevc", 128, 128) == tuple(Shape(d, h) for d in (1, 1.5, 2) for h in (1, 2))
    assert possible_shapes("h264", 128, 128) == SHAPES
    assert possible_shapes("av1", 64, 64) == (FULL, Shape(1, 2))


def test_a_smaller_shape_comes_back_at_full_size_and_rate() -> None:
    frames = moving_clip(5, 64, 96)
    decoded = decode_shaped(encode_shaped(frames, "h264", 10, 8.0, Shape(2, 2)), frames, 2)
    assert decoded.shape == frames.shape
    np.testing.assert_array_equal(decoded[0], decoded[1])  # a picture is shown twice
    assert psnr_db(decoded[::2], frames[::2]) > 30


def test_the_best_shape_within_some_bytes_is_taken() -> None:
    """A still picture takes half the frames for nothing; a frame rate that halves a moving one costs quality."""
    still = np.repeat(moving_clip(1), 8, axis=0)
    fitted = encode_within(still, "h264", 700, 8.0, "psnr", (FULL, Shape(1, 2)))
    assert fitted.fits and len(fitted.data) <= 700
    moving = moving_clip(8)
    fine = encode_within(moving, "h264", 50_000, 8.0, "psnr")
    assert fine.shape == FULL
    scores = {
        shape: psnr_db(encode_within(moving, "h264", 900, 8.0, "psnr", (shape,)).decode(moving), moving)
        for shape in SHAPES[:4]
    }
    assert encode_within(moving, "h264", 900, 8.0, "psnr", SHAPES[:4]).shape == max(scores, key=lambda s: scores[s])
    nothing = encode_within(moving, "h264", 10, 8.0, "psnr")
    assert not nothing.fits and len(nothing.data) < len(encode_shaped(moving, "h264", 51, 8.0, FULL))


def test_rates_scale_with_the_pixel_rate() -> None:
    assert rate_scale(512, 512, 30) == 1
    assert rate_scale(128, 128, 30) == pytest.approx(1 / 8)  # a sixteenth of the pixels: 16 ** 0.75 = 8
    assert AUDIO_BPS == Scenario().audio_bps
    assert scenario_for("my.json", 128, 128, 30) == {"ladder": "my.json", "bandwidth_scale": 0.125, "audio_bps": 8000}


def test_seconds_are_cut_by_frames() -> None:
    assert [len(part) for part in split_seconds(moving_clip(7), 3.0)] == [3, 3, 1]


SEARCH = Search(keyframe_interval=4, bits=6, steps=1)
WANTED = Measurement(metrics=("ssim", "psnr"))


def two_clips(folder: Path) -> list[Clip]:
    """Two seconds of the waves that `FakeGenerator` draws, and one, at 8 frames a second."""
    clips = []
    for name, seconds in (("long", 2), ("short", 1)):
        (folder / name).mkdir()
        for second in range(seconds):
            for index, frame in enumerate(moving_clip(8)):
                Image.fromarray(frame).save(folder / name / f"{second}{index}.png")
        clips.append(Clip(folder / name, Size(64, 96)))
        clips[-1].fps = 8.0
    return clips


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("clips")
    generator, clips = FakeGenerator(), two_clips(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt, "invert_prompt", fake_inversion)
        patch.setattr(rate_curve, "CRF_STEP", 10)
        job = describe_job(clips, generator, SEARCH, **dataclasses.asdict(WANTED))
        parts = Parts(folder / "waves.json", job)
        return measure_ladder("waves", clips, generator, SEARCH, WANTED, parts, job, command="nothing")


def test_the_table_says_what_was_measured(table: dict[str, Any]) -> None:
    rows = table["representations"]
    assert [row["codec"] for row in rows] == ["h264"] * 3 + ["prompt"] * 3
    assert [row["kind"] for row in rows] == ["pixel"] * 3 + ["generative"] * 3
    assert [row["name"] for row in rows[3:]] == ["prompt-r4", "prompt-r8", "prompt-r16"]
    assert table["measurement"]["generator"] == {"name": "fake", "identity": IDENTITY}
    assert [clip["frame_counts"] for clip in table["measurement"]["clips"]] == [[8, 8], [8]]
    for row in rows:
        found = row["measured"]
        assert len(found["chunk_bytes"]) == len(found["chunk_quality"]) == 3
        assert row["bitrate_bps"] == round(sum(found["chunk_bytes"]) * 8 / 3)  # of three seconds
        assert row["quality"] == pytest.approx(np.mean(found["chunk_quality"]), abs=1e-6)
        first, second = found["clip_quality"]
        assert first == pytest.approx(np.mean(found["chunk_quality"][:2]), abs=1e-6)
        assert second == pytest.approx(found["chunk_quality"][2], abs=1e-6)
        assert found["encode_s"] >= 0 < found["decode_s"]
    scale = rate_scale(64, 96, 8.0)
    for row, bps in zip(rows[:3], (750e3, 1200e3, 1850e3), strict=True):
        assert 0.5 * bps * scale < row["bitrate_bps"] <= bps * scale
        assert row["quality"] * 1e6 == pytest.approx(row["bitrate_bps"], rel=0.35), "H.264 is as good as itself"
    prompts = [row["measured"] for row in rows[3:]]
    assert [row["scores"]["ssim"] for row in prompts] == sorted(row["scores"]["ssim"] for row in prompts)
    assert prompts[2]["scores"] == {"ssim": 1, "psnr": 100}
    assert prompts[2]["clamped_chunks"] == 3
    assert [(row["width"], row["height"], row["fps"]) for row in rows[3:]] == [(96, 64, 8.0)] * 3
    json.dumps(table, allow_nan=False)


def test_clips_of_several_frame_rates_make_no_ladder(tmp_path: Path) -> None:
    clips = two_clips(tmp_path)
    clips[1].fps = 4.0
    generator = FakeGenerator()
    job = describe_job(clips, generator, SEARCH)
    with pytest.raises(ValueError, match=r"expected one frame rate, got \[4\.0, 8\.0\]"):
        measure_ladder("x", clips, generator, SEARCH, WANTED, Parts(tmp_path / "x", job), job, command="nothing")


def test_more_rungs_than_a_ladder_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 to 12 representations, got 13"):
        Measurement(ranks=(1, 2, 3, 4), codecs=("h264", "hevc", "av1"))


def test_parts_are_kept_and_belong_to_one_job(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out", {"ranks": [4, 8]})
    assert parts.of("a", lambda: {"x": 1}) == {"x": 1}
    again = Parts(tmp_path / "out", {"ranks": [4, 8]})
    assert again.has("a") and again.of("a", lambda: {"x": 2}) == {"x": 1}
    with pytest.raises(
        ValueError, match=r"another job: ranks\[1\]: 8, expected 16; delete it, or choose another output"
    ):
        Parts(tmp_path / "out", {"ranks": [4, 16]})
    (tmp_path / "mine.parts").mkdir()
    (tmp_path / "mine.parts" / "photo.png").touch()
    with pytest.raises(ValueError, match=r"mine\.parts: expected a folder of this command"):
        Parts(tmp_path / "mine", {})


@pytest.fixture
def path(table: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "ladder.json"
    path.write_text(json.dumps(table))
    return path


def test_the_catalog_takes_the_table(table: dict[str, Any], path: Path) -> None:
    ladder = Ladder.load(path)
    for rung, row in zip(ladder.representations, table["representations"], strict=True):
        assert (rung.codec, rung.width, rung.height) == (row["codec"], 96, 64)
        assert rung.measured is not None
        assert list(rung.measured.chunk_bytes) == row["measured"]["chunk_bytes"]
    assert ladder.to_json()["measurement"] == table["measurement"]
    videos = load_videos("test")
    viewer = ViewerProfile.load("typical")
    arrays = Catalog(videos, ladder).arrays([viewer.curve(video.duration_s) for video in videos])
    for k, video in enumerate(videos):
        for r, rung in enumerate(ladder.representations[:3]):
            expected = sizes_at(video.chunk_bytes, video.bitrates_bps, rung.bitrate_bps)
            np.testing.assert_array_equal(arrays.chunk_bytes[k, : len(expected), r], expected)


def test_a_scenario_is_played_on_the_table(path: Path) -> None:
    world = make_world(Scenario.parse(ladder=path, audio_bps=0.0), "test")
    assert world.representations == Ladder.load(path).representations
    assert [option.codec for option in world.options] == ["h264"] * 6 + ["prompt"] * 9
    prompt = world.representations[4]
    np.testing.assert_allclose(world.catalog.chunk_bytes[:, 0, 4], prompt.bitrate_bps / 8)
    np.testing.assert_allclose(world.catalog.quality[:, 0, 4], prompt.quality)
    env = gymnasium.make("PromptPream-v0", ladder=str(path))
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert env.observation_space == gymnasium.make("PromptPream-v0").observation_space, "as many representations"


def test_the_scale_is_a_knob_on_measured_prompts_too(path: Path) -> None:
    usual, half = (make_world(Scenario.parse(ladder=path, generative_quality_scale=s), "test") for s in (1.0, 0.5))
    factors = [0.5 if rung.is_generative else 1.0 for rung in usual.representations]
    np.testing.assert_allclose(half.catalog.quality, usual.catalog.quality * factors)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update(schema="ppgym-ladder/1"), "schema: expected 'ppgym-ladder/2', got 'ppgym-ladder/1'"),
        (lambda t: t.update(measurement=3), "measurement: expected an object, got 3"),
        (
            lambda t: t["representations"][1]["measured"].pop("scores"),
            r"representations\[1\]\.measured\.scores: is missing",
        ),
        (lambda t: t["representations"][4]["measured"].update(chunk_bytes=[0]), r"measured\.chunk_bytes\[0\]: .*got 0"),
        (
            lambda t: t["representations"][4]["measured"].update(chunk_bytes=[7.0]),
            r"chunk_quality: expected one for each of 1 chunks, got 3",
        ),
        (
            lambda t: t["representations"][5]["measured"].update(encode_s=math.nan),
            r"representations\[5\]\.measured\.encode_s: expected a finite number, got nan",
        ),
    ],
)
def test_a_broken_table_is_refused_by_file_and_row(path: Path, edit: Any, message: str) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        Ladder.load(path)
    assert str(path) in str(error.value)


def test_a_ladder_survives_json() -> None:
    scenario = Scenario.parse(ladder="a/path.json")
    assert json.loads(json.dumps(dataclasses.asdict(scenario)))["ladder"] == "a/path.json"
