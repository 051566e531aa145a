"""What the student keeps of its teacher, and what the planner gains by the student's opinion; on held-out episodes.

    python -m agents.studies.student --output docs/results/student

plays paired episodes of the test split, and prints each difference with its interval. Records go beside the figures, so
that `python evaluate.py validate` replays them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from agents.studies.cached_episodes import play_once
from agents.studies.planner import difference, print_rows
from ppgym.benchmark.bootstrap import interval_of, resampled_means
from ppgym.benchmark.episodes import Job
from ppgym.benchmark.records import Record, qoe_of
from ppgym.files import write_text
from ppgym.world.scenario import DEFAULT_SCENARIO

TEACHER, STUDENT, BUDGET, GUIDED = "planner", "student", "planner, 512", "planner, 64, with the student's opinion"
PLAYERS: dict[str, tuple[str, Mapping[str, Any]]] = {
    TEACHER: ("mcts", {}),
    STUDENT: ("student", {}),
    "planner, 64": ("mcts", {"simulations": 64}),
    GUIDED: ("mcts", {"simulations": 64, "prior": "student"}),
    BUDGET: ("mcts", {"simulations": 512}),
}
"""Who plays: name, agent and parameters."""

COMPARED = ((STUDENT, TEACHER), (GUIDED, "planner, 64"), (GUIDED, BUDGET))


def study(
    *,
    scenario: str = DEFAULT_SCENARIO,
    episodes: int = 64,
    seed: int = 0,
    workers: int = 1,
    output: Path | None = None,
) -> None:
    """Play, compare and print.

    Args:
        scenario: network/device/viewer.
        episodes: Of each player.
        seed: First seed.
        workers: Processes.
        output: Folder for records.jsonl.gz and student.json. Episodes that it holds already are not played again. None
            writes nothing.
    """
    jobs = [
        Job(scenario, {}, "test", agent, params, seed + i)
        for agent, params in PLAYERS.values()
        for i in range(episodes)
    ]
    played = play_once(jobs, workers=workers, folder=output)
    by_name = {name: played[k * episodes :][:episodes] for k, name in enumerate(PLAYERS)}
    facts = {"scenario": scenario, "episodes": episodes, "seed": seed}
    summarise(by_name, facts, output)


def summarise(by_name: Mapping[str, Sequence[Record]], facts: Mapping[str, Any], output: Path | None) -> None:
    """Compare players, print and write.

    Args:
        by_name: What each player of `PLAYERS` made of the same episodes.
        facts: About them.
        output: As for `study`.
    """
    rows = [{"player": new, "against": old, **difference(by_name[new], by_name[old])} for new, old in COMPARED]
    student, teacher = qoe_of(by_name[STUDENT]), qoe_of(by_name[TEACHER])
    low, high = interval_of(resampled_means(student) / resampled_means(teacher))
    share = {"mean": float(student.mean() / teacher.mean()), "ci95": [low, high]}
    means = {name: float(qoe_of(cell).mean()) for name, cell in by_name.items()}
    if output is not None:
        found = {"qoe_mean": means, "share_of_teacher": share, "differences": rows}
        write_text(output / "student.json", json.dumps(dict(facts) | found, indent=1) + "\n")
    print_rows("QoE of players, and how it differs over the same episodes", rows)
    for name, mean in means.items():
        print(f"{name}: {mean:.1f}")
    print(f"the student's share of its teacher's QoE: {share['mean']:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    tyro.cli(study)
