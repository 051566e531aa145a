"""Network traces: the common formats, every way a file can be broken, the digests, the splits."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ppgym.files import data_root
from ppgym.world.networks import SPLITS, NetworkTrace, describe_traces, load_network, load_traces

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        path = tmp_path / "trace.txt"
        path.write_text(text)
        return path

    return write_file


@pytest.fixture(scope="module")
def make() -> ModuleType:
    path = Path(__file__).parents[2] / "traces" / "make.py"
    spec = importlib.util.spec_from_file_location("make", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_rate_holds_over_the_interval_that_ends_at_its_stamp(write: Write) -> None:
    trace = NetworkTrace.read(write("10.0 99\n11.0 1\n\n11.5\t4\n14 0\n"))
    assert trace.name == "trace.txt"
    np.testing.assert_array_equal(trace.edges_s, [0, 1, 1.5, 4])
    np.testing.assert_array_equal(trace.rates_bps, [1e6, 4e6, 0])
    np.testing.assert_array_equal(trace.cumulative_bits, [0, 1e6, 3e6, 3e6])
    assert trace.duration_s == 4
    assert trace.mean_bps == 0.75e6


def test_mahimahi_counts_packets_per_half_second_and_ends_at_the_last_stamp(write: Write) -> None:
    trace = NetworkTrace.read(write("0\n0\n100\n499\n500\n1250\n1250\n"))
    np.testing.assert_array_equal(trace.edges_s, [0, 0.5, 1.0, 1.25])
    np.testing.assert_allclose(trace.rates_bps, [4 * 12000 / 0.5, 12000 / 0.5, 2 * 12000 / 0.25])
    assert trace.cumulative_bits[-1] == pytest.approx(7 * 12000)


def test_one_mahimahi_packet_is_a_trace(write: Write) -> None:
    trace = NetworkTrace.read(write("1\n"))
    np.testing.assert_allclose(trace.rates_bps, [12e6])


def test_six_columns_go_by_bytes_and_elapsed_time(write: Write) -> None:
    norway = "1289406399 549001 59.85 10.78 125000 1000\n1289406400 550001 59.85 10.78 0 500\n"
    trace = NetworkTrace.read(write(norway))
    np.testing.assert_array_equal(trace.edges_s, [0, 1, 1.5])
    np.testing.assert_array_equal(trace.rates_bps, [1e6, 0])
    ghent = "1453121790686 31 51.03 3.73 250000 1000\n1453121791686 1031 51.03 3.73 125000 1000\n"
    np.testing.assert_array_equal(NetworkTrace.read(write(ghent)).rates_bps, [2e6, 1e6])


def test_a_named_format_is_held_to(write: Write) -> None:
    path = write("0 1\n1 2\n")
    assert NetworkTrace.read(path, "seconds_mbps").rates_bps.tolist() == [2e6]
    with pytest.raises(ValueError, match=r"line 1: expected 1 columns \(milliseconds\), got 2"):
        NetworkTrace.read(path, "mahimahi")
    with pytest.raises(ValueError, match="did you mean 'mahimahi'"):
        NetworkTrace.read(path, "mahimah")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("0 1\n", "line 1: expected two stamps or more"),
        ("0 1\n2 2\n1 3\n", "line 3: expected a stamp after"),
        ("0 1\n1 -2\n", "line 2: expected Mbit/s, a finite number of at least 0, got '-2'"),
        ("0 1\n1 nan\n", "line 2: expected Mbit/s, a finite number of at least 0, got 'nan'"),
        ("0 1\n1 inf\n", "line 2: expected Mbit/s"),
        ("nan 1\n1 1\n", "line 1: expected seconds"),
        ("0 1\n1 2\n2 \n", r"line 3: expected 2 columns \(seconds Mbit/s\), got 1: '2'"),
        ("0 1\n1 fast\n", "line 2: expected Mbit/s, a finite number of at least 0, got 'fast'"),
        ("0 5\n1 0\n2 0\n", "trace.txt: every rate is 0"),
        ("1 2 3\n", "looks like rows of 3 columns; known formats of traces are"),
        ("5\n4\n", "line 2: expected a stamp of 5 ms or later, got 4"),
        ("-5\n", "line 1: expected a whole number of milliseconds"),
        ("1.5\n", "line 1: expected a whole number of milliseconds"),
        ("0\n0\n", "line 2: expected a last stamp after 0 ms"),
        ("1 1 0 0 10 1000\n2 2 0 0 10 10", None),
        ("1 1 0 0 10 1000\n2 2 0 0 10", "line 2: expected 6 columns"),
        ("1 1 0 0 10 1000\n2 2 0 0 -1 1000\n", "line 2: expected bytes"),
        ("1 1 0 0 10 1000\n2 2 0 0 10 0\n", "line 2: expected elapsed milliseconds above 0, got '0'"),
        ("1 1 0 0 0 1000\n", "trace.txt: every rate is 0"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_line(write: Write, text: str, message: str | None) -> None:
    path = write(text)
    if message is None:
        NetworkTrace.read(path)
        return
    with pytest.raises(ValueError, match=message) as error:
        NetworkTrace.read(path)
    assert str(path) in str(error.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.txt: no such file"):
        NetworkTrace.read(tmp_path / "gone.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe1 2\n")
    with pytest.raises(ValueError, match="binary: expected UTF-8 text, got the byte 0xff"):
        NetworkTrace.read(tmp_path / "binary")


@pytest.mark.parametrize(
    ("edges_s", "rates_bps", "message"),
    [
        ([0.0], [], "T >= 1 rates"),
        ([0.0, 1.0], [1.0, 2.0], r"T \+ 1 edges"),
        ([1.0, 2.0], [1.0], "start at 0"),
        ([0.0, 1.0, 1.0], [1.0, 1.0], "strictly increase"),
        ([0.0, np.nan], [1.0], "finite edges"),
        ([0.0, 1.0], [-1.0], "at least 0"),
        ([0.0, 1.0], [np.nan], "finite rates"),
        ([0.0, 1.0], [0.0], "nothing would ever arrive"),
    ],
)
def test_a_trace_keeps_its_invariants(edges_s: list[float], rates_bps: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkTrace("t", np.array(edges_s), np.array(rates_bps))


def test_a_trace_owns_read_only_copies() -> None:
    rates_bps = np.array([1.0, 2.0])
    trace = NetworkTrace("t", np.array([0.0, 1.0, 2.0]), rates_bps)
    rates_bps[0] = 9
    assert trace.rates_bps[0] == 1
    for array in (trace.edges_s, trace.rates_bps, trace.cumulative_bits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_generated_traces_of_another_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((data_root() / "networks" / "digests.json").read_text())
    content["low"]["test"] = "0" * 64
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "digests.json").write_text(json.dumps(content))
    monkeypatch.setattr("ppgym.world.networks.data_root", lambda: tmp_path)
    load_network.cache_clear()
    message = "digests.json: the generated traces of network 'low', split 'test' .* expected 0{64}.*traces/make.py"
    with pytest.raises(ValueError, match=message):
        load_traces("low", "test")
    assert len(load_traces("low", "train")) == 256
    load_network.cache_clear()


def test_shipped_data_is_made_again_byte_for_byte(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["make.py", "--output", str(tmp_path)])
    make.main()
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    root = data_root()
    shipped = {path.relative_to(root): path for path in root.rglob("*") if path.suffix == ".json"}
    assert made.keys() <= shipped.keys()
    assert all(path.parts[0] == "devices" for path in shipped.keys() - made.keys())  # measured profiles are not made
    assert [path for path, content in made.items() if content != shipped[path].read_bytes()] == []


def _fill(folder: Path, names: list[str]) -> None:
    for rate, name in enumerate(names, 1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"0 1\n1 {rate}\n")


def test_a_folder_is_split_by_position(tmp_path: Path) -> None:
    _fill(
        tmp_path, [f"{name}/{i}" for name in ("high", "low") for i in range(5)] + [".hidden/x", "low/.y", "README.md"]
    )
    names = {split: [trace.name for trace in load_traces(tmp_path, split)] for split in SPLITS}
    assert names == {
        "train": ["high/0", "high/3", "high/4", "low/0", "low/3", "low/4"],
        "validation": ["high/1", "low/1"],
        "test": ["high/2", "low/2"],
    }
    assert [trace.mean_bps for trace in load_traces(str(tmp_path), "test")] == [3e6, 8e6]


@pytest.mark.parametrize("count", range(3, 12))
def test_every_split_of_a_folder_has_a_trace(tmp_path: Path, count: int) -> None:
    _fill(tmp_path, [f"{i:02}" for i in range(count)])
    names = [trace.name for split in SPLITS for trace in load_traces(tmp_path, split)]
    assert sorted(names) == [f"{i:02}" for i in range(count)]
    assert all(load_traces(tmp_path, split) for split in SPLITS)


def test_loading_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no network, no file and no folder 'meduim'; did you mean 'medium'\?"):
        load_traces("meduim", "train")
    with pytest.raises(ValueError, match="unknown split 'tst'; did you mean 'test'"):
        load_traces("low", "tst")
    _fill(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match="expected at least 3 trace files to split, got 2"):
        load_traces(tmp_path, "train")
    (tmp_path / "c").write_text("0 1\n1 x\n")
    with pytest.raises(ValueError, match="c, line 2"):
        load_traces(tmp_path, "test")


def test_one_file_is_all_splits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "lte.txt"
    path.write_text("0 1\n1 2\n2 6\n4 0.5\n")
    for split in SPLITS:
        traces, notes = load_network(path, split)
        assert [trace.name for trace in traces] == ["lte.txt"]
        assert notes == ("one trace, which serves training, validation and test",)
    assert describe_traces(path, "test") == (
        f"{path}: 1 trace (test), mean 2.25 Mbit/s, median 0.5, floor 0.5, 4 s; "
        "one trace, which serves training, validation and test"
    )


def test_folders_of_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    _fill(tmp_path, ["train/a", "train/b", "validation/a", "test/a", "test/README", "other/x"])
    names = {split: [trace.name for trace in load_traces(tmp_path, split)] for split in SPLITS}
    assert names == {"train": ["a", "b"], "validation": ["a"], "test": ["a"]}
    assert load_network(tmp_path, "test").notes == ("left out: README", "splits as its folders are")


def test_a_folder_of_trains_is_no_split(tmp_path: Path) -> None:
    _fill(tmp_path, ["bus/a", "car/a", "train/a"])
    assert [trace.name for split in SPLITS for trace in load_traces(tmp_path, split)] == ["bus/a", "car/a", "train/a"]


def test_folders_of_splits_must_be_whole(tmp_path: Path) -> None:
    _fill(tmp_path, ["train/a", "test/a"])
    with pytest.raises(ValueError, match="expected folders train, validation, test or none of them, got train, test"):
        load_traces(tmp_path, "train")
    (tmp_path / "validation").mkdir()
    with pytest.raises(ValueError, match="validation: expected trace files, got none"):
        load_traces(tmp_path, "validation")


def test_what_is_no_trace_is_left_out_and_said(tmp_path: Path) -> None:
    _fill(tmp_path, ["a", "b", "c", "README", "Makefile", "x.pkl", "Thumbs.db", "sub/LICENSE", ".git/HEAD", "notes.md"])
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04")
    line = describe_traces(tmp_path, "train")
    assert line == (
        f"{tmp_path}: 1 trace (train), mean 1 Mbit/s, median 1, floor 1, 1 s; "
        "left out: .git/HEAD, Makefile, README, Thumbs.db and 3 more"
    )


def test_an_unknown_file_is_not_guessed_at(tmp_path: Path) -> None:
    _fill(tmp_path, ["a", "b", "c"])
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(ValueError, match=r"d\.json: looks like JSON; known formats of traces are"):
        load_traces(tmp_path, "train")


def test_uplinks_do_not_mix_with_downlinks(tmp_path: Path) -> None:
    both, alone = tmp_path / "both", tmp_path / "alone"
    _fill(both, ["evdo.up", "lte.up", "umts.up"])
    _fill(alone, ["evdo.up", "lte.up", "umts.up"])
    for number, name in enumerate(("evdo", "lte", "umts"), 1):
        (both / f"{name}.down").write_text(f"{number}\n{1000 * number}\n")
    names = [trace.name for split in SPLITS for trace in load_traces(both, split)]
    assert names == ["evdo.down", "lte.down", "umts.down"]
    assert load_network(both, "train").notes == ("uplinks left out: evdo.up, lte.up, umts.up",)
    assert [trace.name for split in SPLITS for trace in load_traces(alone, split)] == ["evdo.up", "lte.up", "umts.up"]


def test_notes_of_traces_are_those_of_the_folder(tmp_path: Path) -> None:
    _fill(tmp_path, ["a", "b"])
    (tmp_path / "c").write_text("0 1\n1 2\n1 4\n")
    assert load_network(tmp_path, "train").notes == ("c: 1 of 2 stamps have several samples, which are averaged",)


def test_loads_are_cached() -> None:
    assert load_traces("low", "test") is load_traces("low", "test")


@pytest.mark.skipif("PPGYM_MMGC2022" not in os.environ, reason="PPGYM_MMGC2022 names no folder of MMGC 2022 data")
def test_mmgc_networks_are_read_and_ours_are_like_them() -> None:
    root = Path(os.environ["PPGYM_MMGC2022"]) / "network_traces"
    for network in ("low", "medium", "high"):
        traces = load_traces(root / network, "train")
        assert all(np.allclose(np.diff(trace.edges_s), 0.5) for trace in traces)
        real_mbps = np.concatenate([trace.rates_bps for trace in traces]) / 1e6
        ours_mbps = np.concatenate([trace.rates_bps for trace in load_traces(network, "train")]) / 1e6
        assert ours_mbps.mean() == pytest.approx(real_mbps.mean(), rel=0.05)
        assert ours_mbps.std() == pytest.approx(real_mbps.std(), rel=0.1)
