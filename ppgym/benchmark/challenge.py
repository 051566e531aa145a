"""The challenge's table with intervals, the records that replay it, and what the official runner prints."""

import functools
import itertools
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.benchmark.bound.challenge import challenge_bound
from ppgym.benchmark.episodes import versions
from ppgym.entries.player import MAX_ERROR, Action, official_generators, official_viewer
from ppgym.entries.process import EntryError, load_solution
from ppgym.files import agree, check_free, read_json, read_json_lines, write_json_lines, write_text
from ppgym.mmgc.dataset import MMGCDataset, Seeds, viewer_seeds
from ppgym.mmgc.follower import Follower
from ppgym.mmgc.kernel import ABORT_QOE, NO_RUNG, VIDEOS
from ppgym.mmgc.policies import OFFICIAL_POLICIES, AlgorithmFactory
from ppgym.mmgc.runner import play, take
from ppgym.mmgc.session import ABORT_SCORE, MMGCResult, MMGCSession
from ppgym.mmgc.solution import Agent, as_solution

REQUIRED = ("scenario", "seed", "agent", "actions", "totals")  # keys of a record that its replay reads
OFFICIAL_CLASSES = ("mixed", "high", "low", "medium")  # in the order of the official runner
SCHEDULE = "schedule"  # the agent of full knowledge, which is not ranked

Record = dict[str, Any]


def evaluate(
    dataset: MMGCDataset,
    agents: Mapping[str, AlgorithmFactory],
    *,
    classes: Sequence[str] | None = None,
    viewers: int = 5,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    bounded: bool = False,
) -> list[dict[str, Any]]:
    """Run agents over all traces of some classes and several viewers a trace.

    Every agent meets the same viewers. Two traces never share one, so that the means of the traces are independent
    and the interval over them covers traces and viewers; with a single trace it covers viewers alone.

    A session that an agent ends by an error, by nonsense or by silence has the official penalty of -1e9, and its record
    the traceback.

    Args:
        dataset: The dataset.
        agents: Official-style algorithms by name; one is made anew for every session. `as_solution` makes one of an
            agent of ppgym, `load_solution` of a file.
        classes: Trace classes, all by default.
        viewers: Viewer draws per trace.
        seed: Seed of the viewer draws.
        output: Folder for `records.jsonl` (one line per session) and `results.json` (the rows).
        params: Parameters that agents have, by name: what their records say of them.
        bounded: Whether to bound every session (`ppgym.benchmark.bound.challenge`). Then each row has `bound_mean`, the
            mean bound, and `share`, the mean score over it, and each class has a row of the schedule that comes near
            the bound.

    Returns:
        A row per class and agent: `class`, `agent`, `sessions`, `errors` (sessions that an error ended), `score_mean`,
        `score_ci95` (95 % t interval, `[None, None]` for a single session) and, as means over sessions, `qoe_mean`,
        `bandwidth_bytes`, `wasted_bytes` and `download_watch_ratio`.

    Raises:
        ValueError: An unknown class, fewer than one viewer, or an output folder that holds another run.
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
        for agent in (*agents, *([SCHEDULE] if bounded else []))
        for trace in range(len(dataset.traces[name]))
        for viewer in range(viewers)
    ]
    records = []
    for agent, name, trace, viewer_seed in track(plan, "Playing"):
        if agent == SCHEDULE:
            records.append(_play_schedule(dataset, name, trace, viewer_seed))
        else:
            record = _play(dataset, agent, agents[agent], name, trace, viewer_seed)
            records.append(record | {"params": dict((params or {}).get(agent, {}))})
    groups = _groups(records)
    rows = [_row(group, groups.get((name, SCHEDULE), [])) for (name, _), group in groups.items()]
    if output is not None:
        write_json_lines(Path(output) / "records.jsonl", records)
        write_text(Path(output) / "results.json", json.dumps({"rows": rows}, indent=2) + "\n")
    for record in records:
        if "error" in record:
            why = record["error"].strip().splitlines()[-1]
            print(f"{record['agent']}, {record['scenario']}, seed {record['seed']}: {why}", file=sys.stderr)
    return rows


def run_mmgc(
    data: str | os.PathLike[str],
    agents: Sequence[str],
    *,
    make_agent: Callable[..., Agent],
    read_params: Callable[..., dict[str, Any]] | None = None,
    solution: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    trust: bool = False,
    classes: Sequence[str] | None = None,
    viewers: int = 5,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    bounded: bool = False,
    official: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate agents by name and print the table: what `python evaluate.py mmgc` does.

    Args:
        data: Folder in the official layout, or a checkout of the challenge.
        agents: Names: keys of `OFFICIAL_POLICIES` mean the official policies, others are for `make_agent`.
        make_agent: Makes an agent of ppgym: `make_agent(name, client, seed=seed)`.
        read_params: Tells all of its parameters, for the records: `read_params(name, client)`.
        solution: An official `solution.py`, or its folder, to be evaluated with them.
        root: See `load_solution`.
        trust: See `load_solution`.
        classes: See `evaluate`.
        viewers: See `evaluate`.
        seed: Seed of the viewer draws; the agents that are made get it and the numbers after it.
        output: See `evaluate`.
        bounded: See `evaluate`.
        official: Print what the official `run.py` prints of each class, for its own viewer, in place of the table.

    Returns:
        The rows of `evaluate`; the solution goes by its path. No rows for `official`.

    Raises:
        FileNotFoundError: A folder or file is missing.
        ValueError: A bad file, an unknown agent or class, fewer than one viewer, an output for `official`, or a
            solution that cannot be imported.
    """
    if official and output is not None:
        raise ValueError("--official: prints what run.py prints, and has no --output")
    makers: dict[str, Callable[[], AlgorithmFactory]] = {}
    params: dict[str, dict[str, Any]] = {}
    for name in agents:
        makers[name] = functools.partial(_factory_of, name, make_agent, seed)
        if name not in OFFICIAL_POLICIES:
            make_agent(name, Follower().client, seed=seed)  # so that a wrong name costs no work
            params[name] = {} if read_params is None else read_params(name, Follower().client)
    if solution is not None:
        makers[os.fspath(solution)] = functools.partial(_load, solution, root, trust, official)
    if not makers:
        raise ValueError("agents: expected at least one, or a solution")
    dataset = MMGCDataset.load(data)
    if official:
        for trace_class in classes or [name for name in OFFICIAL_CLASSES if name in dataset.traces]:
            dataset.trace(trace_class, 0)
            for name, make in makers.items():
                if len(makers) > 1:
                    print(f"\n{name}")
                print_official(dataset, make(), trace_class)
        return []
    algorithms = {name: make() for name, make in makers.items()}
    rows = evaluate(
        dataset, algorithms, classes=classes, viewers=viewers, seed=seed, output=output, params=params, bounded=bounded
    )
    print_table(rows)
    return rows


def print_official(dataset: MMGCDataset, factory: AlgorithmFactory, trace_class: str) -> npt.NDArray[np.float64]:
    """Play the traces of a class one after the other and print what the official `run.py` prints.

    The viewer is the official runner's own, the same on every trace, and the rungs that it remembers of a trace's
    sessions go on to the next trace.

    Args:
        dataset: The dataset.
        factory: Makes the algorithm, anew for each trace.
        trace_class: The class.

    Returns:
        float64 [5], the means of score, bytes, QoE, bytes wasted and download/watch ratio.
    """
    carried_rungs = np.full(VIDEOS, NO_RUNG)
    mean = np.zeros(5)
    with official_generators():
        seeds = official_viewer()
        for trace in range(len(dataset.traces[trace_class])):
            print("------------trace ", trace, "--------------")
            session = MMGCSession(dataset, trace_class, trace, seeds, carried_rungs=carried_rungs)
            _, error = _try(factory, session)
            result = _result(session, error)
            mean += result.score, result.bandwidth_bytes, result.qoe, result.wasted_bytes, result.download_watch_ratio
            if error is not None:
                print(error, file=sys.stderr)
            elif result.qoe < ABORT_QOE:
                print("Your QoE is too low...(Your video seems to have stuck forever) Please check for errors!")
            else:
                print("The user leaves.")
                print("Your score is: ", result.score)
                print("Your QoE is: ", result.qoe)
                print("Your sum of wasted bytes is: ", float(result.wasted_bytes) if result.wasted_bytes else 0)
                ratio = result.download_watch_ratio
                print("Your download/watch ratio (downloaded time / total watch time) is: ", ratio)
            print("---------------------------------------\n\n")
    mean /= len(dataset.traces[trace_class])
    print("\n\nYour average indexes under [", trace_class, "] network is: ")
    for name, value in zip(
        ("Score", "Bandwidth Usage", "QoE", "Sum Wasted Bytes", "Wasted time ratio"), mean, strict=True
    ):
        print(f"{name}: ", value)
    return mean


def _factory_of(name: str, make_agent: Callable[..., Agent], seed: int) -> AlgorithmFactory:
    if name in OFFICIAL_POLICIES:
        return OFFICIAL_POLICIES[name]
    seeds = itertools.count(seed)
    return as_solution(lambda client: make_agent(name, client, seed=next(seeds)))


def _load(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None, trust: bool, official: bool
) -> AlgorithmFactory:
    try:
        return load_solution(path, root=root, trust=trust, official=official)
    except ImportError as error:
        raise ValueError(str(error)) from error


def holds_challenge(folder: Path) -> bool:
    """Whether the first record of a folder is one of the challenge.

    Raises:
        FileNotFoundError: The folder holds no records.
        ValueError: The first line is no record.
    """
    first = next(read_json_lines(folder / "records.jsonl"), None)
    return first is not None and str(first[1].get("scenario")).startswith("mmgc2022/")


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
    replayed: list[Record] = []
    for where, record in read_json_lines(folder / "records.jsonl", REQUIRED):
        if not re.fullmatch(r"mmgc2022/[^/]+/\d+", str(record["scenario"])):
            raise ValueError(f"{where}: expected mmgc2022/CLASS/TRACE, got {record['scenario']!r}")
        try:
            made = record | {"totals": _replay(dataset, record)}
            if record["agent"] == SCHEDULE:
                made["bound"] = challenge_bound(dataset, *_draw(record))[0]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            mismatches.append(f"{where}: {error}")
        else:
            mismatches += _differences(where, record["totals"], made["totals"])
            mismatches += _differences(where, record, {"bound": made["bound"]} if "bound" in made else {})
            replayed.append(made)
    if mismatches:
        return mismatches

    rows = {(row["class"], row["agent"]): row for row in read_json(folder / "results.json")["rows"]}
    groups = _groups(replayed)
    for key, group in groups.items():
        where, stated = f"results.json, {', '.join(key)}", rows.pop(key, {})
        try:
            mismatches += _differences(where, stated, _row(group, groups.get((key[0], SCHEDULE), [])))
        except ValueError as error:
            mismatches.append(f"{where}: {error}")
    return mismatches + [f"results.json, {', '.join(key)}: no records" for key in rows]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of `evaluate`, a table for each class.

    Args:
        rows: The figures; QoE, score and ratio are means over sessions, bytes too.

    Raises:
        ImportError: rich is not installed.
    """
    from rich.console import Console

    from ppgym.tables import for_terminal, new_table

    console = Console()
    for trace_class in dict.fromkeys(row["class"] for row in rows):
        of_class = [row for row in rows if row["class"] == trace_class]
        bounded = "bound_mean" in of_class[0]
        console.print(for_terminal(trace_class), style="bold", highlight=False)
        table = new_table(
            "score", "95 % interval", *(["of bound"] if bounded else []), "QoE", "MB", "MB wasted", "load/watch"
        )
        for row in of_class:
            low, high = row["score_ci95"]
            share = [] if not bounded else ["-" if row["share"] is None else f"{row['share']:.0%}"]
            table.add_row(
                for_terminal(row["agent"]),
                f"{row['score_mean']:.2f}",
                "-" if low is None else f"{low:.2f} to {high:.2f}",
                *share,
                f"{row['qoe_mean']:.2f}",
                f"{row['bandwidth_bytes'] / 1e6:.2f}",
                f"{row['wasted_bytes'] / 1e6:.2f}",
                f"{row['download_watch_ratio']:.3f}",
            )
        if bounded:
            table.add_row("bound", f"{of_class[0]['bound_mean']:.2f}")
        console.print(table)
    if any("bound_mean" in row for row in rows):
        console.print("Nobody exceeds the bound. The schedule is told all that is hidden, and is not ranked.")


def _try(factory: AlgorithmFactory, session: MMGCSession) -> tuple[list[Action], str | None]:
    """Play a session as far as it goes; returns the actions, and the traceback of the error that has ended it."""
    actions: list[Action] = []
    try:
        with official_generators():
            algorithm = factory()
            play(algorithm, session, actions)
    except EntryError as error:
        return actions, str(error)
    except Exception as error:
        return actions, "".join(traceback.format_exception(error))[-MAX_ERROR:]
    return actions, None


def _result(session: MMGCSession, error: str | None) -> MMGCResult:
    result = session.result()
    return result if error is None else result._replace(score=ABORT_SCORE)


def _play(
    dataset: MMGCDataset, agent: str, factory: AlgorithmFactory, trace_class: str, trace_index: int, seed: int
) -> Record:
    """The record of one session."""
    started_s = time.perf_counter()
    session = MMGCSession(dataset, trace_class, trace_index, viewer_seeds(seed))
    actions, error = _try(factory, session)
    return {
        "scenario": f"mmgc2022/{trace_class}/{trace_index}",
        "seed": seed,
        "agent": agent,
        "actions": actions,
        "totals": _totals(session, error),
        "versions": versions() | {"env": "PromptPreamMMGC-v0"},
        "wall_time_s": time.perf_counter() - started_s,
        **({} if error is None else {"error": error}),
    }


def _play_schedule(dataset: MMGCDataset, trace_class: str, trace_index: int, seed: int) -> Record:
    """The record of the schedule of full knowledge, with the session's bound."""
    limit, schedule = challenge_bound(dataset, trace_class, trace_index, viewer_seeds(seed))
    record = _play(dataset, SCHEDULE, lambda: _Schedule(schedule), trace_class, trace_index, seed)
    return record | {"params": {}, "bound": limit}


class _Schedule:
    """Takes actions one after the other, whatever happens."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self._actions = iter(actions)

    def Initialize(self) -> None:  # noqa: N802, official name
        pass

    def run(self, *_: Any) -> Action:
        return next(self._actions)


def _totals(session: MMGCSession, error: str | None) -> dict[str, float]:
    result = _result(session, error)
    return {"return": result.score, **session.totals(), **result._asdict()}


def _groups(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records by class and agent."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["scenario"].split("/")[1], record["agent"]), []).append(record)
    return groups


def _row(records: Sequence[Record], bounded: Sequence[Record]) -> dict[str, Any]:
    """A row of the table.

    Args:
        records: Of one class and agent, equally many of every trace.
        bounded: Those of the class that have a bound.
    """
    by_trace: dict[str, list[list[float]]] = {}
    for record in records:
        figures = [record["totals"][name] for name in MMGCResult._fields]
        by_trace.setdefault(record["scenario"], []).append(figures)
    if len({len(each) for each in by_trace.values()}) > 1:
        raise ValueError("the records of its traces are not equally many")
    table = np.array(list(by_trace.values()))  # [traces, viewers, figures of MMGCResult]
    means = dict(zip(MMGCResult._fields, table.mean(axis=(0, 1)).tolist(), strict=True))
    score = means.pop("score")
    row = {
        "class": records[0]["scenario"].split("/")[1],
        "agent": records[0]["agent"],
        "sessions": len(records),
        "errors": sum("error" in record for record in records),
        "score_mean": score,
        "score_ci95": _ci95(table[:, :, 0]),
        "qoe_mean": means.pop("qoe"),
        **means,
    }
    if bounded:
        limit = float(np.mean([record["bound"] for record in bounded]))
        row |= {"bound_mean": limit, "share": score / limit if limit > 0 else None}
    return row


def _ci95(scores: npt.NDArray[np.float64]) -> list[float | None]:
    """95 % interval of the mean of float64 [traces, viewers], by traces where there are several."""
    from scipy import stats

    units = scores.mean(axis=1) if len(scores) > 1 else scores[0]
    if len(units) == 1:
        return [None, None]
    half = stats.t.ppf(0.975, len(units) - 1) * stats.sem(units)
    return [float(units.mean() - half), float(units.mean() + half)]


def _replay(dataset: MMGCDataset, record: Record) -> dict[str, float]:
    """The totals that a record's actions lead to, up to its error where it has one."""
    session = MMGCSession(dataset, *_draw(record))
    for action in record["actions"]:
        take(session, action)
    if not session.done and "error" not in record:
        raise ValueError(f"the session goes on after its {len(record['actions'])} actions")
    return _totals(session, record.get("error"))


def _draw(record: Record) -> tuple[str, int, Seeds]:
    """Class and trace of a record, and its viewer."""
    _, trace_class, trace = record["scenario"].split("/")
    return trace_class, int(trace), viewer_seeds(record["seed"])


def _differences(where: str, recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> Iterator[str]:
    for key, value in replayed.items():
        if not agree(recorded.get(key), value):
            yield f"{where}: {key} is {recorded.get(key)!r}, replayed {value!r}"
