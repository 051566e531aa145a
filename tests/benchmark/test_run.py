"""Benchmark runs: figures by hand, records that come back, workers that change nothing."""

import gzip
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents import REGISTRY, agent_params, make_agent
from ppgym.benchmark import speed
from ppgym.benchmark.bound.bound import episode_bound
from ppgym.benchmark.episodes import agent_seed, find_suite, plan_jobs, play_episode, session_seed
from ppgym.benchmark.estimates import ratio_estimate
from ppgym.benchmark.records import Journal, read_records
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Row
from ppgym.benchmark.tables import print_table
from ppgym.benchmark.validation import check_run
from ppgym.core.step import INFO_TOTALS
from ppgym.env import PromptPreamEnv

SCENARIO = "medium/snapdragon-8-elite/skimmer"
KEYS = {
    "scenario",
    "agent",
    "sessions",
    "traces",
    "qoe",
    "qoe_ci95",
    "qoe_relative",
    "stall_ratio",
    "waste_ratio",
    "wasted_mbit_per_min",
    "energy_j_per_min",
    "quality_mean",
    "quality_unit",
    "terms",
    "generative_share",
    "utilisation",
    "baseline",
    "difference",
    "difference_ci95",
    "improvement",
    "truncated",
    "idle_waits",
    "invalid_actions",
    "videos_starved",
    "decision_ms_p50",
    "decision_ms_p99",
    "overrides",
    "ranked",
    "bound",
    "bound_ci95",
    "share",
    "share_ci95",
}
UNTIMED = {"wall_time_s": 0, "decision_us": {}}


def not_greedy(agent: str) -> bool:
    return agent != "greedy"


def untimed(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if not key.startswith("decision_ms")}


def tamper(folder: Path, change: Any) -> None:
    """Change the second record of a run."""
    path = folder / "records.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records[1])
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, run_benchmark(
        REGISTRY, ["random", "greedy"], [SCENARIO], sessions=3, seed=5, output=folder, overrides={"n_videos": 5}
    ).rows


@pytest.fixture
def copied(results: tuple[Path, list[Row]], tmp_path: Path) -> Path:
    (tmp_path / "records.jsonl").write_bytes((results[0] / "records.jsonl").read_bytes())
    return tmp_path


def test_figures_are_those_of_a_hand_made_run(results: tuple[Path, list[Row]]) -> None:
    env = PromptPreamEnv(SCENARIO, "test", n_videos=5)
    returns, minutes, infos = [], [], []
    for number in (5, 6, 7):
        agent = make_agent("greedy", env)
        observation, info = env.reset(seed=session_seed(SCENARIO, number))
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(agent.predict(observation)[0])
            total += reward
            ended = terminated or truncated
        returns.append(total)
        minutes.append(env.drawn_watch_s() / 60.0)
        infos.append(info)

    def added(key: str) -> float:
        return sum(info[key] for info in infos)

    row = results[1][1]
    assert (row.scenario, row.agent, row.sessions, row.overrides) == (SCENARIO, "greedy", 3, {"n_videos": 5})
    assert row.qoe == pytest.approx(sum(returns) / sum(minutes), rel=1e-12)
    assert row.qoe_ci95 is None  # too few sessions
    assert row.qoe_relative == pytest.approx(row.qoe / (60.0 * 1.85))
    assert row.stall_ratio == pytest.approx(added("rebuffer_s") / (added("rebuffer_s") + added("played_s")))
    assert row.waste_ratio == pytest.approx(added("wasted_bytes") / added("downloaded_bytes"))
    assert row.wasted_mbit_per_min == pytest.approx(added("wasted_bytes") * 8e-6 / sum(minutes))
    assert row.quality_mean == pytest.approx(added("quality") / added("played_s"))
    assert 0.0 < row.decision_ms_p50 <= row.decision_ms_p99


def test_files_keep_their_contract(results: tuple[Path, list[Row]]) -> None:
    folder, rows = results
    assert {path.name for path in folder.iterdir()} == {"records.jsonl", "results.json", "results.csv", "README.md"}
    written = json.loads((folder / "results.json").read_text())["rows"]
    assert written == json.loads(json.dumps([asdict(row) for row in rows]))
    assert set(written[0]) == KEYS
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert [(record["agent"], record["seed"]) for record in records] == [
        (agent, session_seed(SCENARIO, number)) for agent in ("random", "greedy") for number in (5, 6, 7)
    ]
    for record in records:
        assert {"scenario", "seed", "agent", "params", "actions", "totals", "versions", "wall_time_s"} <= set(record)
        assert {"return", *INFO_TOTALS} <= set(record["totals"])
        assert record["overrides"] == {"n_videos": 5}


def test_records_come_back(results: tuple[Path, list[Row]], tmp_path: Path) -> None:
    assert check_run(results[0], REGISTRY).records == 6
    with gzip.open(tmp_path / "records.jsonl.gz", "wb") as file:
        file.write((results[0] / "records.jsonl").read_bytes())
    assert check_run(tmp_path, REGISTRY).records == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["totals"].update({"return": record["totals"]["return"] * (1.0 + 1e-8)}), "return"),
        (lambda record: record["totals"].pop("played_s"), "played_s None"),
        (lambda record: record["actions"].__setitem__(0, 0), f"random, seed {session_seed(SCENARIO, 6)}"),
        (lambda record: record["actions"].pop(), "goes on after"),
        (lambda record: record["actions"].append(0), "ends after"),
        (lambda record: record.update(seed=60), "seed 60"),
        (lambda record: record.pop("actions"), "line 2: expected a record with a key 'actions'"),
    ],
)
def test_a_tampered_record_is_refused(copied: Path, change: Any, message: str) -> None:
    tamper(copied, change)
    with pytest.raises(ValueError, match=message):
        check_run(copied, REGISTRY)


def test_folders_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file"):
        check_run(tmp_path, REGISTRY)
    (tmp_path / "records.jsonl").touch()
    with pytest.raises(ValueError, match="no records"):
        check_run(tmp_path, REGISTRY)
    (tmp_path / "records.jsonl").write_text("{")
    with pytest.raises(ValueError, match="line 1: expected JSON"):
        check_run(tmp_path, REGISTRY)


def test_workers_change_nothing(results: tuple[Path, list[Row]], tmp_path: Path) -> None:
    rows = run_benchmark(
        REGISTRY,
        ["random", "greedy"],
        [SCENARIO],
        sessions=3,
        seed=5,
        workers=2,
        output=tmp_path,
        overrides={"n_videos": 5},
    ).rows
    assert [untimed(row) for row in rows] == [untimed(row) for row in results[1]]
    for ours, theirs in zip(read_records(tmp_path), read_records(results[0]), strict=True):
        assert ours | UNTIMED == theirs | UNTIMED


def test_agents_meet_the_same_episodes(results: tuple[Path, list[Row]]) -> None:
    drawn_s = [record["totals"]["drawn_watch_s"] for record in read_records(results[0])]
    assert drawn_s[:3] == drawn_s[3:]
    assert len(set(drawn_s)) == 3


def test_parameters_reach_the_agent_and_the_record(tmp_path: Path) -> None:
    params = {"greedy": {"defer_s": 1.0}}
    run_benchmark(REGISTRY, ["greedy"], [SCENARIO], sessions=1, output=tmp_path, params=params)
    assert [record["params"]["defer_s"] for record in read_records(tmp_path)] == [1.0]


def test_the_record_holds_all_parameters_where_they_can_be_told(tmp_path: Path) -> None:
    agents = ["greedy", "static", "agents.base:RandomLegal"]
    params = {"greedy": {"defer_s": 1.0}, "static": {"each": 3}}
    run_benchmark(REGISTRY, agents, [SCENARIO], sessions=1, output=tmp_path, params=params)
    greedy, static, random = [record["params"] for record in read_records(tmp_path)]
    assert greedy == {"defer_s": 1.0, "link_price": 0.3, "least_value": 0.6, "switch_share": 0.5}
    tuned = agent_params("static", PromptPreamEnv(SCENARIO))
    assert static == tuned | {"each": 3}
    assert set(static) == {"current", "each", "bitrate"}
    assert random == {}


def test_rows_know_the_bound_and_the_share_from_paired_sessions(tmp_path: Path) -> None:
    agents, count = ["random", "on_demand", "greedy"], 16

    def run(names: list[str], **kwargs: Any) -> list[Row]:
        return run_benchmark(
            REGISTRY._replace(is_ranked=not_greedy), names, [SCENARIO], sessions=count, bounded=True, **kwargs
        ).rows

    env, bounds, minutes = PromptPreamEnv(SCENARIO, "test"), [], []
    for number in range(count):
        env.reset(seed=session_seed(SCENARIO, number))
        bounds.append(episode_bound(env))
        minutes.append(env.drawn_watch_s() / 60.0)
    most = sum(bounds) / sum(minutes)
    rows = {row.agent: row for row in run(agents, output=tmp_path)}
    for row in rows.values():
        assert row.bound == pytest.approx(most)
        assert row.bound_ci95 == pytest.approx(ratio_estimate(np.array(bounds), np.array(minutes)).ci95)
        assert row.share is not None
        way = (row.qoe - rows["on_demand"].qoe) / (most - rows["on_demand"].qoe)
        assert row.share == pytest.approx(way)
    assert (rows["on_demand"].share, rows["on_demand"].share_ci95) == (0.0, (0.0, 0.0))
    assert (rows["on_demand"].difference, rows["on_demand"].difference_ci95) == (0.0, (0.0, 0.0))
    assert rows["greedy"].share_ci95 is not None
    assert rows["greedy"].share_ci95[0] < rows["greedy"].share < rows["greedy"].share_ci95[1]
    assert [row.ranked for row in rows.values()] == [True, True, False]
    assert [untimed(row) for row in run(agents, workers=2)] == [untimed(row) for row in rows.values()]
    [alone] = run(["greedy"])
    assert (alone.share, alone.bound) == (None, rows["greedy"].bound)

    console = Console(width=80, file=io.StringIO())
    print_table(list(rows.values()), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.index("on_demand") < text.index("random") < text.index("greedy") < text.index("\n bound")
    assert "16 sessions, gain over on_demand" in text
    assert f"{rows['greedy'].share:.0%} ±" in text
    assert rows["greedy"].difference is not None
    assert f"{rows['greedy'].difference:+.1f} ±" in text
    print_table([alone], console)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agents": ["gredy"]}, "did you mean 'greedy'"),
        ({"agents": []}, "agents: expected one or more"),
        ({"scenarios": [SCENARIO, SCENARIO]}, "scenarios: expected one or more different"),
        ({"scenarios": ["low/snapdragon/typical"]}, "unknown device"),
        ({"sessions": 0}, "sessions: expected at least 1"),
        ({"workers": 0}, "workers: expected at least 1"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"baseline": "randon"}, "baseline: 'randon' does not play; did you mean 'random'"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"overrides": {"n_video": 3}}, "did you mean 'n_videos'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_played(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"agents": ["random"], "scenarios": [SCENARIO], "sessions": 1} | change
    with pytest.raises(ValueError, match=message):
        run_benchmark(REGISTRY, **arguments)


def test_an_agent_has_one_set_of_parameters_in_a_run(tmp_path: Path) -> None:
    """Tuned parameters are for the default weights alone: validation would refuse such a run after it was played."""
    other = tmp_path / "dear.json"
    fields = {"network": "medium", "device": "snapdragon-8-elite", "viewer": "skimmer", "qoe": {"waste": 3.0}}
    other.write_text(json.dumps(fields))
    arguments: dict[str, Any] = {"sessions": 1, "seed": 0, "split": "test", "overrides": {}, "params": {}}
    plan_jobs(REGISTRY, ["random"], [SCENARIO, str(other)], **arguments)
    with pytest.raises(ValueError, match="dear: static has other parameters there"):
        plan_jobs(REGISTRY, ["random", "static"], [SCENARIO, str(other)], **arguments)


def test_unknown_suites_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        find_suite("quik")


def test_seeds_are_those_of_the_contract() -> None:
    name = "low/snapdragon-8-elite/typical"
    by_hand = hashlib.sha256(b"low/snapdragon-8-elite/typical | 100000").hexdigest()[:12]
    assert session_seed(name, 100_000) == int(by_hand, 16)
    own = agent_seed("ppgym", "agents.mcts:MCTSAgent", name, 7)
    by_hand = hashlib.sha256(f"ppgym | agents.mcts:MCTSAgent | {name} | 7".encode()).hexdigest()[:16]
    assert own == int(by_hand, 16)
    assert len({own, agent_seed("salt", "agents.mcts:MCTSAgent", name, 7), agent_seed("ppgym", "x:Y", name, 7)}) == 3


def test_scenarios_have_sessions_of_their_own_and_variants_the_same() -> None:
    scenarios = find_suite("standard").scenarios
    seeds = {session_seed(scenario, number) for scenario in scenarios for number in range(256)}
    assert len(seeds) == 16 * 256
    jobs = [
        plan_jobs(REGISTRY, ["random"], [SCENARIO], sessions=2, seed=0, split="test", overrides=each, params={})
        for each in ({}, {"rtt_s": 0.2})
    ]
    assert [job.seed for job in jobs[0]] == [job.seed for job in jobs[1]]


def test_the_agents_seed_says_nothing_of_the_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def spy(name: str, env: Any, *, seed: int, **params: Any) -> Any:
        seeds.append(seed)
        return make_agent(name, env, seed=seed, **params)

    [job] = plan_jobs(REGISTRY, ["random"], [SCENARIO], sessions=1, seed=9, split="test", overrides={}, params={})
    record = play_episode(REGISTRY._replace(make=spy), job)
    assert record["seed"] == session_seed(SCENARIO, 9)
    assert seeds == [agent_seed("ppgym", "agents.base:RandomLegal", SCENARIO, 9)]


def test_a_finished_run_is_not_overwritten(results: tuple[Path, list[Row]]) -> None:
    before = {path.name: path.read_bytes() for path in results[0].iterdir()}
    with pytest.raises(ValueError, match=r"records\.jsonl: is here already"):
        run_benchmark(REGISTRY, ["random"], [SCENARIO], sessions=1, output=results[0])
    assert {path.name: path.read_bytes() for path in results[0].iterdir()} == before


@pytest.mark.parametrize("name", ["README.md", "results.csv", "results.json", "records.jsonl.gz"])
def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path, name: str) -> None:
    """Not even beside the journal of a run: only beside its records are figures its own."""
    (tmp_path / name).write_text("mine")
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{name}: is here already"):
            run_benchmark(REGISTRY, ["random"], [SCENARIO], sessions=1, output=tmp_path)
        assert (tmp_path / name).read_text() == "mine"
        if name.startswith("records"):
            return
        (tmp_path / Journal.NAME).touch()


def test_a_run_goes_on_that_was_interrupted_between_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError("no space left on device")

    def play() -> None:
        run_benchmark(REGISTRY, ["random"], [SCENARIO], sessions=1, output=tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr("ppgym.benchmark.run.write_board", full)
        with pytest.raises(OSError, match="no space"):
            play()
    assert (tmp_path / Journal.NAME).is_file() and (tmp_path / "records.jsonl").is_file()
    play()
    assert not (tmp_path / Journal.NAME).exists() and (tmp_path / "results.json").is_file()


def test_the_table_fits_80_columns(results: tuple[Path, list[Row]]) -> None:
    console = Console(width=80, file=io.StringIO())
    print_table(results[1], console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("greedy", "random", "QoE/min", "stall", "waste", "quality", " ms"):
        assert word in text
    assert text.index("greedy") < text.index("random")


@pytest.mark.slow
def test_speed_plays_what_it_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENVS", 5), ("STEPS", 50), ("SINGLE_ENVS", 3), ("TURNS", 1), ("CARTPOLE_STEPS", 100)):
        monkeypatch.setattr(speed, name, value)
    streams = speed.record_streams(make_agent, "greedy", envs=3, steps=400)
    assert streams.actions.shape == (3, 400)
    assert (streams.episodes >= 2).any()  # so that resets are played as well
    ends = int((streams.episodes - 1).sum())
    for work, amount in (
        (speed.kernel_work(streams), 1200 - ends),
        (speed.vector_work(streams), 1200),
        (speed.vector_work(streams, read=True, threads=2), 1200),
        (speed.single_work(streams), 1200 - ends),
    ):
        done, took_s = work()
        assert (done, took_s > 0.0) == (amount, True)
    for reference in (speed.cartpole(), speed.cartpole_vector(), speed.matrix_product()):
        assert min(reference.work()) > 0.0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read in /proc")
def test_memory_is_counted_in_bytes() -> None:
    assert speed.resident_bytes() > 1e7


def test_figures_are_raced_against_their_reference() -> None:
    paces = iter([9.0, 9.0, 4.0, 2.0, 12.0, 4.0, 6.0, 3.0] * 2)
    work = lambda: (next(paces), 1.0)  # noqa: E731
    figure = speed.race("steps/s", [work], speed.Reference("walks", work), target=2.5)
    assert figure.values == (6.0,)  # 4, 12 and 6, 9 and 4: the first turn compiles
    assert figure.ratios == (2.0,)
    assert not figure.passed
    assert figure._replace(target=2.0).passed


def test_a_figure_passes_by_its_worse_stream() -> None:
    slow = speed.Figure("steps/s", (9.0, 4.0), 5.0, at_least=True)
    figures = [slow, speed.Figure("s", (4.5,), 5.0, False), speed.Figure("import, s", (1.0,), None, False)]
    assert [figure.passed for figure in figures] == [False, True, True]
    assert slow._replace(ratios=(6.0, 7.0)).passed  # where there is a reference, the ratios count
    console = Console(width=80, file=io.StringIO())
    speed.print_figures(figures, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "MISS" in text
    assert "pass" in text
    console = Console(file=io.StringIO())
    speed.print_figures(figures, as_json=True, console=console)
    shown = json.loads(console.file.getvalue(), parse_constant=pytest.fail)  # type: ignore[attr-defined]
    assert [one["passed"] for one in shown] == [False, True, True]
