"""The page: its parts put together into one HTML file that needs no network.

Data stand in the page as compressed blocks, one an episode and one a scenario, and are unpacked when they are looked
at, as is plotly. The tables are plain HTML. Whatever comes from a run is escaped or compressed: no name can end a
script.
"""

import base64
import json
import zlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

import ppgym
from ppgym.files import write_text
from ppgym.report.breakeven import Plane, breakeven_figure, read_planes
from ppgym.report.figures import qoe_figure, terms_figure, trade_off_figure
from ppgym.report.player import Explain, choose_episodes, episode_block, stage
from ppgym.report.results import ALL, Results, Row, average_rows, read_run
from ppgym.report.tables import leaderboard

ASSETS = files("ppgym.report") / "assets"


def write_report(
    path: Path,
    folder: Path,
    *,
    breakeven: Path | None = None,
    episodes_per_scenario: int = 3,
    explain: Explain | None = None,
) -> None:
    """Write a run as one page.

    Args:
        path: The page; written whole or not at all.
        folder: What `ppgym.benchmark.run.run` wrote.
        breakeven: File of a break-even map, see `ppgym.report.breakeven.read_planes`; no map where None.
        episodes_per_scenario: Episodes of each scenario in the player.
        explain: Explains each decision of one of the planner's records, in the order of its actions.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A number of episodes below 1, or a file that is not what it should be.
    """
    if episodes_per_scenario < 1:
        raise ValueError(f"episodes_per_scenario: expected at least 1, got {episodes_per_scenario}")
    results = read_run(folder)
    planes = [] if breakeven is None else read_planes(breakeven)
    average = average_rows(results) if len(results.rows) > 1 else []
    views = {ALL: average} | results.rows if average else results.rows
    index, blocks = _player(results, episodes_per_scenario, explain)
    for i, rows in enumerate(views.values()):
        drawn = {"qoe": qoe_figure(rows), "terms": terms_figure(rows), "trade-off": trade_off_figure(rows)}
        blocks[f"figures-{i}"] = {name: figure.to_plotly_json() for name, figure in drawn.items()}
    for i, plane in enumerate(planes):
        blocks[f"plane-{i}"] = breakeven_figure(plane).to_plotly_json()
    page = Template((ASSETS / "page.html").read_text("utf-8")).substitute(
        summary=escape(_summary(results)),
        style=_asset("page.css"),
        choices="".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(views)),
        tables="".join(_table(i, name, rows) for i, (name, rows) in enumerate(views.items())),
        breakeven=_maps(planes),
        versions=escape(_versions(results)),
        index=_inline(index | {"first": 1 if average else 0}),
        blocks="\n".join(_block(name, _json(content)) for name, content in blocks.items()),
        plotly=_block("plotly", get_plotlyjs()),
        scripts="\n".join(_asset(name) for name in ("page.js", "lanes.js", "player.js")),
    )
    write_text(path, page)


def _player(
    results: Results, episodes_per_scenario: int, explain: Explain | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the player offers, and the blocks it unpacks."""
    scenarios, blocks = [], {}
    for i, name in enumerate(results.rows):
        choices = choose_episodes(results, name, episodes_per_scenario)
        for choice in choices.episodes:
            blocks[f"episode-{i}-{choice.seed}"] = episode_block(results, name, choice.seed, explain)
        scenarios.append({"name": name} | stage(results, name) | choices._asdict())
    return {"scenarios": scenarios}, blocks


def _summary(results: Results) -> str:
    agents = {row["agent"] for rows in results.rows.values() for row in rows}
    episodes = {row["episodes"] for rows in results.rows.values() for row in rows}
    each = str(min(episodes)) if len(episodes) == 1 else f"{min(episodes)} to {max(episodes)}"
    return f"{len(results.rows)} scenarios, {len(agents)} agents, {each} paired episodes of each"


def _versions(results: Results) -> str:
    record = next(iter(next(iter(next(iter(results.records.values())).values())).values()))
    played = record.get("versions", {"ppgym": ppgym.__version__})
    return ", ".join(f"{name} {version}" for name, version in played.items())


def _table(number: int, name: str, rows: list[Row]) -> str:
    hidden = " hidden" if number else ""
    return (
        f'<div class="scroll" data-view="{number}" role="region" tabindex="0" aria-label="Leaderboard, {escape(name)}"'
        f"{hidden}>{leaderboard(name, rows)}</div>"
    )


def _maps(planes: Iterable[Plane]) -> str:
    """The section of the break-even map; nothing without planes."""
    figures = "".join(
        f'<figure class="card"><figcaption>{escape(plane.y_name)} against {escape(plane.x_name)}</figcaption>'
        f'<div class="plot tall" data-block="plane-{i}" role="img" aria-label="Break-even map of '
        f'{escape(plane.x_name)} and {escape(plane.y_name)}"></div></figure>'
        for i, plane in enumerate(planes)
    )
    return Template((ASSETS / "breakeven.html").read_text("utf-8")).substitute(figures=figures) if figures else ""


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _inline(content: Any) -> str:
    """JSON that may stand in a script element: it holds no `<`, so nothing in it ends the element."""
    return _json(content).replace("<", "\\u003c")


def _block(name: str, text: str) -> str:
    """A text in a script element that no browser runs, compressed: a zlib stream in base64."""
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f'<script type="application/octet-stream" id="{name}">{packed}</script>'
