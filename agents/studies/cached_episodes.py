"""Sessions that are played once: what a folder of records holds already is read from there.

An evaluation that is interrupted continues from its last session. One that is extended plays only the new sessions.
"""

import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents import REGISTRY, agent_params
from ppgym.benchmark.episodes import Job, open_journal, play_episode, play_jobs, versions
from ppgym.benchmark.records import NAME, Journal, Record, read_records, write_records
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO

PACKED = f"{NAME}.gz"
Key = tuple[str, str, str, str, str, int]
DECIDING = ("env", "ppgym", "kernel")  # versions on which totals depend; those of libraries leave them alone
PARTS = ("scenario", "overrides", "split", "agent", "params", "seed")  # of a job and of a record


class Variant(NamedTuple):
    """An agent with its parameters, in a world that may differ from the scenario."""

    agent: str
    params: Mapping[str, Any] = {}
    overrides: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Agent and parameters in words, such as "static each=2"."""
        shown = {key: f"{value:g}" if type(value) in (int, float) else value for key, value in self.params.items()}
        return " ".join([self.agent, *(f"{key}={value}" for key, value in shown.items())])


def play_variants(
    variants: Sequence[Variant],
    *,
    scenario: str = DEFAULT_SCENARIO,
    split: str = "test",
    sessions: int,
    seed: int,
    workers: int,
    output: Path | None,
    figures: Sequence[str] = (),
) -> list[list[Record]]:
    """Play variants on the same sessions; see `play_once`.

    Args:
        variants: What to compare.
        scenario: Name network/device/viewer.
        split: "train", "validation" or "test".
        sessions: Of each variant.
        seed: Number of the first session.
        workers: Processes.
        output: Folder of records.
        figures: Names of the other files that the study writes there.

    Returns:
        The sessions of each variant.

    Raises:
        ValueError: The folder holds anything else, or unfinished sessions of other jobs.
    """
    jobs = [
        Job(scenario, one.overrides, split, one.agent, one.params, seed + i)
        for one in variants
        for i in range(sessions)
    ]
    played = play_once(jobs, workers=workers, folder=output, figures=figures)
    return [played[first : first + sessions] for first in range(0, len(played), sessions)]


def play_once(jobs: Sequence[Job], *, workers: int, folder: Path | None, figures: Sequence[str] = ()) -> list[Record]:
    """Play what a folder of records does not hold yet, and add it there.

    A record answers a job of the same scenario, split, agent and seed under the same `DECIDING` versions, if their
    parameters are the same; a parameter that a record lacks has its default. Changes of an agent's code are not
    noticed: after one, use a new folder. Other records of the folder stay there.

    Args:
        jobs: What to play; the same twice is played once.
        workers: Processes.
        folder: Of records.jsonl.gz, which is made where missing; None keeps nothing.
        figures: See `play_variants`.

    Returns:
        Records in the order of the jobs.

    Raises:
        ValueError: The folder holds unfinished sessions of other jobs, or a file that is not the study's.
    """
    if folder is not None:
        check_own(folder, figures)
    agents = {job.agent for job in jobs}
    kept = _read(folder)
    usable = [one for one in kept if one["agent"] in agents and _deciding(one["versions"]) == _deciding(versions())]
    known = {_key(*(one.get(part, {}) for part in PARTS)): one for one in usable}
    keys = [_key(*(getattr(job, part) for part in PARTS)) for job in jobs]
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in known}
    with contextlib.ExitStack() as opened:
        left = list(missing.values())
        journal = opened.enter_context(open_journal(folder, left)) if folder is not None and left else None
        if left:
            played = play_jobs(functools.partial(play_episode, REGISTRY), left, workers=workers, journal=journal)
            known |= zip(missing, played, strict=True)
        if folder is not None:
            answering = set(map(id, usable))
            others = [one for one in kept if id(one) not in answering]
            write_records(folder, [*({key: known[key] for key in keys} | known).values(), *others], packed=True)
        if journal is not None:
            journal.delete()
    return [known[key] for key in keys]


def check_own(folder: Path, figures: Sequence[str]) -> None:
    """Refuse the folder of somebody else.

    Args:
        folder: Of a study; it may be missing.
        figures: Names of the files that the study writes besides its records.

    Raises:
        ValueError: It is no folder, or holds something else than the study's records and figures.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder")
    own = (PACKED, Journal.NAME, *figures)
    for path in sorted(folder.glob("*")):
        if path.name not in own and not path.name.startswith("."):  # what a kill left of a file being written
            raise ValueError(f"{path}: expected a folder with nothing but {', '.join(own)}; choose another one")


def _read(folder: Path | None) -> list[Record]:
    """The records of a folder."""
    if folder is None or not (folder / PACKED).is_file():
        return []
    return list(read_records(folder))


def _deciding(of: Mapping[str, str]) -> list[str | None]:
    return [of.get(name) for name in DECIDING]


def _key(
    scenario: str, overrides: Mapping[str, Any], split: str, agent: str, params: Mapping[str, Any], seed: int
) -> Key:
    """What tells a session and its player from others."""
    world = json.dumps(overrides, sort_keys=True)
    return scenario, world, split, agent, _all_params(scenario, world, agent, json.dumps(params)), seed


@functools.cache
def _all_params(scenario: str, overrides: str, agent: str, params: str) -> str:
    """All parameters that an agent has there, as JSON."""
    env = PromptPreamEnv(scenario, "test", **json.loads(overrides))
    return json.dumps(agent_params(agent, env, **json.loads(params)), sort_keys=True)
