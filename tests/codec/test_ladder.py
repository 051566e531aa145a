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

from ppgym.codec.ladder import measure_ladder, pixel_rungs_bps
from ppgym.codec.pixel import split_seconds
from ppgym.codec.rate_curve import CLAMPED_HIGH, CLAMPED_LOW, MEASURED, RateCurve, RatePoint, Reading

CURVE = RateCurve(
    "h264",
    (
        RatePoint(50, 1e3, 20, 0.5),
        RatePoint(40, 1e4, 30, 0.7),
        RatePoint(30, 1e5, 29, 0.6),
        RatePoint(20, 1e6, 40, 0.9),
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
    assert CURVE.quality_at(bitrate_bps) == (pytest.approx(ssim), flag)


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
    assert CURVE.bitrate_for(ssim) == (pytest.approx(bitrate_bps), flag)


def test_other_measures_have_their_own_curve() -> None:
    assert CURVE.quality_at(10**3.5, "psnr_db") == Reading(pytest.approx(25), MEASURED)
    assert CURVE.bitrate_for(35, "psnr_db").value == pytest.approx(10**5.5)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_measured_curve_rises(codec: str) -> None:
    curve = RateCurve.measure(moving_clip(4), codec, 8.0, crfs=(20, 35, 50))
    assert [point.crf for point in curve.points] == [50, 35, 20]
    for name in ("bitrate_bps", "psnr_db", "ssim"):
        values = [getattr(point, name) for point in curve.points]
        assert values == sorted(values)


def test_rungs_scale_with_the_pixel_rate() -> None:
    assert pixel_rungs_bps(512, 512, 30) == (750e3, 1200e3, 1850e3)
    # a sixteenth of the pixels: 16 ** 0.75 = 8
    assert pixel_rungs_bps(128, 128, 30) == pytest.approx((93750, 150000, 231250))


def test_seconds_are_cut_by_frames() -> None:
    assert [len(part) for part in split_seconds(moving_clip(7), 3.0)] == [3, 3, 1]


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    generator = FakeGenerator()
    return measure_ladder(
        "waves",
        np.concatenate([moving_clip(8), moving_clip(8)]),
        8.0,
        generator,
        lambda frames, rank: fake_inversion(frames, generator, rank=rank, fps=8.0, keyframe_interval=4, bits=6),
        generator_name="fake",
        command="nothing",
    )


def test_the_table_says_what_was_measured(table: dict[str, Any]) -> None:
    rows = table["representations"]
    assert [row["codec"] for row in rows] == ["h264"] * 3 + ["prompt"] * 3
    assert [row["kind"] for row in rows] == ["pixel"] * 3 + ["generative"] * 3
    assert [row["name"] for row in rows[3:]] == ["prompt-r4", "prompt-r8", "prompt-r16"]
    assert table["measurement"]["generator"] == {"name": "fake", "identity": IDENTITY}
    for row in rows:
        found = row["measured"]
        assert len(found["chunk_bytes"]) == 2
        assert row["bitrate_bps"] == sum(found["chunk_bytes"]) * 8 / 2  # of two seconds
        assert (row["width"], row["height"], row["fps"]) == (96, 64, 8.0)
        assert found["encode_s"] > 0 < found["decode_s"]
        assert row["quality"] == found["h264_equivalent_bps"] / 1e6
    for row in rows[:3]:  # H.264 is as good as itself
        assert row["measured"]["h264_equivalent_bps"] == pytest.approx(row["bitrate_bps"], rel=0.35)
    prompts = [row["measured"] for row in rows[3:]]
    assert [row["ssim"] for row in prompts] == sorted(row["ssim"] for row in prompts)
    assert (prompts[2]["ssim"], prompts[2]["psnr_db"]) == (1, 100)
    assert prompts[2]["flag"] == CLAMPED_HIGH
    assert prompts[2]["h264_equivalent_bps"] == round(
        max(point["bitrate_bps"] for point in table["measurement"]["h264_curve"])
    )
    json.dumps(table, allow_nan=False)


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
            lambda t: t["representations"][1]["measured"].pop("flag"),
            r"representations\[1\]\.measured\.flag: is missing",
        ),
        (lambda t: t["representations"][4]["measured"].update(chunk_bytes=[0]), r"measured\.chunk_bytes\[0\]: .*got 0"),
        (
            lambda t: t["representations"][5]["measured"].update(h264_equivalent_bps=math.nan),
            r"representations\[5\]\.measured\.h264_equivalent_bps: expected a finite number, got nan",
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
