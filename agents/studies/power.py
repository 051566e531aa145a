"""How many sessions tell two agents apart: a pilot on the validation split."""

import functools
import math
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tyro
from rich.console import Console

from agents import REGISTRY
from agents.settings import Settings
from agents.studies.tables import print_table
from ppgym.benchmark.episodes import plan_jobs, play_episode
from ppgym.benchmark.estimates import Estimate, ratio_estimate
from ppgym.benchmark.records import returns_and_minutes
from ppgym.benchmark.traces import find_traces
from ppgym.benchmark.workers import run_jobs
from ppgym.core.state import F8
from ppgym.world.scenario import DEFAULT_SCENARIO
from ppgym.world.scenario_file import parse_settings

CONTROL = "on_demand"  # quick to play, and its return tells how hard a session is
QUANTILES = 1.96 + 0.8416  # 5 % two-sided, and 80 % power: both of the standard normal distribution
LEAST_PILOT = 16


class Power(NamedTuple):
    """What a pilot says of a figure."""

    estimate: Estimate
    sessions: int  # that tell the difference
    correlation: float  # of the figure's residuals with the control's
    sessions_with_control: int  # the same, where the control's own QoE is known from many more sessions


def find_power(
    returns: F8, control: F8, minutes: F8, difference: float, clusters: npt.NDArray[Any] | None = None
) -> Power:
    """How many sessions a figure needs.

    A difference d is told from 0, at 5 % and with a power of 80 %, by n = ((1.96 + 0.84) sigma / d)^2 sessions, with
    sigma the figure's standard error times sqrt(sessions). A control variate takes the share correlation^2 of the
    variance away.

    Args:
        returns: [n] returns of the pilot, or their paired differences.
        control: [n] returns of the control in the same sessions.
        minutes: [n] drawn watch minutes.
        difference: d in QoE a minute, above 0.
        clusters: [n] the traces of the sessions, where there are enough files of them.

    Returns:
        The figures.
    """
    estimate, of_control = (ratio_estimate(each, minutes, clusters) for each in (returns, control))
    residuals, known = returns - estimate.value * minutes, control - of_control.value * minutes
    if clusters is not None:
        places = np.unique(clusters, return_inverse=True)[1]
        residuals, known = (np.bincount(places, each).astype(np.float64) for each in (residuals, known))
    spread = float(np.linalg.norm(residuals) * np.linalg.norm(known))
    correlation = float(residuals @ known) / spread if spread > 0.0 else 0.0
    exact = len(returns) * (QUANTILES * estimate.error / difference) ** 2
    return Power(estimate, math.ceil(exact), correlation, math.ceil(exact * (1.0 - correlation**2)))


def print_power(
    agents: Annotated[tuple[str, str], tyro.conf.Positional],
    scenario: str = DEFAULT_SCENARIO,
    settings: Settings = (),
    difference: float = 1.0,
    sessions: int = 64,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Say how many sessions tell two agents apart by a given difference, from a pilot on the validation split.

    Args:
        agents: Two names, or import paths module:Class.
        scenario: Name network/device/viewer[/ladder], or a scenario file.
        settings: Fields of the scenario that differ, as KEY=VALUE.
        difference: In QoE a minute.
        sessions: Of the pilot.
        seed: Number of its first session.
        workers: Processes.

    Raises:
        ValueError: An unknown name, a difference that is no number above 0, or fewer than 16 sessions.
    """
    if not 0.0 < difference < math.inf:
        raise ValueError(f"difference: expected a number above 0, got {difference}")
    if sessions < LEAST_PILOT:
        raise ValueError(f"sessions: expected at least {LEAST_PILOT}, got {sessions}")
    names = list(dict.fromkeys([*agents, CONTROL]))
    jobs = plan_jobs(
        REGISTRY,
        names,
        [scenario],
        sessions=sessions,
        seed=seed,
        split="validation",
        overrides=parse_settings(settings),
        params={},
    )
    records = run_jobs(functools.partial(play_episode, REGISTRY), jobs, workers=workers)
    played = {name: returns_and_minutes(records[i * sessions : (i + 1) * sessions]) for i, name in enumerate(names)}
    control, minutes = played[CONTROL]
    traces = find_traces(records[:sessions])
    first, second = (played[agent][0] for agent in agents)
    figures = {agents[0]: first, agents[1]: second, f"{agents[0]} - {agents[1]}": first - second}
    rows = []
    for name, returns in figures.items():
        power = find_power(returns, control, minutes, difference, traces.clusters)
        low, high = power.estimate.ci95 or (math.nan, math.nan)
        helps = f"{power.sessions_with_control:,}" if name != CONTROL else ""
        rows.append([name, f"{power.estimate.value:.1f} ±{(high - low) / 2.0:.1f}", f"{power.sessions:,}", helps])
    print_table(
        f"{scenario}, validation, a pilot of {sessions} sessions{traces.note}",
        ["QoE/min", "pilot", f"sessions for {difference:g}", f"with {CONTROL} as control"],
        rows,
    )
    Console().print(
        f"So many sessions tell a difference of {difference:g} from 0, at 5 %, four times out of five.", highlight=False
    )
