"""What is known of the limit: a small run of the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents import REGISTRY, is_ranked
from agents.studies import limits
from agents.studies.cached_episodes import Variant
from ppgym.benchmark.bound.bound import episode_bound
from ppgym.benchmark.episodes import session_seed
from ppgym.benchmark.validation import check_run
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO

SMALL = {"simulations": 8, "futures": 8}


def test_the_command_shows_every_player_up_to_the_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    quick = {name: one._replace(params={**one.params, **SMALL}) for name, one in limits.PLAYERS.items()}
    quick["best found"] = Variant("mcts", SMALL | {"simulations": 16})
    quick["clairvoyant"] = Variant("clairvoyant", {"budget": 20_000})
    monkeypatch.setattr(limits, "PLAYERS", quick)
    limits.find_limits(sessions=2, seed=5, output=tmp_path)
    assert "planner, told both" in capsys.readouterr().out
    written = json.loads((tmp_path / "limits.json").read_text(encoding="utf-8"))
    rows = {row["player"]: row for row in written["rows"]}
    assert list(rows) == [*limits.PLAYERS, "bound"]
    assert check_run(tmp_path, REGISTRY).records == 2 * len(quick)

    env = PromptPreamEnv(DEFAULT_SCENARIO, "test")
    bounds, watch_s = [], []
    for number in (5, 6):
        env.reset(seed=session_seed(DEFAULT_SCENARIO, number))
        bounds.append(episode_bound(env))
        watch_s.append(env.drawn_watch_s())
    assert rows["bound"]["qoe"] == pytest.approx(60.0 * np.sum(bounds) / np.sum(watch_s))
    assert rows["planner"]["difference"] == 0.0
    assert all(row["qoe"] <= rows["bound"]["qoe"] for row in rows.values())
    assert rows["bound"]["difference"] == pytest.approx(rows["bound"]["qoe"] - rows["planner"]["qoe"])


def test_who_is_shown_for_comparison_alone_does_not_compete() -> None:
    ranked = {name for name, one in limits.PLAYERS.items() if is_ranked(one.agent)}
    assert ranked == {"planner", "best found"}
    assert limits.PLAYERS["best found"].params == {"simulations": 3072, "futures": 512, "indifference": 0.0}
