"""Device profiles side by side: as a table on the screen, and as the one in traces/devices/README.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppgym.files import write_between
from ppgym.world.devices import DEVICES, DecodeRow, DeviceProfile
from ppgym.world.scenario import Scenario

README_COMMAND = "python evaluate.py devices --readme traces/devices/README.md"
BEGIN, END = f"<!-- made by: {README_COMMAND} -->\n", "<!-- end of what was made -->\n"


def decode_rate(profile: DeviceProfile, max_decode_s: float = Scenario.max_decode_s) -> float:
    """Seconds of video that all units together decode from prompts in a second.

    Args:
        profile: The device.
        max_decode_s: A unit that takes longer for a second of content is no option.
    """
    seconds = [row.seconds for row in profile.rows if row.codec == "prompt"]
    return sum(1 / value for value in seconds if value <= max_decode_s)


def prompt_share(profile: DeviceProfile, max_decode_s: float = Scenario.max_decode_s) -> float:
    """The share of a feed's seconds that could be prompts, if all units decoded them all the time.

    Args:
        profile: The device.
        max_decode_s: A unit that takes longer for a second of content is no option.

    Returns:
        From 0, none, to 1, all of it.
    """
    return min(decode_rate(profile, max_decode_s), 1.0)


def print_devices(profiles: Sequence[DeviceProfile], console: Console | None = None) -> None:
    """Print profiles: seconds for one of content, frames per second, and seconds of video decoded in a second.

    Args:
        profiles: The devices.
        console: Where to; standard output where None.
    """
    console = console or Console()
    for profile in profiles:
        share = prompt_share(profile)
        console.print(f"{profile.name}: {share:.0%} of a feed could be prompts", style="bold", highlight=False)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("unit", "codec", "format"):
            table.add_column(heading, no_wrap=True)
        for heading in ("s/s", "frames/s", "real time"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("provenance", no_wrap=True)
        for row in profile.rows:
            table.add_row(
                row.unit,
                row.codec,
                f"{row.width}x{row.height}@{row.fps:g}",
                _figure(row.seconds),
                _figure(row.fps / row.seconds),
                _figure(1 / row.seconds),
                row.provenance,
            )
        console.print(table)


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def markdown_table(profiles: Iterable[DeviceProfile]) -> str:
    """Profiles as a Markdown table: what has the same unit, format, provenance and source shares a line.

    Args:
        profiles: The devices.

    Returns:
        Lines, each with its end.
    """
    lines = [
        "| device | unit | format | s for 1 s of content | provenance | source |",
        "|---|---|---|---|---|---|",
    ]
    for profile in profiles:
        groups: dict[tuple[str, ...], list[str]] = {}
        for row in profile.rows:
            form = f"{row.width} x {row.height}, {row.fps:g} fps"
            groups.setdefault((row.unit, form, row.provenance, _source(row)), []).append(f"{row.codec} {row.seconds:g}")
        for (unit, form, provenance, source), seconds in groups.items():
            lines.append(f"| {profile.name} | {unit} | {form} | {', '.join(seconds)} | {provenance} | {source} |")
    return "\n".join(lines) + "\n"


def _source(row: DecodeRow) -> str:
    """Where a row is from; the formula too, where it is one on published figures."""
    return f"{row.source}; {row.formula}" if row.provenance == "derived" else row.source


def write_readme(path: Path) -> None:
    """Write the table of all shipped devices into a README, in place of the one between its marks.

    Args:
        path: Of the file.

    Raises:
        ValueError: The marks are missing.
    """
    write_between(path, BEGIN, END, markdown_table(map(DeviceProfile.load, DEVICES)))
