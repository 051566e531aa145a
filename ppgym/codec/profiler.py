"""The command `profile`: this machine's device profile, from the user's cache or measured now.

An answer from the cache needs neither PyTorch nor the model. `timing.py` measures, and `flops.py` counts FLOPs. The
cache's key is the machine (`ppgym.world.this_machine`) and everything else that the figures depend on: the request, the
model's files, the versions of the libraries and the number of threads.
"""

import dataclasses
import datetime
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from filelock import FileLock

from ppgym.commandline import command_line
from ppgym.core.state import UNIT_NAMES, UNITS
from ppgym.files import read_json
from ppgym.world.devices import DecodeRow, DeviceProfile
from ppgym.world.this_machine import Machine, digest, profile_folder, software, this_machine

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator
    from ppgym.codec.timing import Stage

Unit = Literal["cpu", "gpu"]
Dtype = Literal["float32", "float16", "bfloat16"]

PIXEL_CODECS: Final = ("h264", "hevc", "av1")
FPS: Final = 30  # of a chunk of 1 s
BATCHES: Final = {"cpu": (1,), "gpu": (1, 2, 5, 10, 15, 30)}
DTYPES: Final[dict[str, Dtype]] = {"cpu": "float32", "gpu": "bfloat16"}
TORCH_DEVICES: Final = {"cpu": "cpu", "gpu": "cuda"}
BUNDLES: Final = Path(__file__).parent / "weights"  # `generator.BUNDLE` lies here
Z_P90: Final = 1.2816  # 90th percentile of the standard normal distribution


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        units: Compute units.
        model: A generator's name, folder or hub id.
        resolution: Side of the square frames in pixels.
        batch: Frames of a pass, to choose from; empty for those of `BATCHES`.
        dtype: Of the generator; None for float32 on a CPU, bfloat16 on a GPU.
        compile: Whether a GPU's passes are timed with torch.compile too.
    """

    units: tuple[Unit, ...]
    model: str = "sd-turbo-random"
    resolution: int = 512
    batch: tuple[int, ...] = ()
    dtype: Dtype | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.units or len(set(self.units)) < len(self.units):
            raise ValueError(f"units: expected each at most once and at least one, got {self.units!r}")
        if any(frames < 1 for frames in self.batch):
            raise ValueError(f"batch: expected whole numbers of at least 1, got {self.batch!r}")
        if self.resolution < 1:
            raise ValueError(f"resolution: expected a number of pixels, got {self.resolution}")


def profile(
    units: tuple[Unit, ...] = (),
    model: str = "sd-turbo-random",
    resolution: int = 512,
    batch: tuple[int, ...] = (),
    dtype: Dtype | None = None,
    compile: bool = False,
    refresh: bool = False,
    output: Path | None = None,
) -> None:
    """Measure how fast this machine decodes chunks of one second, and keep that as its device profile.

    A scenario with the device "auto" uses the profile that was measured last. If the same was measured before, the
    answer comes from the user's cache.

    Example: python -m ppgym.codec profile --units gpu --compile

    Args:
        units: Compute units, cpu and gpu; those that this machine has by default.
        model: Generator: sd-turbo-random (SD-Turbo's architecture, for timing), tiny, a diffusers folder or hub id.
        resolution: Side of the frames in pixels.
        batch: Frames in one pass, to choose the best from; 1 on a CPU and 1 to 30 on a GPU by default.
        dtype: Of the model; float32 on a CPU and bfloat16 on a GPU by default.
        compile: Time the passes of a GPU with torch.compile too.
        refresh: Measure again.
        output: JSON file to write the profile to as well, which is named after it.
    """
    present: tuple[Unit, ...] = ("cpu", "gpu") if this_machine().gpu else ("cpu",)
    request = Request(units or present, model, resolution, batch, dtype, compile)
    found, path, cached = machine_profile(request, refresh=refresh)
    print(f"{'from the cache' if cached else 'measured and kept'}: {path}")
    print_profile(found)
    if output is not None:
        dataclasses.replace(found, name=output.stem).write(output)
        print(output)


def machine_profile(request: Request, *, refresh: bool = False) -> tuple[DeviceProfile, Path, bool]:
    """The profile of this machine. Of several processes that ask at once, one measures and the others wait for it.

    Args:
        request: What is to be measured.
        refresh: Measure even if it was measured before.

    Returns:
        The profile, its file in the cache, and whether it came from there.

    Raises:
        ValueError: The request does not fit the model or the machine.
        OSError: No such model.
    """
    path = cache_entry(request)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        found = None if refresh else _read_entry(path)
        if found is not None:
            return found, path, True
        found = measure_machine(request)
        path = cache_entry(request)  # a model of the hub has its files only now
        found.write(path)
    return found, path, False


def cache_entry(request: Request) -> Path:
    """Where the answer to a request lies, if it was given before."""
    key = {
        "request": asdict(request),
        "model": model_files(request.model),
        "software": software(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "schema": DeviceProfile.SCHEMA,
    }
    return profile_folder() / f"{digest(key)}.json"


def model_files(model: str) -> dict[str, list[Any]]:
    """What tells models apart without reading their weights: the content of small files, size and time of large ones.

    Args:
        model: Generator's name, folder or hub id.

    Returns:
        By path: content of JSON files, size and time of change of the others. Nothing for an architecture with random
        weights, and for a model of the hub that is not on this machine yet.
    """
    folder = BUNDLES / model if model == "tiny" else Path(model)
    if not folder.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(model, local_files_only=True))
        except FileNotFoundError:
            return {}
    facts: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            facts[name] = [read_json(path)]
        elif path.is_file():
            facts[name] = [path.stat().st_size, path.stat().st_mtime_ns]
    return facts


def _read_entry(path: Path) -> DeviceProfile | None:
    """A cached profile; a damaged one is set aside and None returned."""
    if not path.exists():
        return None
    try:
        found = DeviceProfile.load(path)
        if found.measurement is None:
            raise ValueError(f"{path}: key 'measurement': expected an object, got null")
        return found
    except ValueError as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        warnings.warn(f"{error}; set aside as {aside.name}, measuring anew", stacklevel=4)
        return None


def measure_machine(request: Request) -> DeviceProfile:
    """Measure this machine; prints a line about each stage as it is done.

    Args:
        request: What is to be measured.

    Returns:
        The profile.

    Raises:
        ValueError: The request does not fit the model or the machine.
        OSError: No such model.
    """
    import torch

    from ppgym.codec import flops, timing
    from ppgym.codec.generator import load_generator
    from ppgym.codec.pixel import decode_pixels

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    dtypes = {unit: request.dtype or DTYPES[unit] for unit in request.units}
    stages: list[Stage] = []
    generator: Generator | None = None
    for unit in sorted(request.units):  # the GPU's generator stays for what follows
        generator = load_generator(request.model, device=TORCH_DEVICES[unit], dtype=dtypes[unit])
        timing.resize(generator, request.resolution)
        for compiled in (False, True) if request.compile and unit == "gpu" else (False,):
            for batch in request.batch or BATCHES[unit]:
                stages += timing.time_passes(generator, unit, batch, compiled=compiled)
                _report(stages[-1])
    assert generator is not None
    together: dict[str, float] = {}
    if "cpu" in request.units:
        chunks = {codec: timing.encode_clip(codec, request.resolution) for codec in PIXEL_CODECS}
        for codec, chunk in chunks.items():
            stages.append(timing.time_pixels(codec, chunk, FPS))
            _report(stages[-1])
        if "gpu" in request.units:
            gpu_pass = timing.make_pass(generator, best_pass(stages, "gpu").batch)
            together = timing.slowdowns({"cpu": lambda: decode_pixels(chunks["h264"]), "gpu": gpu_pass})
            print(f"cpu and gpu at once: {together['cpu']:.2f} and {together['gpu']:.2f} times as long")

    counts = flops.count_flops(generator, request.resolution)
    machine = this_machine()
    measurement = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command_line("python -m ppgym.codec profile", **asdict(request)),
        "machine": asdict(machine),
        "threads": torch.get_num_threads(),
        "software": software(),
        "model": {
            "name": request.model,
            "weights_sha256": generator.identity,
            "files": digest(model_files(request.model)),
        },
        "dtype": dtypes,
        "flops_per_frame": counts._asdict(),
        "gpu_peak_bf16_flops": flops.peak_flops(machine.gpu),
        "load_average_before": round(load, 2),
        "notes": [f"The machine was busy with other work: load average {load:.1f} before."] if load > 1 else [],
        "stages": [asdict(stage) for stage in stages],
    }
    coefficients = flops.flops_coefficients(generator, request.resolution)
    return make_profile(request, machine, stages, together, coefficients, measurement)


def make_profile(
    request: Request,
    machine: Machine,
    stages: "list[Stage]",
    together: dict[str, float],
    flops: tuple[float, float, float],
    measurement: dict[str, Any],
) -> DeviceProfile:
    """The profile that follows from timed stages.

    Args:
        request: What was measured.
        machine: On what.
        stages: Their times.
        together: Slowdown of each unit while both are busy; empty where only one was measured.
        flops: As `DecodeRow.flops`, of the generator's frame.
        measurement: As `DeviceProfile.measurement`.

    Returns:
        A row for the best pass of each unit and for each pixel codec.
    """
    names = {"cpu": f"{machine.cpu}, {machine.cores} cores", "gpu": f"{machine.gpu}, driver {machine.driver}"}
    versions = ", ".join(f"{name} {version}" for name, version in measurement["software"].items())
    chosen = [best_pass(stages, unit) for unit in request.units] + [s for s in stages if s.stage in PIXEL_CODECS]
    rows = []
    for stage in chosen:
        is_prompt = stage.stage == "pass"
        what = f"{request.model}, {measurement['dtype'][stage.unit]}" if is_prompt else "FFmpeg, one thread"
        what += ", compiled" * stage.compiled
        frames = "one frame" if stage.batch == 1 else f"{stage.batch} frames"
        rows.append(
            DecodeRow(
                codec="prompt" if is_prompt else stage.stage,
                unit=stage.unit,
                seconds=float(f"{chunk_seconds(stage):.5g}"),
                provenance="measured",
                source=f"{names[stage.unit]}; {what}; {versions}; {measurement['date'][:10]}; {measurement['command']}",
                formula=f"{_passes(stage)} x {stage.median_s:.5g} s, the median of {stage.runs} runs of {frames}",
                flops=flops if is_prompt else (0.0, 1.0, 0.0),
                width=request.resolution,
                height=request.resolution,
                fps=float(FPS),
            )
        )
    factor = {unit: round(times, 4) for unit, times in together.items()}
    contention = tuple((1.0, 1.0) + (factor.get(unit, 1.0),) * (UNITS - 1) for unit in UNIT_NAMES)
    both = "Measured: one thread decodes H.264 on the CPU while another runs passes on the GPU, each beside alone."
    device = names["cpu"] + (f"; {names['gpu']}" if "gpu" in request.units else "")
    return DeviceProfile(
        name=re.sub(r"[^a-z0-9]+", "-", f"{machine.cpu} {machine.cores} core {machine.gpu}".lower()).strip("-"),
        description=f"{device}, as measured with {request.model} at {request.resolution} x {request.resolution}.",
        provenance=" ".join([f"Measured on {measurement['date'][:10]}.", *measurement["notes"]]),
        rows=tuple(rows),
        jitter_sigma=round(math.sqrt(sum(spread(stage) ** 2 for stage in chosen) / len(chosen)), 4),
        jitter_provenance="measured",
        jitter_source="Measured: root mean square over the rows of a run's log(p90 / p10) / 2.563.",
        contention=contention,
        contention_provenance="measured" if together else "assumption",
        contention_source=both if together else "One unit was measured alone.",
        measurement=measurement,
    )


def best_pass(stages: "Iterable[Stage]", unit: str) -> "Stage":
    """The pass by which a unit decodes a chunk soonest."""
    return min((stage for stage in stages if (stage.unit, stage.stage) == (unit, "pass")), key=chunk_seconds)


def chunk_seconds(stage: "Stage") -> float:
    """Median seconds for the frames of one chunk; a last pass that is not full costs as a full one."""
    return _passes(stage) * stage.median_s


def spread(stage: "Stage") -> float:
    """Standard deviation of the logarithm of a run's seconds, from the 10th and 90th percentile."""
    return math.log(stage.p90_s / stage.p10_s) / (2 * Z_P90)


def _passes(stage: "Stage") -> int:
    return math.ceil(FPS / stage.batch)


def _report(stage: "Stage") -> None:
    print(
        f"{stage.unit} {stage.stage}{' compiled' * stage.compiled}, {stage.batch} frames: {stage.median_s:.4g} s "
        f"({stage.p10_s:.4g} to {stage.p90_s:.4g}) in {stage.runs} runs"
    )


def print_profile(found: DeviceProfile) -> None:
    """Print the stages of a measured profile, the best batch of each unit and the share of a GPU's peak."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    measurement = found.measurement
    assert measurement is not None
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("unit", "stage"):
        table.add_column(heading, no_wrap=True)
    for heading in ("frames", "median s", "p10 to p90", "frames/s", "TFLOP/s", "of peak", "GiB", "runs"):
        table.add_column(heading, justify="right", no_wrap=True)
    flops = measurement["flops_per_frame"] | {"pass": sum(measurement["flops_per_frame"].values())}
    peak = measurement["gpu_peak_bf16_flops"] if measurement["dtype"].get("gpu") == "bfloat16" else None
    for stage in measurement["stages"]:
        rate = stage["batch"] / stage["median_s"]
        flops_rate = rate * flops.get(stage["stage"], 0)
        memory = stage["peak_memory_bytes"]
        table.add_row(
            stage["unit"],
            stage["stage"] + " compiled" * stage["compiled"],
            str(stage["batch"]),
            f"{stage['median_s']:.3g}",
            f"{stage['p10_s']:.3g} to {stage['p90_s']:.3g}",
            f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}",
            f"{flops_rate / 1e12:.3g}" if flops_rate else "",
            f"{flops_rate / peak:.1%}" if peak and stage["unit"] == "gpu" else "",
            f"{memory / 2**30:.2f}" if memory else "",
            str(stage["runs"]),
        )
    print(" ".join([found.description, *measurement["notes"]]))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for row in found.rows:
        print(f"{row.codec} on {row.unit}: {row.seconds:.4g} s for a chunk of 1 s = {row.formula}")
