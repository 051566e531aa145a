"""Cards of checkpoints: what a file of weights is, how it was made and how it scored.

``NAME.json`` is the card of ``NAME.safetensors``; the weights themselves are in `agents.learned.checkpoints`. What
belongs to new weights is written as ``*.next`` beside them first, and takes its place after them, so that a kill
between two files leaves the checkpoint before or the new one. Nothing here needs a deep-learning library.
"""

import contextlib
import hashlib
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import ppgym
from ppgym.files import check_keys, read_json

SCHEMA = "ppgym-checkpoint/1"
WAITING = ".next"  # ends the name of a file that waits for its weights
CARD = ("config", "timesteps", "scores", "git_commit", "versions")  # what the writer of a checkpoint says of it
PACKAGES = ("gymnasium", "numpy", "sb3-contrib", "stable-baselines3", "torch")


def provenance() -> dict[str, Any]:
    """Which code made a checkpoint: git commit (None outside a clone) and versions."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "git_commit": described.stdout.strip() or None,
        "versions": {"ppgym": ppgym.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
    }


def training_path(path: Path) -> Path:
    """Where what training alone needs to go on lies.

    Args:
        path: ``.../NAME.safetensors``.
    """
    return path.with_name(f"{path.stem}-training.safetensors")


def next_path(path: Path) -> Path:
    """Where a file waits for the weights that it belongs to.

    Args:
        path: Of the file in its place.
    """
    return path.with_name(f"{path.name}{WAITING}")


def settle(path: Path) -> None:
    """Put what waits for weights into its place, if they have been written; else it is of no use.

    Args:
        path: ``.../NAME.safetensors``.

    Raises:
        FileNotFoundError: The weights are missing.
        ValueError: What waits is no card.
    """
    card_path = path.with_suffix(".json")
    waiting = next_path(card_path)
    if not waiting.is_file():
        return
    if hashlib.sha256(read_weights(path)).hexdigest() == _checked_card(waiting)["sha256"]:
        for place in (training_path(path), card_path):  # the card last: as long as it waits, there is something to do
            with contextlib.suppress(FileNotFoundError):
                next_path(place).replace(place)


def read_weights(path: Path) -> bytes:
    """Read a file of weights, or of what training needs.

    Args:
        path: Of the file.

    Raises:
        FileNotFoundError: It is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path.read_bytes()


def read_card(path: Path) -> dict[str, Any]:
    """Read the card of a checkpoint.

    Args:
        path: ``.../NAME.safetensors``.

    Returns:
        The card.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is no card.
    """
    settle(path)
    return _checked_card(path.with_suffix(".json"))


def _checked_card(path: Path) -> dict[str, Any]:
    card = read_json(path)
    check_keys(str(path), card, ("sha256", *CARD), SCHEMA)
    return card


def check_hash(path: Path, content: bytes, card: Mapping[str, Any]) -> None:
    """Check that weights are those that their card is of.

    Args:
        path: ``.../NAME.safetensors``.
        content: Of that file.
        card: Its card.

    Raises:
        ValueError: They are not.
    """
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise ValueError(f"{path}: expected the weights that its card {path.with_suffix('.json').name} names by hash")
