"""This machine: what tells it from another, and where its measured device profile lies in the user's cache.

`python -m ppgym.codec profile` measures and stores; a scenario with `device="auto"` only looks here. So nothing in this
file needs PyTorch.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ppgym.files import read_json

LIBRARIES = ("av", "diffusers", "torch")  # whose versions a measured time depends on
HOW_TO_MEASURE = "make one with `python -m ppgym.codec profile`"


@dataclass(frozen=True)
class Machine:
    """What decode times depend on.

    Attributes:
        cpu: Model of the processor.
        cores: That this process may use.
        ram_gib: Memory, to the nearest GiB.
        gpu: Model of the first NVIDIA GPU; empty where there is none.
        driver: Version of its driver.
    """

    cpu: str
    cores: int
    ram_gib: int
    gpu: str = ""
    driver: str = ""


@functools.cache
def this_machine() -> Machine:
    """The machine that this process runs on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    has_sysconf = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    ram_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if has_sysconf else 0
    return Machine(_cpu_model(), cores, round(ram_bytes / 2**30), *_first_gpu())


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _first_gpu() -> tuple[str, str]:
    """Model and driver of the first NVIDIA GPU, empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "", ""
    question = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(question, capture_output=True, text=True, check=False)
    if answer.returncode != 0 or not answer.stdout.strip():
        return "", ""
    model, driver = answer.stdout.splitlines()[0].rsplit(",", 1)
    return model.strip(), driver.strip()


def software() -> dict[str, str]:
    """Versions of those of `LIBRARIES` that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def digest(content: Any) -> str:
    """A short name for what JSON can hold: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def profile_folder() -> Path:
    """The folder of this machine's measured profiles, in the user's cache directory.

    Raises:
        ValueError: platformdirs, which knows that directory, is not installed.
    """
    try:
        import platformdirs
    except ImportError:
        raise ValueError("device 'auto': needs platformdirs: pip install '.[codec]' in the clone of ppgym") from None
    return platformdirs.user_cache_path("ppgym") / "devices" / digest(asdict(this_machine()))


def find_profile() -> Path:
    """The profile of this machine that was measured last, with the libraries as they are now.

    A library that is not installed here cannot disagree.

    Raises:
        FileNotFoundError: There is none; says how to make one.
        ValueError: platformdirs is not installed.
    """
    folder = profile_folder()
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    path = next(filter(_agrees, entries), None)
    if path is None:
        reason = f"none of the {len(entries)} profiles in {folder} is of these library versions"
        reason = reason if entries else "this machine was not measured yet"
        raise FileNotFoundError(f"device 'auto': {reason}; {HOW_TO_MEASURE}")
    return path


def _agrees(path: Path) -> bool:
    """Whether a profile was measured with the libraries that are installed now."""
    try:
        measured: dict[str, str] = read_json(path)["measurement"]["software"]
    except (KeyError, OSError, TypeError, ValueError):  # damaged; the profiler sets it aside when it meets it
        return False
    return all(measured.get(name) == version for name, version in software().items())
