"""Checkpoints: tensors as safetensors with a JSON card. To load them never executes what they hold.

``NAME.safetensors`` holds the weights, ``NAME.json`` is their card. ``NAME-training.safetensors`` holds what training
alone needs to go on: the optimizer's state and the generators of random numbers.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from agents.learned.cards import SCHEMA, check_hash, next_path, read_card, read_weights, settle, training_path
from ppgym.files import write_bytes, write_text

Tensors = dict[str, Tensor]


def write_checkpoint(
    path: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any], optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Write weights, card and what training needs to go on. A kill leaves the checkpoint before, or the new one.

    A graph of older weights is deleted first.

    Args:
        path: ``.../NAME.safetensors``.
        weights: Named tensors.
        card: The keys of `CARD`; schema and the weights' hash are added.
        optimizer: Where given, its state and that of the global generators of random numbers are written too.
    """
    path.with_suffix(".onnx").unlink(missing_ok=True)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    full = {"schema": SCHEMA, "sha256": hashlib.sha256(content).hexdigest(), **card}
    if optimizer is not None:
        write_bytes(next_path(training_path(path)), save(training_state(optimizer)))
    write_text(next_path(path.with_suffix(".json")), f"{json.dumps(full, indent=2)}\n")
    write_bytes(path, content)
    settle(path)


def read_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read weights and card.

    Args:
        path: ``.../NAME.safetensors``.

    Returns:
        Weights and card.

    Raises:
        FileNotFoundError: One of the two is missing.
        ValueError: One of the two is not what it should be, or they do not belong together.
    """
    card = read_card(path)
    content = read_weights(path)
    check_hash(path, content, card)
    return _tensors(path, content), card


def training_state(optimizer: torch.optim.Optimizer) -> Tensors:
    """What training needs to go on: the optimizer's state and the global generators of random numbers.

    Args:
        optimizer: Its state per parameter.

    Returns:
        Named tensors.
    """
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002 (Stable-Baselines3 draws from it)
    tensors = {
        "rng.torch": torch.get_rng_state(),
        "rng.numpy.keys": torch.from_numpy(np.asarray(keys, np.int64)),
        "rng.numpy.position": torch.tensor(position),
    }
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.cpu().contiguous() for key, value in values.items()}
    return tensors


def restore_training_state(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Restore what `training_state` gave.

    Args:
        path: ``.../NAME.safetensors`` of the checkpoint.
        optimizer: Gets the state.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not of such an optimizer.
    """
    path = training_path(path)
    tensors = _tensors(path, read_weights(path))
    try:
        torch.set_rng_state(tensors.pop("rng.torch"))
        keys, position = tensors.pop("rng.numpy.keys"), tensors.pop("rng.numpy.position")
        np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), int(position), 0, 0.0))  # noqa: NPY002
        state: dict[int, Tensors] = {}
        for name, tensor in tensors.items():
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the state of an optimizer and of generators: {error}") from error


def _tensors(path: Path, content: bytes) -> Tensors:
    try:
        tensors: Tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file: {error}") from error
    return tensors
