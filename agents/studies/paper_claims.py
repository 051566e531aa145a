"""Tests the paper's claims: the planner against pixel policies, and against itself without prompts.

PromptPream (arXiv 2602.09484) claims over 31 % fewer stalls and less waste, and 45 % more QoE, than traditional
strategies, without naming these. Here every pixel policy is tuned (`agents/hyperparams`), then swept over how eagerly
it preloads. The planner is swept over the weight of waste, with and without prompts. The weight of stalls rises with
its square root, so that fewer bytes cost quality and not stalls.

Everything is chosen on the validation split: which points are a baseline (those that no other point of their sweep
beats in QoE, stalls and waste), and for each claim and baseline the planner's setting. Claims of several gains at once
have one setting against all baselines. What was chosen then plays the test split, once. A claim holds where it holds
against every baseline, the hardest one included.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from scipy.special import ndtr

from agents.studies.ablation_table import make_ablation_tables, print_ablation_tables
from agents.studies.ablations import ABLATED
from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import print_table, unbeaten
from ppgym.benchmark.episodes import STANDARD_DEVICES, STANDARD_NETWORKS
from ppgym.benchmark.estimates import Estimate, holm, ratio_estimate
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.benchmark.traces import Traces, find_traces
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import F8
from ppgym.files import write_json
from ppgym.world.scenario import DEFAULT_SCENARIO

PLANNER = "mcts"
FIGURES = "claims.json"

MEASURES = {"qoe": "a minute", "stalls": "s a minute", "waste": "Mbit a minute"}
"""What is compared, and the unit of its points."""

CLAIMS: dict[str, dict[str, float]] = {
    "QoE +45%": {"qoe": 0.45},
    "stalls -31%, QoE and waste no worse": {"stalls": 0.31, "qoe": 0.0, "waste": 0.0},
    "waste -31%, QoE and stalls no worse": {"waste": 0.31, "qoe": 0.0, "stalls": 0.0},
    "stalls and waste -31%, QoE no worse": {"stalls": 0.31, "waste": 0.31, "qoe": 0.0},
    "QoE +45%, stalls and waste -31%": {"qoe": 0.45, "stalls": 0.31, "waste": 0.31},
}
"""The relative gain that each claim needs in each measure; 0 is a condition, "no worse"."""

NO_WORSE = 0.01  # of the baseline's value: who is less than that worse counts as no worse. No test shows equality

AT_ONCE = frozenset(claim for claim, needed in CLAIMS.items() if sum(least > 0.0 for least in needed.values()) > 1)
"""Claims of several gains: of one setting against all baselines. The others may take another one for each."""

SCENARIOS = (
    *(f"{network}/{device}/typical" for device in STANDARD_DEVICES for network in STANDARD_NETWORKS),
    *(f"{network}/snapdragon-8-elite/typical/promptmobile" for network in STANDARD_NETWORKS),
)
REAL = "mmgc2022"
REAL_DATA = "PPGYM_MMGC2022"  # environment variable: the folder of the challenge's data
REAL_FOLDERS = {"network": "network_traces", "videos": "short_video_size", "viewers": "user_ret"}

PRELOADING: dict[str, tuple[Mapping[str, Any], ...]] = {
    "on_demand": ({},),
    "next_one": ({},),
    "static": ({}, *({"each": each} for each in (0, 1, 2, 3, 5))),
    "fixed_preload": ({}, *({"chunks": chunks} for chunks in (2, 3, 4))),
    "douyin": ({}, *({"preload_bytes": size} for size in (6e4, 2.5e5, 5e5, 8e5))),
    "no_save": ({}, *({"preload_bytes": size} for size in (1e5, 2.5e5, 5e5, 8e5))),
    "pdas": ({}, *({"buffer_s": seconds} for seconds in (1.0, 2.0, 4.0, 8.0))),
    "dashlet": ({}, *({"least_stall_s": seconds} for seconds in (0.03, 0.1, 0.5))),
}
"""How eagerly each pixel policy preloads: one parameter each, the others as tuned."""

PIXEL_SWEEP = tuple(Variant(agent, params) for agent, settings in PRELOADING.items() for params in settings)

KNOB: tuple[Mapping[str, Any], ...] = (
    {},
    *({"waste_weight": weight, "stall_weight": round(math.sqrt(weight), 3)} for weight in (1.5, 2.0, 4.0, 8.0, 16.0)),
)
"""Settings of the planner, its default first."""

FIRST_SESSION = 100_000  # of both splits: nothing was tuned in these
CERTAIN = 0.05  # an adjusted p value below it
FORMS = {"relative": "{:+.0%}", "points": "{:+.1f}"}  # of a gain in the tables


class Place(NamedTuple):
    """A scenario by its name in the tables."""

    name: str
    scenario: str
    overrides: Mapping[str, Any] = {}


class Point(NamedTuple):
    """A setting of an agent, over n sessions of a place."""

    variant: Variant
    good: F8  # [3, n] return, minus seconds of stall, minus wasted megabits: more is better
    minutes: F8  # [n] drawn watch time
    traces: Traces = Traces()

    @property
    def sums(self) -> F8:
        """[3] of `good`."""
        sums: F8 = self.good.sum(axis=1)
        return sums

    @property
    def name(self) -> str:
        """In words, such as "static each=2"."""
        return self.variant._replace(agent=self.variant.agent.replace(ABLATED, PLANNER)).name


def find_place(name: str) -> Place:
    """A place by name.

    Args:
        name: A scenario network/device/viewer, or `REAL`: the default scenario's device and viewer with the traces,
            videos and retention curves of the 2022 challenge.

    Returns:
        The place.

    Raises:
        ValueError: The environment does not say where the challenge's data is.
    """
    if name != REAL:
        return Place(name, name)
    if REAL_DATA not in os.environ:
        raise ValueError(f"scenario {REAL!r}: expected the folder of the challenge's data in {REAL_DATA}")
    root = Path(os.environ[REAL_DATA])
    return Place(REAL, DEFAULT_SCENARIO, {key: str(root / folder) for key, folder in REAL_FOLDERS.items()})


def point_of(variant: Variant, played: Sequence[Record]) -> Point:
    """Gather a setting's sessions.

    Args:
        variant: The agent and its parameters.
        played: Its sessions.

    Returns:
        The point.
    """
    returns, minutes = returns_and_minutes(played)
    stall_s = np.array([record["totals"]["rebuffer_s"] for record in played])
    wasted_mbit = MBIT_PER_BYTE * np.array([record["totals"]["wasted_bytes"] for record in played])
    return Point(variant, np.array([returns, -stall_s, -wasted_mbit]), minutes, find_traces(played))


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats: as good in every measure, and better in one or named earlier."""
    return [point for point, stays in zip(points, unbeaten([one.sums for one in points]), strict=True) if stays]


def relative_gain(new: F8, old: F8, clusters: npt.NDArray[Any] | None = None) -> Estimate:
    """By how much a sum exceeds another, relative to its size, over paired sessions.

    Args:
        new: [n].
        old: [n].
        clusters: [n] the traces of the sessions, where there are enough files of them.

    Returns:
        (new - old) / |old| of the sums; infinite, or 0 where nothing differs, over a sum of 0.
    """
    if old.sum() == 0.0:
        difference = float(new.sum())
        return Estimate(math.copysign(math.inf, difference) if difference else 0.0, math.nan, None)
    return ratio_estimate(new - old, np.sign(old.sum()) * old, clusters)


def gains(new: Point, old: Point) -> dict[str, Estimate]:
    """The relative gain of a point over another in each measure."""
    pairs = zip(MEASURES, new.good, old.good, strict=True)
    return {measure: relative_gain(own, others, new.traces.clusters) for measure, own, others in pairs}


def least_gain(needed: float) -> float:
    """What a gain has to exceed: what is needed, or, for a condition, -`NO_WORSE`."""
    return needed if needed > 0.0 else -NO_WORSE


def margin(needed: Mapping[str, float], gained: Mapping[str, Estimate]) -> float:
    """By how much gains exceed what a claim needs, in the measure where they do least."""
    return min(gained[measure].value - least_gain(least) for measure, least in needed.items())


def choose(needed: Mapping[str, float], settings: Sequence[Point], baselines: Sequence[Point]) -> Variant:
    """The setting that serves a claim best, on validation: against the hardest of some baselines."""

    def least(setting: Point) -> float:
        return min(margin(needed, gains(setting, baseline)) for baseline in baselines)

    return max(settings, key=least).variant


def p_value(needed: Mapping[str, float], gained: Mapping[str, Estimate]) -> float:
    """The one-sided p value of a claim: that of its least certain measure, as all of them have to hold.

    A claimed gain is tested against what is needed, a condition against a loss of `NO_WORSE` of the baseline's value.

    Args:
        needed: The relative gain that the claim needs in each measure.
        gained: The relative gains.

    Returns:
        By the normal approximation. 1 where there are too few sessions to tell.
    """
    return max(_p_of_gain(gained[measure], least_gain(least)) for measure, least in needed.items())


def _p_of_gain(gain: Estimate, least: float) -> float:
    if gain.value == 0.0 and not gain.error > 0.0:  # not one session differs, as where nobody ever stalls
        return 0.0 if least < 0.0 else 1.0
    if gain.ci95 is None or gain.error == 0.0:
        return 1.0
    return float(ndtr((least - gain.value) / gain.error))


def compare(claim: str, setting: Point, baseline: Point) -> dict[str, Any]:
    """A claim of the planner against a baseline.

    Args:
        claim: Key of `CLAIMS`.
        setting: The planner's point that was chosen for it.
        baseline: What it is compared with, in the same sessions.

    Returns:
        The points' names, the `gains` in each measure, in points and relative, with 95 % intervals, `given_traces`,
        which says where intervals do not cover other traces, the `margin` to what is needed, and the `p` value.
    """
    needed, relative = CLAIMS[claim], gains(setting, baseline)
    rows = {}
    for measure, difference in zip(MEASURES, setting.good - baseline.good, strict=True):
        points, share = ratio_estimate(difference, setting.minutes, setting.traces.clusters), relative[measure]
        rows[measure] = {
            "points": points.value,
            "points_ci95": points.ci95,
            "relative": share.value,
            "relative_ci95": share.ci95,
        }
    return {
        "claim": claim,
        "setting": setting.name,
        "baseline": baseline.name,
        "gains": rows,
        "given_traces": setting.traces.note,
        "margin": margin(needed, relative),
        "p": p_value(needed, relative),
    }


def check_place(
    place: Place, *, sessions: int, validation_sessions: int, workers: int, output: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Choose on validation, play the test, and compare.

    Args:
        place: Where.
        sessions: Of the test split.
        validation_sessions: Of the validation split.
        workers: Processes.
        output: See `check_claims`.

    Returns:
        "comparisons", one for each claim and baseline, and "points" of both splits; all rows with a key "scenario".
    """
    sweeps = {
        "planner": [Variant(PLANNER, params) for params in KNOB],
        "pixel policies": list(PIXEL_SWEEP),
        "planner without prompts": [Variant(ABLATED, {"prompts": False, **params}) for params in KNOB],
    }
    sweeps = {name: [one._replace(overrides=place.overrides) for one in sweep] for name, sweep in sweeps.items()}

    def play(variants: Sequence[Variant], split: str, count: int) -> list[Point]:
        played = play_variants(
            variants,
            scenario=place.scenario,
            split=split,
            sessions=count,
            seed=FIRST_SESSION,
            workers=workers,
            output=output,
            figures=(FIGURES,),
        )
        return [point_of(*cell) for cell in zip(variants, played, strict=True)]

    every = iter(play([one for sweep in sweeps.values() for one in sweep], "validation", validation_sessions))
    validation = {name: [next(every) for _ in sweep] for name, sweep in sweeps.items()}
    chosen = []
    for rivals in list(sweeps)[1:]:
        baselines = frontier(validation[rivals])
        for baseline in baselines:
            for claim, needed in CLAIMS.items():
                setting = choose(needed, validation["planner"], baselines if claim in AT_ONCE else [baseline])
                chosen.append((claim, rivals, setting, baseline.variant))
    test = play(_distinct([one for _, _, *pair in chosen for one in pair]), "test", sessions)

    def tested(variant: Variant) -> Point:
        return next(point for point in test if point.variant == variant)

    splits = {"validation": [point for points in validation.values() for point in points], "test": test}
    return {
        "comparisons": [
            {"scenario": place.name, "against": rivals, **compare(claim, tested(setting), tested(baseline))}
            for claim, rivals, setting, baseline in chosen
        ],
        "points": [
            {"scenario": place.name, "split": split, **_as_row(point)}
            for split, points in splits.items()
            for point in points
        ],
    }


def _distinct(variants: Sequence[Variant]) -> list[Variant]:
    """Each variant once, in order."""
    return [one for place, one in enumerate(variants) if one not in variants[:place]]


def _as_row(point: Point) -> dict[str, Any]:
    qoe, stalls, waste = (point.sums / point.minutes.sum()).tolist()
    return {
        "agent": point.variant.agent,
        "params": dict(point.variant.params),
        "sessions": len(point.minutes),
        "qoe": qoe,
        "stall_s_per_min": -stalls,
        "wasted_mbit_per_min": -waste,
    }


def judge(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The verdict of each claim in each scenario: that against its hardest baseline.

    That a claim has to hold against every baseline needs no correction, as each of them can only refute it. That there
    are many claims does: Holm's, over all of them.

    Args:
        comparisons: Of all scenarios.

    Returns:
        For each scenario, claim and kind of rival the comparison of the highest p value, with `baselines`, how many
        there were, `p_holm` and the `verdict`: "holds" where that is below 0.05, "does not hold" where the gains
        themselves fall short, else "uncertain".
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in comparisons:
        groups.setdefault((row["scenario"], row["claim"], row["against"]), []).append(row)
    hardest = [max(rows, key=lambda row: (row["p"], -row["margin"])) for rows in groups.values()]
    adjusted = holm([row["p"] for row in hardest])
    return [
        {
            **row,
            "baselines": len(rows),
            "p_holm": p,
            "verdict": "holds" if p < CERTAIN else "does not hold" if row["margin"] < 0.0 else "uncertain",
        }
        for row, rows, p in zip(hardest, groups.values(), adjusted, strict=True)
    ]


def check_claims(
    scenarios: tuple[str, ...] = (),
    *,
    sessions: int = 256,
    validation_sessions: int = 64,
    workers: int = 1,
    ablations: bool = True,
    output: Path | None = None,
) -> None:
    """Put the paper's claims to the test, on sessions in which nothing was chosen, and print what holds.

    Args:
        scenarios: Names network/device/viewer[/ladder], or mmgc2022. Where none is given, all standard ones that can
            decode prompts, those of the ladder promptmobile, and mmgc2022 where PPGYM_MMGC2022 names the folder of the
            challenge's data.
        sessions: Of the test split, for each point that is compared.
        validation_sessions: Of the validation split, for every point of the sweeps.
        workers: Processes.
        ablations: Play the planner without each of its parts as well, on the first scenario.
        output: Folder for records.jsonl.gz and claims.json. Sessions that it holds already are not played again. None
            writes nothing.

    Raises:
        ValueError: The environment does not say where the challenge's data is.
    """
    places = [find_place(name) for name in scenarios or (*SCENARIOS, *([REAL] if REAL_DATA in os.environ else []))]
    results: dict[str, Any] = {"sessions": sessions, "validation_sessions": validation_sessions}
    found = [
        check_place(place, sessions=sessions, validation_sessions=validation_sessions, workers=workers, output=output)
        for place in places
    ]
    rows = {part: [row for of_place in found for row in of_place[part]] for part in ("comparisons", "points")}
    results |= {"claims": judge(rows["comparisons"]), **rows}
    if ablations:
        first = places[0]
        results |= make_ablation_tables(
            first.scenario,
            first.overrides,
            sessions=sessions,
            seed=FIRST_SESSION,
            workers=workers,
            output=output,
            figures=(FIGURES,),
        )
    if output is not None:
        write_json(output / FIGURES, results)
    print_claims(results)


def print_claims(results: Mapping[str, Any]) -> None:
    """Print the claims by scenario, in how many they hold, and the tables of the ablations where there are any.

    Args:
        results: What claims.json holds.
    """
    console = Console()
    claims: Sequence[Mapping[str, Any]] = results["claims"]
    for scenario in dict.fromkeys(claim["scenario"] for claim in claims):
        note = next(claim["given_traces"] for claim in claims if claim["scenario"] == scenario)
        print_table(
            f"{scenario}, {results['sessions']} test sessions{note}",
            ("planner, against", *MEASURES, "p", ""),
            [_cells(claim) for claim in claims if claim["scenario"] == scenario],
        )
    print_table(
        "In how many scenarios the claims hold",
        ("claim", *(verdicts := ("holds", "uncertain", "does not hold"))),
        [
            [f"{claim}, {rivals}", *(str(found.count(verdict)) for verdict in verdicts)]
            for claim, rivals in dict.fromkeys((row["claim"], row["against"]) for row in claims)
            if (found := [row["verdict"] for row in claims if (row["claim"], row["against"]) == (claim, rivals)])
        ],
    )
    console.print(
        f"{len(results['comparisons'])} comparisons with baselines were made; shown are the hardest ones of "
        f"{len(claims)} claims, over which p is adjusted (Holm). Gains are per cent, with half of the 95 % interval, "
        f"then points: {', '.join(f'{measure} {unit}' for measure, unit in MEASURES.items())}; more is better. "
        f"No worse means: surely by less than {NO_WORSE:.0%} of the baseline's value. Settings and baselines were "
        f"chosen in {results['validation_sessions']} validation sessions.",
        highlight=False,
    )
    if "ablations" in results:
        print_ablation_tables(results["ablations"], results["pruning"])


def _cells(claim: Mapping[str, Any]) -> list[str]:
    cells = []
    for gain in claim["gains"].values():
        share, points = (_with_half(gain[key], gain[f"{key}_ci95"], form) for key, form in FORMS.items())
        cells.append(f"{share}\n{points}")
    who = f"{claim['claim']}: {claim['setting']} against {claim['baseline']}".replace("_weight=", " x")
    return [who, *cells, f"{claim['p_holm']:.2g}", claim["verdict"]]


def _with_half(value: float, interval: Sequence[float] | None, form: str) -> str:
    """A signed figure with half of its interval, where it has one."""
    text = form.format(value)
    return text if interval is None else f"{text} ±{form.format((interval[1] - interval[0]) / 2.0)[1:]}"
