"""The break-even map: which worlds its cells are, who pays where by hand, and the command end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import REGISTRY, make_agent
from agents.studies import breakeven
from agents.studies.breakeven import (
    BANDWIDTHS,
    NAMED,
    NETWORK,
    PLANES,
    Cell,
    answer,
    cells,
    make_row,
    mean_mbps,
    place,
    place_devices,
)
from agents.studies.cached_episodes import Variant
from ppgym.benchmark.records import read_records
from ppgym.benchmark.validation import check_run
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario

SPEED, QUALITY, PRICE, THROTTLE = PLANES
NETWORKS = {"low": 1.211, "medium": 1.635, "high": 3.633}
ELITE = "snapdragon-8-elite"


def sessions_of(returns: np.ndarray, minutes: np.ndarray) -> list[Any]:
    """Records with these totals."""
    pairs = zip(returns.tolist(), minutes.tolist(), strict=True)
    return [{"totals": {"return": each, "drawn_watch_s": 60.0 * watched}} for each, watched in pairs]


def test_cells_say_what_an_agent_can_notice_and_no_more() -> None:
    assert Cell(SPEED, 1.0, 1.0).overrides(True) == {}
    assert Cell(SPEED, 4.0, 2.0).overrides(True) == {"bandwidth_scale": 2.0, "generative_speed_scale": 4.0}
    assert Cell(SPEED, 4.0, 2.0).overrides(False) == {"bandwidth_scale": 2.0}
    assert Cell(QUALITY, 0.5, 1.0).overrides(True) == {"generative_quality_scale": 0.5}
    assert Cell(QUALITY, 0.5, 1.0).overrides(False) == {}
    assert Cell(PRICE, 0.2, 1.0).overrides(True) == Cell(PRICE, 0.2, 1.0).overrides(False) == {"qoe": {"energy": 0.2}}
    assert Cell(THROTTLE, 2.0, 3.0).overrides(False) == {"bandwidth_scale": 3.0, "throttle": 2.0}
    for cell in cells():
        Scenario.parse(DEFAULT_SCENARIO, **json.loads(json.dumps(cell.overrides(True))))


@pytest.mark.parametrize("agent", [breakeven.PIXELS.agent, "pdas", "no_save"])
def test_who_fetches_pixels_does_not_notice_what_prompts_are_like(agent: str) -> None:
    params: dict[str, Any] = {"prompts": False, "simulations": 24} if agent == breakeven.PIXELS.agent else {}
    chosen = []
    for overrides in ({}, {"generative_speed_scale": 8.0}, {"generative_quality_scale": 0.5}):
        env = PromptPreamEnv(DEFAULT_SCENARIO, "validation", **overrides)
        observation, _ = env.reset(seed=4)
        player = make_agent(agent, env, seed=4, **params)
        actions, rewards = [], []
        for _ in range(30):
            action, _ = player.predict(observation)
            observation, reward, *_ = env.step(int(action))
            actions.append(int(action))
            rewards.append(reward)
        chosen.append((actions, rewards))
    assert chosen[0] == chosen[1] == chosen[2]


def test_a_gain_is_a_paired_difference() -> None:
    """Sessions of one and three minutes by turns. By the mean of the sessions' own ratios the other rule is better."""
    returns = np.tile([[10.0, 70.0], [8.0, 64.0], [19.0, 1.0], [2.0, 38.0]], 8)
    row = make_row([sessions_of(each, np.tile([1.0, 3.0], 8)) for each in returns])
    assert (row["qoe_prompts"], row["qoe_pixels"], row["gain"]) == (20.0, 18.0, 2.0)
    assert row["ci95"] == pytest.approx((2.0, 2.0))  # two a minute in every session
    assert (row["rule"], row["gain_over_rule"]) == (breakeven.RULES[1], 10.0)
    assert row["ci95_over_rule"][0] < 10.0 < row["ci95_over_rule"][1]
    where = place(Cell(SPEED, 2.0, 1.35), 1.2)
    assert (where["plane"], where["x"]["value"], where["y"]["value"]) == ("speed_bandwidth", 2.0, 1.62)


def rows_of(plane: breakeven.Plane, lows: dict[float, list[float]]) -> list[dict[str, Any]]:
    """Rows with the lower ends of their intervals, by bandwidth."""
    rows = []
    for bandwidth, ends in lows.items():
        for value, low in zip(plane.values, ends, strict=True):
            where = place(Cell(plane, value, bandwidth), NETWORKS["low"])
            rows.append(where | {"ci95": (low, low + 2.0)})
    return rows


def test_the_answer_is_the_last_value_before_prompts_stop_to_pay() -> None:
    low, medium, high = NAMED.values()
    networks = {network: round(factor * NETWORKS["low"], 3) for network, factor in NAMED.items()}
    rows = rows_of(SPEED, {low: [-1, 1, 1, 1, 1, 1], medium: [1, -1, 1, 1, 1, 1], high: [1, 1, 1, 1, 1, 0]})
    found = answer(SPEED, rows, networks)
    assert found.endswith("pay from 0.5 on low (1.2 Mbit/s), 1 on medium (1.6 Mbit/s), nowhere on high (3.6 Mbit/s).")
    rows = rows_of(PRICE, {low: [1, 1, 1, 1, 1], medium: [1, 1, -1, 1, 1], high: [-1, 1, 1, 1, 1]})
    found = answer(PRICE, rows, networks)
    assert found.endswith(
        "pay up to 0.2 on low (1.2 Mbit/s), 0.02 on medium (1.6 Mbit/s), nowhere on high (3.6 Mbit/s)."
    )


def test_devices_lie_where_all_their_units_decode_as_fast() -> None:
    placed = {each["name"]: each["x"] for each in place_devices(ELITE, NETWORKS) if each["plane"] == SPEED.name}
    assert placed["snapdragon-8-elite"] == 1.0
    npu, gpu = 1.9369, 8.1144  # seconds a chunk; the GPU of the 8 Gen 2 takes more than ten and is no option
    assert placed["snapdragon-8-gen-2"] == pytest.approx(1 / 3.401 / (1 / npu + 1 / gpu), abs=1e-3)
    assert placed["rtx-4090"] == pytest.approx(170 / 30 / (1 / npu + 1 / gpu), abs=2e-3)
    assert {each["x"] for each in place_devices(ELITE, NETWORKS) if each["plane"] == PRICE.name} == {0.0}


def test_named_networks_have_their_mean_on_the_map() -> None:
    for network, factor in NAMED.items():
        assert factor in BANDWIDTHS
        assert factor * mean_mbps(NETWORK) == pytest.approx(mean_mbps(network), rel=0.01)


def test_the_command_plays_prints_draws_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(breakeven, "BANDWIDTHS", (1.0, 3.0))
    monkeypatch.setattr(breakeven, "NAMED", {"low": 1.0, "high": 3.0})
    monkeypatch.setattr(breakeven, "PLANES", (SPEED._replace(values=(1.0, 8.0)), PRICE._replace(values=(0.0, 0.4))))
    monkeypatch.setattr(breakeven, "DEVICES", ("rtx-4090",))
    monkeypatch.setattr(breakeven, "PLANNER", Variant("greedy"))
    monkeypatch.setattr(breakeven, "PIXELS", Variant("greedy"))
    monkeypatch.setenv("COLUMNS", "80")
    breakeven.find_breakeven(sessions=1, output=tmp_path)
    breakeven.find_breakeven(sessions=2, output=tmp_path)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    results = json.loads((tmp_path / "breakeven.json").read_text(encoding="utf-8"))
    assert (results["sessions"], len(results["rows"]), len(results["answers"])) == (2, 8, 2)
    keys = {"plane", "x", "y", "qoe_prompts", "qoe_pixels", "gain", "ci95"}
    assert all(keys <= set(row) for row in results["rows"])
    assert {"name", "plane", "x", "y", "note"} == set(results["devices"][0])
    assert [row["device"] for row in results["by_device"]] == ["rtx-4090"] * 2
    assert "views of a video that pay for encoding" in printed
    assert (tmp_path / "breakeven.png").read_bytes().startswith(b"\x89PNG")
    worlds = 2 * 3  # two bandwidths, each as it is, with fast prompts and with a price
    rules = 2 * len(breakeven.RULES)
    assert check_run(tmp_path, REGISTRY).records == 2 * (worlds + 2 * rules + 2 + rules)


def test_a_scenario_of_the_user_is_varied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("network: medium\ndevice: rtx-4090\nviewer: typical\nrtt_s: 0.2\n")
    monkeypatch.setattr(breakeven, "BANDWIDTHS", (1.0,))
    monkeypatch.setattr(breakeven, "PLANES", (THROTTLE._replace(values=(1.0, 4.0)),))
    monkeypatch.setattr(breakeven, "DEVICES", ("pixels-only",))
    monkeypatch.setattr(breakeven, "PLANNER", Variant("greedy"))
    monkeypatch.setattr(breakeven, "PIXELS", Variant("pdas"))
    settings = ("rtt_s=0.3",)
    breakeven.find_breakeven(
        scenario=str(tmp_path / "mine.yml"), settings=settings, sessions=1, output=tmp_path / "out"
    )
    results = json.loads((tmp_path / "out" / "breakeven.json").read_text(encoding="utf-8"))
    assert results["scenario"] == "mine"
    assert results["networks"] == {"medium": round(mean_mbps("medium"), 3)}
    assert results["by_device"][0]["network"] == "medium"
    records = list(read_records(tmp_path / "out"))
    assert {record["overrides"]["rtt_s"] for record in records} == {0.3}
    assert {record["overrides"].get("throttle") for record in records} == {None, 4.0}
    assert {record["overrides"]["device"] for record in records} == {"rtx-4090", "pixels-only"}
