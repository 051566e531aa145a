"""Judging the paper's claims: hand-worked points, and a small run of the command."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from agents import REGISTRY, make_agent
from agents.studies import ablation_table, paper_claims
from agents.studies.ablations import ABLATED
from agents.studies.cached_episodes import Variant
from agents.studies.paper_claims import (
    AT_ONCE,
    CLAIMS,
    FIRST_SESSION,
    KNOB,
    MEASURES,
    NO_WORSE,
    PIXEL_SWEEP,
    PLANNER,
    REAL,
    REAL_DATA,
    SCENARIOS,
    Point,
    check_claims,
    choose,
    compare,
    find_place,
    frontier,
    judge,
    relative_gain,
)
from ppgym.benchmark.episodes import session_seed
from ppgym.benchmark.records import read_records
from ppgym.benchmark.traces import Traces
from ppgym.benchmark.validation import check_run
from ppgym.env import PromptPreamEnv
from ppgym.planning.pruning import RULES
from ppgym.world.scenario import DEFAULT_SCENARIO

QOE, STALLS, WASTE, BOTH, ALL = CLAIMS
RNG = np.random.default_rng(3)


def point(name: str, returns: list[float], stall_s: list[float], wasted_mbit: list[float], **params: Any) -> Point:
    """Sessions of two minutes each."""
    good = np.array([returns, np.negative(stall_s), np.negative(wasted_mbit)])
    return Point(Variant(name, params), good, np.full(len(returns), 2.0))


def one(name: str, returns: float, stall_s: float, wasted_mbit: float) -> Point:
    return point(name, [returns], [stall_s], [wasted_mbit])


# --- the frontier -----------------------------------------------------------------------------------------------------


def test_a_baseline_is_what_no_other_point_beats() -> None:
    points = [
        one("best QoE", 30.0, 5.0, 5.0),
        one("beaten", 29.0, 5.0, 5.0),
        one("fewest stalls", 10.0, 1.0, 9.0),
        one("least waste", 10.0, 9.0, 1.0),
        one("beaten in waste alone", 30.0, 5.0, 5.5),
        one("a mixture", 20.0, 4.0, 4.0),
        one("best QoE again", 30.0, 5.0, 5.0),
    ]
    names = [each.name for each in frontier(points)]
    assert names == ["best QoE", "fewest stalls", "least waste", "a mixture"]


@given(some.lists(some.tuples(*[some.integers(0, 3)] * 3), min_size=1, max_size=8))
def test_every_point_off_the_frontier_is_beaten_by_one_on_it(triples: list[tuple[int, int, int]]) -> None:
    points = [one(str(place), *map(float, triple)) for place, triple in enumerate(triples)]
    kept = frontier(points)
    sums = {tuple(each.sums) for each in kept}
    assert len(sums) == len(kept) > 0
    for each in points:
        assert any((other.sums >= each.sums).all() for other in kept)
    for each in kept:
        assert not any((other.sums >= each.sums).all() for other in kept if other is not each)


# --- gains ------------------------------------------------------------------------------------------------------------


def test_gains_are_relative_to_the_size_of_what_is_improved() -> None:
    gain = relative_gain(np.array([-6.0, -2.0] * 8), np.array([-10.0, -6.0] * 8))
    assert gain.value == pytest.approx(0.5)
    # residuals 4 - 0.5 x 10 = -1 and 4 - 0.5 x 6 = 1, relative to a mean of 8
    half = stats.t.ppf(0.975, 15) * np.std([-1.0, 1.0] * 8, ddof=1) / 4.0 / 8.0
    assert gain.ci95 == pytest.approx((0.5 - half, 0.5 + half))
    assert relative_gain(np.array([3.0]), np.array([-2.0])).value == pytest.approx(2.5)
    nothing = np.zeros(2)
    assert relative_gain(nothing, nothing).value == 0.0
    assert relative_gain(np.array([0.0, -1.0]), nothing).value == -math.inf


def test_a_comparison_by_hand() -> None:
    """Gains in points and per cent, and the p value of the one that is least certain."""
    old = point("static", [20.0, 40.0] * 8, [10.0, 10.0] * 8, [8.0, 12.0] * 8, each=2)
    new = point("mcts", [40.0, 50.0] * 8, [5.0, 7.0] * 8, [8.0, 11.0] * 8, waste_weight=2.0)
    row = compare(STALLS, new, old)
    assert (row["setting"], row["baseline"]) == ("mcts waste_weight=2", "static each=2")
    assert [row["gains"][measure]["relative"] for measure in MEASURES] == pytest.approx([0.5, 0.4, 0.05])
    assert [row["gains"][measure]["points"] for measure in MEASURES] == pytest.approx([7.5, 2.0, 0.25])
    assert row["margin"] == pytest.approx(0.05 + NO_WORSE)  # of the waste, which is no more
    error = np.std([1.0, -1.0] * 8, ddof=1) / 4.0 / 10.0  # residuals 5 - 0.4 x 10 and 3 - 0.4 x 10
    assert row["p"] == pytest.approx(stats.norm.sf((0.4 - 0.31) / error))

    whole = compare(ALL, new, old)
    assert whole["margin"] == pytest.approx(0.05 - 0.31)
    assert whole["p"] > 0.99
    assert compare(QOE, new, old)["margin"] == pytest.approx(0.05)


def test_a_condition_that_does_not_hold_refutes_a_claim() -> None:
    old = point("static", [20.0, 40.0] * 8, [10.0, 10.0] * 8, [8.0, 12.0] * 8)
    frugal = point("mcts", [18.0, 40.5] * 8, [5.0, 6.0] * 8, [8.0, 11.0] * 8)  # QoE falls by 2.5 %
    greedy = point("mcts", [20.0, 41.0] * 8, [5.0, 6.0] * 8, [8.0, 12.5] * 8)  # waste rises by 2.5 %
    for new in (frugal, greedy):
        row = compare(STALLS, new, old)
        assert row["gains"]["stalls"]["relative"] == pytest.approx(0.45)
        assert row["margin"] == pytest.approx(NO_WORSE - 0.025) and row["p"] > 0.5


def test_a_condition_is_as_uncertain_as_its_measure() -> None:
    """By hand: a waste that is equal on average, with a standard error of 1 / 4 / 10."""
    old = point("static", [20.0, 40.0] * 8, [10.0, 10.0] * 8, [10.0, 10.0] * 8)
    new = point("mcts", [40.0, 61.0] * 8, [4.9, 5.1] * 8, [9.0, 11.0] * 8)
    error = np.std([1.0, -1.0] * 8, ddof=1) / 4.0 / 10.0
    assert compare(STALLS, new, old)["p"] == pytest.approx(stats.norm.sf(NO_WORSE / error))
    none = point("static", [20.0, 40.0] * 8, [10.0, 10.0] * 8, [0.0] * 16)
    never = point("mcts", [40.0, 61.0] * 8, [5.0, 5.5] * 8, [0.0] * 16)
    assert compare(STALLS, never, none)["p"] < 1e-6, "no waste is no more than none"
    assert compare(WASTE, never, none)["p"] == 1.0
    once = point("mcts", [40.0, 61.0] * 8, [5.0, 5.5] * 8, [0.0] * 15 + [1.0])
    assert compare(STALLS, once, none)["p"] == 1.0


def test_a_claim_whose_condition_is_false_seldom_passes() -> None:
    """Stalls fall by 60 %, as claimed, and waste rises by 2 %: fewer than 5 % of boards say that the claim holds."""
    rng, held, boards = np.random.default_rng(0), 0, 300
    for _ in range(boards):
        minutes = rng.exponential(2.0, 256) + 0.05
        old = np.array([40.0 * minutes, -20.0 * minutes, -10.0 * minutes * (1.0 + rng.normal(0.0, 0.3, 256))])
        new = old + np.array([minutes + rng.normal(0.0, 8.0, 256), 12.0 * minutes, 0.02 * old[2]])
        new[2] += rng.normal(0.0, 6.0, 256)
        row = compare(STALLS, Point(Variant("mcts"), new, minutes), Point(Variant("static"), old, minutes))
        [claim] = judge([row | {"scenario": "low", "against": "pixel policies"}])
        held += claim["verdict"] == "holds"
    assert held < 0.05 * boards


def test_intervals_are_over_traces_where_there_are_enough_files() -> None:
    clusters = np.repeat(np.arange(32), 2)
    old = point("static", [30.0] * 64, [10.0] * 64, [8.0] * 64)
    new = point("mcts", np.repeat(RNG.normal(50.0, 5.0, 32), 2).tolist(), [5.0] * 64, [8.0] * 64)
    alone = compare(QOE, new, old)
    shared = compare(QOE, new._replace(traces=Traces(32, clusters)), old)
    for key in ("points_ci95", "relative_ci95"):
        widths = [high - low for low, high in (row["gains"]["qoe"][key] for row in (alone, shared))]
        assert widths[1] > 1.2 * widths[0]
    assert (alone["given_traces"], shared["given_traces"]) == ("", "")
    assert compare(QOE, new._replace(traces=Traces(5)), old)["given_traces"] == ", given these 5 traces"


def test_too_few_sessions_tell_nothing() -> None:
    row = compare(QOE, one("mcts", 90.0, 1.0, 1.0), one("static", 30.0, 1.0, 1.0))
    assert (row["margin"], row["p"]) == (pytest.approx(2.0 - 0.45), 1.0)
    assert row["gains"]["qoe"]["relative_ci95"] is None


# --- what is chosen ---------------------------------------------------------------------------------------------------


def test_a_setting_is_chosen_for_what_the_claim_needs() -> None:
    baseline = one("static", 20.0, 10.0, 10.0)
    settings = [
        one("best QoE", 40.0, 10.0, 12.0),
        one("fewest stalls", 30.0, 2.0, 11.0),
        one("fewer stalls", 25.0, 6.5, 9.0),
        one("less waste", 21.0, 9.5, 4.0),
        one("all", 30.0, 6.0, 6.0),
    ]
    chosen = {claim: choose(needed, settings, [baseline]).agent for claim, needed in CLAIMS.items()}
    assert chosen == {QOE: "best QoE", STALLS: "all", WASTE: "all", BOTH: "all", ALL: "all"}
    chosen = {claim: choose(needed, settings[:-1], [baseline]).agent for claim, needed in CLAIMS.items()}
    alone = {QOE: "best QoE", STALLS: "fewer stalls", WASTE: "less waste"}
    assert chosen == alone | {BOTH: "fewer stalls", ALL: "fewer stalls"}


def test_one_setting_is_chosen_for_the_hardest_of_several_baselines() -> None:
    baselines = [one("smooth", 20.0, 4.0, 10.0), one("frugal", 20.0, 10.0, 4.0)]
    smooth, frugal, both = one("A", 40.0, 1.0, 9.0), one("B", 40.0, 9.0, 1.0), one("C", 30.0, 2.5, 2.5)
    settings = [smooth, frugal, both]
    assert choose(CLAIMS[ALL], settings, baselines).agent == "C"
    assert [choose(CLAIMS[STALLS], settings, [baseline]).agent for baseline in baselines] == ["A", "C"]
    assert {BOTH, ALL} == AT_ONCE


def comparison(p: float, margin: float, scenario: str = "low", claim: str = QOE, baseline: str = "a") -> dict[str, Any]:
    return {
        "scenario": scenario,
        "claim": claim,
        "against": "pixel policies",
        "baseline": baseline,
        "given_traces": "",
        "p": p,
        "margin": margin,
    }


def test_the_hardest_baseline_gives_the_verdict() -> None:
    rows = [
        comparison(1e-6, 0.4),
        comparison(0.03, 0.2, baseline="b"),
        comparison(1e-4, 0.1, baseline="c"),
        comparison(0.01, 0.3, scenario="high"),
        comparison(0.2, 0.1, claim=STALLS),
        comparison(1.0, -0.1, claim=WASTE),
        comparison(1.0, -0.2, claim=WASTE, baseline="b"),
    ]
    claims = judge(rows)
    # Holm over four claims: 4 x 0.01, 3 x 0.03, 2 x 0.2, 1
    assert [row["p_holm"] for row in claims] == pytest.approx([0.09, 0.04, 0.4, 1.0])
    assert [row["verdict"] for row in claims] == ["uncertain", "holds", "uncertain", "does not hold"]
    assert [(row["baseline"], row["baselines"]) for row in claims] == [("b", 3), ("a", 1), ("a", 1), ("b", 2)]


# --- what is played ---------------------------------------------------------------------------------------------------


def test_every_setting_can_be_made() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    settings = [(variant.agent, variant.params) for variant in (*PIXEL_SWEEP, *ablation_table.ABLATIONS.values())]
    settings += [(PLANNER, params) for params in KNOB]
    settings += [(ABLATED, {"prompts": False, **params}) for params in KNOB]
    for agent, params in settings:
        make_agent(agent, env, seed=0, **params)
    assert KNOB[0] == {} and {"waste_weight": 4.0, "stall_weight": 2.0} in KNOB
    named = point(ABLATED, [1.0], [0.0], [0.0], prompts=False, waste_weight=2.0)
    assert named.name == "mcts prompts=False waste_weight=2"


def test_all_standard_scenarios_that_can_decode_prompts_are_played() -> None:
    assert len(SCENARIOS) == 16 and "high/snapdragon-8-elite/typical" in SCENARIOS
    for scenario in SCENARIOS:
        assert any(option.usable and option.is_generative for option in PromptPreamEnv(scenario).options)


def test_real_data_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(REAL_DATA, raising=False)
    with pytest.raises(ValueError, match=f"scenario '{REAL}': expected the folder.*{REAL_DATA}"):
        find_place(REAL)
    monkeypatch.setenv(REAL_DATA, str(tmp_path))
    name, scenario, overrides = find_place(REAL)
    assert (name, scenario) == (REAL, DEFAULT_SCENARIO)
    assert overrides["network"] == str(tmp_path / "network_traces")
    assert find_place(DEFAULT_SCENARIO) == (DEFAULT_SCENARIO, DEFAULT_SCENARIO, {})


def test_the_command_chooses_on_validation_and_plays_the_test_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"simulations": 8}
    monkeypatch.setattr(paper_claims, "PIXEL_SWEEP", (Variant("static"), Variant("no_save"), Variant("next_one")))
    monkeypatch.setattr(paper_claims, "KNOB", (quick, quick | {"waste_weight": 4.0, "stall_weight": 2.0}))
    monkeypatch.setattr(ablation_table, "PLANNER", Variant("mcts", quick))
    monkeypatch.setattr(ablation_table, "ABLATIONS", {"no prompts": Variant(ABLATED, {"prompts": False} | quick)})
    monkeypatch.setenv("COLUMNS", "80")
    check_claims((DEFAULT_SCENARIO,), sessions=2, validation_sessions=1, output=tmp_path)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    written = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert f"{len(written['comparisons'])} comparisons with baselines were made" in " ".join(printed.split())
    assert [(row["claim"], row["against"]) for row in written["claims"]] == [
        (claim, rivals) for rivals in ("pixel policies", "planner without prompts") for claim in CLAIMS
    ]
    splits = {split: [row for row in written["points"] if row["split"] == split] for split in ("validation", "test")}
    assert [row["agent"] for row in splits["validation"]] == ["mcts"] * 2 + ["static", "no_save", "next_one"] + [
        ABLATED
    ] * 2
    names = {name for row in written["comparisons"] for name in (row["setting"], row["baseline"])}
    assert len(splits["test"]) == len(names) <= len(splits["validation"])
    assert {(row["split"], row["sessions"]) for row in written["points"]} == {("validation", 1), ("test", 2)}

    records = list(read_records(tmp_path))
    seeds = {split: {one["seed"] for one in records if one["split"] == split} for split in splits}
    first, second = (session_seed(DEFAULT_SCENARIO, FIRST_SESSION + k) for k in range(2))
    assert seeds == {"validation": {first}, "test": {first, second}}
    assert check_run(tmp_path, REGISTRY).records == len(records)

    (ablated,) = written["ablations"]
    assert ablated["ablation"] == "no prompts" and ablated["ci95"] is None
    pruning = written["pruning"]
    removed = sum(pruning[rule] for rule in RULES)
    assert pruning["left"] == pytest.approx(pruning["legal"] - removed)
    assert removed > 0.0
