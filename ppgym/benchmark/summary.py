"""The figures of records: a row for each scenario and agent, and standings over all scenarios.

Every figure is made from replayed totals; a record whose totals do not come back is refused. No file is read or
written here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ppgym.benchmark.bootstrap import (
    Interval,
    bootstrap_interval,
    improvement,
    interquartile_mean,
    mean_of_strata,
    share_closed,
    stratified,
)
from ppgym.benchmark.records import Record
from ppgym.benchmark.replay import replay
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS
from ppgym.core.state import F8, UNIT_NAMES

REFERENCE = "on_demand"  # the agent at which the gap to the bound begins, and the default baseline
PROBLEMS_SHOWN = 20  # in an error message

Bounds = Mapping[tuple[str, int], float]  # (scenario, seed) -> QoE that no policy exceeds


@dataclass(frozen=True)
class Row:
    """Figures of one agent on one scenario. Intervals are 95 % bootstrap intervals over episodes.

    Attributes:
        scenario: Name.
        agent: Name or import path.
        episodes: How many.
        qoe_mean: Mean over episodes of QoE: return per minute of the episode's drawn watch time.
        qoe_ci95: Its interval; the mean itself, twice, of a single episode.
        iqm: Interquartile mean of QoE.
        iqm_ci95: Its interval.
        stall_ratio: Stall seconds / (stall + played seconds), as a ratio of sums.
        waste_ratio: Wasted / downloaded bytes, as a ratio of sums.
        wasted_mbit_per_min: Wasted Mbit per minute of drawn watch time.
        quality_mean: Mbit/s-equivalent, mean over the seconds played.
        terms: The reward's weighted, signed terms per minute of drawn watch time, means over episodes: their sum is
            `qoe_mean`.
        prompt_share: Share of the requests that asked for prompts.
        utilisation: Busy seconds of each compute unit / seconds of the sessions, as ratios of sums.
        decision_ms_p50: Median milliseconds of a decision, to two digits; None where the records have no times.
        decision_ms_p99: Milliseconds of a decision, 99th percentile.
        overrides: What differs from the named scenario.
        ranked: Whether the agent competes; one that sees the future does not.
        baseline: The agent that the next four compare with; None where it has not played.
        difference: Mean over paired episodes of QoE less the baseline's.
        difference_ci95: Its interval.
        improvement: Probability of improvement: share of the episodes in which QoE is above the baseline's, a tie
            counting half.
        improvement_ci95: Its interval.
        bound_mean: Mean over these episodes of the QoE that no policy exceeds; None where it was not asked for.
        bound_ci95: Its interval.
        share: Share of the gap between `REFERENCE` and the bound that the agent closes, of means over these episodes;
            None where one of them is missing.
        share_ci95: Its interval; a resample holds the same episodes for all three.
    """

    scenario: str
    agent: str
    episodes: int
    qoe_mean: float
    qoe_ci95: Interval
    iqm: float
    iqm_ci95: Interval
    stall_ratio: float
    waste_ratio: float
    wasted_mbit_per_min: float
    quality_mean: float
    terms: dict[str, float]
    prompt_share: float
    utilisation: dict[str, float]
    decision_ms_p50: float | None
    decision_ms_p99: float | None
    overrides: dict[str, Any] = field(default_factory=dict)
    ranked: bool = True
    baseline: str | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    improvement: float | None = None
    improvement_ci95: Interval | None = None
    bound_mean: float | None = None
    bound_ci95: Interval | None = None
    share: float | None = None
    share_ci95: Interval | None = None


@dataclass(frozen=True)
class Standing:
    """Figures of one agent over all scenarios of a run, each of which weighs the same.

    Intervals are 95 % stratified bootstrap intervals: episodes are resampled within their scenario. See `Row` for what
    the figures mean.
    """

    agent: str
    scenarios: int
    qoe_mean: float
    qoe_ci95: Interval
    iqm: float
    iqm_ci95: Interval
    ranked: bool = True
    baseline: str | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    improvement: float | None = None
    improvement_ci95: Interval | None = None


class Board(NamedTuple):
    """All figures of a run."""

    rows: list[Row]  # by scenario, then agent, in the order of the records
    overall: list[Standing]  # by agent


class Played(NamedTuple):
    """The episodes of one agent on one scenario, sorted by seed."""

    records: list[Record]
    totals: list[dict[str, float]]  # replayed

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes."""
        return [record["seed"] for record in self.records]

    @property
    def qoe(self) -> F8:
        """[n] QoE of each episode."""
        return self.per_minute("return")

    def per_minute(self, key: str) -> F8:
        """[n] A total of each episode, per minute of its drawn watch time."""
        return np.array([total[key] / (total["drawn_watch_s"] / 60.0) for total in self.totals])


def replayed(records: Sequence[Record]) -> list[dict[str, float]]:
    """The totals of replayed records; see `ppgym.benchmark.replay`.

    Args:
        records: The records.

    Returns:
        Totals, one mapping a record.

    Raises:
        ValueError: No records, or some do not come back; names them.
    """
    if not records:
        raise ValueError("no records")
    replays = replay(records)
    problems = [
        f"record {number} ({record['agent']}, seed {record['seed']}): {one.problem}"
        for number, (record, one) in enumerate(zip(records, replays, strict=True), 1)
        if one.problem
    ]
    check_problems(f"{len(problems)} of {len(records)} records", problems)
    return [one.totals for one in replays]


def check_problems(what: str, problems: Sequence[str]) -> None:
    """Refuse what does not come back.

    Args:
        what: Begins the message.
        problems: A line each; none where all came back.

    Raises:
        ValueError: There are problems; shows the first `PROBLEMS_SHOWN`.
    """
    if problems:
        raise ValueError("\n".join([f"{what} do not come back:", *problems[:PROBLEMS_SHOWN]]))


def summarize(
    records: Sequence[Record],
    *,
    baseline: str = REFERENCE,
    bounds: Bounds | None = None,
    unranked: Collection[str] = (),
) -> Board:
    """The figures of records, from their replayed totals.

    Args:
        records: Of any agents and scenarios; all agents of a scenario have the same seeds.
        baseline: Agent that the others are compared with, if it is among them.
        bounds: QoE that no policy exceeds, for each episode; where None no row has figures of it.
        unranked: Names of agents that do not compete.

    Returns:
        Rows and standings.

    Raises:
        ValueError: A record does not come back, or the agents of a scenario did not meet the same episodes.
    """
    groups: dict[str, dict[str, Played]] = {}
    for record, totals in zip(records, replayed(records), strict=True):
        agents = groups.setdefault(record["scenario"], {})
        played = agents.setdefault(record["agent"], Played([], []))
        played.records.append(record)
        played.totals.append(totals)
    for scenario, agents in groups.items():
        for name, played in agents.items():
            order = np.argsort(played.seeds, kind="stable").tolist()
            agents[name] = Played([played.records[i] for i in order], [played.totals[i] for i in order])
        _check_pairs(scenario, agents)
    rows = [
        make_row(played, agents.get(baseline), agents.get(REFERENCE), bounds, name not in unranked)
        for agents in groups.values()
        for name, played in agents.items()
    ]
    names = dict.fromkeys(name for agents in groups.values() for name in agents)
    everywhere = [name for name in names if all(name in agents for agents in groups.values())]
    overall = [
        _standing(
            name,
            [agents[name].qoe for agents in groups.values()],
            baseline,
            [agents[baseline].qoe for agents in groups.values()] if baseline in everywhere else None,
            name not in unranked,
        )
        for name in everywhere
    ]
    return Board(rows, overall)


def _check_pairs(scenario: str, agents: Mapping[str, Played]) -> None:
    """Refuse episodes that are not paired."""
    first = next(iter(agents))
    recipe = (agents[first].records[0].get("overrides", {}), agents[first].records[0]["split"])
    for name, played in agents.items():
        if len(set(played.seeds)) < len(played.seeds):
            raise ValueError(f"{scenario}, {name}: expected each seed once, got {played.seeds}")
        if played.seeds != agents[first].seeds:
            raise ValueError(f"{scenario}: expected {name} to have the seeds of {first}, got {played.seeds}")
        for record in played.records:
            if (record.get("overrides", {}), record["split"]) != recipe:
                raise ValueError(f"{scenario}, {name}, seed {record['seed']}: expected {recipe} as {first} has")


def make_row(
    played: Played,
    baseline: Played | None = None,
    reference: Played | None = None,
    bounds: Bounds | None = None,
    ranked: bool = True,
) -> Row:
    """The figures of one agent on one scenario.

    Args:
        played: Its episodes, at least one.
        baseline: Those of the agent it is compared with, if that has played.
        reference: Those of `REFERENCE`, if it has played.
        bounds: QoE that no policy exceeds, if known.
        ranked: Whether the agent competes.

    Returns:
        The row.
    """
    first, qoe = played.records[0], played.qoe
    total = {key: sum(each[key] for each in played.totals) for key in played.totals[0]}
    minutes = total["drawn_watch_s"] / 60.0
    iqm, iqm_ci95 = stratified(interquartile_mean, [qoe])
    decision_ms = _decision_ms(played.records)
    compared: dict[str, Any] = {}
    if baseline is not None:
        compared = difference_and_improvement([qoe], [baseline.qoe]) | {"baseline": baseline.records[0]["agent"]}
    if bounds is not None:
        most = np.array([bounds[first["scenario"], seed] for seed in played.seeds])
        compared |= {"bound_mean": float(most.mean()), "bound_ci95": bootstrap_interval(most)}
        if reference is not None:
            compared["share"], compared["share_ci95"] = share_closed(qoe, reference.qoe, most)
    return Row(
        scenario=first["scenario"],
        agent=first["agent"],
        episodes=len(qoe),
        qoe_mean=float(qoe.mean()),
        qoe_ci95=bootstrap_interval(qoe),
        iqm=iqm,
        iqm_ci95=iqm_ci95,
        stall_ratio=_ratio(total["rebuffer_s"], total["rebuffer_s"] + total["played_s"]),
        waste_ratio=_ratio(total["wasted_bytes"], total["downloaded_bytes"]),
        wasted_mbit_per_min=total["wasted_bytes"] * MBIT_PER_BYTE / minutes,
        quality_mean=_ratio(total["quality"], total["played_s"]),
        terms={name: float(played.per_minute(f"reward_{name}").mean()) for name in REWARD_TERMS},
        prompt_share=_ratio(total["prompt_requests"], total["requests"]),
        utilisation={name: _ratio(total[f"busy_{name}_s"], total["time_s"]) for name in UNIT_NAMES},
        decision_ms_p50=None if decision_ms is None else decision_ms[0],
        decision_ms_p99=None if decision_ms is None else decision_ms[1],
        overrides=first.get("overrides", {}),
        ranked=ranked,
        **compared,
    )


def _standing(name: str, qoe: list[F8], baseline: str, of_baseline: list[F8] | None, ranked: bool) -> Standing:
    mean, mean_ci95 = stratified(mean_of_strata, qoe)
    iqm, iqm_ci95 = stratified(interquartile_mean, qoe)
    compared = {} if of_baseline is None else difference_and_improvement(qoe, of_baseline) | {"baseline": baseline}
    return Standing(name, len(qoe), mean, mean_ci95, iqm, iqm_ci95, ranked, **compared)


def difference_and_improvement(qoe: list[F8], baseline: list[F8]) -> dict[str, Any]:
    """Paired difference of QoE, and probability of improvement.

    Args:
        qoe: For each scenario [n] QoE of an agent.
        baseline: That of the baseline in the same episodes.

    Returns:
        "difference", "improvement" and their intervals, as `Row` has them.
    """
    pairs = list(zip(qoe, baseline, strict=True))
    difference, difference_ci95 = stratified(mean_of_strata, [new - old for new, old in pairs])
    better, better_ci95 = stratified(mean_of_strata, [improvement(new, old) for new, old in pairs])
    return {
        "difference": difference,
        "difference_ci95": difference_ci95,
        "improvement": better,
        "improvement_ci95": better_ci95,
    }


def _decision_ms(records: Sequence[Record]) -> tuple[float, float] | None:
    """Median and 99th percentile of all decisions, None where a record does not tell."""
    if not all("decision_us" in record for record in records):
        return None
    counts: dict[float, int] = {}
    for record in records:
        for text, count in record["decision_us"].items():
            counts[float(text)] = counts.get(float(text), 0) + count
    times_us = np.sort(list(counts))
    reached = np.cumsum([counts[time_us] for time_us in times_us.tolist()])
    low, high = (times_us[np.searchsorted(reached, share * reached[-1])] for share in (0.5, 0.99))
    return float(low) / 1e3, float(high) / 1e3


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def ranking(rows: Iterable[Row]) -> list[Row]:
    """Rows of one scenario, the best first, then those that do not compete."""
    return sorted(rows, key=lambda row: (not row.ranked, -row.qoe_mean))
