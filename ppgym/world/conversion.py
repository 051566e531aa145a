"""Network traces and viewers in ppgym's own formats, from whatever `ppgym.world.inspection` knows."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ppgym.files import write_text
from ppgym.world.inspection import Finding
from ppgym.world.networks import NetworkTrace
from ppgym.world.readers.formats import LOOKED_AT, units_of
from ppgym.world.readers.pensieve import COLUMNS
from ppgym.world.viewers import RetentionCurve


def trace_text(trace: NetworkTrace) -> str:
    """A trace as rows of `seconds Mbit/s`, which `NetworkTrace.read` reads with the same rates to 1e-12.

    Numbers have 17 significant digits. Where the rows alone leave a doubt about their units, a comment names them.
    """
    mbps = trace.rates_bps / 1e6
    pairs = list(zip(trace.edges_s.tolist(), [float(mbps[0]), *mbps.tolist()], strict=True))
    heading = "" if units_of(pairs[:LOOKED_AT]) == "seconds_mbps" else f"# {COLUMNS}\n"
    return heading + "".join(f"{second:.17g} {rate:.17g}\n" for second, rate in pairs)


def curve_text(curve: RetentionCurve) -> str:
    """A retention curve as a table that `RetentionCurve.read` reads, to the bit."""
    rows = [f"{second} {share:.17g}\n" for second, share in enumerate(curve.survival)]
    return "".join([*rows, f"{len(rows)} 0\n"])


def convert(finding: Finding, output: Path) -> list[Path]:
    """Write what was found: a file for each trace, or for each retention curve.

    Args:
        finding: Of traces or curves.
        output: The file, or for a folder or a log of views the folder. All files appear at once, or none does.

    Returns:
        What was written.

    Raises:
        ValueError: Nothing that can be converted, or the output exists.
    """
    texts = {_text_name(trace.name): trace_text(trace) for trace in finding.traces}
    if not texts and not finding.what.startswith("viewer ("):
        texts = {_text_name(name): curve_text(curve) for name, curve in finding.curves.items()}
    if not texts:
        raise ValueError(f"{finding.path}: is a {finding.what}; expected network traces or viewers' logs and tables")
    if len(texts) < max(len(finding.traces), len(finding.curves)):
        raise ValueError(f"{finding.path}: expected files of different names, got two of one name, packed and not")
    for name in texts:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{finding.path}: expected names that can be files of a folder, got {name[:50]!r}")
    if finding.path.is_file() and list(texts) == [_text_name(finding.path.name)] and not output.is_dir():
        if output.exists():
            raise ValueError(f"{output}: exists; name a new file")
        write_text(output, *texts.values())
        return [output]
    return _write_folder(output, texts)


def _text_name(name: str) -> str:
    name = name.removesuffix(".gz")
    return name if name.endswith(".txt") else f"{name}.txt"


def _write_folder(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: expected a new or empty folder")
    beside = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        for name, text in texts.items():
            write_text(beside / name, text)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [folder / name for name in texts]
