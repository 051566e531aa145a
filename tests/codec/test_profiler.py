"""The profiler: the whole path with a tiny generator, the cache, and the arithmetic from times to a profile."""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel

from ppgym.codec import profiler, timing
from ppgym.codec.__main__ import main
from ppgym.codec.flops import count_flops, flops_coefficients, peak_flops
from ppgym.codec.generator import BUNDLE, SD_TURBO_UNET, Generator, load_generator
from ppgym.codec.profiler import Request, best_pass, chunk_seconds, machine_profile, make_profile, spread
from ppgym.codec.timing import Stage, Stopwatch, make_pass, repeat, resize, slowdowns, time_passes
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import published_ladder
from ppgym.world.scenario import Scenario, make_world
from ppgym.world.this_machine import Machine

REQUEST = Request(("cpu",), "tiny", 64)
MACHINE = Machine("Some CPU", 4, 16, "Some GPU", "1.2")
MEASUREMENT: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": "python -m ppgym.codec profile",
    "software": {"av": "1", "torch": "2"},
    "dtype": {"cpu": "float32", "gpu": "bfloat16"},
    "notes": [],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end as soon as there are enough."""
    monkeypatch.setattr(timing, "MIN_S", 0.0)
    monkeypatch.setattr(timing, "MAX_S", 0.0)


def a_stage(stage: str = "pass", seconds: float = 0.1, batch: int = 1, unit: str = "cpu", factor: float = 1.2) -> Stage:
    return Stage(unit, stage, batch, False, 9, seconds, seconds / factor, seconds * factor, None)


def a_profile(request: Request = REQUEST) -> DeviceProfile:
    stages = [a_stage(unit=unit) for unit in request.units]
    return make_profile(request, MACHINE, stages, {}, (0.0, 1.0, 0.0), MEASUREMENT)


class Measurer:
    """Stands in for a measurement and counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: Request) -> DeviceProfile:
        self.calls += 1
        return dataclasses.replace(a_profile(request), description=f"measurement {self.calls}")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Measurer:
    """Takes the place of a measurement."""
    measurer = Measurer()
    monkeypatch.setattr(profiler, "measure_machine", measurer)
    return measurer


def test_the_whole_path_from_the_command_to_a_scenario(
    random_tiny: Path, tmp_path: Path, brief: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "some-box.json"
    arguments = ["profile", "--units", "cpu", "--model", str(random_tiny), "--resolution", "64", "--batch", "1", "2"]
    main([*arguments, "--output", str(output)])
    said = capsys.readouterr().out
    assert "measured and kept" in said
    assert "cpu pass, 2 frames" in said
    assert f"prompt on cpu: {DeviceProfile.load(output).rows[0].seconds:.4g} s" in said

    profile = DeviceProfile.load(output)
    assert profile.name == "some-box"
    assert [(row.codec, row.unit, row.width, row.provenance) for row in profile.rows] == [
        (codec, "cpu", 64, "measured") for codec in ("prompt", "h264", "hevc", "av1")
    ]
    assert profile.jitter_provenance == "measured"
    measurement = profile.measurement
    assert measurement is not None
    assert [(stage["stage"], stage["batch"]) for stage in measurement["stages"]] == [
        *[(name, batch) for batch in (1, 2) for name in ("unet", "decoder", "pass")],
        *[(codec, 30) for codec in ("h264", "hevc", "av1")],
    ]
    for stage in measurement["stages"]:
        assert 0 < stage["p10_s"] <= stage["median_s"] <= stage["p90_s"]
        assert stage["runs"] >= timing.MIN_RUNS
        assert sys.platform != "linux" or stage["peak_memory_bytes"] > 1e7
    assert measurement["command"] == "python -m ppgym.codec " + " ".join(arguments)
    assert measurement["software"]["torch"] == version("torch")
    assert measurement["machine"]["cpu"]

    monkeypatch.setattr(profiler, "measure_machine", Measurer())
    main(arguments)
    assert "from the cache" in capsys.readouterr().out
    auto = make_world(Scenario.parse("low/auto/typical"))
    assert auto.profile == dataclasses.replace(profile, name=auto.profile.name)
    assert auto.distribution.jitter_sigma == profile.jitter_sigma
    make_world.cache_clear()


def test_an_answer_from_the_cache_needs_no_torch(measure: Measurer, tmp_path: Path) -> None:
    machine_profile(REQUEST)
    code = (
        "import sys, pathlib, platformdirs; "
        f"platformdirs.user_cache_path = lambda name: pathlib.Path({str(tmp_path / 'cache')!r}) / name; "
        "from ppgym.codec.profiler import Request, machine_profile; "
        "assert machine_profile(Request(('cpu',), 'tiny', 64))[2]; "
        "assert not {'torch', 'diffusers', 'av'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_measured_once_and_again_when_asked(measure: Measurer) -> None:
    first, path, cached = machine_profile(REQUEST)
    assert (cached, measure.calls) == (False, 1)
    assert machine_profile(REQUEST) == (first, path, True)
    again, same_path, cached = machine_profile(REQUEST, refresh=True)
    assert (again.description, same_path, cached) == ("measurement 2", path, False)
    assert machine_profile(REQUEST) == (again, path, True)


def test_what_a_time_depends_on_is_in_the_key(
    measure: Measurer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine_profile(REQUEST)
    for changed in (
        {"resolution": 128},
        {"batch": (2,)},
        {"dtype": "float16"},
        {"model": "sd-turbo-random"},
        {"units": ("gpu",)},
        {"compile": True},
    ):
        assert not machine_profile(dataclasses.replace(REQUEST, **changed))[2]
    elsewhere: list[tuple[str, Callable[[], Any]]] = [
        ("ppgym.codec.profiler.software", lambda: {"torch": "9"}),
        ("ppgym.world.this_machine.this_machine", lambda: MACHINE),
        ("ppgym.world.this_machine.this_machine", lambda: dataclasses.replace(MACHINE, driver="1.3")),
    ]
    for name, answer in elsewhere:
        with monkeypatch.context() as patch:
            patch.setattr(name, answer)
            assert not machine_profile(REQUEST)[2]
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert not machine_profile(REQUEST)[2]

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"123")
    request = dataclasses.replace(REQUEST, model=str(folder))
    assert not machine_profile(request)[2]
    assert machine_profile(request)[2]
    (folder / "weights.safetensors").write_bytes(b"1234")
    assert not machine_profile(request)[2]


UNMEASURED = json.dumps(DeviceProfile.load("rtx-4090").to_json())


@pytest.mark.parametrize("damage", ["", "{", '{"schema": "ppgym-device/1"}', "\x00", UNMEASURED])
def test_a_damaged_entry_is_set_aside_and_measured_anew(damage: str, measure: Measurer) -> None:
    _, path, _ = machine_profile(REQUEST)
    path.write_text(damage)
    with pytest.warns(UserWarning, match=f"(?s){path.name}.*set aside as {path.stem}.damaged"):
        found, _, cached = machine_profile(REQUEST)
    assert (found.description, cached) == ("measurement 2", False)
    assert path.with_suffix(".damaged").read_text() == damage
    assert machine_profile(REQUEST)[2]


def test_of_two_processes_at_once_one_measures(tmp_path: Path) -> None:
    code = f"""
import dataclasses, pathlib, time
import platformdirs
platformdirs.user_cache_path = lambda name: pathlib.Path({str(tmp_path / "cache")!r}) / name
from ppgym.codec import profiler
from ppgym.codec.profiler import Request, machine_profile
from ppgym.world.devices import DeviceProfile

def measure(request):
    with open({str(tmp_path / "measured")!r}, "a") as file:
        file.write("x")
    time.sleep(0.5)
    return dataclasses.replace(DeviceProfile.load("rtx-4090"), measurement={{}})

profiler.measure_machine = measure
print(machine_profile(Request(("cpu",), "tiny", 64))[1])
"""
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert (tmp_path / "measured").read_text() == "x"
    assert DeviceProfile.load(answers[0][0].strip()).name == "rtx-4090"


def test_times_agree_with_a_bare_loop_over_the_same_modules(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "MIN_S", 0.5)
    monkeypatch.setattr(timing, "MAX_S", 0.5)
    embeddings = torch.zeros(2, generator.tokens, generator.width)

    def bare_s() -> float:
        latent = generator.latent.expand(2, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        start_s = time.perf_counter()
        with torch.inference_mode():
            clean = generator.unet(latent, generator.timestep, generator.neutral + embeddings).sample
            pictures = generator.vae.decode(clean).sample
            (pictures * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return time.perf_counter() - start_s

    ratios = []
    for _ in range(5):  # others use the machine too: one quiet moment is enough
        before = statistics.median(bare_s() for _ in range(20))
        profiled_s = time_passes(generator, "cpu", 2)[-1].median_s
        after = statistics.median(bare_s() for _ in range(20))
        ratios.append(2 * profiled_s / (before + after))
        if abs(ratios[-1] - 1) <= 0.15:
            return
    pytest.fail(f"profiled over bare seconds: {ratios}")


def test_timing_leaves_the_generator_as_it_was(generator: Generator, brief: None) -> None:
    unet, picture = generator.unet, make_pass(generator, 1)()
    unet_stage, decoder_stage, pass_stage = time_passes(generator, "cpu", 1)
    assert generator.unet is unet
    np.testing.assert_array_equal(make_pass(generator, 1)(), picture)
    assert unet_stage.median_s + decoder_stage.median_s <= 1.2 * pass_stage.median_s
    assert max(unet_stage.median_s, decoder_stage.median_s) < pass_stage.median_s


def test_two_units_are_timed_alone_and_at_once(
    random_tiny: Path, brief: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(profiler.TORCH_DEVICES, "gpu", "cpu")  # the CPU plays both
    monkeypatch.setitem(profiler.DTYPES, "gpu", "float32")
    monkeypatch.setattr(profiler, "this_machine", lambda: dataclasses.replace(MACHINE, gpu="NVIDIA H200"))
    profile = profiler.measure_machine(Request(("gpu", "cpu"), str(random_tiny), 64, (1,)))
    assert [row.unit for row in profile.rows if row.codec == "prompt"] == ["gpu", "cpu"]
    assert profile.contention_provenance == "measured"
    contention = profile.contention_array()
    assert (contention[:2, 2:] >= 1).all()
    assert (contention[:, :2] == 1).all()
    assert (contention[2:] == 1).all()
    assert "cpu and gpu at once" in capsys.readouterr().out

    assert profile.measurement is not None
    profile.measurement["dtype"]["gpu"] = "bfloat16"
    profiler.print_profile(profile)
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(" gpu")]
    (stage,) = (s for s in profile.measurement["stages"] if (s["unit"], s["stage"]) == ("gpu", "unet"))
    share = profile.measurement["flops_per_frame"]["unet"] / stage["median_s"] / 989.5e12
    assert f"{share:.1%}" in shown[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: GPU timing was not exercised")
def test_a_gpu_is_timed_alone_and_beside_the_cpu(random_tiny: Path, brief: None) -> None:
    request = Request(("cpu", "gpu"), str(random_tiny), 64, (1, 2), compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's advice
        profile = profiler.measure_machine(request)
    assert profile.units == ("cpu", "gpu")
    assert profile.contention_provenance == "measured"
    assert profile.measurement is not None
    stages = [stage for stage in profile.measurement["stages"] if stage["unit"] == "gpu"]
    assert {(stage["batch"], stage["compiled"]) for stage in stages} == {(1, False), (2, False), (1, True), (2, True)}
    assert all(stage["peak_memory_bytes"] > 0 and stage["median_s"] > 0 for stage in stages)


def test_a_gpu_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit) as ended:
        main(["profile", "--units", "gpu", "--model", "tiny"])
    assert ended.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resolution", "100"], "resolution: expected a multiple of 16 for 'tiny', got 100"),
        (["--resolution", "-64"], "resolution: expected a number of pixels, got -64"),
        (["--batch", "0"], "batch: expected whole numbers of at least 1"),
        (["--units", "cpu", "cpu"], "units: expected each at most once"),
        (["--model", "tinny"], "no such directory"),
    ],
)
def test_a_bad_request_ends_in_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["profile", "--model", "tiny", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_bundled_model_has_its_files_in_the_key() -> None:
    assert profiler.BUNDLES / "tiny" == BUNDLE
    assert any(name.endswith(".safetensors") for name in profiler.model_files("tiny"))
    assert profiler.model_files("sd-turbo-random") == {}
    assert profiler.model_files("nobody/has-this") == {}


def test_the_best_batch_is_that_of_the_whole_chunk() -> None:
    stages = [a_stage(seconds=s, batch=b) for b, s in ((1, 0.1), (10, 0.5), (20, 0.6), (30, 1.3))]
    assert [round(chunk_seconds(stage), 9) for stage in stages] == [3.0, 1.5, 1.2, 1.3]
    assert best_pass(stages, "cpu").batch == 20  # two passes, the second half empty
    request = Request(("cpu", "gpu"), "m", 256)
    stages += [a_stage(seconds=0.01, batch=5, unit="gpu"), a_stage("unet", 1e-6), a_stage("h264", 0.05, 30)]
    profile = make_profile(request, MACHINE, stages, {"cpu": 1.5, "gpu": 1.25}, (1.0, 2.0, 3.0), MEASUREMENT)
    assert [(row.codec, row.unit, row.seconds, row.flops) for row in profile.rows] == [
        ("prompt", "cpu", 1.2, (1.0, 2.0, 3.0)),
        ("prompt", "gpu", 0.06, (1.0, 2.0, 3.0)),
        ("h264", "cpu", 0.05, (0.0, 1.0, 0.0)),
    ]
    assert profile.rows[0].formula == "2 x 0.6 s, the median of 9 runs of 20 frames"
    np.testing.assert_array_equal(
        profile.contention_array(), [[1, 1, 1.5, 1.5, 1.5], [1, 1, 1.25, 1.25, 1.25], [1] * 5, [1] * 5]
    )
    assert profile.contention_provenance == "measured"
    assert json.loads(json.dumps(profile.to_json())) == profile.to_json()
    prompt = dataclasses.replace(published_ladder().representations[3], width=256, height=256)
    assert profile.seconds(prompt, "gpu") == 0.06


def test_jitter_is_the_spread_of_what_was_measured() -> None:
    seconds = np.random.default_rng(0).lognormal(math.log(0.3), 0.2, 20_000)
    stage = timing.summarize("cpu", "pass", 1, list(seconds), 0)
    assert spread(stage) == pytest.approx(0.2, rel=0.03)
    assert stage.median_s == pytest.approx(0.3, rel=0.01)
    stages = [a_stage(factor=math.exp(0.3 * profiler.Z_P90)), a_stage("h264", factor=math.exp(0.4 * profiler.Z_P90))]
    profile = make_profile(REQUEST, MACHINE, stages, {}, (0.0, 1.0, 0.0), MEASUREMENT)
    assert profile.jitter_sigma == pytest.approx(math.sqrt((0.3**2 + 0.4**2) / 2), abs=1e-4)
    assert (profile.jitter_provenance, profile.contention_provenance) == ("measured", "assumption")


def test_runs_go_on_until_the_median_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MIN_S", 0.0)

    def runs(sigma: float, limit_s: float = 60.0) -> int:
        monkeypatch.setattr(timing, "MAX_S", limit_s)
        rng = np.random.default_rng(1)
        return len(repeat(lambda: {"a": 1 + sigma * rng.normal(), "b": 1e9 * rng.normal()}, "a")["b"])

    assert runs(0.0) == timing.MIN_RUNS
    # 1.253 sigma / sqrt(runs) < 0.01, give or take what quartiles of few samples are off
    assert 60 < runs(0.1) < 350
    assert runs(0.1, limit_s=0.0) == timing.MIN_RUNS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of resident memory")
def test_memory_is_that_of_the_stage_alone() -> None:
    watch = Stopwatch(torch.device("cpu"))
    small = watch.wrap("small", lambda: None)
    big = watch.wrap("big", lambda: np.ones(100 * 2**20, np.uint8).sum())
    small()
    before = watch.peak_bytes["small"]
    big()
    assert watch.peak_bytes["big"] - before > 90 * 2**20
    small()
    assert watch.peak_bytes["small"] - before < 50 * 2**20
    assert set(watch.seconds()) == {"small", "big"}


def test_slowdowns_are_seconds_at_once_over_seconds_alone(monkeypatch: pytest.MonkeyPatch, brief: None) -> None:
    monkeypatch.setattr(timing, "_seconds", lambda job: job())  # a job says itself how long it took
    running = {"cpu": threading.Event(), "gpu": threading.Event()}

    def job(unit: str, other: str, alone_s: float, together_s: float) -> float:
        if threading.current_thread() is threading.main_thread():
            return alone_s
        running[unit].set()
        return together_s if running[other].wait(timeout=60) else math.inf

    jobs = {"cpu": lambda: job("cpu", "gpu", 0.2, 0.3), "gpu": lambda: job("gpu", "cpu", 0.1, 0.09)}
    assert slowdowns(jobs) == {"cpu": pytest.approx(1.5), "gpu": 1.0}

    jobs["gpu"] = lambda: 0.1 if threading.current_thread() is threading.main_thread() else 1 // 0
    with pytest.raises(ZeroDivisionError):  # and the other thread comes to an end
        slowdowns(jobs)


def sd_turbo_on_paper() -> Any:
    """What counting needs of SD-Turbo's architecture with TAESD, without memory."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**SD_TURBO_UNET).eval(), AutoencoderTiny().eval()
    latent = torch.empty(4, 64, 64, device="meta")
    sizes = {"pixels_per_latent": 8, "tokens": 77, "width": 1024}
    return SimpleNamespace(unet=unet, vae=vae, latent=latent, timestep=999, dtype=torch.float32, **sizes)


def test_flops_of_sd_turbo_are_the_known_ones_and_follow_the_formula() -> None:
    model = sd_turbo_on_paper()
    frame = count_flops(model, 512)
    assert (frame.unet / 1e12, frame.decoder / 1e12) == (pytest.approx(0.804, abs=5e-4), pytest.approx(0.141, abs=5e-4))
    coefficients = flops_coefficients(model, 512)
    (row,) = (row for row in DeviceProfile.load("rtx-4090").rows if row.codec == "prompt")
    assert coefficients == row.flops
    for side_px in (256, 640, 1280):  # none of them among those that the formula goes through
        pixels = side_px**2
        counted = sum(count_flops(model, side_px))
        assert np.polyval(coefficients[::-1], pixels) == pytest.approx(counted, rel=1e-6)


def test_counting_computes_nothing_and_changes_nothing(generator: Generator) -> None:
    before = make_pass(generator, 1)()
    assert count_flops(generator, 128).unet > 1e8
    np.testing.assert_array_equal(make_pass(generator, 1)(), before)


def test_peaks_are_known_by_the_name_that_a_driver_says() -> None:
    assert peak_flops("NVIDIA H200") == 989.5e12
    assert peak_flops("NVIDIA GeForce RTX 4090") == 165.2e12
    assert peak_flops("") is None


def test_another_size_is_drawn(random_tiny: Path) -> None:
    model = load_generator(random_tiny)
    resize(model, 64)
    assert make_pass(model, 3)().shape == (3, 64, 64, 3)
