"""Distillation: a student fitted to the planner's comments, round by round, each played by the student of the last.

What lessons are is in `agents.training.planner_labels`, what a student is in `agents.learned.student`.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from agents.learned.networks import ILLEGAL
from agents.learned.student import StudentNetwork
from agents.learned.student_features import glimpse_layout, look
from agents.training.planner_labels import NOTHING, Lesson
from ppgym.core.state import F4, I4
from ppgym.env import PromptPreamEnv

UNKNOWN_QOE = 1.0  # lost, beyond the worst that was looked at, by what was not


class Sheet(NamedTuple):
    """What the student saw where the planner commented; N comments."""

    seen: npt.NDArray[np.float16]  # [N, size]
    considered: I4  # [N, K]
    advantage: F4  # [N, K]
    weight: F4  # [N]

    @property
    def options(self) -> int:
        """O, from what was seen."""
        none, one = glimpse_layout(0).size, glimpse_layout(1).size
        return int((self.seen.shape[1] - none) // (one - none))


@functools.lru_cache(maxsize=32)
def _environment(scenario: str, split: str) -> PromptPreamEnv:
    return PromptPreamEnv(scenario, split)


def show(lesson: Lesson, split: str) -> Sheet:
    """What a student saw in a lesson, by replay.

    Args:
        lesson: The lesson.
        split: Where its episode was drawn.

    Returns:
        One row a comment. Its weight is 1 over the minutes that the viewer would watch, as in the benchmark's mean.
    """
    env = _environment(lesson.scenario, split)
    env.reset(seed=lesson.seed)
    commented = lesson.considered[:, 0] != NOTHING
    seen = np.zeros((int(commented.sum()), glimpse_layout(len(env.options)).size), np.float16)
    row = 0
    for action, here in zip(lesson.taken.tolist(), commented.tolist(), strict=True):
        if here:
            seen[row] = look(env.planning_view())
            row += 1
        env.step(action)
    weight = np.full(len(seen), 60.0 / lesson.drawn_watch_s, np.float32)
    return Sheet(seen, lesson.considered[commented], lesson.advantage[commented], weight)


def collate(sheets: Sequence[Sheet]) -> Sheet:
    """Sheets as one."""
    columns: Any = [np.concatenate(column) for column in zip(*sheets, strict=True)]
    return Sheet(*columns)


def comment_loss(
    logits: Tensor, considered: Tensor, advantage: Tensor, temperature: float, regret_share: float
) -> Tensor:
    """How far a student is from its teacher.

    The cross-entropy to the planner's shares, the softmax of the advantages it found, takes a small mistake for as bad
    as a large one; the advantage that the student's own shares are expected to lose does not.

    Args:
        logits: [B, actions].
        considered: [B, K] actions looked at, `NOTHING` where fewer.
        advantage: [B, K] QoE.
        temperature: In QoE; the losses are in units of it.
        regret_share: Weight of the expected loss of advantage. An action that was not looked at, counts as one
            `UNKNOWN_QOE` worse than the worst that was.

    Returns:
        [B]; 0 where the student sees none of the actions looked at.
    """
    log_chances = torch.log_softmax(logits, dim=1).gather(1, considered.clamp(min=0).long())
    hidden = (considered == NOTHING) | (log_chances < ILLEGAL / 2)  # from the student
    scaled = advantage / temperature
    shares = torch.softmax(scaled.masked_fill(hidden, ILLEGAL), dim=1)
    cross_entropy = -(shares * log_chances.masked_fill(hidden, 0.0)).sum(1)

    best = scaled.masked_fill(hidden, ILLEGAL).amax(1, keepdim=True)
    worst = scaled.masked_fill(hidden, -ILLEGAL).amin(1)
    chances = log_chances.exp().masked_fill(hidden, 0.0)
    lost = (chances * (best - scaled)).sum(1)
    lost = lost + (1.0 - chances.sum(1)) * (best.squeeze(1) - worst + UNKNOWN_QOE / temperature)
    return torch.where(hidden.all(1), 0.0, cross_entropy + regret_share * lost)


def fit(
    network: StudentNetwork,
    sheet: Sheet,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    temperature: float,
    regret_share: float,
    weight_power: float,
    seed: int,
) -> None:
    """Fit a student to comments.

    Args:
        network: Changed in place.
        sheet: The comments.
        epochs: Passes over them.
        batch_size: Comments a step.
        learning_rate: At the start; falls to zero as a cosine.
        temperature: See `comment_loss`.
        regret_share: See `comment_loss`.
        weight_power: Exponent of the comments' weights.
        seed: Seeds the order.
    """
    rng = np.random.default_rng(seed)
    count = len(sheet.seen)
    steps = epochs * (count // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    weight = sheet.weight**weight_power
    weight /= weight.mean()
    console = Console(stderr=True)
    for _ in track(range(epochs), "Fitting", console=console, transient=True, disable=not console.is_terminal):
        order = rng.permutation(count)[: count // batch_size * batch_size].reshape(-1, batch_size)
        for rows in order:
            logits = network(torch.from_numpy(sheet.seen[rows].astype(np.float32)))
            comments = torch.from_numpy(sheet.considered[rows]), torch.from_numpy(sheet.advantage[rows])
            losses = comment_loss(logits, *comments, temperature, regret_share)
            loss = (losses * torch.from_numpy(weight[rows])).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            decay.step()
