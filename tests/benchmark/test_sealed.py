"""Sealed runs: what they stop, what they record, what comes back, and what is refused."""

import hashlib
import io
import json
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import evaluate
from agents import REGISTRY, agent_params, make_agent
from ppgym.benchmark import player, sealed
from ppgym.benchmark.episodes import SUITES, Job, Suite, agent_seed, play_episode, play_session
from ppgym.benchmark.leaderboard import sealed_section
from ppgym.benchmark.player import find_isolation
from ppgym.benchmark.records import Journal, Record, read_records, write_records
from ppgym.benchmark.sealed import run_sealed
from ppgym.benchmark.seals import Seal, code_hashes, write_seal
from ppgym.benchmark.validation import check_run
from ppgym.env import PromptPreamEnv
from ppgym.world.sessions import Sessions
from tests.benchmark import cheats

SUITE = Suite(("high/snapdragon-8-elite/skimmer", "high/pixels-only/skimmer"), 2)
CHEATS = f"{cheats.__name__}:"
HONEST = ("greedy", "on_demand", f"{CHEATS}Learner")
STOPPED = tuple(f"{CHEATS}{name}" for name in ("ManifestToSeed", "TransfersToTrace", "SelfReportedTimes"))
ENDED = {
    f"{CHEATS}ShortAnswer": "expected an answer of 8 bytes, got 3",
    f"{CHEATS}TwoAnswers": "expected no answer before the next question",
    f"{CHEATS}IllegalIndex": "expected a legal action, got 1000000",
    f"{CHEATS}Silent": "expected an answer within 10 s",
}
SWAPPED = {"greedy": "on_demand", "on_demand": "greedy"}
ENTRIES = {name: REGISTRY.import_path(name) for name in (*HONEST, *STOPPED, *ENDED)}


class Run(NamedTuple):
    folder: Path
    commitment: str
    said: list[str]
    records: list[Record]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "quick", SUITE)
        patch.setattr(player, "SILENCE_S", 10.0)
        patch.setenv("OF_THE_RUNNER", "1")
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    for agent in HONEST[:2]:  # compiles their code once for all processes
        play_episode(REGISTRY, Job(SUITE.scenarios[0], {}, "train", agent, {}, 0))
    folder = tmp_path_factory.mktemp("sealed")
    commitment = write_seal(folder / "seal.json", "quick", ENTRIES)
    said: list[str] = []
    seal = str(folder / "seal.json")
    run_sealed(REGISTRY, list(ENTRIES), seal, suite="quick", output=folder / "out", say=said.append)
    return Run(folder / "out", commitment, said, list(read_records(folder / "out")))


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.folder, tmp_path / "copy"))


def open_record(agent: str) -> Record:
    return play_episode(REGISTRY, Job(SUITE.scenarios[0], {}, "test", f"{CHEATS}{agent}", {}, 3))


def of(run: Run, agent: str) -> list[Record]:
    return [record for record in run.records if record["agent"] == f"{CHEATS}{agent}"]


@pytest.mark.parametrize("agent", ["ManifestToSeed", "TransfersToTrace"])
def test_what_shipped_files_and_public_seeds_tell_is_stopped(run: Run, agent: str) -> None:
    assert cheats.SUCCESS in open_record(agent)["actions"]
    records = of(run, agent)  # an answer of -1 would have ended the entry
    assert len(records) == 4
    if agent == "TransfersToTrace":
        assert max(len(record["actions"]) for record in records) > 2 * cheats.EXACT_RATES


def test_self_reported_times_are_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.perf_counter)  # put back afterwards
    open_record("SelfReportedTimes")  # its first decision stops the clock
    assert open_record("SelfReportedTimes")["decision_us"].keys() == {"0"}
    for record in of(run, "SelfReportedTimes"):
        assert min(float(us) for us in record["decision_us"]) >= 1e6 * cheats.SLEEP_S


def test_nothing_is_left_of_the_runner_and_of_earlier_sessions(run: Run) -> None:
    assert len(of(run, "Learner")) == 4  # it asserts


def test_who_breaks_a_rule_ends(run: Run) -> None:
    ended = json.loads((run.folder / "sealed.json").read_text())["ended"]
    assert ended.keys() == ENDED.keys()
    for agent, why in ENDED.items():
        assert why in ended[agent]
    assert {record["agent"] for record in run.records} == set(HONEST) | set(STOPPED)


def test_a_sealed_agent_decides_as_an_open_one_does(run: Run) -> None:
    seal = Seal.parse((run.folder / "seal.json").read_bytes(), "seal.json")
    sessions = Sessions.read(run.folder / "sessions.npz")
    salt = hashlib.sha256(f"{seal.secret} | agents".encode()).hexdigest()
    records = [record for record in run.records if record["agent"] == "greedy"]
    for record in records:
        number = sessions.seeds[sessions.scenarios.index(record["scenario"])].tolist().index(record["seed"])
        env = PromptPreamEnv(sessions.world(record["scenario"], record["seed"]))
        agent = make_agent(
            "greedy", env, seed=agent_seed(salt, REGISTRY.import_path("greedy"), record["scenario"], number)
        )
        played = play_session(
            env, record["seed"], lambda seen, mask, first, agent=agent: int(agent.predict(seen, action_masks=mask)[0])
        )
        assert record["actions"] == played["actions"]
        assert record["totals"] == played["totals"]
        assert record["sealed"] == run.commitment
    assert len(records) == 4


def test_what_is_said_before_play_is_what_is_revealed(run: Run) -> None:
    assert run.commitment == hashlib.sha256((run.folder / "seal.json").read_bytes()).hexdigest()
    digest = Sessions.read(run.folder / "sessions.npz").digest
    assert run.said[0].splitlines()[:2] == [f"commitment: {run.commitment}", f"sessions: {digest}"]
    assert f"isolation: {find_isolation().name}" in run.said[0]
    secret = int(json.loads((run.folder / "seal.json").read_text())["secret"], 16)
    assert Sessions.generate(SUITE.scenarios, 2, secret).digest == digest


def test_records_come_back_from_the_revealed_files(run: Run) -> None:
    assert check_run(run.folder, REGISTRY).records == 4 * (len(HONEST) + len(STOPPED))


def test_the_board_shows_sealed_runs_of_its_suite_once_they_come_back(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "sealed" / "first")
    text = sealed_section(tmp_path, "quick", REGISTRY)
    assert "## Sealed run `first`" in text
    assert run.commitment in text
    assert "| greedy |" in text
    assert sealed_section(tmp_path, "standard", REGISTRY) == ""
    one_rate(folder)
    with pytest.raises(ValueError, match="expected the digest"):
        sealed_section(tmp_path, "quick", REGISTRY)


def another_seal(folder: Path) -> None:
    path = folder / "seal.json"
    path.write_text(path.read_text().replace('"beacon": null', '"beacon": "another"'))


def other_sessions(folder: Path) -> None:
    Sessions.generate(SUITE.scenarios, 2, 1).write(folder / "sessions.npz")


def one_rate(folder: Path) -> None:
    sessions = Sessions.read(folder / "sessions.npz")
    sessions.rates_bps[1, 0, 7] += 1000
    sessions.write(folder / "sessions.npz")


def sessions_of_choice(folder: Path) -> None:
    """From another secret, announced as if they were the seal's."""
    other_sessions(folder)
    say(sessions=Sessions.read(folder / "sessions.npz").digest)(folder)


def say(**changes: Any) -> Callable[[Path], object]:
    path = "sealed.json"
    return lambda folder: (folder / path).write_text(json.dumps(json.loads((folder / path).read_text()) | changes))


def of_record(change: Callable[[Record], object]) -> Callable[[Path], object]:
    return lambda folder: change_records(folder, lambda records: change(records[0]))


def change_records(folder: Path, change: Any) -> None:
    records = list(read_records(folder))
    change(records)
    write_records(folder, records)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (another_seal, "sealed.json: expected the commitment"),
        (other_sessions, "sessions.npz: expected the digest"),
        (one_rate, "sessions.npz: expected the digest"),
        (sessions_of_choice, "expected the sessions that follow from the secret"),
        (say(beacon_value="42"), "expected no value of a beacon, got '42'"),
        (say(ended={}), "ShortAnswer': expected each of the 4 sessions once"),
        (say(ended={"greedy": "crashed"}), "greedy': expected records or a reason why it ended, got both"),
        (say(ended={"pdas": "crashed"}), "pdas': expected an entry of the seal"),
        (say(ended=5), "key 'ended': expected reasons by entries, got 5"),
        (say(surplus=5), "unknown key 'surplus'"),
        (lambda folder: change_records(folder, list.pop), "expected each of the 4 sessions once"),
        (
            lambda folder: change_records(
                folder, lambda r: r.__setitem__(slice(None), [one for one in r if one["agent"] != "greedy"])
            ),
            "greedy': expected each of the 4 sessions once",
        ),
        (of_record(lambda r: r.pop("sealed")), r"record 1 \(greedy\): sealed: expected"),
        (of_record(lambda r: r.update(agent="ppgym")), "ppgym': expected an entry of the seal"),
        (of_record(lambda r: r.update(agent="pdas")), "pdas': expected an entry of the seal"),
        (of_record(lambda r: r.update(agent_seed=1)), "agent_seed: expected"),
        (of_record(lambda r: r.update(split="train")), "split: expected 'test'"),
        (of_record(lambda r: r.update(overrides={"rtt_s": 0.0})), "overrides: expected None"),
        (of_record(lambda r: r["versions"].update(kernel="beef")), "kernel: expected"),
        (of_record(lambda r: r["actions"].pop()), "do not come back"),
        (
            lambda folder: change_records(
                folder, lambda r: [one.update(agent=SWAPPED.get(one["agent"], one["agent"])) for one in r]
            ),
            "agent_seed: expected",
        ),
        (lambda folder: change_records(folder, lambda r: [one.pop("sealed") for one in r]), "sealed: expected"),
    ],
)
def test_what_was_changed_is_refused(copied: Path, tamper: Any, message: str) -> None:
    tamper(copied)
    with pytest.raises(ValueError, match=message):
        check_run(copied, REGISTRY)


def test_a_validation_says_what_to_hold_against_what_was_published(run: Run) -> None:
    checked = check_run(run.folder, REGISTRY)
    digest = Sessions.read(run.folder / "sessions.npz").digest
    assert f"commitment, to hold against what was published: {run.commitment}" in checked.notes
    assert f"sessions, to hold against what was published: {digest}" in checked.notes
    assert "the sessions follow from the secret" in checked.notes
    assert "code of greedy: that on this machine is what the seal commits to" in checked.notes
    assert sum(note.startswith("ended: ") for note in checked.notes) == len(ENDED)
    assert {"seal.json", "sealed.json", "sessions.npz"} < set(checked.compared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppgym.benchmark.revealed.generator_hash", lambda: "of a later day")
        patch.setattr(
            "ppgym.benchmark.revealed.code_hashes", lambda entries: dict.fromkeys((*ENTRIES, "ppgym"), "of a later day")
        )
        notes = check_run(run.folder, REGISTRY).notes
    assert any(note.startswith("NOT checked whether the sessions follow from the secret") for note in notes)
    assert "code of greedy: that on this machine is NOT what the seal commits to" in notes


def test_records_hold_the_parameters_that_a_name_stands_for(run: Run) -> None:
    for record in run.records:
        own = agent_params(record["agent"], PromptPreamEnv(record["scenario"]))
        assert record["params"] == ({} if ":" in record["agent"] else own)
    assert any(record["params"] for record in run.records)


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = ["on_demand", f"{CHEATS}IllegalIndex"]
    write_seal(tmp_path / "seal.json", "quick", {name: REGISTRY.import_path(name) for name in agents})
    played = sealed._play_session
    calls: list[int] = []

    def stop_at_the_third(*arguments: Any) -> Record:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return played(*arguments)

    def play() -> None:
        run_sealed(REGISTRY, agents, str(tmp_path / "seal.json"), suite="quick", output=tmp_path / "out")

    monkeypatch.setattr(sealed, "_play_session", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        play()
    journal = tmp_path / "out" / Journal.NAME
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600, "another user's agents must not read it"
    kept = [json.loads(line.partition(" ")[2])["record"] for line in journal.read_text().splitlines()[2:]]
    assert [list(one) == ["ended"] for one in kept] == [False, True]
    play()
    assert len(calls) == 3 + 3  # of four sessions of on_demand, one of IllegalIndex and one that was interrupted
    records = list(read_records(tmp_path / "out"))
    assert kept[0] in records and len(records) == 4
    assert not journal.exists()
    assert check_run(tmp_path / "out", REGISTRY).records == 4


def test_everything_about_the_output_is_found_before_the_secret_is_read(tmp_path: Path) -> None:
    """The seal is missing: who gets there is told so."""
    seal = str(tmp_path / "missing")

    def run_into(output: Path, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            run_sealed(REGISTRY, ["on_demand"], seal, suite="quick", output=output)

    for name in ("seal.json", "sealed.json", "sessions.npz", "README.md", "results.csv"):
        folder = tmp_path / name.partition(".")[0] / name[-3:]
        folder.mkdir(parents=True)
        (folder / name).write_text("mine")
        run_into(folder, ValueError, f"{name}: is here already")
        assert (folder / name).read_text() == "mine"
    run_into(tmp_path / "seal" / "son" / "seal.json", ValueError, "expected a folder")
    run_into(tmp_path / "seal" / "son" / "seal.json" / "out", NotADirectoryError, "Not a directory")
    run_into(tmp_path / "out", FileNotFoundError, "missing")


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "seal.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"seal\.json: no such file"):
        check_run(copied, REGISTRY)


def test_agents_that_do_not_compete_are_refused_before_the_seal_is_read(tmp_path: Path) -> None:
    for agent, message in (("clairvoyant", "expected an environment"), (f"{CHEATS}Spectator", "expected one that")):
        with pytest.raises(ValueError, match=message):
            run_sealed(REGISTRY, [agent], str(tmp_path / "missing"), suite="quick", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_seal_is_secret_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "seal.json"
    commitment = write_seal(path, "quick", {"greedy": "agents.rules.greedy:Greedy"}, beacon="drand, round 1")
    assert commitment == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_seal(path, "quick", {})
    seal = Seal.parse(path.read_bytes(), "seal")
    assert len(bytes.fromhex(seal.secret)) == 32
    assert seal.mixed_secret("7f") == hashlib.sha256(f"{seal.secret} | 7f".encode()).hexdigest()
    with pytest.raises(ValueError, match="expected the value of its beacon, drand, round 1"):
        seal.mixed_secret(None)
    write_seal(tmp_path / "other.json", "quick", {})
    other = Seal.parse((tmp_path / "other.json").read_bytes(), "other")
    assert other.secret != seal.secret
    assert other.mixed_secret(None) == other.secret
    with pytest.raises(ValueError, match="expected no value of a beacon"):
        other.mixed_secret("7f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"secret": "12"}, "expected 64 hexadecimal digits"),
        ({"sessions": 0}, "expected a whole number of at least 1"),
        ({"suite": "slow"}, "unknown suite 'slow'"),
        ({"surplus": 1}, "unknown key 'surplus'"),
        ({"code": 5}, "key 'code': expected texts by names, got 5"),
        ({"code": {"greedy": 5}}, "key 'code': expected texts by names"),
        ({"versions": None}, "key 'versions': expected texts by names"),
        ({"kernel": None}, "key 'kernel': expected text"),
        ({"beacon": 5}, "key 'beacon': expected text, got 5"),
        ({"suite": ["quick"]}, "key 'suite': expected text"),
    ],
)
def test_malformed_seals_are_refused_without_their_secret(tmp_path: Path, change: Any, message: str) -> None:
    write_seal(tmp_path / "seal.json", "quick", {})
    content = json.loads((tmp_path / "seal.json").read_text())
    with pytest.raises(ValueError, match=message) as error:
        Seal.parse(json.dumps(content | change).encode(), "seal.json")
    assert content["secret"] not in str(error.value)
    for damaged in (b"{", b"\xff", b'{"suite": "quick", "suite": "standard"}'):
        with pytest.raises(ValueError, match=r"^seal\.json(, line 1)?: "):
            Seal.parse(damaged, "seal.json")


def test_a_seal_commits_to_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "an_entry.py"
    module.write_text("raise RuntimeError('code of an entry runs')\n")
    entries = {"mine": "an_entry:Agent"}
    write_seal(tmp_path / "seal.json", "quick", entries)
    seal = Seal.parse((tmp_path / "seal.json").read_bytes(), "seal")
    seal.check_code(entries)
    with pytest.raises(ValueError, match=r"expected entries that it commits to, mine, ppgym; got 'other'"):
        seal.check_code({"other": "an_entry:Agent"})
    module.write_text("changed = True\n")
    with pytest.raises(ValueError, match="code of 'mine': expected the hash"):
        seal.check_code(entries)
    module.write_text("raise RuntimeError('code of an entry runs')\n")
    seal.check_code(entries)
    for name in ("a_helper.py", "below/helper.py", "weights/policy.onnx"):
        other = tmp_path / name
        other.parent.mkdir(exist_ok=True)
        other.write_text("x = 1\n")
        with pytest.raises(ValueError, match="code of 'mine': expected the hash"):
            seal.check_code(entries)
        other.unlink()
    for name in ("notes.txt", ".venv/a.py", "__pycache__/a.py"):
        other = tmp_path / name
        other.parent.mkdir(exist_ok=True)
        other.write_text("x = 1\n")
    seal.check_code(entries)
    with pytest.raises(ValueError, match="there is no module 'no_such_entry'"):
        code_hashes({"mine": "no_such_entry:Agent"})


def test_sessions_are_whole_numbers_that_machines_agree_on(tmp_path: Path) -> None:
    sessions = Sessions.generate(SUITE.scenarios, 2, 633)
    assert sessions.digest == "907e15ea17c3e6e803222e48e6c03b884eddcc46af9aa0dbfb0d76dcde502d44"
    assert sessions.rates_bps.shape == (2, 2, 1200)
    assert len(set(map(bytes, sessions.rates_bps.reshape(4, -1)))) == len(set(sessions.seeds.ravel().tolist())) == 4
    sessions.write(tmp_path / "a.npz")
    assert Sessions.read(tmp_path / "a.npz").digest == sessions.digest
    assert Sessions.generate(SUITE.scenarios, 2, 634).digest != sessions.digest


def test_the_world_of_a_session_has_its_numbers() -> None:
    sessions = Sessions.generate(SUITE.scenarios, 2, 5)
    first = sessions.chunks[0].sum() + sessions.chunks[1, 0].sum()  # chunks before those of the last session
    world = sessions.world(SUITE.scenarios[1], int(sessions.seeds[1, 1]))
    assert world.catalog.n_chunks.tolist() == sessions.chunks[1, 1].tolist()
    sound = 8000  # bytes of a second, which every representation carries
    assert world.catalog.chunk_bytes[0, 0, :3].tolist() == (sessions.chunk_bytes[first] + sound).tolist()
    last = world.catalog.n_chunks[-1] - 1
    assert world.catalog.chunk_bytes[-1, last, :3].tolist() == (sessions.chunk_bytes[-1] + sound).tolist()
    assert world.catalog.chunk_bytes.shape[1] == 60  # whatever the longest video of the feed
    assert np.diff(world.links.bits).tolist() == pytest.approx((sessions.rates_bps[1, 1] * 0.5).tolist())
    for scenario, seed, message in ((SUITE.scenarios[0], 1, "found 0"), ("low/h200/typical", 1, "expected one of")):
        with pytest.raises(ValueError, match=message):
            sessions.world(scenario, seed)


def test_damaged_sessions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.npz"
    with pytest.raises(FileNotFoundError):
        Sessions.read(path)
    sessions = Sessions.generate(SUITE.scenarios, 2, 5)
    arrays = {"scenarios": np.array(sessions.scenarios), **sessions._arrays()}
    for change in ({"seeds": np.array([{}])}, {"chunk_bytes": sessions.chunk_bytes[1:]}, {"surplus": np.zeros(1)}):
        np.savez(path, **(arrays | change))
        with pytest.raises(ValueError, match=r"sessions\.npz: expected"):
            Sessions.read(path)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seal = tmp_path / "seal.json"
    evaluate.run("seal", ["--output", str(seal), "--agents", "on_demand", "--suite", "quick", "--sessions", "1"])
    commitment = capsys.readouterr().out.strip()
    with pytest.raises(ValueError, match="unknown agent 'on_demnd'"):
        evaluate.run("seal", ["--output", str(tmp_path / "no.json"), "--agents", "on_demnd", "--suite", "quick"])
    assert not (tmp_path / "no.json").exists()
    assert commitment == hashlib.sha256(seal.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="--sealed: expected --output, and none but"):
        evaluate.run("run", ["--sealed", str(seal), "--output", str(tmp_path / "out"), "--seed", "3"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(seal.read_bytes())))
    evaluate.run("run", ["--sealed", "-", "--agents", "on_demand", "--output", str(tmp_path / "out")])
    assert f"commitment: {commitment}" in capsys.readouterr().out
    assert check_run(tmp_path / "out", REGISTRY).records == 2
