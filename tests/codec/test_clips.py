"""Clips: fixed by their seed, drawn at any time, moving, and apart by split."""

import numpy as np
import pytest

from ppgym.codec.clips import FAMILIES, FPS, bounce, draw_frames


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_is_a_function_of_its_seed_and_of_time(family: str) -> None:
    clip = draw_frames(family, 3, range(0, FPS, 7), split="train", size_px=32)
    assert clip.shape == (5, 32, 32, 3) and clip.dtype == np.uint8
    assert np.array_equal(draw_frames(family, 3, [21, 7], split="train", size_px=32), clip[[3, 1]])
    assert not np.array_equal(draw_frames(family, 4, [0], split="train", size_px=32), clip[:1])


@pytest.mark.parametrize("family", FAMILIES)
def test_heldout_clips_are_none_of_the_training_clips(family: str) -> None:
    training = draw_frames(family, 0, [0], split="train", size_px=32)
    assert not np.array_equal(draw_frames(family, 0, [0], split="heldout", size_px=32), training)


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_move(family: str) -> None:
    for seed in range(3):
        first, last = draw_frames(family, seed, [0, FPS - 1], split="heldout", size_px=64).astype(int)
        assert np.abs(first - last).mean() > 0.5


@pytest.mark.parametrize("place", [-0.25, 0.25, 1.75, 2.25])
def test_walls_reflect(place: float) -> None:
    assert bounce(place) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("family", "seed", "split", "message"),
    [
        ("cats", 0, "train", "clip family: expected one of shapes, .* got 'cats'"),
        ("shapes", 0, "test", "clip split: expected one of train, heldout, got 'test'"),
        ("shapes", -1, "train", "clip seed: expected .* at least 0, got -1"),
    ],
)
def test_what_is_no_clip_is_refused(family: str, seed: int, split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_frames(family, seed, split=split)
