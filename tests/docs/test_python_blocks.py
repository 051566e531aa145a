"""Every Python block of README and site runs, and prints what the block after it says."""

import contextlib
import io
from pathlib import Path

import pytest

from tests.docs.pages import blocks, pages

PAGES = {name: text for name, text in pages().items() if "```python" in text}


def run_page(name: str, text: str) -> None:
    """Run the Python blocks of a page in order, in one namespace, and compare what they print."""
    namespace: dict[str, object] = {"__name__": name}
    for block in blocks(text):
        if block.language != "python":
            continue
        printed = io.StringIO()
        code = compile("\n" * block.line + block.text, name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # the project's own pages
        expected = "" if block.output is None else block.output
        assert printed.getvalue() == expected, f"{name}, line {block.line}: prints otherwise than the page says"


@pytest.mark.parametrize("name", PAGES)
def test_blocks_print_what_the_page_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    run_page(name, PAGES[name])


def test_another_output_is_noticed() -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    run_page("right", page.format(2))
    with pytest.raises(AssertionError, match="wrong, line 1: prints otherwise"):
        run_page("wrong", page.format(3))
    with pytest.raises(ZeroDivisionError):
        run_page("raises", "```python\n1 / 0\n```\n")
