"""Training runs and train.py: the same curve for the same seed, going on, imitation, and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stable_baselines3.common.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents.training.run as training
import train as command_line
from agents import make_agent
from agents.training.callback import TrainingCallback
from agents.training.config import names_of
from agents.training.imitation import Demonstrations, demonstrate
from ppgym.commandline import run_command
from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.env import PromptPreamEnv
from tests.agents.training.tiny import SHORT, TINY, TINY_DQN, write_hyperparams

ROOT = Path(__file__).parents[3]


def optimizer_steps(folder: Path) -> int:
    return int(load_file(folder / "latest-training.safetensors")["optimizer.0.step"])


def test_same_seed_same_learning_curve(run: Any, tmp_path: Path) -> None:
    cards = {name: run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))}
    weights = {name: load_file(tmp_path / name / "latest.safetensors") for name in cards}
    assert [row["timesteps"] for row in cards["a"]["scores"]] == [0, 128, 256]
    assert cards["a"]["scores"] == cards["b"]["scores"]
    assert cards["a"]["sha256"] == cards["b"]["sha256"] != cards["c"]["sha256"]
    assert all(torch.equal(tensor, weights["b"][name]) for name, tensor in weights["a"].items())


def test_goes_on_where_it_was(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run(folder)
    steps = optimizer_steps(folder)
    with pytest.raises(ValueError, match="has its 256 timesteps; ask for more with --timesteps"):
        run(folder)
    second = run(folder, timesteps=512)
    assert second["timesteps"] == second["config"]["timesteps"] == 512
    assert second["scores"][: len(first["scores"])] == first["scores"]
    assert [row["timesteps"] for row in second["scores"]] == [0, 128, 256, 384, 512]
    assert optimizer_steps(folder) == 2 * steps
    assert second["config"] | {"timesteps": 256} == first["config"]


def test_a_killed_run_goes_on_as_if_it_had_never_stopped(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: TrainingCallback) -> bool:
        if self.num_timesteps > 200:
            raise RuntimeError("killed")
        return True

    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", die)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "killed")
    assert json.loads((tmp_path / "killed" / "latest.json").read_text())["timesteps"] == 128
    resumed = run(tmp_path / "killed")
    assert resumed["scores"] == whole["scores"]
    assert resumed["sha256"] == whole["sha256"]


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing in it catches this."""


def test_a_run_killed_after_any_file_goes_on_as_if_it_had_never_stopped(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, written, last = Path.replace, [0], 0

    def die(self: Path, target: Path) -> Path:
        replace(self, target)
        written[0] += 1
        if written[0] >= last:
            raise Killed
        return target

    def at(folder: Path, kill: int) -> dict[str, Any]:
        nonlocal last
        written[0], last = 0, kill or 10**6
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", die if kill else replace)
            card: dict[str, Any] = run(folder, timesteps=128)
            return card

    whole = at(tmp_path / "whole", 0)
    best = json.loads((tmp_path / "whole" / "best.json").read_text())
    kill, killed = 0, True
    while killed:
        kill += 1
        folder, killed = tmp_path / str(kill), False
        try:
            at(folder, kill)
        except Killed:
            killed = True
            if not (folder / "comparison" / "README.md").is_file():
                at(folder, 0)
            resumed = json.loads((folder / "latest.json").read_text())
            assert resumed["scores"] == whole["scores"]
            assert resumed["sha256"] == whole["sha256"]
            assert json.loads((folder / "best.json").read_text())["sha256"] == best["sha256"]
    assert kill > 15


def test_an_interrupt_after_an_evaluation_keeps_the_best(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Logger, step: int = 0) -> None:  # between the scores and the checkpoints
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Logger, "dump", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    cards = [json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("best", "latest")]
    assert [[row["timesteps"] for row in card["scores"]] for card in cards] == [[0], [0]]
    assert [row["timesteps"] for row in run(tmp_path / "run")["scores"]] == [0, 128, 256]


def test_a_run_is_compared_when_it_is_resumed_if_it_was_not(run: Any, tmp_path: Path) -> None:
    """Once trained to its end, and once out of patience before it."""
    stuck = TINY["evaluation"] | {"every": 64, "patience": 2}
    hyperparams = write_hyperparams(tmp_path / "stuck.yml", learning_rate=0.0, n_steps=8, evaluation=stuck)
    for folder, arguments in (
        (tmp_path / "whole", {}),
        (tmp_path / "stuck", {"hyperparams": hyperparams, "timesteps": 2048}),
    ):
        first = run(folder, **arguments)
        (folder / "comparison" / "README.md").unlink()
        again = run(folder)
        assert again == first
        assert (folder / "comparison" / "README.md").is_file()


def test_a_first_checkpoint_counts_though_its_card_still_waits(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run(folder)
    for name in ("latest.json", "latest-training.safetensors"):
        (folder / name).rename(folder / f"{name}.next")
    (folder / "comparison" / "README.md").unlink()
    training.train(resume=folder)
    assert json.loads((folder / "latest.json").read_text()) == first


def test_dqn_same_seed_same_learning_curve_and_goes_on(run: Any, tmp_path: Path) -> None:
    hyperparams = write_hyperparams(tmp_path / "dqn.yml", TINY_DQN)
    cards = {
        name: run(tmp_path / name, agent="dqn", seed=seed, hyperparams=hyperparams)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert [row["timesteps"] for row in cards["a"]["scores"]] == [0, 128, 256]
    assert cards["a"]["scores"] == cards["b"]["scores"]
    assert cards["a"]["sha256"] == cards["b"]["sha256"] != cards["c"]["sha256"]
    steps = optimizer_steps(tmp_path / "a")
    assert steps == (256 - 32) / 8
    more = run(tmp_path / "a", timesteps=320)
    assert more["timesteps"] == 320
    assert more["scores"][:3] == cards["a"]["scores"]
    assert optimizer_steps(tmp_path / "a") > steps


def test_one_model_for_several_scenarios(run: Any, tmp_path: Path) -> None:
    pattern = "low,high/pixels-only/typical"
    card = run(tmp_path / "run", scenario=pattern, timesteps=128)
    assert card["config"]["scenario"] == pattern
    rows = json.loads((tmp_path / "run" / "comparison" / "results.json").read_text())["rows"]
    assert {row["scenario"] for row in rows} == set(names_of(pattern))


def test_policy_of_another_agent_is_refused(tmp_path: Path) -> None:
    hyperparams = write_hyperparams(tmp_path / "dqn.yml", TINY_DQN, policy="MlpPolicy", policy_kwargs={})
    with pytest.raises(ValueError, match="'MlpPolicy' is not for dqn"):
        training.train(agent="dqn", hyperparams=hyperparams, output=tmp_path / "run", overrides=SHORT)


@pytest.mark.parametrize(("agent", "base"), [("ppo", TINY), ("dqn", TINY_DQN)])
def test_a_run_goes_on_without_its_agent_being_named(
    agent: str, base: dict[str, Any], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyperparams = write_hyperparams(tmp_path / "tiny.yml", base)
    run(tmp_path / "run", agent=agent, hyperparams=hyperparams, timesteps=128)
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", str(tmp_path / "run"), "--timesteps", "256"])
    command_line.main()
    card = json.loads((tmp_path / "run" / "latest.json").read_text())
    assert (card["config"]["agent"], card["timesteps"]) == (agent, 256)
    other = {"ppo": "dqn", "dqn": "ppo"}[agent]
    with pytest.raises(ValueError, match=f"is a run of '{agent}'; expected that or nothing, got '{other}'"):
        training.train(agent=other, resume=tmp_path / "run", timesteps=512)


def test_a_run_that_was_stopped_while_it_imitated_goes_on(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ppgym.progress.LINE_EVERY_S", 0.0)
    whole = run(tmp_path / "whole")
    shown = capsys.readouterr().err
    assert all(step in shown for step in ("Demonstrations: ", "Imitation: 1 of 1", "Training: 256 of 256", "Playing: "))
    with monkeypatch.context() as patch:
        patch.setattr(training, "imitate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    training.train(resume=tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "latest.json").read_text())["sha256"] == whole["sha256"]


def test_interrupt_saves(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: TrainingCallback) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_rollout_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "latest.json").read_text())["timesteps"] == 128
    assert run(tmp_path / "run")["timesteps"] == 256


def test_mlp_without_warm_start(run: Any, tmp_path: Path) -> None:
    plain = write_hyperparams(
        tmp_path / "mlp.yml",
        policy="MlpPolicy",
        policy_kwargs={"net_arch": [16]},
        learning_rate=1e-3,
        warm_start=None,
    )
    assert run(tmp_path / "run", hyperparams=plain, timesteps=128)["timesteps"] == 128


def test_one_model_learns_in_worlds_of_any_ladder(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[Any] = []

    def watch(experts: Any, decisions: int, **rest: Any) -> Demonstrations:
        watched.extend(env.world for _, env in experts)
        return demonstrate(experts, decisions, **rest)

    monkeypatch.setattr(training, "demonstrate", watch)
    worlds = {"suite": "quick", "drawn": 3}
    for agent, base in (("ppo", TINY), ("dqn", TINY_DQN)):
        hyperparams = write_hyperparams(tmp_path / "worlds.yml", base, worlds=worlds)
        card = run(tmp_path / agent, agent=agent, hyperparams=hyperparams, timesteps=128)
        config = card["config"]
        assert config["representations"] == MAX_REPRESENTATIONS
        lengths = [len(world.representations) for world in watched]
        assert config["trained_on"]["representations"] == [min(lengths), max(lengths)]
        assert len({world.ladder.name for world in watched}) > 1
        watched.clear()


def test_dagger_decisions_are_the_students(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Demonstrations] = []
    monkeypatch.setattr(training, "imitate", lambda policy, shown, **rest: learned.append(shown))
    start = TINY["warm_start"] | {"dagger_decisions": 1000}
    hyperparams = write_hyperparams(tmp_path / "dagger.yml", warm_start=start)
    with pytest.raises(ValueError, match="the student alone labels, got 1000"):
        run(tmp_path / "refused", hyperparams=hyperparams, timesteps=128)
    hyperparams = write_hyperparams(tmp_path / "dagger.yml", warm_start=start | {"agent": "student"})
    run(tmp_path / "run", hyperparams=hyperparams, timesteps=128)
    first, both = learned
    count = len(first.actions)
    assert count + 500 < len(both.actions)  # sees 1024 decisions more, and keeps those of whole episodes
    for before, after in zip(first, both, strict=True):
        np.testing.assert_array_equal(before, after[:count])


@pytest.mark.slow
def test_command_line_end_to_end(tmp_path: Path) -> None:
    warm = TINY["warm_start"] | {"decisions": 1500, "epochs": 12, "batch_size": 64}  # so that it does not merely wait
    hyperparams = write_hyperparams(tmp_path / "tiny.yml", warm_start=warm)
    folder = tmp_path / "run"
    command = [sys.executable, "train.py", "--hyperparams", hyperparams, "--output", folder, "--timesteps", "128"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "validation QoE/min" in done.stderr
    assert "of the time in the environment" in done.stderr
    for agent in ("ppo", *training.RIVALS["ppo"]):
        assert agent in done.stdout
    card = json.loads((folder / "latest.json").read_text())
    assert card["config"]["scenario"] == "low/snapdragon-8-elite/typical"
    assert card["versions"]["torch"]
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = log.Tags()["scalars"]
    for term in ("quality", "rebuffer", "switch", "waste", "energy", "invalid"):
        assert f"validation/{term}" in scalars
    assert {"validation/return", "validation/qoe", "train/value_loss"} <= set(scalars)
    assert len(log.Images("validation/timeline")) == len(card["scores"])
    env = PromptPreamEnv(**SHORT)
    observation, _ = env.reset(seed=0)
    action, _ = make_agent("ppo", env, weights=folder / "best.safetensors").predict(observation)
    assert env.action_masks()[int(action)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "lw/snapdragon-8-elite/typical"], "unknown network 'lw'; did you mean 'low'?"),
        (["--agent", "pop"], "unknown agent 'pop'; did you mean 'ppo'?"),
        (["--resume", "no/such/run"], "no/such/run: expected a run with a file config.json or latest.json"),
        (["--resume", "some/run", "--seeds", "2"], "--resume: expected one run"),
        (
            ["--torch-device", "snapdragon-8-gen-3"],
            "torch has no 'snapdragon-8-gen-3' here; known: cpu",
        ),
        (
            ["--agent", "student", "--torch-device", "cpuu"],
            "torch has no 'cpuu' here; did you mean 'cpu'?",
        ),
        (["--agent", "student", "--timesteps", "9"], "student: expected no --timesteps"),
        (["--hyperparams", "no/such.yml"], "no/such.yml: no such file"),
        (["--timesteps", "0"], "timesteps: expected at least 1, got 0"),
        (["--seeds", "0"], "seeds: expected at least 1, got 0"),
        (["--seeds", "2", "--engine", "rai"], "unknown engine 'rai'; did you mean 'ray'?"),
        (["--scenario", "low,hihg/rtx-4090/*"], "unknown network 'hihg'; did you mean 'high'?"),
        (["--seed", "-1"], "seed: expected at least 0, got -1"),
        (["--set", "network=no/such/folder"], "no/such/folder"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(command_line.main, extra="rl")
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.iterdir())
