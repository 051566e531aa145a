"""CITATION.cff says what the package says."""

import re
from pathlib import Path

import yaml

import ppgym

ROOT = Path(__file__).parents[2]


def test_citation() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "type", "title", "authors", "version", "license"} <= set(found)
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == ppgym.__version__
    assert f'license = "{found["license"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (paper,) = found["references"]
    number = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    assert re.fullmatch(r"\d{4}\.\d{5}", number)
    assert number in paper["url"]
    assert number in (ROOT / "README.md").read_text(encoding="utf-8")


def test_workflows_call_the_commands_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    called = [step["run"].split() for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {words[1] for words in called} == {"test", "docs"} <= targets
    assert {words[0] for words in called} == {"make"}
    assert jobs["test"]["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest"],
        "python": ["3.11", "3.12", "3.13", "3.14"],
    }
