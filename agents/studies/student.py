"""How much of the planner's QoE its student keeps, and what the planner gains by the student's opinion.

    python -m agents.studies.student --output docs/results/student

plays paired sessions of the test split and prints each difference with its interval. The output folder holds records as
well, which `python evaluate.py validate` replays.
"""

from pathlib import Path

import tyro

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import compare, print_differences
from ppgym.benchmark.estimates import ratio_estimate
from ppgym.benchmark.records import returns_and_minutes
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
    *, scenario: str = DEFAULT_SCENARIO, sessions: int = 64, seed: int = 0, workers: int = 1, output: Path | None = None
) -> None:
    """Play, compare and print.

    Args:
        scenario: network/device/viewer.
        sessions: Of each player.
        seed: First seed.
        workers: Processes.
        output: Folder for records.jsonl.gz and student.json. Sessions that it holds already are not played again. None
            writes nothing.
    """
    variants = list(PLAYERS.values())
    cells = play_variants(
        variants,
        scenario=scenario,
        sessions=sessions,
        seed=seed,
        workers=workers,
        output=output,
        figures=("student.json",),
    )
    played = dict(zip(PLAYERS, cells, strict=True))
    facts = {"scenario": scenario, "sessions": sessions, "seed": seed}
    rows = [{"player": new, "against": old, **compare(played[new], played[old])} for new, old in COMPARED]
    sums = {name: returns_and_minutes(sessions) for name, sessions in played.items()}
    share = ratio_estimate(sums[STUDENT][0], sums[TEACHER][0])
    qoe = {name: float(returns.sum() / minutes.sum()) for name, (returns, minutes) in sums.items()}
    if output is not None:
        found = {
            "qoe": qoe,
            "share_of_teacher": {"value": share.value, "ci95": share.ci95},
            "differences": rows,
        }
        write_json(output / "student.json", facts | found)
    print_differences("QoE of players, and how it differs over the same sessions", rows)
    for name, figure in qoe.items():
        print(f"{name}: {figure:.1f}")
    interval = "" if share.ci95 is None else " ({:.1%} to {:.1%})".format(*share.ci95)
    print(f"the student's share of its teacher's QoE: {share.value:.1%}{interval}")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(make_student_table), extra="rl")
