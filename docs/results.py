"""Fill the tables of README.md and of docs/ from the committed results: `python docs/results.py`.

The environment's page is filled the same way, from its docstring. A table stands between a line
`<!-- table: NAME -->` and a line `<!-- end -->`; `TABLES` says what makes each. A test fails while a page is not what
this command makes of it.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.studies.paper_claims import PLANNER_SWEEP, SWEEPS
from ppgym.benchmark.bootstrap import bootstrap_interval
from ppgym.benchmark.records import qoe_of, read_records
from ppgym.benchmark.summary import Row, Standing
from ppgym.benchmark.tables import markdown_rows, markdown_standings, markdown_table
from ppgym.env import PromptPreamEnv
from ppgym.files import read_text, suggest, write_text

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/results").glob("*.md")))
SUMMARY = ("mcts", "student", "ppo", "greedy", "on_demand")  # and the best rule for pixels
PIXELS = ["on_demand", "next_one", "douyin", "static", "fixed_preload", "no_save", "pdas", "dashlet"]
RIVALS: tuple[tuple[str, str, list[str]], ...] = (  # agent, in words against whom, these; of all others where none
    ("mcts", "best other agent", []),
    ("student", "best rule for pixels", PIXELS),
    ("ppo", "best rule for pixels", PIXELS),
    ("dqn", "best rule for pixels", PIXELS),
    ("dqn", "fixed_preload", ["fixed_preload"]),
    ("dqn", "next_one", ["next_one"]),
)
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> Any:
    """A committed result, by its path below docs."""
    return json.loads(read_text(ROOT / "docs" / name))


def summary() -> str:
    """A few agents on the default scenario."""
    rows = {row["agent"]: Row(**row) for row in read("results/default/results.json")["rows"]}
    best = max((rows[agent] for agent in PIXELS if agent in rows), key=lambda row: row.qoe_mean)
    lines = [["agent", "QoE a minute", "95 % interval", "stalled", "wasted", "prompts", "decision, ms"]]
    for row in sorted({best.agent, *SUMMARY}, key=lambda agent: -rows[agent].qoe_mean):
        one = rows[row]
        low, high = one.qoe_ci95
        shares = [f"{share:.0%}" for share in (one.stall_ratio, one.waste_ratio, one.prompt_share)]
        lines.append([f"`{row}`", f"{one.qoe_mean:.1f}", f"{low:.1f} to {high:.1f}", *shares, f"{one.decision_ms_p50}"])
    return markdown_table(lines)


def verdicts() -> str:
    """The paper's claims, a sentence each."""
    words = {
        "QoE": "**QoE up by 45 %: {holds}.** At its default weights the planner gains {gains} over the best of them.",
        "fewer stalls": "**Stalls down by 31 %: {holds}.** With no more waste than that one it saves {gains} of them.",
        "less waste": "**Waste down by 31 %: {holds}.** With no more stalls than that one it saves {gains} of it.",
    }
    sentences = []
    claims = read("results/claims/claims.json")["claims"]
    for claim, sentence in words.items():
        rows = [row for row in claims if row["claim"].startswith(claim)]
        held = sum(row["holds"] == "holds" for row in rows)
        holds = f"holds on {held} of {len(rows)} networks"
        gains = [row["gain"] for row in rows if row["planner"] is not None]
        found = f"{min(gains):.0%} to {max(gains):.0%}" if gains else "nothing"
        sentences.append(f"- {sentence.format(holds=holds, gains=found)}")
    return "\n".join(sentences)


def default() -> str:
    """All agents on the default scenario."""
    return markdown_rows([Row(**row) for row in read("results/default/results.json")["rows"]])


def standings() -> str:
    """All entries over the suite `standard`."""
    return markdown_standings([Standing(**one) for one in read("leaderboard/standard/results.json")["overall"]])


def claims() -> str:
    """The paper's claims, a row a scenario; what holds is bold."""
    rows = by_scenario(read("results/claims/claims.json")["claims"])
    lines = [["network", "device", "episodes", "baseline", "QoE, 45% more", "stalls, 31% fewer", "waste, 31% less"]]
    for found in rows.values():
        first = found[0]
        cells = [f"**{gain(row)}**" if row["holds"] == "holds" else gain(row) for row in found]
        lines.append([*place(first), str(first["episodes"]), first["baseline"], *cells])
    return markdown_table(lines)


def turned() -> str:
    """What the planner's knob buys: changes of means and sums to the baseline's, a row a network and setting."""
    lines = [["network", "waste weighed", "stalls weighed", "QoE", "stalls", "waste"]]
    measures = ("qoe_mean", "stall_s_per_min", "wasted_mbit_per_min")
    found = read("results/claims/claims.json")
    for points in by_scenario(found["points"]).values():
        best = max((point for point in points if point["agent"] in SWEEPS), key=lambda point: point["qoe_mean"])
        for point in points:
            if point["agent"] == "mcts" and point["params"] in PLANNER_SWEEP:
                weights = [f"{point['params'].get(f'{name}_weight', 1.0):g} times" for name in ("waste", "stall")]
                changes = [f"{point[name] / best[name] - 1.0:+.0%}" for name in measures]
                lines.append([place(point)[0], *weights, *changes])
    return markdown_table(lines)


def alone() -> str:
    """What the weight of waste alone reaches, and what it costs, a row a scenario."""
    rows = by_scenario(read("results/claims/claims.json")["alone"])
    lines = [
        ["network", "device", "episodes", "fewer stalls, waste no more", "QoE", "less waste, stalls no more", "QoE"]
    ]
    for found in rows.values():
        cells = [cell for row in found for cell in (gain(row), cost(row))]
        lines.append([*place(found[0]), str(found[0]["episodes"]), *cells])
    return markdown_table(lines)


def by_scenario(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each scenario, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["scenario"], []).append(row)
    return found


def place(row: dict[str, Any]) -> list[str]:
    """Network and device of a row."""
    network, device, _ = row["scenario"].split("/")
    return [network, device]


def gain(row: dict[str, Any]) -> str:
    """A relative gain with its interval; a dash where no setting meets the condition."""
    if row["planner"] is None:
        return "\N{EN DASH}"
    low, high = row["ci95"]
    return f"{row['gain']:.0%} ({low:.0%} to {high:.0%})"


def cost(row: dict[str, Any]) -> str:
    """How QoE differs from the planner's defaults for a gain; a dash where there is none."""
    return "\N{EN DASH}" if row["planner"] is None else signed(row["qoe_difference"], row["qoe_ci95"])


def signed(value: float, interval: list[float]) -> str:
    """A signed figure with its interval."""
    low, high = interval
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def ablations() -> str:
    """The planner without one of its parts, or with a rule that it leaves out."""
    lines = [["planner", "QoE / min", "difference, 95 %", "earns its place"]]
    for row in read("results/claims/claims.json")["ablations"]:
        low, high = row["ci95"]
        costs = high < 0.0 if row["ablation"].startswith("with ") else low > 0.0
        earned = "yes" if row["holds"] == "holds" else "no, it costs" if costs else "not shown"
        lines.append([row["ablation"], f"{row['qoe_mean']:.1f}", signed(row["difference"], row["ci95"]), earned])
    return markdown_table(lines)


def pruning() -> str:
    """What the pruning rules leave on the phone of the default scenario."""
    rows = [row for row in read("results/claims/claims.json")["pruning"] if "/snapdragon-8-elite/" in row["scenario"]]
    lines = [["", *(row["scenario"].split("/")[0] for row in rows)]]
    lines += [[key.replace("_", " "), *(f"{row[key]:.1f}" for row in rows)] for key in rows[0] if key != "scenario"]
    return markdown_table(lines)


def answers() -> str:
    """From where on prompts pay."""
    found = read("results/breakeven/breakeven.json")
    note = f"({found['episodes']} test episodes a cell.)"
    return "\n".join([*(f"- {sentence}" for sentence in found["answers"]), "", note])


def budget() -> str:
    """QoE by simulations a decision."""
    rows = read("results/planner/study.json")["budget"]
    lines = [["simulations", "QoE / min", "difference to the first, 95 %"]]
    return markdown_table(
        lines
        + [[str(row["simulations"]), f"{row['qoe_mean']:.1f}", signed(row["difference"], row["ci95"])] for row in rows]
    )


def beliefs() -> str:
    """What wrong beliefs cost."""
    rows = read("results/planner/study.json")["wrong belief"]
    errors = list(dict.fromkeys(row["error"] for row in rows))
    found = {(row["agent"], row["error"]): row for row in rows}
    lines = [["agent", *errors]]
    for agent in dict.fromkeys(row["agent"] for row in rows):
        right, *wrong = (found[agent, error] for error in errors)
        lines.append([agent, f"{right['qoe_mean']:.1f}", *(signed(row["difference"], row["ci95"]) for row in wrong)])
    return markdown_table(lines)


def bandwidth_calibration() -> str:
    """What the planner gains by holding transfers against what it foresaw, by what it was told wrong."""
    rows = read("results/planner/study.json")["bandwidth calibration"]
    return markdown_table([[row["error"] for row in rows], [signed(row["difference"], row["ci95"]) for row in rows]])


def thinking() -> str:
    """What charged thinking time does."""
    rows = read("results/planner/study.json")["thinking time"]
    lines = [["agent", "QoE, thinking free", "charged"]]
    for agent in dict.fromkeys(row["agent"] for row in rows):
        free, charged = (row["qoe_mean"] for row in rows if row["agent"] == agent)
        lines.append([agent, f"{free:.1f}", f"{charged:.1f}"])
    return markdown_table(lines)


def student() -> str:
    """What the student keeps of its teacher, and what the planner gains by its opinion."""
    found = read("results/student/student.json")
    lines = [["player", "QoE / min", "against", "difference, 95 %"]]
    for row in found["differences"]:
        lines.append([row["player"], f"{row['qoe_mean']:.1f}", row["against"], signed(row["difference"], row["ci95"])])
    low, high = found["share_of_teacher"]["ci95"]
    share = f"The student keeps {found['share_of_teacher']['mean']:.1%} ({low:.1%} to {high:.1%}) of the planner's QoE."
    return f"{markdown_table(lines)}\n\n{share}"


@functools.cache
def margins() -> str:
    """In how many scenarios of the suite agents are ahead of others, and where they are least so."""
    lines = [["agent", "against", "ahead in", "by the whole 95 %", "behind by the whole 95 %", "least"]]
    qoe: dict[str, dict[str, Any]] = {}
    for folder in sorted(path for path in (ROOT / "docs/leaderboard/standard").iterdir() if path.is_dir()):
        for scenario, records in by_scenario(list(read_records(folder))).items():
            qoe.setdefault(scenario, {})[folder.name] = qoe_of(sorted(records, key=lambda record: record["seed"]))
    for agent, name, rivals in RIVALS:
        gains = []
        for scenario, cell in qoe.items():
            others = rivals or [other for other in cell if other != agent]
            gained = cell[agent] - cell[max(others, key=lambda other: cell[other].mean())]
            gains.append((float(gained.mean()), bootstrap_interval(gained), scenario))
        mean, interval, where = min(gains)
        counts = [sum(mean > 0.0 for mean, _, _ in gains), sum(low > 0.0 for _, (low, _), _ in gains)]
        counts.append(sum(high < 0.0 for _, (_, high), _ in gains))
        least = f"{where.removesuffix('/typical')} {signed(mean, list(interval))}"
        lines.append([agent, name, *(f"{count} of {len(gains)}" for count in counts), least])
    return markdown_table(lines)


def seeds() -> str:
    """Agents trained with several seeds: what imitation gave, what learning by reward added, and what rules reach."""
    found = read("results/seeds/seeds.json")
    rivals = ("no_save", "fixed_preload", "next_one", "greedy")
    lines = [
        ["agent", "policy", "validation: imitation", "best", "test, each seed", *(f"over {rival}" for rival in rivals)]
    ]
    rows = {(row["agent"], row["policy"], row["against"]): row for row in found["rows"]}
    for agent, policy in dict.fromkeys(key[:2] for key in rows):
        curves = [
            [qoe for _, qoe in curve["validation"]]
            for curve in found["curves"]
            if (curve["agent"], curve["policy"]) == (agent, policy)
        ]
        scores = [[curve[0] for curve in curves], [max(curve) for curve in curves]]
        by_seed = ", ".join(f"{qoe:.1f}" for qoe in rows[agent, policy, rivals[0]]["qoe_by_seed"])
        over = [signed(row["difference"], row["ci95"]) for row in (rows[agent, policy, rival] for rival in rivals)]
        lines.append([agent, policy, *(f"{sum(each) / len(each):.1f}" for each in scores), by_seed, *over])
    return markdown_table(lines)


def students() -> str:
    """Students trained with several seeds, against their teacher and others."""
    found = read("results/students/seeds.json")
    rows = {row["against"]: row for row in found["rows"]}
    taught = rows["mcts"]
    scores = [curve["validation"][-1][1] for curve in found["curves"]]  # taught alone, of one evaluation
    share = taught["qoe_mean"] / (taught["qoe_mean"] - taught["difference"])
    lines = [["validation", "test, each seed", "mean", "of the planner's", *(f"over {rival}" for rival in rows)]]
    by_seed = ", ".join(f"{qoe:.1f}" for qoe in taught["qoe_by_seed"])
    over = [signed(row["difference"], row["ci95"]) for row in rows.values()]
    means = [f"{sum(scores) / len(scores):.1f}", by_seed, f"{taught['qoe_mean']:.1f}", f"{share:.1%}"]
    return markdown_table([*lines, [*means, *over]])


def environment() -> str:
    """The docstring of the environment, which is its reference."""
    return inspect.cleandoc(PromptPreamEnv.__doc__ or "")


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        *(summary, verdicts, default, standings, margins, claims, turned, alone, answers),
        *(environment, ablations, pruning, budget, beliefs, bandwidth_calibration, thinking, student, students, seeds),
    )
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
