"""Running official solutions, and the challenge's table with intervals."""

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

import ppgym
from ppgym.data import suggest, write_text
from ppgym.mmgc.dataset import MMGCDataset, Seeds
from ppgym.mmgc.kernel import VIDEOS
from ppgym.mmgc.policies import Action, Algorithm, AlgorithmFactory
from ppgym.mmgc.session import MMGCResult, MMGCSession

VIEWER_SEED_LIMIT = 10_000  # exclusive, as in the official runner

Solution = str | os.PathLike[str] | AlgorithmFactory | Algorithm


def viewer_seeds(seed: int) -> list[list[int]]:
    """Seeds of one viewer draw.

    Args:
        seed: Any whole number of at least 0.

    Returns:
        Seven pairs, for `MMGCDataset.session`.
    """
    pairs: list[list[int]] = np.random.default_rng(seed).integers(VIEWER_SEED_LIMIT, size=(VIDEOS, 2)).tolist()
    return pairs


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
    solution: Solution,
    dataset: MMGCDataset,
    trace_class: str,
    trace_index: int,
    seeds: Seeds,
    *,
    carry_over: bool = False,
) -> MMGCResult:
    """Run an official solution through one session.

    Args:
        solution: A `solution.py` or its folder, a class `Algorithm`, or an instance of one.
        dataset: The dataset.
        trace_class: Class, such as `"low"`.
        trace_index: Place in the class, from 0.
        seeds: Seven pairs (a, b), see `viewer_seeds`.
        carry_over: See `MMGCDataset.session`.

    Returns:
        The official five figures.

    Raises:
        ValueError: No such class or trace, bad seeds, or an illegal action of the solution.
    """
    if isinstance(solution, str | os.PathLike):
        solution = load_solution(solution)
    session = dataset.session(trace_class, trace_index, seeds, carry_over=carry_over)
    play(solution() if callable(solution) else solution, session)
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
    action = algorithm.run(0, 0, 0, False, 0, session.players(), True)
    while True:
        try:
            video, rung, sleep_ms = action
            step = session.step(video, rung, sleep_ms)
        except (TypeError, ValueError) as error:
            error.add_note(f"decision {len(actions)} of {type(algorithm).__name__} was {action!r}")
            raise
        actions.append(action)
        if session.done:
            return actions
        action = algorithm.run(
            step.delay_ms,
            step.rebuffer_ms,
            float(step.chunk_bytes),
            step.end_of_video,
            step.playing_video,
            session.players(),
            False,
        )


def evaluate(
    dataset: MMGCDataset,
    agents: Mapping[str, AlgorithmFactory],
    *,
    classes: Sequence[str] | None = None,
    viewers: int = 5,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Run agents over all traces of some classes and several viewers a trace.

    Every agent meets the same viewers. Two traces never share one, so that the means of the traces are independent
    and the interval over them covers traces and viewers; with a single trace it covers viewers alone.

    Args:
        dataset: The dataset.
        agents: Official-style algorithms by name; one is made anew for every session.
        classes: Trace classes, all by default.
        viewers: Viewer draws per trace.
        seed: Seed of the viewer draws.
        output: Folder for `records.jsonl` (one line per session) and `results.json` (the rows).

    Returns:
        A row per class and agent: `class`, `agent`, `episodes`, `score_mean`, `score_ci95` (95 % t interval, `[None,
        None]` for a single session) and, as means over sessions, `qoe_mean`, `bandwidth_bytes`, `wasted_bytes` and
        `download_watch_ratio`.

    Raises:
        ValueError: An unknown class, fewer than one viewer, or an agent's illegal action.
    """
    if viewers < 1:
        raise ValueError(f"viewers: expected at least 1, got {viewers}")
    names = list(dataset.traces) if classes is None else list(classes)
    for name in names:
        dataset.trace(name, 0)
    rows: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for name in names:
        for agent, factory in agents.items():
            results: list[list[MMGCResult]] = []
            for trace in range(len(dataset.traces[name])):
                results.append([])
                for viewer in range(viewers):
                    result, record = _episode(dataset, agent, factory, name, trace, _episode_seed(seed, trace, viewer))
                    results[-1].append(result)
                    records.append(record)
            rows.append(_row(name, agent, np.array(results)))
    if output is not None:
        write_text(Path(output) / "records.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        write_text(Path(output) / "results.json", json.dumps({"rows": rows}, indent=2) + "\n")
    return rows


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of `evaluate` as a table.

    Raises:
        ImportError: rich is not installed.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("class", "agent"):
        table.add_column(heading, no_wrap=True)
    for heading in ("score", "95 % interval", "QoE", "bandwidth MB", "wasted MB", "download / watch"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["score_ci95"]
        table.add_row(
            row["class"],
            row["agent"],
            f"{row['score_mean']:.2f}",
            "-" if low is None else f"{low:.2f} to {high:.2f}",
            f"{row['qoe_mean']:.2f}",
            f"{row['bandwidth_bytes'] / 1e6:.2f}",
            f"{row['wasted_bytes'] / 1e6:.2f}",
            f"{row['download_watch_ratio']:.3f}",
        )
    # Figures cut off at the edge of a narrow window would be worse than wrapped lines.
    Console(width=max(Console().width, 120)).print(table)


def _episode_seed(seed: int, trace: int, viewer: int) -> int:
    return int(np.random.SeedSequence([seed, trace, viewer]).generate_state(1)[0])


def _episode(
    dataset: MMGCDataset, agent: str, factory: AlgorithmFactory, trace_class: str, trace_index: int, seed: int
) -> tuple[MMGCResult, dict[str, Any]]:
    """One session's figures, and the record that replays it."""
    started_s = time.perf_counter()
    session = dataset.session(trace_class, trace_index, viewer_seeds(seed))
    scenario = f"mmgc2022/{trace_class}/{trace_index}"
    try:
        actions = play(factory(), session)
    except Exception as error:
        error.add_note(f"agent {agent!r}, scenario {scenario!r}, seed {seed}")
        raise
    result = session.result()
    return result, {
        "scenario": scenario,
        "seed": seed,
        "agent": agent,
        "params": {},
        # A solution may hand out NumPy's numbers, which JSON does not know, and anything as the video of a sleep.
        "actions": [[0, 0, float(a[2])] if a[2] else [int(a[0]), int(a[1]), 0.0] for a in actions],
        "totals": {"return": result.score, **session.totals(), **result._asdict()},
        "versions": {
            "ppgym": ppgym.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
        "wall_time_s": time.perf_counter() - started_s,
    }


def _row(trace_class: str, agent: str, figures: npt.NDArray[np.float64]) -> dict[str, Any]:
    """A row of the table from float64 [traces, viewers, figures of `MMGCResult`]."""
    means = MMGCResult(*figures.mean(axis=(0, 1)).tolist())
    return {
        "class": trace_class,
        "agent": agent,
        "episodes": figures.shape[0] * figures.shape[1],
        "score_mean": means.score,
        "score_ci95": _ci95(figures[:, :, 0]),
        "qoe_mean": means.qoe,
        "bandwidth_bytes": means.bandwidth_bytes,
        "wasted_bytes": means.wasted_bytes,
        "download_watch_ratio": means.download_watch_ratio,
    }


def _ci95(scores: npt.NDArray[np.float64]) -> list[float | None]:
    """95 % interval of the mean of float64 [traces, viewers], by traces where there are several."""
    from scipy import stats

    units = scores.mean(axis=1) if len(scores) > 1 else scores[0]
    if len(units) == 1:
        return [None, None]
    half = stats.t.ppf(0.975, len(units) - 1) * stats.sem(units)
    return [float(units.mean() - half), float(units.mean() + half)]
