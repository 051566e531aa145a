"""The page: templates filled with the parts of a run, as one HTML file that needs no network.

The data of each episode and each scenario lie in the page as compressed blocks, and so does plotly. The browser
unpacks a block when it shows it. The tables are plain HTML. Jinja escapes all that comes from a run.
"""

import base64
import json
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import ppgym
from ppgym.files import write_text
from ppgym.report.breakeven import breakeven_figure, read_planes
from ppgym.report.figures import qoe_figure, terms_figure, trade_off_figure
from ppgym.report.player import Explain, choose_episodes, episode_block, stage
from ppgym.report.results import ALL, Results, average_rows, read_run
from ppgym.report.tables import leaderboard_table

PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("ppgym.report", "assets"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
PAGES.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
PAGES.globals["asset"] = lambda name: Markup((files("ppgym.report") / "assets" / name).read_text("utf-8"))


def write_report(
    path: Path,
    folder: Path,
    *,
    breakeven: Path | None = None,
    sessions_per_scenario: int = 3,
    explain: Explain | None = None,
) -> None:
    """Write a run as one page.

    Args:
        path: The page; written whole or not at all.
        folder: What `ppgym.benchmark.run.run_benchmark` wrote.
        breakeven: File of a break-even map, see `ppgym.report.breakeven.read_planes`; no map where None.
        sessions_per_scenario: Sessions of each scenario in the player.
        explain: Explains each decision of one of the planner's records, in the order of its actions.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A number of sessions below 1, or a file that is not what it should be.
    """
    if sessions_per_scenario < 1:
        raise ValueError(f"sessions_per_scenario: expected at least 1, got {sessions_per_scenario}")
    results = read_run(folder)
    planes = [] if breakeven is None else read_planes(breakeven)
    average = average_rows(results) if len(results.rows) > 1 else []
    views = {ALL: average} | results.rows if average else results.rows
    index, blocks = _player(results, sessions_per_scenario, explain)
    for i, rows in enumerate(views.values()):
        drawn = {"qoe": qoe_figure(rows), "terms": terms_figure(rows), "trade-off": trade_off_figure(rows)}
        blocks[f"figures-{i}"] = {name: figure.to_plotly_json() for name, figure in drawn.items()}
    for i, plane in enumerate(planes):
        blocks[f"plane-{i}"] = breakeven_figure(plane).to_plotly_json()
    texts = {name: json.dumps(content, separators=(",", ":"), allow_nan=False) for name, content in blocks.items()}
    page = PAGES.get_template("page.html").render(
        summary=_summary(results),
        views={name: leaderboard_table(rows) for name, rows in views.items()},
        planes=planes,
        versions=_versions(results),
        index=index | {"first": 1 if average else 0},
        blocks={name: _packed(text) for name, text in (texts | {"plotly": get_plotlyjs()}).items()},
    )
    write_text(path, page)


def _player(
    results: Results, sessions_per_scenario: int, explain: Explain | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the player offers, and the blocks it unpacks."""
    scenarios, blocks = [], {}
    for i, name in enumerate(results.rows):
        choices = choose_episodes(results, name, sessions_per_scenario)
        for choice in choices.episodes:
            blocks[f"episode-{i}-{choice.seed}"] = episode_block(results, name, choice.seed, explain)
        scenarios.append({"name": name} | stage(results, name) | choices._asdict())
    return {"scenarios": scenarios}, blocks


def _summary(results: Results) -> str:
    agents = {row["agent"] for rows in results.rows.values() for row in rows}
    sessions = {row["sessions"] for rows in results.rows.values() for row in rows}
    each = str(min(sessions)) if len(sessions) == 1 else f"{min(sessions)} to {max(sessions)}"
    return f"{len(results.rows)} scenarios, {len(agents)} agents, {each} paired sessions of each"


def _versions(results: Results) -> str:
    record = next(iter(next(iter(next(iter(results.records.values())).values())).values()))
    played = record.get("versions", {"ppgym": ppgym.__version__})
    return ", ".join(f"{name} {version}" for name, version in played.items())


def _packed(text: str) -> str:
    """A zlib stream in base64, which `unpack` of page.js undoes."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
