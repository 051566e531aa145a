"""Other people's solution of the 2022 challenge in a process of its own, as an official-style algorithm here."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppgym.entries import player
from ppgym.entries.player import Action, MMGCPlayer, as_numbers, read_frame, write_frame
from ppgym.files import suggest

START_S = 180.0  # to import an entry, and to make its class
DECISION_S = 20.0  # after which an entry counts as hung
TORCH_TRUSTS = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # torch's variable, for calls without `weights_only`
ERROR_BYTES = 2000  # of what an entry wrote to standard error, in a message


class EntryError(RuntimeError):
    """An entry has raised, returned nonsense, died or hung; the message ends with its traceback."""


class Entry:
    """Other people's solution, in a process of its own. Calling it makes an `Algorithm`, as its class would.

    The process sees a checkout's root as its current folder, importable, and nothing of ppgym unless it asks for it.
    """

    def __init__(self, file: Path, root: Path, trust: bool, official: bool) -> None:
        """Import the solution; see `load_solution`."""
        self.file, self._root, self._official = file, root, official
        # One thread, for a fork loses the others; one order of sets, so that runs repeat.
        settings = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        settings[TORCH_TRUSTS] = "1" if trust else "0"
        self._environment = os.environ | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._new_seeds: list[tuple[int, int, bool]] = []
        try:
            facts = self._start()
        except EntryError as error:
            raise ImportError(f"{file}: cannot be imported: {error}") from error
        if not facts["found"]:
            raise ValueError(f"{file}: expected a class 'Algorithm'; {suggest('Algorithm', facts['classes'])}")
        for method in ("Initialize", "run"):
            if method not in facts["methods"]:
                names = [name for name in facts["methods"] if not name.startswith("__")]
                raise ValueError(f"{file}: class Algorithm: expected a method {method!r}; {suggest(method, names)}")

    def __call__(self) -> "Entry":
        """Nothing is made before `Initialize`: the process plays one session at a time."""
        return self

    def reseed(self, first_seed: int, second_seed: int, spreads: bool) -> None:
        """Have the entry's generators reseeded before its next decision; see `player.reseed`."""
        self._new_seeds.append((first_seed, second_seed, spreads))

    def Initialize(self) -> None:  # noqa: N802, official name
        """Begin a session: make the class, and initialize it.

        Raises:
            EntryError: It failed.
        """
        if self._process is None:
            self._start()
        else:
            self._send({"end": True})
        self._new_seeds.clear()
        self._window: list[MMGCPlayer] = []
        self._ask({"begin": True}, START_S)

    def run(
        self,
        delay: float,
        rebuf: float,
        video_size: float,
        end_of_video: bool,
        play_video_id: int,
        Players: Sequence[MMGCPlayer],  # noqa: N803, official name
        first_step: bool = False,
    ) -> Action:
        """Decide; see `ppgym.mmgc.policies.Algorithm.run`.

        Raises:
            EntryError: It failed.
        """
        left = [one for one in self._window if one not in Players]
        new = [one for one in Players if one not in self._window]
        self._window = list(Players)
        question = {
            "told": [delay, rebuf, video_size, end_of_video, play_video_id],
            "first": first_step,
            "seeds": self._new_seeds,
            "new": [[[*one.video_size.values()], one.user_time, one.user_retent_rate] for one in new],
            "shown": [one.shown() for one in (*left, *Players)],
            "left": len(left),
        }
        answer = self._ask(question, START_S if first_step else DECISION_S)
        self._new_seeds = []
        try:
            video, rung, sleep_ms = as_numbers(answer["action"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._failed(f"expected an action, got {answer!r}") from error
        return video, rung, sleep_ms  # type: ignore[return-value]  # whether they are legal, others see

    def close(self) -> None:
        """End the process; the next session starts another."""
        if self._process is not None:
            self._finalizer()
            self._process = None

    def _start(self) -> Any:
        """Start the process; returns what it says of the solution."""
        errors = tempfile.TemporaryFile()
        arguments = [str(self.file), str(self._root), "1" if self._official else "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-P", player.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=self._environment,
            start_new_session=True,
            bufsize=0,
        )
        self._errors = errors
        self._finalizer = weakref.finalize(self, _end, self._process)
        return self._ask(None, START_S)

    def _send(self, content: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            write_frame(self._process.stdin.fileno(), content)
        except BrokenPipeError:
            raise self._failed("its process has ended") from None

    def _ask(self, question: Any, limit_s: float) -> Any:
        """Ask and wait for the answer; None only waits."""
        if self._process is None:
            raise self._failed("its session has ended")
        if question is not None:
            self._send(question)
        assert self._process.stdout is not None
        try:
            answer = read_frame(self._process.stdout.fileno(), limit_s)
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGUSR1)  # it writes down where it is
            time.sleep(0.5)
            raise self._failed(f"no answer within {limit_s:g} s") from None
        except EOFError:
            raise self._failed("its process has ended") from None
        except ValueError as error:
            raise self._failed(f"no answer: {error}") from None
        if not isinstance(answer, dict):
            raise self._failed(f"no answer: {answer!r}")
        if "error" in answer:
            raise EntryError(f"{self.file}: {answer['error']}")
        return answer

    def _failed(self, why: str) -> EntryError:
        """End the process and make the error; an entry that keeps silent has no traceback but what it wrote itself."""
        self.close()
        self._errors.seek(0)
        text = self._errors.read()[-ERROR_BYTES:].decode(errors="replace").strip()
        return EntryError(f"{self.file}: {why}" + (f"\n{text}" if text else ""))


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def load_solution(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    trust: bool = False,
    official: bool = False,
) -> Entry:
    """Start a process that imports an official `solution.py`.

    Args:
        path: The file, or a folder with a `solution.py`, as the official `run.py --solution` takes it.
        root: The checkout in which it lives; by default the nearest folder above the file that holds `run.py` or
            `simulator`, else the file's own. It is the entry's current folder, and importable.
        trust: Let `torch.load` without `weights_only` read whatever is in a file, as before torch 2.6: such a file may
            run any code.
        official: Play all sessions one after the other in one process, as the official runner does, so that what the
            entry's modules remember goes on; else none knows of another.

    Returns:
        Its class `Algorithm`, which runs in that process.

    Raises:
        FileNotFoundError: No such file or root.
        ValueError: It has no class `Algorithm` with `Initialize` and `run`.
        ImportError: It cannot be imported; with its traceback.
    """
    file = Path(path).resolve()
    if file.is_dir():
        file /= "solution.py"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; expected a solution with a class Algorithm")
    marked = (up for up in file.parents if (up / "run.py").is_file() or (up / "simulator").is_dir())
    home = next(marked, file.parent) if root is None else Path(root).resolve()
    if not home.is_dir():
        raise FileNotFoundError(f"{home}: no such folder; expected the root of a checkout")
    return Entry(file, home, trust, official)
