"""The table of the challenge and its intervals."""

import json
import math

import numpy as np
import pytest

from ppgym.benchmark.challenge import evaluate, print_table
from ppgym.mmgc import OFFICIAL_POLICIES, FixedPreload, MMGCSession, viewer_seeds


def test_evaluate(varied, tmp_path, capsys):
    rows = evaluate(varied, OFFICIAL_POLICIES, viewers=2, seed=3, output=tmp_path)
    assert [(row["class"], row["agent"]) for row in rows] == [("odd", "fixed_preload"), ("odd", "no_save")]
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(records) == 2 * 3 * 2
    assert json.loads((tmp_path / "results.json").read_text()) == {"rows": rows}
    # Agents meet the same viewers, traces never do.
    seeds = [record["seed"] for record in records]
    assert seeds[:6] == seeds[6:] and len(set(seeds)) == 6

    for record in records:
        _, trace_class, trace = record["scenario"].split("/")
        session = MMGCSession(varied, trace_class, int(trace), viewer_seeds(record["seed"]))
        for action in record["actions"]:
            session.step(*action)
        assert session.done
        totals = {**session.totals(), **session.result()._asdict(), "return": session.result().score}
        assert totals == record["totals"]

    row = rows[0]
    totals = [record["totals"] for record in records[:6]]
    for mean, key in (("score_mean", "score"), ("qoe_mean", "qoe"), ("download_watch_ratio",) * 2):
        assert row[mean] == pytest.approx(np.mean([total[key] for total in totals]))
    # Three traces: t with 2 degrees of freedom is 4.3027.
    by_trace = np.reshape([total["score"] for total in totals], (3, 2)).mean(axis=1)
    half = 4.302653 * by_trace.std(ddof=1) / math.sqrt(3)
    assert row["score_ci95"] == pytest.approx([by_trace.mean() - half, by_trace.mean() + half])

    print_table(rows)
    printed = capsys.readouterr().out
    assert "fixed_preload" in printed and f"{row['score_mean']:.2f}" in printed


def test_interval_of_a_single_trace(dataset):
    one, two = (
        evaluate(dataset, {"fixed_preload": FixedPreload}, classes=["low"], viewers=viewers)[0] for viewers in (1, 2)
    )
    assert one["score_ci95"] == [None, None]
    low, high = two["score_ci95"]
    assert low <= two["score_mean"] <= high


def test_evaluate_refuses(dataset):
    with pytest.raises(ValueError, match="did you mean 'low'"):
        evaluate(dataset, OFFICIAL_POLICIES, classes=["lows"])
    with pytest.raises(ValueError, match="viewers: expected at least 1, got 0"):
        evaluate(dataset, OFFICIAL_POLICIES, viewers=0)
