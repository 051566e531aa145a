"""Checked classes and their files: all faults at once, each with its place; files and JSON Schemas say the same."""

import copy
import functools
import json
import math
import operator
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest

from ppgym.files import data_root
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario
from ppgym.world.schemas import MAX_SHOWN, Count, JsonFile, Positive, Text, checked
from ppgym.world.template import scenario_schema
from ppgym.world.videos import CatalogFile
from ppgym.world.viewers import ViewerFile

FORMATS: dict[str, type[JsonFile]] = {
    "devices": DeviceProfile,
    "ladders": Ladder,
    "videos": CatalogFile,
    "viewers": ViewerFile,
}
SHIPPED = sorted(path for name in FORMATS for path in (data_root() / name).glob("*.json"))
LADDER = Path(__file__).parents[2] / "docs" / "results" / "codec" / "sky.json"
FREE = {"measurement", "scores"}  # objects whose keys no schema knows
NULLABLE = {"measurement", "measured", "power", "idle", "radio", "reference_mbps", "durations_s"}
OPTIONAL: dict[type[JsonFile], set[str]] = {  # what may be left out besides
    DeviceProfile: {"width", "height", "fps", "flops", "load_s"},
    Ladder: {"width", "height", "fps", "source", "description", "provenance", "chunk_s", "quality_unit"},
    CatalogFile: set(),
    ViewerFile: set(),
}
GONE = object()
NO_NUMBERS: list[Any] = ["1", True, None, {}, [], math.nan, math.inf]
WRONG: dict[type, list[Any]] = {
    float: NO_NUMBERS,
    int: NO_NUMBERS,
    str: [1, True, None, [], {}, " "],
    list: [1, "x", None, {}],
    dict: [1, "x", []],
    type(None): [],
}


@checked
class Part:
    """A part of a file."""

    seconds: Positive
    count: Count = 1


@checked
class Whole(JsonFile):
    """A file."""

    SCHEMA: ClassVar[str] = "ppgym-test/1"

    name: Text
    parts: tuple[Part, ...]
    best: Part | None = None


def format_of(path: Path) -> type[JsonFile]:
    return Ladder if path == LADDER else FORMATS[path.parent.name]


def write(folder: Path, **content: Any) -> Path:
    path = folder / "whole.json"
    path.write_text(json.dumps({"schema": "ppgym-test/1"} | content))
    return path


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        parts=[{"seconds": 1}, {"seconds": float("inf"), "cuont": 2}, {"seconds": True, "count": 1.5}],
        best={"second": 1},
    )
    with pytest.raises(ValueError) as error:
        Whole.read(path)
    assert str(error.value).splitlines() == [
        f"{path}: 7 problems",
        "  name: is missing",
        "  parts[1].seconds: expected a finite number, got inf",
        "  parts[1].cuont: unknown key; did you mean 'count'? known: count, seconds",
        "  parts[2].seconds: expected a valid number, got True",
        "  parts[2].count: expected a valid integer, got 1.5",
        "  best.seconds: is missing",
        "  best.second: unknown key; did you mean 'seconds'? known: count, seconds",
    ]


def test_python_refuses_what_a_file_may_not_hold() -> None:
    with pytest.raises(ValueError, match=r"^Part: 2 problems\n  seconds: expected .* got '1'\n  cuont: unknown key"):
        Part(seconds="1", cuont=1)  # type: ignore[arg-type, call-arg]
    with pytest.raises(ValueError, match=r"^Whole: parts\[0\]: "):
        Whole(name="a", parts=({"seconds": 1},))  # type: ignore[arg-type]


def test_many_faults_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    path = write(tmp_path, name="a", parts=[{"seconds": -k} for k in range(MAX_SHOWN + 5)])
    with pytest.raises(ValueError) as error:
        Whole.read(path)
    lines = str(error.value).splitlines()
    assert (lines[0], lines[-1]) == (f"{path}: {MAX_SHOWN + 5} problems", "  and 5 more")
    assert len(lines) == MAX_SHOWN + 2


def test_a_file_may_leave_out_what_has_a_default_and_name_its_schema(tmp_path: Path) -> None:
    path = write(tmp_path, name="a", parts=[{"seconds": 2}])
    assert Whole.read(path) == Whole(name="a", parts=(Part(seconds=2.0),))
    path = write(tmp_path, name="a", parts=[{"seconds": 2}], **{"$schema": "whole.schema.json"})
    found = Whole.read(path)
    found.write(path)
    assert Whole.read(path) == found
    assert json.loads(path.read_text()) == found.to_json()
    assert "$schema" not in found.to_json()


@pytest.mark.parametrize("name", FORMATS)
def test_a_json_schema_is_one(name: str) -> None:
    schema = FORMATS[name].json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads((data_root() / "schemas" / f"{name}.schema.json").read_text()) == schema


def test_the_scenarios_schema_knows_what_the_reader_knows() -> None:
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads((data_root() / "schemas" / "scenario.schema.json").read_text()) == schema
    validator = jsonschema.Draft202012Validator(schema)
    whole = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    assert len(whole) > 20
    for fields in (
        whole,
        {"network": "low", "qoe": "mmgc2022", "patience": [[0, 1], [3, 0.5]]},
        {
            "ladder": {
                "name": "mine",
                "representations": [{"name": "a", "codec": "av1", "kind": "pixel", "bitrate_bps": 1e6, "quality": 1}],
            },
            "qoe": {"waste": 2},
        },
    ):
        validator.validate(fields)
        Scenario.parse("mine", label="mine", **fields)
    for fields in ({"networks": "low"}, {"rtt_s": -1}, {"qoe": "other"}, {"qoe": {"wastes": 1}}, {"patience": [1]}):
        assert not validator.is_valid(fields), fields
        with pytest.raises(ValueError):
            Scenario.parse("mine", label="mine", **fields)


@pytest.mark.parametrize("path", [*SHIPPED, LADDER], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_files_satisfy_their_json_schema(path: Path) -> None:
    cls = format_of(path)
    jsonschema.Draft202012Validator(cls.json_schema()).validate(json.loads(path.read_text()))
    cls.read(path)


def places(value: Any, place: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Where something lies in a JSON value; of a list the first two items, of what no schema knows only itself."""
    if place:
        yield place
    inner: Any = ()
    if isinstance(value, dict) and not FREE & set(place):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value[:2])
    for key, one in inner:
        yield from places(one, (*place, key))


def at(content: Any, place: tuple[int | str, ...]) -> Any:
    return functools.reduce(operator.getitem, place, content)


def changed(content: dict[str, Any], place: tuple[int | str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a place; without that key where the value is `GONE`."""
    changed = copy.deepcopy(content)
    parent = at(changed, place[:-1])
    if value is GONE:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return changed


def faults(content: dict[str, Any], optional: set[str]) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Every place of a file with each value that is wrong there."""
    for place in places(content):
        if FREE & set(place[:-1]):
            continue
        value, last = at(content, place), place[-1]
        if isinstance(value, dict) and last not in FREE | {"videos"}:
            yield (*place, "surplus"), 1
        if isinstance(last, str) and place[0] != "videos" and last not in optional | NULLABLE:
            yield place, GONE
        yield from ((place, wrong) for wrong in WRONG[type(value)] if wrong is not None or last not in NULLABLE)


@pytest.mark.parametrize(
    "path",
    [
        LADDER,
        *(
            data_root() / name
            for name in (
                "devices/snapdragon-8-elite.json",
                "devices/h200.json",
                "videos/test.json",
                "viewers/typical.json",
            )
        ),
    ],
    ids=lambda path: path.stem,
)
def test_a_wrong_value_anywhere_is_refused_by_reader_and_json_schema_alike(path: Path, tmp_path: Path) -> None:
    cls = format_of(path)
    validator = jsonschema.Draft202012Validator(cls.json_schema())
    content = json.loads(path.read_text())
    if "videos" in content:
        content["videos"] = dict([*content["videos"].items()][:2])
    file = tmp_path / "broken.json"
    tried = 0
    for place, wrong in faults(content, OPTIONAL[cls]):
        broken = changed(content, place, wrong)
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError) as error:
            cls.read(file)
        assert str(file) in str(error.value)
        assert all(str(part) in str(error.value) for part in place)
        assert isinstance(wrong, float) or not validator.is_valid(broken), (place, wrong)  # JSON has no NaN
        tried += 1
    assert tried > 50


def test_importing_ppgym_does_not_import_pydantic() -> None:
    code = "import sys, ppgym; assert 'pydantic' not in sys.modules; ppgym.Scenario(); assert 'pydantic' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
