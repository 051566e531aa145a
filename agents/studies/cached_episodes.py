"""Episodes that are played once: what a folder of records already holds is taken from there.

So a long evaluation can be cut at any time and goes on from its last batch, and one that is extended plays what is new.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import agent_params, make_agent
from ppgym.benchmark.episodes import Job, play_episode, versions
from ppgym.benchmark.records import Record, read_records, write_records
from ppgym.benchmark.workers import run_jobs
from ppgym.env import PromptPreamEnv

BATCH = 64  # episodes between two writes of the folder

Key = tuple[str, str, str, str, str, int]


def play_once(jobs: Sequence[Job], *, workers: int, folder: Path | None) -> list[Record]:
    """Play what a folder of records does not hold yet, and add it there.

    A record answers a job of the same scenario, split, agent and seed under the same versions, if their parameters are
    the same; one that a record lacks, because the agent got it later, has its default. Nothing tells whether an agent's
    code is what it was: who changes an agent begins a new folder. Records that can answer no job are left out of it.

    Args:
        jobs: What to play; the same twice is played once.
        workers: Processes.
        folder: Holds records.jsonl.gz, or will; None keeps nothing.

    Returns:
        Records in the order of the jobs.
    """
    known = _read(folder, {job.agent for job in jobs})
    keys = [_key(job.scenario, job.overrides, job.split, job.agent, job.params, job.seed) for job in jobs]
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in known}
    play = functools.partial(play_episode, make_agent, agent_params)
    places = list(missing)

    def keep(place: int, record: Record) -> None:
        known[places[place]] = record
        if folder is not None and len(known) % BATCH == 0:
            write_records(folder, list(known.values()), packed=True)

    run_jobs(play, list(missing.values()), workers=workers, done=keep)
    if folder is not None:
        write_records(folder, list(({key: known[key] for key in keys} | known).values()), packed=True)
    return [known[key] for key in keys]


def _read(folder: Path | None, agents: set[str]) -> dict[Key, Record]:
    """The usable records of a folder."""
    if folder is None or not (folder / "records.jsonl.gz").is_file():
        return {}
    return {
        _key(*(record.get(part, {}) for part in ("scenario", "overrides", "split", "agent", "params", "seed"))): record
        for record in read_records(folder)
        if record["agent"] in agents and record["versions"] == versions()
    }


def _key(
    scenario: str, overrides: Mapping[str, Any], split: str, agent: str, params: Mapping[str, Any], seed: int
) -> Key:
    """What tells an episode and its player from others."""
    changed = json.dumps(overrides, sort_keys=True)
    return scenario, changed, split, agent, _all_params(scenario, changed, agent, json.dumps(params)), seed


@functools.cache
def _all_params(scenario: str, overrides: str, agent: str, params: str) -> str:
    """All parameters that an agent has there, as JSON."""
    env = PromptPreamEnv(scenario, "test", **json.loads(overrides))
    return json.dumps(agent_params(agent, env, **json.loads(params)), sort_keys=True)
