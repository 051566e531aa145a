"""Fill the tables of README.md and of docs/ from the committed results: `python docs/results.py`.

The environment's page is filled the same way, from its docstring. A table stands between a line
`<!-- table: NAME -->` and a line `<!-- end -->`; `TABLES` says what makes each. A test fails while a page is not what
this command makes of it.
"""

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from interval_coverage import coverage_table  # beside this file
from scaling import simulated  # likewise
from scipy.special import ndtr

from agents.studies.cached_episodes import Variant
from agents.studies.frontier import COLUMNS
from ppgym.benchmark.estimates import LEVEL, holm, mean_estimate, ratio_estimate, t_quantile
from ppgym.benchmark.summary import Row, Standing
from ppgym.benchmark.tables import markdown_rows, markdown_standings, markdown_table
from ppgym.env import PromptPreamEnv
from ppgym.files import read_json, read_text, suggest, write_text

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/results").glob("*.md")))
SUMMARY = ("mcts", "student", "ppo", "greedy", "on_demand")  # and the best rule for pixels
COMPARED = ("mcts", "student", "ppo", "dqn", "greedy")
PIXELS = ["on_demand", "next_one", "douyin", "static", "fixed_preload", "no_save", "pdas", "dashlet"]
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> Any:
    """A committed result, by its path below docs."""
    return read_json(ROOT / "docs" / name)


def summary() -> str:
    """A few agents on the default scenario."""
    rows = {row["agent"]: Row(**row) for row in read("results/default/results.json")["rows"]}
    best = max((rows[agent] for agent in PIXELS if agent in rows), key=lambda row: row.qoe)
    lines = [["agent", "QoE a minute", "95 % interval", "stalled", "wasted", "prompts"]]
    for name in sorted({best.agent, *SUMMARY}, key=lambda agent: -rows[agent].qoe):
        one = rows[name]
        low, high = one.qoe_ci95 or (one.qoe, one.qoe)
        shares = [f"{share:.0%}" for share in (one.stall_ratio, one.waste_ratio, one.generative_share)]
        lines.append([f"`{name}`", f"{one.qoe:.1f}", f"{low:.1f} to {high:.1f}", *shares])
    return markdown_table(lines)


def default() -> str:
    """All agents on the default scenario."""
    return markdown_rows([Row(**row) for row in read("results/default/results.json")["rows"]])


@functools.cache
def coverage() -> str:
    """How often the intervals cover."""
    return coverage_table()


def tried() -> str:
    """What was tried with the planner: paired differences, each scenario of the same weight."""
    lines = [["what", "QoE a minute, 95 %", "simulations / futures", "sessions"]]
    files = [read(f"results/planner/{name}.json") for name in ("tried", "budget")]
    for found, one in ((file, one) for file in files for one in file["comparisons"]):
        players = found["returns"][one["planner"]], found["returns"][one["against"]]
        estimates = []
        for mine, others, minutes in zip(*players, found["minutes"], strict=True):
            count = min(len(mine), len(others))
            difference = np.subtract(mine[:count], others[:count])
            estimates.append(ratio_estimate(difference, np.array(minutes[:count])))
        mean = mean_estimate(estimates)
        assert mean.ci95 is not None, one
        interval = f"{mean.value:+.1f} ({mean.ci95[0]:+.1f} to {mean.ci95[1]:+.1f})"
        lines.append([one["what"], interval, one["budget"], f"{len(estimates)} x {count}"])
    return markdown_table(lines)


def frontier() -> str:
    """The settings that no other one beats in QoE, stalls, waste and energy, and each agent's default."""
    lines = [["policy", *(f"{name} a minute" for name in COLUMNS.values()), "unbeaten"]]
    for row in sorted(read("results/frontier/frontier.json")["rows"], key=lambda row: -row["qoe"]):
        if row["unbeaten"] or not row["params"]:
            figures = [f"{row[column]:.1f}" for column in COLUMNS]
            name = Variant(row["agent"], row["params"]).name
            lines.append([f"`{name}`", *figures, "yes" if row["unbeaten"] else ""])
    return markdown_table(lines)


def standard_rows() -> list[Row]:
    """The figures of each agent in each scenario of the suite `standard`."""
    return [Row(**row) for row in read("results/standard/results.json")["rows"]]


def standings() -> str:
    """All agents over all scenarios of the suite `standard`."""
    return markdown_standings([Standing(**one) for one in read("results/standard/results.json")["overall"]])


def scenarios() -> str:
    """The QoE of a few agents, the best rule for pixels and the bound in each scenario of the suite `standard`."""
    rows = standard_rows()
    lines = [["scenario", *COMPARED, "best pixel rule", "on_demand", "bound", "mcts of bound"]]
    for scenario in dict.fromkeys(row.scenario for row in rows):
        found = {row.agent: row for row in rows if row.scenario == scenario}
        best = max((found[agent] for agent in PIXELS), key=lambda row: row.qoe)
        qoe = [f"{found[agent].qoe:.1f}" for agent in COMPARED]
        planner = found["mcts"]
        ends = [f"{found['on_demand'].qoe:.1f}", f"{planner.bound:.1f}", f"{planner.share:.0%}"]
        lines.append([f"`{scenario}`", *qoe, f"{best.qoe:.1f} (`{best.agent}`)", *ends])
    return markdown_table(lines)


def losses() -> str:
    """Where an agent is above the planner in the suite `standard`: the p value of each by itself, and among all."""
    rows = [row for row in standard_rows() if row.agent != row.baseline]
    p_values = []
    for row in rows:
        assert row.baseline == "mcts" and row.difference is not None and row.difference_ci95 is not None, row
        error = (row.difference_ci95[1] - row.difference_ci95[0]) / 2.0 / t_quantile(LEVEL, row.sessions - 1)
        p_values.append(2.0 * float(ndtr(-abs(row.difference) / error)))
    lines = [["scenario", "agent", "over mcts, QoE a minute, 95 %", "p", "p among all (Holm)"]]
    for row, p, adjusted in zip(rows, p_values, holm(p_values), strict=True):
        if row.difference > 0.0:
            low, high = row.difference_ci95
            interval = f"{row.difference:+.1f} ({low:+.1f} to {high:+.1f})"
            lines.append([f"`{row.scenario}`", f"`{row.agent}`", interval, f"{p:.2g}", f"{adjusted:.2g}"])
    return markdown_table(lines)


def scaling() -> str:
    """Sessions a second by workers: two were measured, the rest is simulated."""
    lines = [["workers", "sessions a second", "of each worker's time used"]]
    lines += [[f"{workers:,}", f"{rate:,.0f}", f"{efficiency:.0%}"] for workers, rate, efficiency in simulated()]
    return markdown_table(lines)


def environment() -> str:
    """The docstring of the environment, which is its reference."""
    return inspect.cleandoc(PromptPreamEnv.__doc__ or "")


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (summary, default, standings, scenarios, losses, coverage, tried, frontier, scaling, environment)
}


def fill(text: str) -> str:
    """A page with its tables made anew.

    Args:
        text: Of the page.

    Returns:
        The new text.

    Raises:
        ValueError: A mark names no table.
    """
    for _, name, _ in BLOCK.findall(text):
        if name not in TABLES:
            raise ValueError(f"table {name!r}: {suggest(name, TABLES)}")
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        write_text(page, fill(read_text(page)))
