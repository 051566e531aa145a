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
from ppgym.files import agree
from ppgym.world.ladders import Ladder
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario, World, make_rng, make_world

BATCH = 512  # records of one call, which bounds the memory of their draws


class Replay(NamedTuple):
    """What the actions of a record lead to."""

    totals: dict[str, float]  # REPLAY_COLUMNS, and what `_replay_batch` adds
    problem: str  # how the record differs from its replay; empty where it does not


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


def replay(records: Sequence[Record], find_world: FindWorld = named_world) -> list[Replay]:
    """Play the actions of records again, and compare the totals, to 1e-9 relative.

    The last digits of a double differ between kinds of processors, which add up in another order.

    Args:
        records: As `ppgym.benchmark.records.read_records` yields them, of any scenarios.
        find_world: Gives the world of a record; every session of a sealed run has its own.

    Returns:
        One for each record, in their order.

    Raises:
        ValueError: A record names no scenario or split that can be made; names it.
        FileNotFoundError: A file that a scenario names is missing.
    """
    worlds: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        session = record["seed"] if SEALED in record else None
        key = json.dumps([record["scenario"], record.get("overrides", {}), record["split"], session], sort_keys=True)
        worlds.setdefault(key, []).append(place)
    found: dict[int, Replay] = {}
    for places in worlds.values():
        try:
            world = find_world(records[places[0]])
        except (TypeError, ValueError) as error:
            raise ValueError(f"record {places[0] + 1}: {error}") from error
        for first in range(0, len(places), BATCH):
            batch = places[first : first + BATCH]
            replays = _replay_batch(world, [records[place] for place in batch])
            found.update(zip(batch, replays, strict=True))
    return [found[place] for place in range(len(records))]


def _replay_batch(world: World, records: Sequence[Record]) -> list[Replay]:
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
    drawn_s = drawn_watch_s(episodes)
    # Generated networks have no end of traces; of files there are these and no others
    file_traces = 0.0 if world.scenario.network in NETWORKS else float(len(world.links.first) - 1)
    is_generative = np.array([one.is_generative for one in world.representations])
    top_quality = Ladder.load(world.scenario.ladder).top_quality  # of the file: knobs do not change it
    replays = []
    for i, record in enumerate(records):
        came = dict(zip(REPLAY_COLUMNS, results.totals[i].tolist(), strict=True))
        came["drawn_watch_s"] = float(drawn_s[draws[i]])
        came["trace"] = float(episodes.link[draws[i]])  # its index
        came["file_traces"] = file_traces
        came["top_quality"] = top_quality
        came["requests"] = float(results.requests[i].sum())
        came["generative_requests"] = float(results.requests[i, is_generative].sum())
        ended = bool(results.states[i].terminated or results.states[i].truncated)
        replays.append(Replay(came, _problem(record, came, int(results.played[i]), ended)))
    return replays


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
