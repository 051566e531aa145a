"""PSNR and SSIM by hand, and SSIM against its definition, window by window."""

import math

import numpy as np
import pytest

from ppgym.codec.metrics import lpips, psnr_db, ssim


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
    for metric in (psnr_db, ssim, lpips):
        with pytest.raises(ValueError, match=message):
            metric(frames, np.zeros((1, 16, 16, 3), np.uint8))


def test_ssim_refuses_frames_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels, got \[10, 16\]"):
        ssim(_clip(1, 10, 16), _clip(1, 10, 16))


def test_lpips_downloads_nothing(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert lpips(_clip(1, 16, 16), _clip(1, 16, 16)) is None
