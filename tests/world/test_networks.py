"""Network traces: the three formats, every way a file can be broken, the generated classes, the splits."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ppgym.files import data_root
from ppgym.world.networks import NETWORKS, SPLITS, NetworkTrace, generate_trace, load_traces

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
        ("0 1\n", "line 1: expected two rows or more"),
        ("0 1\n1 2\n1 3\n", "line 3: expected a stamp after the line before it, got 1 s"),
        ("0 1\n2 2\n1 3\n", "line 3: expected a stamp after"),
        ("0 1\n1 -2\n", "line 2: expected Mbit/s, a finite number of at least 0, got '-2'"),
        ("0 1\n1 nan\n", "line 2: expected Mbit/s, a finite number of at least 0, got 'nan'"),
        ("0 1\n1 inf\n", "line 2: expected Mbit/s"),
        ("nan 1\n1 1\n", "line 1: expected seconds"),
        ("0 1\n1 2\n2 \n", r"line 3: expected 2 columns \(seconds Mbit/s\), got 1: '2'"),
        ("0 1\n1 fast\n", "line 2: expected Mbit/s, a finite number of at least 0, got 'fast'"),
        ("0 5\n1 0\n2 0\n", "line 3: every rate up to here is 0"),
        ("1 2 3\n", "line 1: expected 1, 2 or 6 columns, got 3"),
        ("5\n4\n", "line 2: expected a stamp of 5 ms or later, got 4"),
        ("-5\n", "line 1: expected a whole number of milliseconds"),
        ("1.5\n", "line 1: expected a whole number of milliseconds"),
        ("0\n0\n", "line 2: expected a last stamp after 0 ms"),
        ("1 1 0 0 10 1000\n2 2 0 0 10 10", None),
        ("1 1 0 0 10 1000\n2 2 0 0 10", "line 2: expected 6 columns"),
        ("1 1 0 0 10 1000\n2 2 0 0 -1 1000\n", "line 2: expected bytes"),
        ("1 1 0 0 10 1000\n2 2 0 0 10 0\n", "line 2: expected elapsed milliseconds above 0, got '0'"),
        ("2 2 0 0 10 1000\n1 3 0 0 10 1000\n", "line 2: expected clocks that never run back"),
        ("1 1 0 0 0 1000\n", "line 1: every rate up to here is 0"),
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


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(1e-3, 100), st.floats(0, 1e9)), min_size=1, max_size=20))
def test_written_traces_read_back(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, float]]) -> None:
    assume(max(rate_bps for _, rate_bps in steps) > 1)
    edges_s = np.concatenate(([0.0], np.cumsum([width_s for width_s, _ in steps])))
    trace = NetworkTrace("t", edges_s, np.array([rate_bps for _, rate_bps in steps]))
    path = tmp_path_factory.getbasetemp() / "new" / "folder" / "t"
    trace.write(path)
    again = NetworkTrace.read(path)
    np.testing.assert_allclose(again.edges_s, trace.edges_s, rtol=1e-11)
    np.testing.assert_allclose(again.rates_bps, trace.rates_bps, rtol=1e-11, atol=1e-9)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    generate_trace("low", 1, 10).write(path)
    before = path.read_text()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        generate_trace("low", 2, 10).write(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


# network: mean of the class and of its 10th and 90th percentile, Mbit/s; FACTS of the MMGC 2022 networks, 5g assumed
CLASSES = {
    "low": (1.20, 0.62, 1.95),
    "medium": (1.61, 0.73, 2.74),
    "high": (3.58, 1.50, 5.84),
    "mixed": (1.59, 0.59, 2.78),
    "5g": (60.0, 14.0, 115.0),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_generated_classes_look_like_the_facts(network: str) -> None:
    traces = [generate_trace(network, seed) for seed in range(150)]
    rates_mbps = np.concatenate([trace.rates_bps for trace in traces]) / 1e6
    mean, p10, p90 = CLASSES[network]
    assert rates_mbps.mean() == pytest.approx(mean, rel=0.05)
    np.testing.assert_allclose(np.percentile(rates_mbps, [10, 90]), [p10, p90], rtol=0.15)
    floor, peak = (1.0, 250.0) if network == "5g" else (0.2, 12.0)
    assert rates_mbps.min() >= floor
    assert rates_mbps.max() <= peak
    np.testing.assert_array_equal(np.diff(traces[0].edges_s), 0.5)
    assert traces[0].duration_s == 600


def test_mixed_traces_differ_from_each_other_and_plain_ones_do_not() -> None:
    means = {n: np.array([generate_trace(n, seed).mean_bps for seed in range(100)]) / 1e6 for n in ("low", "mixed")}
    assert np.ptp(means["low"]) < 0.4
    assert means["mixed"].min() > 1.0
    assert means["mixed"].min() < 1.2
    assert 3.0 < means["mixed"].max() < 4.0


def test_rates_have_a_memory_of_seconds_not_of_minutes() -> None:
    """Lag 0.5 s of the MMGC 2022 low class: 0.25 to 0.29; lag 20 s: -0.01 to 0.07."""

    def autocorrelation(samples: int) -> float:
        found = []
        for seed in range(40):
            x = generate_trace("low", seed).rates_bps
            found.append(np.corrcoef(x[:-samples], x[samples:])[0, 1])
        return float(np.mean(found))

    assert autocorrelation(1) == pytest.approx(0.27, abs=0.06)
    assert autocorrelation(40) == pytest.approx(0.0, abs=0.06)


def test_5g_fades_last_seconds() -> None:
    faded = np.concatenate([generate_trace("5g", seed).rates_bps < 2e6 for seed in range(60)])
    assert faded.mean() == pytest.approx(0.1, abs=0.025)
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], faded.astype(int), [0])))))[::2] * 0.5
    assert 2 <= np.median(lengths) <= 20


@pytest.mark.parametrize("network", NETWORKS)
def test_generation_is_seeded(network: str) -> None:
    first, again, other = (generate_trace(network, seed, 60.2) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.rates_bps, again.rates_bps)
    assert not np.array_equal(first.rates_bps, other.rates_bps)
    assert first.duration_s == 60.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hihg", 0), "did you mean 'high'"),
        (("low", -1), "seed of at least 0"),
        (("low", 0, 0.0), "duration above 0 s"),
        (("low", 0, float("nan")), "duration above 0 s"),
    ],
)
def test_generation_refuses_nonsense(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_trace(*arguments)


@pytest.mark.parametrize("network", NETWORKS)
def test_shipped_splits_are_disjoint_and_alike(network: str, make: ModuleType) -> None:
    rates = {split: [trace.rates_bps for trace in load_traces(network, split)] for split in SPLITS}
    assert [len(rates[split]) for split in SPLITS] == [24, 8, 16]
    assert len({array.tobytes() for arrays in rates.values() for array in arrays}) == 48
    assert len(set().union(*make.NETWORK_SEEDS.values())) == 48
    for arrays in rates.values():
        assert np.mean(arrays) / 1e6 == pytest.approx(CLASSES[network][0], rel=0.05)


def test_a_shipped_trace_is_the_generated_one() -> None:
    shipped = load_traces("mixed", "test")[1]
    generated = generate_trace("mixed", 17001)
    assert shipped.name == "mixed/test/17001"
    np.testing.assert_array_equal(shipped.edges_s, generated.edges_s)
    np.testing.assert_array_equal(shipped.rates_bps, generated.rates_bps)


def test_shipped_data_is_made_again_byte_for_byte(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["make.py", "--output", str(tmp_path)])
    make.main()
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    root = data_root()
    shipped = {path.relative_to(root): path for path in root.rglob("*") if path.suffix in (".txt", ".json")}
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
    with pytest.raises(FileNotFoundError, match=r"no network and no folder 'meduim'; did you mean 'medium'\?"):
        load_traces("meduim", "train")
    with pytest.raises(ValueError, match="unknown split 'tst'; did you mean 'test'"):
        load_traces("low", "tst")
    _fill(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match="expected at least 3 trace files to split, got 2"):
        load_traces(tmp_path, "train")
    (tmp_path / "c").write_text("0 1\n1 x\n")
    assert load_traces(tmp_path, "train")[0].name == "a"
    with pytest.raises(ValueError, match="c, line 2"):
        load_traces(tmp_path, "test")


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
