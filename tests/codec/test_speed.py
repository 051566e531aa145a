"""The bare loop draws what `decode` draws, and the command says both."""

from pathlib import Path

import numpy as np
import pytest

from ppgym.codec.clips import draw_frames
from ppgym.codec.generator import Generator
from ppgym.codec.prompt import invert_prompt
from ppgym.codec.speed import bare_loop, speed


def test_the_bare_loop_draws_what_decode_draws(generator: Generator) -> None:
    frames = draw_frames("pans", 0, range(12), split="heldout")  # more than a batch
    chunk = invert_prompt(frames, generator, keyframe_interval=5, steps=0)
    bare, ours = bare_loop(generator, chunk), generator.decode(chunk)
    assert bare.shape == ours.shape and len(np.unique(bare)) > 3
    assert np.abs(bare.astype(int) - ours).max() <= 1


def test_the_command_says_both(random_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speed(str(random_tiny), steps=0, runs=1)
    printed = capsys.readouterr().out
    assert "inversion of 30 frames, at most 0 steps" in printed
    assert "; bit-exact in all turns" in printed
