"""Generators: synthetic links and videos as whole numbers, drawn from a secret.

`PUBLIC` is no secret: the public benchmark is drawn from it. Another one gives a fresh world of the same kind.
Equal secrets give equal numbers on every machine: all randomness is PCG64's uniform numbers, and the last digits of
logarithms, exponentials and cosines, in which machines differ, are rounded away. `digest_of` says in one line whether
two machines agree.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppgym.core.state import F8
from ppgym.files import suggest
from ppgym.world.ladders import PIXEL_BPS

I8 = npt.NDArray[np.int64]

PUBLIC = 633  # the first for which the videos of every split are close to the figures in traces/videos/README.md

SAMPLE_S = 0.5  # interval of generated traces, as in the MMGC 2022 networks
TRACE_SAMPLES = 1200  # 600 s


def stream(secret: int, *key: int) -> np.random.Generator:
    """A source of randomness of its own for each key of a secret.

    Args:
        secret: At least 0, of any length.
        *key: What is drawn, as whole numbers of at least 0.

    Returns:
        PCG64 with `SeedSequence(secret, spawn_key=key)`.

    Raises:
        ValueError: A negative secret.
    """
    if secret < 0:
        raise ValueError(f"expected a secret of at least 0, got {secret}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(secret, spawn_key=key)))


def digest_of(arrays: Iterable[npt.ArrayLike]) -> str:
    """A digest of whole numbers: SHA-256 over each array's length and values as little-endian int64.

    Args:
        arrays: Whole numbers of any shape and type.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: A number that is not whole.
    """
    digest = hashlib.sha256()
    for array in arrays:
        given = np.ravel(array)
        whole = given.astype("<i8")
        if (whole != given).any():
            raise ValueError(f"digest: expected whole numbers, got {given[whole != given][0]}")
        digest.update(np.array(whole.size, "<i8").tobytes())
        digest.update(whole.tobytes())
    return digest.hexdigest()


def _normals(rng: np.random.Generator, shape: int | tuple[int, ...]) -> F8:
    """Standard normal numbers (Box and Muller)."""
    radius = np.sqrt(-2 * np.log(1 - rng.random(shape)))
    return np.asarray(radius * np.cos(2 * math.pi * rng.random(shape)))


def _gammas(rng: np.random.Generator, shapes: F8) -> F8:
    """Gamma numbers of scale 1, one for each shape of at least 1 (Marsaglia and Tsang, 2000)."""
    values = np.empty_like(shapes)
    todo = np.arange(shapes.size)
    while todo.size:
        d = shapes[todo] - 1 / 3
        z = _normals(rng, todo.size)
        root = np.maximum(1 + z / np.sqrt(9 * d), 1e-9)  # what is cut here is never accepted
        cube = root * root * root
        accepted = np.log(1 - rng.random(todo.size)) < z * z / 2 + d * (1 - cube + np.log(cube))
        values[todo[accepted]] = (d * cube)[accepted]
        todo = todo[~accepted]
    return values


@dataclass(frozen=True)
class _Link:
    """A semi-Markov link: regimes are drawn with `shares`, last a uniform dwell, and are noisy within."""

    means_mbps: tuple[float, ...]
    shares: tuple[float, ...]
    dwell_s: tuple[float, float]
    spread: float  # coefficient of variation of a sample within its regime, gamma distributed
    floor_mbps: float
    peak_mbps: float


# Means, floor and peak of low, medium and high are computed from the MMGC 2022 networks (class means 1.20, 1.61, 3.58,
# 0.2 to 12 Mbit/s). Regimes, dwell and spread are chosen so that the slow part of the variance has a similar share and
# decays similarly. 5g is an assumption (mean 60, fades to 1, dwell 2 to 20 s): no figures were at hand.
_LINKS = {
    "low": _Link((0.85, 1.2, 1.55), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.37, 0.2, 12.0),
    "medium": _Link((1.05, 1.6, 2.18), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.38, 0.2, 12.0),
    "high": _Link((2.82, 3.57, 4.42), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.43, 0.2, 12.0),
    "5g": _Link((1.0, 30.0, 60.0, 105.0), (0.1, 0.25, 0.35, 0.3), (2.0, 20.0), 0.25, 1.0, 250.0),
}

# A mixed trace is a sequence of long stretches of the other classes. Each trace draws its own shares of classes from
# a Dirichlet distribution with means (0.6, 0.28, 0.12), which gives 1.59 Mbit/s. So traces differ as those of MMGC 2022
# do, whose means lie between 1.02 and 3.60.
_MIXED = ("low", "medium", "high")
_MIXED_CONCENTRATION = np.array([1.2, 0.56, 0.24])
_MIXED_STRETCH_S = (60.0, 180.0)


def generate_rates(network: str, rng: np.random.Generator) -> I8:
    """Draw the rates of a synthetic link: regime switching, a sample every `SAMPLE_S`, whole kbit/s.

    Regimes and their dwell make the slow variation, gamma noise within a regime the fast one. Rates are clipped to the
    class's floor and peak. Class means are 1.20, 1.61, 3.58 and 1.59 (mixed) Mbit/s after the MMGC 2022
    networks, and 60 for 5g, which is an assumption.

    Args:
        network: "low", "medium", "high", "mixed" or "5g".
        rng: Source of randomness, such as `stream` gives.

    Returns:
        int64 [`TRACE_SAMPLES`], bit/s.

    Raises:
        ValueError: Unknown network.
    """
    if network == "mixed":
        weights = _gammas(rng, _MIXED_CONCENTRATION + 1) * rng.random(len(_MIXED)) ** (1 / _MIXED_CONCENTRATION)
        kinds, lengths = _stretches(rng, weights, _MIXED_STRETCH_S, TRACE_SAMPLES)
        stretches = [(_LINKS[_MIXED[kind]], length) for kind, length in zip(kinds, lengths, strict=True)]
    elif network in _LINKS:
        stretches = [(_LINKS[network], TRACE_SAMPLES)]
    else:
        raise ValueError(f"unknown network {network!r}; {suggest(network, (*_LINKS, 'mixed'))}")
    means_mbps = np.concatenate([_regimes(rng, link, length) for link, length in stretches])
    shapes = np.concatenate([np.full(length, 1 / link.spread**2) for link, length in stretches])
    link = stretches[0][0]  # all of a mixed trace have the same floor and peak
    rates_mbps: F8 = np.clip(_gammas(rng, shapes) / shapes * means_mbps, link.floor_mbps, link.peak_mbps)
    rates_kbps: F8 = np.rint(rates_mbps * 1e3)
    return rates_kbps.astype(np.int64) * 1000


def _stretches(
    rng: np.random.Generator, weights: npt.ArrayLike, dwell_s: tuple[float, float], samples: int
) -> tuple[list[int], list[int]]:
    """Kinds drawn by weight, and their lengths in samples, which add up to `samples`."""
    draws = math.ceil(samples * SAMPLE_S / dwell_s[0])
    bounds = np.cumsum(weights)
    kinds = np.searchsorted(bounds[:-1], rng.random(draws) * bounds[-1], side="right")
    lengths = np.ceil((dwell_s[0] + (dwell_s[1] - dwell_s[0]) * rng.random(draws)) / SAMPLE_S).astype(np.int64)
    ends = np.minimum(np.cumsum(lengths), samples)
    needed = int(np.searchsorted(ends, samples)) + 1
    return kinds[:needed].tolist(), np.diff(ends[:needed], prepend=0).tolist()


def _regimes(rng: np.random.Generator, link: _Link, samples: int) -> F8:
    """The mean of the regime that rules in each sample, Mbit/s, float64 [samples]."""
    kinds, lengths = _stretches(rng, link.shares, link.dwell_s, samples)
    return np.repeat(np.array(link.means_mbps)[kinds], lengths)


# Durations: a log-normal distribution of two halves with TikTok's median and 10th and 90th percentile
DURATION_S = (7.6, 14.9, 23.8)
DURATION_BOUNDS_S = (3, 60)
_DECILE_Z = 1.2815515655446004  # 90th percentile of the standard normal distribution

# Standard deviations of logarithms of sizes. TikTok's videos differ by p90 / median = 1.8 to 2.2 at one nominal bitrate
# (Dashlet's data); 0.5 gives 1.9. Within a video, MMGC 2022 sizes vary by 0.1 to 0.8 of their mean, and the
# representations vary nearly together.
_VIDEO_SIGMA = 0.5
_SCENE_SIGMA = (0.1, 0.5)  # drawn per video
_SCENE_MEMORY = 0.6  # correlation of one second's complexity with the next one's
_RUNG_SIGMA = 0.04


def generate_sizes(rng: np.random.Generator) -> I8:
    """Draw the sizes of a synthetic video in the three pixel representations of the default ladder.

    Durations have TikTok's 10th, 50th and 90th percentile (7.6, 14.9, 23.8 s; Dashlet's data of January 2022),
    rounded to whole seconds within 3 to 60. A chunk has the bytes of its representation at the nominal bitrate,
    times a factor of the video, a factor of the scene (first-order autoregressive, the same for all representations)
    and a small factor of the chunk. The factors are log-normal with mean 1, so the mean over many videos is the nominal
    bitrate.

    Args:
        rng: Source of randomness, such as `stream` gives.

    Returns:
        int64 [C, 3], bytes of each chunk of 1 s.
    """
    low_s, median_s, high_s = DURATION_S
    duration_z, video_z = _normals(rng, 2).tolist()
    decile_s = low_s if duration_z < 0 else high_s
    duration_s = median_s * (decile_s / median_s) ** (abs(duration_z) / _DECILE_Z)
    chunks = round(min(max(duration_s, DURATION_BOUNDS_S[0]), DURATION_BOUNDS_S[1]))

    video_log = _VIDEO_SIGMA * video_z - _VIDEO_SIGMA**2 / 2
    scene_sigma = _SCENE_SIGMA[0] + (_SCENE_SIGMA[1] - _SCENE_SIGMA[0]) * rng.random()
    scene = _normals(rng, chunks)
    for c in range(1, chunks):
        scene[c] = _SCENE_MEMORY * scene[c - 1] + math.sqrt(1 - _SCENE_MEMORY**2) * scene[c]
    scene_log = scene_sigma * scene - scene_sigma**2 / 2
    rung_log = _RUNG_SIGMA * _normals(rng, (chunks, len(PIXEL_BPS))) - _RUNG_SIGMA**2 / 2
    factor = np.exp(video_log + scene_log[:, None] + rung_log)
    chunk_bytes: F8 = np.rint(np.array(PIXEL_BPS) / 8 * factor)
    return chunk_bytes.astype(np.int64)
