"""Tables of a terminal: 80 columns hold them, long names fold, and no figure does."""

import io
from typing import Any

import pytest
from rich.console import Console

from ppgym.benchmark.summary import Board, Row, Standing
from ppgym.benchmark.tables import print_board, to_markdown
from ppgym.world.ladders import QUALITY_UNIT

LONG = "mypackage.policies:MyAgent"
AGENTS = (LONG, "fixed_preload", "mcts", "clairvoyant")
SCENARIOS = ("medium/snapdragon-8-gen-3/typical", "mixed/rtx-4090/typical")
BOUND = {"bound": 1240.4, "bound_ci95": (-1200.0, 1260.5), "share": 0.55, "share_ci95": (0.4, 0.7)}
VERSUS = {"baseline": "on_demand", "difference": -1234.5, "difference_ci95": (-2345.0, -124.0), "improvement": 1.0}


def row(scenario: str, agent: str, **more: Any) -> Row:
    return Row(
        scenario=scenario,
        agent=agent,
        sessions=256,
        traces=12,
        qoe=-1234.5,
        qoe_ci95=(-2345.5, -123.5),
        qoe_relative=-11.0,
        stall_ratio=1.0,
        waste_ratio=1.0,
        wasted_mbit_per_min=12.0,
        energy_j_per_min=90.0,
        quality_mean=10.25,
        quality_unit=QUALITY_UNIT,
        terms={},
        generative_share=0.5,
        utilisation={},
        truncated=3,
        idle_waits=1200,
        invalid_actions=0,
        videos_starved=1,
        decision_ms_p50=1200.0,
        decision_ms_p99=2200.0,
        ranked=agent != "clairvoyant",
        **more,
    )


def standing(agent: str) -> Standing:
    ranked = agent != "clairvoyant"
    return Standing(agent, 2, -1234.5, (-2345.5, -123.5), -11.0, ranked, **VERSUS)


@pytest.mark.parametrize("more", [{}, BOUND, BOUND | {"share": -3.0}, VERSUS, VERSUS | BOUND])
def test_80_columns_hold_the_widest_figures_and_a_long_name(more: dict[str, Any]) -> None:
    rows = [row(scenario, agent, **more) for scenario in SCENARIOS for agent in AGENTS]
    console = Console(width=80, file=io.StringIO())
    print_board(Board(rows, [standing(agent) for agent in AGENTS]), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    of_scenarios, of_all = text.split("All 2 scenarios")
    for figure in ("-1234 ±1111", "100.0%", "10.25", " 1200"):
        assert of_scenarios.count(figure) >= len(rows), figure
    for figure in ("-1234 ±1111", "-1234 ±1110", "100%"):
        assert of_all.count(figure) >= len(AGENTS), figure
    # the name folds within its own column, and nothing else stands on those lines
    for at in (i for i, line in enumerate(lines) if line.startswith(" mypack")):
        name = lines[at].split()[0]
        while name != LONG:
            at += 1
            (part,) = lines[at].split()
            name += part


def test_what_went_wrong_stands_below_the_table() -> None:
    rows = [row(SCENARIOS[0], agent) for agent in ("mcts", "on_demand")]
    console = Console(width=80, file=io.StringIO())
    print_board(Board(rows, []), console)
    notes = " ".join(console.file.getvalue().split("1200\n")[-1].split())  # type: ignore[attr-defined]
    assert "sessions truncated; mcts 3, on_demand 3" in notes
    assert "videos starved: left in a stall while the chunk to play was not requested; mcts 1, on_demand 1" in notes
    assert "waits in a stall while a request was legal; mcts 1,200, on_demand 1,200" in notes
    assert "illegal" not in notes
    assert f"{SCENARIOS[0]}, 256 sessions, given these 12 traces" in console.file.getvalue()  # type: ignore[attr-defined]
    markdown = to_markdown(Board(rows, []))
    assert "- sessions truncated; mcts 3, on_demand 3" in markdown
