"""Training of the tiny generator, in three stages.

1. *Pictures*: the autoencoder learns to draw a picture from its latent.
2. *Prompts*: the UNet learns to predict the latent from a prompt, on latents alone. Prompts are guessed from frames,
   cut to a random rank, and get noise as large as the rounding to 4 to 8 bits.
3. *Both*: all of it end to end, from frame to prompt to frame.

Stages 2 and 3 make the embeddings a *video* code: two frames of a clip are encoded, the embeddings are interpolated
between them, and the picture drawn there is compared with the true frame of that moment. So the motion of the clips
becomes linear in the embeddings.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ppgym.codec.clips import FPS, draw_frames
from ppgym.codec.objectives import structural_similarity
from ppgym.codec.tiny import TinyModel
from ppgym.files import replacing
from ppgym.progress import Progress

RANKS: Final = (4, 8, 12, 16)
PEAK_RATE: Final = 1e-3
WARM_UP_STEPS: Final = 50
COOL_DOWN: Final = 0.3  # part of a stage in which the learning rate falls to nothing
LATENT_NOISE: Final = 0.1  # on the latents of stage 1, so that small errors of the UNet are small errors of the picture
CLIPS: Final = 5  # in a batch
SHARES: Final = {"shapes": 0.25, "textures": 0.25, "gradients": 0.1, "noise": 0.15, "pans": 0.25}  # of the clips
SSIM_WEIGHT: Final = 0.5  # of 1 - SSIM beside the absolute and squared error
FIT_BATCHES: Final = 20  # of clips, from whose latents the first guess of prompts is made
SAVE_EVERY_STEPS: Final = 100


def roughen(factors: Tensor, bits: int, noise: Tensor) -> Tensor:
    """Add noise (-0.5..0.5) as wide as a step of quantisation to so many bits over the range of each of [B, ...]."""
    low, high = factors.detach().aminmax(dim=-1, keepdim=True)
    step = (high.amax(1, keepdim=True) - low.amin(1, keepdim=True)) / (2**bits - 1)
    return torch.addcmul(factors, step, noise)


def draw_triples(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Moments of some clips: two keyframes, and a frame between them.

    Returns:
        Frames a, between, b: [CLIPS, 3 frames, 3, H, W] in 0..1; where `between` lies, from a (0) to b (1).
    """
    triples, places = [], []
    for family in rng.choice([*SHARES], CLIPS, p=[*SHARES.values()]):
        gap = int(rng.integers(2, 13))
        first, between = int(rng.integers(FPS - gap)), int(rng.integers(1, gap))
        moments = (first, first + between, first + gap)
        triples.append(draw_frames(str(family), int(rng.integers(2**40)), moments, split="train"))
        places.append(between / gap)
    pictures = torch.from_numpy(np.stack(triples)).permute(0, 1, 4, 2, 3).float() / 255
    return pictures, torch.tensor(places)


def distance(drawn: Tensor, truth: Tensor) -> Tensor:
    """Of pictures [B, 3, H, W]: mean absolute and squared error, and 1 - SSIM."""
    similarity = structural_similarity(drawn, truth)
    return functional.l1_loss(drawn, truth) + functional.mse_loss(drawn, truth) + SSIM_WEIGHT * (1 - similarity)


def encode(model: TinyModel, pictures: Tensor) -> Tensor:
    """Latents of pictures [B, 3, H, W] in 0..1; in bfloat16, as `decode`, for the convolutions are most of the work."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = model.vae.encoder(2 * pictures.contiguous(memory_format=torch.channels_last) - 1)
    return torch.as_tensor(latents.float())


def decode(model: TinyModel, latents: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], about 0..1, of latents."""
    with torch.autocast("cpu", torch.bfloat16):
        pictures = model.vae.decoder(latents)
    return torch.as_tensor(pictures.float() / 2 + 0.5)


def picture_loss(model: TinyModel, rng: np.random.Generator) -> Tensor:
    """Stage 1: draw pictures from their own latents, with noise on them."""
    pictures = draw_triples(rng)[0].flatten(0, 1)
    latents = encode(model, pictures)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    return distance(decode(model, latents + LATENT_NOISE * noise), pictures)


def prompt_loss(model: TinyModel, rng: np.random.Generator, *, joint: bool) -> Tensor:
    """Stage 2 (on latents), and 3 (`joint`, on pictures).

    Args:
        model: Model.
        rng: Draws clips, rank, bits and noise.
        joint: Whether to draw pictures and train all parts.

    Returns:
        Scalar.
    """
    # 1. Draw moments of clips
    pictures, place = draw_triples(rng)
    encoded = pictures[:, ::2] if joint else pictures
    with torch.set_grad_enabled(joint):
        latents = encode(model, encoded.flatten(0, 1)).view(len(encoded), -1, *model.start.latent.shape)

    # 2. Guess the keyframes' prompts, as U V of a random rank, with noise like that of quantisation
    keyframes = model.start(latents[:, [0, -1]].flatten(0, 1)).unflatten(0, (-1, 2))  # [clips, 2, tokens, width]
    rank, bits = int(rng.choice(RANKS)), int(rng.integers(4, 9))
    stacked = keyframes.detach().flatten(1, 2)
    v = torch.linalg.eigh(stacked.mT @ stacked).eigenvectors[:, :, -rank:].mT  # the basis that keeps most of both
    u = keyframes.flatten(1, 2) @ v.mT
    noise_u, noise_v = (torch.from_numpy(rng.random(x.shape, np.float32)) - 0.5 for x in (u, v))
    keyframes = (roughen(u, bits, noise_u) @ roughen(v, bits, noise_v)).view(keyframes.shape)

    # 3. Interpolate between the keyframes; generate one of them and the frame between
    end = int(rng.integers(2))
    between = torch.lerp(keyframes[:, 0], keyframes[:, 1], place[:, None, None])
    clean = model.generate_latents(torch.cat([keyframes[:, end], between]))

    # 4. Compare both with the clip
    if not joint:
        return functional.mse_loss(clean, torch.cat([latents[:, 2 * end], latents[:, 1]]))
    return distance(decode(model, clean), torch.cat([pictures[:, 2 * end], pictures[:, 1]]))


def begin_prompts(model: TinyModel, seed: int) -> None:
    """Before stage 2: a first guess of prompts from the latents of some clips, and attention that can use it."""
    with torch.no_grad():
        batches = [draw_triples(np.random.default_rng([seed, FIT_BATCHES, k]))[0] for k in range(FIT_BATCHES)]
        model.start.fit(encode(model, torch.cat(batches)[:, 0]))
    model.attend_to_own_place()


def learning_rate(step: int, steps: int) -> float:
    """Warm up, stay, and fall to nothing over the last `COOL_DOWN` of a stage."""
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (COOL_DOWN * steps))


def save_checkpoint(path: Path, model: TinyModel, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Write weights, Adam's moments, the step and the seconds spent; whole or not at all."""
    content = {"model": model.state_dict(), "adam": optimizer.state_dict(), "step": step, "seconds": seconds}
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, model: TinyModel, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Read what `save_checkpoint` wrote into model and optimizer; returns the step and the seconds spent."""
    content = torch.load(path, weights_only=True)
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["adam"])
    return content["step"], content["seconds"]


def train(
    checkpoint: Path, stages: tuple[int, int, int], warm_start: Path | None, seed: int, threads: int
) -> TinyModel:
    """Train the tiny generator, or go on where a checkpoint ends.

    Args:
        checkpoint: File of weights and optimizer, written as training goes; resumed from where it exists.
        stages: Steps of each stage.
        warm_start: Directory of a trained model, as wide or narrower, to begin with; for stage 3 alone.
        seed: Of weights and batches.
        threads: CPU threads.

    Returns:
        The trained model.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = TinyModel()
    if warm_start is not None:
        model.widen(warm_start)
    model.vae.to(memory_format=torch.channels_last)
    model.unet.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    step, seconds = load_checkpoint(checkpoint, model, optimizer) if checkpoint.exists() else (0, 0.0)
    began, average, seen = time.monotonic() - seconds, 0.0, 0
    with Progress("Training", sum(stages) - step) as progress:
        while step < sum(stages):
            stage = sum(step >= end for end in (stages[0], stages[0] + stages[1]))
            step_of_stage = step - sum(stages[:stage])
            if step_of_stage == 0:
                seen = 0
                if stage == 1:
                    begin_prompts(model, seed)
            rng = np.random.default_rng([seed, step])
            loss = picture_loss(model, rng) if stage == 0 else prompt_loss(model, rng, joint=stage == 2)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step_of_stage, stages[stage])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, seen = step + 1, seen + 1
            average += (loss.item() - average) / min(seen, 50)
            progress.advance(note=f"stage {stage + 1}, loss {average:.4f}")
            if step % SAVE_EVERY_STEPS == 0 or step == sum(stages):
                seconds = time.monotonic() - began
                save_checkpoint(checkpoint, model, optimizer, step, seconds)
                progress.console.print(f"step {step}, stage {stage + 1}: loss {average:.4f}, {seconds:.0f} s")
    return model
