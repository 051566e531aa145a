"""Files of records and the journal of an unfinished run: what a kill leaves, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.benchmark.records import Journal, read_records, write_records

RECORD = {"scenario": "a", "seed": 1, "agent": "b", "split": "test", "actions": [0, 1], "totals": {"return": 0.5}}


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_written_is_read_and_replaces_the_other_form(tmp_path: Path, packed: bool) -> None:
    write_records(tmp_path, [RECORD], packed=not packed)
    write_records(tmp_path, [RECORD, RECORD | {"seed": 2}], packed=packed)
    assert [record["seed"] for record in read_records(tmp_path)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_records(tmp_path / name, [RECORD], packed=True)
    one, other = ((tmp_path / name / "records.jsonl.gz").read_bytes() for name in ("one", "other"))
    assert one == other


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: expected JSON"),
        ("3", "line 1: expected a JSON object, got int"),
        ("{}", "expected a record with a key 'scenario'"),
        (json.dumps(RECORD | {"actions": [0.5]}), "key 'actions': expected a list of whole numbers"),
        (json.dumps(RECORD | {"actions": "no"}), "key 'actions'"),
        (json.dumps(RECORD | {"totals": {"return": "1"}}), "key 'totals'"),
        (json.dumps(RECORD | {"seed": -1}), "key 'seed': expected a whole number >= 0 of 64 bits, got -1"),
        (json.dumps(RECORD | {"seed": True}), "key 'seed'"),
        (json.dumps(RECORD | {"seed": 1 << 200}), "key 'seed'"),
        (json.dumps(RECORD | {"agent": None}), "key 'agent': expected text, got None"),
        (json.dumps(RECORD | {"agent": ["x"]}), r"key 'agent': expected text, got \['x'\]"),
        (json.dumps(RECORD | {"scenario": 5}), "key 'scenario': expected text"),
        (json.dumps(RECORD | {"params": 5}), "key 'params': expected an object, got 5"),
        (json.dumps(RECORD | {"overrides": None}), "key 'overrides': expected an object"),
        (json.dumps(RECORD | {"versions": []}), "key 'versions': expected an object"),
        *(
            (json.dumps(RECORD | {"decision_us": each}), "key 'decision_us': expected")
            for each in (5, {}, {"nan": 1}, {"1_0": 1}, {"10": 0}, {"10": "many"})
        ),
        (json.dumps(RECORD | {"award": 1}), "unknown key 'award'"),
        (json.dumps(RECORD)[:-1] + ', "agent": "mcts"}', "line 1: key 'agent' stands twice"),
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "records.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        list(read_records(tmp_path))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(RECORD).encode() * 100)
    for content in (packed[: len(packed) // 2], b"no archive"):
        (tmp_path / "records.jsonl.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"records\.jsonl\.gz"):
            list(read_records(tmp_path))


def test_two_files_of_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    (tmp_path / "records.jsonl.gz").touch()
    with pytest.raises(ValueError, match="holds both"):
        list(read_records(tmp_path))


@given(kept=st.lists(st.integers(0, 99), unique=True, max_size=6), data=st.data())
def test_a_kill_at_any_byte_loses_the_line_being_written_alone(
    tmp_path_factory: pytest.TempPathFactory, kept: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, "plan") as journal:
        for place in kept:
            journal.keep(place, RECORD | {"seed": place})
    content = journal.path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    journal.path.write_bytes(content[:cut])
    whole = max(content[:cut].count(b"\n") - 2, 0)  # the plan, and whose it is
    with Journal(folder, "plan") as again:
        assert list(again.finished) == kept[:whole]
        again.keep(100, RECORD)
    with Journal(folder, "plan") as again:
        assert list(again.finished) == [*kept[:whole], 100]


def test_the_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path, "one plan") as journal:
        journal.keep(0, RECORD)
    with pytest.raises(ValueError, match=r"unfinished\.jsonl: holds 1 episodes of an interrupted run"):
        Journal(tmp_path, "another")
