"""The studies: what their tables say, on one family and few rate factors."""

from pathlib import Path

import numpy as np
import pytest

from ppgym.codec import studies
from ppgym.codec.clips import draw_frames
from ppgym.codec.generator import Generator
from ppgym.codec.metrics import measure, psnr_db
from ppgym.codec.prompt import invert_prompt
from ppgym.codec.rate_curve import RateCurve
from ppgym.codec.search import Search
from ppgym.codec.video import write_mp4


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "FAMILIES", {"noise": studies.FAMILIES["noise"]})
    monkeypatch.setattr(studies, "PIXEL_CODECS", ("h264",))
    monkeypatch.setattr(studies, "RATE_FACTORS", {"h264": (51, 36)})
    monkeypatch.setattr(studies, "CHAINED_S", 2)


def read_table(path: Path) -> tuple[list[list[str]], str]:
    """Cells of the rows, and the command."""
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]], text.split("`")[-2]


def test_prompts_and_pixels_at_equal_bytes(generator: Generator, random_tiny: Path, tmp_path: Path) -> None:
    metrics = ("ssim", "psnr")
    settings = {"rank": 2, "keyframe_interval": 10, "bits": 4, "steps": 0}
    studies.heldout((), str(random_tiny), clips=1, **settings, metrics=metrics, output=tmp_path / "t.md")
    (prompt, pixels), command = read_table(tmp_path / "t.md")
    clip = draw_frames("noise", 0, split="heldout")
    chunk = invert_prompt(clip, generator, shared_v=True, bit_price=studies.BIT_PRICE, **settings)
    expected = measure(generator.decode(chunk), clip, 30.0, metrics)
    assert prompt[:5] == ["noise", "prompt", str(len(chunk.to_bytes())), *studies._shown(expected, metrics)]
    curve = RateCurve.measure(clip, "h264", 30.0, metrics, crfs=(51, 36))
    rate_bps = len(chunk.to_bytes()) * 8
    reached = {name: curve.quality_at(rate_bps, name).value for name in metrics}
    low = curve.points[0].bitrate_bps > rate_bps
    assert pixels[:6] == ["noise", "h264", "", *studies._shown(reached, metrics), str(int(low))]
    wins = ["1 of 1" if expected[name] > reached[name] else "0 of 1" for name in metrics]
    assert prompt[-2:] == wins
    assert command == (
        f"python -m ppgym.codec heldout --generator {random_tiny} --clips 1 --rank 2 --keyframe-interval 10 --bits 4 "
        "--steps 0 --metrics ssim psnr"
    )


def test_files_of_ones_own_are_named_without_their_folders(random_tiny: Path, tmp_path: Path) -> None:
    write_mp4(tmp_path / "mine.mp4", draw_frames("noise", 1, range(4), split="heldout"), 30.0)
    studies.heldout((tmp_path / "mine.mp4",), str(random_tiny), steps=0, metrics=("psnr",), output=tmp_path / "t.md")
    rows, command = read_table(tmp_path / "t.md")
    assert [row[:2] for row in rows] == [["mine.mp4", "prompt"], ["mine.mp4", "h264"]]
    assert command.startswith("python -m ppgym.codec heldout mine.mp4 --generator")


def test_objectives_side_by_side(random_tiny: Path, tmp_path: Path) -> None:
    search = Search(steps=1, batch_size=2)
    studies.objectives((), str(random_tiny), rank=2, search=search, metrics=("psnr",), output=tmp_path / "t.md")
    rows, command = read_table(tmp_path / "t.md")
    assert [row[:2] for row in rows] == [["ppgym", "guess"], ["ppgym", "uniform"], ["promptus", "uniform"]]
    assert all(row[3] == row[4] for row in rows)  # the mean over one clip
    assert command.endswith("--rank 2 --metrics psnr --keyframe-interval 10 --bits 8 --steps 1 --batch-size 2")


def test_closed_and_chained_chunks(random_tiny: Path, tmp_path: Path) -> None:
    studies.chaining(str(random_tiny), rank=2, keyframe_intervals=(10,), steps=0, output=tmp_path / "t.md")
    (closed, chained), command = read_table(tmp_path / "t.md")
    # Two seconds: keyframes at 0, 10, 20 and 29 of each, or at 0, 10, ..., 50 and 59 of both
    assert closed[:3] == ["10", "closed", "4.00"] and chained[:3] == ["10", "chained", "3.50"]
    assert int(chained[3]) < int(closed[3])
    assert command.endswith(" --rank 2 --keyframe-intervals 10 --bits 6 --steps 0")


def test_gains_of_inversion(generator: Generator, random_tiny: Path, tmp_path: Path) -> None:
    studies.inversion(str(random_tiny), ranks=(1, 2), bits=(4, 8), steps=1, output=tmp_path / "t.md")
    rows, command = read_table(tmp_path / "t.md")
    assert [row[:2] for row in rows] == [["1", "8"], ["2", "8"], ["2", "4"]]
    clip = draw_frames("noise", 0, split="heldout")
    start = invert_prompt(clip, generator, rank=1, steps=0)
    assert rows[0][4] == f"{psnr_db(generator.decode(start), clip):.2f}"
    for row in rows:
        neutral, before, after, gain, over_neutral = map(float, row[3:8])
        assert np.allclose([after - before, after - neutral], [gain, over_neutral], atol=0.011)
    assert "--start features --ranks 1 2 --bits 4 8 --keyframe-interval 10 --steps 1" in command
