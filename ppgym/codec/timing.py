"""How long the stages of decoding take: repeated runs, CUDA events on a GPU, the wall clock elsewhere.

A pass of a generator is timed in `Generator.generate`, where it really runs: its UNet and its decoder are wrapped, so
one run gives the times of both parts and of the whole.
"""

import functools
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ppgym.codec.clips import draw_frames
from ppgym.codec.generator import Generator
from ppgym.codec.pixel import decode_pixels, encode_chunks

WARM_UP_RUNS: Final = 2
MIN_RUNS: Final = 5
MIN_S: Final = 2.0  # clocks rise and settle meanwhile
MAX_S: Final = 60.0
MEDIAN_ERROR: Final = 0.01  # standard error of the median at which enough was seen, as part of it

CLIP: Final = ("pans", 0)  # family and seed of what is encoded for the pixel codecs
CLIP_BPS: Final = 1.2e6  # the middle rung of the published ladder


@dataclass(frozen=True)
class Stage:
    """A stage's times over its runs.

    Attributes:
        unit: "cpu" or "gpu".
        stage: "unet" or "decoder" of a pass, "pass" from the embeddings to the pictures in memory, or a pixel codec.
        batch: Frames of a run.
        compiled: Whether torch.compile fused it.
        runs: After the warm-up.
        median_s: Median seconds of a run.
        p10_s: 10th percentile.
        p90_s: 90th percentile.
        peak_memory_bytes: Highest use meanwhile: resident memory of the process, on a GPU what PyTorch allocated;
            None where the system does not tell.
    """

    unit: str
    stage: str
    batch: int
    compiled: bool
    runs: int
    median_s: float
    p10_s: float
    p90_s: float
    peak_memory_bytes: int | None


class Stopwatch:
    """Takes the time, and the highest use of memory, of wrapped functions.

    Args:
        device: Where they run.
    """

    def __init__(self, device: torch.device) -> None:
        """Start with nothing taken."""
        self.cuda = device.type == "cuda"
        self.peak_bytes: dict[str, int] = {}
        self._marks: dict[str, tuple[Any, Any]] = {}

    def repeat(self, run: Callable[[], object], judge: str) -> dict[str, list[float]]:
        """Seconds of each run of something by the names of the wrapped functions in it, as `repeat` takes them."""

        def timed() -> dict[str, float]:
            run()
            return self.seconds()

        return repeat(timed, judge)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does the same and is timed under a name; inner ones may be wrapped too."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._reset_peak()
            start = self._mark()
            result = function(*args, **kwargs)
            self._marks[name] = start, self._mark()
            self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), self._peak_bytes())
            return result

        return timed

    def seconds(self) -> dict[str, float]:
        """Seconds of the last call under each name."""
        if not self.cuda:
            return {name: end - start for name, (start, end) in self._marks.items()}
        torch.cuda.synchronize()
        return {name: start.elapsed_time(end) / 1000 for name, (start, end) in self._marks.items()}

    def _mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _reset_peak(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory begins anew

    def _peak_bytes(self) -> int:
        """0 where the system does not tell."""
        if self.cuda:
            return int(torch.cuda.max_memory_allocated())
        if sys.platform != "linux":
            return 0
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


def repeat(run: Callable[[], dict[str, float]], judge: str) -> dict[str, list[float]]:
    """Run something after a warm-up until the median of one of its times is stable.

    Args:
        run: Does it once and returns its seconds, by name.
        judge: Name of the time whose median must be known within `MEDIAN_ERROR`. `MAX_S` seconds are the limit.

    Returns:
        Seconds of each run, by name.
    """
    for _ in range(WARM_UP_RUNS):
        run()
    samples: dict[str, list[float]] = defaultdict(list)
    start_s = time.perf_counter()
    while True:
        for name, seconds in run().items():
            samples[name].append(seconds)
        elapsed_s = time.perf_counter() - start_s
        runs = len(samples[judge])
        if runs >= MIN_RUNS and (elapsed_s > MAX_S or (elapsed_s > MIN_S and _median_is_stable(samples[judge]))):
            return dict(samples)


def _median_is_stable(seconds: list[float]) -> bool:
    """Whether the median's standard error, from the quartiles as if samples were normal, is small enough."""
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return bool(1.253 * (high - low) / 1.349 / len(seconds) ** 0.5 < MEDIAN_ERROR * median)


def resize(generator: Generator, side_px: int) -> None:
    """Let a generator draw square pictures of another size; what they show loses its meaning.

    Raises:
        ValueError: A side that its layers cannot halve often enough.
    """
    step_px = generator.pixels_per_latent * 2 ** (len(generator.unet.config.block_out_channels) - 1)
    if side_px < step_px or side_px % step_px:
        raise ValueError(f"resolution: expected a multiple of {step_px} for {generator.name!r}, got {side_px}")
    side = side_px // generator.pixels_per_latent
    noise = torch.randn(len(generator.latent), side, side, generator=torch.Generator().manual_seed(0))
    generator.latent = noise.to(generator.latent)
    generator.resolution = (side_px, side_px)


def time_passes(generator: Generator, unit: str, batch: int, *, compiled: bool = False) -> list[Stage]:
    """Time a generator's pass and its parts.

    Args:
        generator: In the size to be timed.
        unit: What to call its device.
        batch: Frames of a pass.
        compiled: Whether to fuse both parts with torch.compile first.

    Returns:
        The stages "unet", "decoder" and "pass".
    """
    watch = Stopwatch(generator.device)
    one_pass = watch.wrap("pass", make_pass(generator, batch))
    parts: Any = generator
    unet, decode = parts.unet, parts.vae.decode
    fuse = functools.partial(torch.compile, dynamic=False) if compiled else lambda part: part
    parts.unet, parts.vae.decode = watch.wrap("unet", fuse(unet)), watch.wrap("decoder", fuse(decode))

    try:
        samples = watch.repeat(one_pass, "pass")
    finally:
        parts.unet = unet
        del parts.vae.decode  # what hid the class's own
    # The parts, which run within the whole, have reset its peak
    peak_bytes = watch.peak_bytes | {"pass": max(watch.peak_bytes.values())}
    return [
        summarize(unit, name, batch, samples[name], peak_bytes[name], compiled) for name in ("unet", "decoder", "pass")
    ]


def make_pass(generator: Generator, batch: int) -> Callable[[], Any]:
    """One pass of a generator: from embeddings to pictures in memory."""
    seeded = torch.Generator().manual_seed(0)
    embeddings = torch.randn(batch, generator.tokens, generator.width, generator=seeded)
    return lambda: generator.generate(embeddings, batch_size=batch)


def encode_clip(codec: str, side_px: int) -> bytes:
    """One second of a drawn clip in a pixel codec."""
    frames = draw_frames(*CLIP, split="heldout", size_px=side_px)
    return encode_chunks(frames, codec, CLIP_BPS, 30.0)[0]


def time_pixels(codec: str, chunk: bytes, frames: int) -> Stage:
    """Time the decoding of one chunk by FFmpeg, on one core.

    Args:
        codec: Of the chunk.
        chunk: As `encode_clip` makes it.
        frames: In it.

    Returns:
        The stage named as the codec.
    """
    watch = Stopwatch(torch.device("cpu"))
    samples = watch.repeat(watch.wrap(codec, lambda: decode_pixels(chunk)), codec)
    return summarize("cpu", codec, frames, samples[codec], watch.peak_bytes[codec])


def summarize(
    unit: str, stage: str, batch: int, seconds: list[float], peak_bytes: int, compiled: bool = False
) -> Stage:
    """The stage whose runs took these seconds."""
    p10_s, median_s, p90_s = (float(f"{value:.6g}") for value in np.percentile(seconds, (10, 50, 90)))
    return Stage(unit, stage, batch, compiled, len(seconds), median_s, p10_s, p90_s, peak_bytes or None)


def slowdowns(jobs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """How much longer jobs take when all run at once, each in a thread of its own, than alone.

    Args:
        jobs: By unit; each leaves no work behind when it returns.

    Returns:
        Median seconds together over median seconds alone, by unit; what noise puts below 1 is 1.
    """
    alone_s = {
        unit: statistics.median(repeat(lambda: {"job": _seconds(jobs[unit])}, "job")["job"])  # noqa: B023
        for unit in jobs
    }
    together: dict[str, list[float]] = {unit: [] for unit in jobs}
    started, failed = threading.Barrier(len(jobs)), threading.Event()

    def work(unit: str) -> None:
        started.wait()
        try:
            while min(map(len, together.values())) < MIN_RUNS and not failed.is_set():  # nobody rests before the last
                together[unit].append(_seconds(jobs[unit]))
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(work, unit) for unit in jobs]:
            future.result()
    return {unit: max(statistics.median(together[unit]) / alone_s[unit], 1.0) for unit in jobs}


def _seconds(job: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    job()
    return time.perf_counter() - start_s
