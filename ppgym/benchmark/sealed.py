"""Sealed runs: agents in processes of their own play sessions that a committed secret decides.

`ppgym.benchmark.seals` has the commitment, `ppgym.benchmark.player` the agents' processes, `ppgym.world.sessions` what
is drawn from the secret.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.episodes import Registry, agent_seed, find_suite, play_session
from ppgym.benchmark.player import EntryError, Player, find_isolation
from ppgym.benchmark.records import SEALED, Record, write_records
from ppgym.benchmark.run import check_free, write_board
from ppgym.benchmark.seals import RUN, SEAL, SESSIONS, Seal, commitment_of
from ppgym.benchmark.summary import REFERENCE, Board, summarize
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
        output: Folder for records, figures, the seal and its sessions; written at the end.
        baseline: Agent that the others are compared with; `REFERENCE`, if it plays, where None.
        beacon_value: What the seal's beacon showed.
        say: Is told what is to be published, before the first session, and how an entry has ended.

    Returns:
        The figures of the entries that have come to their end.

    Raises:
        ValueError: The seal is of another suite, of other code or of other entries, none of them has come to its end,
            or the output folder holds a run.
        FileNotFoundError: No such seal.
    """
    check_free(output)
    if not agents or len(set(agents)) < len(agents):
        raise ValueError(f"agents: expected one or more different names, got {list(agents)}")
    if baseline is not None and baseline not in agents:
        raise ValueError(f"baseline: {baseline!r} does not play; {suggest(baseline, agents)}")
    entries = {agent: registry.import_path(agent) for agent in agents}
    scenarios = find_suite(suite).scenarios
    isolation = find_isolation()
    PromptPreamEnv(scenarios[0]).reset(seed=0)  # compiles the kernel once, for all players
    with contextlib.ExitStack() as stack:
        make = f"{registry.make.__module__}:{registry.make.__qualname__}"
        players = [stack.enter_context(Player(agent, make, scenarios, isolation)) for agent in agents]
        data = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        seal = Seal.parse(data, "standard input" if source == STDIN else source)
        if seal.suite != suite:
            raise ValueError(f"suite: expected that of the seal, {seal.suite!r}, got {suite!r}")
        seal.check_code(entries)
        secret = seal.mixed_secret(beacon_value)
        sessions = Sessions.generate(scenarios, seal.sessions, int(secret, 16))
        said: dict[str, Any] = {
            "commitment": commitment_of(data),
            "sessions": sessions.digest,
            "beacon_value": beacon_value,
            "isolation": isolation.name,
        }
        say("\n".join(f"{key}: {value}" for key, value in said.items() if value is not None))
        salt = hashlib.sha256(f"{secret} | agents".encode()).hexdigest()
        records, ended = _play(
            players, sessions, lambda agent, *session: agent_seed(salt, entries[agent], *session), say
        )
    if not records:
        raise ValueError("no entry has come to its end")
    for record in records:
        record[SEALED] = said["commitment"]
    board = summarize(
        records,
        baseline=baseline or REFERENCE,
        find_world=lambda record: sessions.world(record["scenario"], record["seed"]),
    )
    sessions.write(output / SESSIONS)
    write_bytes(output / SEAL, data)
    write_json(output / RUN, said | {"ended": ended})
    write_records(output, records)
    write_board(output, board)
    return board


def _play(
    players: Sequence[Player],
    sessions: Sessions,
    own_seed: Callable[[str, str, int], int],
    say: Callable[[str], None],
) -> tuple[list[Record], dict[str, str]]:
    """The records of those who come to their end, by scenario and agent; and why the others did not."""
    records: list[Record] = []
    ended: dict[str, str] = {}
    with Progress("Playing", sessions.seeds.size * len(players)) as progress:
        for k, scenario in enumerate(sessions.scenarios):
            for n, seed in enumerate(sessions.seeds[k].tolist()):
                world = sessions.world(scenario, seed)
                for player in players:
                    if player.agent not in ended:
                        own = own_seed(player.agent, scenario, n)
                        try:
                            records.append(_play_session(player, world, k, seed, own))
                        except EntryError as error:
                            ended[player.agent] = str(error)
                            say(str(error))
                    progress.advance()
    names = [player.agent for player in players]
    kept = [record for record in records if record["agent"] not in ended]
    kept.sort(key=lambda record: (sessions.scenarios.index(record["scenario"]), names.index(record["agent"])))
    return kept, ended


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
        "params": {},
        "split": world.split,
        **played,
    }
