"""What the official run.py prints, and the documented way of our agents into it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents import make_agent
from ppgym.benchmark.challenge import print_official, run_mmgc
from ppgym.mmgc import MMGCDataset, NoSave, as_solution, load_solution
from tests.mmgc.checkout import CLONE, EXAMPLE, add_entry, make_checkout, run_there
from tests.mmgc.small import needs_golden


@pytest.fixture
def checkout(tmp_path) -> Path:
    return make_checkout(tmp_path / "mmgc2022")


def printed_there(figures: list[list[float]]) -> str:
    """What run.py prints of sessions with these figures."""
    lines = []
    for trace, (score, _, qoe, wasted, ratio) in enumerate(figures):
        lines += [f"------------trace  {trace} --------------", "The user leaves."]
        lines += [f"Your score is:  {score}", f"Your QoE is:  {qoe}", f"Your sum of wasted bytes is:  {wasted or 0}"]
        lines += [f"Your download/watch ratio (downloaded time / total watch time) is:  {ratio}"]
        lines += ["---------------------------------------", "", ""]
    lines += ["", "", "Your average indexes under [ low ] network is: "]
    means = [0.0] * 5
    for one in figures:
        means = [mean + value for mean, value in zip(means, one, strict=True)]
    names = ("Score", "Bandwidth Usage", "QoE", "Sum Wasted Bytes", "Wasted time ratio")
    lines += [f"{name}:  {mean / len(figures)}" for name, mean in zip(names, means, strict=True)]
    return "\n".join(lines) + "\n"


def test_official_prints_what_is_printed_there(checkout, capsys):
    file = add_entry(checkout, "draws")
    there = run_there(checkout, "--solution", "submit/", "--trace", "low", path=checkout)
    figures = [json.loads(line)["figures"] for line in there.stdout.splitlines()]
    for _ in range(2):
        rows = run_mmgc(checkout, [], make_agent=make_agent, solution=file, official=True)
        assert rows == []
        assert capsys.readouterr().out == printed_there(figures)
    with pytest.raises(ValueError, match="has no --output"):
        run_mmgc(checkout, ["no_save"], make_agent=make_agent, official=True, output=checkout / "out")


def test_an_aborted_session_and_an_error(checkout, tmp_path, capsys):
    class Asleep(NoSave):
        def run(self, *arguments):
            return arguments[4], 0, 500.0

    class Wrong(NoSave):
        def run(self, *arguments):
            raise RuntimeError("not today")

    dataset = MMGCDataset.load(checkout)
    assert print_official(dataset, Asleep, "low")[0] == print_official(dataset, Wrong, "low")[0] == -1e9
    captured = capsys.readouterr()
    assert captured.out.count("Your QoE is too low...") == 3
    assert captured.err.count("RuntimeError: not today") == 3


def test_the_documented_steps_reach_the_solution(checkout):
    """The shell lines of the example's README, in a folder that holds both clones."""
    (steps, here) = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    steps = steps.replace("=../ppgym ", f"={CLONE} ").replace(" ppgym/examples", f" {CLONE}/examples")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    there = subprocess.run(["bash", "-ec", steps], cwd=checkout.parent, env=environment, capture_output=True, text=True)
    assert there.returncode == 0, there.stderr
    figures = [json.loads(line)["figures"] for line in there.stdout.splitlines()]
    assert "evaluate.py mmgc --official --data ../mmgc2022 --agents greedy --classes low" in here
    greedy = as_solution(lambda client: make_agent("greedy", client))
    assert print_official(MMGCDataset.load(checkout), greedy, "low").tolist() == pytest.approx(
        [sum(column) / 3 for column in zip(*figures, strict=True)], rel=1e-12
    )


def test_without_the_shim_run_py_stops(checkout):
    """The three things that README.md names are in the way of the imitation, too."""
    shutil.copy(EXAMPLE / "solution.py", checkout / "submit")

    def run() -> str:
        command = [sys.executable, "run.py", "--solution", "submit/"]
        return subprocess.run(
            command, cwd=checkout, env={"PYTHONPATH": str(CLONE)}, capture_output=True, text=True
        ).stderr

    assert "numpy.lib.utils" in run()
    controller = checkout / "simulator" / "controller.py"
    controller.write_text(controller.read_text().replace("from numpy.lib.utils import _split_line\n", ""))
    assert "the template beside run.py was found" in run()
    (checkout / "solution.py").unlink()
    assert "TypeError: The only supported seed types" in run()


def test_the_example_plays_here_too(checkout):
    dataset = MMGCDataset.load(checkout)
    results = [
        print_official(dataset, factory, "low").tolist() for factory in (load_solution(EXAMPLE), load_solution(EXAMPLE))
    ]
    assert results[0] == results[1]


@needs_golden
def test_official_figures_of_the_ten_traces(official_data, capsys):
    """Of all twenty traces, Fixed-Preload's mean on `low` is -33.2511827; ten of them are here."""
    run_mmgc(official_data.root, ["fixed_preload"], make_agent=make_agent, classes=["low"], official=True)
    if len(official_data.traces["low"]) == 20:
        assert "Score:  -33.2511827\n" in capsys.readouterr().out
    else:
        assert "Score:  -33.113872" in capsys.readouterr().out
