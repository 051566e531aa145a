"""A small run, and those who forge it: each changes the files of its folder. For the tests of validation and board."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppgym.benchmark.records import read_records, write_records

SCENARIOS = ("medium/snapdragon-8-elite/skimmer", "high/pixels-only/skimmer")
AGENTS = ("random", "on_demand", "greedy")
SESSIONS = 3


def of_results(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A forger who changes the content of results.json."""

    def forge(folder: Path) -> None:
        content = json.loads((folder / "results.json").read_text())
        change(content)
        (folder / "results.json").write_text(json.dumps(content))

    return forge


def of_records(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], object]:
    """A forger who changes the records."""

    def forge(folder: Path) -> None:
        records = list(read_records(folder))
        change(records)
        write_records(folder, records)

    return forge


def of_text(name: str, old: str, new: str) -> Callable[[Path], object]:
    """A forger who changes a file of figures."""

    def forge(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return forge


def renamed(old: str, new: str) -> Callable[[Path], object]:
    """A run of one agent alone, under another name."""

    def change(records: list[dict[str, Any]]) -> None:
        records[:] = [one | {"agent": new} for one in records if one["agent"] == old]

    return of_records(change)


EVIL = """
import ppgym.benchmark.replay
from pathlib import Path

Path({mark!r}).touch()
ppgym.benchmark.replay._problem = lambda *arguments: ""


class Agent:
    ranked = False

    def predict(self, *arguments, **options):
        pass
"""


def evil(folder: Path, mark: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evil_agent.py").write_text(EVIL.format(mark=str(mark)))
