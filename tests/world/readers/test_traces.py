"""Every format of network traces, against readings in plain Python; what is fine, and what is refused and how."""

import gzip
import json
import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ppgym.world.networks import NetworkTrace
from ppgym.world.readers.columns import Columns
from ppgym.world.readers.formats import format_of

RNG = random.Random(1)
COUNT = 40


def pensieve() -> tuple[str, list[tuple[float, float]]]:
    stamp, lines, parts = 3.25, ["3.25 9.9"], []
    for _ in range(COUNT):
        step, mbps = RNG.choice([0.5, 1.0, 2.0]), round(RNG.uniform(0, 9), 6)
        stamp += step
        lines.append(f"{stamp} {mbps}")
        parts.append((step, mbps * 1e6))
    return "\n".join(lines) + "\n", parts


def oboe() -> tuple[str, list[tuple[float, float]]]:
    stamp, lines, parts = 0, ["0 1000"], []
    for _ in range(COUNT):
        step, kbps = RNG.choice([500, 1000, 5000]), RNG.randint(200, 9000)
        stamp += step
        lines.append(f"{stamp} {kbps}")
        parts.append((step / 1e3, kbps * 1e3))
    return "\n".join(lines) + "\n", parts


def mahimahi() -> tuple[str, list[tuple[float, float]]]:
    stamps = sorted(RNG.randint(0, 9000) for _ in range(400))
    return "".join(f"{stamp}\n" for stamp in stamps), [(stamps[-1] / 1e3, 400 * 12000 / (stamps[-1] / 1e3))]


def norway() -> tuple[str, list[tuple[float, float]]]:
    lines, parts = [], []
    for row in range(COUNT):
        size, elapsed = RNG.randint(0, 400_000), RNG.randint(900, 1100)
        # the clock of milliseconds restarts, and the other one runs back once
        lines.append(f"{1289406399 + row - 5 * (row == 7)} {549001 + 1000 * (row % 9)} 59.85 -10.78 {size} {elapsed}")
        parts.append((elapsed / 1e3, size * 8 / (elapsed / 1e3)))
    return "\n".join(lines) + "\n", parts


def ghent() -> tuple[str, list[tuple[float, float]]]:
    lines, parts = [], []
    for row in range(COUNT):
        size, elapsed = RNG.randint(0, 4_000_000), RNG.randint(990, 1010)
        lines.append(f"{1453121790686 + 1000 * row} {31 + 1000 * row} 51.03 3.73 {size} {elapsed}")
        parts.append((elapsed / 1e3, size * 8 / (elapsed / 1e3)))
    return "\n".join(lines) + "\n", parts


def irish() -> tuple[str, list[tuple[float, float]]]:
    lines, parts = ["Timestamp,Longitude,Speed,RSRP,DL_bitrate,UL_bitrate,State"], []
    for second in range(COUNT):
        kbps = RNG.randint(0, 60_000)
        lines.append(f"2019.11.28_07.59.{second + 10},-8.5,3,-,{kbps},12,D")
        parts.append((1.0, kbps * 1e3))
    return "\n".join(lines) + "\n", parts[1:]


def sabre() -> tuple[str, list[tuple[float, float]]]:
    entries = [
        {"duration_ms": RNG.randint(500, 9000), "bandwidth_kbps": RNG.randint(300, 9000), "latency_ms": 0}
        for _ in range(COUNT)
    ]
    return json.dumps(entries), [(one["duration_ms"] / 1e3, one["bandwidth_kbps"] * 1e3) for one in entries]


FORMATS: dict[str, tuple[Callable[[], tuple[str, list[tuple[float, float]]]], str]] = {
    "pensieve": (pensieve, "seconds_mbps"),
    "oboe": (oboe, "milliseconds_kbps"),
    "mahimahi": (mahimahi, "mahimahi"),
    "norway": (norway, "six_columns"),
    "ghent": (ghent, "six_columns"),
    "irish": (irish, "csv"),
    "sabre": (sabre, "sabre"),
}


def mean_of(parts: list[tuple[float, float]]) -> float:
    """Exact mean rate of durations and rates."""
    bits = sum(Fraction(seconds) * Fraction(bps) for seconds, bps in parts)
    return float(bits / sum(Fraction(seconds) for seconds, _ in parts))


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_known_and_its_mean_is_right(name: str, tmp_path: Path) -> None:
    make, format = FORMATS[name]
    text, parts = make()
    path = tmp_path / "trace"
    path.write_text(text)
    assert format_of(path) == format
    trace = NetworkTrace.read(path)
    assert trace.mean_bps == pytest.approx(mean_of(parts), rel=1e-12)
    assert trace.duration_s == pytest.approx(sum(seconds for seconds, _ in parts), rel=1e-12)
    assert trace.notes == ()
    named = NetworkTrace.read(path, format)
    np.testing.assert_array_equal(named.rates_bps, trace.rates_bps)


@pytest.mark.parametrize("name", FORMATS)
def test_packed_files_marks_and_line_ends_are_fine(name: str, tmp_path: Path) -> None:
    text, _ = FORMATS[name][0]()
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_text(text)
    comment = "" if name == "sabre" else "# made by hand\r\n\r\n"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + (comment + text.replace("\n", "\r\n")).encode()))
    one, other = NetworkTrace.read(plain), NetworkTrace.read(packed)
    np.testing.assert_array_equal(one.edges_s, other.edges_s)
    np.testing.assert_array_equal(one.rates_bps, other.rates_bps)


@pytest.mark.parametrize(
    ("text", "columns", "mean_bps"),
    [
        ("time,rate\n0,9\n1,2\n3,8\n", Columns("time", "rate", "Mbit/s"), 6e6),
        ("time;rate\n0;9\n1;2\n3;8\n", Columns("time", "rate", "kbit/s"), 6e3),
        ("a\ttime\trate\nx\t0\t9\nx\t1\t2\nx\t3\t8\n", Columns("time", "rate", "bytes/s"), 48),
        ("t,rate\n1000,9\n2000,2\n4000,8\n", Columns("t", "rate", "bit/s", "ms"), 6),
        (
            "t,rate\n2024-01-31T23:59:59,9\n2024-02-01T00:00:00,2\n2024-02-01 00:00:02,8\n",
            Columns("t", "rate", "kbit/s"),
            6e3,
        ),
        ('t,"the rate"\n0,9\n1,"2"\n3,8\n', Columns("t", "the rate", "bit/s", "s"), 6),
    ],
)
def test_columns_are_read_by_name_and_unit(text: str, columns: Columns, mean_bps: float, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    assert NetworkTrace.read(path, columns=columns).mean_bps == pytest.approx(mean_bps, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("time,rate\n0,1\n", None, "which columns make the trace.*columns: time, rate"),
        (
            "time,rate\n0,1\n1,2\n",
            Columns("time", "rat", "kbit/s"),
            "expected one column 'rat', got 0; columns: time, rate",
        ),
        ("time,rate\n0,1\n1,2\n", Columns("time", "rate", "kbps"), "unknown unit 'kbps'; did you mean 'kbit/s'"),
        ("time,rate\n0,1\n1000,2\n", Columns("time", "rate", "kbit/s"), "rises by 1000 from row to row; name its unit"),
        (
            "time,rate\n0,1\n1\n",
            Columns("time", "rate", "kbit/s"),
            "line 3: expected 2 columns as in the header, got 1",
        ),
        ("time,rate\n0,1\n1,1_000\n", Columns("time", "rate", "kbit/s"), "line 3: .*got '1_000'; write it in"),
        ("time,rate\n0,1\nnoon,1\n", Columns("time", "rate", "kbit/s"), "line 3: expected a stamp, a number or a date"),
        ("time,rate\n0,1\n2024-01-01,1\n", Columns("time", "rate", "kbit/s"), "line 3: expected a stamp like those"),
        ("time,rate\n", Columns("time", "rate", "kbit/s"), "expected rows after the header"),
        ("0,1\n1,2\n", Columns("time", "rate", "kbit/s"), "line 1: expected a header that names the columns"),
        ("0,1\n1,2\n", None, "looks like CSV without a header"),
        ('time,rate\n0,"1\n', Columns("time", "rate", "kbit/s"), "line 2: expected separated values"),
        (
            "time,rate\n5,1\n4,1\n",
            Columns("time", "rate", "kbit/s"),
            "line 3: expected a stamp after the line before it",
        ),
    ],
)
def test_wrong_columns_are_refused(text: str, columns: Columns | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        NetworkTrace.read(path, columns=columns)


def test_several_samples_of_a_stamp_are_averaged_and_said(tmp_path: Path) -> None:
    path = tmp_path / "5g.csv"
    rows = [(0, 100), (0, 300), (1, 400), (2, 100), (2, 200), (2, 600)]
    path.write_text("Timestamp,DL_bitrate\n" + "".join(f"2019.11.28_07.27.5{second},{kbps}\n" for second, kbps in rows))
    trace = NetworkTrace.read(path)
    np.testing.assert_array_equal(trace.rates_bps, [400e3, 300e3])
    assert trace.notes == ("2 of 3 stamps have several samples, which are averaged",)
    path.write_text("0 1\n1 2\n1 4\n")
    trace = NetworkTrace.read(path)
    assert trace.rates_bps.tolist() == [3e6]
    assert trace.notes == ("1 of 2 stamps have several samples, which are averaged",)


def test_a_list_in_one_long_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text(json.dumps([{"duration_ms": 100, "bandwidth_kbps": 500}] * 5000))
    assert NetworkTrace.read(path).duration_s == pytest.approx(500)


def test_sabres_latency_is_said(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text('[{"duration_ms": 1000, "bandwidth_kbps": 500, "latency_ms": 20}]')
    assert NetworkTrace.read(path).notes == (
        "its latency_ms (20 on average) is not part of a trace: set the scenario's rtt_s",
    )


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("0 1\n1 2\n", "seconds_mbps"),
        ("0 800\n1 900\n", "seconds_mbps"),
        ("0 1\n1 1\n2 1\n", "seconds_mbps"),
        ("0 1.5\n60 2.5\n", "seconds_mbps"),
        ("0 1500\n100 2500\n", "milliseconds_kbps"),
        ("0 150\n1000 250\n", "milliseconds_kbps"),
        ("# seconds Mbit/s\n0 1500\n1000 2500\n", "seconds_mbps"),
        ("# Milliseconds kbit/s\n0 1\n1 2\n", "milliseconds_kbps"),
    ],
)
def test_units_of_two_columns_are_told_apart(text: str, format: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    assert format_of(path) == format


@pytest.mark.parametrize("text", ["0 3000\n1 3500\n", "0 20\n100 25\n", "0 3\n1000 3\n", "0 120\n20 110\n"])
def test_doubtful_units_are_asked_for(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"may be seconds Mbit/s or milliseconds kbit/s; name the format \(seconds_mbps"
    ):
        NetworkTrace.read(path)
    assert (
        NetworkTrace.read(path, "seconds_mbps").mean_bps == 1e3 * NetworkTrace.read(path, "milliseconds_kbps").mean_bps
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1_000 2\n", "line 2: expected seconds, .*got '1_000'; write it in at most 40 plain digits"),
        ("0 1\n\u0661 2\n", "line 2: expected seconds, .*got '\u0661'; write it in at most 40 plain digits"),
        ("0 1\n1 " + "9" * 50 + "\n", "line 2: expected Mbit/s, .*plain digits"),
        ("# seconds Mbit/s\n0 1\n1 1e302\n", r"1e\+15 bit/s, got 1e\+308"),
        ("# seconds Mbit/s\n0 1\n1e17 1\n", "line 3: expected a trace of at most 1,000,000 s, got 1e.17 s"),
        ("1_0\n20\n", "looks like text; known formats"),
        ("0\n1_0\n", r"line 2: expected a whole number of milliseconds.*plain digits"),
        (
            "1\n100000000000\n",
            "line 2: expected a trace of at most 1,000,000 s, got 1e.08 s; are the stamps in another",
        ),
        ("1\n1002002009001500\n", "line 2: expected a whole number of milliseconds >= 0 of at most 15 digits"),
        ("1 1 0 0 10 1000\n2 2 0 0 10 1e13\n", "line 2: expected a trace of at most 1,000,000 s"),
        ("# nothing\n", "the file is empty"),
        ("hello, world\nand more\n", "which columns make the trace"),
        ("hello world\n", "looks like text; known formats of traces are: two columns, seconds and Mbit/s"),
        ("{}", "looks like JSON; known formats"),
        ("[1, 2]", "looks like JSON; known formats"),
        ("<html></html>", "looks like XML; known formats"),
        ("#EXTM3U\n", "looks like HLS playlist; known formats"),
        ("video_id,play_time_ms,duration_ms\n1,2,3\n", r"looks like log of views .*; known formats"),
        ('[{"duration_ms": 1}]', r"entry 0: bandwidth_kbps: expected a finite number of at least 0, got 'None'"),
        ('[{"duration_ms": 0, "bandwidth_kbps": 1}]', "entry 0: duration_ms: expected a number above 0, got 0"),
        ('[{"duration_ms": true, "bandwidth_kbps": 1}]', "entry 0: duration_ms: expected a finite number"),
        ('[{"duration_ms": 1e12, "bandwidth_kbps": 1}]', "expected a trace of at most 1,000,000 s"),
        ('[{"duration_ms": NaN, "bandwidth_kbps": 1}]', "entry 0: duration_ms: expected a finite number"),
        ('[{"duration_ms": 1' + "0" * 5000 + "}]", "expected JSON that can be read"),
        ("[" * 100_000, "expected JSON that can be read"),
        ("[{", "line 1: expected JSON"),
    ],
)
def test_a_bad_trace_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    start_s = time.process_time()
    with pytest.raises(ValueError, match=message) as error:
        NetworkTrace.read(path)
    assert time.process_time() - start_s < 0.5
    assert len(str(error.value)) < 1000


def test_large_files_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b"0 1\n" * 20_000_000, compresslevel=1))
    with bomb.open("rb") as file:
        assert len(file.read()) < 2_000_000
    start_s = time.process_time()
    with pytest.raises(ValueError, match=r"bomb\.gz: expected at most 64 MiB when unpacked, got more"):
        NetworkTrace.read(bomb)
    assert time.process_time() - start_s < 1
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match=r"large: expected at most 4,096 MiB, got 8,192 MiB"):
        NetworkTrace.read(large)
    line = tmp_path / "line"
    line.write_text("1" * 200_000)
    with pytest.raises(ValueError, match="line 1: expected at most 100,000 characters"):
        NetworkTrace.read(line)
    monkeypatch.setattr("ppgym.world.readers.rows.MAX_LINES", 2)
    many = tmp_path / "many"
    many.write_text("0 1\n1 1\n2 1\n3 1\n")
    with pytest.raises(ValueError, match="many: expected at most 2 lines"):
        NetworkTrace.read(many)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(b"0 1\n1 2\n" * 100)[:-9])
    with pytest.raises(ValueError, match=r"trace\.gz: expected a file that gzip can unpack"):
        NetworkTrace.read(path)
