"""What validation refuses, what it says, and that nothing of an entry runs where it is judged."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import REGISTRY
from ppgym.benchmark.episodes import session_seed
from ppgym.benchmark.records import Journal, read_records, write_records
from ppgym.benchmark.run import write_board
from ppgym.benchmark.summary import Board, summarize
from ppgym.benchmark.validation import _read_compact, check_run, chosen_sessions, validate
from ppgym.core.jit import kernel_hash
from tests.benchmark.forgers import AGENTS, SCENARIOS, SESSIONS, evil, of_records, of_results, of_text


def test_a_run_comes_back_with_all_its_figures(results: tuple[Path, Board]) -> None:
    folder, _ = results
    checked = validate(folder, REGISTRY)
    assert checked.records == len(AGENTS) * len(SCENARIOS) * SESSIONS
    assert checked.transitions == sum(len(record["actions"]) for record in read_records(folder))
    assert not (folder / Journal.NAME).exists()


def test_what_should_be_known_is_said(copied: Path, tmp_path: Path) -> None:
    assert check_run(copied, REGISTRY)[3:] == (("records.jsonl", "results.json", "results.csv", "README.md"), ())
    for name in ("results.json", "results.csv", "README.md"):
        (copied / name).unlink()
    (copied / "claims.json").write_text("{}")

    def change(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["versions"]["kernel"] = "beef"
            del record["versions"]["numpy"]

    of_records(change)(copied)
    checked = check_run(copied, REGISTRY)
    assert checked.compared == ("records.jsonl",)
    assert "there is no results.json: there are no figures to compare" in checked.notes
    assert "not compared: claims.json" in checked.notes
    assert f"kernel of the records: beef; today's: {kernel_hash()}" in checked.notes
    assert f"numpy of the records: none; today's: {np.__version__}" in checked.notes


def test_chosen_sessions_are_said(copied: Path) -> None:
    records = list(read_records(copied))
    assert chosen_sessions(records) == []
    some = [one for one in records if one["seed"] != session_seed(SCENARIOS[0], 1)]
    [note] = chosen_sessions(some)
    assert note.startswith(f"{SCENARIOS[0]}: its 2 sessions are not k, k + 1")
    write_records(copied, some)
    write_board(copied, summarize(some))
    assert note in check_run(copied, REGISTRY).notes
    some = [one for one in records if one["seed"] != session_seed(SCENARIOS[0], 0)]
    assert chosen_sessions(some) == ["scenarios have different first sessions: [0, 1]"]


FORGERIES = {
    "a figure": (of_results(lambda c: c["rows"][0].update(qoe=c["rows"][0]["qoe"] + 1e-6)), r"rows\[0\]\.qoe: "),
    "the bound": (of_results(lambda c: c["rows"][1].update(bound=500.0)), r"rows\[1\]\.bound: 500\.0, expected"),
    "a nested figure": (of_results(lambda c: c["rows"][1]["utilisation"].update(npu=0.5)), r"utilisation\.npu"),
    "decision times": (of_results(lambda c: c["rows"][2].update(decision_ms_p50=0.001)), "decision_ms_p50"),
    "ranked": (of_results(lambda c: c["rows"][2].update(ranked=False)), r"rows\[5\]\.ranked: True"),
    "overall": (of_results(lambda c: c["overall"][0].update(qoe=99.0)), r"overall\[0\]\.qoe: 99\.0"),
    "no overall": (of_results(lambda c: c.pop("overall")), "overall: missing"),
    "key deleted": (of_results(lambda c: c["rows"][0].pop("waste_ratio")), r"rows\[0\]\.waste_ratio: missing"),
    "key added": (of_results(lambda c: c["rows"][0].update(award=1)), r"rows\[0\]\.award: surplus"),
    "row doubled": (of_results(lambda c: c["rows"].append(c["rows"][0])), "rows: 7 entries, expected 6"),
    "row missing": (of_results(lambda c: c["rows"].pop()), "rows: 5 entries, expected 6"),
    "another agent": (of_results(lambda c: c["rows"][0].update(agent="better")), r"rows\[0\]\.agent: 'better'"),
    "results.csv": (of_text("results.csv", "greedy,3,", "greedy,3,9"), r"results\.csv: line\[\d\]\[3\]: 9"),
    "no results.csv": (lambda folder: (folder / "results.csv").unlink(), r"results\.csv: missing"),
    "README.md": (of_text("README.md", "| greedy | ", "| greedy | 9"), r"README\.md: line"),
    "ranked everywhere": (
        lambda folder: write_board(
            folder, summarize(list(read_records(folder)), is_ranked=lambda agent: agent != "greedy")
        ),
        "ranked: False, expected True of greedy",
    ),
    "README.md grown": (of_text("README.md", "## All", "The best.\n\n## All"), r"README\.md: line"),
    "record doubled": (of_records(lambda r: r.append(r[0])), "expected each seed once"),
    "record missing": (of_records(lambda r: r.pop()), "to have the seeds of random"),
    "session missing": (
        of_records(lambda r: r.__setitem__(slice(None), [one for one in r if one["seed"] != r[0]["seed"]])),
        r"rows\[0\]\.sessions: 3, expected 2",
    ),
    "results.csv with another zero": (of_text("results.csv", "greedy,3,", "greedy,0_3,"), r"results\.csv: line"),
    "README.md without its end": (
        lambda folder: (folder / "README.md").write_text((folder / "README.md").read_text().rstrip("\n")),
        r"README\.md: line: \d+ entries",
    ),
    "no results.json": (
        lambda folder: (folder / "results.json").unlink(),
        r"results\.csv and README\.md without results\.json",
    ),
    "no rows": (of_results(lambda c: c.update(rows=None)), r"rows: None, expected \["),
    "rows are a number": (of_results(lambda c: c.update(rows=5)), r"rows: 5, expected \["),
    "baseline is a list": (
        of_results(lambda c: [row.update(baseline=["a"]) for row in c["rows"]]),
        r"rows\[0\]\.baseline: \['a'\], expected 'on_demand'",
    ),
    "agent is a list": (of_results(lambda c: c["rows"][0].update(agent=["a"])), r"rows\[0\]\.agent: \['a'\]"),
    "a doubled key": (of_text("results.json", '"qoe": ', '"qoe": 1.0, "qoe": '), "line 8: key 'qoe' stands twice"),
    "parameters change between scenarios": (
        of_records(
            lambda r: [
                one["params"].update(defer_s=9.0)
                for one in r
                if one["agent"] == "greedy" and one["scenario"] == SCENARIOS[1]
            ]
        ),
        "greedy, high/pixels-only/skimmer, seed .*: expected the parameters of its other sessions",
    ),
    "parameters change": (
        of_records(lambda r: r[-1]["params"].update(defer_s=9.0)),
        "expected the parameters of its other sessions",
    ),
    "agent renamed": (of_records(lambda r: [one.update(agent="x:Y") for one in r if one["agent"] == "greedy"]), "x:Y"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_run_is_refused(copied: Path, forgery: str) -> None:
    forge, message = FORGERIES[forgery]
    forge(copied)
    with pytest.raises(ValueError, match=message):
        check_run(copied, REGISTRY)


def test_the_module_of_an_entry_is_never_imported_where_it_is_judged(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may say that it does not compete; it cannot touch the comparison."""
    evil(tmp_path / "path", tmp_path / "imported")
    monkeypatch.syspath_prepend(tmp_path / "path")
    of_records(lambda r: [one.update(agent="evil_agent:Agent") for one in r if one["agent"] == "greedy"])(copied)
    with pytest.raises(ValueError, match="figures do not come back"):
        check_run(copied, REGISTRY)
    assert not (tmp_path / "imported").exists(), "figures are compared before anybody is asked"
    write_board(copied, summarize(list(read_records(copied))))
    with pytest.raises(ValueError, match="ranked: True, expected False of evil_agent:Agent"):
        check_run(copied, REGISTRY)
    assert (tmp_path / "imported").exists()
    assert "evil_agent" not in sys.modules
    write_board(copied, summarize(list(read_records(copied)), is_ranked=lambda agent: "evil" not in agent))
    check_run(copied, REGISTRY)


def test_records_that_are_only_read_are_held_small(copied: Path) -> None:
    first, second = list(read_records(copied))[:2]
    first["actions"] = [0, 10**30, -5, 3]
    write_records(copied, [first, second])
    found = _read_compact(copied)
    assert found[0]["actions"].tolist() == [0, -1, -1, 3], "what no space holds is illegal all the same"
    assert found[1]["actions"].tolist() == second["actions"]
    assert {one["actions"].itemsize for one in found} == {2}
    assert found[0]["versions"] == first["versions"]
    assert found[0]["versions"] is found[1]["versions"]
