"""train.py and training runs: end to end, the same curve for the same seed, going on, stopping, and mistakes."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents.training.run as training
import agents.training.sweep as trials_module
import train as command_line
from agents import make_agent
from agents.training.callback import Monitor
from agents.training.config import COMMON_KEYS, names_of, read_hyperparams
from agents.training.imitation import Demonstrations, demonstrate
from agents.training.sweep import plan_trials, train_trials
from ppgym.benchmark.workers import connect_ray
from ppgym.env import PromptPreamEnv

ROOT = Path(__file__).parents[3]
SHORT: dict[str, Any] = {"n_videos": 2, "max_wall_s": 25.0}
TINY: dict[str, Any] = {
    "n_timesteps": 256,
    "n_envs": 8,
    "policy": "CandidatePolicy",
    "policy_kwargs": {"slot_width": 8, "context_width": 16, "candidate_width": 8},
    "n_steps": 16,
    "batch_size": 64,
    "n_epochs": 1,
    "learning_rate": "lin_1e-3",
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "reward_scale": 0.1,
    "warm_start": {
        "agent": "on_demand",
        "decisions": 64,
        "corrections": 0,
        "stray_share": 0.0,
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 1e-2,
    },
    "evaluation": {"every": 128, "patience": None, "validation_episodes": 3, "test_episodes": 1},
}


TINY_DQN: dict[str, Any] = {key: TINY[key] for key in COMMON_KEYS} | {
    "policy": "CandidateQPolicy",
    "policy_kwargs": {**TINY["policy_kwargs"], "temperature": 0.1},
    "buffer_size": 400,
    "learning_starts": 32,
    "batch_size": 16,
    "tau": 0.1,
    "gamma": 0.99,
    "n_steps": 3,
    "train_freq": 1,
    "gradient_steps": 1,
    "target_update_interval": 8,
    "exploration_fraction": 0.5,
    "exploration_initial_eps": 0.5,
    "exploration_final_eps": 0.1,
}


def write_hyperparams(path: Path, base: dict[str, Any] = TINY, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({"PromptPream-v0": base | changes}))
    return path


@pytest.fixture
def hyperparams(tmp_path: Path) -> Path:
    return write_hyperparams(tmp_path / "tiny.yml")


@pytest.fixture
def run(hyperparams: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(training, "HEURISTICS", ("random",))
    monkeypatch.setattr(training, "UPDATE_THREADS", 1)
    threads = torch.get_num_threads()

    def call(folder: Path, **kwargs: Any) -> dict[str, Any]:
        new = {"output": folder, "hyperparams": hyperparams, "overrides": SHORT}
        training.train(**({"resume": folder} if (folder / "latest.json").exists() else new) | kwargs)
        card: dict[str, Any] = json.loads((folder / "latest.json").read_text())
        return card

    yield call
    torch.set_num_threads(threads)


def optimizer_steps(folder: Path) -> int:
    return int(load_file(folder / "latest-training.safetensors")["optimizer.0.step"])


def test_same_seed_same_learning_curve(run: Any, tmp_path: Path) -> None:
    cards = {name: run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))}
    weights = {name: load_file(tmp_path / name / "latest.safetensors") for name in cards}
    assert [row["timesteps"] for row in cards["a"]["scores"]] == [0, 128, 256]
    assert cards["a"]["scores"] == cards["b"]["scores"]
    assert cards["a"]["sha256"] == cards["b"]["sha256"] != cards["c"]["sha256"]
    assert all(torch.equal(tensor, weights["b"][name]) for name, tensor in weights["a"].items())


def test_best_checkpoint_is_the_best_of_the_curve(run: Any, tmp_path: Path) -> None:
    card = run(tmp_path / "run")
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["scores"][-1]["qoe"] == max(row["qoe"] for row in card["scores"])
    rows = json.loads((tmp_path / "run" / "comparison" / "results.json").read_text())["rows"]
    assert [row["agent"] for row in rows] == ["ppo", "random"]


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
    def die(self: Monitor) -> bool:
        if self.num_timesteps > 200:
            raise RuntimeError("killed")
        return True

    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "_on_step", die)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "killed")
    assert json.loads((tmp_path / "killed" / "latest.json").read_text())["timesteps"] == 128
    resumed = run(tmp_path / "killed")
    assert resumed["scores"] == whole["scores"]
    assert resumed["sha256"] == whole["sha256"]


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


def test_stops_early(run: Any, tmp_path: Path) -> None:
    evaluation = TINY["evaluation"] | {"every": 64, "patience": 2}
    hyperparams = write_hyperparams(tmp_path / "stuck.yml", learning_rate=0.0, n_steps=8, evaluation=evaluation)
    card = run(tmp_path / "run", hyperparams=hyperparams, timesteps=2048)
    returns = [row["return"] for row in card["scores"]]
    assert len(set(returns)) == 1
    assert card["timesteps"] == 128 + 8


def test_one_model_for_several_scenarios(run: Any, tmp_path: Path) -> None:
    pattern = "low,high/pixels-only/typical"
    card = run(tmp_path / "run", scenario=pattern, timesteps=128)
    assert card["config"]["scenario"] == pattern
    rows = json.loads((tmp_path / "run" / "comparison" / "results.json").read_text())["rows"]
    assert {row["scenario"] for row in rows} == set(names_of(pattern))


def test_patterns_of_scenarios() -> None:
    assert names_of("low/rtx-4090/typical") == ["low/rtx-4090/typical"]
    assert names_of("low,5g/rtx-4090/sticky,skimmer") == [
        "low/rtx-4090/sticky",
        "low/rtx-4090/skimmer",
        "5g/rtx-4090/sticky",
        "5g/rtx-4090/skimmer",
    ]
    everything = names_of("*/*/*")
    assert len(set(everything)) == len(everything) == 5 * 8 * 3
    assert "mixed/snapdragon-8-gen-3/skimmer" in everything


def test_policy_of_another_agent_is_refused(tmp_path: Path) -> None:
    hyperparams = write_hyperparams(tmp_path / "dqn.yml", TINY_DQN, policy="MlpPolicy", policy_kwargs={})
    with pytest.raises(ValueError, match="'MlpPolicy' is not for dqn"):
        training.train(agent="dqn", hyperparams=hyperparams, output=tmp_path / "run", overrides=SHORT)


def test_interrupt_saves(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Monitor) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "_on_rollout_end", interrupt)
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


def test_each_teacher_is_imitated_where_it_shall_be(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[str, list[str], int]] = []
    learned: list[Demonstrations] = []

    def watch(cast: Any, decisions: int, **rest: Any) -> Demonstrations:
        places = [env.world.scenario.device for _, env in cast]
        watched.append((type(cast[0][0]).__name__, places, decisions))
        return demonstrate(cast, decisions, **rest)

    monkeypatch.setattr(training, "demonstrate", watch)
    monkeypatch.setattr(training, "imitate", lambda policy, shown, **rest: learned.append(shown))
    where = {"on_demand": "low/rtx-4090,pixels-only/typical", "next_one": "low/snapdragon-8-elite/typical"}
    start = TINY["warm_start"] | {"agent": where, "decisions": 90}
    hyperparams = write_hyperparams(tmp_path / "teachers.yml", warm_start=start)
    with pytest.raises(ValueError, match=r"agent for each scenario, got none for low/snapdragon-8-gen-3/typical"):
        run(tmp_path / "a", scenario="low/rtx-4090,snapdragon-8-gen-3/typical", hyperparams=hyperparams, timesteps=128)
    devices = "rtx-4090,pixels-only,snapdragon-8-elite"
    run(tmp_path / "b", scenario=f"low/{devices}/typical", hyperparams=hyperparams, timesteps=128)
    assert sorted(watched) == [("NextOne", ["snapdragon-8-elite"], 30), ("OnDemand", ["rtx-4090", "pixels-only"], 60)]
    assert len(learned[0].actions) >= 90
    assert len({len(array) for array in learned[0]}) == 1


def test_a_scenario_has_the_teachers_whose_patterns_it_fits() -> None:
    config = {"scenario": "low/rtx-4090,pixels-only/typical", "overrides": {}}
    patterns = {"on_demand": "*/rtx-4090/*", "next_one": "low/*/typical", "greedy": "*/epyc-2-core/*"}
    found = training.teachers_of(patterns, config)
    devices = {teacher: [scenario.device for scenario in where] for teacher, where in found.items()}
    assert devices == {"on_demand": ["rtx-4090"], "next_one": ["rtx-4090", "pixels-only"]}
    assert [scenario.device for scenario in training.teachers_of("greedy", config)["greedy"]] == devices["next_one"]


def test_corrections_are_the_students(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Demonstrations] = []
    monkeypatch.setattr(training, "imitate", lambda policy, shown, **rest: learned.append(shown))
    start = TINY["warm_start"] | {"corrections": 1000}
    hyperparams = write_hyperparams(tmp_path / "corrected.yml", warm_start=start)
    with pytest.raises(ValueError, match="no scenario of the run has the student to imitate, got 1000"):
        run(tmp_path / "refused", hyperparams=hyperparams, timesteps=128)
    hyperparams = write_hyperparams(tmp_path / "corrected.yml", warm_start=start | {"agent": "student"})
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
    for agent in ("ppo", *training.HEURISTICS):
        assert agent in done.stdout
    card = json.loads((folder / "latest.json").read_text())
    assert card["config"]["scenario"] == "low/snapdragon-8-elite/typical"
    assert card["versions"]["torch"]
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = log.Tags()["scalars"]
    for term in ("quality", "rebuffer", "switch", "waste", "compute", "invalid"):
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
        (["--resume", "no/such/run"], "latest.json: no such file"),
        (["--hyperparams", "no/such.yml"], "no/such.yml: no such file"),
        (["--timesteps", "0"], "timesteps: expected at least 1, got 0"),
        (["--seeds", "0"], "seeds: expected at least 1, got 0"),
        (["--seeds", "2", "--engine", "rai"], "unknown engine 'rai'; did you mean 'ray'?"),
        (["--scenario", "low,hihg/rtx-4090/*"], "unknown network 'hihg'; did you mean 'high'?"),
        (["--seed", "-1"], "seed: expected at least 0, got -1"),
        (["--network", "no/such/folder"], "no/such/folder"),
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
        command_line.main()
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train.py: error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected YAML"),
        ("[1]", "expected a mapping with the key 'PromptPream-v0'"),
        ("PromptPream-v0: {n_envs: 8}", "key 'n_steps' is missing"),
        (yaml.safe_dump({"PromptPream-v0": TINY | {"n_env": 8}}), "unknown key 'n_env'; did you mean 'n_envs'?"),
    ],
)
def test_bad_hyperparams(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace("[", r"\[")):
        read_hyperparams(path, "ppo")


def test_a_run_is_not_overwritten(hyperparams: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a run already; go on with it by --resume"):
        training.train(output=tmp_path, hyperparams=hyperparams)


@pytest.mark.parametrize(("name", "agent"), [("ppo", "ppo"), ("ppo-generalist", "ppo"), ("dqn", "dqn")])
def test_shipped_hyperparams_are_read(name: str, agent: str) -> None:
    params = read_hyperparams(ROOT / "agents" / "hyperparams" / f"{name}.yml", agent)
    rate = training.learning_rate_of(params["learning_rate"])
    assert not isinstance(rate, float)
    np.testing.assert_allclose([2 * rate(0.5), rate(0.0)], [rate(1.0), 0.0])


def test_trials_of_one_command(run: Any, hyperparams: Path, tmp_path: Path) -> None:
    other = write_hyperparams(tmp_path / "other.yml", learning_rate=1e-4)
    trials = plan_trials(3, 2, [hyperparams, other])
    assert [trial.name for trial in trials] == ["tiny-seed-3", "tiny-seed-4", "other-seed-3", "other-seed-4"]
    assert [trial.name for trial in plan_trials(3, 1, [])] == ["seed-3"]
    with pytest.raises(ValueError, match="files of different names"):
        plan_trials(0, 1, [hyperparams, hyperparams])

    arguments = {"agent": "ppo", "overrides": SHORT, "timesteps": 128, "device": "cpu"}
    rows = train_trials(trials[:2], tmp_path / "trials", arguments, "local")
    assert list(rows) == ["tiny-seed-3", "tiny-seed-4"]
    curves = json.loads((tmp_path / "trials" / "curves.json").read_text())
    assert [score["timesteps"] for score in curves["tiny-seed-4"]] == [0, 128]
    assert curves["tiny-seed-3"] != curves["tiny-seed-4"]
    alone = run(tmp_path / "alone", seed=4, timesteps=128)
    assert alone["scores"] == curves["tiny-seed-4"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_a_trial_survives_the_loss_of_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    output = tmp_path / "trials"
    evaluation = TINY["evaluation"] | {"every": 128}
    hyperparams = write_hyperparams(tmp_path / "long.yml", warm_start=None, n_timesteps=4096, evaluation=evaluation)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    arguments = {"agent": "ppo", "overrides": SHORT, "timesteps": 1024, "device": "cpu"}
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        monkeypatch.setattr(trials_module, "GATHER_S", 0.2)
        connect_ray()  # to the head, while it is the only node
        lost = cluster.add_node(num_cpus=1)
        with ThreadPoolExecutor() as pool:
            training_there = pool.submit(train_trials, plan_trials(0, 1, [hyperparams]), output, arguments, "ray")
            while not (output / "seed-0" / "latest.json").exists() and not training_there.done():
                time.sleep(0.1)
            cluster.remove_node(lost, allow_graceful=False)
            cluster.add_node(num_cpus=1)
            rows = training_there.result()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert "ppo" in {row.agent for row in rows["seed-0"]}
    card = json.loads((output / "seed-0" / "latest.json").read_text())
    assert card["timesteps"] == 1024
    assert [score["timesteps"] for score in card["scores"]] == list(range(0, 1025, 128))
    logs = list((output / "seed-0" / "tensorboard").iterdir())
    assert len(logs) == 2  # one of each attempt: the second went on
    assert load_file(output / "seed-0" / "best.safetensors")
