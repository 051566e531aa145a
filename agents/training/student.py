"""A student's training, in rounds: the planner labels new episodes, and a student is fitted to all labels so far.

The planner itself plays the episodes of the first round, the student of the round before plays the others (DAgger).
Beside its checkpoints the run keeps ``labels-0/``, ``labels-1/`` ... What is there is not made again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from agents.learned.cards import provenance
from agents.learned.student_network import StudentNetwork, StudentVectorEnv, play
from agents.training.config import LATEST, Run
from agents.training.distillation import by_options, fit, make_dataset
from agents.training.planner_labels import EXPERT, label_episodes, read_episodes
from agents.training.worlds import share_out, world_groups
from ppgym.benchmark.episodes import Job
from ppgym.planning.rollout_parameters import qoe_scale
from ppgym.progress import track

VALIDATION_WORLDS = 16  # of each group
FIRST_SEED, SEEDS_A_RUN, SEEDS_A_ROUND = 1_000_000, 100_000, 10_000  # of the labelled episodes


class Validation:
    """Episodes of the validation split, always the same ones."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the environments: as many for each group of the run's worlds."""
        count = config["hyperparams"]["evaluation"]["validation_episodes"]
        self._groups = []
        for group in world_groups(config):
            scenarios, counts = share_out([group[:VALIDATION_WORLDS]], count)
            pairs = zip(counts, scenarios, strict=True)
            self._groups.append([StudentVectorEnv(each, scenario, "validation") for each, scenario in pairs])

    def score(self, network: nn.Module) -> dict[str, float]:
        """Play the episodes.

        Args:
            network: Of a student.

        Returns:
            QoE in units of the default ladder, as a mean over the worlds of each group: "own" of the run's own,
            "others" of all other groups, "qoe" of all groups.
        """
        found = []
        for group in self._groups:
            found.append(np.mean([play(network, envs, 0) / qoe_scale(envs.world.params) for envs in group]))
        own, *rest = found
        return {"own": float(own), "others": float(np.mean(rest or [own])), "qoe": float(np.mean(found))}


def episode_jobs(run: Run, number: int) -> list[Job]:
    """The episodes of a round.

    Args:
        run: The run; its latest checkpoint plays, but for the first round.
        number: Of the round, from 0.

    Returns:
        The episodes, of each group of worlds in turn.
    """
    groups = world_groups(run.config)
    count = run.config["hyperparams"]["rounds"][number]["episodes"]
    first = FIRST_SEED + SEEDS_A_RUN * run.config["seed"] + SEEDS_A_ROUND * number
    player, params = (EXPERT, {}) if number == 0 else ("student", {"weights": str(run.folder / LATEST)})
    jobs = []
    for i in range(count):
        group = groups[i % len(groups)]
        world = group[(first + i // len(groups)) % len(group)]
        jobs.append(Job(world.scenario, world.overrides, "train", player, params, first + i))
    return jobs


def learn_round(
    run: Run, number: int, validation: Validation, torch_device: str, workers: int
) -> tuple[StudentNetwork, dict[str, float]]:
    """Label the episodes of a round, and fit a student to all labels so far.

    Args:
        run: Its folder gets ``labels-NUMBER/``.
        number: Of the round, from 0.
        validation: Scores the student.
        torch_device: Where it is fitted.
        workers: Processes that play and label.

    Returns:
        The student, and its scores: those of `Validation`, "timesteps" of the labelled episodes, and "labels".
    """
    params = run.config["hyperparams"]
    label_episodes(
        run.folder / f"labels-{number}",
        episode_jobs(run, number),
        expert=params["expert"],
        label_share=params["rounds"][number]["label_share"],
        exploration_share=params["rounds"][number]["exploration_share"],
        workers=workers,
    )
    episodes = [episode for k in range(number + 1) for episode in read_episodes(run.folder / f"labels-{k}")]
    datasets = by_options(make_dataset(episode, "train") for episode in track(episodes, "Features"))
    torch.manual_seed(run.config["seed"])
    network = StudentNetwork(**params["network"])
    fit(network, datasets, seed=run.config["seed"], torch_device=torch_device, **params["fit"])
    counts = {
        "timesteps": sum(len(episode.taken) for episode in episodes),
        "labels": sum(len(dataset.features) for dataset in datasets),
    }
    return network, counts | validation.score(network)


def train_student(run: Run, console: Console, torch_device: str, saved: Callable[[str], None], workers: int) -> None:
    """Train a student in the rounds that are left; see `agents.training.run.train` for the arguments.

    Args:
        run: New or reopened.
        console: Where the results of each round are shown.
        torch_device: Where the student is fitted.
        saved: As for `agents.training.run.train`.
        workers: Processes that play and label.
    """
    torch.set_num_threads(1)  # small batches: a second thread only waits
    run.write_config()
    validation, code = Validation(run.config), provenance()
    for number in range(len(run.curve), len(run.config["hyperparams"]["rounds"])):
        network, scores = learn_round(run, number, validation, torch_device, workers)
        run.curve.append(scores)
        for name in ("best", "latest") if run.improved() else ("latest",):  # with the latest, the round is done
            run.write_checkpoint(name, network.state_dict(), int(scores["timesteps"]), code)
            saved(name)
        qoe = f"validation QoE {scores['own']:.1f}, other worlds {scores['others']:.1f}"
        console.print(f"round {number}: {scores['labels']:,} labels, {qoe}", soft_wrap=True)
