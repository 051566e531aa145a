"""Seals: the commitment to a secret before a sealed run, and the revealed files after it."""

import hashlib
import importlib.util
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ppgym.benchmark.episodes import find_suite, versions
from ppgym.benchmark.records import SEALED, Record
from ppgym.core.jit import kernel_hash
from ppgym.files import check_keys, read_json
from ppgym.world.scenario import World
from ppgym.world.sessions import Sessions, generator_hash

SEAL = "seal.json"  # the file as it was committed to
SESSIONS = "sessions.npz"
RUN = "sealed.json"  # what was said before and after play

SECRET_BYTES = 32


@dataclass(frozen=True)
class Seal:
    """What the holder of a secret commits to.

    Attributes:
        suite: Name of the suite.
        sessions: Of each scenario.
        secret: 64 hexadecimal digits.
        generator: Hash of the code that turns the secret into sessions.
        kernel: Hash of the simulator's code.
        code: Hash of the code of each entry, by name, and of "ppgym".
        versions: As records have them.
        beacon: A public random number of a time after the commitment, in words; its value is mixed into the secret.
            None where there is none.
    """

    suite: str
    sessions: int
    secret: str
    generator: str
    kernel: str
    code: dict[str, str]
    versions: dict[str, str]
    beacon: str | None

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read a seal.

        Args:
            data: The bytes of its file.
            where: The file, for the message.

        Raises:
            ValueError: Not a seal; names what was expected. The secret is not in the message.
        """
        try:
            content = json.loads(data)
        except ValueError:
            raise ValueError(f"{where}: expected the JSON that `evaluate.py seal` writes") from None
        if not isinstance(content, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(content).__name__}")
        check_keys(where, content, cls.__dataclass_fields__)
        seal = cls(**content)
        find_suite(seal.suite)
        if type(seal.sessions) is not int or seal.sessions < 1:
            raise ValueError(f"{where}: key 'sessions': expected a whole number of at least 1, got {seal.sessions!r}")
        if not _is_hex(seal.secret):
            raise ValueError(f"{where}: key 'secret': expected {2 * SECRET_BYTES} hexadecimal digits")
        return seal

    def mixed_secret(self, beacon_value: str | None) -> str:
        """The secret that everything is drawn from.

        Args:
            beacon_value: What the beacon showed, None where the seal names none.

        Returns:
            64 hexadecimal digits: the secret, or SHA-256("SECRET | VALUE").

        Raises:
            ValueError: A value without a beacon, or a beacon without a value.
        """
        if (self.beacon is None) != (beacon_value is None):
            expected = "no value of a beacon" if self.beacon is None else f"the value of its beacon, {self.beacon}"
            raise ValueError(f"seal: expected {expected}, got {beacon_value!r}")
        if beacon_value is None:
            return self.secret
        return hashlib.sha256(f"{self.secret} | {beacon_value}".encode()).hexdigest()

    def check_code(self, entries: Mapping[str, str]) -> None:
        """Refuse code that is not what the seal commits to.

        Args:
            entries: Import path of each entry, by name.

        Raises:
            ValueError: The generator, the kernel, ppgym or an entry has changed, or is not in the seal.
        """
        hashes = {"generator": generator_hash(), "kernel": kernel_hash()} | code_hashes(entries)
        committed = {"generator": self.generator, "kernel": self.kernel} | self.code
        for name, got in hashes.items():
            if name not in committed:
                raise ValueError(f"seal: expected entries that it commits to, {', '.join(self.code)}; got {name!r}")
            if committed[name] != got:
                raise ValueError(f"seal: code of {name!r}: expected the hash {committed[name]}, got {got}")


def _is_hex(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 2 * SECRET_BYTES and set(text) <= set("0123456789abcdef")


def write_seal(
    path: Path, suite: str, entries: Mapping[str, str], sessions: int | None = None, beacon: str | None = None
) -> str:
    """Draw a secret and write the seal's file, which its owner alone can read.

    Args:
        path: The file; it must not exist.
        suite: Name of the suite.
        entries: Import path of each entry, by name.
        sessions: Of each scenario; the suite's where None.
        beacon: Name of a public random number that is not known yet.

    Returns:
        The commitment, to publish before the run: SHA-256 of the file's bytes.

    Raises:
        ValueError: An unknown suite, no session, or an entry whose code is not found.
        FileExistsError: The file exists.
    """
    count = find_suite(suite).sessions if sessions is None else sessions
    secret = secrets.token_hex(SECRET_BYTES)
    seal = Seal(suite, count, secret, generator_hash(), kernel_hash(), code_hashes(entries), versions(), beacon)
    data = (json.dumps(asdict(seal), indent=1) + "\n").encode()
    Seal.parse(data, str(path))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return commitment_of(data)


def commitment_of(data: bytes) -> str:
    """SHA-256 of a seal's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def code_hashes(entries: Mapping[str, str]) -> dict[str, str]:
    """Hashes of the code of entries and of ppgym. No code of theirs is run.

    Args:
        entries: Import path of each entry, by name.

    Returns:
        By name, SHA-256 over paths and bytes of all files of the top-level package or module that the path begins with.

    Raises:
        ValueError: No such package or module.
    """
    return {name: _code_hash(name, path) for name, path in {**entries, "ppgym": "ppgym"}.items()}


def _code_hash(name: str, import_path: str) -> str:
    top = import_path.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top) if top else None
    if spec is None:
        raise ValueError(f"agent {name!r}: expected an import path module:Class, but there is no module {top!r}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {file.relative_to(folder).as_posix(): file for folder in folders for file in folder.rglob("*")}
    if not folders and spec.origin is not None:
        files = {Path(spec.origin).name: Path(spec.origin)}
    digest = hashlib.sha256()
    for relative, file in sorted(files.items()):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{relative}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def open_sealed(folder: Path, records: Sequence[Record]) -> Callable[[Record], World] | None:
    """The worlds of a sealed run, from its revealed files, which are checked against each other and the records.

    Args:
        folder: Of the run.
        records: Its records.

    Returns:
        Gives the world of a record; None where no record is of a sealed run.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A record is of another commitment, the sessions are not those announced, or an entry has not played
            each of them once.
    """
    if not any(SEALED in record for record in records):
        return None
    seal, sessions, said = folder / SEAL, Sessions.read(folder / SESSIONS), read_json(folder / RUN)
    if not seal.is_file():
        raise FileNotFoundError(f"{seal}: no such file")
    committed = Seal.parse(seal.read_bytes(), str(seal))
    commitment = commitment_of(seal.read_bytes())
    for number, record in enumerate(records, 1):
        if record.get(SEALED) != commitment:
            raise ValueError(f"record {number}: expected the commitment {commitment}, got {record.get(SEALED)!r}")
        if record["agent"] not in committed.code:
            raise ValueError(f"record {number}: expected an entry of {seal}, got {record['agent']!r}")
    if said.get("commitment") != commitment:
        raise ValueError(f"{folder / RUN}: expected the commitment {commitment}, got {said.get('commitment')!r}")
    if said.get("sessions") != sessions.digest:
        raise ValueError(f"{folder / SESSIONS}: expected the digest {said.get('sessions')}, got {sessions.digest}")
    suite = find_suite(committed.suite).scenarios
    if sessions.scenarios != suite or sessions.seeds.shape[1] != committed.sessions:
        raise ValueError(
            f"{folder / SESSIONS}: expected {committed.sessions} sessions of each scenario of the suite "
            f"{committed.suite!r}, got {sessions.seeds.shape[1]} of {', '.join(sessions.scenarios)}"
        )
    expected = sorted(
        (name, seed) for name, row in zip(sessions.scenarios, sessions.seeds.tolist(), strict=True) for seed in row
    )
    for agent in dict.fromkeys(record["agent"] for record in records):
        played = sorted((record["scenario"], record["seed"]) for record in records if record["agent"] == agent)
        if played != expected:
            raise ValueError(f"agent {agent!r}: expected each of the {len(expected)} sessions once")
    return lambda record: sessions.world(record["scenario"], record["seed"])
