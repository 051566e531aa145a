"""PSNR and SSIM by hand, and SSIM against its definition, window by window."""

import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ppgym.codec import metrics
from ppgym.codec.metrics import check_metrics, cvvdp, describe, lpips, mean_scores, measure, psnr_db, ssim, vmaf
from tests.codec.fakes import moving_clip


def _clip(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_psnr_by_hand() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    grey = black.copy()
    grey[0] = 10  # mean squared error 50 over both frames
    assert psnr_db(grey, black) == pytest.approx(10 * math.log10(255**2 / 50))
    assert psnr_db(black, grey) == psnr_db(grey, black)
    assert psnr_db(black, black) == 100
    assert psnr_db(black, np.full_like(black, 255)) == 0


def test_ssim_of_flat_frames_by_hand() -> None:
    a, b = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), rel=1e-9)
    assert ssim(a, a) == pytest.approx(1)


def test_ssim_is_its_definition() -> None:
    a, b = _clip(2, 13, 14), _clip(2, 13, 14, seed=1)
    b[:, :, 7:] = a[:, :, 7:]
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for x, y in zip(a.astype(float) @ [0.299, 0.587, 0.114], b.astype(float) @ [0.299, 0.587, 0.114], strict=True):
        for i in range(3):
            for j in range(4):
                p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                covariance = (window * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + c1) * (2 * covariance + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(values), rel=1e-9)


def test_ssim_sees_luma_alone() -> None:
    a = _clip(1, 12, 12)
    assert ssim(a[..., ::-1].copy(), a) < 1
    shifted = a.copy()
    shifted[...] = (a.astype(float) @ [0.299, 0.587, 0.114]).round()[..., None]  # grey of the same luma
    assert ssim(shifted, a) > 0.999


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([[1]], "frames: expected a NumPy array of frames, got list"),
        (np.zeros((1, 16, 16, 3)), r"frames: expected frames uint8 \[T, H, W, 3\], got float64 \[1, 16, 16, 3\]"),
        (np.zeros((16, 16, 3), np.uint8), r"got uint8 \[16, 16, 3\]"),
        (np.zeros((0, 16, 16, 3), np.uint8), r"got uint8 \[0, 16, 16, 3\]"),
        (np.zeros((2, 16, 16, 3), np.uint8), r"two clips of one shape, got \[2, 16, 16, 3\] and \[1, 16, 16, 3\]"),
    ],
)
def test_what_is_no_clip_is_refused(frames: np.ndarray, message: str) -> None:
    reference = np.zeros((1, 16, 16, 3), np.uint8)
    for metric in (psnr_db, ssim, lpips, lambda a, b: cvvdp(a, b, 30.0)):
        with pytest.raises(ValueError, match=message):
            metric(frames, reference)


def test_ssim_refuses_frames_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels, got \[10, 16\]"):
        ssim(_clip(1, 10, 16), _clip(1, 10, 16))


def test_lpips_downloads_nothing(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-7be5be79\.pth: no such file; LPIPS needs"):
        lpips(_clip(1, 16, 16), _clip(1, 16, 16))


def test_vmaf_is_what_its_program_says_of_two_files(tmp_path: Path) -> None:
    """The same program on two raw files, as its manual has it."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    truth = moving_clip(12, 64, 96)
    drawn = np.clip(truth.astype(int) + np.random.default_rng(0).normal(0, 40, truth.shape), 0, 255).astype(np.uint8)
    for name, frames in (("drawn", drawn), ("truth", truth)):
        (tmp_path / name).write_bytes(frames.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "30", "-i"]
    graph = "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]libvmaf"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *raw, tmp_path / "drawn", *raw, tmp_path / "truth", "-lavfi", graph]
    result = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True)
    (expected,) = re.findall(r"VMAF score: ([\d.]+)", result.stderr)
    assert vmaf(drawn, truth) == pytest.approx(float(expected), abs=1e-3)
    assert 5 < vmaf(drawn, truth) < 95 < vmaf(truth, truth)
    with pytest.raises(ValueError, match="even height and width"):
        vmaf(drawn[:, 1:], truth[:, 1:])
    with pytest.raises(ValueError, match="VMAF of 8x16 pixels: ffmpeg:"):
        vmaf(drawn[:, :8, :8], truth[:, :8, :8])


def test_cvvdp_is_asked_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the package, which not all machines of the tests can load."""

    class Metric:
        def __init__(self, display_name: str, **options: object) -> None:
            assert display_name == "standard_phone"

        def predict(self, test: np.ndarray, truth: np.ndarray, **options: object) -> tuple[float, None]:
            assert options == {"dim_order": "FHWC", "frames_per_second": 25.0}
            return 5 + (float(test.mean()) - float(truth.mean())) / 2, None

    metrics._cvvdp_metric.cache_clear()
    monkeypatch.setitem(sys.modules, "pycvvdp", SimpleNamespace(cvvdp=Metric))
    dark, light = (np.full((2, 16, 16, 3), level, np.uint8) for level in (100, 104))
    assert (cvvdp(light, dark, 25.0), cvvdp(dark, light, 25.0)) == (7, 3)
    metrics._cvvdp_metric.cache_clear()


def test_cvvdp_sees_noise() -> None:
    try:
        import pycvvdp  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"cvvdp does not load on this machine: {str(error)[:80]}")
    truth = moving_clip(6, 64, 64)
    noisy = np.clip(truth + np.random.default_rng(0).normal(0, 30, truth.shape), 0, 255).astype(np.uint8)
    assert cvvdp(truth, truth, 30.0) == pytest.approx(10)
    assert 2 < cvvdp(noisy, truth, 30.0) < 9


def test_scores_by_name() -> None:
    a, b = _clip(2, 16, 16), _clip(2, 16, 16, seed=1)
    scores = measure(a, b, 30.0, ("psnr", "ssim"))
    assert scores == {"psnr": psnr_db(a, b), "ssim": ssim(a, b)}
    assert describe({"psnr": 31.204, "ssim": 0.91234, "vmaf": 71.26}) == "PSNR 31.20 dB, SSIM 0.9123, VMAF 71.3"
    assert mean_scores([{"psnr": 30.0}, {"psnr": 33.0}]) == {"psnr": 31.5}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "metrics: expected each at most once and at least one, got none"),
        (("ssim", "ssim"), "metrics: expected each at most once"),
        (("vmav",), "metrics: unknown 'vmav'; did you mean 'vmaf'"),
        (("lpips",), "expected a first one of which higher is better, for it judges; got 'lpips'"),
    ],
)
def test_metrics_that_cannot_be_measured_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_metrics(names)
