"""Tables of a terminal: 80 columns hold them, long names fold, and no figure does."""

import io
from typing import Any

import pytest
from rich.console import Console

from ppgym.benchmark.summary import Board, Row, Standing
from ppgym.benchmark.tables import print_board

LONG = "mypackage.policies:MyAgent"
AGENTS = (LONG, "fixed_preload", "mcts", "clairvoyant")
SCENARIOS = ("medium/snapdragon-8-gen-3/typical", "mixed/rtx-4090/typical")
BOUND = {"bound_mean": 1240.4, "bound_ci95": (-1200.0, 1260.5), "share": 0.55, "share_ci95": (0.4, 0.7)}
VERSUS = {"baseline": LONG, "difference": -1234.5, "improvement": 1.0}


def row(scenario: str, agent: str, **more: Any) -> Row:
    return Row(
        scenario=scenario,
        agent=agent,
        episodes=256,
        qoe_mean=-1234.5,
        qoe_ci95=(-2345.6, -1111.1),
        iqm=-1200.0,
        iqm_ci95=(-2300.0, -1100.0),
        stall_ratio=1.0,
        waste_ratio=1.0,
        wasted_mbit_per_min=12.0,
        quality_mean=10.25,
        terms={},
        prompt_share=0.5,
        utilisation={},
        decision_ms_p50=1200.0,
        decision_ms_p99=2200.0,
        ranked=agent != "clairvoyant",
        **more,
    )


def standing(agent: str) -> Standing:
    ranked = agent != "clairvoyant"
    return Standing(agent, 2, -1234.5, (-2345.6, -1111.1), -1200.0, (-2300.0, -1100.0), ranked, **VERSUS)


@pytest.mark.parametrize("more", [{}, BOUND, BOUND | {"share": -3.0}])
def test_80_columns_hold_the_widest_figures_and_a_long_name(more: dict[str, Any]) -> None:
    rows = [row(scenario, agent, **more) for scenario in SCENARIOS for agent in AGENTS]
    console = Console(width=80, file=io.StringIO())
    print_board(Board(rows, [standing(agent) for agent in AGENTS]), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    of_scenarios, of_all = text.split("All 2 scenarios")
    for figure in ("-1234", "-2346 to -1111", "100.0%", "10.25", " 1200"):
        assert of_scenarios.count(figure) >= len(rows), figure
    for figure in ("-1234", "-2346 to -1111", "-1200", "100%"):
        assert of_all.count(figure) >= len(AGENTS), figure
    # the name folds within its own column, and nothing else stands on those lines
    for at in (i for i, line in enumerate(lines) if line.startswith(" mypack")):
        name = lines[at].split()[0]
        while name != LONG:
            at += 1
            (part,) = lines[at].split()
            name += part
