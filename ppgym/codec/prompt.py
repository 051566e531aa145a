"""Gradient inversion: finds the prompt from which a one-step generator draws a given second of video.

After Promptus (J. Wu et al., https://arxiv.org/abs/2405.20032), with these differences. A chunk ends with a keyframe of
its own and chains no latents, so it decodes alone. The loop fits 4 to 8 bits instead of 8. If the generator can guess a
prompt from a picture, gradient descent starts there. `objectives.py` says what is minimised, Promptus's way or ours.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppgym.codec.bitstream import MAX_BITS, MIN_BITS, PromptChunk, interpolation
from ppgym.codec.checks import check_frames, check_whole
from ppgym.codec.clips import Frames
from ppgym.codec.descent import Descent
from ppgym.codec.generator import Generator
from ppgym.codec.objectives import OBJECTIVES, PROMPTUS_MAGNITUDE, distortion, promptus_distortion
from ppgym.files import suggest

STARTS: Final = ("features", "neutral", "uniform")
CHECKPOINT_EVERY_S: Final = 60.0
RANDOM_ROWS_STD: Final = 0.3  # of V where nothing says what it should be


class Quantiser(NamedTuple):
    """The grid of one factor of a chunk: a value is scale * (q - zero), q a whole number below 2 ** bits."""

    scale: float
    zero: int
    levels: int

    @classmethod
    def over(cls, values: Tensor, bits: int) -> "Quantiser":
        """The grid from a factor's least to its greatest value; float16 holds the scale, 8 bits the zero point."""
        low, high = min(values.min().item(), 0.0), max(values.max().item(), 0.0)
        levels = 2**bits - 1
        scale = float(np.float16(max((high - low) / levels, 2.0**-14)))
        return cls(scale, min(max(round(-low / scale), 0), levels), levels)

    def indices(self, values: Tensor) -> Tensor:
        """The nearest q of each value."""
        return (values / self.scale + self.zero).round().clamp(0, self.levels)

    def straight_through(self, values: Tensor) -> Tensor:
        """Values on the grid, whose gradient is that of the values off it (fake quantisation)."""
        return values + (self.scale * (self.indices(values) - self.zero) - values).detach()


def invert_prompt(
    frames: Frames,
    generator: Generator,
    *,
    rank: int = 8,
    keyframe_interval: int = 10,
    bits: int = 8,
    steps: int = 150,
    fps: float = 30.0,
    start: str | None = None,
    shared_v: bool = False,
    bit_price: float = 0.001,
    batch_size: int = 4,
    learning_rate: float | None = None,
    objective: str = "ppgym",
    seed: int = 0,
    checkpoint: Path | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> PromptChunk:
    """Find the prompt of a chunk by gradient descent through the generator.

    Args:
        frames: uint8 [T, H, W, 3], RGB, of the generator's resolution.
        generator: What will draw the frames.
        rank: Components of U V, at most min(tokens, width).
        keyframe_interval: Frames from one keyframe to the next; the last frame is one in any case.
        bits: 4 to 8 for a value of U or V.
        steps: Gradient steps at most; 0 gives the start, quantised.
        fps: Frames per second.
        start: "features" (the generator's guess from the frames), "neutral" (the neutral prompt), "uniform" (U and V
            uniform), or None: the objective's start, which for ppgym is the guess where the generator offers one.
        shared_v: Whether all keyframes have one and the same V, which the bitstream then writes next to free.
        bit_price: Loss for each bit that a value of U and V is expected to take, on average; of objective ppgym alone.
        batch_size: Frames in one step.
        learning_rate: Adam's, at first; the objective's own where None.
        objective: Key of `ppgym.codec.objectives.OBJECTIVES`.
        seed: Of the order of the frames, and of a random start.
        checkpoint: File to which the descent is written once a minute, and from which it goes on where it exists.
        callback: Called after each step with its number, from 1, and its loss.

    Returns:
        The prompt.

    Raises:
        ValueError: An argument is out of range, or the frames are of another shape or dtype; names the value and what
            was expected. Or the memory does not hold a batch, even with gradient checkpointing.
    """
    check_frames("invert_prompt: frames", frames)
    if frames.shape[1:3] != generator.resolution:
        raise ValueError(
            f"invert_prompt: frames: expected {generator.resolution[0]} x {generator.resolution[1]} px, as generator "
            f"{generator.name!r} draws, got {frames.shape[1]} x {frames.shape[2]}"
        )
    check_whole("invert_prompt: rank", rank, 1, min(generator.tokens, generator.width))
    check_whole("invert_prompt: keyframe_interval", keyframe_interval, 1)
    check_whole("invert_prompt: bits", bits, MIN_BITS, MAX_BITS)
    check_whole("invert_prompt: steps", steps, 0)
    check_whole("invert_prompt: batch_size", batch_size, 1)
    if objective not in OBJECTIVES:
        raise ValueError(f"invert_prompt: objective: unknown {objective!r}; {suggest(objective, OBJECTIVES)}")
    plan = OBJECTIVES[objective]
    rate = plan.learning_rate if learning_rate is None else learning_rate
    if not rate > 0:
        raise ValueError(f"invert_prompt: learning_rate: expected a number above 0, got {learning_rate!r}")
    if start is not None and start not in STARTS:
        raise ValueError(f"invert_prompt: start: expected one of {', '.join(STARTS)}, got {start!r}")
    if start == "features" and not generator.guesses:
        raise ValueError(f"invert_prompt: start: generator {generator.name!r} guesses no prompts; expected 'neutral'")
    frame_count = len(frames)

    # 1. Keyframes at every interval, and one that closes the chunk
    keyframes = (*range(0, frame_count - 1, keyframe_interval), frame_count - 1)
    weights = interpolation(keyframes, frame_count)
    blend = torch.from_numpy(weights).to(generator.device)  # [T, K]

    # 2. Start: U and V of each keyframe
    start = start or ("uniform" if plan.uniform else "features" if generator.guesses else "neutral")
    u, v = _start(start, frames, generator, weights, rank, seed)
    v = v[:1] if shared_v else v
    u, v = (x.to(generator.device, torch.float32) for x in (u, v))
    half = generator.dtype == torch.float16
    descent = Descent(u, v, frame_count, learning_rate=rate, floor=plan.floor, half=half, seed=seed)
    if checkpoint is not None and checkpoint.is_file():
        descent.restore(checkpoint)
    u, v = descent.u, descent.v

    # 3. The loss of some frames
    error = promptus_distortion(generator.device) if objective == "promptus" else distortion
    truth = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def loss(chosen: list[int]) -> Tensor:
        # 4. Quantise U and V as the bitstream will, letting the gradient through
        coarse_u, coarse_v = (Quantiser.over(x, bits).straight_through(x) for x in (u, v))

        # 5. Embeddings of the keyframes, and between them
        if plan.separate:
            coarse_u, coarse_v = (
                torch.einsum("tk,kab->tab", blend[chosen], x.expand(len(keyframes), -1, -1))
                for x in (coarse_u, coarse_v)
            )
            embeddings = torch.matmul(coarse_u, coarse_v)
        else:
            embeddings = torch.einsum("tk,knw->tnw", blend[chosen], torch.matmul(coarse_u, coarse_v))
        embeddings = embeddings / rank**0.5 if plan.rooted else embeddings

        # 6. Draw, and compare with the clip; bits, or large embeddings, cost too
        drawn = generator.draw(embeddings.to(generator.dtype)).float()
        wanted = truth[chosen].to(generator.device).float() / 255
        with torch.no_grad():
            descent.frame_errors[chosen] = (drawn - wanted).square().mean((1, 2, 3)).cpu().numpy()
        if objective == "promptus":
            return error(drawn, wanted) + PROMPTUS_MAGNITUDE * embeddings.abs().mean()
        price = bit_price * (expected_bits(u, bits) + expected_bits(v, bits)) / (u.numel() + v.numel())
        return error(drawn, wanted) + price

    # 7. Adam, its rate halved on each plateau; it ends on the last one
    saved_s = time.monotonic()
    while descent.step_count < steps and not descent.done:
        chosen = descent.choose(batch_size, plan.repeat_worst)
        value = _step(descent, functools.partial(loss, chosen), generator)
        if callback is not None:
            callback(descent.step_count, value)
        if checkpoint is not None and time.monotonic() >= saved_s + CHECKPOINT_EVERY_S:
            descent.save(checkpoint)
            saved_s = time.monotonic()

    # 8. Quantise for good
    factors: dict[str, Any] = {}
    for name, values in (("u", u.detach()), ("v", v.detach().expand(len(keyframes), -1, -1))):
        grid = Quantiser.over(values, bits)
        factors[name] = grid.indices(values).to(torch.uint8).cpu().numpy()
        factors[f"{name}_scale"] = np.full(len(keyframes), grid.scale, np.float32)
        factors[f"{name}_zero"] = np.full(len(keyframes), grid.zero, np.float32)
    return PromptChunk(
        generator=generator.identity,
        height_px=generator.resolution[0],
        width_px=generator.resolution[1],
        fps=fps,
        frame_count=frame_count,
        keyframes=keyframes,
        bits=bits,
        separate=plan.separate,
        rooted=plan.rooted,
        **factors,
    )


def _start(
    start: str, frames: Frames, generator: Generator, weights: npt.NDArray[np.float32], rank: int, seed: int
) -> tuple[Tensor, Tensor]:
    """U [K, tokens, rank] and V [K, rank, width] of a start of `STARTS`."""
    if start == "features":
        return feature_start(frames, generator, weights, rank)
    random = torch.Generator().manual_seed(seed)
    keyframes = weights.shape[1]
    if start == "uniform":
        u, v = (
            torch.rand(keyframes, *shape, generator=random)
            for shape in ((generator.tokens, rank), (rank, generator.width))
        )
        return u, v
    rows = torch.randn(rank, generator.width, generator=random)
    return torch.zeros(keyframes, generator.tokens, rank), (RANDOM_ROWS_STD * rows).expand(keyframes, -1, -1)


def _step(descent: Descent, loss: Callable[[], Tensor], generator: Generator) -> float:
    """A step; where it takes too much memory, what gradients need is computed twice from then on."""
    try:
        return descent.step(loss)
    except torch.OutOfMemoryError:
        generator.save_memory()
    try:
        return descent.step(loss)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"generator {generator.name!r}: no memory for a batch; expected a smaller one") from error


def expected_bits(factors: Tensor, bits: int) -> Tensor:
    """About what U or V [K, ...] takes in the bitstream: less where a keyframe is more like the one before."""
    changes = torch.cat([factors[:1], factors[1:] - factors[:-1]])
    return torch.log2(1 + changes.abs() / Quantiser.over(factors.detach(), bits).scale).sum()


def feature_start(
    frames: Frames, generator: Generator, weights: npt.NDArray[np.float32], rank: int
) -> tuple[Tensor, Tensor]:
    """The generator's guesses for all frames, as U and V of the keyframes.

    The embeddings of the keyframes are those whose interpolation comes nearest to the guesses of all frames; V is the
    basis, common to the keyframes, that keeps most of them.

    Args:
        frames: uint8 [T, H, W, 3].
        generator: One that offers guesses.
        weights: [T, K], as `bitstream.interpolation` gives them.
        rank: Of U V.

    Returns:
        U [K, tokens, rank] and V [K, rank, width], float32.
    """
    # The last bits of LAPACK's results depend on where its arrays lie in memory: float32 rounds those of float64 away,
    # but for rare ties
    guesses = generator.guess(frames).cpu().double()  # [T, tokens, width]
    solved = torch.linalg.lstsq(torch.from_numpy(weights).double(), guesses.flatten(1)).solution
    keyframes = solved.unflatten(1, guesses.shape[1:])
    _, _, basis = torch.linalg.svd(keyframes.flatten(0, 1), full_matrices=False)  # [width, width], orthonormal rows
    v = basis[:rank]
    return (keyframes @ v.T).float(), v.float().expand(len(keyframes), -1, -1)
