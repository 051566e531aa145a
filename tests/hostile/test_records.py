"""Records and results of anybody: bombs, damage, wrong types, and paths that lead out of the shipped data."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import REGISTRY
from ppgym.benchmark.records import check_paths, read_records
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.validation import check_run, validate
from ppgym.files import MAX_LINE_BYTES, parse_json

ROOT = Path(__file__).parents[2]
RECORD: dict[str, Any] = {
    "scenario": "low/pixels-only/typical",
    "seed": 1,
    "agent": "on_demand",
    "split": "test",
    "actions": [0, 1],
    "totals": {"return": 1.0},
}


def write_line(folder: Path, **values: Any) -> None:
    (folder / "records.jsonl").write_text(json.dumps(RECORD | values) + "\n")


def line_of(megabytes: int, piece: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with gzip.open(folder / "records.jsonl.gz", "wb", compresslevel=1) as file:
            for _ in range(megabytes):
                file.write(piece * (2**20 // len(piece)))

    return write


MEASURED = """
import resource, sys
from pathlib import Path
from ppgym.benchmark.records import read_records
mib = 2**20 if sys.platform == "darwin" else 2**10  # in the units of ru_maxrss: bytes there, KiB elsewhere
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(read_records(Path(sys.argv[1])))
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // mib)
"""


@pytest.mark.parametrize("piece", [b" ", b"[", b'{"a":', b"1", b'"', b"[],"], ids=repr)
def test_a_packed_line_of_half_a_gigabyte_is_refused_in_little_memory(tmp_path: Path, piece: bytes) -> None:
    line_of(512, piece)(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    said, grown_mib = run.stdout.splitlines()
    assert f"line 1: expected at most {MAX_LINE_BYTES:,} bytes" in said
    assert int(grown_mib) < 200


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 400 + "}", '{"a": [' + "1" * 5000 + "]}"],
    ids=["brackets", "braces", "400 digits", "5000 digits"],
)
def test_json_that_cannot_be_read_is_refused_at_once(text: str) -> None:
    started_s = time.perf_counter()
    with pytest.raises(ValueError, match=r"file, line 8: expected JSON that can be read"):
        parse_json("\n\n" + text, "file", 6)
    assert time.perf_counter() - started_s < 5


def test_long_digits_in_a_text_are_no_number() -> None:
    assert parse_json('{"a": "' + "9" * 400 + '"}', "file") == {"a": "9" * 400}
    assert parse_json("[" * 50 + "]" * 50, "file")


def test_any_flipped_byte_of_a_packed_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl.gz"
    data = gzip.compress("".join(json.dumps(RECORD | {"seed": seed}) + "\n" for seed in range(40)).encode(), mtime=0)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            list(read_records(tmp_path))
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision_us": {"9" * 400: 1}},
        {"decision_us": {"-5": 1}},
        {"decision_us": {"five": 1}},
        {"decision_us": {"5": -1}},
        {"decision_us": {"5": 10**20}},
        {"decision_us": []},
        {"totals": {"return": float("nan")}},
        {"totals": {"return": 10**350}},
        {"totals": {"return": "1"}},
        {"wall_time_s": -1.0},
        {"wall_time_s": float("inf")},
        {"agent": "a\nb"},
        {"agent": "\x1b[31mred"},
        {"agent": ""},
        {"agent": "a" * 300},
        {"scenario": "a\u2028b"},
        {"params": {"a": "x" * 2**20}},
        {"actions": [1.0]},
        {"actions": {"1": 1}},
        {"seed": -1},
        {"seed": True},
    ],
    ids=lambda wrong: repr(wrong)[:40],
)
def test_a_wrong_value_of_a_record_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write_line(tmp_path, **wrong)
    (key,) = wrong
    with pytest.raises(ValueError, match=f"line 1: (key '{key}'|expected JSON)"):
        list(read_records(tmp_path))


PATHS = ["/etc", "/proc", "/etc/passwd", "../..", "traces/networks", "~", "x\0y", "/dev/zero"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", ["network", "device", "viewer", "videos", "viewers", "ladder"])
def test_records_do_not_lead_out_of_the_shipped_data(tmp_path: Path, field: str, path: str) -> None:
    write_line(tmp_path, overrides={field: path})
    with pytest.raises(ValueError) as refused:
        check_run(tmp_path, REGISTRY)
    assert f"{field}: expected the name of shipped data" in str(refused.value) or "null byte" in str(refused.value)


@pytest.mark.parametrize("name", ["/etc/x.yml", "x.json", "../x.yaml"])
def test_the_scenario_of_a_record_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.json").write_text('{"network": "low"}')
    write_line(tmp_path, scenario=name)
    with pytest.raises(ValueError, match="scenario: expected a name, not a file"):
        check_run(tmp_path, REGISTRY)


def test_links_do_not_lead_out_of_the_named_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("/etc")
    (tmp_path / "data" / "inside").mkdir()
    check_paths([RECORD | {"overrides": {"network": str(tmp_path / "data" / "inside")}}], tmp_path / "data")
    for path in (tmp_path / "data" / "link", tmp_path / "data" / ".." / "other", "/etc"):
        with pytest.raises(ValueError, match=r"record 1: network: expected .* a path in"):
            check_paths([RECORD | {"overrides": {"network": str(path)}}], tmp_path / "data")


@pytest.mark.parametrize("link", ["traces/a.txt", "traces/deep/b.txt", "traces/folder", "list/media.m3u8"])
def test_links_below_a_named_path_do_not_lead_out_either(tmp_path: Path, link: str) -> None:
    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    (outside / "secret").write_text("0 1\n")
    for folder in ("traces/deep", "list"):
        (data / folder).mkdir(parents=True)
    (data / "traces" / "again").symlink_to(data / "traces")  # a loop inside
    (data / "list" / "itself").symlink_to("itself")
    records = [
        RECORD | {"overrides": {field: str(data / path)}}
        for field, path in (("network", "traces"), ("videos", "list/all.m3u8"))
    ]
    check_paths(records, data)
    (data / link).symlink_to(outside if link == "traces/folder" else outside / "secret")
    with pytest.raises(ValueError, match=rf"expected .* a path in .*: '{data / link}' lies elsewhere"):
        check_paths(records, data)


def test_a_run_on_ones_own_traces_comes_back_with_their_folder(tmp_path: Path) -> None:
    trace = tmp_path / "traces" / "mine.txt"
    trace.parent.mkdir()
    trace.write_text("# seconds Mbit/s\n" + "".join(f"{second} {1 + second % 3}\n" for second in range(60)))
    run_benchmark(
        REGISTRY,
        ["on_demand"],
        ["low/pixels-only/skimmer"],
        sessions=1,
        overrides={"network": str(trace)},
        output=tmp_path / "run",
    )
    with pytest.raises(ValueError, match="network: expected the name of shipped data, or with --data FOLDER"):
        check_run(tmp_path / "run", REGISTRY)
    assert validate(tmp_path / "run", REGISTRY, trace.parent).records == 1
