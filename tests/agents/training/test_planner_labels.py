"""The planner's labels: what an episode holds, and its files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.training.planner_labels import (
    CONSIDERED,
    NO_ACTION,
    LabelledEpisode,
    label_episodes,
    read_episodes,
)
from ppgym.benchmark.episodes import Job, session_seed
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO
from tests.agents.training.tiny import EXPERT


def test_an_episode_holds_what_was_considered(episode: LabelledEpisode) -> None:
    env = PromptPreamEnv(split="train")
    env.reset(seed=episode.seed)
    explored = 0
    for taken, considered, advantage in zip(episode.taken, episode.considered, episode.advantage, strict=True):
        actions = considered[considered != NO_ACTION]
        assert env.action_masks()[actions].all()
        assert taken in actions
        assert advantage[0] == 0.0  # what the others are measured by
        assert (advantage[considered == NO_ACTION] == 0.0).all()
        explored += int(taken != actions[advantage[: len(actions)].argmax()])
        *_, terminated, truncated, _ = env.step(int(taken))
    assert terminated or truncated
    assert 0 < explored < len(episode.taken)


def test_labelling_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    jobs = [Job(DEFAULT_SCENARIO, {}, "train", "greedy", {}, seed) for seed in range(3)]
    how: dict[str, Any] = {"expert": EXPERT, "label_share": 0.1, "exploration_share": 0.0, "workers": 1}
    label_episodes(tmp_path, jobs, **how)
    first, second, third = (tmp_path / f"{i:05}.npz" for i in range(3))
    kept, made = first.read_bytes(), third.read_bytes()
    first.write_bytes(kept + b" ")  # so that it would show if it were made again
    third.unlink()
    label_episodes(tmp_path, jobs, **how)
    assert sorted(tmp_path.iterdir()) == [first, second, third]
    assert first.read_bytes() == kept + b" "
    assert third.read_bytes() == made
    first.write_bytes(kept)
    episodes = read_episodes(tmp_path)
    assert [episode.seed for episode in episodes] == [session_seed(DEFAULT_SCENARIO, number) for number in range(3)]
    labelled = np.concatenate([episode.considered[:, 0] != NO_ACTION for episode in episodes])
    assert 0 < labelled.sum() < len(labelled) / 2
    assert episodes[0].considered.shape == (len(episodes[0].taken), CONSIDERED)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected labelled episodes, files \*\.npz"):
        read_episodes(tmp_path)
