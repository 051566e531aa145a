"""The revealed files of a sealed run, checked against each other, against the seal and against the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ppgym.benchmark.episodes import Registry, agent_seed, find_suite
from ppgym.benchmark.records import SEALED, Record
from ppgym.benchmark.replay import FindWorld
from ppgym.benchmark.seals import (
    ENDED,
    RUN,
    SAID,
    SEAL,
    SESSIONS,
    Seal,
    code_hashes,
    commitment_of,
    salt_of,
)
from ppgym.files import check_keys, read_json
from ppgym.world.sessions import Sessions, generator_hash

SPLIT = "test"  # of the worlds of sealed sessions


class Revealed(NamedTuple):
    """A sealed run whose files agree."""

    find_world: FindWorld  # gives the world of a record
    notes: list[str]  # what a reader holds against what was published, and what could not be checked


def open_sealed(folder: Path, records: Sequence[Record], registry: Registry) -> Revealed | None:
    """Read the revealed files of a sealed run, and check them.

    Args:
        folder: Of the run.
        records: Its records.
        registry: Knows the import paths of names.

    Returns:
        None where neither a record nor a file is of a sealed run; a seal alone may lie anywhere.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A record is of another commitment, kernel or split, has overrides or another agent's seed, the
            sessions are not those announced or do not follow from the secret, or an entry that the seal commits to has
            neither played each of them once nor ended, or another one has.
    """
    files = [name for name in (RUN, SESSIONS) if (folder / name).exists()]
    if not files and not any(SEALED in record for record in records):
        return None
    if not (folder / SEAL).is_file():
        raise FileNotFoundError(f"{folder / SEAL}: no such file")
    data = (folder / SEAL).read_bytes()
    seal, commitment = Seal.parse(data, str(folder / SEAL)), commitment_of(data)
    sessions, said = Sessions.read(folder / SESSIONS), _read_run(folder / RUN)
    if said["commitment"] != commitment:
        raise ValueError(f"{folder / RUN}: expected the commitment {commitment}, got {said['commitment']!r}")
    if said["sessions"] != sessions.digest:
        raise ValueError(f"{folder / SESSIONS}: expected the digest {said['sessions']}, got {sessions.digest}")
    suite = find_suite(seal.suite).scenarios
    if sessions.scenarios != suite or sessions.seeds.shape[1] != seal.sessions:
        raise ValueError(
            f"{folder / SESSIONS}: expected {seal.sessions} sessions of each scenario of the suite "
            f"{seal.suite!r}, got {sessions.seeds.shape[1]} of {', '.join(sessions.scenarios)}"
        )
    secret = seal.mixed_secret(said["beacon_value"])
    notes = [f"commitment, to hold against what was published: {commitment}"]
    notes.append(f"sessions, to hold against what was published: {sessions.digest}")
    notes.append(f"isolation, as the holder says: {said['isolation']}")
    notes.append(_origin(folder, seal, sessions, secret))
    _check_entries(seal, said[ENDED], sessions, records)
    paths = {entry: registry.import_path(entry) for entry in seal.entries}
    _check_records(seal, commitment, salt_of(secret), paths, sessions, records)
    notes += [f"ended: {entry}: {why}" for entry, why in said[ENDED].items()]
    notes += _other_code(seal, paths)
    return Revealed(lambda record: sessions.world(record["scenario"], record["seed"]), notes)


def _read_run(path: Path) -> dict[str, Any]:
    said = read_json(path)
    check_keys(str(path), said, (*SAID, ENDED))
    if not all(said[key] is None or isinstance(said[key], str) for key in SAID):
        raise ValueError(f"{path}: expected texts under the keys {', '.join(SAID)}")
    ended = said[ENDED]
    if not isinstance(ended, dict) or not all(isinstance(why, str) for why in ended.values()):
        raise ValueError(f"{path}: key {ENDED!r}: expected reasons by entries, got {ended!r}")
    return said


def _origin(folder: Path, seal: Seal, sessions: Sessions, secret: str) -> str:
    """Whether the sessions follow from the secret, in words."""
    if seal.generator != generator_hash():
        return f"NOT checked whether the sessions follow from the secret: the generator was another, {seal.generator}"
    expected = Sessions.generate(sessions.scenarios, seal.sessions, int(secret, 16)).digest
    if expected != sessions.digest:
        raise ValueError(
            f"{folder / SESSIONS}: expected the sessions that follow from the secret, of the digest {expected}, got "
            f"{sessions.digest}"
        )
    return "the sessions follow from the secret"


def _check_entries(seal: Seal, ended: Mapping[str, str], sessions: Sessions, records: Sequence[Record]) -> None:
    """Every entry of the seal has played each session once or is said to have ended, and no other has."""
    expected = sorted(
        (name, seed) for name, row in zip(sessions.scenarios, sessions.seeds.tolist(), strict=True) for seed in row
    )
    played: dict[str, list[tuple[str, int]]] = {}
    for record in records:
        played.setdefault(record["agent"], []).append((record["scenario"], record["seed"]))
    for agent in (*played, *ended):
        if agent not in seal.entries:
            raise ValueError(f"agent {agent!r}: expected an entry of the seal, {', '.join(seal.entries)}")
        if agent in played and agent in ended:
            raise ValueError(f"agent {agent!r}: expected records or a reason why it ended, got both")
    for entry in seal.entries:
        if entry not in ended and sorted(played.get(entry, [])) != expected:
            raise ValueError(f"agent {entry!r}: expected each of the {len(expected)} sessions once")


def _check_records(
    seal: Seal,
    commitment: str,
    salt: str,
    paths: Mapping[str, str],
    sessions: Sessions,
    records: Sequence[Record],
) -> None:
    numbers = {
        (scenario, seed): n
        for scenario, row in zip(sessions.scenarios, sessions.seeds.tolist(), strict=True)
        for n, seed in enumerate(row)
    }
    for number, record in enumerate(records, 1):
        scenario, agent = record["scenario"], record["agent"]
        own_seed = agent_seed(salt, paths[agent], scenario, numbers[scenario, record["seed"]])
        expected = {
            SEALED: commitment,
            "split": SPLIT,
            "overrides": None,
            "agent_seed": own_seed,
            "kernel": seal.kernel,
        }
        got = record | {"kernel": record.get("versions", {}).get("kernel")}
        for key, value in expected.items():
            if got.get(key) != value:
                raise ValueError(f"record {number} ({agent}): {key}: expected {value!r}, got {got.get(key)!r}")


def _other_code(seal: Seal, paths: Mapping[str, str]) -> list[str]:
    """Whose code on this machine is not what the seal commits to, in words."""
    notes = []
    for name in seal.code:
        try:
            here = code_hashes({name: paths[name]} if name in paths else {})[name]
        except ValueError:
            notes.append(f"code of {name}: not on this machine, not compared with the seal")
            continue
        same = "is" if here == seal.code[name] else "is NOT"
        notes.append(f"code of {name}: that on this machine {same} what the seal commits to")
    return notes
