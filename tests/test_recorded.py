"""Records answer the jobs that they are of, and no others."""

import gzip
import json
from pathlib import Path

import pytest

from agents import recorded
from agents.recorded import play_once
from ppgym.benchmark import Job, validate
from ppgym.scenario import DEFAULT_SCENARIO


def job(seed: int = 0, agent: str = "static", overrides: dict | None = None, **params: object) -> Job:
    return Job(DEFAULT_SCENARIO, overrides or {}, "test", agent, params, seed)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many episodes each batch has played."""
    counts: list[int] = []
    play_all = recorded.play_all
    monkeypatch.setattr(
        recorded, "play_all", lambda play, jobs, workers: counts.append(len(jobs)) or play_all(play, jobs, workers)
    )
    return counts


def test_an_episode_is_played_once(tmp_path: Path, counted: list[int]) -> None:
    jobs = [job(0), job(1), job(0)]
    first = play_once(jobs, workers=1, folder=tmp_path)
    assert counted == [2] and validate(tmp_path) == 2
    assert [one.record["seed"] for one in first] == [0, 1, 0]
    again = play_once([*jobs, job(2)], workers=1, folder=tmp_path)
    assert counted == [2, 1] and validate(tmp_path) == 3
    assert [one.record for one in again[:3]] == [one.record for one in first]
    play_once([job(1)], workers=1, folder=tmp_path)
    assert counted == [2, 1] and validate(tmp_path) == 3


def test_what_differs_is_played(tmp_path: Path, counted: list[int]) -> None:
    play_once([job(each=2)], workers=1, folder=tmp_path)
    play_once(
        [job(each=3), job(agent="on_demand"), job(each=2, overrides={"bandwidth_scale": 2.0})],
        workers=1,
        folder=tmp_path,
    )
    assert counted == [1, 3]
    play_once([job(each=2), job(each=3)], workers=1, folder=tmp_path)
    assert counted == [1, 3]


def test_a_parameter_that_a_record_lacks_has_its_default(tmp_path: Path, counted: list[int]) -> None:
    (one,) = play_once([job(each=2)], workers=1, folder=tmp_path)
    lacking = one.record | {"params": {"each": 2}}
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(json.dumps(lacking).encode()))
    play_once([job(each=2)], workers=1, folder=tmp_path)
    assert counted == [1]
    other = one.record | {"versions": one.record["versions"] | {"ppgym": "0.0.1"}}
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(json.dumps(other).encode()))
    play_once([job(each=2)], workers=1, folder=tmp_path)
    assert counted == [1, 1]


def test_what_was_played_before_a_cut_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "BATCH", 2)
    play_all = recorded.play_all

    def cut(play, jobs, workers):  # type: ignore[no-untyped-def]
        if jobs[0].seed == 2:
            raise KeyboardInterrupt
        return play_all(play, jobs, workers)

    monkeypatch.setattr(recorded, "play_all", cut)
    with pytest.raises(KeyboardInterrupt):
        play_once([job(seed) for seed in range(4)], workers=1, folder=tmp_path)
    assert validate(tmp_path) == 2
