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
from ppgym.world.ladders import default_ladder, load_ladder
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.videos import load_catalog
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
    assert [(row["codec"], row["rank"]) for row in rows] == [("h264", 0)] * 3 + [("prompt", r) for r in (4, 8, 16)]
    assert table["generator"] == {"name": "fake", "identity": IDENTITY}
    for row in rows:
        assert len(row["chunk_bytes"]) == 2
        assert row["bitrate_bps"] == sum(row["chunk_bytes"]) * 8 / 2  # of two seconds
        assert (row["width"], row["height"], row["fps"]) == (96, 64, 8.0)
        assert row["encode_s"] > 0 < row["decode_s"]
    pixels, prompts = rows[:3], rows[3:]
    for row in pixels:  # H.264 is as good as itself
        assert row["h264_equivalent_bps"] == pytest.approx(row["bitrate_bps"], rel=0.35)
    assert [row["ssim"] for row in prompts] == sorted(row["ssim"] for row in prompts)
    assert (prompts[2]["ssim"], prompts[2]["psnr_db"]) == (1, 100)
    assert prompts[2]["flag"] == CLAMPED_HIGH
    assert prompts[2]["h264_equivalent_bps"] == round(max(point["bitrate_bps"] for point in table["h264_curve"]))
    json.dumps(table, allow_nan=False)


@pytest.fixture
def path(table: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "ladder.json"
    path.write_text(json.dumps(table))
    return path


def test_the_catalog_takes_the_table(table: dict[str, Any], path: Path) -> None:
    ladder = load_ladder(path)
    for rung, row in zip(ladder, table["representations"], strict=True):
        assert (rung.codec, rung.rank, rung.width, rung.height) == (row["codec"], row["rank"], 96, 64)
        assert rung.quality == row["h264_equivalent_bps"] / 1e6
    catalog, published = load_catalog("test", ladder=str(path)), load_catalog("test")
    assert catalog.representations == ladder
    for video, before in zip(catalog.videos, published.videos, strict=True):
        np.testing.assert_allclose(
            video.chunk_bytes / before.chunk_bytes,
            np.broadcast_to(
                [rung.bitrate_bps / old.bitrate_bps for rung, old in zip(ladder[:3], default_ladder(), strict=False)],
                video.chunk_bytes.shape,
            ),
        )


def test_a_scenario_is_played_on_the_table(path: Path) -> None:
    world = make_world(Scenario.parse(ladder=path), "test")
    assert world.representations == load_ladder(path)
    assert [option.codec for option in world.options] == ["h264"] * 6 + ["prompt"] * 9
    prompt = world.representations[4]
    np.testing.assert_allclose(world.catalog.chunk_bytes[:, 0, 4], prompt.bitrate_bps / 8)
    np.testing.assert_allclose(world.catalog.quality[:, 0, 4], prompt.quality)
    env = gymnasium.make("PromptPream-v0", ladder=str(path))
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert env.observation_space == gymnasium.make("PromptPream-v0").observation_space


def test_an_assumptions_knob_does_not_turn_measurements(path: Path) -> None:
    with pytest.raises(ValueError, match="prompt_quality_scale: expected 1 with the measured ladder"):
        load_catalog("test", 0.5, str(path))


def test_a_ladder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="tinny: no such file"):
        load_ladder("tinny")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update(schema="ppgym-catalog/1"), "schema: expected 'ppgym-ladder/1', got 'ppgym-catalog/1'"),
        (lambda t: t.update(provenance=" "), "provenance: expected a text"),
        (lambda t: t.pop("clip"), "clip: is missing"),
        (lambda t: t.update(representations={}), "representations: expected a valid array"),
        (lambda t: t["representations"].pop(), "expected 3 of pixels by ascending bitrate and then prompts"),
        (lambda t: t["representations"].reverse(), "expected 3 of pixels"),
        (lambda t: t["representations"][0].update(bitrate_bps=1e9), "by ascending bitrate"),
        (lambda t: t["representations"][1].pop("flag"), r"representations\[1\]\.flag: is missing"),
        (lambda t: t["representations"][2].update(codec="h265"), r"representations\[2\]\.codec: unknown 'h265'"),
        (lambda t: t["representations"][3].update(rank="4"), r"representations\[3\]\.rank: expected a valid integer"),
        (lambda t: t["representations"][4].update(bitrate_bps=0), r"representations\[4\]\.bitrate_bps: .*got 0"),
        (
            lambda t: t["representations"][5].update(h264_equivalent_bps=math.nan),
            r"representations\[5\]\.h264_equivalent_bps: expected a finite number, got nan",
        ),
    ],
)
def test_a_broken_table_is_refused_by_file_and_row(path: Path, edit: Any, message: str) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        load_ladder(path)
    assert str(path) in str(error.value)


def test_a_ladder_survives_json() -> None:
    scenario = Scenario.parse(ladder="a/path.json")
    assert json.loads(json.dumps(dataclasses.asdict(scenario)))["ladder"] == "a/path.json"


def test_the_committed_table_is_taken_in_place_of_the_published_one() -> None:
    ladder = load_ladder(Path(__file__).parents[2] / "docs" / "results" / "codec" / "sky.json")
    prompts = [rung for rung in ladder if rung.rank]
    assert [rung.rank for rung in prompts] == [4, 8, 16]
    assert [rung.bitrate_bps for rung in prompts] == sorted(rung.bitrate_bps for rung in prompts)
