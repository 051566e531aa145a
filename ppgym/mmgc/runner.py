"""Runs official solutions through a session, as the official runner does. `evaluation` makes the table."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppgym.core.state import I8
from ppgym.files import suggest
from ppgym.mmgc.dataset import MMGCDataset, Seeds
from ppgym.mmgc.policies import Action, Algorithm, AlgorithmFactory
from ppgym.mmgc.session import MMGCResult, MMGCSession


def load_solution(path: str | os.PathLike[str]) -> AlgorithmFactory:
    """Import an official `solution.py`.

    While it is imported, its folder is importable, and so is the `simulator` package of an official repository that it
    lies in, for many solutions take constants or helpers from there.

    Args:
        path: The file, or a folder with a `solution.py`, as the official `run.py --solution` takes it.

    Returns:
        Its class `Algorithm`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It has no class `Algorithm` with `Initialize` and `run`.
        ImportError: It needs a module that cannot be found.
    """
    path = Path(path).resolve()
    file = path / "solution.py" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; expected a solution with a class Algorithm")
    spec = importlib.util.spec_from_file_location(f"mmgc_solution_{file.parent.name}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _importable(file):
        spec.loader.exec_module(module)
    algorithm: AlgorithmFactory | None = getattr(module, "Algorithm", None)
    if algorithm is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"{file}: expected a class 'Algorithm'; {suggest('Algorithm', classes)}")
    for method in ("Initialize", "run"):
        if not callable(getattr(algorithm, method, None)):
            raise ValueError(
                f"{file}: class Algorithm: expected a method {method!r}; {suggest(method, vars(algorithm))}"
            )
    return algorithm


@contextmanager
def _importable(file: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(file.parent))
    for folder in file.parents:
        if (folder / "simulator" / "video_player.py").is_file():
            sys.path += [str(folder), str(folder / "simulator")]
            break
    try:
        yield
    finally:
        sys.path[:] = before


def run_solution(
    algorithm: Algorithm,
    dataset: MMGCDataset,
    trace_class: str,
    trace_index: int,
    seeds: Seeds,
    *,
    carried_rungs: I8 | None = None,
) -> MMGCResult:
    """Run an official-style algorithm through one session.

    Args:
        algorithm: The algorithm, such as `load_solution("solution.py")()`.
        dataset: The dataset.
        trace_class: Class, such as `"low"`.
        trace_index: Place in the class, from 0.
        seeds: Seven pairs (a, b), see `viewer_seeds`.
        carried_rungs: See `MMGCSession`.

    Returns:
        The official five figures.

    Raises:
        ValueError: No such class or trace, bad seeds, or an illegal action of the algorithm.
    """
    session = MMGCSession(dataset, trace_class, trace_index, seeds, carried_rungs=carried_rungs)
    play(algorithm, session)
    return session.result()


def play(algorithm: Algorithm, session: MMGCSession) -> list[Action]:
    """Run an algorithm through a session that has not begun, to its end.

    Args:
        algorithm: An official-style algorithm; it is initialized first.
        session: The session.

    Returns:
        The actions that it took.
    """
    algorithm.Initialize()
    actions: list[Action] = []
    told: tuple[float, float, float, bool, int] = (0, 0, 0, False, 0)
    while not session.done:
        action = algorithm.run(*told, session.players(), not actions)
        try:
            video, rung, sleep_ms = action
            step = session.step(video, rung, sleep_ms)
        except (TypeError, ValueError) as error:
            error.add_note(f"decision {len(actions)} of {type(algorithm).__name__} was {action!r}")
            raise
        actions.append(action)
        told = (step.delay_ms, step.rebuffer_ms, float(step.chunk_bytes), step.end_of_video, step.playing_video)
    return actions
