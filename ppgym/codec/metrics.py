"""How near decoded frames are to the original ones: PSNR, SSIM, VMAF, ColorVideoVDP and LPIPS, by name.

| name | what it is | unit | needs |
|---|---|---|---|
| `psnr` | peak signal-to-noise ratio over all channels | dB | |
| `ssim` | structural similarity of luma, pytorch-msssim | 1 for equal frames | extra `codec` |
| `vmaf` | VMAF v0.6.1 of libvmaf, in imageio-ffmpeg's program | 0 to 100 | extra `metrics` |
| `cvvdp` | ColorVideoVDP, frames seen on a phone | JOD, 10 for equal clips | extra `metrics` |
| `lpips` | LPIPS with AlexNet, lower is better | 0 for equal frames | package `lpips`, AlexNet's weights on disk |

All compare a chunk with the original one; a clip's score is the mean over its chunks. VMAF was fitted to the artefacts
of scaling and of block transforms, on television sets. What a generator draws errs in other ways (it moves detail, or
invents it), so VMAF is to be read beside the others.
"""

import functools
import json
import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ppgym.codec.checks import check_frames
from ppgym.core.state import U1
from ppgym.files import suggest

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
WINDOW_PX = 11
WINDOW_SIGMA_PX = 1.5
RANGE = 255.0
MAX_PSNR_DB = 100.0  # of equal frames

LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"  # torchvision's file of the network that LPIPS compares features of
DISPLAY = "standard_phone"  # of ColorVideoVDP: 6 inches, 2400 x 1080, 500 cd/m2, seen from 40 cm

# Two clips one above the other come in through one pipe; the scores of the frames leave as JSON
VMAF_GRAPH = (
    "format=yuv420p,split[a][b];[a]crop=iw:ih/2:0:0[drawn];[b]crop=iw:ih/2:0:ih/2[truth];"
    "[drawn][truth]libvmaf=log_fmt=json:log_path=/dev/stdout"
)

Scores = dict[str, float]


def bitrate_bps(size_bytes: int, frame_count: int, fps: float) -> float:
    """Bits per second of a clip.

    Args:
        size_bytes: Bytes of the whole clip.
        frame_count: Its frames.
        fps: Frames per second.
    """
    return size_bytes * 8 * fps / frame_count


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


def vmaf(frames: U1, reference: U1) -> float:
    """VMAF v0.6.1 (https://github.com/Netflix/vmaf), by libvmaf in the ffmpeg that imageio-ffmpeg brings.

    Args:
        frames: uint8 [T, H, W, 3], even H and W.
        reference: The same shape.

    Returns:
        Mean over the frames, 0 to 100. Equal frames reach 97 to 100, for a clip's first frames have no motion.

    Raises:
        ValueError: Not two clips of one shape, an odd size, or one that the program refuses.
    """
    import imageio_ffmpeg

    _check_pair(frames, reference)
    check_frames("VMAF", frames, even=True)
    stacked = np.concatenate([frames, reference], axis=1)
    size = f"{stacked.shape[2]}x{stacked.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "30", "-i", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-lavfi", VMAF_GRAPH, "-f", "null", "-"]
    result = subprocess.run(command, input=stacked.tobytes(), capture_output=True, check=False)
    if result.returncode != 0:
        raise ValueError(f"VMAF of {size} pixels: ffmpeg: {' '.join(result.stderr.decode(errors='replace').split())}")
    return float(json.loads(result.stdout)["pooled_metrics"]["vmaf"]["mean"])


def cvvdp(frames: U1, reference: U1, fps: float) -> float:
    """ColorVideoVDP (R. Mantiuk et al., SIGGRAPH 2024, https://arxiv.org/abs/2401.11485), as seen on `DISPLAY`.

    Args:
        frames: uint8 [T, H, W, 3].
        reference: The same shape.
        fps: Frames per second.

    Returns:
        Just-objectionable differences, 10 for equal clips.

    Raises:
        ValueError: Not two clips of one shape.
    """
    _check_pair(frames, reference)
    return float(_cvvdp_metric().predict(frames, reference, dim_order="FHWC", frames_per_second=fps)[0])


@functools.cache
def _cvvdp_metric() -> Any:
    import torch

    try:
        from pycvvdp import cvvdp as metric
    except RuntimeError as error:  # of torchvision, where it and PyTorch are of different builds
        raise ValueError(
            f"cvvdp: expected torchvision of the same build as PyTorch {torch.__version__}: {error}"
        ) from None
    return metric(display_name=DISPLAY, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"), quiet=True)


def lpips(frames: U1, reference: U1) -> float:
    """Learned perceptual distance (R. Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924), AlexNet's.

    Args:
        frames: uint8 [T, H, W, 3].
        reference: The same shape.

    Returns:
        Mean over the frames, 0 for equal ones.

    Raises:
        ValueError: Not two clips of one shape.
        FileNotFoundError: AlexNet's weights are not on this machine; nothing is downloaded.
    """
    import torch

    _check_pair(frames, reference)
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file; LPIPS needs these weights of AlexNet from torchvision")
    import lpips as package

    network = package.LPIPS(net="alex", verbose=False)
    with torch.inference_mode():
        pairs = [
            [torch.from_numpy(f.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for f in pair]
            for pair in zip(frames, reference, strict=True)
        ]
        return float(np.mean([network(a, b).item() for a, b in pairs]))


class Metric(NamedTuple):
    """A metric by name.

    Attributes:
        measure: Of frames, reference (uint8 [T, H, W, 3]) and frames per second.
        label: For people.
        decimals: That are shown.
        unit: Its name.
        rises: Whether higher is better.
    """

    measure: Callable[[U1, U1, float], float]
    label: str
    decimals: int
    unit: str = ""
    rises: bool = True

    def show(self, value: float) -> str:
        """A value as text, without its unit."""
        return f"{value:.{self.decimals}f}"


METRICS: Final = {
    "psnr": Metric(lambda frames, reference, fps: psnr_db(frames, reference), "PSNR", 2, "dB"),
    "ssim": Metric(lambda frames, reference, fps: ssim(frames, reference), "SSIM", 4),
    "vmaf": Metric(lambda frames, reference, fps: vmaf(frames, reference), "VMAF", 1),
    "cvvdp": Metric(cvvdp, "ColorVideoVDP", 2, "JOD"),
    "lpips": Metric(lambda frames, reference, fps: lpips(frames, reference), "LPIPS", 4, rises=False),
}


def check_metrics(names: Sequence[str]) -> None:
    """Refuse what is no list of metrics that this machine can measure.

    Args:
        names: The first one judges.

    Raises:
        ValueError: None, an unknown one, one twice, or a first one of which lower is better.
        ModuleNotFoundError: A metric's package is missing.
        FileNotFoundError: A metric's weights are missing.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"metrics: expected each at most once and at least one, got {' '.join(names) or 'none'}")
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metrics: unknown {name!r}; {suggest(name, METRICS)}")
    if not METRICS[names[0]].rises:
        raise ValueError(f"metrics: expected a first one of which higher is better, for it judges; got {names[0]!r}")
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    measure(grey, grey, 30.0, names)


def measure(frames: U1, reference: U1, fps: float, names: Sequence[str]) -> Scores:
    """Measure a chunk.

    Args:
        frames: uint8 [T, H, W, 3].
        reference: The original, the same shape.
        fps: Frames per second.
        names: Keys of `METRICS`.

    Returns:
        A number for each name.

    Raises:
        ValueError: Not two clips of one shape, or of a size that a metric refuses.
    """
    return {name: METRICS[name].measure(frames, reference, fps) for name in names}


def describe(scores: Scores) -> str:
    """Scores for a line of output, such as "PSNR 31.20 dB, SSIM 0.9123"."""
    named = [(METRICS[name], value) for name, value in scores.items()]
    return ", ".join(f"{metric.label} {metric.show(value)} {metric.unit}".strip() for metric, value in named)


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each metric over some chunks, at least one."""
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def _check_pair(frames: U1, reference: U1) -> None:
    check_frames("frames", frames)
    check_frames("reference", reference)
    if frames.shape != reference.shape:
        raise ValueError(f"expected two clips of one shape, got {list(frames.shape)} and {list(reference.shape)}")
