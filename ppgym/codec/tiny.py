"""The construction of the tiny generator: diffusers' UNet and AutoencoderTiny, small enough to ship with the package.

It has SD-Turbo's layout: a fixed start latent goes through one pass of a UNet that attends to the prompt's tokens, and
an AutoencoderTiny draws the picture. The folder `prompt` of the model's directory adds two small things:

- a start: the latent and the neutral prompt. A prompt's embeddings are an offset from the neutral prompt. Both are
  learned, because a UNet of this size cannot tell positions apart by their noise, nor tokens by their content;
- a guess of a picture's prompt from the autoencoder's latent of it. Gradient inversion starts there.
"""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ppgym.files import read_json

SIZE_PX: Final = 128
TOKENS: Final = 64
WIDTH: Final = 32
PLACE_WIDTH: Final = 16  # numbers of a neutral token that say its place
SHARPNESS: Final = (3.0, 3.0, 1.5, 0.75)  # of attention to the own place at first, by head
LATENT_SIDE: Final = 16
LATENT_CHANNELS: Final = 16
LAST_TIMESTEP: Final = 999

UNET_CONFIG: Final = {
    "sample_size": LATENT_SIDE,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": (32, 96),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": (2, 4),  # diffusers' name for the number of heads
    "norm_num_groups": 16,
}
VAE_CONFIG: Final = {
    "latent_channels": LATENT_CHANNELS,
    "encoder_block_out_channels": (16, 16, 16, 16),
    "decoder_block_out_channels": (32, 32, 32, 32),
    "num_encoder_blocks": (0, 1, 1, 1),
    "num_decoder_blocks": (2, 2, 1, 0),
}


class PromptStart(nn.Module):
    """The start latent, the neutral prompt, and the guess of a prompt from a picture's latent.

    A token is a place: its embedding is a linear picture of the patch of the latent that lies there, in falling order
    of variance. The neutral prompt says in the last numbers of a token, where patches hardly vary, which place it is.

    Args:
        tokens: Of a prompt, a square number.
        width: Numbers of a token, at least `PLACE_WIDTH`.
        channels: Channels of the latent.
        side: Height and width of the latent.
    """

    def __init__(
        self, tokens: int = TOKENS, width: int = WIDTH, channels: int = LATENT_CHANNELS, side: int = LATENT_SIDE
    ) -> None:
        """Make it with places for tokens, and a guess that says nothing yet."""
        super().__init__()
        grid_side = math.isqrt(tokens)
        self.tokens, self.width = tokens, width
        places = position_waves(PLACE_WIDTH, grid_side).flatten(1).T
        self.neutral = nn.Parameter(functional.pad(places, (width - PLACE_WIDTH, 0)))
        self.latent = nn.Parameter(position_waves(channels, side))
        self.features = nn.Conv2d(channels, width, side // grid_side, stride=side // grid_side)

    def forward(self, latents: Tensor) -> Tensor:
        """The guess.

        Args:
            latents: [B, channels, side, side], the autoencoder's encoding of pictures.

        Returns:
            Embeddings [B, tokens, width].
        """
        return torch.as_tensor(self.features(latents).flatten(2).transpose(1, 2))

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Let the guess be the principal components of the patches of some latents [B, channels, side, side]."""
        size = self.features.kernel_size[0]
        # [B * tokens, channels * size**2]
        patches = functional.unfold(latents, size, stride=size).transpose(1, 2).flatten(0, 1)
        mean = patches.mean(0)
        _, spread, components = torch.linalg.svd(patches - mean, full_matrices=False)
        scale = (len(patches) / spread[: PLACE_WIDTH // 2].square().mean()).sqrt()
        weight = scale * components[: self.width]
        self.features.weight.copy_(weight.unflatten(1, self.features.weight.shape[1:]))
        self.features.bias.copy_(-(weight @ mean))  # type: ignore[union-attr]

    def save(self, directory: Path) -> None:
        """Write `config.json` and `model.safetensors` into a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        channels, side = self.latent.shape[:2]
        sizes = {"tokens": self.tokens, "width": self.width, "channels": channels, "side": side}
        (directory / "config.json").write_text(json.dumps(sizes, indent=2) + "\n", encoding="utf-8")
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, directory / "model.safetensors")

    @classmethod
    def load(cls, directory: Path) -> "PromptStart":
        """Read what `save` wrote, as float32."""
        start = cls(**read_json(directory / "config.json"))
        start.load_state_dict(load_file(directory / "model.safetensors"))
        return start


class TinyModel(nn.Module):
    """All that is trained together.

    Attributes:
        unet: From latent and prompt to the picture's latent, in one step.
        vae: From that latent to the picture; its encoder gives the features of a picture.
        start: Start latent, neutral prompt and first guess.
    """

    def __init__(self) -> None:
        """Make it, with random weights."""
        super().__init__()
        self.unet = UNet2DConditionModel(**UNET_CONFIG)
        self.vae = AutoencoderTiny(**VAE_CONFIG)
        self.start = PromptStart()
        with torch.no_grad():
            # Torch's own start shrinks the signal threefold a layer; the autoencoder has no norms to make up for it
            for layer in [*self.vae.encoder.layers, *self.vae.decoder.layers]:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    @torch.no_grad()
    def attend_to_own_place(self) -> None:
        """Let every position begin with the token of its own place, some heads more sharply than others.

        Attention learns slowly which tokens to read. From this start it only has to learn which others it needs.
        """
        places = self.start.neutral[:, -PLACE_WIDTH:]
        for name, attention in self.unet.named_modules():
            if not name.endswith("attn2"):
                continue
            seen: list[Tensor] = []
            hook = attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))  # noqa: B023
            self.generate_latents(torch.zeros(1, self.start.tokens, self.start.width))
            hook.remove()
            inverse = torch.linalg.pinv(seen[0]) @ places  # [channels, PLACE_WIDTH]: what the queries read is the place
            for head, sharpness in enumerate(SHARPNESS):
                size = attention.to_q.weight.shape[0] // len(SHARPNESS)
                rows = slice(head * size, (head + 1) * size)
                query, key = attention.to_q.weight[rows].zero_(), attention.to_k.weight[rows].zero_()
                query[:PLACE_WIDTH] = sharpness * size**0.5 * inverse.T
                key[:PLACE_WIDTH, -PLACE_WIDTH:] = torch.eye(PLACE_WIDTH)

    @torch.no_grad()
    def widen(self, directory: Path) -> None:
        """Take over a trained model with narrower layers, so that this one draws the same pictures to begin with.

        The new weights of a layer are random, and the old ones do not read them yet.

        Args:
            directory: Where `save` wrote it.
        """
        for name in ("unet", "vae", "start"):
            file = "prompt/model" if name == "start" else f"{name}/diffusion_pytorch_model"
            narrow = load_file(directory / f"{file}.safetensors")
            for key, tensor in getattr(self, name).state_dict().items():
                tensor[: len(narrow[key])] = 0
                tensor[tuple(slice(size) for size in narrow[key].shape)] = narrow[key]

    def generate_latents(self, embeddings: Tensor) -> Tensor:
        """Say the latents of the pictures of prompts.

        Args:
            embeddings: [B, tokens, width], offsets from the neutral prompt.

        Returns:
            [B, channels, side, side].
        """
        latents = self.start.latent.expand(len(embeddings), -1, -1, -1)
        return torch.as_tensor(self.unet(latents, LAST_TIMESTEP, self.start.neutral + embeddings).sample)

    def save(self, directory: Path) -> None:
        """Write the model in diffusers' layout, as float16; an older one in that place goes when the new one stands."""
        new = directory.with_name(f".{directory.name}.{os.getpid()}")
        try:
            small = TinyModel()
            small.load_state_dict(self.state_dict())
            small.half()
            small.unet.save_pretrained(new / "unet")
            small.vae.save_pretrained(new / "vae")
            small.start.save(new / "prompt")
            # One step from the last timestep, and the UNet says the clean latent itself
            DDIMScheduler(prediction_type="sample", timestep_spacing="trailing").save_pretrained(new / "scheduler")
            for part in ("unet", "vae", "prompt", "scheduler"):
                shutil.rmtree(directory / part, ignore_errors=True)
                directory.mkdir(parents=True, exist_ok=True)
                (new / part).replace(directory / part)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def position_waves(channels: int, side: int) -> Tensor:
    """A latent that tells positions apart: sines and cosines of x and y, an octave apart.

    Args:
        channels: A multiple of 4.
        side: Height and width.

    Returns:
        float32 [channels, side, side].
    """
    line = torch.pi * (torch.arange(side) + 0.5) / side
    octaves = 2.0 ** (torch.arange(channels // 4) - 1)
    waves = torch.cat([torch.sin(octaves[:, None] * line), torch.cos(octaves[:, None] * line)])  # [channels / 2, side]
    columns, rows = waves[:, None, :].expand(-1, side, -1), waves[:, :, None].expand(-1, -1, side)
    return torch.cat([columns, rows]).contiguous()
