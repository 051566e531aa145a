"""Gradient descent on U and V that can be left and taken up again: Adam, the order of the frames, a file of both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ppgym.files import replacing

PATIENCE_STEPS: Final = 12  # without progress until the learning rate is halved
MOMENTS: Final = ("exp_avg", "exp_avg_sq")  # what Adam keeps of a tensor, in its own words


class Descent:
    """Adam on U and V, its rate halved on each plateau of the loss.

    Attributes:
        u: U of the keyframes, a leaf that needs gradients.
        v: V.
        step_count: Steps taken.
        done: Whether the rate has come down to its floor.
        frame_errors: [T], of each frame when it was last drawn; infinite before.
    """

    def __init__(
        self, u: Tensor, v: Tensor, frame_count: int, *, learning_rate: float, floor: float, half: bool, seed: int
    ) -> None:
        """Begin.

        Args:
            u: Start.
            v: Start, on the same device.
            frame_count: T.
            learning_rate: At first.
            floor: Part of it at which a plateau ends the descent.
            half: Whether the generator computes in float16, whose small gradients vanish unless the loss is scaled.
            seed: Of the order of the frames.
        """
        self.u, self.v = (x.clone().requires_grad_() for x in (u, v))
        self.step_count, self.done = 0, False
        self.frame_errors = np.full(frame_count, np.inf)
        self._least_rate = floor * learning_rate
        self._smooth = 0.0
        self._optimizer = torch.optim.Adam([self.u, self.v], lr=learning_rate)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer, factor=0.5, patience=PATIENCE_STEPS, eps=0.0
        )
        self._scaler = torch.amp.GradScaler(u.device.type, enabled=half)
        self._order = np.random.default_rng(seed)
        self._queue: list[int] = []

    def choose(self, batch_size: int, repeat_worst: bool) -> list[int]:
        """Frames for the next step, each as often as any other; besides, the worst one where that is wanted."""
        while len(self._queue) < min(batch_size, len(self.frame_errors)):
            self._queue += self._order.permutation(len(self.frame_errors)).tolist()
        chosen, self._queue = self._queue[:batch_size], self._queue[batch_size:]
        if repeat_worst and np.isfinite(self.frame_errors).any():
            chosen[-1] = int(np.where(np.isfinite(self.frame_errors), self.frame_errors, -np.inf).argmax())
        return chosen

    def step(self, loss: Callable[[], Tensor]) -> float:
        """Take a step.

        Args:
            loss: Computes the loss of U and V.

        Returns:
            The loss.
        """
        self._optimizer.zero_grad()
        value = loss()
        self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.step_count += 1
        self._smooth += (value.item() - self._smooth) / min(self.step_count, 10)
        self._plateau.step(self._smooth)
        self.done = float(self._plateau.get_last_lr()[0]) < self._least_rate
        return value.item()

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on; a reader sees the old file or the new one."""
        tensors = {"u": self.u.detach(), "v": self.v.detach()}
        for name, tensor in (("u", self.u), ("v", self.v)):
            tensors |= {f"{name}.{moment}": self._optimizer.state[tensor][moment] for moment in MOMENTS}
        state = {
            "step_count": self.step_count,
            "done": self.done,
            "smooth": self._smooth,
            "frame_errors": self.frame_errors.tolist(),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "plateau": self._plateau.state_dict(),
            "scaler": self._scaler.state_dict(),
            "order": self._order.bit_generator.state,
            "queue": self._queue,
        }
        with replacing(path) as temporary:
            save_file({name: x.contiguous() for name, x in tensors.items()}, temporary, {"state": json.dumps(state)})

    def restore(self, path: Path) -> None:
        """Go on where `save` was called.

        Args:
            path: Of its file.

        Raises:
            ValueError: Another file, or of U and V of other shapes.
        """
        try:
            with safe_open(path, "pt", device=str(self.u.device)) as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                state: dict[str, Any] = json.loads(file.metadata()["state"])
            with torch.no_grad():
                for name, tensor in (("u", self.u), ("v", self.v)):
                    if tensors[name].shape != tensor.shape:
                        raise ValueError(
                            f"expected {name} of shape {list(tensor.shape)}, got {list(tensors[name].shape)}"
                        )
                    tensor.copy_(tensors[name])
                    moments = {moment: tensors[f"{name}.{moment}"] for moment in MOMENTS}
                    self._optimizer.state[tensor] = {"step": torch.tensor(float(state["step_count"])), **moments}
            self.step_count, self.done, self._smooth = state["step_count"], state["done"], state["smooth"]
            self.frame_errors = np.array(state["frame_errors"])
            self._optimizer.param_groups[0]["lr"] = state["learning_rate"]
            self._plateau.load_state_dict(state["plateau"])
            self._scaler.load_state_dict(state["scaler"])
            self._order.bit_generator.state = state["order"]
            self._queue = state["queue"]
        except (KeyError, TypeError, SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: expected a checkpoint of this inversion: {error}; delete it") from error
