"""How much of the planner's QoE its student keeps, and what the planner gains by the student's opinion.

    python -m agents.studies.student --output docs/results/student

plays paired episodes of the test split and prints each difference with its interval. The output folder holds records as
well, which `python evaluate.py validate` replays.
"""

from pathlib import Path

import tyro

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import paired_difference, print_differences
from ppgym.benchmark.bootstrap import interval_of, resampled_means
from ppgym.benchmark.records import qoe_of
from ppgym.commandline import run_command
from ppgym.files import write_json
from ppgym.world.scenario import DEFAULT_SCENARIO

TEACHER, STUDENT, BUDGET, GUIDED = "planner", "student", "planner, 512", "planner, 64, with the student's opinion"
PLAYERS: dict[str, Variant] = {
    TEACHER: Variant("mcts"),
    STUDENT: Variant("student"),
    "planner, 64": Variant("mcts", {"simulations": 64}),
    GUIDED: Variant("mcts", {"simulations": 64, "prior": "student"}),
    BUDGET: Variant("mcts", {"simulations": 512}),
}
COMPARED = ((STUDENT, TEACHER), (GUIDED, "planner, 64"), (GUIDED, BUDGET))


def make_student_table(
    *, scenario: str = DEFAULT_SCENARIO, episodes: int = 64, seed: int = 0, workers: int = 1, output: Path | None = None
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
    played = play_variants(
        list(PLAYERS.values()), scenario=scenario, episodes=episodes, seed=seed, workers=workers, output=output
    )
    qoe = dict(zip(PLAYERS, map(qoe_of, played), strict=True))
    facts = {"scenario": scenario, "episodes": episodes, "seed": seed}
    rows = [{"player": new, "against": old, **paired_difference(qoe[new], qoe[old])} for new, old in COMPARED]
    student, teacher = qoe[STUDENT], qoe[TEACHER]
    low, high = interval_of(resampled_means(student) / resampled_means(teacher))
    share = {"mean": float(student.mean() / teacher.mean()), "ci95": [low, high]}
    means = {name: float(of_player.mean()) for name, of_player in qoe.items()}
    if output is not None:
        found = {"qoe_mean": means, "share_of_teacher": share, "differences": rows}
        write_json(output / "student.json", facts | found)
    print_differences("QoE of players, and how it differs over the same episodes", rows)
    for name, mean in means.items():
        print(f"{name}: {mean:.1f}")
    print(f"the student's share of its teacher's QoE: {share['mean']:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(make_student_table), extra="rl")
