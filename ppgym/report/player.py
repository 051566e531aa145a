"""The data of the episode player: which episodes it shows, and a compact timeline of each agent in them.

Timelines are made by replaying records; lanes, colours and marks are those of `ppgym.rendering`.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ppgym.benchmark.records import Record
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.env import PromptPreamEnv
from ppgym.rendering import ABORTED, CANCELLED, STALL, Span, Timeline
from ppgym.report.figures import css
from ppgym.report.results import PLANNER, Results, leader, return_by_seed
from ppgym.world.scenario import Scenario

Explain = Callable[[Record], list[dict[str, Any]]]

KINDS = {STALL: 1, CANCELLED: 2, ABORTED: 3}  # of spans; 0 is any other
WASTED = 8  # added to a span's kind
PERCENTILES = (10.0, 90.0)  # of the advantage, the outermost episodes


class Choice(NamedTuple):
    """An episode of the player."""

    seed: int
    percentile: float
    advantage: float  # of the return


class Choices(NamedTuple):
    """The episodes of a scenario, and whose advantage over whom chose them."""

    agent: str
    rival: str | None
    episodes: tuple[Choice, ...]


def choose_episodes(results: Results, scenario: str, count: int) -> Choices:
    """Choose typical and untypical episodes: percentiles of the planner's advantage over the best other ranked agent.

    Without the planner the leader takes its place; alone, an agent's own return takes the place of its advantage.

    Args:
        results: The run.
        scenario: Of the run.
        count: How many at least 1: the percentiles 10 to 90 in equal steps, the median for one.

    Returns:
        Different episodes, from the least advantage to the most; fewer where the run has fewer.
    """
    rows = results.rows[scenario]
    present = {row["agent"] for row in rows}
    agent = PLANNER if PLANNER in present else leader(rows) or rows[0]["agent"]
    rival = leader(rows, agent)
    advantage = return_by_seed(results.records[scenario][agent])
    if rival is not None:
        theirs = return_by_seed(results.records[scenario][rival])
        advantage = {seed: value - theirs[seed] for seed, value in advantage.items() if seed in theirs}
    order = sorted(advantage, key=lambda seed: (advantage[seed], seed))
    percentiles = np.linspace(*PERCENTILES, count) if count > 1 else [50.0]
    chosen: dict[int, Choice] = {}
    for percentile in percentiles:
        seed = order[max(math.ceil(percentile / 100.0 * len(order)) - 1, 0)]  # nearest rank
        chosen.setdefault(seed, Choice(seed, float(percentile), advantage[seed]))
    return Choices(agent, rival, tuple(chosen.values()))


def stage(results: Results, scenario: str) -> dict[str, Any]:
    """What is the same in all episodes of a scenario.

    Args:
        results: The run.
        scenario: Of the run.

    Returns:
        Lanes, representations with their colours, and agents, as JSON holds them.
    """
    by_agent = results.records[scenario]
    record = next(iter(next(iter(by_agent.values())).values()))
    timeline = _reset(record)[1]
    return {
        "lanes": timeline.lanes,
        "representations": timeline.representation_names,
        "colours": [css(colour) for colour in timeline.colours],
        "agents": [row["agent"] for row in results.rows[scenario]],
    }


def episode_block(results: Results, scenario: str, seed: int, explain: Explain | None) -> list[dict[str, Any] | None]:
    """All agents in one episode.

    Args:
        results: The run.
        scenario: Of the run.
        seed: Of the episode.
        explain: Explains each decision of one of the planner's records.

    Returns:
        What `film` makes of each agent, in the order of the scenario's rows; None where one has not played it.
    """
    found: list[dict[str, Any] | None] = []
    for row in results.rows[scenario]:
        record = results.records[scenario][row["agent"]].get(seed)
        explained = {"explained": explain(record)} if record and explain and row["agent"] == PLANNER else {}
        found.append(film(record) | explained if record else None)
    return found


def film(record: Record) -> dict[str, Any]:
    """Replay a record, and write down what the player shows of it.

    Args:
        record: The record.

    Returns:
        Columns of whole numbers, as JSON holds them: of spans (times in ms) and of decisions (time in ms, return in
        hundredths, downloaded and wasted kbit so far), and the swipes and totals. Starts of spans and all columns of
        decisions are differences from the value before, which compress well.

    Raises:
        ValueError: The record does not come back.
    """
    env, timeline, info = _reset(record)
    total, ended = 0.0, False
    moments = [(info["time_s"], 0.0, info["downloaded_bytes"], info["wasted_bytes"])]
    for action in record["actions"]:
        if ended:
            break
        _, reward, terminated, truncated, info = env.step(action)
        total, ended = total + reward, terminated or truncated
        moments.append((info["time_s"], total, info["downloaded_bytes"], info["wasted_bytes"]))
    if not ended or len(moments) <= len(record["actions"]) or not math.isclose(total, record["totals"]["return"]):
        raise ValueError(
            f"{record['scenario']}, seed {record['seed']}: the record of {record['agent']} does not come back: "
            f"expected a return of {record['totals']['return']!r} after {len(record['actions'])} actions, "
            f"got {total!r} after {len(moments) - 1}"
        )
    times_s, returns, downloaded, wasted = zip(*moments, strict=True)
    kbit = 1e3 * MBIT_PER_BYTE
    return {
        "end": _round(1e3 * info["time_s"]),
        "return": round(total, 2),
        "spans": _columns(timeline, timeline.spans(info["time_s"])),
        "swipes": [[_round(1e3 * swipe.time_s), swipe.video, int(swipe.impatient)] for swipe in timeline.swipes],
        "decisions": {
            "time": _steps(times_s, 1e3),
            "return": _steps(returns, 100.0),
            "downloaded": _steps(downloaded, kbit),
            "wasted": _steps(wasted, kbit),
        },
    }


def _reset(record: Record) -> tuple[PromptPreamEnv, Timeline, dict[str, Any]]:
    scenario = Scenario.parse(record["scenario"], **record.get("overrides", {}))
    env = PromptPreamEnv(scenario, record["split"], render_mode="ansi")  # with a render mode it keeps a timeline
    _, info = env.reset(seed=record["seed"])
    assert env.timeline is not None
    return env, env.timeline, info


def _columns(timeline: Timeline, spans: Sequence[Span]) -> dict[str, list[int]]:
    return {
        "start": _steps([span.start_s for span in spans], 1e3),
        "length": [_round(1e3 * span.end_s) - _round(1e3 * span.start_s) for span in spans],
        "lane": [timeline.lanes.index(span.lane) for span in spans],
        "row": [span.row for span in spans],
        "video": [span.video for span in spans],
        "chunk": [span.chunk for span in spans],
        "representation": [span.representation for span in spans],
        "kind": [KINDS.get(span.kind, 0) + WASTED * span.wasted for span in spans],
    }


def _steps(values: Sequence[float], scale: float) -> list[int]:
    """Whole numbers whose running sum is the scaled and rounded values."""
    whole = [0, *(_round(scale * value) for value in values)]
    return [after - before for before, after in pairwise(whole)]


def _round(value: float) -> int:
    return math.floor(value + 0.5)
