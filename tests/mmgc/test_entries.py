"""Other people's entries, unmodified: the same actions as under the official rules, and errors that end one session."""

import json
import os
import random
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ppgym.benchmark.challenge import evaluate, validate_records
from ppgym.entries import process
from ppgym.entries.player import official_generators, official_viewer
from ppgym.mmgc import EntryError, MMGCDataset, MMGCSession, load_solution, play, run_solution
from ppgym.mmgc.kernel import NO_RUNG, VIDEOS
from tests.mmgc.checkout import add_entry, make_checkout, run_there


@pytest.fixture
def checkout(tmp_path) -> Path:
    return make_checkout(tmp_path / "checkout")


def official_seeds() -> list[list[int]]:
    with official_generators():
        return official_viewer()


def actions_here(file: Path, dataset: MMGCDataset) -> list[list[list[float]]]:
    """The actions on all traces, by the official runner's rules: one viewer, rungs carried over, one process."""
    carried = np.full(VIDEOS, NO_RUNG)
    factory = load_solution(file, official=True)
    actions = []
    for trace in range(len(dataset.traces["low"])):
        session = MMGCSession(dataset, "low", trace, official_seeds(), carried_rungs=carried)
        actions.append([list(action) for action in play(factory(), session)])
    return actions


@pytest.mark.parametrize("name", ["attributes", "lazy", "draws"])
def test_an_entry_does_what_it_does_there(checkout, name):
    file = add_entry(checkout, name)
    there = run_there(checkout, "--solution", "submit/", "--trace", "low", path=checkout / "submit" / "results")
    assert there.returncode == 0, there.stderr
    played = [json.loads(line) for line in there.stdout.splitlines()]
    dataset = MMGCDataset.load(checkout)
    before = list(sys.path), os.getcwd(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    here = actions_here(file, dataset)
    assert here == [session["actions"] for session in played]
    assert len(here[0]) > 20
    assert actions_here(file, dataset) == here
    # Nothing is left behind in this process.
    assert before == (list(sys.path), os.getcwd(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert not {"solution", "shared", "simulator", "agents.brain"} & set(sys.modules)
    # Each session by itself is the first one of an official run.
    alone = play(load_solution(file)(), MMGCSession(dataset, "low", 0, official_seeds()))
    assert [list(action) for action in alone] == here[0]


def entry(folder: Path, run: str, before: str = "") -> Path:
    """A solution whose `run` has these lines, which may use its arguments."""
    folder.mkdir(exist_ok=True)
    file = folder / "solution.py"
    file.write_text(
        f"{textwrap.dedent(before)}\nclass Algorithm:\n    def Initialize(self):\n        self.count = 0\n"
        "    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):\n"
        f"        self.count += 1\n{textwrap.indent(textwrap.dedent(run), ' ' * 8)}\n"
        "        for seq, player in enumerate(Players):\n"
        "            if player.get_remain_video_num():\n"
        "                return play_video_id + seq, 1, 0\n"
        "        return play_video_id, 0, 100\n"
    )
    return file


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("if self.count == 4:\n    1 / 0", "ZeroDivisionError"),
        ("if self.count == 4:\n    raise SystemExit(0)", "SystemExit"),
        ("if self.count == 4:\n    raise EOFError('of its own file')", "of its own file"),
        ("if self.count == 4:\n    import os\n    os._exit(3)", "ended with status 3"),
        ("if self.count == 4:\n    import os\n    os.kill(os.getpid(), 9)", "ended with status -9"),
        ("if self.count == 4:\n    while True: pass", "no answer within 3 s"),
        ("if self.count == 4:\n    return 'nonsense'", "expected video, rung and milliseconds of sleep"),
        ("if self.count == 4:\n    return None", "TypeError"),
        ("if self.count == 4:\n    return play_video_id, 1.5, 0", "rung 1.5 does not exist"),
        ("if self.count == 4:\n    return play_video_id, 7, 0", "rung 7 does not exist"),
        ("if self.count == 4:\n    return 99, 0, 0", "video 99 is outside the window"),
        ("if self.count == 4:\n    return 99, 0, 500", "AssertionError: a sleep for video 99"),
        ("if self.count == 4:\n    return play_video_id, 0, float('inf')", "sleep_ms"),
        ("if self.count == 4:\n    return 10**5000, 0, 0", "4300 digits"),
        ("if self.count == 4:\n    Players[0].buffer_size = 1e9", "cannot be set"),
    ],
)
def test_an_error_ends_its_session_alone(dataset, tmp_path, monkeypatch, capsys, run, why):
    if "while True" in run:
        monkeypatch.setattr(process, "DECISION_S", 3.0)
    good = load_solution(entry(tmp_path / "good", ""))
    bad = load_solution(entry(tmp_path / "bad", run))
    rows = evaluate(dataset, {"bad": bad, "good": good}, viewers=2, output=tmp_path / "out")
    assert [(row["agent"], row["errors"]) for row in rows] == [("bad", 2), ("good", 0)]
    assert rows[0]["score_mean"] == -1e9 < rows[1]["score_mean"]
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    for record in records[:2]:
        assert why in record["error"]
        assert len(record["actions"]) == 3
        assert record["totals"]["score"] == record["totals"]["return"] == -1e9
    assert "error" not in records[2]
    assert "bad, mmgc2022/low/0" in capsys.readouterr().err
    assert validate_records(tmp_path / "out", dataset) == []
    with pytest.raises((EntryError, AssertionError, ValueError, OverflowError)):
        run_solution(bad(), dataset, "low", 0, official_seeds())
    bad.close()


def test_a_hung_entry_says_where_it_hangs(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "DECISION_S", 3.0)
    file = entry(tmp_path, "if self.count == 2:\n    stuck()", "def stuck():\n    while True: pass\n")
    with pytest.raises(EntryError, match=r"no answer within 3 s(.|\n)*in stuck"):
        run_solution(load_solution(file)(), dataset, "low", 0, official_seeds())


def test_an_algorithm_that_lets_no_time_pass(dataset, tmp_path):
    file = entry(tmp_path, "if self.count > 2:\n    return play_video_id, 0, 0.5")
    with pytest.raises(RuntimeError, match="the session stands still"):
        run_solution(load_solution(file)(), dataset, "low", 0, official_seeds())


def test_an_error_as_the_class_is_made(dataset, tmp_path):
    file = tmp_path / "solution.py"
    file.write_text(
        "class Algorithm:\n    def Initialize(self): raise RuntimeError('no model')\n    def run(self): pass\n"
    )
    rows = evaluate(dataset, {"it": load_solution(file)})
    assert rows[0]["errors"] == rows[0]["sessions"]


@pytest.mark.parametrize("official", [False, True])
def test_what_modules_remember(dataset, tmp_path, official):
    """Under the official rules sessions share a process; else none knows of another."""
    file = entry(tmp_path, "SEEN.append(1)\nif len(SEEN) > 60:\n    raise RuntimeError('remembered')", "SEEN = []")
    factory = load_solution(file, official=official)
    if official:
        with pytest.raises(EntryError, match="remembered"):
            for _ in range(9):
                run_solution(factory(), dataset, "low", 0, official_seeds())
    else:
        assert len({run_solution(factory(), dataset, "low", 0, official_seeds()) for _ in range(9)}) == 1


def test_an_algorithm_in_this_process_draws_alike(dataset):
    from tests.mmgc.entries.draws import Algorithm

    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    runs = []
    for _ in range(2):
        np.random.rand()  # noqa: NPY002
        state = np.random.get_state()[1:3]  # noqa: NPY002
        rows = evaluate(dataset, {"draws": Algorithm})
        assert str(np.random.get_state()[1:3]) == str(state)  # noqa: NPY002
        runs.append(rows)
    assert runs[0] == runs[1]
    assert before[0] == random.getstate()


def test_the_root(dataset, tmp_path):
    """The nearest folder above with run.py or simulator, or the one that is given; it is the current folder."""
    run = "import os, marker\nassert os.getcwd() == marker.HERE, os.getcwd()"
    far, near = tmp_path / "far", tmp_path / "far" / "near"
    file = entry_in(near / "submit" / "team", run)
    for folder in (far, near):
        (folder / "marker.py").write_text(f"HERE = {str(folder)!r}\n")
        (folder / "simulator").mkdir()
    for root in (None, near, far):
        run_solution(load_solution(file, root=root)(), dataset, "low", 0, official_seeds())
    with pytest.raises(FileNotFoundError, match="expected the root of a checkout"):
        load_solution(file, root=tmp_path / "gone")


def entry_in(folder: Path, run: str) -> Path:
    folder.mkdir(parents=True)
    return entry(folder, run)


def test_a_submission_without_a_checkout_finds_the_constants(dataset, tmp_path):
    before = "import numpy as np\nfrom simulator.video_player import BITRATE_LEVELS, VIDEO_CHUNCK_LEN, Player"
    run = "assert (BITRATE_LEVELS, VIDEO_CHUNCK_LEN) == (3, 1000.0) and np.float(1) == 1 and np.Inf > 0"
    run_solution(load_solution(entry(tmp_path, run, before))(), dataset, "low", 0, official_seeds())


def test_copies_of_players_belong_to_their_maker(dataset, tmp_path):
    run = """
    import copy, pickle
    for mine in (copy.deepcopy(Players[0]), pickle.loads(pickle.dumps(Players[0]))):
        before = Players[0].buffer_size
        mine.record_download_bitrate(1)
        mine.video_download(1000.0)
        mine.video_play(300)
        mine.buffer_size += 50
        assert mine.get_buffer_size() == before + 750
        assert len(mine.get_downloaded_bitrate()) == 1 + len(Players[0].get_downloaded_bitrate())
        assert Players[0].buffer_size == before and mine.get_user_model() == Players[0].get_user_model()
    """
    run_solution(load_solution(entry(tmp_path, run))(), dataset, "low", 0, official_seeds())


def test_old_torch_files_need_trust(dataset, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"levels": torch.tensor([1]), "function": print}, tmp_path / "model.pt")
    file = entry(tmp_path, "", "import torch\nMODEL = None")
    text = file.read_text().replace("self.count = 0", "self.count = 0; torch.load('model.pt')['levels']")
    file.write_text(text)
    with pytest.raises(EntryError, match="weights_only"):
        run_solution(load_solution(file)(), dataset, "low", 0, official_seeds())
    run_solution(load_solution(file, trust=True)(), dataset, "low", 0, official_seeds())
