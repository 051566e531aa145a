"""Cards of checkpoints: what a file of weights is, how it was made and how it scored.

``NAME.json`` is the card of ``NAME.safetensors``; the weights themselves are in `agents.learned.checkpoints`.
Nothing here needs a deep-learning library.
"""

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
    card_path = path.with_suffix(".json")
    card = read_json(card_path)
    check_keys(str(card_path), card, ("sha256", *CARD), SCHEMA)
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
