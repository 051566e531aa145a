"""The page of an answer: whether generative codecs pay in a world. `agents.studies.ask` finds the answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppgym.files import write_text
from ppgym.report.page import PAGES


def write_answer(path: Path, answer: Mapping[str, Any]) -> None:
    """Write an answer as one page that needs no network and no JavaScript.

    Args:
        path: The page; written whole or not at all.
        answer: As `agents.studies.ask.find_answer` returns it.
    """
    page = PAGES.get_template("answer.html").render(answer=answer, players=answer.get("players", []))
    write_text(path, page)
