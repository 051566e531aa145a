"""Device profiles: the arithmetic behind the shipped ones, round trips, every way a file can be broken."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.core.state import UNIT_NAMES
from ppgym.world.devices import DEVICES, NO_CONTENTION, PROVENANCES, DecodeRow, DeviceProfile, Power, Radio
from ppgym.world.ladders import Ladder, Representation
from ppgym.world.scenario import Scenario, make_world

LOW, _, _, PROMPT, _, TOP_PROMPT = Ladder.load("published").representations
CODECS = ("h264", "hevc", "av1", "prompt", "vvc")


@pytest.fixture
def content() -> dict[str, Any]:
    return DeviceProfile.load("snapdragon-8-elite").to_json()


@pytest.mark.parametrize(
    ("device", "unit", "seconds"),
    [
        ("snapdragon-8-gen-2", "npu", 96.4e-3 * 1.176 * 30),
        ("snapdragon-8-gen-2", "gpu", 290e-3 * 1.176 * 30),
        ("snapdragon-8-gen-2", "cpu", math.inf),
        ("snapdragon-8-gen-3", "npu", 68.3e-3 * 1.176 * 30),
        ("snapdragon-8-gen-3", "cpu", 8000e-3 / 2 * 1.176 * 30),
        ("snapdragon-8-gen-3", "gpu", math.inf),
        ("snapdragon-8-elite", "npu", 1.94),
        ("snapdragon-8-elite", "gpu", 230e-3 * 1.176 * 30),
        ("rtx-4090", "gpu", 30 / 170),
        ("rtx-4090", "npu", math.inf),
        ("pixels-only", "npu", math.inf),
    ],
)
def test_prompts_take_what_the_published_figures_say(device: str, unit: str, seconds: float) -> None:
    profile = DeviceProfile.load(device)
    assert profile.seconds(PROMPT, unit) == pytest.approx(seconds, rel=2e-3)
    assert profile.seconds(PROMPT, unit) == profile.seconds(TOP_PROMPT, unit)


MEASURED = ("epyc-2-core", "epyc-2-core-256px", "h200")


@pytest.mark.parametrize("device", sorted({*DEVICES} - {*MEASURED}))
def test_profiles_from_published_figures_are_whole(device: str) -> None:
    profile = DeviceProfile.load(device)
    assert profile.name == device
    for codec in CODECS[:3]:
        representation = Representation(name="one", codec=codec, kind="pixel", bitrate_bps=1e6, quality=1.0)
        assert 0 < profile.seconds(representation, "vdec") <= profile.seconds(representation, "cpu") < 1
        assert profile.seconds(representation, "gpu") == math.inf
    assert profile.seconds(PROMPT, "vdec") == math.inf
    np.testing.assert_array_equal(profile.contention_array(), np.ones((4, 5)))
    for row in profile.rows:
        derived = "http" in row.source and row.codec in ("prompt", "promptmobile")
        assert row.provenance == ("derived" if derived else "assumption")


@pytest.mark.parametrize("device", MEASURED)
def test_measured_profiles_are_whole(device: str) -> None:
    profile = DeviceProfile.load(device)
    assert profile.name == device
    pairs = [(codec, "cpu", "measured") for codec in ("prompt", "h264", "hevc", "av1")]
    if device == "h200":
        pairs.insert(1, ("prompt", "gpu", "measured"))
    assert [(row.codec, row.unit, row.provenance) for row in profile.rows] == pairs
    assert 0 < profile.jitter_sigma < 1
    assert profile.measurement is not None
    side_px = 256 if device.endswith("-256px") else 512
    assert f"--model sd-turbo-random --resolution {side_px}" in profile.measurement["command"]
    stages = profile.measurement["stages"]
    for row in profile.rows:
        assert (row.width, row.height, row.fps) == (side_px, side_px, 30)
        stage_name = "pass" if row.codec == "prompt" else row.codec
        times_s = [
            math.ceil(30 / stage["batch"]) * stage["median_s"]
            for stage in stages
            if (stage["unit"], stage["stage"]) == (row.unit, stage_name)
        ]
        assert row.seconds == pytest.approx(min(times_s), rel=1e-4)
        for part in (profile.measurement["machine"][row.unit], profile.measurement["command"], "torch", "2026-"):
            assert part in row.source
    assert profile.rows[0].flops == DeviceProfile.load("rtx-4090").rows[0].flops


def test_the_h200_was_timed_by_batch_eager_and_compiled() -> None:
    profile = DeviceProfile.load("h200")
    assert profile.measurement is not None
    passes = [stage for stage in profile.measurement["stages"] if (stage["unit"], stage["stage"]) == ("gpu", "pass")]
    assert {(stage["batch"], stage["compiled"]) for stage in passes} == {
        (batch, compiled) for batch in (1, 2, 5, 10, 15, 30) for compiled in (False, True)
    }
    assert max(stage["batch"] / stage["median_s"] for stage in passes) >= 300  # frames of 512 x 512 a second
    assert profile.contention_provenance == "measured"


def test_units_are_those_that_decode_something() -> None:
    units = {device: DeviceProfile.load(device).units for device in DEVICES}
    assert units == {
        "snapdragon-8-gen-2": UNIT_NAMES,
        "snapdragon-8-gen-3": UNIT_NAMES,
        "snapdragon-8-elite": UNIT_NAMES,
        "rtx-4090": ("cpu", "gpu", "vdec"),
        "h200": ("cpu", "gpu"),
        "pixels-only": ("cpu", "vdec"),
        "epyc-2-core": ("cpu",),
        "epyc-2-core-256px": ("cpu",),
    }


def test_seconds_scale_with_flops() -> None:
    fields = {"codec": "prompt", "unit": "gpu", "provenance": "measured", "source": "s", "formula": "f"}
    row = DecodeRow(seconds=0.5, width=2, height=4, fps=10, flops=(3.0, 2.0, 1.0), **fields)
    # 3 + 2 x 8 + 64 = 83 at 8 pixels, 3 + 2 x 4 + 16 = 27 at 4
    assert row.seconds_at(2, 4, 10) == 0.5
    assert row.seconds_at(1, 4, 10) == pytest.approx(0.5 * 27 / 83)
    assert row.seconds_at(1, 4, 30) == pytest.approx(0.5 * 27 / 83 * 3)


def test_seconds_scale_with_pixels_a_second() -> None:
    row = DecodeRow(
        codec="h264",
        unit="cpu",
        seconds=0.2,
        provenance="measured",
        source="s",
        formula="f",
        width=256,
        height=256,
        fps=15,
    )
    profile = dataclasses.replace(DeviceProfile.load("pixels-only"), rows=(row,))
    assert profile.seconds(LOW, "cpu") == pytest.approx(0.2 * 4 * 2)
    assert profile.seconds(dataclasses.replace(LOW, width=256, height=512), "cpu") == pytest.approx(0.2 * 2 * 2)
    with pytest.raises(ValueError, match="unknown compute unit 'gpuu'; did you mean 'gpu'"):
        profile.seconds(LOW, "gpuu")


_texts = st.text(min_size=1).filter(str.strip)
_numbers = st.floats(1e-6, 1e6)
_powers = st.builds(Power, w=_numbers, provenance=st.sampled_from(PROVENANCES), source=_texts)


@given(
    st.lists(
        st.builds(
            DecodeRow,
            codec=st.sampled_from(CODECS),
            unit=st.sampled_from(UNIT_NAMES),
            seconds=_numbers,
            provenance=st.sampled_from(PROVENANCES),
            source=_texts,
            formula=_texts,
            flops=st.tuples(_numbers, _numbers, _numbers),
            load_s=_numbers,
            power=st.none() | _powers,
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: (row.codec, row.unit),
    ),
    st.lists(st.tuples(*[_numbers] * 5), min_size=4, max_size=4),
    _texts,
    st.none() | _powers,
    st.none()
    | st.builds(
        Radio,
        base_w=_numbers,
        w_per_mbps=_numbers,
        tail_w=_numbers,
        tail_s=_numbers,
        provenance=st.sampled_from(PROVENANCES),
        source=_texts,
    ),
)
def test_every_profile_survives_json(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[DecodeRow],
    contention: list[tuple[float, ...]],
    text: str,
    idle: Power | None,
    radio: Radio | None,
) -> None:
    profile = DeviceProfile(
        name=text,
        description=text,
        provenance=text,
        rows=tuple(rows),
        jitter_sigma=0.1,
        jitter_provenance="measured",
        jitter_source=text,
        contention=tuple(contention),
        idle=idle,
        radio=radio,
        measurement={"notes": [text], "stages": [{"median_s": 0.1, "peak_memory_bytes": None}]},
        **{key: value for key, value in NO_CONTENTION.items() if key != "contention"},
    )
    path = tmp_path_factory.getbasetemp() / "device.json"
    profile.write(path)
    assert DeviceProfile.load(path) == profile
    assert json.loads(path.read_text()) == profile.to_json()


@pytest.mark.parametrize("device", DEVICES)
def test_a_written_profile_reads_back(tmp_path: Path, device: str) -> None:
    profile = DeviceProfile.load(device)
    profile.write(tmp_path / "new" / "device.json")
    assert DeviceProfile.load(tmp_path / "new" / "device.json") == profile


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": "ppgym-device/9"}, "schema: expected 'ppgym-device/1', got 'ppgym-device/9'"),
        ({"rows": []}, r"rows: expected at least 1 item .*got \[\]"),
        ({"rows": {}}, r"rows: expected a valid array, got \{\}"),
        ({"rows": [1]}, r"rows\[0\]: expected an object, got 1"),
        ({"name": " "}, "name: expected a text that is not blank, got ' '"),
        ({"jitter_sigma": -0.1}, r"jitter_sigma: expected greater than or equal to 0, got -0\.1"),
        ({"jitter_sigma": float("nan")}, "jitter_sigma: expected a finite number, got nan"),
        ({"jitter_sigma": True}, "jitter_sigma: expected a valid number, got True"),
        ({"jitter_provenance": "guess"}, "jitter_provenance: unknown 'guess'; .*known: assumption, derived"),
        ({"jiter_sigma": 1}, "jiter_sigma: unknown key; did you mean 'jitter_sigma'"),
        ({"contention": [[1.0] * 5] * 3}, "contention: expected at least 4 items"),
        ({"contention": [[1.0] * 4] * 4}, r"contention\[3\]: expected at least 5 items"),
        ({"contention": [1, 2, 3, 4]}, r"contention\[0\]: expected a valid array, got 1"),
        ({"idle": {"w": 1}}, r"idle\.provenance: is missing"),
        ({"radio": {"base_w": -1}}, r"radio\.base_w: expected greater than or equal to 0, got -1"),
        ({"measurement": [1]}, r"measurement: expected an object, got \[1\]"),
        ({"contention": [[1.0] * 4 + [0]] * 4}, r"contention\[0\]\[4\]: expected greater than 0 .*, got 0"),
    ],
)
def test_a_broken_profile_is_refused_by_file_and_key(
    content: dict[str, Any], tmp_path: Path, edit: dict[str, object], message: str
) -> None:
    _refused(tmp_path, content | edit, message)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"seconds": 0}, r"rows\[0\]\.seconds: expected greater than 0 .*, got 0"),
        ({"seconds": -1}, "seconds: .*got -1"),
        ({"seconds": math.inf}, "seconds: .*got inf"),
        ({"seconds": "fast"}, "seconds: .*got 'fast'"),
        ({"codec": " "}, "codec: expected a text that is not blank, got ' '"),
        ({"load_s": -1}, "load_s: expected greater than or equal to 0, got -1"),
        ({"power": {"w": -1, "provenance": "measured", "source": "s"}}, r"power\.w: expected greater .*got -1"),
        ({"power": {"w": 1, "provenance": "measured"}}, r"power\.source: is missing"),
        ({"power": 3}, r"power: expected an object, got 3"),
        ({"unit": "tpu"}, "unit: unknown 'tpu'; did you mean 'npu'|did you mean 'cpu'|did you mean 'gpu'"),
        ({"unit": None}, "unit: unknown None; known: cpu, gpu, npu, vdec"),
        ({"provenance": "measurd"}, "provenance: unknown 'measurd'; did you mean 'measured'"),
        ({"source": ""}, "source: expected a text"),
        ({"formula": None}, "formula: expected a text that is not blank, got None"),
        ({"fps": 0}, r"fps: expected greater than 0 .*, got 0"),
        ({"flops": [1, 2]}, r"flops\[2\]: is missing"),
        ({"flops": [1, 2, 3, 4]}, "flops: expected at most 3 items"),
        ({"flops": [1, 2, -1]}, r"flops\[2\]: expected greater than or equal to 0, got -1"),
        ({"flops": [0, 0, 0]}, r"rows\[0\]: flops: expected a coefficient above 0, got only 0"),
        ({"flops": 3}, r"rows\[0\]\.flops: expected a valid array, got 3"),
        ({"second": 1}, r"rows\[0\]\.second: unknown key; did you mean 'seconds'"),
        ({"unit": "npu"}, r"rows\[1\]: expected 'prompt' on 'npu' once, got it again"),
    ],
)
def test_a_broken_row_is_refused_by_file_and_key(
    content: dict[str, Any], tmp_path: Path, edit: dict[str, object], message: str
) -> None:
    content["rows"][0] |= edit
    _refused(tmp_path, content, message)


@pytest.mark.parametrize("key", ["name", "rows", "jitter_source", "contention"])
def test_a_missing_key_is_named(content: dict[str, Any], tmp_path: Path, key: str) -> None:
    del content[key]
    _refused(tmp_path, content, f": {key}: is missing")


def test_a_missing_key_of_a_row_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    del content["rows"][0]["source"]
    _refused(tmp_path, content, r"rows\[0\]\.source: is missing")


def _refused(folder: Path, content: dict[str, Any], message: str) -> None:
    path = folder / "device.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        DeviceProfile.load(path)
    assert str(path) in str(error.value)


def test_an_unknown_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(
        FileNotFoundError, match="no device and no file 'snapdragon-8-elit'; did you mean 'snapdragon-8-elite'"
    ):
        DeviceProfile.load("snapdragon-8-elit")


@pytest.mark.parametrize("device", ["snapdragon-8-gen-3", "snapdragon-8-elite"])
def test_promptmobile_decodes_in_time_on_npu_and_gpu(device: str) -> None:
    world = make_world(Scenario.parse(f"low/{device}/typical/promptmobile"))
    seconds = {option.unit: option.decode_s for option in world.options if option.is_generative}
    assert 0 < seconds["npu"] < 1
    assert 0 < seconds["gpu"] < 1
    prompts = make_world(Scenario.parse(f"low/{device}/typical"))
    for option in prompts.options:
        if option.is_generative and np.isfinite(option.decode_s):
            assert seconds[option.unit] == pytest.approx(option.decode_s / 13.6, rel=1e-3)


def test_figures_of_power_and_loading_reach_the_kernel(content: dict[str, Any], tmp_path: Path) -> None:
    """Each pair has figures of its own."""
    said = {"provenance": "measured", "source": "s"}
    for place, row in enumerate(content["rows"]):
        row |= {"load_s": float(place), "power": {"w": 10.0 + place, **said}}
    content["idle"] = {"w": 0.5, **said}
    content["radio"] = {"base_w": 1.0, "w_per_mbps": 0.1, "tail_w": 0.7, "tail_s": 3.0, **said}
    path = tmp_path / "device.json"
    path.write_text(json.dumps(content))
    world = make_world(Scenario.parse(device=path))
    params = world.params
    assert (params.idle_w, params.radio_base_w, params.radio_j_per_mbit) == (0.5, 1.0, 0.1)
    assert (params.radio_tail_w, params.radio_tail_s) == (0.7, 3.0)
    places = {(row["codec"], row["unit"]): place for place, row in enumerate(content["rows"])}
    for index, option in enumerate(world.options):
        place = places.get((option.codec, option.unit))
        expected = (0.0, 0.0) if place is None else (float(place), 10.0 + place)
        assert (params.option_load_s[index], params.option_w[index]) == expected
    assert world.profile.without_power == ()


def test_what_has_no_watts_counts_nothing_and_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    content |= {"idle": None, "radio": None}
    content["rows"][0]["power"] = None
    path = tmp_path / "device.json"
    path.write_text(json.dumps(content))
    world = make_world(Scenario.parse(device=path))
    row = content["rows"][0]
    assert world.profile.without_power == ("idle", "radio", f"{row['codec']}@{row['unit']}")
    params = world.params
    assert (params.idle_w, params.radio_base_w, params.radio_j_per_mbit, params.radio_tail_w) == (0, 0, 0, 0)
    for index, option in enumerate(world.options):
        known = (option.codec, option.unit) != (row["codec"], row["unit"]) and np.isfinite(option.decode_s)
        assert (params.option_w[index] > 0) == known


@pytest.mark.parametrize("device", DEVICES)
def test_every_power_of_a_shipped_device_has_a_provenance(device: str) -> None:
    profile = DeviceProfile.load(device)
    figures = [profile.idle, profile.radio, *(row.power for row in profile.rows)]
    assert all(one is None or (one.provenance in PROVENANCES and one.source.strip()) for one in figures)
    if device.startswith("snapdragon"):
        assert profile.without_power == ()
