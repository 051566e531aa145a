"""Sealed runs: agents in processes of their own play sessions that a committed secret decides.

`ppgym.benchmark.seals` has the commitment, `ppgym.benchmark.player` the agents' processes, `ppgym.world.sessions` what
is drawn from the secret.
"""

import contextlib
import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.episodes import Registry, agent_seed, find_suite, play_session, versions
from ppgym.benchmark.player import EntryError, Player, find_isolation
from ppgym.benchmark.records import SEALED, Journal, Record, write_records
from ppgym.benchmark.run import check_output, write_board
from ppgym.benchmark.seals import ENDED, RUN, SAID, SEAL, SESSIONS, Seal, commitment_of, salt_of
from ppgym.benchmark.summary import REFERENCE, Board, replayed, summarize
from ppgym.core.actions import WAIT
from ppgym.env import Observation, PromptPreamEnv
from ppgym.files import suggest, write_bytes, write_json
from ppgym.progress import Progress
from ppgym.world.scenario import World
from ppgym.world.sessions import Sessions

STDIN = "-"


def run_sealed(
    registry: Registry,
    agents: Sequence[str],
    source: str,
    *,
    suite: str,
    output: Path,
    baseline: str | None = None,
    beacon_value: str | None = None,
    say: Callable[[str], None] = print,
) -> Board:
    """Play entries on the sessions of a seal, and reveal everything that a validation needs.

    No code of an entry runs in this process, and all of their processes have started before the seal is read.

    Args:
        registry: Finds agents by name.
        agents: Names or import paths of the entries.
        source: The seal's file, or `STDIN`.
        suite: The seal's suite, which is public.
        output: Folder for records, figures, the seal and its sessions, written at the end. Each record is kept in a
            journal there when it comes in: the same call goes on with an interrupted run.
        baseline: Agent that the others are compared with; `REFERENCE`, if it plays, where None.
        beacon_value: What the seal's beacon showed.
        say: Is told what is to be published, before the first session, and how an entry has ended.

    Returns:
        The figures of the entries that have come to their end.

    Raises:
        ValueError: The seal is of another suite, of other code or of other entries, none of them has come to its end,
            or the output folder holds a file that would be written.
        FileNotFoundError: No such seal.
        OSError: The output folder cannot be written, which is found before the secret is read.
    """
    check_output(output, (SEAL, RUN, SESSIONS))
    if not agents or len(set(agents)) < len(agents):
        raise ValueError(f"agents: expected one or more different names, got {list(agents)}")
    if baseline is not None and baseline not in agents:
        raise ValueError(f"baseline: {baseline!r} does not play; {suggest(baseline, agents)}")
    entries = {agent: registry.import_path(agent) for agent in agents}
    scenarios = find_suite(suite).scenarios
    params = {(agent, scenario): _params(registry, agent, scenario) for agent in agents for scenario in scenarios}
    isolation = find_isolation()
    _compile(scenarios[0])
    with contextlib.ExitStack() as stack:
        players = [stack.enter_context(Player(agent, _maker(registry), scenarios, isolation)) for agent in agents]
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):  # it can be written
            pass
        data = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        seal = Seal.parse(data, "standard input" if source == STDIN else source)
        if seal.suite != suite:
            raise ValueError(f"suite: expected that of the seal, {seal.suite!r}, got {suite!r}")
        if set(agents) != set(seal.entries):
            raise ValueError(f"agents: expected the entries of the seal, {', '.join(seal.entries)}; got {list(agents)}")
        seal.check_code(entries)
        secret = seal.mixed_secret(beacon_value)
        sessions = Sessions.generate(scenarios, seal.sessions, int(secret, 16))
        values = commitment_of(data), sessions.digest, beacon_value, isolation.name
        said = dict(zip(SAID, values, strict=True))
        say("\n".join(f"{key}: {value}" for key, value in said.items() if value is not None))
        salt = salt_of(secret)

        def play_one(player: Player, k: int, n: int) -> Record:
            scenario, seed = scenarios[k], int(sessions.seeds[k, n])
            own_seed = agent_seed(salt, entries[player.agent], scenario, n)
            played = _play_session(player, sessions.world(scenario, seed), k, seed, own_seed)
            return played | {"params": params[player.agent, scenario], SEALED: said["commitment"]}

        plan = json.dumps([said, entries, versions()], sort_keys=True)
        with Journal(output, hashlib.sha256(plan.encode()).hexdigest()) as journal:
            records, ended = _play(players, sessions, play_one, journal, say)
            stack.close()  # the players end before anything is revealed
            if not records:
                raise ValueError("no entry has come to its end")
            totals = replayed(records, lambda record: sessions.world(record["scenario"], record["seed"]))
            board = summarize(records, baseline=baseline or REFERENCE, totals=totals)
            write_records(output, records)
            sessions.write(output / SESSIONS)
            write_bytes(output / SEAL, data)
            write_json(output / RUN, said | {ENDED: ended})
            write_board(output, board)
            journal.delete()
    return board


def check_entries(registry: Registry, agents: Sequence[str], suite: str) -> None:
    """Refuse entries that cannot be made, as a run would: each is made in a process of its own.

    Args:
        registry: Finds agents by name.
        agents: Names or import paths of the entries.
        suite: Of the seal.

    Raises:
        ValueError: One cannot be made; says why.
    """
    isolation, scenarios = find_isolation(), find_suite(suite).scenarios
    _compile(scenarios[0])
    for agent in agents:
        Player(agent, _maker(registry), scenarios, isolation).close()


def _compile(scenario: str) -> None:
    """Compile what every player runs, once for all of them: each gets a copy of the cache."""
    env = PromptPreamEnv(scenario)
    env.reset(seed=0)
    env.planning_view()
    env.step(WAIT)


def _maker(registry: Registry) -> str:
    return f"{registry.make.__module__}:{registry.make.__qualname__}"


def _params(registry: Registry, agent: str, scenario: str) -> dict[str, Any]:
    """What a name of the registry stands for. An entry's own class is made without parameters, and not imported."""
    if registry.import_path(agent) == agent:
        return {}
    return registry.params(agent, PromptPreamEnv(scenario))


def _play(
    players: Sequence[Player],
    sessions: Sessions,
    play_session: Callable[[Player, int, int], Record],
    journal: Journal,
    say: Callable[[str], None],
) -> tuple[list[Record], dict[str, str]]:
    """The records of those who come to their end, by scenario and agent; and why the others did not."""
    records: list[Record] = []
    ended: dict[str, str] = {}
    count = sessions.seeds.shape[1]
    jobs = itertools.product(range(len(sessions.scenarios)), range(count), players)
    with Progress("Playing", sessions.seeds.size * len(players)) as progress:
        for place, (k, n, player) in enumerate(jobs):
            if player.agent not in ended:
                if place not in journal.finished:
                    try:
                        journal.keep(place, play_session(player, k, n))
                    except EntryError as error:
                        journal.keep(place, {ENDED: str(error)})
                kept = journal.finished[place]
                if ENDED in kept:
                    ended[player.agent] = kept[ENDED]
                    say(kept[ENDED])
                else:
                    records.append(kept)
            progress.advance()
    names = [player.agent for player in players]
    of_them = [record for record in records if record["agent"] not in ended]
    of_them.sort(key=lambda record: (sessions.scenarios.index(record["scenario"]), names.index(record["agent"])))
    return of_them, ended


def _play_session(player: Player, world: World, place: int, seed: int, own_seed: int) -> Record:
    env = PromptPreamEnv(world)
    client = env.client

    def decide(observation: Observation, mask: npt.NDArray[np.int8], first: bool) -> int:
        action = player.ask(observation, client.planning_view(), first)
        if not (0 <= action < len(mask) and mask[action]):
            raise EntryError(f"agent {player.agent!r}: expected a legal action, got {action}")
        return action

    player.begin(place, own_seed)
    played = play_session(env, seed, decide)
    player.end()
    return {
        "scenario": world.scenario.name,
        "seed": seed,
        "agent": player.agent,
        "agent_seed": own_seed,
        "split": world.split,
        **played,
    }
