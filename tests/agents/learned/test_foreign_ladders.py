"""Ladders that nobody ships: learned agents take them as they are, and the student is about as good as rules there.

The whole comparison is a command:

    python evaluate.py run --scenarios tests/agents/learned/foreign/twelve.yml --agents ppo dqn student on_demand
"""

from pathlib import Path

import pytest

from agents import REGISTRY
from ppgym.benchmark.run import run_benchmark

FOREIGN = sorted((Path(__file__).parent / "foreign").glob("*.yml"))
LEARNED = ("ppo", "dqn", "student")
RULES = ("on_demand", "fixed_preload")
SESSIONS = 6


@pytest.mark.filterwarnings("ignore::agents.learned.training_range.OutsideTraining")
@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_learned_agents_play_a_ladder_that_they_have_never_seen(path: Path, tmp_path: Path) -> None:
    agents = [*LEARNED, *RULES]
    board = run_benchmark(REGISTRY, agents, [str(path)], sessions=SESSIONS, seed=500, output=tmp_path)
    qoe = {row.agent: row.qoe for row in board.rows}
    assert {row.invalid_actions for row in board.rows} == {0}
    assert {row.truncated for row in board.rows} == {0}
    best = max(qoe[rule] for rule in RULES)
    assert qoe["student"] > best - 0.3 * abs(best), qoe  # six sessions tell no more
