"""The official `Player`, read-only, and the process in which other people's entries meet it.

An entry's process runs this file by itself, so that nothing of ppgym is in the entry's way: it needs NumPy alone.

    python -P player.py SOLUTION ROOT OFFICIAL

Its parent, `ppgym.entries.process`, and it exchange frames: a length and JSON. Nothing is pickled in either direction.
"""

import contextlib
import faulthandler
import importlib.machinery
import importlib.util
import json
import math
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

Action = tuple[int, int, float]
"""Video, rung, milliseconds of sleep (0: download)."""

CHUNK_MS = 1000.0
RATES_KBPS = (750, 1200, 1850)
RUNGS = len(RATES_KBPS)
VIDEOS = 7
DISTINCT_SEEDS = 100  # exclusive limit of the official runner's own viewer
RUNNER_SEED = 42

CLONE = Path(__file__).resolve().parents[2]
OLD_NUMPY = {  # what NumPy 1.21, the challenge's, called so
    **{"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str, "long": int},
    **{"float_": np.float64, "complex_": np.complex128, "Inf": np.inf, "Infinity": np.inf, "NaN": np.nan},
    **{"product": np.prod, "cumproduct": np.cumprod, "alltrue": np.all, "sometrue": np.any},
}

LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 1 << 20
MAX_ERROR = 8000  # characters of a traceback, its last ones


class MMGCPlayer:
    """One video of the window as the official `Player` shows it to a policy.

    Names, units, types and habits are the official ones. Nothing can be set; lists are the player's own, so that what
    is done to them changes no session. A copy (`copy.deepcopy`) belongs to its maker, who may set everything and let it
    play and download.

    Attributes:
        video_size: Bytes per rung and chunk.
        chunk_num: Number of chunks.
        video_len: Length in milliseconds.
        video_chunk_counter: Number of chunks downloaded so far, which is the index of the next one.
        video_chunk_remain: Chunks left when `get_remain_video_num` was last called.
        download_chunk_bitrate: Rungs of the chunks downloaded so far.
        video_play_counter: 0.
        play_timeline: Milliseconds played.
        buffer_size: Milliseconds buffered.
        preload_size: Bytes downloaded so far, those already played included.
        user_time: Times of the retention curve in milliseconds.
        user_retent_rate: Share of viewers still watching then, as text.
    """

    video_size: dict[int, list[float]]
    chunk_num: int
    video_len: float
    video_chunk_counter: int
    video_chunk_remain: int
    download_chunk_bitrate: list[int]
    video_play_counter: int
    play_timeline: float
    buffer_size: float
    preload_size: float
    user_time: list[float]
    user_retent_rate: list[str]

    def __init__(self, sizes: Sequence[Sequence[float]], times_ms: Sequence[float], shares: Sequence[str]) -> None:
        """Show a video of which nothing is downloaded.

        Args:
            sizes: Bytes per rung and chunk.
            times_ms: Times of the retention curve.
            shares: Share of viewers still watching, as text.
        """
        chunks = len(sizes[0])
        vars(self).update(
            video_size={rung: list(row) for rung, row in enumerate(sizes)},
            chunk_num=chunks,
            video_len=chunks * CHUNK_MS,
            video_chunk_counter=0,
            video_chunk_remain=chunks,
            download_chunk_bitrate=[],
            video_play_counter=0,
            play_timeline=0.0,
            buffer_size=0,
            preload_size=0,
            user_time=list(times_ms),
            user_retent_rate=list(shares),
            _counted_bytes=0.0,  # by `get_video_size`
        )

    def show(
        self, chunks: int, rungs: list[int], position_ms: float, buffer_ms: float, loaded_bytes: int, asked: bool
    ) -> None:
        """Take in what a step has changed. For whoever runs the session.

        Args:
            chunks: Number of chunks downloaded.
            rungs: Of the chunks recorded.
            position_ms: Played.
            buffer_ms: Buffered.
            loaded_bytes: Downloaded.
            asked: Whether the video was ever asked to play, which makes NumPy's numbers of its figures.
        """
        own = vars(self)
        own["video_chunk_counter"] = chunks
        self.download_chunk_bitrate[:] = rungs
        if asked:
            own["play_timeline"], own["buffer_size"] = np.float64(position_ms), np.float64(buffer_ms)
        elif chunks:
            own["buffer_size"] = buffer_ms
        if loaded_bytes:
            own["preload_size"] = loaded_bytes + own["_counted_bytes"]

    def shown(self) -> list[Any]:
        """The arguments with which `show` makes another player look like this one."""
        asked = isinstance(self.play_timeline, np.float64)
        rungs, loaded_bytes = self.download_chunk_bitrate, self.preload_size - vars(self)["_counted_bytes"]
        return [self.video_chunk_counter, rungs, self.play_timeline, self.buffer_size, loaded_bytes, asked]

    def __setattr__(self, name: str, value: Any) -> None:
        """Players are read-only, but for what is not the official Player's.

        Raises:
            AttributeError: An official attribute.
        """
        if name in MMGCPlayer.__annotations__:
            raise AttributeError(
                f"a player's {name} cannot be set: players are read-only; copy.deepcopy makes your own"
            )
        vars(self)[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies belong to their maker."""
        return _own_player, (), vars(self)

    def get_video_len(self) -> float:
        """Length of the video in milliseconds."""
        return self.video_len

    def get_chunk_sum(self) -> int:
        """Number of its chunks."""
        return self.chunk_num

    def get_chunk_counter(self) -> int:
        """Number of its chunks downloaded so far, which is the index of the next one."""
        return self.video_chunk_counter

    def get_remain_video_num(self) -> int:
        """Number of its chunks not downloaded yet, which `video_chunk_remain` shows until the next call."""
        remain = self.chunk_num - self.video_chunk_counter
        vars(self)["video_chunk_remain"] = remain
        return remain

    def get_video_size(self, quality: int) -> float:
        """Bytes of its next chunk at a rung. Quirk: each call counts as a download in `preload_size`.

        Raises:
            IndexError: All chunks are downloaded, or there is no such rung.
        """
        sizes = self.get_undownloaded_video_size(1)
        if not 0 <= quality < RUNGS:
            raise IndexError(f"rung {quality} does not exist; legal are 0 to {RUNGS - 1}")
        size = sizes[quality][0]
        vars(self)["_counted_bytes"] += size
        vars(self)["preload_size"] += size
        return size

    def get_video_quality(self, chunk_id: int) -> int:
        """Rung of a downloaded chunk, -1 for one that is not. Negative indices count from the last download."""
        return self.download_chunk_bitrate[chunk_id] if chunk_id < len(self.download_chunk_bitrate) else -1

    def get_downloaded_bitrate(self) -> list[int]:
        """Rungs of the chunks downloaded so far: always the same list, which grows."""
        return self.download_chunk_bitrate

    def get_preload_size(self) -> float:
        """Bytes downloaded of this video so far, those already played included."""
        return self.preload_size

    def get_undownloaded_video_size(self, P: int) -> list[list[float]]:  # noqa: N803, official name
        """Bytes of the next P chunks to download: one list of P sizes per rung.

        Raises:
            IndexError: Fewer than P chunks are left.
        """
        return self._slice(self.video_chunk_counter, P)

    def get_future_video_size(self, P: int) -> list[list[float]]:  # noqa: N803, official name
        """Bytes of the next P chunks to begin playing, downloaded or not: one list of P sizes per rung.

        Raises:
            IndexError: Fewer than P chunks are left.
        """
        return self._slice(math.ceil(self.get_play_chunk()), P)

    def get_play_chunk(self) -> float:
        """Chunks played so far, as a fraction: 1.5 is the middle of the second chunk."""
        return self.play_timeline / CHUNK_MS

    def get_buffer_size(self) -> float:
        """Milliseconds buffered."""
        return self.buffer_size

    def get_user_model(self) -> tuple[list[float], list[str]]:
        """The retention curve: times in milliseconds, and the share of viewers still watching, as text."""
        return self.user_time, self.user_retent_rate

    def _slice(self, first: int, count: int) -> list[list[float]]:
        if first + count > self.chunk_num:
            last = self.chunk_num - 1
            raise IndexError(f"chunks {first} to {first + count - 1} were asked for; the last one is {last}")
        return [self.video_size[rung][first : first + max(count, 0)] for rung in range(RUNGS)]


class OwnPlayer(MMGCPlayer):
    """A copy of a player, which its maker may change, for plans."""

    __setattr__ = object.__setattr__  # type: ignore[assignment]

    def record_download_bitrate(self, bit_rate: int) -> None:
        """Note the rung of a download."""
        self.download_chunk_bitrate.append(bit_rate)

    def video_download(self, download_len: float) -> bool:
        """Let a chunk of so many milliseconds arrive; returns whether it was the last one."""
        self.buffer_size += download_len
        self.video_chunk_counter += 1
        return self.video_chunk_counter >= self.chunk_num

    def video_play(self, play_time: float) -> tuple[float, float]:
        """Play for milliseconds; returns what has played in all, and the buffer less the time, below 0 for a stall."""
        surplus_ms = self.buffer_size - play_time
        self.play_timeline += np.minimum(self.buffer_size, play_time)
        self.buffer_size = np.maximum(surplus_ms, 0.0)
        return self.play_timeline, surplus_ms


def _own_player() -> OwnPlayer:
    return OwnPlayer.__new__(OwnPlayer)


def reseed(first_seed: int, second_seed: int, spreads: bool) -> None:
    """Leave the global generators as the official viewer model leaves them when a video enters the window.

    Args:
        first_seed: Of NumPy's generator, which draws a second.
        second_seed: Of Python's, which draws a millisecond within it.
        spreads: Whether that is drawn: not for a video that is watched to its end.
    """
    np.random.seed(first_seed)  # noqa: NPY002, the global generator is meant
    np.random.random_sample()  # noqa: NPY002
    if spreads:
        random.seed(second_seed)
        random.random()


def official_viewer() -> list[list[int]]:
    """Seed the global generators as the official runner does, and draw its viewer from them: seven pairs of seeds."""
    random.seed(RUNNER_SEED)  # not seeded there
    np.random.seed(RUNNER_SEED)  # noqa: NPY002
    pairs: list[list[int]] = np.random.randint(DISTINCT_SEEDS, size=(VIDEOS, 2)).tolist()  # noqa: NPY002
    return pairs


@contextlib.contextmanager
def official_generators() -> Iterator[None]:
    """Within, the global generators are those of the official runner; afterwards they are what they were before."""
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    official_viewer()
    try:
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


def as_numbers(action: Any) -> list[float]:
    """An official action in plain numbers; an array or a tensor of one number is one.

    Args:
        action: Video, rung, milliseconds of sleep.

    Returns:
        Three int or float.

    Raises:
        TypeError: Not three numbers.
        ValueError: Not three, or an array of several.
    """
    parts = [part.item() if hasattr(part, "item") else part for part in action]
    if len(parts) != 3 or not all(isinstance(part, int | float) for part in parts):
        raise TypeError(f"expected video, rung and milliseconds of sleep, got {action!r}")
    return [int(part) if isinstance(part, bool) else part for part in parts]


def write_frame(pipe: int, content: Any) -> None:
    """Write a frame.

    Args:
        pipe: File descriptor.
        content: What JSON holds.
    """
    body = json.dumps(content).encode()
    rest = memoryview(LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def read_frame(pipe: int, limit_s: float | None = None) -> Any:
    """Read a frame.

    Args:
        pipe: File descriptor.
        limit_s: Seconds to wait for it; without limit where None.

    Returns:
        Its content.

    Raises:
        EOFError: The pipe has ended.
        TimeoutError: Nothing has come in time.
        ValueError: No frame, or one above `MAX_FRAME_BYTES`.
    """
    deadline_s = None if limit_s is None else time.monotonic() + limit_s
    (length,) = LENGTH.unpack(_read(pipe, LENGTH.size, deadline_s))
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"expected a frame of at most {MAX_FRAME_BYTES} bytes, got {length}")
    return json.loads(_read(pipe, length, deadline_s))


def _read(pipe: int, count: int, deadline_s: float | None) -> bytes:
    poll, parts = select.poll(), []
    poll.register(pipe, select.POLLIN)
    while count:
        if deadline_s is not None and not poll.poll(max(0.0, 1000.0 * (deadline_s - time.monotonic()))):
            raise TimeoutError
        part = os.read(pipe, count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class _Last:
    """Finds last of all what the checkout does not have: ppgym and its agents, for entries made of them."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(name, [str(CLONE)]) if name in ("ppgym", "agents") else None


def _is_clone(folder: str) -> bool:
    return all(Path(folder, name).is_dir() for name in ("ppgym", "agents"))


def _settle(root: Path, folder: Path) -> None:
    """Make a checkout's root the current folder and importable, and ppgym's not, as under the official runner."""
    os.chdir(root)
    sys.argv[:] = ["run.py"]
    others = [entry for entry in sys.path if entry and not _is_clone(entry)]
    sys.path[:] = [str(root), *others, "./simulator/", str(folder)]
    sys.meta_path.append(_Last)
    if importlib.util.find_spec("simulator") is None:  # a submission without its checkout
        package, module = types.ModuleType("simulator"), types.ModuleType("simulator.video_player")
        package.__path__, package.video_player = [], module  # type: ignore[attr-defined]
        vars(module).update(Player=MMGCPlayer, BITRATE_LEVELS=RUNGS, VIDEO_BIT_RATE=list(RATES_KBPS))
        vars(module).update(VIDEO_CHUNCK_LEN=CHUNK_MS, MILLISECONDS_IN_SECOND=1000.0, DISTINCT_VIDEO_NUM=VIDEOS)
        sys.modules |= {"simulator": package, "simulator.video_player": module, "video_player": module}
    for name, meaning in OLD_NUMPY.items():
        if name not in vars(np):
            setattr(np, name, meaning)
    if importlib.util.find_spec("numpy.lib.utils") is None:  # the official controller imports a helper from it
        helpers = sys.modules["numpy.lib.utils"] = types.ModuleType("numpy.lib.utils")
        vars(helpers)["_split_line"] = None


def _load(file: Path) -> Any:
    """Import a solution under its own name."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None, f"{file}: expected a Python file"
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _serve(pipes: tuple[int, int], algorithm_class: Any) -> None:
    """Play one session: answer questions until something else comes."""
    try:
        algorithm = algorithm_class()
        algorithm.Initialize()
        write_frame(pipes[1], {"ready": True})
        window: list[MMGCPlayer] = []
        handed: list[MMGCPlayer] = []  # always the same list, as the official one is
        while "told" in (question := _next(pipes[0])):
            for seeds in question["seeds"]:
                reseed(*seeds)
            delay, rebuffer, size, end, playing = question["told"]
            window += [MMGCPlayer(*video) for video in question["new"]]
            for player, shown in zip(window, question["shown"], strict=True):
                player.show(*shown)
            del window[: question["left"]]
            if not size and not question["first"]:  # the official runner asks so after a sleep
                window[0].get_remain_video_num()
            told = delay, np.float64(rebuffer) if rebuffer else 0, float(size) if size else 0, end, playing
            handed[:] = window
            write_frame(pipes[1], {"action": as_numbers(algorithm.run(*told, handed, question["first"]))})
    except BaseException as error:
        write_frame(pipes[1], {"error": "".join(traceback.format_exception(error))[-MAX_ERROR:]})


def _next(pipe: int) -> Any:
    """The next frame; where the runner has gone, this process goes too."""
    try:
        return read_frame(pipe)
    except EOFError:
        os._exit(0)


def _serve_in_fork(pipes: tuple[int, int], algorithm_class: Any) -> None:
    """Play one session in a fork, which leaves nothing behind, and report its sudden death."""
    parent = os.getppid()
    gone, alive = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gone)
        _serve(pipes, algorithm_class)
        os._exit(0)
    os.close(alive)
    faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        select.select([gone], [], [], 1.0)
        time.sleep(0.001)  # for an entry that has closed the pipe
        if os.getppid() != parent:
            os.kill(child, signal.SIGKILL)
    os.close(gone)
    faulthandler.register(signal.SIGUSR1)
    if ended[1]:
        write_frame(
            pipes[1], {"error": f"the entry's process has ended with status {os.waitstatus_to_exitcode(ended[1])}"}
        )


def main(solution: str, root: str, official: str) -> NoReturn:
    """The entry's process: import the solution, then play sessions.

    Args:
        solution: Its file.
        root: Of the checkout.
        official: "1" to play all sessions in this process, one after the other, as the official runner does; else
            each in a fork, so that none knows of another.
    """
    pipes = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)  # what an entry prints is no answer
    faulthandler.register(signal.SIGUSR1)  # the runner asks a silent entry where it is
    try:
        official_viewer()
        _settle(Path(root), Path(solution).parent)
        module = _load(Path(solution))
    except BaseException as error:
        write_frame(pipes[1], {"error": "".join(traceback.format_exception(error))[-MAX_ERROR:]})
        sys.exit(1)
    algorithm_class = getattr(module, "Algorithm", None)
    classes = [name for name, value in vars(module).items() if isinstance(value, type)]
    methods = [name for name in dir(algorithm_class) if callable(getattr(algorithm_class, name))]
    write_frame(pipes[1], {"classes": classes, "methods": methods, "found": algorithm_class is not None})
    while True:
        if "begin" in _next(pipes[0]):
            (_serve if official == "1" else _serve_in_fork)(pipes, algorithm_class)


if __name__ == "__main__":
    main(*sys.argv[1:])
