"""The planner's labels on episodes that some agent plays (DAgger, https://arxiv.org/abs/1011.0686), and their files.

A labelled episode is a recipe: scenario, seed, the actions taken, and at each labelled decision the actions that the
planner considered with the advantage that it found. It holds no features: `agents.training.distillation` computes them
by replay, so that old labels serve new features.
"""

import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents import make_agent
from agents.mcts import MCTSAgent
from ppgym.benchmark.episodes import Job
from ppgym.benchmark.workers import run_jobs
from ppgym.core.state import F4, I4
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes
from ppgym.planning.planner import posterior_advantage
from ppgym.world.scenario import Scenario

EXPERT = "mcts"
CONSIDERED = 16  # actions of a label, at most
NO_ACTION = -1


class LabelledEpisode(NamedTuple):
    """An episode with labels; T decisions, K = `CONSIDERED`."""

    scenario: str
    overrides: str  # JSON
    seed: int
    taken: I4  # [T] the actions
    considered: I4  # [T, K] the actions considered; `NO_ACTION` where fewer, or no label
    advantage: F4  # [T, K] of each over the first, in return


@functools.lru_cache(maxsize=64)
def environment(scenario: str, overrides: str, split: str) -> PromptPreamEnv:
    """An environment, made once in a process.

    Args:
        scenario: Its name.
        overrides: What differs from it, as JSON.
        split: Where its episodes are drawn.

    Returns:
        The environment, in whatever state it was left.
    """
    return PromptPreamEnv(Scenario.parse(scenario, **json.loads(overrides)), split)


def label_episode(expert: dict[str, Any], label_share: float, exploration_share: float, job: Job) -> LabelledEpisode:
    """Play an episode and label its decisions.

    Args:
        expert: Parameters of the planner.
        label_share: Share of the decisions that the planner labels.
        exploration_share: Share of the labelled decisions where a considered action is taken by chance, so that the
            labels show the way back.
        job: The episode and who plays it. Where `EXPERT` plays, it labels every decision.

    Returns:
        The episode with labels.
    """
    overrides = json.dumps(dict(job.overrides))
    env = environment(job.scenario, overrides, job.split)
    rng = np.random.default_rng([job.seed, 1])
    planner = MCTSAgent(env, seed=job.seed, **expert)
    agent = None if job.agent == EXPERT else make_agent(job.agent, env, seed=job.seed, **job.params)
    observation, info = env.reset(seed=job.seed)
    taken, considered, advantages = [], [], []
    ended = False
    while not ended:
        mask = info["action_mask"].astype(np.bool_)
        actions, advantage = np.full(CONSIDERED, NO_ACTION), np.zeros(CONSIDERED, np.float32)
        labelled = agent is None or rng.random() < label_share
        if labelled:
            action = planner.decide(env.planning_view(), mask)
            plan = planner.last_plan
            assert plan is not None, "it has just decided"
            count = len(plan.root_actions)
            actions[:count] = plan.root_actions
            advantage[:count], _ = posterior_advantage(plan.root, plan.prior, plan.advantage_sd)
        if agent is not None:
            action = int(agent.predict(observation, deterministic=True, action_masks=mask)[0])
        if labelled and rng.random() < exploration_share:
            action = int(rng.choice(actions[actions != NO_ACTION]))
        taken.append(action)
        considered.append(actions)
        advantages.append(advantage)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    return LabelledEpisode(
        job.scenario,
        overrides,
        job.seed,
        np.array(taken, np.int32),
        np.array(considered, np.int32),
        np.array(advantages),
    )


def label_episodes(
    folder: Path,
    jobs: Sequence[Job],
    *,
    expert: dict[str, Any],
    label_share: float,
    exploration_share: float,
    workers: int,
) -> None:
    """Play and label episodes, and write a file for each; episodes that have one are left as they are.

    Args:
        folder: Gets the files.
        jobs: The episodes, as for `label_episode`.
        expert: As for `label_episode`.
        label_share: As for `label_episode`.
        exploration_share: As for `label_episode`.
        workers: Processes.
    """
    missing = [(path, job) for i, job in enumerate(jobs) if not (path := folder / f"{i:05}.npz").is_file()]
    run_jobs(
        functools.partial(label_episode, expert, label_share, exploration_share),
        [job for _, job in missing],
        workers=workers,
        doing=f"Labels in {folder.name}",
        done=lambda place, episode: write_episode(missing[place][0], episode),
    )


def write_episode(path: Path, episode: LabelledEpisode) -> None:
    """Write a labelled episode.

    Args:
        path: ``.../NAME.npz``.
        episode: The episode.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **episode._asdict())
    write_bytes(path, buffer.getvalue())


def read_episodes(folder: Path) -> list[LabelledEpisode]:
    """Read all labelled episodes of a folder.

    Args:
        folder: Of files that `write_episode` has written.

    Returns:
        The episodes, in the order of their files' names.

    Raises:
        FileNotFoundError: The folder holds none.
    """
    episodes = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as found:
            fields = {name: array if array.ndim else array.item() for name, array in found.items()}
            episodes.append(LabelledEpisode(**fields))
    if not episodes:
        raise FileNotFoundError(f"{folder}: expected labelled episodes, files *.npz")
    return episodes
