"""The commands of `python -m ppgym.world`: their arguments, and the calls that each makes."""

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ppgym.world import conversion, inspection
from ppgym.world.readers.columns import Columns
from ppgym.world.template import write_template

app = tyro.extras.SubcommandApp()

WIDTH = 80  # of a terminal


@dataclass(frozen=True)
class Table:
    """Which columns of a CSV file make a network trace.

    Attributes:
        time_column: Name of the column of stamps.
        rate_column: Name of the column of rates.
        rate_unit: bit/s, kbit/s, Mbit/s, Gbit/s, bytes/s, kbytes/s or Mbytes/s.
        time_unit: s, ms or us; may be left out for dates, and for steps of at most 10, which are seconds.
    """

    time_column: str | None = None
    rate_column: str | None = None
    rate_unit: str | None = None
    time_unit: str | None = None

    def columns(self) -> Columns | None:
        """The columns; None where none is named."""
        needed = self.time_column, self.rate_column, self.rate_unit
        if needed == (None, None, None) and self.time_unit is None:
            return None
        time, rate, unit = needed
        if time is None or rate is None or unit is None:
            raise ValueError("expected --time-column, --rate-column and --rate-unit together")
        return Columns(time, rate, unit, self.time_unit)


BY_HEADER = Table()


@app.command
def inspect(
    paths: Positional[tuple[Path, ...]],
    plot: Path | None = None,
    format: str = "auto",
    table: OmitArgPrefixes[Table] = BY_HEADER,
) -> None:
    """Say of files and folders what they are, and draw them.

    Args:
        paths: Files and folders: network traces, videos, manifests, viewers, devices, ladders, scenarios.
        plot: PNG file to draw traces, retention curves and videos into.
        format: Of network traces, where a file leaves a doubt: seconds_mbps, milliseconds_kbps, mahimahi, six_columns,
            csv or sabre.
        table: Which columns of a CSV file make a network trace.
    """
    if not paths:
        raise ValueError("expected files or folders to inspect")
    findings, wrong = [], False
    for path in paths:
        try:
            findings.append(inspection.inspect(path, format, table.columns()))
            print(as_text(findings[-1]))
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            wrong = True
    if plot is not None and findings:
        from ppgym.world.pictures import draw

        draw(findings, plot)
        print(plot)
    if wrong:
        raise SystemExit(2)


def as_text(finding: inspection.Finding) -> str:
    """A finding in lines of at most 80 characters."""
    lines = textwrap.wrap(f"{finding.path}: {finding.what}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    margin = 2 + max((len(label) for label, _ in finding.facts), default=0) + 2
    for label, text in finding.facts:
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {label}".ljust(margin),
            subsequent_indent=" " * min(margin, WIDTH // 2),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


@app.command
def new(path: Positional[Path]) -> None:
    """Write a commented scenario file, to be changed to a world of your own.

    Args:
        path: New file, such as my.yml.
    """
    write_template(path)
    print(f"{path}: change what differs in your world, then: python evaluate.py run --scenarios {path}")


@app.command
def convert(
    path: Positional[Path],
    output: Path,
    format: str = "auto",
    table: OmitArgPrefixes[Table] = BY_HEADER,
    by: Literal["duration", "video"] = "duration",
) -> None:
    """Write network traces, viewers' logs or tables in ppgym's own formats.

    Args:
        path: File or folder.
        output: New file; for a folder or a log of views, new folder.
        format: As in inspect.
        table: As in inspect.
        by: Whether a log of views becomes a curve for each class of durations, or for each video.
    """
    written = conversion.convert(inspection.inspect(path, format, table.columns(), by), output)
    print(f"{output}: {len(written)} {'file' if len(written) == 1 else 'files'} from {path}")
