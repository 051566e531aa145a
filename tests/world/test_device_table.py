"""The table of devices: its figures by hand, the README's from the JSON files, and what was not measured as derived."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from evaluate import run
from ppgym.world.device_table import BEGIN, END, markdown_table, print_devices, prompt_share, write_readme
from ppgym.world.devices import DEVICES, DeviceProfile

README = Path(__file__).parents[2] / "traces" / "devices" / "README.md"
HOW = "run python evaluate.py devices --readme traces/devices/README.md"


def test_the_readme_shows_the_files() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == markdown_table(map(DeviceProfile.load, DEVICES)), HOW


def test_the_readme_is_written_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}old\n{END}after\n")
    write_readme(path)
    assert path.read_text() == f"before\n{BEGIN}{markdown_table(map(DeviceProfile.load, DEVICES))}{END}after\n"
    path.write_text("no marks\n")
    with pytest.raises(ValueError, match=r"README.md: expected the lines"):
        write_readme(path)


def test_what_has_one_source_shares_a_line() -> None:
    lines = markdown_table([DeviceProfile.load("rtx-4090")]).splitlines()[2:]
    assert [line.split(" | ")[:4] for line in lines] == [
        ["| rtx-4090", "gpu", "512 x 512, 30 fps", "prompt 0.1765"],
        ["| rtx-4090", "cpu", "512 x 512, 30 fps", "h264 0.05, hevc 0.1, av1 0.15"],
        ["| rtx-4090", "vdec", "512 x 512, 30 fps", "h264 0.02, hevc 0.02, av1 0.02"],
    ]
    assert lines[0].endswith("; 30 frames / 170 FPS |")


@pytest.mark.parametrize(
    ("device", "share"),
    [
        ("snapdragon-8-gen-2", 1 / 3.401),  # its GPU is above the limit of 10 s
        ("snapdragon-8-elite", 1 / 1.9369 + 1 / 8.1144),
        ("rtx-4090", 1.0),
        ("pixels-only", 0.0),
        ("epyc-2-core", 0.0),
    ],
)
def test_the_share_of_prompts_is_what_all_units_decode_in_a_second(device: str, share: float) -> None:
    assert prompt_share(DeviceProfile.load(device)) == pytest.approx(share, rel=1e-6)


def test_frames_and_real_time_follow_from_the_seconds() -> None:
    out = io.StringIO()
    print_devices([DeviceProfile.load(name) for name in DEVICES], Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["gpu", "prompt", "512x512@30", "0.176", "170", "5.67", "derived"] in lines
    assert ["vdec", "h264", "512x512@30", "0.02", "1,500", "50", "assumption"] in lines
    assert "snapdragon-8-elite: 64% of a feed could be prompts" in out.getvalue()
    assert "…" not in out.getvalue()


def test_the_command_prints_them_in_one_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["--devices", "epyc-2-core-256px", "rtx-4090", "--resolution", "512"]
    run("devices", [*arguments])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "512x512@30" in line]
    assert len(rows) == 4 + 7
    assert [row[-1] for row in rows[:5]] == ["derived"] * 5
    with pytest.raises(FileNotFoundError, match="did you mean 'rtx-4090'"):
        run("devices", ["--devices", "rtx-409"])


def test_what_was_not_measured_is_derived() -> None:
    profile = DeviceProfile.load("epyc-2-core")
    same, half = profile.at(512, 512, 30), profile.at(512, 512, 15)
    assert same == profile
    for row, slower in zip(half.rows, profile.rows, strict=True):
        assert row.seconds == pytest.approx(slower.seconds / 2)
        assert (row.provenance, slower.provenance) == ("derived", "measured")
    small = profile.at(256, 256, 30)
    (prompt,) = (row for row in small.rows if row.codec == "prompt")
    (reference,) = (row for row in profile.rows if row.codec == "prompt")
    assert prompt.seconds == pytest.approx(reference.seconds * 0.216428 / 0.945608, rel=1e-4)  # TFLOPs of a frame
    assert prompt.formula.endswith("; from 512 x 512 at 30 fps by FLOPs")
    assert small.rows[1].seconds == pytest.approx(profile.rows[1].seconds / 4)
    assert small.rows[1].formula.endswith("by frames and pixels")
    assert dataclasses.replace(small, rows=profile.rows) == profile
