"""Distillation: a student fitted to the planner's labels.

Labels are in `agents.training.planner_labels`, the student's network is in `agents.learned.student_network`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agents.learned.networks import ILLEGAL
from agents.learned.student_features import chunk_qoe, feature_layout, student_features
from agents.learned.student_network import StudentNetwork
from agents.training.planner_labels import NO_ACTION, LabelledEpisode, environment
from ppgym.core.state import F4, I4
from ppgym.progress import track

UNKNOWN_S = 0.5  # an action that was not considered counts as this much worse than the worst considered one


class Dataset(NamedTuple):
    """Features and labels of N decisions; K actions considered in each."""

    features: npt.NDArray[np.float16]  # [N, size]
    considered: I4  # [N, K]
    advantage: F4  # [N, K] in the value of a chunk at top quality, over its seconds


def make_dataset(episode: LabelledEpisode, split: str) -> Dataset:
    """Replay an episode and compute the student's features where it has labels.

    Args:
        episode: The episode.
        split: Where it was drawn.

    Returns:
        One row a label.
    """
    env = environment(episode.scenario, episode.overrides, split)
    params = env.world.params
    env.reset(seed=episode.seed)
    labelled = episode.considered[:, 0] != NO_ACTION
    features = np.zeros((int(labelled.sum()), feature_layout(len(env.options)).size), np.float16)
    row = 0
    for action, here in zip(episode.taken.tolist(), labelled.tolist(), strict=True):
        if here:
            features[row] = student_features(env.planning_view())
            row += 1
        env.step(action)
    advantage = episode.advantage[labelled] / np.float32(chunk_qoe(params))
    return Dataset(features, episode.considered[labelled], advantage)


def by_options(datasets: Iterable[Dataset]) -> list[Dataset]:
    """One dataset for each length of the option table, in the order in which they are met.

    Args:
        datasets: One or more.

    Returns:
        The datasets, whose features have different lengths.
    """
    groups: dict[int, list[Dataset]] = {}
    for dataset in datasets:
        groups.setdefault(dataset.features.shape[1], []).append(dataset)
    return [Dataset(*map(np.concatenate, zip(*group, strict=True))) for group in groups.values()]


def label_loss(
    logits: Tensor, considered: Tensor, advantage: Tensor, temperature: float, regret_share: float
) -> Tensor:
    """How far a student is from the expert: a cross-entropy plus a share of the expected regret.

    The cross-entropy is to the softmax of the advantages. It punishes a small mistake as hard as a large one; the
    regret, the advantage that the student's own distribution loses on average, does not.

    Args:
        logits: [B, actions].
        considered: [B, K] actions considered, `NO_ACTION` where fewer.
        advantage: [B, K], see `Dataset`.
        temperature: In the same unit; the losses are in units of it.
        regret_share: Weight of the expected regret. An action that was not considered counts as `UNKNOWN_S` worse
            than the worst that was.

    Returns:
        [B]; 0 where the student has none of the actions considered.
    """
    log_probs = torch.log_softmax(logits, dim=1).gather(1, considered.clamp(min=0).long())
    hidden = (considered == NO_ACTION) | (log_probs < ILLEGAL / 2)  # from the student
    scaled = advantage / temperature
    targets = torch.softmax(scaled.masked_fill(hidden, ILLEGAL), dim=1)
    cross_entropy = -(targets * log_probs.masked_fill(hidden, 0.0)).sum(1)

    best = scaled.masked_fill(hidden, ILLEGAL).amax(1, keepdim=True)
    worst = scaled.masked_fill(hidden, -ILLEGAL).amin(1)
    probs = log_probs.exp().masked_fill(hidden, 0.0)
    regret = (probs * (best - scaled)).sum(1)
    regret = regret + (1.0 - probs.sum(1)) * (best.squeeze(1) - worst + UNKNOWN_S / temperature)
    return torch.where(hidden.all(1), 0.0, cross_entropy + regret_share * regret)


def fit(
    network: StudentNetwork,
    datasets: Sequence[Dataset],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    temperature: float,
    regret_share: float,
    seed: int,
    torch_device: str = "cpu",
) -> None:
    """Fit a student to labels, which count alike: what a session loses is the sum of what its decisions lose.

    Args:
        network: Changed in place.
        datasets: Features and labels, each of its own length of the option table.
        epochs: Passes over them.
        batch_size: Labels a step, at most.
        learning_rate: At the start; falls to zero as a cosine.
        temperature: See `label_loss`.
        regret_share: See `label_loss`.
        seed: Seeds the order.
        torch_device: Where it is fitted; the network returns to the CPU.
    """
    network.to(torch_device)
    rng = np.random.default_rng(seed)
    counts = [len(dataset.features) for dataset in datasets]
    steps = epochs * sum(-(-count // batch_size) for count in counts)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(epochs), "Fitting"):
        batches = []
        for dataset, count in zip(datasets, counts, strict=True):
            batches += [(dataset, rows) for rows in np.array_split(rng.permutation(count), -(-count // batch_size))]
        for place in rng.permutation(len(batches)):
            dataset, rows = batches[place]
            arrays = dataset.features[rows].astype(np.float32), dataset.considered[rows], dataset.advantage[rows]
            features, considered, advantage = (torch.from_numpy(array).to(torch_device) for array in arrays)
            loss = label_loss(network(features), considered, advantage, temperature, regret_share).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            decay.step()
    network.to("cpu")
