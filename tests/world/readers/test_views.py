"""Logs of views, swipe densities and retention tables become retention curves."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.world.readers.formats import format_of
from ppgym.world.viewers import RetentionCurve, read_views

HEADER = "user_id,video_id,date,play_time_ms,duration_ms,tab\n"


def test_a_log_by_video_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    plays = [0, 500, 1000, 1999, 2000, 3000, 9000]
    rows = "".join(f"7,v1,20220408,{play},3000,1\n" for play in plays) + "7,v2,20220408,5,3000,1\n7,v3,20220408,5,0,1\n"
    path.write_text(HEADER + rows)
    assert format_of(path) == "viewer_log"
    views = read_views(path, by="video", min_views=7)
    np.testing.assert_allclose(views.curves["v1"].survival, [1, 5 / 7, 3 / 7, 2 / 7])
    assert views.views == {"v1": 7}
    assert views.notes == (
        "1 views of videos without a duration are left out",
        "1 videos of fewer than 7 views are left out",
    )


def test_a_log_by_duration_against_plain_python(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [(rng.randint(0, 20_000), rng.choice([11_000, 12_000, 12_000, 14_000, 70_000])) for _ in range(500)]
    path = tmp_path / "log.csv.gz"
    text = "video_id;play_duration;video_duration\r\n" + "".join(f"{k};{a};{b}\r\n" for k, (a, b) in enumerate(rows))
    path.write_bytes(gzip.compress(("\ufeff" + text).encode()))
    views = read_views(path)
    assert list(views.curves) == ["10-15s", "60-90s"]
    short = [(play, length) for play, length in rows if length < 15_000]
    expected = [
        sum(min(play, length) * 12 >= second * length for play, length in short) / len(short) for second in range(13)
    ]
    np.testing.assert_allclose(views.curves["10-15s"].survival, expected, rtol=1e-12)
    assert views.curves["60-90s"].duration_s == 70
    assert views.curves["60-90s"].survival[-1] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "7,v1,20220408,5,3000,1\n", "expected at least 30 views of one duration, got fewer of each of 1"),
        (HEADER + "7,v1,20220408,x,3000,1\n", "line 2: expected milliseconds played, .*got 'x'"),
        (HEADER + "7,v1,20220408,1_0,3000,1\n", "line 2: expected milliseconds played, .*plain digits"),
        (HEADER + "7,v1,20220408,5,1e300,1\n", "line 2: expected a video of at most 100,000 s"),
        (HEADER + "7,v1,5,3000,1\n", "line 2: expected 6 columns as in the header, got 5"),
        ("video_id,duration_ms\n1,2\n", "expected one column 'play_time_ms', got 0; columns: video_id, duration_ms"),
    ],
)
def test_bad_logs_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_views(path)


def test_an_unknown_grouping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected curves by duration or video, got 'user'"):
        read_views(tmp_path / "log.csv", by="user")


@pytest.mark.parametrize("text", ["0.25\n0.5\n0.25\n", "0 0.25\n1 0.5\n2 0.25\n", "0.0 0.25\n1.0 0.5\n2.0 0.25\n"])
def test_a_density_by_hand(text: str, tmp_path: Path) -> None:
    path = tmp_path / "swipes"
    path.write_text(text)
    assert format_of(path) == "swipes"
    np.testing.assert_array_equal(RetentionCurve.read(path).survival, [1, 0.75, 0.25])


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60))
def test_a_density_of_ten_digits_may_miss_1(tmp_path_factory: pytest.TempPathFactory, weights: list[int]) -> None:
    masses = np.array(weights) / sum(weights)
    path = tmp_path_factory.mktemp("swipes") / "swipes"
    path.write_text("".join(f"{mass:.10f}\n" for mass in masses))
    expected = [masses[second:].sum() for second in range(len(masses))]
    np.testing.assert_allclose(RetentionCurve.read(path).survival, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5\n0.4\n", r"swipes: expected masses that add up to 1, got 0\.9"),
        ("0.5\n-0.5\n", "line 2: expected a probability mass"),
        ("1\n", "expected a mass for each second"),
        ("0 0.5\n1 0.25\n2 0.25\n4 0\n", "line 1: expected 1 at second 0"),
    ],
)
def test_bad_densities_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "swipes"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        RetentionCurve.read(path)


def test_a_table_may_miss_by_rounding(tmp_path: Path) -> None:
    path = tmp_path / "curve"
    path.write_bytes(
        "\ufeff# shares\r\n0.0 0.999999999\r\n1.0 0.5\r\n2.0 0.5000000001\r\n3.0 -0.000000001\r\n".encode()
    )
    assert format_of(path) == "retention"
    np.testing.assert_array_equal(RetentionCurve.read(path).survival, [1, 0.5, 0.5])
