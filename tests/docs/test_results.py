"""Every page is what `python docs/results.py` makes of it: its tables are the committed results', figure by figure."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import results  # noqa: E402

RESULTS = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)\)")  # to a file of the project


@pytest.mark.parametrize("page", results.PAGES, ids=lambda page: page.name)
def test_the_tables_come_from_the_committed_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert results.fill(text) == text, "run python docs/results.py"


def test_every_table_has_its_page() -> None:
    marks = {name for page in results.PAGES for _, name, _ in results.BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert marks == set(results.TABLES)


def test_a_figure_that_is_changed_is_noticed() -> None:
    rows = json.loads((ROOT / "docs" / "results" / "default" / "results.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        figure = f" {row['qoe']:.1f} | "
        assert figure in RESULTS
        assert results.fill(RESULTS.replace(figure, " 99.9 | ", 1)) == RESULTS


def test_a_mark_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="table 'summery': did you mean"):
        results.fill("<!-- table: summery -->\n<!-- end -->\n")


def test_pictures_and_pages_that_readme_names_are_there() -> None:
    assert LINK.findall(README)
    for link in LINK.findall(README):
        assert (ROOT / link).exists(), link


def test_readme_shows_the_example_as_it_is() -> None:
    assert f"```python\n{(ROOT / 'examples' / 'my_agent.py').read_text(encoding='utf-8')}```" in README


def test_readme_is_short() -> None:
    """At most 8 kB and 1,300 words, and a moving picture of at most 1.5 MB."""
    assert len(README.encode()) <= 8000
    assert len(README.split()) <= 1300
    assert (ROOT / "docs" / "episode.webp").stat().st_size <= 1.5e6
