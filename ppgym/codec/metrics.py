"""How near decoded frames are to the original ones: PSNR, SSIM, and LPIPS where its weights are on the machine."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.codec.checks import check_frames
from ppgym.core.state import U1

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
WINDOW_PX = 11
WINDOW_SIGMA_PX = 1.5
RANGE = 255.0
MAX_PSNR_DB = 100.0  # of equal frames

LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"  # torchvision's file of the network that LPIPS compares features of


class Quality(NamedTuple):
    """How near a clip comes to the original one."""

    psnr_db: float
    ssim: float

    def __str__(self) -> str:
        """For a line of output."""
        return f"PSNR {self.psnr_db:.2f} dB, SSIM {self.ssim:.4f}"


def bitrate_bps(size_bytes: int, frame_count: int, fps: float) -> float:
    """Bits per second of a clip.

    Args:
        size_bytes: Bytes of the whole clip.
        frame_count: Its frames.
        fps: Frames per second.
    """
    return size_bytes * 8 * fps / frame_count


def quality(frames: U1, reference: U1) -> Quality:
    """PSNR and SSIM.

    Args:
        frames: uint8 [T, H, W, 3], at least 11 x 11 pixels.
        reference: The original, the same shape.

    Raises:
        ValueError: Not two clips of one shape, or too small.
    """
    return Quality(psnr_db(frames, reference), ssim(frames, reference))


def psnr_db(frames: U1, reference: U1) -> float:
    """Peak signal-to-noise ratio of the mean squared error over all frames, pixels and channels.

    Args:
        frames: uint8 [T, H, W, 3].
        reference: The same shape.

    Returns:
        Decibels, `MAX_PSNR_DB` at most.

    Raises:
        ValueError: Not two clips of one shape.
    """
    _check_pair(frames, reference)
    squares = [np.square(np.subtract(*pair, dtype=np.float64)).mean() for pair in zip(frames, reference, strict=True)]
    mse = float(np.mean(squares))
    return MAX_PSNR_DB if mse == 0 else min(10 * math.log10(RANGE**2 / mse), MAX_PSNR_DB)


def ssim(frames: U1, reference: U1) -> float:
    """Structural similarity of luma, by pytorch-msssim: Gaussian window of 11 x 11 and sigma 1.5, K1 0.01, K2 0.03.

    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Transactions on
    Image Processing 13(4), 2004, https://doi.org/10.1109/TIP.2003.819861. This is the mean of the map where the whole
    window lies within the frame, and then the mean over the frames. Frames are not scaled down.

    Args:
        frames: uint8 [T, H, W, 3], at least 11 x 11 pixels.
        reference: The same shape.

    Returns:
        At most 1, for equal frames.

    Raises:
        ValueError: Not two clips of one shape, or too small.
    """
    import torch
    from pytorch_msssim import ssim as ssim_of_images

    _check_pair(frames, reference)
    if min(frames.shape[1:3]) < WINDOW_PX:
        size = f"{WINDOW_PX} x {WINDOW_PX}"
        raise ValueError(f"SSIM: expected frames of at least {size} pixels, got {list(frames.shape[1:3])}")
    # The library's own window has the precision of float32
    offsets = torch.arange(WINDOW_PX, dtype=torch.float64) - WINDOW_PX // 2
    window = torch.softmax(-(offsets**2) / (2 * WINDOW_SIGMA_PX**2), 0).view(1, 1, 1, -1)
    values = [
        ssim_of_images(*(torch.from_numpy(x @ LUMA)[None, None] for x in pair), data_range=RANGE, win=window).item()
        for pair in zip(frames, reference, strict=True)
    ]
    return float(np.mean(values))


def lpips(frames: U1, reference: U1) -> float | None:
    """Learned perceptual distance (R. Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924), AlexNet's.

    Args:
        frames: uint8 [T, H, W, 3].
        reference: The same shape.

    Returns:
        Mean over the frames, or None where the package `lpips` or AlexNet's weights are not on this machine; nothing
        is downloaded.

    Raises:
        ValueError: Not two clips of one shape.
    """
    _check_pair(frames, reference)
    try:
        import lpips as package
        import torch
    except ImportError:
        return None
    if not (Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS).is_file():
        return None
    network = package.LPIPS(net="alex", verbose=False)
    with torch.inference_mode():
        pairs = [
            [torch.from_numpy(f.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for f in pair]
            for pair in zip(frames, reference, strict=True)
        ]
        return float(np.mean([network(a, b).item() for a, b in pairs]))


def _check_pair(frames: U1, reference: U1) -> None:
    check_frames("frames", frames)
    check_frames("reference", reference)
    if frames.shape != reference.shape:
        raise ValueError(f"expected two clips of one shape, got {list(frames.shape)} and {list(reference.shape)}")
