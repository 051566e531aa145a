"""How many FLOPs a generator's frame takes at any resolution, and how many a GPU could do.

Counted with PyTorch's counter on modules without memory or weights ("meta"), so that nothing is computed.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ppgym.codec.generator import Generator

# Dense bfloat16 with sums in float32, by a part of the GPU's name
PEAK_BF16_FLOPS: Final = {
    "H200": 989.5e12,  # https://www.nvidia.com/en-us/data-center/h200: 1,979 with sparsity, half of it without
    "A100": 312e12,  # https://www.nvidia.com/en-us/data-center/a100
    "4090": 165.2e12,  # https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf
}


class FrameFlops(NamedTuple):
    """FLOPs of one frame, by part."""

    unet: int
    decoder: int


def count_flops(generator: Generator, side_px: int) -> FrameFlops:
    """Count the FLOPs of one square frame.

    Args:
        generator: Its architecture is what counts.
        side_px: Of the frame, one that the generator can draw.

    Returns:
        FLOPs, two for each multiplication with addition.
    """
    side = side_px // generator.pixels_per_latent
    latent = torch.empty(1, len(generator.latent), side, side, dtype=generator.dtype, device="meta")
    prompt = torch.empty(1, generator.tokens, generator.width, dtype=generator.dtype, device="meta")
    unet = _count(generator.unet, latent, generator.timestep, prompt)
    return FrameFlops(unet, _count(generator.vae.decoder, latent))


def _count(module: nn.Module, *inputs: Any) -> int:
    empty = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        functional_call(module, empty, inputs)
    return int(counter.get_total_flops())


def flops_coefficients(generator: Generator, side_px: int) -> tuple[float, float, float]:
    """The coefficients of `ppgym.world.devices.DecodeRow.flops`, through the counts at three sizes.

    Args:
        generator: As for `count_flops`.
        side_px: Of a square frame; twice and thrice that are counted too.

    Returns:
        FLOPs of a frame of P pixels: of 1, of P and of P**2.
    """
    pixels = np.array([1.0, 4.0, 9.0])  # in frames of side_px
    counts = [sum(count_flops(generator, side_px * times)) for times in (1, 2, 3)]
    coefficients = np.linalg.solve(np.vander(pixels, increasing=True), np.array(counts, dtype=np.float64))
    constant, linear, quadratic = np.maximum(coefficients, 0.0) / float(side_px**2) ** np.arange(3)
    return round(float(constant)), float(f"{linear:.9g}"), float(f"{quadratic:.9g}")


def peak_flops(gpu: str) -> float | None:
    """What a GPU could do in bfloat16 a second, where it is known.

    Args:
        gpu: Its name, as its driver says it.
    """
    return next((peak for part, peak in PEAK_BF16_FLOPS.items() if part in gpu), None)
