"""The README's table of results is the committed results', figure by figure."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "default" / "results.json"


def markdown_row(row: dict) -> str:
    low, high = row["qoe_ci95"]
    return (
        f"| {row['agent']} | {row['qoe_mean']:.1f} | {low:.1f} to {high:.1f} | {row['stall_ratio']:.1%} "
        f"| {row['waste_ratio']:.1%} | {row['quality_mean']:.2f} | {row['decision_ms_p50']:.2f} |"
    )


def test_the_table_of_results_comes_from_the_committed_results() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row in rows:
        assert markdown_row(row) in readme
