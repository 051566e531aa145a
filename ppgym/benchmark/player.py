"""The two sides of the pipe of a sealed run: the runner's `Player`, and the process that holds the agent (`main`).

The process is started by exec with an environment of its own, builds everything public by name, and warms up in a
public episode. For each session it forks. The runner sends frames of arrays; each answer is 8 bytes, an int64, read
raw. Nothing is pickled in either direction.

A frame is its length, the length of its header, the header (JSON: name, type and shape of each array) and the arrays'
bytes. An empty frame ends a session.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import numba
import numpy as np
import numpy.typing as npt
from numba.core.caching import Cache

from ppgym.client import Client
from ppgym.core import jit
from ppgym.core.state import STATE_DTYPE, CatalogArrays
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import PlanningView, frozen

Arrays = Mapping[str, npt.NDArray[Any]]
Layout = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]  # of a frame: name, type and shape of each array
Fingerprint = dict[str, tuple[int, ...]]  # of a folder: by path, what tells a file from a changed one

READY = -1  # answer to what is no question; no action has this index
SILENCE_S = 60.0  # after which an entry ends
WARM_UP_S = 600.0  # to import, compile and warm up, before any session
WARM_UP_DECISIONS = 3
LAYOUTS_KEPT = 64  # of frames: those of most decisions are alike
ERROR_BYTES = 2000  # of what the process wrote to standard error, in a message

_LENGTHS = struct.Struct("<QQ")  # of the frame after them, and of its header
_ANSWER = struct.Struct("<q")

PUBLIC_FIELDS = ("params", "distribution", "device", "options", "representations")  # of a view: the scenario tells
SENT_FIELDS = tuple(
    field.name for field in dataclasses.fields(PlanningView) if field.name not in (*PUBLIC_FIELDS, "catalog")
)

START = (
    "import sys; sys.path[:0] = sys.argv[1].splitlines(); from ppgym.benchmark.player import main; main(sys.argv[2:])"
)


class Isolation(NamedTuple):
    """How far the agent's process is kept away from the runner's."""

    name: str
    prefix: tuple[str, ...]  # of the command
    identity: Mapping[str, Any]  # arguments of `subprocess.Popen`


NOBODY = 65534
ISOLATIONS = (  # the first that works is taken
    Isolation("another user", (), {"user": NOBODY, "group": NOBODY, "extra_groups": ()}),
    Isolation(
        "namespaces",
        ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc"),
        {},
    ),
    Isolation("same user", (), {}),
)


def find_isolation() -> Isolation:
    """The first of `ISOLATIONS` under which this machine lets a process read the code."""
    for isolation in ISOLATIONS[:-1]:
        command = [*isolation.prefix, sys.executable, "-I", "-c", f"open({__file__!r})"]
        try:
            if not subprocess.run(command, env={}, cwd="/", capture_output=True, **isolation.identity).returncode:
                return isolation
        except (OSError, ValueError):  # no such command, or the user may not
            continue
    return ISOLATIONS[-1]


class EntryError(ValueError):
    """An agent's process has broken a rule; its entry ends."""


def to_frame(arrays: Arrays) -> bytes:
    """Pack arrays for the pipe.

    Args:
        arrays: Numbers, by name.

    Returns:
        The frame.
    """
    header = _header(tuple((name, array.dtype, array.shape) for name, array in arrays.items()))
    parts = [header, *(array.tobytes() for array in arrays.values())]
    return b"".join([_LENGTHS.pack(sum(map(len, parts)), len(header)), *parts])


@functools.lru_cache(LAYOUTS_KEPT)
def _header(layout: Layout) -> bytes:
    return json.dumps([[name, kind.str, shape] for name, kind, shape in layout]).encode()


@functools.lru_cache(LAYOUTS_KEPT)
def _layout(header: bytes) -> Layout:
    return tuple((name, np.dtype(kind), tuple(shape)) for name, kind, shape in json.loads(header))


def read_frame(pipe: int) -> dict[str, npt.NDArray[Any]] | None:
    """Read arrays from the pipe.

    Args:
        pipe: File descriptor.

    Returns:
        Read-only arrays by name; None where the pipe has ended.
    """
    lengths = _read_exactly(pipe, _LENGTHS.size)
    if lengths is None:
        return None
    length, header_length = _LENGTHS.unpack(lengths)
    body = _read_exactly(pipe, length)
    if body is None:
        return None
    arrays, start = {}, header_length
    for name, kind, shape in _layout(body[:header_length]):
        array: npt.NDArray[Any] = np.ndarray(shape, kind, body, start)
        arrays[name], start = array, start + array.nbytes
    return arrays


def _read_exactly(pipe: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(pipe, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _fingerprint(folder: Path) -> Fingerprint:
    found: Fingerprint = {}
    for root, folders, names in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in (*folders, *names))):
            try:
                one = os.lstat(path)  # nobody can set the time of the last change
            except FileNotFoundError:  # gone meanwhile
                continue
            found[path] = one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns
    return found


class Player:
    """The runner's side: one agent's process. Use it in a `with`, which ends the process.

    Any of its methods raises `EntryError` where the process dies, is silent for `SILENCE_S`, answers out of turn or
    with another length than 8 bytes, or where its caches, or its empty folder, have changed when a session begins.
    """

    def __init__(self, agent: str, make_agent: str, scenarios: Sequence[str], isolation: Isolation) -> None:
        """Start the process, and wait until it has warmed up. The secret must not have been read before.

        Args:
            agent: Name or import path.
            make_agent: Import path of the function that makes it, ``module:function``.
            scenarios: Names of the suite's scenarios; agents are told their place in it.
            isolation: How far the process is kept away.
        """
        self.agent = agent
        self._folder = Path(tempfile.mkdtemp(prefix="ppgym-player-"))
        self._home, self._cache, self._errors = (self._folder / name for name in ("home", "cache", "errors.txt"))
        self._user = isolation.identity.get("user")
        self._folder.chmod(0o711)  # its owner alone may replace what lies in it
        self._renew_home()
        self._cache.mkdir()
        if jit.CACHE is not None:  # a copy: who writes to the runner's has its code run there
            shutil.copytree(jit.CACHE, self._cache / jit.CACHE.name)
        for path in (self._cache, *self._cache.rglob("*")):
            self._give(path)
        environment = {
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "NUMBA_CACHE_DIR": str(self._cache),
            "OMP_NUM_THREADS": "1",
        }
        paths = "\n".join(os.path.abspath(path) for path in sys.path)
        arguments = [paths, agent, make_agent, *scenarios]
        with open(self._errors, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as errors:
            self._process = subprocess.Popen(
                [*isolation.prefix, sys.executable, "-I", "-c", START, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd="/",
                start_new_session=True,
                bufsize=0,
                **isolation.identity,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        try:
            self._answer(time.monotonic() + WARM_UP_S)
            self._renew_home()  # imports may write there
            self._lock_cache()
        except BaseException:
            self.close()
            raise

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def _renew_home(self) -> None:
        """Empty the folder in which a session may write."""
        shutil.rmtree(self._home, ignore_errors=True)
        try:
            self._home.mkdir()
        except FileExistsError:  # somebody wrote to it meanwhile
            raise self._changed(self._home) from None
        self._give(self._home)
        self._home_left = _fingerprint(self._home)

    def _lock_cache(self) -> None:
        """Make what the warm-up has compiled read-only, and remember it. Files are opened first: none may be a link."""
        for _, _, names, folder in os.fwalk(self._cache):
            self._lock(folder, 0o555)
            for name in names:
                with contextlib.suppress(OSError):  # a link, which stays what it is
                    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                    try:
                        self._lock(file, 0o444)
                    finally:
                        os.close(file)
        self._cache_left = _fingerprint(self._cache)

    def _lock(self, descriptor: int, mode: int) -> None:
        if self._user is not None:
            os.fchown(descriptor, os.getuid(), os.getgid())
        os.fchmod(descriptor, mode)

    def _expect_unchanged(self, folder: Path, left: Fingerprint) -> None:
        if _fingerprint(folder) != left:
            raise self._changed(folder)

    def _changed(self, folder: Path) -> EntryError:
        return self._ended(f"expected nothing new in its folder {folder.name!r}, where a session could leave notes")

    def begin(self, scenario: int, seed: int) -> None:
        """Begin a session, in a process of its own.

        Args:
            scenario: Place among the suite's scenarios.
            seed: Of what the agent draws itself.
        """
        self._expect_unchanged(self._home, self._home_left)
        self._expect_unchanged(self._cache, self._cache_left)
        self._catalog: CatalogArrays | None = None
        self._send({"scenario": np.array(scenario), "seed": np.array(seed, np.uint64)})

    def ask(self, observation: npt.NDArray[np.float32], view: PlanningView, first: bool) -> int:
        """Ask for a decision.

        Args:
            observation: What the environment returned last.
            view: What a client may know. Manifests are sent when they change.
            first: Whether the episode starts.

        Returns:
            The answer, any int64.
        """
        sent = {name: np.asarray(getattr(view, name)) for name in SENT_FIELDS}
        sent["state"] = np.frombuffer(view.state.tobytes(), np.uint8)
        if view.catalog is not self._catalog:
            self._catalog = view.catalog
            sent |= view.catalog._asdict()
        return self._send(sent | {"observation": observation, "first": np.array(first)})

    def end(self) -> None:
        """End the session: wait until its process is gone, and delete what it has written."""
        self._send({})
        self._expect_unchanged(self._cache, self._cache_left)
        self._renew_home()
        os.truncate(self._errors, 0)

    def _send(self, arrays: Arrays) -> int:
        deadline_s = time.monotonic() + SILENCE_S
        self._expect_silence()
        frame = memoryview(to_frame(arrays))
        while frame:
            self._wait(self._to, select.POLLOUT, deadline_s)
            try:
                frame = frame[os.write(self._to, frame) :]
            except BrokenPipeError:
                raise self._ended("expected a process that reads, but it has ended") from None
            except BlockingIOError:
                continue
        return self._answer(deadline_s)

    def _expect_silence(self) -> None:
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        if any(event & select.POLLIN for _, event in poll.poll(0)):
            raise self._ended("expected no answer before the next question")

    def _answer(self, deadline_s: float) -> int:
        answer = b""
        while len(answer) < _ANSWER.size:
            self._wait(self._from, select.POLLIN, deadline_s)
            part = os.read(self._from, _ANSWER.size - len(answer))
            if not part:
                raise self._ended(f"expected an answer of {_ANSWER.size} bytes, got {len(answer)}, then the end")
            answer += part
        (value,) = _ANSWER.unpack(answer)
        return int(value)

    def _wait(self, pipe: int, event: int, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, 1e3 * (deadline_s - time.monotonic()))):
            raise self._ended(f"expected an answer within {SILENCE_S:g} s")

    def _ended(self, why: str) -> EntryError:
        self._kill()
        text = self._errors.read_bytes()[-ERROR_BYTES:].decode(errors="replace").strip()
        return EntryError(f"agent {self.agent!r}: {why}" + (f"; it says: {text.splitlines()[-1]}" if text else ""))

    def _kill(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End the process, and delete its folder."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Nothing is left to do: it has started."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()


def main(arguments: Sequence[str]) -> None:
    """The agent's side: warm up in public episodes, then play each session in a fork.

    Args:
        arguments: Agent, import path of the function that makes it, names of the scenarios.
    """
    agent, factory, *scenarios = arguments
    pipes = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the agent prints is no answer
    module, _, name = factory.partition(":")
    make_agent = getattr(importlib.import_module(module), name)

    def make(client: Client, seed: int) -> Any:
        made = make_agent(agent, client, seed=seed)
        if not getattr(made, "ranked", True):
            raise ValueError(f"agent {agent!r}: expected one that competes; it says that it does not")
        return made

    envs = [PromptPreamEnv(scenario, "train") for scenario in scenarios]
    for env in envs:
        env.reset(seed=0)
    _warm_up(make(envs[0].client, 0), envs[0])
    while True:
        _reply(pipes[1], READY)
        child = os.fork()
        if child == 0:
            _play_and_exit(pipes, make, envs)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


def _warm_up(agent: Any, env: PromptPreamEnv) -> None:
    observation, info = env.reset(seed=0)
    state: Any = None
    for i in range(WARM_UP_DECISIONS):
        action, state = _predict(agent, observation, state, i == 0, info["action_mask"])
        observation, *_, info = env.step(int(action))


def _predict(agent: Any, observation: npt.NDArray[Any], state: Any, first: bool, mask: npt.NDArray[Any]) -> Any:
    start, legal = np.array([first]), mask.astype(np.bool_)
    return agent.predict(observation, state=state, episode_start=start, deterministic=True, action_masks=legal)


def _reply(pipe: int, value: int) -> None:
    os.write(pipe, _ANSWER.pack(value))


def _play_and_exit(
    pipes: tuple[int, int], make: Callable[[Client, int], Any], envs: Sequence[PromptPreamEnv]
) -> NoReturn:
    """Play one session, in a fork. Its exit status tells whether the agent has come to its end."""
    try:
        _keep_nothing_compiled()
        begin = read_frame(pipes[0])
        if begin is None:
            os._exit(1)
        os.chdir(os.environ["HOME"])  # not before: the runner empties it between sessions
        client = envs[int(begin["scenario"])].client
        views = [client.planning_view()]  # the last one; before the first question a public one
        client = dataclasses.replace(
            client, planning_view=lambda: views[0], action_masks=lambda: frozen(views[0].action_mask.astype(np.bool_))
        )
        agent, state = make(client, int(begin["seed"])), None
        _reply(pipes[1], READY)
        while frame := read_frame(pipes[0]):
            observation, first = frame.pop("observation").copy(), bool(frame.pop("first"))
            views[0] = _shown(views[0], frame)
            action, state = _predict(agent, observation, state, first, views[0].action_mask)
            _reply(pipes[1], int(action))
        os._exit(frame is None)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _keep_nothing_compiled() -> None:
    """What a session compiles is lost with it: the caches are read-only."""
    saving: Any = Cache
    saving.save_overload = lambda self, signature, data: None
    config: Any = numba.config
    config.CACHE_DIR, jit.CACHE = os.environ["HOME"], None


def _shown(last: PlanningView, frame: Arrays) -> PlanningView:
    """The view that a frame tells of; manifests are those of the last one where it has none."""
    told: dict[str, Any] = {name: frame[name] if frame[name].ndim else frame[name].item() for name in SENT_FIELDS}
    told["state"] = np.ndarray((), STATE_DTYPE, frame["state"].tobytes())[()]
    if CatalogArrays._fields[0] in frame:
        told["catalog"] = CatalogArrays(*(frame[name] for name in CatalogArrays._fields))
    return dataclasses.replace(last, **told)
