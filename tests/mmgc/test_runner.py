"""Official solutions: how they are imported and run."""

import json
from pathlib import Path

import pytest

from ppgym.mmgc import FixedPreload, load_solution, run_solution
from tests.mmgc.small import SEEDS

SOLUTION = """
import json
import helper
from simulator.video_player import BITRATE_LEVELS

class Algorithm:
    def __init__(self):
        self.calls = []
    def Initialize(self):
        self.calls.clear()
    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):
        self.calls.append((delay, rebuf, video_size, end_of_video, play_video_id, len(Players), first_step))
        helper.write(json.dumps(self.calls))
        for seq, player in enumerate(Players):
            if player.get_remain_video_num() > 0:
                return play_video_id + seq, BITRATE_LEVELS - 3, 0.0
        return play_video_id, 0, 500.0
"""


@pytest.fixture
def solution(tmp_path) -> Path:
    """A solution inside a repository of the official shape."""
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "video_player.py").write_text("BITRATE_LEVELS = 3\n")
    folder = tmp_path / "submit" / "team"
    folder.mkdir(parents=True)
    (folder / "helper.py").write_text("def write(text): open('seen.json', 'w').write(text)\n")
    (folder / "solution.py").write_text(SOLUTION)
    return folder / "solution.py"


def test_run_solution(dataset, solution):
    result = run_solution(load_solution(solution)(), dataset, "low", 0, SEEDS)
    seen = json.loads((solution.parents[2] / "seen.json").read_text())
    assert seen[:3] == [
        [0, 0, 0, False, 0, 5, True],
        [1080, 1080.0, 95_000.0, False, 0, 5, False],
        [1080, 80.0, 95_000.0, False, 0, 5, False],
    ]
    assert seen[-1][5] == 1
    assert run_solution(load_solution(solution.parent)(), dataset, "low", 0, SEEDS) == result


def test_a_solution_that_acts_illegally(dataset):
    class Stubborn(FixedPreload):
        def run(self, *arguments):
            return 9, 0, 0

    with pytest.raises(ValueError, match="video 9 is outside the window") as caught:
        run_solution(Stubborn(), dataset, "low", 0, SEEDS)
    assert caught.value.__notes__ == ["decision 0 of Stubborn was (9, 0, 0)"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "expected a solution with a class Algorithm"),
        ("class Algoritm: pass", ValueError, "did you mean 'Algoritm'"),
        ("class Algorithm:\n    def run(self): pass\n    def initialize(self): pass", ValueError, "'Initialize'"),
        ("import simulatr", ImportError, "simulatr"),
    ],
)
def test_bad_solutions(tmp_path, text, error, message):
    file = tmp_path / "solution.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(error, match=message):
        load_solution(file)
