"""Where the time goes: shares of functions that are known, each kind of work once, and the page between its marks."""

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from agents.cli import speed
from agents.studies.time_shares import (
    BEGIN,
    END,
    Shares,
    evaluated_session,
    planner_decision,
    print_shares,
    profile,
    training_step,
    vector_step,
    write_page,
)
from agents.training.config import HYPERPARAMS
from ppgym.core.content import position_s
from ppgym.core.jit import njit

PAGE = Path(__file__).parents[3] / "docs" / "simulator.md"
MEASURED = [
    Shares("step", 4.4149, {"transition": 0.051, "the rest": 0.949}),
    Shares("session", 66_800.0, {"decisions": 1.0}),
]


@njit
def spin(turns: int) -> float:
    total = 0.0
    for turn in range(turns):
        total += 1.0 / (1.0 + turn)
    return total


def loop(turns: int) -> float:
    return float(sum(1.0 / (1.0 + turn) for turn in range(turns)))


def check(found: Shares) -> None:
    assert found.microseconds > 0.0
    assert all(-1e-9 <= share <= 1.0 for share in found.shares.values())
    assert sum(found.shares.values()) == pytest.approx(1.0)


def test_a_share_is_that_of_the_functions_named_compiled_ones_included() -> None:
    spin(1)

    def run() -> float:
        return spin(2_000_000) + loop(20_000) + 0.0 * loop(20_000)

    found = profile("both", run, {"compiled": [spin], "loops": [loop], "never": [position_s]}, "rest")
    check(found)
    assert found.shares["compiled"] > 0.0 and found.shares["loops"] > 0.0 and found.shares["never"] == 0.0
    assert found.shares["rest"] < 0.5
    together = profile("both", run, {"all": [spin, loop]}, "rest")
    assert together.shares["all"] > 0.5


def test_each_kind_of_work_is_measured(tmp_path: Path) -> None:
    params = yaml.safe_load((HYPERPARAMS / "ppo.yml").read_text())
    small = {"n_envs": 2, "n_steps": 8, "batch_size": 8, "n_epochs": 1, "worlds": None, "warm_start": None}
    params["PromptPream-v0"] |= small
    path = tmp_path / "small.yml"
    path.write_text(yaml.safe_dump(params))
    for found in (vector_step(32, 50), planner_decision(2), training_step(1, path), evaluated_session("greedy", 1)):
        check(found)
        assert all(share > 0.0 for name, share in found.shares.items() if name != "new episodes"), found


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}old\n{END}after\n")
    write_page(path, MEASURED)
    before, rest = path.read_text().split(BEGIN)
    made, after = rest.split(END)
    assert (before, after) == ("before\n", "after\n")
    lines = made.splitlines()
    assert lines[2] == "| step | 4.41 µs | transition 5 %, the rest 95 % |"
    assert lines[3] == "| session | 66.8 ms | decisions 100 % |"
    assert lines[5].startswith("Measured by `python evaluate.py speed --where")
    path.write_text("no marks\n")
    with pytest.raises(ValueError, match=r"page.md: expected the lines"):
        write_page(path, MEASURED)
    assert PAGE.read_text().count(BEGIN) == PAGE.read_text().count(END) == 1


def test_as_json_it_is_all_there() -> None:
    output = io.StringIO()
    print_shares(MEASURED, as_json=True, console=Console(file=output))
    assert [Shares(**one) for one in json.loads(output.getvalue())] == MEASURED


def test_a_page_without_where_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--readme: expected --where"):
        speed(readme=tmp_path / "page.md")
