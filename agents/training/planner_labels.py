"""Lessons: episodes that some agent plays and the planner comments on, and the files that hold them.

A lesson is a recipe: scenario, seed, the actions taken, and at each decision the actions that the planner looked at,
with the advantage that it found. What a student sees is not in it: `agents.training.distillation` recomputes that by
replay, so that a lesson outlives any choice of features.
"""

import functools
import io
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from agents import make_agent
from agents.mcts import MCTSAgent
from ppgym.benchmark.episodes import Job
from ppgym.core.state import F4, I4
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes
from ppgym.planning.planner import posterior_advantage
from ppgym.world.scenario import Scenario

TEACHER = "mcts"
CONSIDERED = 16  # actions of a comment, at most
NOTHING = -1  # in place of an action: none there
SHARD = 32  # lessons a file


class Lesson(NamedTuple):
    """One episode with comments; T decisions, K = `CONSIDERED`."""

    scenario: str
    seed: int
    drawn_watch_s: float
    taken: I4  # [T] the actions
    considered: I4  # [T, K] the actions looked at; `NOTHING` where fewer, or no comment
    advantage: F4  # [T, K] of each over the first, in QoE, as rewards count at the decision


@functools.lru_cache(maxsize=16)
def _environment(scenario: str, split: str) -> PromptPreamEnv:
    return PromptPreamEnv(Scenario.parse(scenario), split)


def give_lesson(teacher: dict[str, Any], commented_share: float, stray_share: float, job: Job) -> Lesson:
    """Play an episode with comments.

    Args:
        teacher: Parameters of the planner.
        commented_share: Share of the decisions that it comments on.
        stray_share: Share of the commented decisions after which one of the actions looked at is taken by chance, so
            that the lesson shows the way back.
        job: The episode and who plays it; `TEACHER` is the teacher itself, who then comments on everything.

    Returns:
        The lesson.
    """
    env = _environment(job.scenario, job.split)
    rng = np.random.default_rng([job.seed, 1])
    # a planner that does not make every decision would time a transfer from the wrong one
    planner = MCTSAgent(env, seed=job.seed, **{"bandwidth_calibration": job.agent == TEACHER, **teacher})
    agent = None if job.agent == TEACHER else make_agent(job.agent, env, seed=job.seed, **job.params)
    observation, info = env.reset(seed=job.seed)
    taken, considered, advantages = [], [], []
    ended = False
    while not ended:
        mask = info["action_mask"].astype(np.bool_)
        looked_at, advantage = np.full(CONSIDERED, NOTHING), np.zeros(CONSIDERED, np.float32)
        commented = agent is None or rng.random() < commented_share
        if commented:
            action = planner.decide(env.planning_view(), mask)
            plan = planner.last_plan
            assert plan is not None, "it has just decided"
            count = len(plan.root_actions)
            looked_at[:count] = plan.root_actions
            advantage[:count] = posterior_advantage(
                plan.tree, plan.prior, plan.advantage_sd, planner.planner.parameters.prior_share
            )
        if agent is not None:
            action = int(agent.predict(observation, deterministic=True, action_masks=mask)[0])
        if commented and rng.random() < stray_share:
            action = int(rng.choice(looked_at[looked_at != NOTHING]))
        taken.append(action)
        considered.append(looked_at)
        advantages.append(advantage)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    return Lesson(
        job.scenario,
        job.seed,
        env.drawn_watch_s(),
        np.array(taken, np.int32),
        np.array(considered, np.int32),
        np.array(advantages),
    )


def give_lessons(
    folder: Path,
    jobs: Sequence[Job],
    *,
    teacher: dict[str, Any],
    commented_share: float,
    stray_share: float,
    workers: int,
) -> None:
    """Play episodes with comments and keep them, file by file; goes on where it was stopped.

    Args:
        folder: Gets the files.
        jobs: The episodes, as for `give_lesson`.
        teacher: As for `give_lesson`.
        commented_share: As for `give_lesson`.
        stray_share: As for `give_lesson`.
        workers: Processes.
    """
    console = Console(stderr=True)
    shards = [(k, jobs[k : k + SHARD]) for k in range(0, len(jobs), SHARD)]
    missing = [(k, shard) for k, shard in shards if not shard_path(folder, k).is_file()]
    todo = [job for _, shard in missing for job in shard]
    lessons = track(
        _map(functools.partial(give_lesson, teacher, commented_share, stray_share), todo, workers),
        description=f"Lessons in {folder.name}",
        total=len(todo),
        console=console,
        disable=not console.is_terminal,
    )
    source = iter(lessons)
    for k, shard in missing:
        write_lessons(shard_path(folder, k), [next(source) for _ in shard])


def _map(function: Any, jobs: Sequence[Job], workers: int) -> Iterator[Lesson]:
    if workers == 1:
        yield from map(function, jobs)
        return
    # Not forked: threads of a deep-learning library would not survive it
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, jobs)


def shard_path(folder: Path, first: int) -> Path:
    """The file that holds the lessons from this one on."""
    return folder / f"lessons-{first:05}.npz"


def write_lessons(path: Path, lessons: Sequence[Lesson]) -> None:
    """Write a file as a whole.

    Args:
        path: ``.../NAME.npz``.
        lessons: At least one.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        scenario=np.array([one.scenario for one in lessons]),
        seed=np.array([one.seed for one in lessons]),
        drawn_watch_s=np.array([one.drawn_watch_s for one in lessons]),
        length=np.array([len(one.taken) for one in lessons]),
        taken=np.concatenate([one.taken for one in lessons]).astype(np.int16),
        considered=np.concatenate([one.considered for one in lessons]).astype(np.int16),
        advantage=np.concatenate([one.advantage for one in lessons]),
    )
    write_bytes(path, buffer.getvalue())


def read_lessons(folder: Path) -> list[Lesson]:
    """Read all lessons of a folder.

    Args:
        folder: Of files that `write_lessons` has written.

    Returns:
        The lessons, in order.

    Raises:
        FileNotFoundError: The folder holds none.
    """
    lessons = []
    for path in sorted(folder.glob("lessons-*.npz")):
        with np.load(path) as found:
            ends = np.cumsum(found["length"])[:-1]
            columns = [np.split(found[name], ends) for name in ("taken", "considered", "advantage")]
            for scenario, seed, drawn_s, taken, considered, advantage in zip(
                found["scenario"], found["seed"], found["drawn_watch_s"], *columns, strict=True
            ):
                lessons.append(
                    Lesson(
                        str(scenario),
                        int(seed),
                        float(drawn_s),
                        taken.astype(np.int32),
                        considered.astype(np.int32),
                        advantage,
                    )
                )
    if not lessons:
        raise FileNotFoundError(f"{folder}: expected files lessons-*.npz")
    return lessons
