"""Prompts that Promptus has found (https://github.com/JiangkaiWu/Promptus), as a chunk.

Promptus writes a folder `data/CLIP/results/rankR_intervalI` with a file `frame_NNNNN.prompt` for each keyframe (a
torch archive of U, V, their scales and zero points) and `init.pth`, the latent before the first frame. A safetensors
file with the tensors `frameNNNNN.U`, `.V`, `.U_scale`, `.U_zero_point`, `.V_scale` and `.V_zero_point` says the same
without `init.pth`. Archives are read as weights alone: nothing in them is executed.
"""

import pickle
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ppgym.codec.bitstream import MAX_FRAMES, PromptChunk
from ppgym.core.state import F4, U1

NOISE_SEED: Final = 88
BITS: Final = 8
KEYS: Final = ("U", "V", "U_scale", "U_zero_point", "V_scale", "V_zero_point")
MAX_FILE_BYTES: Final = 1 << 28
ANCHOR_FILE: Final = "init.pth"


def read_promptus(path: str | Path, *, generator: str, fps: float = 30.0, side_px: int = 512) -> PromptChunk:
    """Read prompts that Promptus has found.

    Args:
        path: Folder, or safetensors file.
        generator: Identity of the weights that they were found for, or `UNKNOWN_GENERATOR`.
        fps: Frames per second.
        side_px: Of the square pictures.

    Returns:
        One chained chunk; its `anchor` is None where there is no `init.pth`.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: Not such prompts; names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    keyframes, anchor = _read_folder(path) if path.is_dir() else (_read_safetensors(path), None)
    if not keyframes:
        raise ValueError(f"{path}: expected files frame_NNNNN.prompt, or tensors frameNNNNN.U, got none")
    first, last = min(keyframes), max(keyframes)
    if last - first >= MAX_FRAMES:
        raise ValueError(f"{path}: expected at most {MAX_FRAMES} frames, got {last - first + 1}")
    prompts = [keyframes[frame] for frame in sorted(keyframes)]
    try:
        stacked = {key: np.stack([_values(prompt[key]) for prompt in prompts]) for key in ("U", "V")}
        numbers = {key: np.array([float(prompt[key]) for prompt in prompts], np.float32) for key in KEYS[2:]}
        return PromptChunk(
            generator=generator,
            height_px=side_px,
            width_px=side_px,
            fps=fps,
            frame_count=last - first + 1,
            keyframes=tuple(frame - first for frame in sorted(keyframes)),
            bits=BITS,
            u=stacked["U"],
            v=stacked["V"],
            u_scale=numbers["U_scale"],
            u_zero=numbers["U_zero_point"],
            v_scale=numbers["V_scale"],
            v_zero=numbers["V_zero_point"],
            separate=True,
            rooted=True,
            noise_seed=NOISE_SEED,
            anchor=anchor,
        )
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: expected prompts of Promptus: {error}") from error


def _read_folder(folder: Path) -> tuple[dict[int, Any], npt.NDArray[np.float16] | None]:
    """The prompts by frame, and the latent before the first one."""
    found: dict[int, Any] = {}
    for file in sorted(folder.glob("frame_*.prompt")):
        match = re.fullmatch(r"frame_(\d{5})\.prompt", file.name)
        if match is None:
            raise ValueError(f"{file}: expected a name such as frame_00010.prompt")
        content = _load(file)
        if not isinstance(content, dict) or not set(KEYS) <= content.keys():
            raise ValueError(f"{file}: expected a prompt with {', '.join(KEYS)}")
        found[int(match[1])] = content
    file = folder / ANCHOR_FILE
    if not file.is_file():
        return found, None
    latent = _load(file)
    if not isinstance(latent, Tensor) or latent.ndim != 4 or len(latent) != 1:
        raise ValueError(f"{file}: expected a latent [1, channels, height, width]")
    return found, latent[0].detach().float().numpy().astype(np.float16)


def _read_safetensors(file: Path) -> dict[int, Any]:
    """The prompts by frame."""
    _check_size(file)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: expected a safetensors file: {error}") from error
    found: dict[int, Any] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"frame(\d{5})\.(\w+)", name)
        if match is None or match[2] not in KEYS:
            raise ValueError(f"{file}: expected tensors such as frame00010.U, got {name!r}")
        found.setdefault(int(match[1]), {})[match[2]] = tensor
    return found


def _load(file: Path) -> Any:
    _check_size(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file}: expected a torch archive of plain tensors: {reason}") from error


def _check_size(file: Path) -> None:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{file}: expected at most {MAX_FILE_BYTES} bytes, got {file.stat().st_size}")


def _values(tensor: Tensor) -> U1:
    """The whole numbers 0 to 255 of a tensor [rows, columns], whatever its type."""
    values: F4 = tensor.detach().float().numpy()
    whole = values.astype(np.uint8) if values.size and 0 <= values.min() and values.max() <= 255 else None
    if values.ndim != 2 or whole is None or not np.array_equal(whole, values):
        raise ValueError(f"whole numbers from 0 to 255 in two dimensions, got the shape {list(values.shape)}")
    return whole
