"""Folders of trace files: which files are traces, and what lies beside them."""

from pathlib import Path
from typing import NamedTuple

MAX_FILES = 20_000
SHOWN = 4  # names in a note

_NAMES = {"authors", "changelog", "citation.cff", "copying", "desktop.ini", "license", "licence", "makefile", "notice"}
_NAMES |= {"readme", "thumbs.db"}
_ENDINGS = {
    ".bib",
    ".docx",
    ".gitignore",
    ".html",
    ".ipynb",
    ".jpeg",
    ".jpg",
    ".m",
    ".md",
    ".mat",
    ".npy",
    ".npz",
    ".pdf",
}
_ENDINGS |= {".pickle", ".pkl", ".png", ".py", ".pyc", ".r", ".rst", ".sh", ".svg", ".tar", ".xlsx", ".zip"}


class TraceFiles(NamedTuple):
    """The trace files of a folder.

    Attributes:
        files: By their paths below the folder, in the order of these.
        notes: What was left out.
    """

    files: dict[str, Path]
    notes: tuple[str, ...]


def trace_files(root: Path) -> TraceFiles:
    """The files of a folder and its subfolders that should be traces.

    Left out are hidden files, files that never are traces (README, LICENSE, Makefile, Thumbs.db, `*.md`, `*.pkl`,
    `*.py`, pictures and the like), and Mahimahi's uplinks (`*.up`) where there are downlinks (`*.down`).

    Raises:
        ValueError: There are too many files.
    """
    found: dict[str, Path] = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = path
        if len(found) > MAX_FILES:
            raise ValueError(f"{root}: expected at most {MAX_FILES:,} files, got more")
    kept = {name: found[name] for name in sorted(found) if not _is_left_out(name)}
    left_out = sorted(found.keys() - kept.keys())
    notes = [f"left out: {listed(left_out)}"] if left_out else []
    if any(_direction(name) == ".down" for name in kept):
        uplinks = [name for name in kept if _direction(name) == ".up"]
        if uplinks:
            notes.append(f"uplinks left out: {listed(uplinks)}")
        kept = {name: path for name, path in kept.items() if _direction(name) != ".up"}
    return TraceFiles(kept, tuple(notes))


def listed(names: list[str]) -> str:
    """Names for a note: the first few, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _is_left_out(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    file = name.rpartition("/")[2].lower()
    return hidden or file in _NAMES or file.partition(".")[0] in ("readme", "license") or Path(file).suffix in _ENDINGS


def _direction(name: str) -> str:
    """The ending of a file, packed or not: Mahimahi's is ".up" or ".down"."""
    return Path(name.removesuffix(".gz")).suffix
