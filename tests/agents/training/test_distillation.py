"""Distillation: the loss by hand, the dataset by replay, and a fit."""

from typing import Any

import numpy as np
import pytest
import torch

from agents.learned.networks import ILLEGAL
from agents.learned.student_features import REQUEST, SHOWN_LOOKAHEADS, student_features
from agents.learned.student_network import StudentNetwork
from agents.training.distillation import Dataset, by_options, fit, label_loss, make_dataset
from agents.training.planner_labels import NO_ACTION, LabelledEpisode
from ppgym.core.state import LOOKAHEAD
from ppgym.env import PromptPreamEnv
from tests.agents.learned.students import OPTIONS


def test_the_loss_is_the_cross_entropy_to_the_experts_shares() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    considered = torch.tensor([[0, 2, NO_ACTION], [1, NO_ACTION, NO_ACTION]])
    advantage = torch.tensor([[0.0, np.log(3.0) * 0.2, 9.0], [0.0, 0.0, 0.0]])
    loss = label_loss(logits, considered, advantage, temperature=0.2, regret_share=0.0)
    expected = [0.25 * np.log(2.0) + 0.75 * np.log(4.0), np.log(4.0)]  # its shares are 1/4 and 3/4; all on the one
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_the_loss_counts_the_regret_of_the_students_shares() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3]]))
    considered, advantage = torch.tensor([[0, 2, NO_ACTION]]), torch.tensor([[0.0, 2.0, 0.0]])
    losses = [label_loss(logits, considered, advantage, 0.5, share).item() for share in (0.0, 0.1)]
    # 0.5 loses 2, and 0.2 goes to what nobody looked at: 0.5 worse than the worst
    assert losses[1] - losses[0] == pytest.approx(0.1 * (0.5 * 2.0 + 0.2 * (2.0 + 0.5)) / 0.5)


def test_an_action_without_features_is_left_out() -> None:
    logits = torch.tensor([[0.0, ILLEGAL, 0.0]])
    considered = torch.tensor([[0, 1, 2]])
    loss = label_loss(logits, considered, torch.tensor([[0.0, 5.0, 0.0]]), temperature=0.1, regret_share=1.0)
    assert loss.item() == pytest.approx(np.log(2.0))
    loss = label_loss(logits, torch.tensor([[1, NO_ACTION]]), torch.zeros(1, 2), temperature=0.1, regret_share=1.0)
    assert loss.item() == 0.0  # where it sees none of them, there is nothing to learn


def test_a_dataset_has_the_features_of_the_replay(episode: LabelledEpisode) -> None:
    thinned = episode._replace(considered=episode.considered.copy())
    thinned.considered[::2] = NO_ACTION
    dataset = make_dataset(thinned, "train")
    env = PromptPreamEnv(split="train")
    env.reset(seed=episode.seed)
    rows = []
    for step, action in enumerate(episode.taken):
        if step % 2:
            rows.append(student_features(env.planning_view()))
        env.step(int(action))
    np.testing.assert_array_equal(dataset.features, np.array(rows).astype(np.float16))
    np.testing.assert_array_equal(dataset.considered, episode.considered[1::2])
    np.testing.assert_allclose(dataset.advantage, episode.advantage[1::2] / 1.85, rtol=1e-6)


def test_a_fit_finds_what_the_expert_prefers(episode: LabelledEpisode) -> None:
    dataset = make_dataset(episode, "train")
    visible = (np.maximum(dataset.considered - 1, 0) // OPTIONS % LOOKAHEAD < SHOWN_LOOKAHEADS) & (
        dataset.considered != NO_ACTION
    )
    best = np.where(visible, dataset.advantage, -np.inf).argmax(1)
    wanted = dataset.considered[np.arange(len(best)), best]

    torch.manual_seed(0)
    network = StudentNetwork()

    def judge() -> tuple[float, float]:
        with torch.inference_mode():
            logits = network(torch.from_numpy(dataset.features.astype(np.float32)))
        columns = torch.from_numpy(dataset.considered), torch.from_numpy(dataset.advantage)
        loss = label_loss(logits, *columns, temperature=0.1, regret_share=0.1).mean().item()
        return loss, float((logits.argmax(1).numpy() == wanted).mean())

    how: dict[str, Any] = {"epochs": 48, "batch_size": 16, "learning_rate": 3e-3}
    loss, agreement = judge()
    fit(network, [dataset], temperature=0.1, regret_share=0.1, seed=0, **how)
    assert judge()[0] < loss - 0.3
    assert judge()[1] > agreement + 0.1


def test_datasets_are_joined_by_the_length_of_the_option_table(episode: LabelledEpisode) -> None:
    dataset = make_dataset(episode, "train")
    half = len(dataset.features) // 2
    columns: Any = [column[:half] for column in dataset], [column[half:] for column in dataset]
    other = Dataset(dataset.features[:, :-REQUEST], *dataset[1:])
    joined = by_options([Dataset(*columns[0]), other, Dataset(*columns[1])])
    assert len(joined) == 2
    for found, expected in zip(joined, (dataset, other), strict=True):
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, two)
