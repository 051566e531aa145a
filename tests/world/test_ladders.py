"""Ladders: the default one by hand, the shipped ones, their constants q and B, and every way a file can be broken."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import ppgym  # noqa: F401  (registers the environment)
from ppgym.files import data_root
from ppgym.world.ladders import LADDERS, QUALITY_UNIT, Ladder, Representation, published_ladder
from ppgym.world.scenario import Scenario, make_world

PUBLISHED = Ladder.load("published")


def row(name: str = "one", kind: str = "pixel", **fields: Any) -> dict[str, Any]:
    """A representation as a file holds it."""
    return {"name": name, "codec": "h264", "kind": kind, "bitrate_bps": 1e6, "quality": 1.0} | fields


def content(*rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A ladder as a file holds it."""
    return {"schema": "ppgym-ladder/2", "name": "own", "representations": list(rows)} | fields


def test_the_default_ladder_by_hand() -> None:
    rows = PUBLISHED.representations
    assert [r.name for r in rows] == ["h264-750k", "h264-1200k", "h264-1850k", "prompt-r4", "prompt-r8", "prompt-r16"]
    assert [r.is_generative for r in rows] == [False] * 3 + [True] * 3
    # chained kbit/s, Promptus: 8.808 r fps / interval = 105.7, 211.4, 422.8; x 4 x 1.5
    np.testing.assert_allclose([r.quality for r in rows], [0.75, 1.2, 1.85, 0.634, 1.268, 1.85], atol=5e-4)
    # a chunk that decodes alone: 4 keyframes x 1101 r
    assert [r.bitrate_bps / 8 for r in rows[3:]] == [4 * 1101 * 4, 4 * 1101 * 8, 4 * 1101 * 16]
    assert all(r.memory_bytes_per_s == 512 * 512 * 1.5 * 30 for r in rows)
    assert (PUBLISHED.chunk_s, PUBLISHED.quality_unit) == (1.0, QUALITY_UNIT)
    assert (PUBLISHED.top_quality, PUBLISHED.b_mbps) == (1.85, 1.85)


def test_the_shipped_default_ladder_is_the_computed_one() -> None:
    assert published_ladder() == PUBLISHED


@pytest.mark.parametrize("name", LADDERS)
def test_shipped_ladders_load_and_play(name: str) -> None:
    ladder = Ladder.load(name)
    assert ladder.name == name
    assert ladder.quality_unit == QUALITY_UNIT
    for one in ladder.representations:
        assert one.source.startswith(("published: ", "derived: ", "assumption: "))
    scenario = Scenario.parse("mixed/snapdragon-8-elite/typical" + f"/{name}")
    assert scenario.name == "mixed/snapdragon-8-elite/typical" + ("" if name == "published" else f"/{name}")
    world = make_world(scenario, "test")
    assert world.representations == ladder.representations
    assert len(world.options) == sum(3 if one.is_generative else 2 for one in ladder.representations)
    sizes = world.catalog.chunk_bytes[:, 0, :]
    assert (sizes > 0).all()
    by_codec: dict[str, list[int]] = {}
    for index, one in enumerate(ladder.representations):
        by_codec.setdefault(one.codec, []).append(index)
    for indices in by_codec.values():
        assert (np.diff(sizes[:, indices], axis=1) > 0).all()


def test_every_shipped_ladder_is_listed() -> None:
    assert {path.stem for path in (data_root() / "ladders").glob("*.json")} == set(LADDERS)


@pytest.mark.parametrize("scale", [0.001, 0.5, 0.99, 1.2])
def test_the_scale_multiplies_every_generative_codec_and_no_pixels(scale: float) -> None:
    usual, scaled = (make_world(Scenario.parse(generative_quality_scale=one)) for one in (1.0, scale))
    expected = [r.quality * (scale if r.is_generative else 1) for r in PUBLISHED.representations]
    np.testing.assert_allclose([r.quality for r in scaled.representations], expected)
    np.testing.assert_allclose(scaled.catalog.quality[0, 0], expected)
    weights = [{name: value for name, value in w.params._asdict().items() if "weight" in name} for w in (usual, scaled)]
    assert weights[0] == weights[1], "q and B are those of the file"
    assert PUBLISHED.with_generative_quality(1.0) is PUBLISHED


def test_one_representation_is_a_ladder(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(content(row())))
    world = make_world(Scenario.parse(ladder=path))
    assert [option.name for option in world.options] == ["one@cpu", "one@vdec"]
    env = gymnasium.make("PromptPream-v0", ladder=str(path))
    assert int(env.action_space.n) == 1 + 5 * 4 * 2  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_twelve_representations_are_a_ladder_and_thirteen_are_refused() -> None:
    rows = [row(f"r{index}", bitrate_bps=1e5 * (index + 1), quality=0.1 * (index + 1)) for index in range(13)]
    env = gymnasium.make("PromptPream-v0", ladder=content(*rows[:12]))
    assert int(env.action_space.n) == 1 + 5 * 4 * 24  # type: ignore[attr-defined]
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, *_ = env.step(int(np.flatnonzero(info["action_mask"])[-1]))
    assert env.observation_space.contains(observation)
    with pytest.raises(ValueError, match="ladder: representations: expected at most 12 items"):
        gymnasium.make("PromptPream-v0", ladder=content(*rows))


def test_a_ladder_can_be_given_in_place_of_its_file() -> None:
    inline = content(row("low", bitrate_bps=5e5, quality=0.5), row("high"), chunk_s=2.0)
    env = gymnasium.make("PromptPream-v0", ladder=inline)
    world = env.unwrapped.world  # type: ignore[attr-defined]
    assert [r.name for r in world.representations] == ["low", "high"]
    assert world.params.chunk_s == 2.0
    assert world.scenario.name == "low/snapdragon-8-elite/typical/own"
    assert Ladder.load(Ladder.load(inline)) == Ladder.load(inline)


def test_reference_and_top_quality_by_hand() -> None:
    high, prompt = row("high", bitrate_bps=4e6, quality=3.0), row("prompt", "generative", bitrate_bps=9e6, quality=5.0)
    ladder = Ladder.load(content(row(), high, prompt))
    assert (ladder.top_quality, ladder.b_mbps) == (5.0, 4.0)
    assert Ladder.load(content(prompt)).b_mbps == 9.0, "no pixels: the largest of all"
    assert Ladder.load(content(row(), high, prompt, reference_mbps=2.5)).b_mbps == 2.5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": "ppgym-ladder/1"}, "schema: expected 'ppgym-ladder/2', got 'ppgym-ladder/1'"),
        ({"name": " "}, "name: expected a text"),
        ({"representations": []}, "representations: expected at least 1 item"),
        ({"representations": {}}, "representations: expected a valid array"),
        ({"representations": [row(), row()]}, r"representations\[1\]\.name: .*got 'one' again"),
        ({"representations": [row(quality=0.0)]}, "representations: expected a quality above 0, got only 0"),
        ({"representations": [row(quality=-1)]}, r"representations\[0\]\.quality: .*got -1"),
        ({"representations": [row(bitrate_bps=0)]}, r"representations\[0\]\.bitrate_bps: .*got 0"),
        ({"representations": [row(kind="pixels")]}, r"kind: unknown 'pixels'; did you mean 'pixel'"),
        ({"representations": [row(fps=-1)]}, r"fps: expected greater than 0 .*, got -1"),
        ({"representations": [row(rank=4)]}, r"representations\[0\]\.rank: unknown key"),
        ({"representations": [row(codec="")]}, r"representations\[0\]\.codec: expected a text"),
        ({"chunk_s": 0.4}, r"chunk_s: expected greater than or equal to 0\.5, got 0\.4"),
        ({"chunk_s": 11}, "chunk_s: expected less than or equal to 10, got 11"),
        ({"reference_mbps": 0}, r"reference_mbps: expected greater than 0 .*, got 0"),
        ({"quality_unit": ""}, "quality_unit: expected a text"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_row(tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    path = tmp_path / "ladder.json"
    path.write_text(json.dumps(content(row()) | edit))
    with pytest.raises(ValueError, match=message) as error:
        Ladder.load(path)
    assert str(path) in str(error.value)


def test_a_ladder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no ladder and no file 'pixel'; did you mean 'pixels'"):
        Ladder.load("pixel")


@pytest.mark.parametrize("fields", [{"quality": float("nan")}, {"bitrate_bps": float("inf")}, {"width": 1.5}])
def test_a_representation_refuses_nonsense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Representation: .*: expected a"):
        Representation(**(row() | fields))


def test_the_measured_ladder_in_the_docs_is_one() -> None:
    ladder = Ladder.load(Path(__file__).parents[2] / "docs" / "results" / "codec" / "sky.json")
    prompts = [one for one in ladder.representations if one.is_generative]
    assert [one.name for one in prompts] == ["prompt-r4", "prompt-r8", "prompt-r16"]
    assert [one.bitrate_bps for one in prompts] == sorted(one.bitrate_bps for one in prompts)
    for one in ladder.representations:
        assert one.measured is not None
        assert one.quality == pytest.approx(np.mean(one.measured.chunk_quality), abs=1e-6)
    (clip,) = ladder.to_json()["measurement"]["clips"]
    assert clip["name"] == ladder.name == "sky" and len(clip["frame_counts"]) == 2
    assert dataclasses.replace(ladder, name="sky") == ladder
    assert hash(ladder) == hash(dataclasses.replace(ladder, measurement=None))
