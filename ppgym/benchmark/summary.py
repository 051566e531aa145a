"""The figures of records: a row for each scenario and agent, and standings over all scenarios.

Every figure is made from replayed totals; a record whose totals do not come back is refused. No file is read or
written here; how a figure is estimated is in `ppgym.benchmark.estimates`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ppgym.benchmark.estimates import LEAST_CLUSTERS, Estimate, Interval, mean_estimate, ratio_estimate
from ppgym.benchmark.records import Record
from ppgym.benchmark.replay import FindWorld, named_world, replay
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS
from ppgym.core.state import F8, UNIT_NAMES
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario

REFERENCE = "on_demand"  # the agent at which the gap to the bound begins, and the default baseline
PROBLEMS_SHOWN = 20  # in an error message

Bounds = Mapping[tuple[str, int], float]  # (scenario, seed) -> return that no policy exceeds
RankedTest = Callable[[str], bool]  # whether an agent of this name or import path competes


@dataclass(frozen=True)
class Row:
    """Figures of one agent on one scenario. Intervals are 95 % intervals, None below 16 sessions.

    Attributes:
        scenario: Name.
        agent: Name or import path.
        sessions: How many.
        traces: How many trace files there are to draw from; None where traces are generated. From 30 on, intervals are
            over traces; with fewer they say nothing of other traces.
        qoe: Sum of the returns / sum of the drawn watch minutes.
        qoe_ci95: Its interval.
        qoe_relative: QoE / (60 x the ladder's top quality): 1 is top quality without any cost.
        stall_ratio: Stall seconds / (stall + played seconds).
        waste_ratio: Wasted / downloaded bytes.
        wasted_mbit_per_min: Wasted Mbit per minute of drawn watch time.
        energy_j_per_min: Joules per minute of drawn watch time.
        quality_mean: Mean over the seconds played.
        quality_unit: Of the ladder's qualities.
        terms: The reward's weighted, signed terms per minute of drawn watch time; their sum is `qoe`.
        generative_share: Share of the requests that asked for a generative codec.
        utilisation: Busy seconds of each compute unit / seconds of the sessions.
        truncated: Sessions that ended by truncation.
        idle_waits: Waits in a stall while a request was legal.
        invalid_actions: Illegal actions; each acts as a wait.
        videos_starved: Videos that the viewer left out of impatience, while the chunk to play was not requested.
        decision_ms_p50: Median milliseconds of a decision, to two digits; None where the records have no times.
        decision_ms_p99: Milliseconds of a decision, 99th percentile.
        overrides: What differs from the named scenario.
        ranked: Whether the agent competes; one that sees the future does not.
        baseline: The agent that the next three compare with; None where it has not played.
        difference: QoE less the baseline's, in paired sessions.
        difference_ci95: Its interval, that of the sessions' differences.
        improvement: Share of the sessions in which the return is above the baseline's, a tie counting half.
        bound: Sum of the returns that no policy exceeds / sum of the drawn watch minutes; None where not asked for.
        bound_ci95: Its interval.
        share: Share of the gap between `REFERENCE` and the bound that the agent closes; None where one is missing.
        share_ci95: Its interval.
    """

    scenario: str
    agent: str
    sessions: int
    traces: int | None
    qoe: float
    qoe_ci95: Interval | None
    qoe_relative: float
    stall_ratio: float
    waste_ratio: float
    wasted_mbit_per_min: float
    energy_j_per_min: float
    quality_mean: float
    quality_unit: str
    terms: dict[str, float]
    generative_share: float
    utilisation: dict[str, float]
    truncated: int
    idle_waits: int
    invalid_actions: int
    videos_starved: int
    decision_ms_p50: float | None
    decision_ms_p99: float | None
    overrides: dict[str, Any] = field(default_factory=dict)
    ranked: bool = True
    baseline: str | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    improvement: float | None = None
    bound: float | None = None
    bound_ci95: Interval | None = None
    share: float | None = None
    share_ci95: Interval | None = None


@dataclass(frozen=True)
class Standing:
    """Figures of one agent over all scenarios of a run: means over scenarios, each of which weighs the same.

    Sessions of different scenarios are drawn apart, so their errors add up squared. See `Row` for the figures.
    """

    agent: str
    scenarios: int
    qoe: float
    qoe_ci95: Interval | None
    qoe_relative: float
    ranked: bool = True
    baseline: str | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    improvement: float | None = None


class Board(NamedTuple):
    """All figures of a run."""

    rows: list[Row]  # by scenario, then agent, in the order of the records
    overall: list[Standing]  # by agent


class Played(NamedTuple):
    """The sessions of one agent on one scenario, sorted by seed."""

    records: list[Record]
    totals: Mapping[str, F8]  # [n] each, replayed

    @property
    def seeds(self) -> list[int]:
        """Seeds of the sessions."""
        return [record["seed"] for record in self.records]

    @property
    def returns(self) -> F8:
        """[n] Return of each session."""
        return self.totals["return"]

    @property
    def minutes(self) -> F8:
        """[n] Drawn watch minutes of each session."""
        return self.totals["drawn_watch_s"] / 60.0

    @property
    def traces(self) -> int | None:
        """How many trace files there are; None where traces are generated."""
        return int(self.totals["file_traces"][0]) or None

    def per_minute(self, values: F8) -> Estimate:
        """Sum of values over the sum of the drawn watch minutes.

        Args:
            values: [n] one value a session, such as its return.

        Returns:
            The estimate; over traces where there are enough files of them.
        """
        return self.ratio(values, self.minutes)

    def ratio(self, numerators: F8, denominators: F8) -> Estimate:
        """As `per_minute`, of any denominators."""
        clusters = self.totals["trace"] if (self.traces or 0) >= LEAST_CLUSTERS else None
        return ratio_estimate(numerators, denominators, clusters)


def replayed(records: Sequence[Record], find_world: FindWorld = named_world) -> dict[str, F8]:
    """The totals of replayed records; see `ppgym.benchmark.replay`.

    Args:
        records: The records.
        find_world: Gives the world of a record.

    Returns:
        Totals by name, [records] each.

    Raises:
        ValueError: No records, or some do not come back; names them.
    """
    if not records:
        raise ValueError("no records")
    replays = replay(records, find_world)
    problems = [
        f"record {number} ({record['agent']}, seed {record['seed']}): {problem}"
        for number, (record, problem) in enumerate(zip(records, replays.problems, strict=True), 1)
        if problem
    ]
    check_problems(f"{len(problems)} of {len(records)} records", problems)
    return replays.totals


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
    reference: str = REFERENCE,
    bounds: Bounds | None = None,
    is_ranked: RankedTest = lambda agent: True,
    totals: Mapping[str, F8] | None = None,
) -> Board:
    """The figures of records, from their replayed totals.

    Args:
        records: Of any agents and scenarios; all agents of a scenario have the same seeds.
        baseline: Agent that the others are compared with, if it is among them.
        reference: Agent at which the gap to the bound begins, if it is among them.
        bounds: Return that no policy exceeds, for each session; where None no row has figures of it.
        is_ranked: Tells which agents compete.
        totals: What `replayed` gave for these records; by default they are replayed in the worlds that they name.

    Returns:
        Rows and standings.

    Raises:
        ValueError: A record does not come back, the agents of a scenario did not meet the same sessions, or the
            parameters of an agent change from session to session.
    """
    if totals is None:
        totals = replayed(records)
    places: dict[str, dict[str, list[int]]] = {}
    for place, record in enumerate(records):
        places.setdefault(record["scenario"], {}).setdefault(record["agent"], []).append(place)
    groups: dict[str, dict[str, Played]] = {}
    for scenario, by_agent in places.items():
        agents = groups[scenario] = {}
        for name, own in by_agent.items():
            own.sort(key=lambda place: records[place]["seed"])
            agents[name] = Played([records[place] for place in own], {key: all_[own] for key, all_ in totals.items()})
        _check_pairs(scenario, agents)
    rows = [
        make_row(played, agents.get(baseline), agents.get(reference), bounds, is_ranked(name))
        for agents in groups.values()
        for name, played in agents.items()
    ]
    names = dict.fromkeys(name for agents in groups.values() for name in agents)
    everywhere = [name for name in names if all(name in agents for agents in groups.values())]
    overall = [
        _standing(
            [row for row in rows if row.agent == name],
            [agents[name] for agents in groups.values()],
            [agents[baseline] for agents in groups.values()] if baseline in everywhere else None,
        )
        for name in everywhere
    ]
    return Board(rows, overall)


def _check_pairs(scenario: str, agents: Mapping[str, Played]) -> None:
    """Refuse sessions that are not paired, and parameters that change."""
    first = next(iter(agents))
    recipe = (agents[first].records[0].get("overrides", {}), agents[first].records[0]["split"])
    for name, played in agents.items():
        if len(set(played.seeds)) < len(played.seeds):
            raise ValueError(f"{scenario}, {name}: expected each seed once, got {played.seeds}")
        if played.seeds != agents[first].seeds:
            raise ValueError(f"{scenario}: expected {name} to have the seeds of {first}, got {played.seeds}")
        params = played.records[0].get("params", {})
        for record in played.records:
            if (record.get("overrides", {}), record["split"]) != recipe:
                raise ValueError(f"{scenario}, {name}, seed {record['seed']}: expected {recipe} as {first} has")
            if record.get("params", {}) != params:
                raise ValueError(
                    f"{scenario}, {name}, seed {record['seed']}: expected the parameters of its other sessions, "
                    f"{params}, got {record.get('params', {})}"
                )


def make_row(
    played: Played,
    baseline: Played | None = None,
    reference: Played | None = None,
    bounds: Bounds | None = None,
    ranked: bool = True,
) -> Row:
    """The figures of one agent on one scenario.

    Args:
        played: Its sessions, at least one.
        baseline: Those of the agent it is compared with, if that has played.
        reference: Those of `REFERENCE`, if it has played.
        bounds: Return that no policy exceeds, if known.
        ranked: Whether the agent competes.

    Returns:
        The row.
    """
    first, minutes, qoe = played.records[0], played.minutes, played.per_minute(played.returns)
    total = {key: float(column.sum()) for key, column in played.totals.items()}
    decision_ms = _decision_ms(played.records)
    compared: dict[str, Any] = {}
    if baseline is not None:
        difference = played.per_minute(played.returns - baseline.returns)
        compared = {
            "baseline": baseline.records[0]["agent"],
            "difference": difference.value,
            "difference_ci95": difference.ci95,
            "improvement": improvement(played.returns, baseline.returns),
        }
    if bounds is not None:
        most = np.array([bounds[first["scenario"], seed] for seed in played.seeds])
        bound = played.per_minute(most)
        compared |= {"bound": bound.value, "bound_ci95": bound.ci95}
        if reference is not None:
            share = played.ratio(played.returns - reference.returns, most - reference.returns)
            compared |= {"share": share.value, "share_ci95": share.ci95}
    return Row(
        scenario=first["scenario"],
        agent=first["agent"],
        sessions=len(minutes),
        traces=played.traces,
        qoe=qoe.value,
        qoe_ci95=qoe.ci95,
        qoe_relative=qoe.value / (60.0 * played.totals["top_quality"][0]),
        stall_ratio=_ratio(total["rebuffer_s"], total["rebuffer_s"] + total["played_s"]),
        waste_ratio=_ratio(total["wasted_bytes"], total["downloaded_bytes"]),
        wasted_mbit_per_min=total["wasted_bytes"] * MBIT_PER_BYTE / float(minutes.sum()),
        energy_j_per_min=total["energy_j"] / float(minutes.sum()),
        quality_mean=_ratio(total["quality"], total["played_s"]),
        quality_unit=quality_unit(first),
        terms={name: total[f"reward_{name}"] / float(minutes.sum()) for name in REWARD_TERMS},
        generative_share=_ratio(total["generative_requests"], total["requests"]),
        utilisation={name: _ratio(total[f"busy_{name}_s"], total["time_s"]) for name in UNIT_NAMES},
        truncated=int(total["truncated"]),
        idle_waits=int(total["idle_waits"]),
        invalid_actions=int(total["invalid_actions"]),
        videos_starved=int(total["videos_starved"]),
        decision_ms_p50=None if decision_ms is None else decision_ms[0],
        decision_ms_p99=None if decision_ms is None else decision_ms[1],
        overrides=first.get("overrides", {}),
        ranked=ranked,
        **compared,
    )


def quality_unit(record: Record) -> str:
    """The unit of quality of a record's ladder."""
    scenario = Scenario.parse(record["scenario"], **record.get("overrides", {}))
    return Ladder.load(scenario.ladder).quality_unit


def _standing(rows: Sequence[Row], played: Sequence[Played], baseline: Sequence[Played] | None) -> Standing:
    qoe = mean_estimate([one.per_minute(one.returns) for one in played])
    relative = float(np.mean([row.qoe_relative for row in rows]))
    standing = Standing(rows[0].agent, len(rows), qoe.value, qoe.ci95, relative, rows[0].ranked)
    if baseline is None:
        return standing
    pairs = zip(played, baseline, strict=True)
    difference = mean_estimate([one.per_minute(one.returns - other.returns) for one, other in pairs])
    better = float(np.mean([row.improvement for row in rows if row.improvement is not None]))
    return replace(
        standing,
        baseline=rows[0].baseline,
        difference=difference.value,
        difference_ci95=difference.ci95,
        improvement=better,
    )


def improvement(returns: F8, baseline: F8) -> float:
    """Share of paired sessions with a greater return.

    Args:
        returns: [n].
        baseline: [n] of the same sessions.

    Returns:
        The share; a tie counts half.
    """
    return float(((returns > baseline) + 0.5 * (returns == baseline)).mean())


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
    return sorted(rows, key=lambda row: (not row.ranked, -row.qoe))
