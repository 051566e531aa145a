"""Scenario files: what they may hold, settings in their place, labels, and the commented template."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ppgym.world.commands import app
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.scenario_file import merged, named_fields, parse_settings
from ppgym.world.template import field_meanings

MINE = """
network: trace.txt
device: snapdragon-8-gen-3
viewer: typical
ladder:
  name: mine
  chunk_s: 2.0
  representations:
    - {name: 480p, codec: h264, kind: pixel, bitrate_bps: 1200000, quality: 1.2, width: 854, height: 480, fps: 24}
    - {name: 720p, codec: h264, kind: pixel, bitrate_bps: 2500000, quality: 2.5, width: 1280, height: 720, fps: 24}
    - {name: fast, codec: promptmobile, kind: generative, bitrate_bps: 280000, quality: 0.42}
qoe: {energy: 0.01}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "trace.txt").write_text("".join(f"{second} {4 + second % 2}\n" for second in range(60)))
    path = tmp_path / "mine.yml"
    path.write_text(MINE)
    return path


def test_a_file_is_a_whole_world(mine: Path) -> None:
    scenario = Scenario.parse(str(mine), **parse_settings(["bandwidth_scale=2", "qoe.waste=3"]))
    assert scenario.name == "mine"
    assert (scenario.qoe.energy, scenario.qoe.waste, scenario.bandwidth_scale) == (0.01, 3, 2)
    assert isinstance(scenario.ladder, Ladder)
    assert scenario.network == str(mine.with_name("trace.txt"))
    world = make_world(scenario, "test")
    assert world.params.chunk_s == 2.0
    assert (world.params.weight_rebuffer, world.params.weight_abandon, world.params.weight_waste) == (2.5, 25.0, 3.0)
    np.testing.assert_array_equal(world.catalog.n_chunks, np.ceil(world.catalog.duration_s / 2))
    rates = np.diff(world.links.bits) / np.diff(world.links.time_s)
    assert set(rates.round(6)) == {8e6, 10e6}


def test_json_is_as_good_and_paths_are_those_of_its_folder(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_json = mine.with_suffix(".json")
    as_json.write_text(json.dumps(yaml.safe_load(MINE)))
    monkeypatch.chdir(mine.parent.parent)
    assert Scenario.parse(str(as_json)) == Scenario.parse(str(mine))


def test_a_label_stands_for_fields_that_are_given_again(mine: Path) -> None:
    label, fields = named_fields(str(mine), {"rtt_s": 0.1})
    assert label == "mine"
    json.dumps(fields)  # a record holds them
    assert Scenario.parse(label, **fields) == Scenario.parse(str(mine), rtt_s=0.1)


def test_a_named_scenario_keeps_its_name() -> None:
    assert named_fields("low/pixels-only/typical", {"rtt_s": 0.1}) == (None, {"rtt_s": 0.1})


@pytest.mark.parametrize(
    "settings, fields",
    [
        (["a=1", "b.c=2"], {"a": 1, "b": {"c": 2}}),
        (["a=text", "b=[1, 2]", "c=null", "d=true"], {"a": "text", "b": [1, 2], "c": None, "d": True}),
        (["qoe.waste=2", "qoe.energy=0.5"], {"qoe": {"waste": 2, "energy": 0.5}}),
        (["network=my=file.txt"], {"network": "my=file.txt"}),
        (["a=1", "a=2"], {"a": 2}),
    ],
)
def test_settings(settings: list[str], fields: dict[str, Any]) -> None:
    assert parse_settings(settings) == fields


@pytest.mark.parametrize("setting", ["a", "=1", "a.=1", ".a=1", "a..b=1"])
def test_a_setting_without_key_or_value_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="expected KEY=VALUE"):
        parse_settings([setting])


def test_a_setting_inside_of_another_is_refused() -> None:
    with pytest.raises(ValueError, match="qoe is set as a whole"):
        parse_settings(["qoe=mmgc2022", "qoe.waste=1"])


def test_settings_are_merged_key_by_key() -> None:
    assert merged({"qoe": {"waste": 1, "energy": 2}, "a": 1}, {"qoe": {"waste": 3}, "a": {"b": 1}}) == {
        "qoe": {"waste": 3, "energy": 2},
        "a": {"b": 1},
    }


@pytest.mark.parametrize(
    "text, said",
    [
        ("- 1\n", "expected the fields of a scenario"),
        ("network: [\n", "expected YAML"),
        ("netwrok: low\n", "did you mean 'network'"),
        ("a: &a [1]\nb: *a\n", "no aliases"),
        ("[" * 30 + "]" * 30, "at most 20 levels"),
        ("rtt_s: -1\n", "rtt_s"),
        ("!!python/object:os.system {}\n", "expected YAML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        Scenario.parse(str(path))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yml"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        Scenario.parse(str(path))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yml"):
        Scenario.parse("nowhere.yml")


def test_the_template_is_the_default_scenario_and_explains_every_field(tmp_path: Path) -> None:
    path = tmp_path / "new.yml"
    app.cli(args=["new", str(path)])
    assert dataclasses.replace(Scenario.parse(str(path)), label=None) == Scenario()
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 120
    for field in dataclasses.fields(Scenario):
        assert field.name in field_meanings()
        assert field.name == "label" or f"{field.name}: " in text


def test_a_template_destroys_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.yml"):
        app.cli(args=["new", str(path)])
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match=r"ends in \.yml"):
        app.cli(args=["new", str(tmp_path / "mine.txt")])
