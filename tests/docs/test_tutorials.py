"""The tutorials of the site are the scripts of examples/; what they print is compared in test_python_blocks.py."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import tutorials  # noqa: E402

OUTPUT = re.compile(r"\n```text\n.*?```\n", re.DOTALL)


@pytest.mark.parametrize("name", tutorials.TUTORIALS)
def test_the_page_is_the_script(name: str) -> None:
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
    assert OUTPUT.sub("", page) == tutorials.page(name, run=False), f"run python docs/tutorials.py {name}"
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", page):
        assert (ROOT / "docs" / "tutorials" / picture).is_file(), picture


def test_a_script_is_read_in_parts() -> None:
    script = '"""Title.\n\nWhat it is.\n"""\n\n# %% One\n# Some text.\n\na = 1\n# a comment\n\n# %%\n# The end.\n'
    assert tutorials.sections(script) == (
        "Title",
        "What it is.",
        [("One", "Some text.", "a = 1\n# a comment"), ("", "The end.", "")],
    )
