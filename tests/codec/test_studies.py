"""The studies: what their tables say, on one family and few rate factors."""

from pathlib import Path

import numpy as np
import pytest

from ppgym.codec import studies
from ppgym.codec.clips import draw_frames
from ppgym.codec.generator import Generator
from ppgym.codec.metrics import psnr_db, quality
from ppgym.codec.pixel import decode_pixels, encode_at_crf
from ppgym.codec.prompt import invert_prompt


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "FAMILIES", {"noise": studies.FAMILIES["noise"]})
    monkeypatch.setattr(studies, "RATE_FACTORS", (51, 36))
    monkeypatch.setattr(studies, "CHAINED_S", 2)


def read_table(path: Path) -> tuple[list[list[str]], str]:
    """Cells of the rows, and the command."""
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]], text.split("`")[-2]


def test_prompts_and_pixels_at_equal_bytes(generator: Generator, random_tiny: Path, tmp_path: Path) -> None:
    studies.heldout(str(random_tiny), clips=1, rank=2, keyframe_interval=10, bits=4, steps=0, output=tmp_path / "t.md")
    ((family, size, _, ssim, psnr, *pixels, wins),), command = read_table(tmp_path / "t.md")
    clip = draw_frames("noise", 0, split="heldout")
    chunk = invert_prompt(clip, generator, rank=2, keyframe_interval=10, bits=4, steps=0, shared_v=True)
    expected = quality(generator.decode(chunk), clip)
    assert (family, int(size)) == ("noise", len(chunk.to_bytes()))
    assert (ssim, psnr) == (f"{expected.ssim:.4f}", f"{expected.psnr_db:.2f}")
    smallest = encode_at_crf(clip, "h264", 51, 30.0)
    assert len(smallest) > int(size)  # H.264 cannot go so low: its smallest stream is shown
    shown = quality(decode_pixels(smallest), clip)
    assert pixels[:3] == [f"{shown.ssim:.4f}", f"{shown.psnr_db:.2f}", "1"]
    assert wins == ("1 of 1" if expected.ssim > max(float(pixels[0]), float(pixels[4])) else "0 of 1")
    assert command == (
        f"python -m ppgym.codec heldout --generator {random_tiny} --clips 1 --rank 2 --keyframe-interval 10 --bits 4 "
        "--steps 0"
    )


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
