"""Seals: the commitment to a secret and to code before a sealed run, and the names of the files revealed after it."""

import hashlib
import importlib.util
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ppgym.benchmark.episodes import find_suite, versions
from ppgym.core.jit import kernel_hash
from ppgym.files import check_keys, parse_json
from ppgym.world.sessions import generator_hash

SEAL = "seal.json"  # the file as it was committed to
SESSIONS = "sessions.npz"
RUN = "sealed.json"  # what was said before and after play
SAID = ("commitment", "sessions", "beacon_value", "isolation")  # keys of what is said before
ENDED = "ended"  # key of what is said after: why entries ended, by name

SECRET_BYTES = 32
HOUSE = "ppgym"  # key of our own code among the entries
WEIGHTS = {".safetensors", ".onnx", ".pt", ".pth", ".zip", ".npy", ".npz", ".pkl", ".joblib", ".so", ".pyd"}


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
            content = parse_json(data.decode(), where)
        except UnicodeDecodeError:
            raise ValueError(f"{where}: expected the JSON that `evaluate.py seal` writes") from None
        if not isinstance(content, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(content).__name__}")
        check_keys(where, content, cls.__dataclass_fields__)
        seal = cls(**content)
        for key in ("suite", "generator", "kernel", "beacon"):
            if not (isinstance(content[key], str) or (key == "beacon" and content[key] is None)):
                raise ValueError(f"{where}: key {key!r}: expected text, got {content[key]!r}")
        for key in ("code", "versions"):
            texts = isinstance(content[key], dict) and all(isinstance(each, str) for each in content[key].values())
            if not texts:
                raise ValueError(f"{where}: key {key!r}: expected texts by names, got {content[key]!r}")
        try:
            find_suite(seal.suite)
        except ValueError as error:
            raise ValueError(f"{where}: key 'suite': {error}") from None
        if type(seal.sessions) is not int or seal.sessions < 1:
            raise ValueError(f"{where}: key 'sessions': expected a whole number of at least 1, got {seal.sessions!r}")
        if not _is_hex(seal.secret):
            raise ValueError(f"{where}: key 'secret': expected {2 * SECRET_BYTES} hexadecimal digits")
        return seal

    @property
    def entries(self) -> list[str]:
        """Names of the entries that it commits to."""
        return [name for name in self.code if name != HOUSE]

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


def salt_of(secret: str) -> str:
    """The salt of the agents' own seeds.

    Args:
        secret: Mixed with the beacon's value, where there is a beacon.
    """
    return hashlib.sha256(f"{secret} | agents".encode()).hexdigest()


def commitment_of(data: bytes) -> str:
    """SHA-256 of a seal's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def code_hashes(entries: Mapping[str, str]) -> dict[str, str]:
    """Hashes of the code of entries and of ppgym. No code of theirs is run.

    Args:
        entries: Import path of each entry, by name.

    Returns:
        By name, SHA-256 over paths and bytes of what the entry consists of: all files of its top-level package, or,
        where its module lies in no package, every Python file and file of weights in the module's folder and below.
        Hidden folders and virtual environments are left out.

    Raises:
        ValueError: No such package or module.
    """
    return {name: _code_hash(name, path) for name, path in {**entries, HOUSE: HOUSE}.items()}


def _code_hash(name: str, import_path: str) -> str:
    top = import_path.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top) if top else None
    if spec is None:
        raise ValueError(f"agent {name!r}: expected an import path module:Class, but there is no module {top!r}")
    packages = [Path(folder) for folder in spec.submodule_search_locations or ()]
    folders = packages or [Path(spec.origin or "").parent]
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(_files(folder)):
            if packages or file.suffix == ".py" or file.suffix in WEIGHTS:
                relative = file.relative_to(folder).as_posix()
                digest.update(f"{relative}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink() and not path.name.startswith((".", "__pycache__")):
            if not (path / "pyvenv.cfg").exists():
                yield from _files(path)
