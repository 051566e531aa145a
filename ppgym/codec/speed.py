"""How long prompts take with a generator: a chunk decoded beside diffusers' bare loop, and a second inverted."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.clips import draw_frames
from ppgym.codec.generator import BATCH, Frames, Generator, interpolation, load_generator
from ppgym.codec.metrics import psnr_db, ssim
from ppgym.codec.prompt import invert_prompt

CLIP: Final = ("pans", 0)  # family and seed of the held-out second


def bare_loop(generator: Generator, chunk: PromptChunk) -> Frames:
    """Decode a chunk as a loop over the model's two parts would, with nothing of ours around it.

    Args:
        generator: Generator that predicts the clean latent ("sample").
        chunk: Prompt.

    Returns:
        uint8 [T, H, W, 3].
    """
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

    Args:
        generator: As for `load_generator`, one that predicts the clean latent.
        steps: Of the descent.
        runs: Of each of the two loops.
    """
    model = load_generator(generator)
    frames = draw_frames(*CLIP, split="heldout")
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")

    began, used = time.perf_counter(), time.process_time()
    chunk = invert_prompt(frames, model, steps=steps)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - used
    decoded = model.decode(chunk)
    print(
        f"inversion of {len(frames)} frames, at most {steps} steps: {wall_s:.1f} s, {cpu_s:.1f} CPU seconds; "
        f"SSIM {ssim(decoded, frames):.4f}, PSNR {psnr_db(decoded, frames):.2f} dB"
    )

    loops: tuple[Callable[[], Frames], ...] = (lambda: bare_loop(model, chunk), lambda: model.decode(chunk))
    wall: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    same = True
    for run in range(runs + 1):  # the first warms up
        for k, loop in enumerate(loops):
            began, used = time.perf_counter(), time.process_time()
            result = loop()
            if run:
                wall[k].append(time.perf_counter() - began)
                cpu[k].append(time.process_time() - used)
        same = same and np.array_equal(result, decoded)
    bare_s, decode_s = map(statistics.median, wall)
    bare_cpu_s, decode_cpu_s = map(statistics.median, cpu)
    print(
        f"decoding, medians of {runs} turns: bare loop {bare_s:.3f} s ({bare_cpu_s:.3f} CPU), "
        f"ours {decode_s:.3f} s ({decode_cpu_s:.3f} CPU): {bare_s / decode_s:.2f} of its speed "
        f"({bare_cpu_s / decode_cpu_s:.2f} by CPU seconds); {'bit-exact' if same else 'NOT the same bits'} in all turns"
    )
    print(f"load {os.getloadavg()[0]:.1f}")
