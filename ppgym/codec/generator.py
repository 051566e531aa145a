"""One-step generators: from token embeddings to pictures, in one pass of a diffusion model.

A generator is a UNet2DConditionModel and an autoencoder in SD-Turbo's layout. At the last timestep a picture is almost
nothing but noise z. From there, one pass of the UNet predicts the clean latent x0. With a = sqrt(alpha_bar) and
s = sqrt(1 - alpha_bar) of that timestep:

| the UNet predicts | x0 |
|---|---|
| "epsilon", the noise (SD-Turbo: a = 0.0683) | (z - s epsilon) / a |
| "v_prediction" | a z - s v |
| "sample" (the tiny generator) | the prediction itself |

and the picture is vae.decode(x0 / scaling_factor). The noise z is the same for every frame of every video: drawn once
from a fixed seed, or stored with the model (`tiny.py`). So the prompt alone decides the picture.
"""

import hashlib
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging
from torch import Tensor

from ppgym.codec.bitstream import PromptChunk, check_generator
from ppgym.codec.clips import Frames
from ppgym.codec.tiny import PromptStart
from ppgym.core.state import F4

TINY: Final = "tiny"
SD_TURBO_RANDOM: Final = "sd-turbo-random"
BUNDLE: Final = Path(__file__).parent / "weights" / "tiny"
DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
NOISE_SEED: Final = 0
CLIP_TOKENS: Final = 77  # of a prompt of Stable Diffusion
BATCH: Final = 10  # as Promptus decodes
CHAIN_SHARE: Final = 0.05  # of the latent before, in what a frame of a chain is drawn from; the rest is noise
DECODER_PARTS: Final = ("decoder.", "post_quant_conv.")  # of an autoencoder's weights
WEIGHTS: Final = "diffusion_pytorch_model"

# https://huggingface.co/stabilityai/sd-turbo: the UNet of Stable Diffusion 2.1 and its schedule of noise
SD_TURBO_UNET: Final = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SD_TURBO_NOISE: Final = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}


class Generator:
    """A one-step generator.

    Args:
        name: What it is called in messages.
        unet: diffusers UNet2DConditionModel.
        vae: diffusers AutoencoderTiny or AutoencoderKL.
        noise: Schedule, a configuration of diffusers' schedulers.
        start: Start latent, neutral prompt and first guess, where the model has them.
        device: Torch device.
        dtype: Of the weights and the sums: a key of `DTYPES`.

    Attributes:
        identity: Hexadecimal SHA-256 over what decoding needs, whatever precision it runs in: the weights of the UNet
            and of the autoencoder's decoder, the start, and the numbers of the schedule.
        pixels_per_latent: Side in pixels of what one place of the latent becomes.
        resolution: Height and width of a picture in pixels.
        tokens: Of a prompt.
        width: Numbers of a token.
    """

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderTiny | AutoencoderKL,
        noise: dict[str, Any],
        start: PromptStart | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """Move the parts to the device and freeze them."""
        schedule = DDIMScheduler.from_config(noise)
        side = unet.config.sample_size
        self.name = name
        self.tokens = start.tokens if start else CLIP_TOKENS
        self.width = int(unet.config.cross_attention_dim)
        self.pixels_per_latent = int(2 ** (len(vae.config.block_out_channels) - 1))
        side_px = int(side * self.pixels_per_latent)
        self.resolution = (side_px, side_px)
        self.prediction = str(schedule.config.prediction_type)
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(
                f"generator {name!r}: prediction_type: expected epsilon, v_prediction or sample, "
                f"got {self.prediction!r}"
            )
        self.timestep = int(schedule.config.num_train_timesteps) - 1
        self.signal = float(schedule.alphas_cumprod[self.timestep]) ** 0.5
        self.noise = (1 - self.signal**2) ** 0.5

        seeded = torch.randn(unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(NOISE_SEED))
        latent = start.latent.detach() if start else seeded
        neutral = start.neutral.detach() if start else torch.zeros(self.tokens, self.width)
        decoder = {name: tensor for name, tensor in vae.state_dict().items() if name.startswith(DECODER_PARTS)}
        numbers = torch.tensor([self.signal, float(vae.config.scaling_factor)])
        begin = {"latent": latent, "neutral": neutral, self.prediction: numbers}
        self.identity = _identity({"unet": unet.state_dict(), "vae": decoder, "start": begin})

        self.device, self.dtype = torch.device(device), DTYPES[dtype]
        place: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        with _quiet():
            self.unet = unet.to(**place, memory_format=torch.channels_last).eval().requires_grad_(False)
            self.vae = vae.to(**place, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.start = start.to(**place).eval().requires_grad_(False) if start else None
        self.latent, self.neutral = latent.to(**place), neutral.to(**place)

    @property
    def guesses(self) -> bool:
        """Whether the model can guess a prompt from a picture."""
        return self.start is not None

    def draw(self, embeddings: Tensor) -> Tensor:
        """Draw the pictures of prompts; gradients flow back to the prompts.

        Args:
            embeddings: [B, tokens, width], on the generator's device, in its dtype.

        Returns:
            [B, 3, H, W], about 0..1, not clipped.
        """
        return self.picture(self.clean(embeddings, self.latent))

    def clean(self, embeddings: Tensor, start: Tensor) -> Tensor:
        """Predict the clean latents of prompts in one step.

        Args:
            embeddings: [B, tokens, width], on the generator's device, in its dtype.
            start: [C, h, w], what every picture is drawn from.

        Returns:
            [B, C, h, w].
        """
        z = start.expand(len(embeddings), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        prediction = self.unet(z, self.timestep, self.neutral + embeddings, return_dict=False)[0]
        if self.prediction == "epsilon":
            return torch.as_tensor((z - self.noise * prediction) / self.signal)
        if self.prediction == "v_prediction":
            return torch.as_tensor(self.signal * z - self.noise * prediction)
        return torch.as_tensor(prediction)

    def picture(self, latents: Tensor) -> Tensor:
        """Draw clean latents [B, C, h, w] as pictures [B, 3, H, W], about 0..1, not clipped."""
        picture = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return torch.as_tensor(picture / 2 + 0.5)

    def save_memory(self) -> None:
        """Compute what gradients need a second time, instead of keeping it (gradient checkpointing)."""
        for part in (self.unet, self.vae):
            part.enable_gradient_checkpointing()

    def guess(self, frames: Frames) -> Tensor:
        """Guess the prompts of pictures from their features; only where `guesses`.

        Args:
            frames: uint8 [B, H, W, 3].

        Returns:
            Embeddings [B, tokens, width], of full rank.
        """
        assert self.start is not None
        with torch.no_grad():
            pictures = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).to(self.dtype) / 255
            return torch.as_tensor(self.start(self.vae.encode(2 * pictures - 1, return_dict=False)[0]))

    def generate(self, embeddings: F4 | Tensor, *, batch_size: int = BATCH) -> Frames:
        """Draw the pictures of prompts.

        Args:
            embeddings: float [B, tokens, width].
            batch_size: Pictures in one pass.

        Returns:
            uint8 [B, H, W, 3].

        Raises:
            ValueError: Another shape, or a batch size below 1.
        """
        if embeddings.ndim != 3 or tuple(embeddings.shape[1:]) != (self.tokens, self.width):
            raise ValueError(
                f"generator {self.name!r}: embeddings: expected shape [B, {self.tokens}, {self.width}], "
                f"got {tuple(embeddings.shape)}"
            )
        if batch_size < 1:
            raise ValueError(f"generator {self.name!r}: batch_size: expected at least 1, got {batch_size}")
        prompts = torch.as_tensor(embeddings).to(self.device, self.dtype)
        frames = np.empty((len(prompts), *self.resolution, 3), np.uint8)
        with torch.inference_mode():
            for first in range(0, len(prompts), batch_size):
                frames[first : first + batch_size] = _levels(self.draw(prompts[first : first + batch_size]))
        return frames

    def decode(self, chunk: PromptChunk, *, batch_size: int = BATCH) -> Frames:
        """Decode a chunk: interpolate linearly between its keyframes and draw every frame.

        Args:
            chunk: Prompt, made for this generator.
            batch_size: Pictures in one pass. Sums may round otherwise in another batch.

        Returns:
            uint8 [T, H, W, 3]; the same bits whenever it is run on one machine.

        Raises:
            ValueError: The chunk was made for another generator (both identities are named) or resolution, or it is a
                chain whose start latent is missing or of another shape.
        """
        check_generator(chunk, self.identity)
        if (chunk.height_px, chunk.width_px) != self.resolution:
            raise ValueError(
                f"generator {self.name!r}: draws {self.resolution[0]} x {self.resolution[1]} px, "
                f"the prompt is of {chunk.height_px} x {chunk.width_px}"
            )
        if chunk.noise_seed is not None:
            return self._decode_chain(chunk, chunk.noise_seed, batch_size)
        return self.generate(chunk.frame_embeddings(), batch_size=batch_size)

    def _decode_chain(self, chunk: PromptChunk, noise_seed: int, batch_size: int) -> Frames:
        """As Promptus: frames up to a keyframe are drawn from the clean latent of the keyframe before, and noise."""
        if chunk.anchor is None or chunk.anchor.shape != tuple(self.latent.shape):
            found = "none" if chunk.anchor is None else list(chunk.anchor.shape)
            raise ValueError(
                f"generator {self.name!r}: this prompt is a chain; expected its start latent (Promptus's init.pth) of "
                f"shape {list(self.latent.shape)}, got {found}"
            )
        place: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        noise = torch.from_numpy(np.random.RandomState(noise_seed).randn(*chunk.anchor.shape)).to(**place)
        before = torch.from_numpy(chunk.anchor.copy()).to(**place)
        prompts = torch.from_numpy(chunk.frame_embeddings()).to(**place)
        frames = []
        with torch.inference_mode():
            for first, last in itertools.pairwise((-1, *chunk.keyframes)):
                start = CHAIN_SHARE * before + (1 - CHAIN_SHARE) * noise
                for batch in torch.split(prompts[first + 1 : last + 1], batch_size):
                    latents = self.clean(batch, start)
                    frames.append(_levels(self.picture(latents)))
                before = latents[-1]
        return np.concatenate(frames)


def _levels(pictures: Tensor) -> Frames:
    """Pictures [B, 3, H, W] in 0..1, which are written over, as uint8 [B, H, W, 3]."""
    levels = pictures.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def load_generator(
    name: str | Path = TINY,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    vae: str | Path | None = None,
    local_files_only: bool = False,
) -> Generator:
    """Load a generator.

    Args:
        name: "tiny" (ships with the package); "sd-turbo-random" (the architecture of SD-Turbo with random weights: for
            timing alone); a directory in diffusers' layout with `unet`, `vae` and maybe `scheduler`; or the id of one
            on the Hugging Face hub, "owner/model", which is downloaded where it is not cached.
        device: Torch device, such as "cpu" or "cuda".
        dtype: "float32", "float16" or "bfloat16".
        vae: Directory of another autoencoder, such as TAESD, or of a model that has one in `vae`; the model's own where
            None.
        local_files_only: Never download.

    Returns:
        The generator.

    Raises:
        ValueError: An unknown dtype or device, or a model that is no such generator.
        OSError: No such directory, or no such model on the hub, or no way to reach it.
    """
    if dtype not in DTYPES:
        raise ValueError(f"generator {str(name)!r}: dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"generator {str(name)!r}: device {device!r}: this machine has no CUDA device; expected 'cpu'")
    run: dict[str, Any] = {"device": device, "dtype": dtype}
    if name == SD_TURBO_RANDOM:
        return _sd_turbo_random(run)
    path = BUNDLE if name == TINY else Path(name)
    if not path.is_dir() and (path.is_absolute() or len(path.parts) != 2 or path.parts[0] in (".", "..")):
        raise OSError(
            f"generator {str(name)!r}: no such directory; expected {TINY!r}, {SD_TURBO_RANDOM!r}, a directory in "
            "diffusers' layout or the id 'owner/model' of one on the Hugging Face hub"
        )
    source = os.fspath(path) if path.is_dir() else str(name)
    files: dict[str, Any] = {"local_files_only": local_files_only or path.is_dir()}
    try:
        with _quiet():
            autoencoder = (
                _load_vae(source, files) if vae is None else _load_vae(os.fspath(vae), {"local_files_only": True})
            )
            unet = UNet2DConditionModel.from_pretrained(source, **_weights(source, "unet", files))
            plain = path.is_dir() and not (path / "scheduler").is_dir()
            noise = SD_TURBO_NOISE if plain else DDIMScheduler.load_config(source, subfolder="scheduler", **files)
            start = PromptStart.load(path / "prompt") if (path / "prompt").is_dir() else None
    except OSError as error:
        where = "neither cached here nor to be had from the Hugging Face hub (is there a network?)"
        if path.is_dir():
            where = "the directory does not hold it"
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"generator {source!r}: {where}: {reason}") from error
    return Generator(str(name), unet, autoencoder, noise, start, **run)


def _load_vae(source: str, files: dict[str, Any]) -> AutoencoderTiny | AutoencoderKL:
    """The autoencoder in the folder `vae` of a model, or in the directory itself where it has no such folder."""
    part = "" if Path(source).is_dir() and not (Path(source) / "vae").is_dir() else "vae"
    kind = AutoencoderTiny.load_config(source, subfolder=part, **files).get("_class_name")
    if kind not in ("AutoencoderTiny", "AutoencoderKL"):
        raise ValueError(f"generator {source!r}: vae: expected AutoencoderTiny or AutoencoderKL, got {kind!r}")
    autoencoder = AutoencoderTiny if kind == "AutoencoderTiny" else AutoencoderKL
    return autoencoder.from_pretrained(source, **_weights(source, part, files))


def _weights(source: str, part: str, files: dict[str, Any]) -> dict[str, Any]:
    """How the weights of a part are loaded: those of half precision where a directory has no others; never pickles."""
    folder = Path(source) / part
    halved = (folder / f"{WEIGHTS}.fp16.safetensors").is_file() and not (folder / f"{WEIGHTS}.safetensors").is_file()
    own = {"subfolder": part, "variant": "fp16" if halved else None}
    return {**files, **own, "use_safetensors": True, "low_cpu_mem_usage": False, "torch_dtype": torch.float32}


def _sd_turbo_random(run: dict[str, Any]) -> Generator:
    """SD-Turbo's architecture with random weights and the small autoencoder TAESD, in its published configuration."""
    warnings.warn(f"{SD_TURBO_RANDOM}: random weights, for timing alone; its pictures are meaningless", stacklevel=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NOISE_SEED)
        unet, vae = UNet2DConditionModel(**SD_TURBO_UNET), AutoencoderTiny()
    return Generator(SD_TURBO_RANDOM, unet, vae, SD_TURBO_NOISE, **run)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep diffusers from warning of settings that it wrote itself, and of how it calls the Hugging Face hub."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`")
            yield
    finally:
        logging.set_verbosity(verbosity)


def _identity(parts: dict[str, dict[str, Tensor]]) -> str:
    """SHA-256 over name, shape and little-endian float32 values of every tensor, sorted by part and name."""
    digest = hashlib.sha256()
    for part, tensors in sorted(parts.items()):
        for name, tensor in sorted(tensors.items()):
            values = tensor.detach().cpu().float().contiguous().numpy().astype("<f4", copy=False)
            digest.update(f"{part}.{name} {list(values.shape)}\n".encode())
            digest.update(values.data)
    return digest.hexdigest()
