"""Records answer the jobs that they are of, and no others."""

import gzip
import json
from pathlib import Path

import pytest

from agents import REGISTRY
from agents.studies import cached_episodes
from agents.studies.cached_episodes import Variant, play_once, play_variants
from ppgym.benchmark.episodes import Job, session_seed
from ppgym.benchmark.records import read_records
from ppgym.benchmark.validation import check_run
from ppgym.world.scenario import DEFAULT_SCENARIO


def job(number: int = 0, agent: str = "static", overrides: dict | None = None, **params: object) -> Job:
    return Job(DEFAULT_SCENARIO, overrides or {}, "test", agent, params, number)


def seeds(*numbers: int) -> list[int]:
    return [session_seed(DEFAULT_SCENARIO, number) for number in numbers]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sessions each call has played, where it has played any."""
    counts: list[int] = []
    play_jobs = cached_episodes.play_jobs

    def count(play, jobs, **kwargs):  # type: ignore[no-untyped-def]
        counts.append(len(jobs))
        return play_jobs(play, jobs, **kwargs)

    monkeypatch.setattr(cached_episodes, "play_jobs", count)
    return counts


def test_a_session_is_played_once(tmp_path: Path, counted: list[int]) -> None:
    jobs = [job(0), job(1), job(0)]
    first = play_once(jobs, workers=1, folder=tmp_path)
    assert counted == [2] and check_run(tmp_path, REGISTRY).records == 2
    assert [record["seed"] for record in first] == seeds(0, 1, 0)
    again = play_once([*jobs, job(2)], workers=1, folder=tmp_path)
    assert counted == [2, 1] and check_run(tmp_path, REGISTRY).records == 3
    assert again[:3] == first
    play_once([job(1)], workers=1, folder=tmp_path)
    assert counted == [2, 1] and check_run(tmp_path, REGISTRY).records == 3


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
    assert check_run(tmp_path, REGISTRY).records == 4, "records of an agent that has no job stay"


def test_a_parameter_that_a_record_lacks_has_its_default(tmp_path: Path, counted: list[int]) -> None:
    (one,) = play_once([job(each=2)], workers=1, folder=tmp_path)
    lacking = one | {"params": {"each": 2}}
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(json.dumps(lacking).encode()))
    play_once([job(each=2)], workers=1, folder=tmp_path)
    assert counted == [1]


def test_records_of_another_kernel_answer_nothing_and_stay(tmp_path: Path, counted: list[int]) -> None:
    (one,) = play_once([job(each=2)], workers=1, folder=tmp_path)
    for changed, calls, records in (({"numba": "0.0.1"}, [1], 1), ({"kernel": "f" * 16}, [1, 1], 2)):
        other = one | {"versions": one["versions"] | changed}
        (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(json.dumps(other).encode()))
        play_once([job(each=2)], workers=1, folder=tmp_path)
        assert counted == calls
        kept = list(read_records(tmp_path))
        assert len(kept) == records
        assert other in kept


def test_what_was_played_before_an_interruption_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_once([job(9)], workers=1, folder=tmp_path)
    play_episode = cached_episodes.play_episode
    played: list[int] = []
    interrupted_at = 2

    def interrupt(registry, job):  # type: ignore[no-untyped-def]
        if job.number == interrupted_at:
            raise KeyboardInterrupt
        played.append(job.number)
        return play_episode(registry, job)

    monkeypatch.setattr(cached_episodes, "play_episode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        play_once([job(number) for number in range(4)], workers=1, folder=tmp_path)
    assert played == [0, 1] and check_run(tmp_path, REGISTRY).records == 1
    play_once([job(9)], workers=1, folder=tmp_path)  # what is complete is still read
    with pytest.raises(ValueError, match="holds 2 episodes of an interrupted run"):
        play_once([job(number) for number in range(5)], workers=1, folder=tmp_path)
    interrupted_at = -1
    records = play_once([job(number) for number in range(4)], workers=1, folder=tmp_path)
    assert played == [0, 1, 2, 3] and [record["seed"] for record in records] == seeds(0, 1, 2, 3)
    assert check_run(tmp_path, REGISTRY).records == 5
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl.gz"]


def test_variants_meet_the_same_sessions(tmp_path: Path) -> None:
    variants = [
        Variant("on_demand"),
        Variant("static", {"each": 3}),
        Variant("on_demand", overrides={"rtt_s": 0.3}),
    ]
    cells = play_variants(variants, sessions=2, seed=4, workers=1, output=tmp_path)
    assert [[(record["agent"], record["seed"]) for record in cell] for cell in cells] == [
        [("on_demand", seed) for seed in seeds(4, 5)],
        [("static", seed) for seed in seeds(4, 5)],
        [("on_demand", seed) for seed in seeds(4, 5)],
    ]
    assert cells[1][0]["params"]["each"] == 3
    assert cells[2][0]["overrides"] == {"rtt_s": 0.3}
    assert check_run(tmp_path, REGISTRY).records == 6
    (validation,) = play_variants(variants[:1], split="validation", sessions=1, seed=4, workers=1, output=tmp_path)
    assert [(record["split"], record["seed"]) for record in validation] == [("validation", *seeds(4))]
    assert validation[0]["totals"] != cells[0][0]["totals"]
    assert check_run(tmp_path, REGISTRY).records == 7


@pytest.mark.parametrize("name", ["records.jsonl", "README.md", "results.json", "notes"])
def test_a_folder_of_somebody_else_is_refused_before_anything_is_played(
    tmp_path: Path, counted: list[int], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name}: expected a folder with nothing but records.jsonl.gz"):
        play_variants([Variant("static")], sessions=1, seed=0, workers=1, output=tmp_path)
    assert counted == [] and (tmp_path / name).read_text() == "mine"
    with pytest.raises(ValueError, match="expected a folder"):
        play_variants([Variant("static")], sessions=1, seed=0, workers=1, output=tmp_path / name)
    play_variants([Variant("static")], sessions=1, seed=0, workers=1, output=tmp_path, figures=[name])
    assert counted == [1]
