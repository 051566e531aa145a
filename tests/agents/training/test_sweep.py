"""Sweeps: several runs of one command, here and as tasks of Ray."""

import importlib.util
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import agents.training.sweep as sweep_module
from agents.training.config import reopen_run
from agents.training.sweep import plan_sweep, read_files, train_sweep, write_files
from ppgym.benchmark.workers import connect_ray
from tests.agents.training.tiny import SHORT, TINY, write_hyperparams


def test_runs_of_one_command(run: Any, hyperparams: Path, tmp_path: Path) -> None:
    other = write_hyperparams(tmp_path / "other.yml", learning_rate=1e-4)
    sweep = plan_sweep(3, 2, [hyperparams, other])
    assert [one.name for one in sweep] == ["tiny-seed-3", "tiny-seed-4", "other-seed-3", "other-seed-4"]
    assert [one.name for one in plan_sweep(3, 1, [])] == ["seed-3"]
    with pytest.raises(ValueError, match="files of different names"):
        plan_sweep(0, 1, [hyperparams, hyperparams])

    arguments = {"agent": "ppo", "overrides": SHORT, "timesteps": 128, "torch_device": "cpu"}
    rows = train_sweep(sweep[:2], tmp_path / "sweep", arguments, "local")
    assert list(rows) == ["tiny-seed-3", "tiny-seed-4"]
    curves = json.loads((tmp_path / "sweep" / "curves.json").read_text())
    assert [score["timesteps"] for score in curves["tiny-seed-4"]] == [0, 128]
    assert curves["tiny-seed-3"] != curves["tiny-seed-4"]
    alone = run(tmp_path / "alone", seed=4, timesteps=128)
    assert alone["scores"] == curves["tiny-seed-4"]


@pytest.mark.parametrize("written", [False, True], ids=["before its weights", "after its weights"])
def test_what_a_kill_leaves_behind_spoils_no_copy(written: bool, run: Any, tmp_path: Path) -> None:
    """The files of a run with a checkpoint of which the card still waits."""
    card = run(tmp_path / "run")
    waiting = {**card, "timesteps": 999, "sha256": card["sha256"] if written else "0" * 64}
    (tmp_path / "run" / "latest.json.next").write_text(json.dumps(waiting))
    write_files(tmp_path / "copy", read_files(tmp_path / "run"))
    assert reopen_run(tmp_path / "copy").timesteps == (999 if written else card["timesteps"])
    assert not list((tmp_path / "copy").rglob("*.next"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_a_run_survives_the_loss_of_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster

    output = tmp_path / "sweep"
    evaluation = TINY["evaluation"] | {"every": 128}
    hyperparams = write_hyperparams(tmp_path / "long.yml", warm_start=None, n_timesteps=4096, evaluation=evaluation)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    arguments = {"agent": "ppo", "overrides": SHORT, "timesteps": 1024, "torch_device": "cpu"}
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        monkeypatch.setattr(sweep_module, "GATHER_S", 0.2)
        connect_ray()  # to the head, while it is the only node
        lost = cluster.add_node(num_cpus=1)
        with ThreadPoolExecutor() as pool:
            training_there = pool.submit(train_sweep, plan_sweep(0, 1, [hyperparams]), output, arguments, "ray")
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
