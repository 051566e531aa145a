"""README.md is what `python docs/readme.py` makes of it: its tables are the committed results', figure by figure."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import readme  # noqa: E402

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_come_from_the_committed_results() -> None:
    assert readme.fill(TEXT) == TEXT, "run python docs/readme.py"


def test_a_figure_that_is_changed_is_noticed() -> None:
    rows = json.loads((ROOT / "docs" / "results" / "default" / "results.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        figure = f" {row['qoe_mean']:.1f} | "
        assert figure in TEXT
        assert readme.fill(TEXT.replace(figure, " 99.9 | ", 1)) == TEXT


def test_a_mark_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="expected marks for the tables"):
        readme.fill(TEXT.replace("<!-- table: claims -->", "<!-- table: claim -->"))


def test_pictures_and_pages_that_are_named_are_there() -> None:
    for link in readme.LINK.findall(TEXT):
        assert (ROOT / link).exists(), link
