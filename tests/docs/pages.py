"""The pages of the project and the fenced blocks in them, for the tests of this folder."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int
    output: str | None  # the text block that follows it with nothing in between


def pages() -> dict[str, str]:
    """Every page by its path, but the boards that are made of entries."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    kept = [path for path in paths if "leaderboard/standard" not in path.as_posix()]
    return {path.relative_to(ROOT).as_posix(): _included(path.read_text(encoding="utf-8")) for path in kept}


def _included(text: str) -> str:
    """A page with the files that it includes."""
    return SNIPPET.sub(lambda match: (ROOT / match[1]).read_text(encoding="utf-8"), text)


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order.

    Args:
        page: Its text.
    """
    found = list(FENCE.finditer(page))
    ends = [match.end() for match in found]
    result = []
    for i, match in enumerate(found):
        follows = i + 1 < len(found) and not page[ends[i] : found[i + 1].start()].strip()
        output = found[i + 1][2] if follows and found[i + 1][1] == "text" else None
        result.append(Block(match[1], match[2], page.count("\n", 0, match.start()) + 1, output))
    return result


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, each as its words.

    Args:
        block: Continued lines are joined, comments are left out.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
