"""The README's table of results is the committed results', figure by figure."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "default" / "results.json"


def markdown_row(row: dict) -> str:
    low, high = row["qoe_ci95"]
    share_low, share_high = row["share_ci95"]
    name = row["agent"] if row["ranked"] else f"*{row['agent']}*"
    return (
        f"| {name} | {row['qoe_mean']:.1f} | {low:.1f} to {high:.1f} "
        f"| {row['share']:.0%} ({share_low:.0%} to {share_high:.0%}) | {row['stall_ratio']:.1%} "
        f"| {row['waste_ratio']:.1%} | {row['quality_mean']:.2f} | {row['decision_ms_p50']:.2f} |"
    )


def bound_row(row: dict) -> str:
    low, high = row["bound_ci95"]
    return f"| *bound* | {row['bound_mean']:.1f} | {low:.1f} to {high:.1f} | 100% | | | | |"


def test_the_table_of_results_comes_from_the_committed_results() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row in rows:
        assert markdown_row(row) in readme
    assert bound_row(rows[0]) in readme
