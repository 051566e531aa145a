"""The glossary has every column of the results and every key of info."""

import dataclasses
import re
from pathlib import Path

from ppgym.benchmark.summary import Row
from ppgym.env import PromptPreamEnv

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`(\w+)`", GLOSSARY))


def test_it_has_every_column() -> None:
    assert {field.name for field in dataclasses.fields(Row)} <= WORDS


def test_it_has_every_key_of_info() -> None:
    _, info = PromptPreamEnv().reset(seed=0)
    assert {key for key in info if not key.startswith("_")} <= WORDS


def test_its_words_are_sorted() -> None:
    words = re.findall(r"^\| ([A-Za-z][\w -]*?) \|", GLOSSARY.split("## Keys")[0], re.MULTILINE)[1:]
    assert words == sorted(words, key=str.casefold)
    assert len(words) > 40
