"""What gradient descent minimises: ppgym's own objective, and Promptus's.

| | `ppgym` | `promptus` (J. Wu et al., https://arxiv.org/abs/2405.20032) |
|---|---|---|
| error of the pictures | MSE + 0.05 (1 - SSIM), of values in 0..1 | 0.8 MSE + 0.2 VGG19 features, of values in -1..1 |
| price | of the bits that U and V are expected to take | 0.1 mean of the embeddings' magnitude |
| start | the generator's guess, or the neutral prompt | U and V uniform |
| embeddings | U V, interpolated | U V / sqrt(rank), U and V interpolated each for itself |
| Adam's rate | 0.03, halved on plateaus, down to 1/32 of it | 0.1, halved on plateaus, down to 0.001 |
| frames | each as often as any other | besides, the worst one again in every batch |

VGG's part is left out where its weights are not on disk, for nothing is downloaded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppgym.codec.metrics import LUMA

SSIM_WEIGHT: Final = 0.05  # of 1 - SSIM beside the mean squared error
PROMPTUS_MSE, PROMPTUS_FEATURES, PROMPTUS_MAGNITUDE = 0.8, 0.2, 0.1

VGG19_WEIGHTS: Final = "vgg19-dcbb9e9d.pth"  # torchvision's file
VGG19_WIDTHS: Final = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512)  # 0: a pooling layer
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Distortion = Callable[[Tensor, Tensor], Tensor]


class Objective(NamedTuple):
    """How a descent is set up.

    Attributes:
        learning_rate: Adam's, at first.
        floor: Part of it at which a plateau ends the descent.
        uniform: Whether U and V start uniform.
        separate: Whether U and V are interpolated each for itself.
        rooted: Whether the embeddings are U V / sqrt(rank).
        repeat_worst: Whether every batch holds the worst frame once more.
    """

    learning_rate: float
    floor: float
    uniform: bool = False
    separate: bool = False
    rooted: bool = False
    repeat_worst: bool = False


OBJECTIVES: Final = {
    "ppgym": Objective(0.03, 1 / 32),
    "promptus": Objective(0.1, 1 / 100, uniform=True, separate=True, rooted=True, repeat_worst=True),
}


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


def promptus_distortion(device: torch.device) -> Distortion:
    """Promptus's error of pictures.

    Args:
        device: Of the pictures.

    Returns:
        From pictures drawn and true, [B, 3, H, W] about 0..1, to a scalar.
    """
    features = vgg_features(device)

    def error(drawn: Tensor, truth: Tensor) -> Tensor:
        mse = 4 * functional.mse_loss(drawn, truth)  # of values in -1..1
        if features is None:
            return PROMPTUS_MSE * mse
        return PROMPTUS_MSE * mse + PROMPTUS_FEATURES * functional.mse_loss(features(drawn), features(truth))

    return error


def vgg_weights() -> Path | None:
    """The file of VGG19's weights, where torchvision has left it on this machine."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG19_WEIGHTS
    return path if path.is_file() else None


def vgg_features(device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """The features of VGG19 before its fourth pooling layer, of pictures [B, 3, H, W] in 0..1.

    Args:
        device: Of the pictures.

    Returns:
        The function; None where the weights are not on disk.

    Raises:
        ValueError: The file holds other weights.
    """
    path = vgg_weights()
    if path is None:
        return None
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG19_WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    network = nn.Sequential(*layers)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict({name: stored[f"features.{name}"] for name in network.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: expected the weights of torchvision's VGG19: {error}") from error
    network = network.to(device).eval().requires_grad_(False)
    mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    return lambda pictures: torch.as_tensor(network((pictures - mean) / std))
