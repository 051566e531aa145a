"""The question whether generative codecs pay: when an answer is clear, what it says, and worlds without a question."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from agents.studies import ask
from agents.studies.assumptions import find_assumptions
from agents.studies.cached_episodes import Variant
from evaluate import run
from ppgym.benchmark.estimates import Estimate
from ppgym.world.scenario import Scenario, make_world

MINE = """
network: trace.txt
device: snapdragon-8-gen-3
viewer: typical
n_videos: 5
ladder:
  name: mine <b>
  chunk_s: 2.0
  representations:
    - {name: 480p, codec: h264, kind: pixel, bitrate_bps: 1200000, quality: 1.2, width: 854, height: 480, fps: 24}
    - {name: fast, codec: promptmobile, kind: generative, bitrate_bps: 200000, quality: 1.1, source: "assumption: me"}
"""
KEYS = {"answer", "gain_qoe", "gain_ci95", "sessions", "turning_points", "assumptions"}


@pytest.fixture(autouse=True)
def rules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules in the planner's place, and few sessions."""
    monkeypatch.setattr(ask, "WITH", (Variant("greedy"),))
    monkeypatch.setattr(ask, "WITHOUT", (Variant("on_demand"), Variant("no_save")))
    monkeypatch.setattr(ask, "PILOT", 2)
    monkeypatch.setattr(ask, "LOOKS", (4, 16))
    monkeypatch.setattr(ask, "TURN_SESSIONS", 2)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "trace.txt").write_text("".join(f"{second} {0.6 + second % 2}\n" for second in range(60)))
    path = tmp_path / "mine.yml"
    path.write_text(MINE)
    return path


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    run("ask", [*arguments, "--json", "--workers", "1"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_one_file_and_one_command_answer(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = mine.with_name("answer.html")
    answer = found(capsys, str(mine), "--minutes", "0.5", "--output", str(page))
    assert answer.keys() >= KEYS
    assert answer["answer"] in ("yes", "no", "unclear")
    assert answer["sessions"] in (4, 16)
    assert (answer["gain_ci95"] is None) == (answer["sessions"] < 16)
    assert json.loads(page.with_suffix(".json").read_text()) == answer
    players = {one["player"]: one for one in answer["players"]}
    assert answer["gain_qoe"] == pytest.approx(players["greedy"]["qoe"] - players[answer["chosen"]["without"]]["qoe"])
    assert players["waits only"]["requests"] == {}
    assert sum(players["greedy"]["requests"].values()) == pytest.approx(1.0)
    assert any("fast@" in name for name in players["greedy"]["requests"])
    assert not any("fast@" in name for name in players[answer["chosen"]["without"]]["requests"])
    assert players["greedy"]["battery_per_hour"] == pytest.approx(players["greedy"]["energy_j_per_min"] / 60 / 15)
    assert not answer["too_thin"]
    assert "1 trace" in answer["network"]
    html = page.read_text()
    assert answer["words"] in html
    assert not re.search(r"https?://(?!www\.w3\.org)[^ ]*\.(js|css|png)", html)
    assert "<script" not in html


def test_the_terminal_tells_the_same(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("ask", [str(mine), "--minutes", "0.2", "--workers", "1"])
    printed = capsys.readouterr().out
    assert "Do generative codecs pay?" in printed
    assert "generative_speed_scale (here 1)" in printed
    assert "assumptions, such as" in printed
    assert max(map(len, printed.splitlines())) <= 200


def test_a_device_without_a_decoder_is_a_no_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    answer = found(capsys, "--scenario", "low/pixels-only/typical/published", "--set", "n_videos=2")
    assert (answer["answer"], answer["sessions"]) == ("no", 0)
    assert "no unit of this device" in answer["words"]


def test_a_world_that_is_too_thin_is_called_so(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = found(
        capsys, str(mine), "--minutes", "0.2", "--set", "bandwidth_scale=0.001", "patience=0.5", "n_videos=2"
    )
    assert answer["too_thin"]
    assert "too thin" in answer["words"]


@pytest.mark.parametrize(
    "value, error, answer",
    [(3.0, 1.0, "yes"), (2.5, 1.0, "unclear"), (-3.0, 1.0, "no"), (0.2, 0.01, "yes"), (0.0, 0.1, "no")],
)
def test_an_answer_is_clear_beyond_the_quantile_of_a_look(value: float, error: float, answer: str) -> None:
    assert ask.judge(Estimate(value, error, None), 256, least=1.0) == answer


def test_few_sessions_need_a_larger_gain() -> None:
    gain = Estimate(2.8, 1.0, None)  # Student's quantiles: 2.95 with 16 sessions, 2.60 with 256
    assert (ask.judge(gain, 16, 1.0), ask.judge(gain, 256, 1.0)) == ("unclear", "yes")


def test_a_sign_that_changes_on_the_way_is_a_turning_point(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def play(self: ask.Question, variants: Any, *_: Any, **__: Any) -> Any:
        asked.append(variants[0].overrides["bandwidth_scale"])
        return asked[-1], 0.0

    monkeypatch.setattr(ask.Question, "play", play)
    monkeypatch.setattr(ask, "gain_of", lambda new, old: Estimate(3.0 - new, 1.0, None))
    question = ask.Question("low/snapdragon-8-elite/typical", {}, 1, math.inf)
    turn = ask.turning_point(question, "bandwidth_scale", Variant("greedy"), Variant("no_save"), 2.0)
    assert turn["between"] == [2.0, 4.0]  # 3 - x changes its sign at 3
    assert turn["usual"] == 1.0
    assert asked == [2.0, 0.5, 4.0, 0.25]


def test_without_time_a_turning_point_is_not_sought() -> None:
    question = ask.Question("low/snapdragon-8-elite/typical", {}, 1, -math.inf)
    turn = ask.turning_point(question, "qoe.energy", Variant("greedy"), Variant("no_save"), 2.0)
    assert (turn["gains"], turn["between"]) == ([[0.0, 2.0]], None)
    assert "no time" in ask.turn_in_words(turn)


def test_assumptions_are_named_with_their_values(mine: Path) -> None:
    lines = find_assumptions(make_world(Scenario.parse(str(mine)), "test"))
    assert any(line.startswith("quality of fast: 1.1") and "(me)" in line for line in lines)
    assert any(line.startswith("promptmobile on npu") and " W " in line for line in lines)
    assert any("audio_bps: 64000" in line for line in lines)
    assert not any(line.startswith("prompt on") for line in lines)  # not on this ladder


def test_no_time_is_a_mistake(mine: Path) -> None:
    with pytest.raises(ValueError, match="--minutes: expected more than 0, got 0"):
        ask.ask(mine, minutes=0.0)
