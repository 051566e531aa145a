"""A short session live and simulated: the figures, the page, the picture, and what a stopped run leaves."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import REGISTRY
from ppgym.benchmark.episodes import session_seed
from ppgym.codec.pixel import decode_pixels
from ppgym.codec.video import read_clip
from ppgym.files import read_json
from ppgym.live import comparison
from ppgym.live.comparison import Plan, compare, compare_orders
from ppgym.live.env import PromptPreamLiveEnv
from ppgym.live.page import draw, write_page
from ppgym.live.recording import Watch, choose_sessions, play
from ppgym.live.screen import write_session

PLAN = Plan(("on_demand",), sessions=1, seed=0, watch=Watch(4.0, 8.0), repeats=2)


@pytest.fixture(scope="module")
def env(feed: Path) -> Iterator[PromptPreamLiveEnv]:
    found = PromptPreamLiveEnv(str(feed), viewer="sticky", render_mode="ansi")
    yield found
    found.close()


def test_the_same_session_live_and_simulated(
    env: PromptPreamLiveEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = compare(REGISTRY, env, PLAN, tmp_path / "run")
    assert read_json(tmp_path / "run" / "results.json")["numbers"] == results["numbers"]
    ahead = results["one_step_ahead"]
    assert ahead["transfer"]["count"] > 0
    assert ahead["decode"]["count"] > 0
    assert ahead["boundary"]["count"] > 0
    assert ahead["all"]["count"] == sum(ahead[name]["count"] for name in ("transfer", "decode", "boundary"))
    for name in comparison.OPEN_FIGURES:
        parts = results["open_loop"][name]
        assert parts["total"] == pytest.approx(parts["link"] + parts["decode"] + parts["clock"])
    figures = results["closed_loop"]["on_demand"]["figures"]
    for each in figures.values():
        assert each["difference"] == pytest.approx(each["live"] - each["simulated"])
        assert each["band95"][0] <= each["band95"][1]

    def never(*_: Any) -> Any:
        raise AssertionError("a session that was played is not played again")

    monkeypatch.setattr(env, "step", never)
    again = compare(REGISTRY, env, PLAN, tmp_path / "run")
    assert again["one_step_ahead"] == ahead
    write_page(tmp_path / "page.html", results, np.zeros((4, 4, 3), np.uint8))
    text = (tmp_path / "page.html").read_text()
    assert "on_demand" in text
    assert "http" not in text  # needs no network


def test_a_folder_of_other_sessions_is_refused(env: PromptPreamLiveEnv, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "results.json.parts"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the results of another job"):
        compare(REGISTRY, env, PLAN, tmp_path / "run")


def test_a_full_disk_loses_no_session_that_was_kept(
    env: PromptPreamLiveEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(comparison, "write_json", full)
        with pytest.raises(OSError, match="No space left"):
            compare(REGISTRY, env, PLAN, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    kept = list((tmp_path / "run" / "results.json.parts").glob("on_demand-*.json"))
    assert len(kept) == 1
    assert read_json(kept[0])["totals"]["played_s"] > 0


def test_what_the_viewer_saw(env: PromptPreamLiveEnv, tmp_path: Path) -> None:
    number = choose_sessions(env.world, 0, 1, Watch(2.0, 4.0))[0]
    record = play(env, REGISTRY, "on_demand", number)
    assert env.timeline is not None
    assert env.session is not None
    end_s = record["totals"]["time_s"]
    played = env.session.played
    count = write_session(tmp_path / "out.mp4", env.timeline, end_s, played, (False, False), None, 30.0, (64, 64))
    assert abs(count - 30 * end_s) <= 1
    frames, fps = read_clip(tmp_path / "out.mp4")
    assert fps == 30.0
    assert len(frames) == count
    start = next(span for span in env.timeline.spans(end_s) if span.kind == "play")
    first = round(start.start_s * 30)
    assert frames[: first - 1].max() < 30  # the stall of the start is black
    shown = decode_pixels(played[start.video, start.chunk])[5]  # type: ignore[index]
    assert np.abs(frames[first + 5].astype(int) - shown).mean() < 6
    picture = draw([env, env], [record["totals"]] * 2)
    assert picture.shape == (840, 1280, 3)
    assert record["number"] == number
    assert session_seed(env.world.scenario.name, number) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": ()}, "--agents"),
        ({"agents": ("a", "a")}, "--agents"),
        ({"sessions": 0}, "--sessions: expected at least 1"),
        ({"seed": -1}, "--seed"),
        ({"repeats": -1}, "--repeats"),
        ({"watch": Watch(3.0, 2.0)}, "--watch-s"),
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**vars(PLAN) | changes)


def records(returns: list[float]) -> list[dict[str, Any]]:
    return [{"totals": {"return": value, "drawn_watch_s": 60.0}} for value in returns]


def test_orders() -> None:
    rising = [float(k % 3) for k in range(20)]
    better = {"a": records([value + 2 for value in rising]), "b": records(rising)}
    worse = {"a": records([value - 2 + 0.1 * k for k, value in enumerate(rising)]), "b": records([2.0] * 20)}
    (same,) = compare_orders(better, better)
    assert same["opposite"] is False
    assert same["live"]["value"] == pytest.approx(2.0)
    (few,) = compare_orders({"a": better["a"][:5], "b": better["b"][:5]}, better)
    assert few["opposite"] is None
    (turned,) = compare_orders(better, {"a": better["b"], "b": better["a"]})
    assert turned["opposite"] is True
    assert compare_orders(better, worse)[0]["opposite"] in (False, True)
