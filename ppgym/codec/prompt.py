"""Gradient inversion: finds the prompt from which a one-step generator draws a given second of video.

After Promptus (J. Wu et al., https://arxiv.org/abs/2405.20032), with these differences. A chunk ends with a keyframe of
its own and chains no latents, so it decodes alone. The embeddings U V are interpolated between keyframes. The loop fits
4 to 8 bits instead of 8. If the generator can guess a prompt from a picture, gradient descent starts there.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ppgym.codec.bitstream import MAX_BITS, MIN_BITS, PromptChunk
from ppgym.codec.checks import check_frames, check_whole
from ppgym.codec.clips import Frames
from ppgym.codec.generator import Generator, interpolation
from ppgym.codec.metrics import LUMA
from ppgym.progress import track

STARTS: Final = ("features", "neutral")
PATIENCE_STEPS: Final = 12  # without progress until the learning rate is halved
FLOOR: Final = 1 / 32  # of the first learning rate; a plateau there ends gradient descent
SSIM_WEIGHT: Final = 0.05  # of 1 - SSIM beside the mean squared error
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
    learning_rate: float = 0.03,
    seed: int = 0,
    progress: bool = False,
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
        start: "features" (the generator's guess from the frames), "neutral" (the neutral prompt), or None: the guess
            where the generator offers one.
        shared_v: Whether all keyframes have one and the same V, which the bitstream then writes next to free.
        bit_price: Loss for each bit that a value of U and V is expected to take, on average.
        batch_size: Frames in one step.
        learning_rate: Adam's, at first.
        seed: Of the order of the frames.
        progress: Whether to show the progress.
        callback: Called after each step with its number, from 1, and its loss.

    Returns:
        The prompt.

    Raises:
        ValueError: An argument is out of range, or the frames are of another shape or dtype; names the value and what
            was expected.
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
    if not learning_rate > 0:
        raise ValueError(f"invert_prompt: learning_rate: expected a number above 0, got {learning_rate!r}")
    if start is not None and start not in STARTS:
        raise ValueError(f"invert_prompt: start: expected one of {', '.join(STARTS)}, got {start!r}")
    if start == "features" and not generator.guesses:
        raise ValueError(f"invert_prompt: start: generator {generator.name!r} guesses no prompts; expected 'neutral'")
    frame_count = len(frames)
    order = np.random.default_rng(seed)

    # 1. Keyframes at every interval, and one that closes the chunk
    keyframes = (*range(0, frame_count - 1, keyframe_interval), frame_count - 1)
    weights = interpolation(keyframes, frame_count)
    blend = torch.from_numpy(weights).to(generator.device)  # [T, K]

    # 2. Start: U and V of each keyframe
    if (start or ("features" if generator.guesses else "neutral")) == "features":
        u, v = feature_start(frames, generator, weights, rank)
    else:
        u = torch.zeros(len(keyframes), generator.tokens, rank)
        rows = torch.randn(rank, generator.width, generator=torch.Generator().manual_seed(seed))
        v = (RANDOM_ROWS_STD * rows).expand(len(keyframes), -1, -1)
    v = v[:1] if shared_v else v
    u, v = (x.to(generator.device, torch.float32).clone().requires_grad_() for x in (u, v))

    # 3. Adam, its rate halved on each plateau of the loss
    optimizer = torch.optim.Adam([u, v], lr=learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=PATIENCE_STEPS, eps=0.0)
    truth = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    queue: list[int] = []
    smooth = 0.0
    for step in track(range(1, steps + 1), "Inverting") if progress else range(1, steps + 1):
        # 4. Some of the frames, each as often as any other
        while len(queue) < min(batch_size, frame_count):
            queue += order.permutation(frame_count).tolist()
        chosen, queue = queue[:batch_size], queue[batch_size:]

        # 5. Quantise U and V as the bitstream will, letting the gradient through
        coarse_u, coarse_v = (Quantiser.over(x, bits).straight_through(x) for x in (u, v))

        # 6. Embeddings of the keyframes, and between them
        embeddings = torch.einsum("tk,knw->tnw", blend[chosen], torch.matmul(coarse_u, coarse_v))

        # 7. Draw, and compare with the clip; bits cost, too
        drawn = generator.draw(embeddings.to(generator.dtype)).float()
        loss = distortion(drawn, truth[chosen].to(generator.device).float() / 255)
        loss = loss + bit_price * (expected_bits(u, bits) + expected_bits(v, bits)) / (u.numel() + v.numel())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

        # 8. Halve the learning rate on a plateau; end on the last one
        smooth += (loss.item() - smooth) / min(step, 10)
        plateau.step(smooth)
        if callback is not None:
            callback(step, loss.item())
        if plateau.get_last_lr()[0] < FLOOR * learning_rate:
            break

    # 9. Quantise for good
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
        **factors,
    )


def expected_bits(factors: Tensor, bits: int) -> Tensor:
    """About what U or V [K, ...] takes in the bitstream: less where a keyframe is more like the one before."""
    changes = torch.cat([factors[:1], factors[1:] - factors[:-1]])
    return torch.log2(1 + changes.abs() / Quantiser.over(factors.detach(), bits).scale).sum()


def distortion(drawn: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error, and a part of 1 - SSIM (on windows of 8 x 8 that overlap by half).

    Args:
        drawn: [B, 3, H, W], about 0..1.
        truth: The same shape, 0..1.

    Returns:
        Scalar.
    """
    return functional.mse_loss(drawn, truth) + SSIM_WEIGHT * (1 - structural_similarity(drawn, truth))


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of the luma of pictures [B, 3, H, W] in 0..1, over windows of 8 x 8 that overlap by half."""
    shares = torch.tensor(LUMA, dtype=a.dtype, device=a.device)
    a, b = (torch.einsum("bchw,c->bhw", x, shares)[:, None] for x in (a, b))
    mean_a, mean_b, aa, bb, ab = (functional.avg_pool2d(x, 8, 4) for x in (a, b, a * a, b * b, a * b))
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return (luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4)).mean()


def feature_start(
    frames: Frames, generator: Generator, weights: npt.NDArray[np.float32], rank: int
) -> tuple[Tensor, Tensor]:
    """The generator's guesses for all frames, as U and V of the keyframes.

    The embeddings of the keyframes are those whose interpolation comes nearest to the guesses of all frames; V is the
    basis, common to the keyframes, that keeps most of them.

    Args:
        frames: uint8 [T, H, W, 3].
        generator: One that offers guesses.
        weights: [T, K], as `generator.interpolation` gives them.
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
