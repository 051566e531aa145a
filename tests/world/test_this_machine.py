"""The device "auto": this machine's measured profile is found, nothing is measured, and no PyTorch is needed."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import ppgym
from ppgym.world import this_machine as machine
from ppgym.world.devices import DeviceProfile
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.this_machine import find_profile, profile_folder, software, this_machine

pytest.importorskip("platformdirs")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    make_world.cache_clear()


def store(name: str, age_s: float = 0.0, **fields: Any) -> Path:
    """Put a profile of this machine where `profile` would."""
    path = profile_folder() / f"{name}.json"
    profile = dataclasses.replace(
        DeviceProfile.load("rtx-4090"), name=name, measurement={"software": software()}, **fields
    )
    profile.write(path)
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_a_machine_that_was_not_measured_is_told_how() -> None:
    for name in ("low/auto/typical", "high/auto/skimmer"):
        with pytest.raises(FileNotFoundError) as error:
            gymnasium.make("PromptPream-v0", scenario=name)
        said = str(error.value)
        assert said.endswith("this machine was not measured yet; make one with `python -m ppgym.codec profile`")
        assert len(said.splitlines()) == 1
    assert not profile_folder().exists()


def test_the_profile_measured_last_is_used() -> None:
    store("old", age_s=100)
    store("new", jitter_sigma=0.25, jitter_provenance="measured")
    store("older", age_s=200)
    assert find_profile().stem == "new"
    assert DeviceProfile.load("auto").name == "new"
    gymnasium.make("PromptPream-v0", device="auto")
    world = make_world(Scenario.parse(device="auto"))
    assert (world.profile.name, world.distribution.jitter_sigma) == ("new", 0.25)


def test_jitter_of_an_episode_has_the_spread_of_the_profile() -> None:
    store("wide", jitter_sigma=0.4)
    world = make_world(Scenario.parse(device="auto"))
    rng = np.random.default_rng(0)
    logs = np.log(np.concatenate([ppgym.sample_episode(world, rng).jitter.ravel() for _ in range(5)]))
    logs = logs[logs != 0]  # chunks that the videos do not have
    assert logs.std() == pytest.approx(0.4, rel=0.05)


def test_other_machines_and_other_versions_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    path = store("mine")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "this_machine", lambda: dataclasses.replace(this_machine(), cores=99))
        with pytest.raises(FileNotFoundError, match="not measured yet"):
            find_profile()
    with monkeypatch.context() as patch:
        patch.setattr(machine, "software", lambda: {"torch": "99"})
        with pytest.raises(FileNotFoundError, match=r"none of the 1 profiles in .* is of these library versions"):
            find_profile()
        patch.setattr(machine, "software", dict)  # nothing installed that could disagree
        assert find_profile() == path


@pytest.mark.parametrize("damage", ["{", "[]", '{"measurement": null}', ""])
def test_a_damaged_profile_is_passed_over(damage: str) -> None:
    whole = store("whole", age_s=100)
    (profile_folder() / "damaged.json").write_text(damage)
    assert find_profile() == whole


def test_looking_needs_no_torch(tmp_path: Path) -> None:
    store("mine")
    code = (
        "import sys, pathlib, platformdirs; "
        f"platformdirs.user_cache_path = lambda name: pathlib.Path({str(tmp_path)!r}) / name; "
        "import gymnasium, ppgym; gymnasium.make('PromptPream-v0', device='auto'); "
        "assert not {'torch', 'diffusers', 'av'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_without_platformdirs_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ValueError, match="device 'auto': needs platformdirs: pip install"):
        DeviceProfile.load("auto")


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        ("NVIDIA H200, 570.1\nNVIDIA H200, 570.1\n", 0, ("NVIDIA H200", "570.1")),
        ("No devices were found\n", 6, ("", "")),
        ("", 0, ("", "")),
    ],
)
def test_a_gpu_is_what_its_driver_says(
    monkeypatch: pytest.MonkeyPatch, answer: str, status: int, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    done = subprocess.CompletedProcess([], status, answer, "")
    monkeypatch.setattr("subprocess.run", lambda *arguments, **options: done)
    assert machine._first_gpu() == expected


def test_this_machine_has_a_name_cores_and_memory() -> None:
    here = this_machine()
    assert here.cpu
    assert here.cores >= 1
    assert here.ram_gib >= 1
