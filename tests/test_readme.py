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


def percent(share: float) -> str:
    return f"{share:.0%}"


def test_the_table_of_claims_comes_from_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results" / "claims" / "claims.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for claim in results["claims"]:
        assert f"{claim_cells(claim)} | {claim['baseline']} | {claim['planner']} | {claim['holds']} |" in readme
        assert f"{claim['episodes']} test episodes" in readme
    for row in results["diagnosis"]:
        low, high = row["qoe_ci95"]
        qoe = f"{row['qoe_difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        assert f"{claim_cells(row)} | {row['planner']} | {qoe} |" in readme
    for row in results["ablations"]:
        assert ablation_row(row["ablation"], row) in readme
    for verdict, words in (("holds", "earns its place"), ("does not hold", "does not show")):
        parts = [row["ablation"] for row in results["ablations"] if row["holds"] == verdict]
        assert f"- {words}: {', '.join(parts)}\n" in readme
    pruning = [row for row in results["pruning"] if "/snapdragon-8-elite/" in row["scenario"]]
    for key in (key for key in pruning[0] if key != "scenario"):
        assert f"| {key.replace('_', ' ')} | " + " | ".join(f"{row[key]:.1f}" for row in pruning) in readme


def claim_cells(claim: dict) -> str:
    network, device, _ = claim["scenario"].split("/")
    low, high = claim["ci95"]
    gain = f"{percent(claim['gain'])} ({percent(low)} to {percent(high)})"
    return f"| {network} | {device} | {claim['claim']} | {percent(claim['claimed'])} | {gain}"


def test_the_answers_of_the_map_come_from_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results" / "breakeven" / "breakeven.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for sentence in results["answers"]:
        assert f"- {sentence}\n" in readme
    assert f"{results['episodes']} test episodes a cell" in readme
    assert "](docs/results/breakeven/breakeven.png)" in readme


def test_the_tables_of_the_planner_come_from_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results" / "planner" / "study.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row in results["budget"]:
        assert ablation_row(row["simulations"], row) in readme
    for row in results["wrong belief"]:
        low, high = row["ci95"]
        wrong = f"{row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        assert (f"{row['qoe_mean']:.1f}" if row["error"] == "none" else wrong) in readme
    for agent in {row["agent"] for row in results["thinking time"]}:
        free, charged = (row["qoe_mean"] for row in results["thinking time"] if row["agent"] == agent)
        assert f"| {agent} | {free:.1f} | {charged:.1f} |" in readme


def ablation_row(name: object, row: dict) -> str:
    low, high = row["ci95"]
    return f"| {name} | {row['qoe_mean']:.1f} | {row['difference']:+.1f} ({low:+.1f} to {high:+.1f}) |"
