"""The challenge's files, every way they can be broken, and bad seeds."""

import pytest

from ppgym.mmgc import MMGCDataset
from tests.mmgc.oracle import write_dataset
from tests.mmgc.small import CONSTANT, RUNG_BYTES, SEEDS, STAYS


@pytest.mark.parametrize(
    ("path", "text", "error", "message"),
    [
        ("short_video_size/3_clip/video_size_1", None, FileNotFoundError, "video_size_1: no such file"),
        (
            "short_video_size/3_clip/video_size_1",
            "5\n6\n",
            ValueError,
            "expected 3 chunks as in video_size_0, got 2",
        ),
        ("short_video_size/3_clip/video_size_1", "5\n0\n7\n", ValueError, "line 2: expected a whole number of bytes"),
        ("short_video_size/3_clip/video_size_1", "5\n6.5\n7\n", ValueError, "line 2: .* got '6.5'"),
        ("short_video_size/8_clip/video_size_0", "5\n", ValueError, "expected 7 video folders, got 8"),
        ("user_ret/2_clip", None, FileNotFoundError, "one retention curve per folder"),
        (
            "user_ret/2_clip",
            "0 1\n1 0.5\n2 0.6\n3 0\n",
            ValueError,
            r"line 3: expected at most 0\.5, .* got 0\.6",
        ),
        ("user_ret/2_clip", "0 1\n1 0.5\n1 0.4\n3 0\n", ValueError, "line 3: expected a time above 1 s"),
        (
            "user_ret/2_clip",
            "0 1\n1 half\n3 0\n",
            ValueError,
            "line 2: expected a probability .* got 'half'",
        ),
        ("user_ret/2_clip", "0 nan\n1 0\n", ValueError, "line 1: expected a probability .* got 'nan'"),
        ("user_ret/2_clip", "0 1\n1\n", ValueError, "line 2: expected 2 columns"),
        ("user_ret/2_clip", "0 1\n1 0.5\n2 0.1\n", ValueError, "falls from 1 to 0, got one from 1 to 0.1"),
        ("user_ret/2_clip", "0 1\n", ValueError, "at least 2 rows"),
        (
            "network_traces/low/0",
            "0 1\n1 -1\n",
            ValueError,
            "line 2: expected Mbit/s, .* at least 0, got '-1'",
        ),
        ("network_traces/low/0", "0 1\n1 1\n0.5 1\n", ValueError, "line 3: expected a time of at least 1 s"),
        ("network_traces/low/0", "0 1\n1 0\n", ValueError, "carries bytes after its first row"),
        ("network_traces/low/0", "0 1\n", ValueError, "carries bytes after its first row"),
        ("network_traces/low/fast", "0 1\n1 1\n", ValueError, "named by whole numbers"),
        ("network_traces/low/0", None, FileNotFoundError, "expected trace files"),
    ],
)
def test_bad_files(tmp_path, path, text, error, message):
    sizes = [[[size] * 3 for size in RUNG_BYTES]] * 7
    root = write_dataset(tmp_path / "data", sizes, [STAYS] * 7, {"low": [CONSTANT]})
    file = root / path
    file.unlink(missing_ok=True)
    if text is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    with pytest.raises(error, match=message) as caught:
        MMGCDataset.load(root)
    assert str(root) in str(caught.value)


def test_missing_folders(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="short_video_size: no such folder; expected the layout of the MMGC 2022"
    ):
        MMGCDataset.load(tmp_path)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (SEEDS[:6], "expected 7 pairs, one per video, got 6"),
        ([0] * 7, "expected 7 pairs of whole numbers"),
        ([[0, 1, 2]] * 7, "expected 7 pairs of whole numbers"),
        ([[0.5, 1]] * 7, "expected 7 pairs of whole numbers"),
        ([[-1, 1]] * 7, r"video 0: expected a first seed from 0 to 2\*\*32 - 1, got -1"),
    ],
)
def test_bad_seeds(dataset, seeds, message):
    with pytest.raises(ValueError, match=message):
        dataset.draw_watch_ms(seeds)
