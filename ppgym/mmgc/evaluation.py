"""The challenge's table with intervals, and the records that replay it."""

import itertools
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

import ppgym
from ppgym.files import agree, check_free, read_json, read_json_lines, write_json_lines, write_text
from ppgym.mmgc.dataset import MMGCDataset, viewer_seeds
from ppgym.mmgc.follower import Follower
from ppgym.mmgc.policies import OFFICIAL_POLICIES, AlgorithmFactory
from ppgym.mmgc.runner import load_solution, play
from ppgym.mmgc.session import MMGCResult, MMGCSession
from ppgym.mmgc.solution import Agent, as_solution

REQUIRED = ("scenario", "seed", "agent", "actions", "totals")  # keys of a record that its replay reads


def evaluate(
    dataset: MMGCDataset,
    agents: Mapping[str, AlgorithmFactory],
    *,
    classes: Sequence[str] | None = None,
    viewers: int = 5,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Run agents over all traces of some classes and several viewers a trace.

    Every agent meets the same viewers. Two traces never share one, so that the means of the traces are independent
    and the interval over them covers traces and viewers; with a single trace it covers viewers alone.

    Args:
        dataset: The dataset.
        agents: Official-style algorithms by name; one is made anew for every session. `as_solution` makes one of an
            agent of ppgym.
        classes: Trace classes, all by default.
        viewers: Viewer draws per trace.
        seed: Seed of the viewer draws.
        output: Folder for `records.jsonl` (one line per session) and `results.json` (the rows).
        params: Parameters that agents have, by name: what their records say of them.

    Returns:
        A row per class and agent: `class`, `agent`, `sessions`, `score_mean`, `score_ci95` (95 % t interval, `[None,
        None]` for a single session) and, as means over sessions, `qoe_mean`, `bandwidth_bytes`, `wasted_bytes` and
        `download_watch_ratio`.

    Raises:
        ValueError: An unknown class, fewer than one viewer, an agent's illegal action, or an output folder that holds
            another run.
    """
    if viewers < 1:
        raise ValueError(f"viewers: expected at least 1, got {viewers}")
    if output is not None:
        check_free(Path(output), ("records.jsonl", "records.jsonl.gz", "results.json"))
    names = dataset.traces if classes is None else dict.fromkeys(classes)
    for name in names:
        dataset.trace(name, 0)
    from ppgym.progress import track

    plan = [
        (agent, name, trace, int(np.random.SeedSequence([seed, trace, viewer]).generate_state(1)[0]))
        for name in names
        for agent in agents
        for trace in range(len(dataset.traces[name]))
        for viewer in range(viewers)
    ]
    records = []
    for agent, name, trace, viewer_seed in track(plan, "Playing"):
        record = _play(dataset, agent, agents[agent], name, trace, viewer_seed)
        records.append(record | {"params": dict((params or {}).get(agent, {}))})
    rows = [_row(*key, by_trace) for key, by_trace in _by_trace(records).items()]
    if output is not None:
        write_json_lines(Path(output) / "records.jsonl", records)
        write_text(Path(output) / "results.json", json.dumps({"rows": rows}, indent=2) + "\n")
    return rows


def run_mmgc(
    data: str | os.PathLike[str],
    agents: Sequence[str],
    *,
    make_agent: Callable[..., Agent],
    read_params: Callable[..., dict[str, Any]] | None = None,
    solution: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    viewers: int = 5,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate agents by name and print the table: what `python evaluate.py mmgc` does.

    Args:
        data: Folder in the official layout.
        agents: Names: keys of `OFFICIAL_POLICIES` mean the official policies, others are for `make_agent`.
        make_agent: Makes an agent of ppgym: `make_agent(name, client, seed=seed)`.
        read_params: Tells all of its parameters, for the records: `read_params(name, client)`.
        solution: An official `solution.py`, or its folder, to be evaluated with them.
        classes: See `evaluate`.
        viewers: See `evaluate`.
        seed: Seed of the viewer draws; the agents that are made get it and the numbers after it.
        output: See `evaluate`.

    Returns:
        The rows of `evaluate`; the solution goes by its path.

    Raises:
        FileNotFoundError: A folder or file is missing.
        ValueError: A bad file, an unknown agent or class, fewer than one viewer, or an illegal action.
    """
    algorithms: dict[str, AlgorithmFactory] = {}
    params: dict[str, dict[str, Any]] = {}
    for name in agents:
        if name in OFFICIAL_POLICIES:
            algorithms[name] = OFFICIAL_POLICIES[name]
        else:
            make_agent(name, Follower().client, seed=seed)  # so that a wrong name costs no work
            algorithms[name] = _algorithm_of(name, make_agent, seed)
            params[name] = {} if read_params is None else read_params(name, Follower().client)
    if solution is not None:
        algorithms[os.fspath(solution)] = load_solution(solution)
    if not algorithms:
        raise ValueError("agents: expected at least one, or a solution")
    dataset = MMGCDataset.load(data)
    rows = evaluate(dataset, algorithms, classes=classes, viewers=viewers, seed=seed, output=output, params=params)
    print_table(rows)
    return rows


def _algorithm_of(name: str, make_agent: Callable[..., Agent], seed: int) -> AlgorithmFactory:
    seeds = itertools.count(seed)
    return as_solution(lambda client: make_agent(name, client, seed=next(seeds)))


def validate_records(folder: str | os.PathLike[str], data: str | os.PathLike[str] | MMGCDataset) -> list[str]:
    """Replay the records that `evaluate` wrote and compare all figures, the rows of results.json included.

    Args:
        folder: Holds `records.jsonl` (or `.gz`) and `results.json`.
        data: The data that they were made with.

    Returns:
        What does not agree, a line each; nothing where all does.

    Raises:
        FileNotFoundError: A file or folder is missing.
        ValueError: A line that is no record, or bad data.
    """
    folder = Path(folder)
    dataset = data if isinstance(data, MMGCDataset) else MMGCDataset.load(data)
    mismatches: list[str] = []
    replayed: list[dict[str, Any]] = []
    for where, record in read_json_lines(folder / "records.jsonl", REQUIRED):
        if not re.fullmatch(r"mmgc2022/[^/]+/\d+", record["scenario"]):
            raise ValueError(f"{where}: expected mmgc2022/CLASS/TRACE, got {record['scenario']!r}")
        try:
            totals = _totals(_replay(dataset, record))
        except (RuntimeError, ValueError) as error:
            mismatches.append(f"{where}: {error}")
        else:
            mismatches += _differences(where, record["totals"], totals)
            replayed.append(record | {"totals": totals})
    if mismatches:
        return mismatches

    rows = {(row["class"], row["agent"]): row for row in read_json(folder / "results.json")["rows"]}
    for key, by_trace in _by_trace(replayed).items():
        where, row = f"results.json, {', '.join(key)}", rows.pop(key, {})
        if len({len(totals) for totals in by_trace.values()}) > 1:
            mismatches.append(f"{where}: the records of its traces are not equally many")
        else:
            mismatches += _differences(where, row, _row(*key, by_trace))
    return mismatches + [f"results.json, {', '.join(key)}: no records" for key in rows]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of `evaluate`, a table for each class.

    Args:
        rows: The figures; QoE, score and ratio are means over sessions, bytes too.

    Raises:
        ImportError: rich is not installed.
    """
    from rich.console import Console

    from ppgym.tables import new_table

    console = Console()
    for trace_class in dict.fromkeys(row["class"] for row in rows):
        console.print(trace_class, style="bold", highlight=False)
        table = new_table("score", "95 % interval", "QoE", "MB", "MB wasted", "load/watch")
        for row in rows:
            if row["class"] == trace_class:
                low, high = row["score_ci95"]
                table.add_row(
                    row["agent"],
                    f"{row['score_mean']:.2f}",
                    "-" if low is None else f"{low:.2f} to {high:.2f}",
                    f"{row['qoe_mean']:.2f}",
                    f"{row['bandwidth_bytes'] / 1e6:.2f}",
                    f"{row['wasted_bytes'] / 1e6:.2f}",
                    f"{row['download_watch_ratio']:.3f}",
                )
        console.print(table)


def _play(
    dataset: MMGCDataset, agent: str, factory: AlgorithmFactory, trace_class: str, trace_index: int, seed: int
) -> dict[str, Any]:
    """The record of one session."""
    started_s = time.perf_counter()
    session = MMGCSession(dataset, trace_class, trace_index, viewer_seeds(seed))
    scenario = f"mmgc2022/{trace_class}/{trace_index}"
    try:
        actions = play(factory(), session)
    except Exception as error:
        error.add_note(f"agent {agent!r}, scenario {scenario!r}, seed {seed}")
        raise
    return {
        "scenario": scenario,
        "seed": seed,
        "agent": agent,
        # A solution may hand out NumPy's numbers, which JSON does not know, and anything as the video of a sleep.
        "actions": [[0, 0, float(a[2])] if a[2] else [int(a[0]), int(a[1]), 0.0] for a in actions],
        "totals": _totals(session),
        "versions": {
            "ppgym": ppgym.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
        "wall_time_s": time.perf_counter() - started_s,
    }


def _totals(session: MMGCSession) -> dict[str, float]:
    result = session.result()
    return {"return": result.score, **session.totals(), **result._asdict()}


def _by_trace(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, list[dict[str, float]]]]:
    """Totals of records, by class and agent, then by trace."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = {}
    for record in records:
        _, trace_class, trace = record["scenario"].split("/")
        groups.setdefault((trace_class, record["agent"]), {}).setdefault(trace, []).append(record["totals"])
    return groups


def _row(trace_class: str, agent: str, by_trace: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """A row of the table from totals; every trace has equally many."""
    figures = np.array(  # [traces, viewers, figures of MMGCResult]
        [[[total[name] for name in MMGCResult._fields] for total in totals] for totals in by_trace.values()]
    )
    means = dict(zip(MMGCResult._fields, figures.mean(axis=(0, 1)).tolist(), strict=True))
    return {
        "class": trace_class,
        "agent": agent,
        "sessions": figures.shape[0] * figures.shape[1],
        "score_mean": means.pop("score"),
        "score_ci95": _ci95(figures[:, :, 0]),
        "qoe_mean": means.pop("qoe"),
        **means,
    }


def _ci95(scores: npt.NDArray[np.float64]) -> list[float | None]:
    """95 % interval of the mean of float64 [traces, viewers], by traces where there are several."""
    from scipy import stats

    units = scores.mean(axis=1) if len(scores) > 1 else scores[0]
    if len(units) == 1:
        return [None, None]
    half = stats.t.ppf(0.975, len(units) - 1) * stats.sem(units)
    return [float(units.mean() - half), float(units.mean() + half)]


def _replay(dataset: MMGCDataset, record: Mapping[str, Any]) -> MMGCSession:
    """The session that a record's actions lead to the end of."""
    _, trace_class, trace = record["scenario"].split("/")
    session = MMGCSession(dataset, trace_class, int(trace), viewer_seeds(record["seed"]))
    for action in record["actions"]:
        session.step(*action)
    if not session.done:
        raise ValueError(f"the session goes on after its {len(record['actions'])} actions")
    return session


def _differences(where: str, recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> list[str]:
    return [
        f"{where}: {key} is {recorded.get(key)!r}, replayed {value!r}"
        for key, value in replayed.items()
        if not agree(recorded.get(key), value)
    ]
