"""The replay of records: it plays their actions again by the kernel alone, and compares the totals, to 1e-9 relative.

It is faster than the environment, and equal to it to the bit.
"""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ppgym.benchmark.records import SEALED, Record
from ppgym.core.actions import action_count
from ppgym.core.episodes import drawn_watch_s
from ppgym.core.replay import REPLAY_COLUMNS, Recorded, new_replay_results, replay_many
from ppgym.core.state import F8
from ppgym.files import agree
from ppgym.world.ladders import Ladder
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario, World, make_rng, make_world

BATCH = 512  # records of one call, which bounds the memory of their draws


ADDED_COLUMNS = ("drawn_watch_s", "trace", "file_traces", "top_quality", "requests", "generative_requests")


class Replays(NamedTuple):
    """What the actions of n records lead to."""

    totals: dict[str, F8]  # [n] each: REPLAY_COLUMNS and ADDED_COLUMNS
    problems: list[str]  # how each record differs from its replay; empty where it does not


FindWorld = Callable[[Record], World]


def named_world(record: Record) -> World:
    """The world that a record names.

    Args:
        record: Not of a sealed run.

    Raises:
        ValueError: It names no scenario or split that can be made, or is of a sealed run.
        FileNotFoundError: A file that the scenario names is missing.
    """
    if SEALED in record:
        raise ValueError("a sealed record comes back from the files of its run alone: validate their folder")
    return make_world(Scenario.parse(record["scenario"], **record.get("overrides", {})), record["split"])


def replay(records: Sequence[Record], find_world: FindWorld = named_world) -> Replays:
    """Play the actions of records again, and compare the totals, to 1e-9 relative.

    The last digits of a double differ between kinds of processors, which add up in another order.

    Args:
        records: As `ppgym.benchmark.records.read_records` yields them, of any scenarios.
        find_world: Gives the world of a record; every session of a sealed run has its own.

    Returns:
        Totals and problems of the records, in their order.

    Raises:
        ValueError: A record names no scenario or split that can be made; names it.
        FileNotFoundError: A file that a scenario names is missing.
    """
    worlds: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        session = record["seed"] if SEALED in record else None
        key = json.dumps([record["scenario"], record.get("overrides", {}), record["split"], session], sort_keys=True)
        worlds.setdefault(key, []).append(place)
    totals = {key: np.empty(len(records)) for key in (*REPLAY_COLUMNS, *ADDED_COLUMNS)}
    problems = [""] * len(records)
    for places in worlds.values():
        try:
            world = find_world(records[places[0]])
        except (TypeError, ValueError) as error:
            raise ValueError(f"record {places[0] + 1}: {error}") from error
        for first in range(0, len(places), BATCH):
            batch = places[first : first + BATCH]
            found = _replay_batch(world, [records[place] for place in batch])
            for key, column in found.totals.items():
                totals[key][batch] = column
            for place, problem in zip(batch, found.problems, strict=True):
                problems[place] = problem
    return Replays(totals, problems)


def _replay_batch(world: World, records: Sequence[Record]) -> Replays:
    seeds = list(dict.fromkeys(record["seed"] for record in records))
    episodes = world.new_episodes(len(seeds))
    for i, seed in enumerate(seeds):
        world.draw(make_rng(seed, world.split), episodes, i)
    draws = np.array([seeds.index(record["seed"]) for record in records], np.int32)
    lengths = [len(record["actions"]) for record in records]
    space = action_count(len(world.options))  # whatever lies outside it acts as one index outside it
    within = (action if 0 <= action < space else -1 for record in records for action in record["actions"])
    actions = np.fromiter(within, np.int64, sum(lengths))
    results = new_replay_results(len(records), len(world.representations), len(world.options))
    replay_many(world.sims(episodes), Recorded(draws, np.cumsum([0, *lengths], dtype=np.int64), actions), results)
    # Generated networks have no end of traces; of files there are these and no others
    file_traces = 0.0 if world.scenario.network in NETWORKS else float(len(world.links.first) - 1)
    is_generative = np.array([one.is_generative for one in world.representations])
    top_quality = Ladder.load(world.scenario.ladder).top_quality  # of the file: knobs do not change it
    added = (
        drawn_watch_s(episodes)[draws],
        episodes.link[draws],  # indices
        np.full(len(records), file_traces),
        np.full(len(records), top_quality),
        results.requests.sum(axis=1),
        results.requests[:, is_generative].sum(axis=1),
    )
    totals = dict(zip((*REPLAY_COLUMNS, *ADDED_COLUMNS), (*results.totals.T, *added), strict=True))
    problems = []
    for i, record in enumerate(records):
        came = {key: float(column[i]) for key, column in totals.items()}
        ended = bool(results.states[i].terminated or results.states[i].truncated)
        problems.append(_problem(record, came, int(results.played[i]), ended))
    return Replays(totals, problems)


def _problem(record: Record, came: dict[str, float], played: int, ended: bool) -> str:
    count = len(record["actions"])
    if played < count:
        return f"the episode ends after {played} of {count} actions"
    if not ended:
        return f"the episode goes on after its {count} actions"
    stated = record["totals"]
    needed = (*REPLAY_COLUMNS[: REPLAY_COLUMNS.index("reward_quality")], "drawn_watch_s")
    differ = [key for key in came if (key in stated or key in needed) and not agree(stated.get(key), came[key])]
    return ", ".join(f"{key} {stated.get(key)!r}, replayed {came[key]!r}" for key in differ)
