"""Retention curves and viewer profiles: the fit to the facts, every way a file can be broken."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.core.content import survival, watch_time_s
from ppgym.files import data_root
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.videos import load_videos
from ppgym.world.viewers import VIEWERS, RetentionCurve, ViewerProfile, read_viewers

CURVE = RetentionCurve(np.array([1.0, 0.6, 0.6, 0.2]))  # D = 3; nobody leaves in the second second


def test_a_curve_by_hand() -> None:
    assert CURVE.duration_s == 3
    np.testing.assert_allclose(CURVE.at([-1, 0, 0.5, 1, 1.7, 2.5, 3, 3.01]), [1, 1, 0.8, 0.6, 0.6, 0.4, 0.2, 0])
    assert CURVE.at(2.5).shape == ()


@pytest.mark.parametrize(
    ("survival", "message"),
    [
        ([1.0], r"D \+ 1 >= 2 values"),
        ([0.9, 0.5], "expected 1 at second 0"),
        ([1.0, 0.4, 0.5], "rises from second 1 to 2"),
        ([1.0, -0.1], r"within \[0, 1\]"),
        ([1.0, np.nan], r"within \[0, 1\]"),
    ],
)
def test_a_curve_keeps_its_invariants(survival: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetentionCurve(np.array(survival))


def test_a_curve_owns_a_read_only_copy() -> None:
    survival = np.array([1.0, 0.5])
    curve = RetentionCurve(survival)
    survival[1] = 0.1
    assert curve.survival[1] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        curve.survival[1] = 0


def test_a_table_is_read_without_its_closing_row(tmp_path: Path) -> None:
    path = tmp_path / "curve"
    path.write_text("0\t1\n1\t0.75\n\n2  0.5\n3 0")
    np.testing.assert_array_equal(RetentionCurve.read(path).survival, [1, 0.75, 0.5])
    path.write_text("0 1\n1 0.75\n2 0.5\n")
    np.testing.assert_array_equal(RetentionCurve.read(path).survival, [1, 0.75, 0.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("0 1\n1 0.5\n2 0.6\n", r"line 3: expected at most 0\.5, the value before it, got 0\.6"),
        ("0 1\n1 1.2\n", r"line 2: expected a probability within \[0, 1\], got '1\.2'"),
        ("0 1\n1 nan\n", "line 2: expected a probability"),
        ("0 1\n1 -0.1\n", "line 2: expected a probability"),
        ("0 1\n1 half\n", "line 2: expected a probability"),
        ("0 0.9\n1 0.5\n", r"line 1: expected 1 at second 0, got 0\.9"),
        ("1 1\n2 0.5\n", "line 1: expected second 0, got '1'"),
        ("0 1\n1 0.5\n3 0.4\n", "line 3: expected second 2, got '3'"),
        ("0 1\n1 0.5\n2\n", "line 3: expected 2 columns"),
        ("0 1\n", "expected rows for second 0, second 1"),
        ("0 1\n1 0\n", "expected rows for second 0, second 1"),
    ],
)
def test_a_broken_table_is_refused_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curve"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        RetentionCurve.read(path)
    assert str(path) in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: no such file"):
        RetentionCurve.read(tmp_path / "gone")


def test_a_profile_by_hand() -> None:
    """Shape 1 is a truncated exponential distribution."""
    curve = ViewerProfile(name="v", leave_p=0.1, completion=0.5, shape=1.0, scale=1.0).curve(2)
    left_at_half = (1 - np.exp(-0.5)) / (1 - np.exp(-1.0))
    np.testing.assert_allclose(curve.survival, [1, 1 - 0.5 * left_at_half, 0.5])


def test_typical_leaves_as_dashlets_viewers_did() -> None:
    """The incomplete views of the MTurk set by tenths, FACTS section 4; the fit is off by at most 0.008."""
    left = np.cumsum([0.116, 0.107, 0.095, 0.070, 0.052, 0.051, 0.042, 0.028, 0.030, 0.010])
    profile = ViewerProfile.load("typical")
    ours = (1 - profile.curve(10).survival[1:]) / (1 - profile.completion)
    np.testing.assert_allclose(ours * left[-1], left, atol=0.009)
    assert 0.264 < profile.completion < 0.399


@pytest.mark.parametrize(
    ("name", "fraction", "leave_p"), [("skimmer", 0.30, 0.15), ("typical", 0.55, 0.10), ("sticky", 0.75, 0.05)]
)
def test_shipped_viewers_watch_as_much_as_they_should(name: str, fraction: float, leave_p: float) -> None:
    profile = ViewerProfile.load(name)
    assert profile.name == name
    assert profile.leave_p == leave_p
    durations_s = [video.duration_s for video in load_videos("test")]
    fractions = [np.trapezoid(profile.curve(duration_s).survival) / duration_s for duration_s in durations_s]
    assert np.mean(fractions) == pytest.approx(fraction, abs=0.015)


@given(
    st.one_of(st.integers(1, 130), st.floats(0.01, 130)),
    st.floats(0, 1),
    st.floats(0.1, 10),
    st.floats(0.01, 10),
)
def test_every_profile_makes_valid_curves(duration_s: float, completion: float, shape: float, scale: float) -> None:
    curve = ViewerProfile(name="v", leave_p=0.1, completion=completion, shape=shape, scale=scale).curve(duration_s)
    assert curve.duration_s == duration_s
    assert curve.survival[-1] == pytest.approx(completion)


def test_a_curve_needs_a_duration() -> None:
    with pytest.raises(ValueError, match="a duration above 0 s, got 0"):
        ViewerProfile.load("typical").curve(0)


def test_a_curve_of_a_broken_second_by_hand() -> None:
    """2.5 s: the last interval has half a second."""
    curve = RetentionCurve(np.array([1.0, 0.6, 0.4, 0.2]), 2.5)
    np.testing.assert_allclose(curve.at([0.5, 2, 2.25, 2.5, 2.51]), [0.8, 0.4, 0.3, 0.2, 0])
    for duration_s in (2.0, 3.5, 2.0 + 1e-12):
        with pytest.raises(ValueError, match=r"expected \d values, got 4"):
            RetentionCurve(curve.survival, duration_s)
    assert RetentionCurve(curve.survival, 3.0 + 1e-12).survival.size == 4, "rounding is no second"


@pytest.mark.parametrize("duration_s", [0.3, 1.0, 7.25, 10.0, 10.5, 59.999])
def test_the_kernel_and_the_curve_agree_at_every_duration(duration_s: float) -> None:
    profile = ViewerProfile.load("typical")
    curve = profile.curve(duration_s)
    padded = np.append(curve.survival, np.zeros(3))  # as in a catalog with longer videos
    for seconds in np.linspace(0, duration_s, 57):
        expected = float(curve.at(seconds))
        assert survival(padded, duration_s, seconds) == pytest.approx(expected, abs=1e-12)
        if expected > curve.survival[-1] + 1e-9:
            assert watch_time_s(padded, duration_s, expected) == pytest.approx(seconds, abs=1e-9)
    assert survival(padded, duration_s, duration_s + 5) == pytest.approx(profile.completion)
    assert watch_time_s(padded, duration_s, profile.completion * 0.99) == duration_s


def test_a_profile_refuses_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="ViewerProfile: leave_p: expected less than or equal to 1, got 2"):
        ViewerProfile(name="v", leave_p=2, completion=0.5, shape=1, scale=1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": "ppgym-viewer/2"}, "schema: expected 'ppgym-viewer/1', got 'ppgym-viewer/2'"),
        ({"leave_p": 1.5}, r"leave_p: expected less than or equal to 1, got 1\.5"),
        ({"completion": float("nan")}, "completion: .*got nan"),
        ({"shape": "1"}, "shape: .*got '1'"),
        ({"scale": True}, "scale: .*got True"),
        ({"name": ""}, "name: expected a text"),
        ({"leave": 1}, "leave: unknown key; did you mean 'leave_p'"),
        ({"scale": None}, "scale: expected a valid number, got None"),
        ({"provenance": {}}, r"provenance\.leave_p: is missing"),
        ({"provenance": "mine"}, "provenance: expected an object, got 'mine'"),
    ],
)
def test_a_broken_profile_is_refused_by_file_and_key(tmp_path: Path, edit: dict[str, object], message: str) -> None:
    content = json.loads((data_root() / "viewers" / "typical.json").read_text()) | edit
    path = tmp_path / "viewer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        ViewerProfile.load(path)
    assert str(path) in str(error.value)


def test_a_profile_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "viewer.json"
    path.write_bytes((data_root() / "viewers" / "typical.json").read_bytes())
    assert ViewerProfile.load(path) == ViewerProfile.load("typical")
    path.write_text("{\n  nonsense")
    with pytest.raises(ValueError, match=r"viewer\.json, line 2: expected JSON"):
        ViewerProfile.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        ViewerProfile.load(path)
    with pytest.raises(FileNotFoundError, match="no viewer and no file 'tipical'; did you mean 'typical'"):
        ViewerProfile.load("tipical")


def test_every_number_of_a_shipped_viewer_has_a_provenance() -> None:
    for name in VIEWERS:
        sources = json.loads((data_root() / "viewers" / f"{name}.json").read_text())["provenance"].values()
        assert all(source.startswith(("derived: ", "assumption: ")) for source in sources)


@pytest.mark.skipif("PPGYM_MMGC2022" not in os.environ, reason="PPGYM_MMGC2022 names no folder of MMGC 2022 data")
def test_mmgc_tables_are_read() -> None:
    tables = sorted((Path(os.environ["PPGYM_MMGC2022"]) / "user_ret").iterdir())
    assert [RetentionCurve.read(path).duration_s for path in tables] == [17, 26, 37, 40, 47, 6, 125]


def test_viewers_of_a_log_have_the_curve_of_the_nearest_duration(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [f"a,{1000 * (k % 4 + 1)},4000" for k in range(40)]  # a quarter leaves at each second
    rows += [f"b,{20_000 if k % 2 else 10_000},20000" for k in range(40)]
    path.write_text("\n".join(["video_id,play_time_ms,duration_ms", *rows]))
    viewers = read_viewers(path)
    assert [curve.duration_s for curve in viewers.curves] == [4.0, 20.0]
    assert viewers.curve(4.0).survival.tolist() == [1.0, 1.0, 0.75, 0.5, 0.25]
    assert viewers.curve(8.0).survival.tolist() == [1.0, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25]
    short = viewers.curve(2.5)  # seconds 0, 1, 2 and its end are the fractions 0, 0.4, 0.8 and 1
    np.testing.assert_allclose(short.survival, [1.0, 0.85, 0.45, 0.25])
    assert short.duration_s == 2.5
    assert viewers.curve(9.0).survival[-1] == 0.5  # nearer to 20 s: 9 / 4 is above 20 / 9
    scenario = Scenario.parse("low/snapdragon-8-elite/typical", viewers=str(path))
    catalog = make_world(scenario, "validation").catalog
    for index, duration_s in enumerate(catalog.duration_s[:20]):
        expected = viewers.curve(duration_s).survival
        np.testing.assert_array_equal(catalog.retention[index, : len(expected)], expected)


def test_viewers_of_a_table_are_stretched_to_every_video(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("0 1\n1 0.5\n2 0.25\n")
    assert read_viewers(path).curve(4.0).survival.tolist() == [1.0, 0.75, 0.5, 0.375, 0.25]
    path.write_text("0 1\n1 2\n")
    with pytest.raises(ValueError, match=r"table\.txt, line 2"):
        make_world(Scenario.parse("low/snapdragon-8-elite/typical", viewers=str(path)))
