"""The command `speed`: how long a chunk takes to decode, beside diffusers' bare loop, and a second to invert.

PyTorch is imported only when the command runs.
"""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from ppgym.codec.bitstream import PromptChunk, interpolation
from ppgym.codec.clips import FPS, Frames, draw_frames
from ppgym.codec.metrics import describe, measure

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

CLIP: Final = ("pans", 0)  # family and seed of the held-out second
METRICS: Final = ("psnr", "ssim")
Result = TypeVar("Result")


def bare_loop(generator: "Generator", chunk: PromptChunk) -> Frames:
    """Decode a chunk as a loop over the model's two parts would, with nothing of ours around it.

    Args:
        generator: Generator that predicts the clean latent ("sample").
        chunk: Prompt.

    Returns:
        uint8 [T, H, W, 3].
    """
    import torch

    from ppgym.codec.generator import BATCH

    weights = torch.from_numpy(interpolation(chunk.keyframes, chunk.frame_count))
    prompts = generator.neutral + torch.einsum("tk,knw->tnw", weights, torch.from_numpy(chunk.embeddings()))
    frames = []
    with torch.inference_mode():
        for batch in torch.split(prompts, BATCH):
            z = generator.latent.expand(len(batch), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            latents = generator.unet(z, generator.timestep, batch).sample
            pictures = generator.vae.decode(latents / generator.vae.config.scaling_factor).sample
            frames.append((127.5 * pictures + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(frames)


def speed(generator: str = "tiny", *, steps: int = 150, runs: int = 15) -> None:
    """Time the inversion of one held-out second, and its decoding beside diffusers' bare loop, turn by turn.

    Example: python -m ppgym.codec speed --steps 150

    Args:
        generator: Name, diffusers folder or hub id of a model that predicts the clean latent.
        steps: Of gradient descent.
        runs: Of each of the two loops.
    """
    import torch

    from ppgym.codec.generator import load_generator
    from ppgym.codec.prompt import invert_prompt

    model = load_generator(generator)
    frames = draw_frames(*CLIP, split="heldout")
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")

    chunk, (wall_s, cpu_s) = _timed(lambda: invert_prompt(frames, model, steps=steps))
    decoded = model.decode(chunk)
    print(
        f"inversion of {len(frames)} frames, at most {steps} steps: {wall_s:.1f} s, {cpu_s:.1f} CPU seconds; "
        f"{describe(measure(decoded, frames, FPS, METRICS))}"
    )

    taken = []  # [turns, loop, wall or CPU seconds]
    same = True
    for _ in range(runs + 1):
        _, bare_seconds = _timed(lambda: bare_loop(model, chunk))
        result, decode_seconds = _timed(lambda: model.decode(chunk))
        taken.append((bare_seconds, decode_seconds))
        same = same and np.array_equal(result, decoded)
    (bare_s, bare_cpu_s), (decode_s, decode_cpu_s) = np.median(taken[1:], axis=0)  # the first turn warms up
    print(
        f"decoding, medians of {runs} turns: bare loop {bare_s:.3f} s ({bare_cpu_s:.3f} CPU), "
        f"ours {decode_s:.3f} s ({decode_cpu_s:.3f} CPU): {bare_s / decode_s:.2f} of its speed "
        f"({bare_cpu_s / decode_cpu_s:.2f} by CPU seconds); {'bit-exact' if same else 'NOT the same bits'} in all turns"
    )
    print(f"load {os.getloadavg()[0]:.1f}")


def _timed(function: Callable[[], Result]) -> tuple[Result, tuple[float, float]]:
    """What a function returns, and the wall and CPU seconds that it takes."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    result = function()
    return result, (time.perf_counter() - began_s, time.process_time() - began_cpu_s)
