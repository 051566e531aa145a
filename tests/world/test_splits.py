"""No leak between splits: what was cut from one drive stays together, and nothing else does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppgym.world.networks import SPLITS, NetworkTrace, load_network, load_traces
from ppgym.world.splits import Samples, drives, split_names

Write = Callable[[str, np.ndarray], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_trace(name: str, mbps: np.ndarray, start: float = 0.0) -> None:
        rows = [f"{start + second} {rate}\n" for second, rate in enumerate(mbps)]
        (tmp_path / name).write_text("".join(rows))

    return write_trace


def drive(seed: int, seconds: int = 600) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 2, seconds).round(4)


def samples(mbps: np.ndarray) -> Samples:
    return Samples(np.arange(len(mbps) + 1.0), mbps * 1e6)


def test_overlapping_windows_stay_together(tmp_path: Path, write: Write) -> None:
    for number in range(4):
        rates = drive(number)
        for start in (0, 120, 240):
            write(f"{'abcd'[number]}{start // 120}", rates[start : start + 200])
    found = [load_network(tmp_path, split) for split in SPLITS]
    names = [[trace.name for trace in network.traces] for network in found]
    assert names == [["a0", "a1", "a2", "d0", "d1", "d2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]
    assert found[0].notes == ("12 files of 4 drives, split by drive",)


def test_windows_of_too_few_drives_are_refused_by_name(tmp_path: Path, write: Write) -> None:
    for number in range(2):
        rates = drive(number)
        for start in range(0, 400, 100):
            write(f"{'ab'[number]}{start // 100}", rates[start : start + 140])
    message = (
        "expected traces of at least 3 drives to split, got 2. These files share samples or a name: "
        "a0, a1, a2, a3; b0, b1, b2, b3. .* give folders train/, validation/ and test/ in it"
    )
    with pytest.raises(ValueError, match=message):
        load_traces(tmp_path, "train")
    write("c", drive(5))
    assert [trace.name for trace in load_traces(tmp_path, "test")] == ["c"]


def test_names_that_count_offsets_are_of_one_drive() -> None:
    names = ["drive7_360_0", "drive7_480_0", "drive9_0_1", "drive9_60_1", "x/drive7_360_0", "x/drive7_0_0.gz"]
    traces = {name: samples(drive(seed, 50)) for seed, name in enumerate(names)}
    assert drives(traces) == [names[:2], names[2:4], ["x/drive7_0_0.gz", "x/drive7_360_0"]]


@pytest.mark.parametrize(
    "names",
    [
        ["trace_5_1", "trace_6_1", "trace_7_2"],  # users and their sessions
        ["lte_2019_01", "lte_2019_02", "lte_2020_01"],
        ["norway_bus_1", "norway_bus_2", "norway_bus_30"],
        ["0", "1", "2"],
        ["10_10", "10_20", "10_30"],
    ],
)
def test_other_names_say_nothing(names: list[str]) -> None:
    traces = {name: samples(drive(seed, 50)) for seed, name in enumerate(names)}
    assert drives(traces) == [[name] for name in sorted(names)]


def test_equal_files_are_of_one_drive() -> None:
    short = np.array([1.0, 2.0])
    traces = {"a": samples(short), "b": samples(short + 1), "c": samples(short), "d": samples(np.ones(100))}
    assert drives(traces) == [["a", "c"], ["b"], ["d"]]


def test_runs_that_many_links_have_are_no_drive() -> None:
    square = np.tile([1.0, 5.0], 100)
    silent = np.zeros(100)
    traces = {str(k): samples(np.concatenate([drive(k, 50), square, silent])) for k in range(4)}
    assert len(drives(traces)) == 4


def test_shorter_runs_are_chance() -> None:
    rates = drive(1)
    shared = {"a": samples(np.append(rates[:29], 1.5)), "b": samples(np.append(2.5, rates[:29]))}
    assert len(drives(shared)) == 2
    shared = {"a": samples(np.append(rates[:30], 1.5)), "b": samples(np.append(2.5, rates[:30]))}
    assert len(drives(shared)) == 1


def test_windows_with_clocks_of_their_own_are_found(tmp_path: Path, write: Callable[..., None]) -> None:
    rates = drive(3)
    write("a", rates[:300], 1289406399.123)
    write("b", rates[200:], 0.0)
    traces = {name: NetworkTrace.read(tmp_path / name) for name in "ab"}
    assert len(drives({name: Samples(one.edges_s, one.rates_bps) for name, one in traces.items()})) == 1


def test_drives_are_split_by_fives() -> None:
    groups = [[f"{k}"] for k in range(7)]
    assert [split_names("f", groups, split) for split in SPLITS] == [{"0", "3", "4", "5"}, {"1", "6"}, {"2"}]


def test_a_thousand_traces_are_quick() -> None:
    traces = {f"{k:04}": samples(drive(k, 300)) for k in range(1000)}
    assert len(drives(traces)) == 1000
