"""`python -m ppgym.world inspect` and `convert`: what they say of every kind of file, and what comes back."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppgym.files import data_root
from ppgym.world.__main__ import main
from ppgym.world.commands import as_text
from ppgym.world.conversion import curve_text, trace_text
from ppgym.world.inspection import inspect
from ppgym.world.networks import NetworkTrace, load_traces
from ppgym.world.viewers import RetentionCurve

TRACE = "0 1\n1 2\n2 6\n4 0.5\n"
LOG = "video_id,play_time_ms,duration_ms\n" + "".join(f"v{k % 2},{k * 500},12000\n" for k in range(80))
MPD = (
    '<MPD mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="4"/>'
    '<Representation id="a" bandwidth="800000" width="640" height="360" frameRate="30"/></AdaptationSet></Period></MPD>'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trace_is_said_in_full(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lte.txt").write_text(TRACE)
    main(["inspect", "lte.txt"])
    assert capsys.readouterr().out == (
        "lte.txt: network trace: two columns, seconds and Mbit/s (Pensieve, MMGC 2022)\n"
        "  mean      2.25 Mbit/s\n"
        "  median    0.5 Mbit/s\n"
        "  floor     0.5 Mbit/s\n"
        "  duration  4 s\n"
        "  gaps      none; a step is 1 s\n"
    )


def test_gaps_are_counted(folder: Path) -> None:
    (folder / "a").write_text("".join(f"{second} 1\n" for second in (0, 1, 2, 3, 40, 41, 42, 50)))
    facts = dict(inspect(folder / "a").facts)
    assert facts["gaps"] == "2 steps of more than 5 median ones (1 s), up to 37 s"


def test_a_folder_says_splits_and_what_is_left_out(folder: Path) -> None:
    for number in range(6):
        (folder / f"t{number}").write_text(f"0 1\n1 {number}\n2 4\n")
    (folder / "README").write_text("hello")
    facts = dict(inspect(folder).facts)
    assert facts["splits"] == "4 train, 1 validation, 1 test"
    assert facts["mean"] == "3.25 Mbit/s (2 to 4.5)"
    assert facts["note"] == "left out: README"


def test_a_folder_that_cannot_be_split_says_why(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_text(TRACE)
    facts = dict(inspect(folder).facts)
    assert "expected traces of at least 3 drives to split, got 1" in facts["splits"]
    assert facts["mean"] == "2.25 Mbit/s (2.25 to 2.25)"


@pytest.mark.parametrize(
    ("name", "text", "what", "fact"),
    [
        (
            "a",
            "0 1\n1 0.5\n2 0.25\n3 0\n",
            "retention table",
            ("viewers", "2 s, 0.562 watched on average, 0.250 complete"),
        ),
        ("a", "0.5\n0.5\n", "swipe density", ("viewers", "1 s, 0.750 watched on average, 0.500 complete")),
        ("a.csv", LOG, "log of views", ("10-15s", "80 views, 12 s, 0.850 watched on average, 0.700 complete")),
        ("a.mpd", MPD, "DASH manifest", ("800 kbit/s", "mean 800 kbit/s, 640x360, 30 fps")),
        ("a.mpd", MPD, "DASH manifest", ("note", "sizes are not stated: they are bitrate x seconds")),
        ("a.yml", "network: low\ndevice: rtx-4090\n", "scenario", ("network", "low")),
        ("a.json", '{"network": "low"}', "scenario", ("network", "low")),
        (
            "a.json",
            '{"schema": "ppgym-ladder/2", "name": "x", "representations": [1, 2]}',
            "ladder (ppgym-ladder/2)",
            ("representations", "2"),
        ),
        ("a", "1\n2\n", "network trace: one column", ("mean", "12 Mbit/s")),
    ],
)
def test_every_kind_of_file(name: str, text: str, what: str, fact: tuple[str, str], folder: Path) -> None:
    (folder / name).write_text(text)
    finding = inspect(folder / name)
    assert finding.what.startswith(what)
    assert fact in finding.facts


def test_shipped_files_are_known() -> None:
    root = data_root()
    assert inspect(root / "devices" / "rtx-4090.json").what.startswith("device (ppgym-device/")
    assert inspect(root / "viewers" / "typical.json").what == "viewer (ppgym-viewer/1)"
    assert inspect(root / "videos" / "test.json").what.startswith("videos (ppgym-catalog/")
    assert {what.partition(" ")[0] for name, what in inspect(root / "devices").facts if name != "note"} == {"device"}


def test_folders_of_videos_and_of_curves(folder: Path) -> None:
    for video in ("a", "b"):
        (folder / "videos" / video).mkdir(parents=True)
        for rung, size in enumerate((93_750, 150_000, 231_250)):
            (folder / "videos" / video / f"video_size_{rung}").write_text(f"{size}\n" * 3)
    assert dict(inspect(folder / "videos").facts)["a"] == "3 chunks of 1 s, 3 s; rungs of 750, 1200, 1850 kbit/s"
    assert dict(inspect(folder / "videos" / "b").facts)["1850 kbit/s"] == "mean 1850 kbit/s"
    assert inspect(folder / "videos" / "b" / "video_size_1").videos[0].name == "b"
    (folder / "curves").mkdir()
    (folder / "curves" / "a").write_text("0 1\n1 0.5\n2 0\n")
    (folder / "curves" / "b").write_text("0.5\n0.5\n")
    assert list(inspect(folder / "curves").curves) == ["a", "b"]
    (folder / "curves" / "c").write_text(TRACE)
    assert dict(inspect(folder / "curves").facts)["1 of"] == "two columns, seconds and Mbit/s (Pensieve, MMGC 2022)"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"x": 1}', r"a\.json: looks like JSON with the keys x; known are scenarios"),
        ("a.yml", b"- 1\n", "expected a file of objects such as a scenario, got list"),
        ("a.yml", b"a: [\n", "expected YAML: "),
        ("a.yml", b"[" * 50_000, "expected at most 20 levels and no aliases"),
        ("a.yml", b"a: &a [1]\nb: *a\n", "expected at most 20 levels and no aliases"),
        ("a.yml", b"a" * 1_100_000, "expected at most 1048576 bytes, got 1100000"),
        ("a", b"hello there world\n", "looks like text; known formats are: "),
        ("a", b"<svg/>", "looks like XML; known formats are: "),
        ("a", b"\xff\xfe", "expected UTF-8 text"),
        ("a", b"0 3000\n1 3500\n", "name the format"),
        ("a.csv", b"time,rate\n1,2\n2,3\n", "which columns make the trace"),
    ],
)
def test_what_is_unknown_is_not_guessed_at(
    name: str, content: bytes, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(content)
    (folder / "good").write_text(TRACE)
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", name, "good"])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("good: network trace")
    assert printed.err.startswith("error: ")
    with pytest.raises(ValueError, match=message):
        inspect(folder / name)


def test_lines_fit_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lte.txt").write_text(TRACE)
    main(["inspect", "lte.txt", *map(str, sorted((data_root() / "devices").glob("*.json")))])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= 80


def test_a_plot_is_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lte.txt").write_text(TRACE)
    (folder / "log.csv").write_text(LOG)
    (folder / "v.mpd").write_text(MPD)
    main(["inspect", "lte.txt", "log.csv", "v.mpd", "--plot", "out.png"])
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith("out.png\n")
    with pytest.raises(SystemExit):
        main(["inspect", "lte.txt", "--plot", "out.svg"])
    assert "expected a name that ends in .png" in capsys.readouterr().err
    (folder / "s.yml").write_text("network: low")
    with pytest.raises(SystemExit):
        main(["inspect", "s.yml", "--plot", "out.png"])
    assert "nothing to draw" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "arguments"), [("tyro", []), ("matplotlib", ["--plot", "a.png"])])
def test_a_missing_library_names_its_extra(
    module: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lte.txt").write_text(TRACE)
    for name in [name for name in sys.modules if name.partition(".")[0] == module or name == "ppgym.world.commands"]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name.partition(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    with pytest.raises(SystemExit):
        main(["inspect", "lte.txt", *arguments])
    assert capsys.readouterr().err == f"error: needs {module}: pip install '.[bench]' in the clone of ppgym\n"


PIECES = st.sampled_from(
    [
        *("0", "1", "2", "0.5", "-1", "1e9", "1e400", "nan", "1_0", "\u0661", "9" * 60, "x", "Timestamp", "DL_bitrate"),
        *(" ", " ", "\n", "\n", "\r\n", ",", ";", "\t", "#", '"', "'", "\ufeff", "\x00", "- ", ": ", "&a ", "*a "),
        *(
            "[",
            "]",
            "{",
            "}",
            "<MPD>",
            "</MPD>",
            "<!DOCTYPE x>",
            "#EXTM3U\n",
            "#EXTINF:4,\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=5\n",
        ),
        *(
            '"duration_ms": ',
            '"bandwidth_kbps": ',
            '"schema": ',
            '"ppgym-viewer/1"',
            "play_time_ms,duration_ms\n",
            "network: ",
        ),
        *(TRACE, LOG, MPD),
    ]
)


@settings(max_examples=300)
@given(
    st.lists(PIECES, min_size=1, max_size=30).map("".join), st.sampled_from(["a", "a.csv", "a.yml", "a.json", "a.gz"])
)
def test_no_file_breaks_it(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_text(text, encoding="utf-8")
    try:
        as_text(inspect(path))
    except ValueError as error:
        assert str(path) in str(error)
    except FileNotFoundError as error:  # a playlist names others beside it
        assert str(path.parent) in str(error)


rates_bps = st.one_of(st.floats(1, 1e13), st.just(0.0))
steps_s = st.floats(1e-3, 1e3)


@given(
    st.lists(st.tuples(steps_s, rates_bps), min_size=1, max_size=40).filter(lambda rows: any(bps for _, bps in rows))
)
def test_a_trace_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]]) -> None:
    steps, rates = map(np.array, zip(*rows, strict=True))
    trace = NetworkTrace("t", np.concatenate([[0], np.cumsum(steps)]), rates)
    path = tmp_path_factory.mktemp("traces") / "t"
    path.write_text(trace_text(trace))
    back = NetworkTrace.read(path)
    np.testing.assert_array_equal(back.edges_s, trace.edges_s)
    np.testing.assert_allclose(back.rates_bps, trace.rates_bps, rtol=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_curve_comes_back(tmp_path_factory: pytest.TempPathFactory, shares: list[float]) -> None:
    curve = RetentionCurve(np.array([1, *sorted(shares, reverse=True)]))
    path = tmp_path_factory.mktemp("curves") / "curve"
    path.write_text(curve_text(curve))
    np.testing.assert_array_equal(RetentionCurve.read(path).survival, curve.survival)


def test_a_csv_is_converted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my.csv").write_text(
        "when,what\n2024-01-01T00:00:00,5\n2024-01-01T00:00:01,700\n2024-01-01T00:00:03,100\n"
    )
    main(
        [
            "convert",
            "my.csv",
            "--output",
            "my.txt",
            "--time-column",
            "when",
            "--rate-column",
            "what",
            "--rate-unit",
            "kbit/s",
        ]
    )
    assert (folder / "my.txt").read_text() == "0 0.69999999999999996\n1 0.69999999999999996\n3 0.10000000000000001\n"
    assert NetworkTrace.read(folder / "my.txt").mean_bps == pytest.approx(300e3, rel=1e-12)
    with pytest.raises(SystemExit):
        main(["convert", "my.csv", "--output", "x", "--time-column", "when"])
    assert "expected --time-column, --rate-column and --rate-unit together" in capsys.readouterr().err


def test_a_doubtful_trace_is_converted_by_name(folder: Path) -> None:
    (folder / "a").write_text("0 3000\n1 3500\n")
    main(["convert", "a", "--output", "b", "--format", "seconds_mbps"])
    assert (folder / "b").read_text() == "# seconds Mbit/s\n0 3500\n1 3500\n"
    assert NetworkTrace.read(folder / "b").mean_bps == 3500e6


def test_a_folder_is_converted_with_its_splits(folder: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        (folder / "in" / split).mkdir(parents=True)
        (folder / "in" / split / "lte.down.gz").write_bytes(gzip.compress(f"1\n{number + 2}\n".encode()))
    main(["convert", "in", "--output", "out"])
    assert [path.relative_to(folder / "out").as_posix() for path in sorted((folder / "out").rglob("*.txt"))] == [
        "test/lte.down.txt",
        "train/lte.down.txt",
        "validation/lte.down.txt",
    ]
    for split in ("train", "validation", "test"):
        (one,), (other,) = load_traces(folder / "in", split), load_traces(folder / "out", split)
        np.testing.assert_allclose(one.rates_bps, other.rates_bps, rtol=1e-12)


def test_a_log_is_converted(folder: Path) -> None:
    (folder / "log.csv").write_text(LOG)
    main(["convert", "log.csv", "--output", "classes"])
    main(["convert", "log.csv", "--output", "videos", "--by", "video"])
    assert [path.name for path in (folder / "classes").iterdir()] == ["10-15s.txt"]
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["v0.txt", "v1.txt"]
    expected = inspect(folder / "log.csv").curves["10-15s"].survival
    np.testing.assert_array_equal(RetentionCurve.read(folder / "classes" / "10-15s.txt").survival, expected)


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a").write_text(TRACE)
    (folder / "in").mkdir()
    (folder / "in" / "a").write_text(TRACE)
    (folder / "in" / "b").write_text("0 1\n1 2\n2 3\n")
    (folder / "in" / "a.txt").write_text("0 1\n1 2\n2 4\n")
    for arguments, message in [
        (["a", "--output", "a"], "a: exists; name a new file"),
        (["in", "--output", "in"], "in: expected files of different names"),
        (["in/b", "--output", "in"], "in: expected a new or empty folder"),
        (["a.json", "--output", "b"], "a.json: is a scenario; expected network traces"),
        (["log.csv", "--output", "b", "--by", "video"], "log.csv: expected names that can be files of a folder"),
    ]:
        (folder / "a.json").write_text(json.dumps({"network": "low"}))
        (folder / "log.csv").write_text(LOG.replace("v0", "../v0"))
        with pytest.raises(SystemExit):
            main(["convert", *arguments])
        assert message in capsys.readouterr().err
    assert not (folder / "b").exists()
    assert not list(folder.glob(".*"))
