"""Files are written whole or not at all, JSON lines come back, and values agree up to a tolerance."""

from pathlib import Path
from typing import Any

import pytest

from ppgym.files import (
    agree,
    check_free,
    parse_json,
    read_json,
    read_json_lines,
    replacing,
    write_json_lines,
    write_text,
)


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("new, in pa")
        raise RuntimeError
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_come_back_with_their_places(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "some.jsonl"
    write_json_lines(path, [{"a": 1}], packed=not packed)
    write_json_lines(path, [{"a": 1}, {"b": [0.5, None]}], packed)
    name = "some.jsonl.gz" if packed else "some.jsonl"
    assert [each.name for each in tmp_path.iterdir()] == [name]
    found = list(read_json_lines(path))
    assert found == [(f"{tmp_path / name}, line 1", {"a": 1}), (f"{tmp_path / name}, line 2", {"b": [0.5, None]})]


def test_lines_that_are_no_objects_are_refused_by_place(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    with pytest.raises(FileNotFoundError, match=r"expected a file some\.jsonl or some\.jsonl\.gz"):
        list(read_json_lines(path))
    for line, message in (("[1]", "line 2: expected a JSON object, got list"), ("{", "line 2: expected JSON")):
        path.write_text(f"{{}}\n{line}\n")
        with pytest.raises(ValueError, match=message):
            list(read_json_lines(path))


def test_a_key_that_stands_twice_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"a": {"b\\"": 1},\n "c": [{"b": "a"}],\n "rows": [{"a": 1, "b": {},\n\n "\\u0061" : 2}]}')
    with pytest.raises(ValueError, match=r"one\.json, line 5: key 'a' stands twice in one object"):
        read_json(path)
    path.with_suffix(".jsonl").write_text('{"a": 1}\n{"agent": "x", "agent": "y"}\n')
    with pytest.raises(ValueError, match=r"one\.jsonl, line 2: key 'agent' stands twice"):
        list(read_json_lines(path.with_suffix(".jsonl")))
    assert parse_json('[{"a": {"a": 1}}, {"a": 1}]', "here") == [{"a": {"a": 1}}, {"a": 1}]


def test_files_that_are_there_are_refused(tmp_path: Path) -> None:
    check_free(tmp_path / "missing", ["a"])
    check_free(tmp_path, ["a"])
    (tmp_path / "a").touch()
    check_free(tmp_path, ["b"])
    with pytest.raises(ValueError, match="a: is here already"):
        check_free(tmp_path, ["b", "a"])
    with pytest.raises(ValueError, match="a: expected a folder"):
        check_free(tmp_path / "a", [])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1e6, 1e6 + 1e-4, True),
        (1e6, 1e6 + 1e-2, False),
        (0.0, 1e-10, True),
        (0.0, 1e-8, False),
        (1, 1.0, True),
        (True, 1, False),
        (None, 0.0, False),
        ("a", "a", True),
        ({"a": [1.0, {"b": 2.0}]}, {"a": [1.0 + 1e-12, {"b": 2.0}]}, True),
        ({"a": [1.0, {"b": 2.0}]}, {"a": [1.0, {"b": 2.1}]}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [1, 2, 3], False),
        (float("inf"), float("inf"), True),
    ],
)
def test_values_agree_up_to_the_tolerance(one: Any, other: Any, same: bool) -> None:
    assert agree(one, other) == agree(other, one) == same
