"""Judging the paper's claims: hand-worked points."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from agents import is_ranked, make_agent
from agents.studies import paper_claims as claims
from agents.studies import planner as planner_study
from agents.studies.cached_episodes import Variant
from agents.studies.explanation import print_explanation
from agents.studies.paper_claims import (
    ABLATIONS,
    PLANNER_SWEEP,
    SWEEPS,
    WASTE_ALONE,
    Point,
    ablate,
    judge,
    judge_alone,
    name_of,
    print_claims,
    relative_gain,
)
from ppgym.benchmark.run import check_run
from ppgym.env import PromptPreamEnv
from ppgym.planning.pruning import DEFAULT_RULES, RULES
from ppgym.world.scenario import DEFAULT_SCENARIO


def point(agent: str, returns: list[float], stall_s: list[float], wasted_mbit: list[float], **params: Any) -> Point:
    return Point(agent, params, np.array(returns), np.array(stall_s), np.array(wasted_mbit), np.ones(len(returns)))


def test_the_best_pixel_point_is_what_the_planner_is_measured_by() -> None:
    pixels = [
        point("static", [10.0, 30.0], [4.0, 4.0], [2.0, 2.0], each=1),
        point("static", [9.0, 29.0], [0.0, 0.0], [0.0, 0.0], each=2),
    ]
    planner = [
        point("mcts", [20.0, 40.0], [6.0, 4.0], [1.0, 1.0]),  # fewer Mbit, more stalls
        point("mcts", [18.0, 40.0], [2.0, 3.0], [2.5, 2.0], waste_weight=0.5),  # fewer stalls, more Mbit
        point("mcts", [17.0, 35.0], [4.0, 3.0], [2.0, 0.5], waste_weight=2.0),  # both at most
    ]
    qoe, stalls, waste = judge("low", pixels, planner)
    assert qoe["baseline"] == "static each=1"
    assert qoe["gain"] == pytest.approx(0.5) and qoe["holds"] == "holds"
    assert stalls["planner"] == "mcts waste_weight=2"
    assert stalls["gain"] == pytest.approx(1 / 8) and stalls["holds"] == "does not hold"
    assert waste["planner"] == "mcts waste_weight=2"
    assert waste["gain"] == pytest.approx(1.5 / 4) and waste["holds"] == "holds"
    assert (qoe["episodes"], qoe["qoe_difference"]) == (2, 0.0)
    assert stalls["qoe_difference"] == pytest.approx(-4.0) and stalls["qoe_ci95"] is None


def test_a_claim_without_a_point_that_meets_its_condition_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    pixels = [point("static", [10.0], [1.0], [1.0])]
    claims = judge("low", pixels, [point("mcts", [20.0], [2.0], [2.0])])
    assert [claim["holds"] for claim in claims] == ["holds", "does not hold", "does not hold"]
    assert claims[1]["planner"] is None and np.isnan(claims[1]["gain"])
    results = {"claims": claims, "alone": claims[1:], "ablations": [], "pruning": [{"scenario": "low/none/typical"}]}
    print_claims(results)
    printed = capsys.readouterr().out
    assert "QoE +45%" in printed and "none" in printed and "nan" not in printed


def test_a_part_is_judged_without_it_and_a_rule_that_is_left_out_with_it() -> None:
    default, worse, better = (
        point("mcts", returns * 8, [0.0] * 16, [0.0] * 16) for returns in ([10.0, 20.0], [8.0, 19.0], [11.0, 22.0])
    )
    rows = ablate("low", default, {"no a": worse, "no b": better, "with rule c": worse, "with rule d": better})
    assert [row["holds"] for row in rows] == ["holds", "does not hold", "does not hold", "holds"]


def test_what_one_weight_does_alone_is_compared_in_the_episodes_that_all_have() -> None:
    pixels = [point("static", [10.0, 10.0], [4.0, 2.0], [2.0, 2.0]), point("static", [9.0, 9.0], [0.0] * 2, [0.0] * 2)]
    planner = [
        point("mcts", [20.0, 30.0], [6.0, 0.0], [1.0, 0.0]),
        point("mcts", [18.0], [1.0], [2.0], waste_weight=2.0),
    ]
    stalls, waste = judge_alone("low", pixels, planner)
    assert (stalls["episodes"], stalls["baseline"]) == (1, "static")
    assert stalls["planner"] == waste["planner"] == "mcts waste_weight=2"
    assert stalls["gain"] == pytest.approx(0.75) and waste["gain"] == pytest.approx(0.0)
    assert stalls["qoe_difference"] == pytest.approx(-2.0)


def test_gains_are_relative_to_the_size_of_what_is_improved() -> None:
    gain = relative_gain(np.array([-6.0, -2.0] * 8), np.array([-10.0, -6.0] * 8))
    assert gain.value == pytest.approx(0.5)
    # residuals 4 - 0.5 x 10 = -1 and 4 - 0.5 x 6 = 1, relative to a mean of 8
    half = stats.t.ppf(0.975, 15) * np.std([-1.0, 1.0] * 8, ddof=1) / 4.0 / 8.0
    assert gain.ci95 == pytest.approx((0.5 - half, 0.5 + half))


def test_an_ablation_shows_its_paired_difference() -> None:
    default, even, uneven, few = (
        point("mcts", returns, [0.0] * len(returns), [0.0] * len(returns))
        for returns in ([10.0, 20.0] * 8, [8.0, 18.0] * 8, [8.0, 23.0] * 8, [8.0, 18.0])
    )
    (row,) = ablate("low", default, {"no prompts": even})
    assert row["difference"] == pytest.approx(-2.0)
    assert row["ci95"] == pytest.approx((-2.0, -2.0))
    assert row["holds"] == "holds"
    (row,) = ablate("low", default, {"one unit": uneven})
    assert row["holds"] == "does not hold"
    (row,) = ablate("low", few, {"no prompts": few._replace(returns=few.returns - 2.0)})
    assert (row["difference"], row["ci95"], row["holds"]) == (-2.0, None, "does not hold")


def test_every_point_can_be_made() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    settings = [(agent, params) for agent, sweep in SWEEPS.items() for params in sweep]
    settings += [("mcts", params) for params in (*PLANNER_SWEEP, *WASTE_ALONE)]
    settings += [(variant.agent, variant.params) for variant in ABLATIONS.values()]
    for agent, params in settings:
        make_agent(agent, env, seed=0, **params)
    assert PLANNER_SWEEP[0] == {}, "the default is judged for its QoE"
    assert {"waste_weight": 4.0, "stall_weight": 2.0} in PLANNER_SWEEP
    unsafe = [rule for rule in RULES if not rule.safe]
    assert all(f"{'no' if rule in DEFAULT_RULES else 'with'} rule {rule.name}" in ABLATIONS for rule in unsafe)
    assert ABLATIONS["with rule canonical_order"].params["pruning"] == [rule.name for rule in RULES]
    others = ["dominated_unit", "dominated_representation", "negligible_stall"]
    assert ABLATIONS["no rule late_prompt"].params["pruning"] == others
    assert name_of(point("pdas", [1.0], [0.0], [0.0], buffer_s=2.0)) == "pdas buffer_s=2"


def test_the_commands_play_print_and_write_what_they_judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "SWEEPS", {"static": ({},), "no_save": ({},)})
    monkeypatch.setattr(claims, "ABLATIONS", {"no prompts": Variant(claims.ABLATED, {"prompts": False})})
    monkeypatch.setattr(claims, "PLANNER_SWEEP", ({}, {"waste_weight": 4.0, "stall_weight": 2.0}))
    monkeypatch.setattr(claims, "WASTE_ALONE", ({"waste_weight": 4.0},))
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "claims"
    claims.check_claims((DEFAULT_SCENARIO,), episodes=1, output=folder)
    written = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert [claim["claim"].split()[0] for claim in written["claims"]] == ["QoE", "fewer", "less"]
    assert [row["claim"].split()[0] for row in written["alone"]] == ["fewer", "less"]
    assert [row["ablation"] for row in written["ablations"]] == ["no prompts"]
    (pruned,) = written["pruning"]
    assert pruned["left"] == pytest.approx(pruned["legal"] - sum(pruned[rule.name] for rule in DEFAULT_RULES))
    assert 0.0 < pruned["canonical_order"] < pruned["left"]
    assert check_run(folder, is_ranked).records == 6
    printed = capsys.readouterr().out
    assert "holds" in printed and max(map(len, printed.splitlines())) <= 80

    claims.check_claims(("medium/rtx-4090/typical",), episodes=1, ablations=False, output=folder)
    both = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert both["ablations"] == written["ablations"] and both["claims"][:3] == written["claims"]
    assert [claim["scenario"] for claim in both["claims"]] == [DEFAULT_SCENARIO] * 3 + ["medium/rtx-4090/typical"] * 3
    assert check_run(folder, is_ranked).records == 6 + 5

    monkeypatch.setattr(planner_study, "BUDGETS", (4, 8))
    monkeypatch.setattr(planner_study, "BELIEVERS", {name: {"agent": name} for name in ("pdas", "dashlet")})
    monkeypatch.setattr(planner_study, "THINKERS", ("greedy",))
    planner_study.make_planner_tables(episodes=1, output=tmp_path / "study")
    written = json.loads((tmp_path / "study" / "study.json").read_text(encoding="utf-8"))
    assert [row["simulations"] for row in written["budget"]] == [4, 8]
    assert written["wrong belief"][0]["difference"] == 0.0 and len(written["wrong belief"]) == 2 * len(
        planner_study.ERRORS
    )
    for gained, *rows in zip(
        written["bandwidth calibration"], written["wrong belief"][:5], written["wrong belief"][5:], strict=True
    ):
        assert gained["error"] == rows[0]["error"] == rows[1]["error"]
        assert gained["difference"] == pytest.approx(rows[0]["qoe"] - rows[1]["qoe"])
    assert [row["charged"] for row in written["thinking time"]] == [False, True]
    assert check_run(tmp_path / "study", is_ranked).records == 2 + 2 * len(planner_study.ERRORS) + 2


def test_an_explanation_begins_with_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(DEFAULT_SCENARIO, seed=0, decision=2, simulations=32)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{DEFAULT_SCENARIO}, seed 0, decision 2")
    with pytest.raises(ValueError, match="before the episode's end"):
        print_explanation(DEFAULT_SCENARIO, seed=0, decision=10_000, simulations=1)
