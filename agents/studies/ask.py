"""Do generative codecs pay in a world? The answer to an engineer's question, in words and numbers.

The planner and the rules, with generative codecs and without them, play the same sessions. The best of each side is
chosen on the validation split. Both then play the test split until the answer is clear or the time is over.
`ppgym.report.answer` makes a page of what is found.
"""

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from agents.base import Heuristic, Mask
from agents.settings import Settings
from agents.studies.ablations import ABLATED
from agents.studies.assumptions import find_assumptions
from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import print_table, signed
from ppgym.benchmark.estimates import Estimate, ratio_estimate, t_quantile
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.benchmark.summary import Row, summarize
from ppgym.core.actions import WAIT
from ppgym.files import write_json
from ppgym.planning_view import PlanningView
from ppgym.report.answer import write_answer
from ppgym.world.networks import NETWORKS, describe_traces
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario, World, make_world
from ppgym.world.scenario_file import merged, named_fields, parse_settings

PLANNER, PIXEL_PLANNER = Variant("mcts"), Variant(ABLATED, {"prompts": False})
WITH = (PLANNER, *map(Variant, ("greedy", "dashlet+prompt", "pdas+prompt")))
WITHOUT = (PIXEL_PLANNER, *map(Variant, ("dashlet", "pdas", "no_save", "on_demand")))
NAMES = {"mcts": "planner", ABLATED: "planner, pixels only"}

PILOT = 16  # validation sessions of each contestant
LOOKS = (16, 32, 64, 128, 256)  # test sessions after which it is asked whether the answer is clear
LOOK_LEVEL = 0.995  # quantile of each look: 1 % two-sided, so that five looks err in at most 5 % of all questions
LEAST_GAIN = 0.01  # of the QoE of a minute of top quality: a gain that surely lies below it is none
TURN_SESSIONS = 16  # of each place of a turning point
TURN_SHARE = 0.5  # of the time, at least, is for the turning points
KNOBS: dict[str, tuple[float, ...]] = {  # factors on what the world has, nearest first; prices in QoE of a joule
    "generative_speed_scale": (0.5, 2.0, 0.25, 4.0),
    "bandwidth_scale": (2.0, 0.5, 4.0, 0.25),
    "generative_quality_scale": (0.8, 1.25, 0.6, 1.6),
    "qoe.energy": (0.01, 0.03, 0.1, 0.3),
}
BATTERY_WH = 15.0  # of a phone of about 4,000 mAh; an assumption
MINUTES_AN_HOUR, J_PER_WH = 60.0, 3600.0


class Idle(Heuristic):
    """Waits and never requests anything: a world in which nobody beats it is too thin to serve."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        return WAIT


IDLE = Variant(f"{Idle.__module__}:{Idle.__name__}")


@dataclass(frozen=True)
class Question:
    """What is played, and until when."""

    label: str
    fields: Mapping[str, Any]
    workers: int
    ends_s: float  # on `time.monotonic`'s clock

    def play(
        self, variants: Sequence[Variant], sessions: int, split: str = "test", first: int = 0
    ) -> list[list[Record]]:
        """Sessions of each variant; the fields of a variant take the place of the question's."""
        whole = [one._replace(overrides=merged(self.fields, one.overrides)) for one in variants]
        return play_variants(
            whole, scenario=self.label, split=split, sessions=sessions, seed=first, workers=self.workers, output=None
        )

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return self.ends_s - time.monotonic()


def ask(
    file: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    scenario: str = DEFAULT_SCENARIO,
    settings: Settings = (),
    minutes: float = 5.0,
    workers: int | None = None,
    battery_wh: float = BATTERY_WH,
    output: Path | None = None,
    json_only: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Say whether generative codecs pay in a world, by how much, and where the answer turns.

    Args:
        file: Scenario file; short for --scenario FILE. `python -m ppgym.world new my.yml` writes one to start from.
        scenario: Name network/device/viewer[/ladder], or a scenario file.
        settings: Fields of the scenario that differ, as KEY=VALUE.
        minutes: Time to take; less where the answer is clear sooner.
        workers: Processes; as many as there are CPUs by default.
        battery_wh: Of the device, for the share of it that an hour takes.
        output: HTML page of the answer; a JSON file of the same name lies beside it.
        json_only: Print the answer as JSON and nothing else.

    Raises:
        ValueError: A scenario that is none, or a time of 0 minutes or less.
    """
    if minutes <= 0.0:
        raise ValueError(f"--minutes: expected more than 0, got {minutes:g}")
    name = scenario if file is None else str(file)
    label, fields = named_fields(name, parse_settings(settings))
    question = Question(label or name, fields, workers or os.cpu_count() or 1, time.monotonic() + 60.0 * minutes)
    answer = find_answer(question, battery_wh)
    if output is not None:
        write_json(output.with_suffix(".json"), answer)
        write_answer(output, answer)
    if json_only:
        print(json.dumps(answer, indent=1))
    else:
        print_answer(answer)


def find_answer(question: Question, battery_wh: float = BATTERY_WH) -> dict[str, Any]:
    """Play, and say what came of it.

    Args:
        question: What is asked.
        battery_wh: Of the device.

    Returns:
        "answer" (yes, no or unclear), "gain_qoe", "gain_ci95", "sessions", "turning_points", "assumptions"; "words",
        "scenario", "network", "players", "chosen", "too_thin".
    """
    scenario = Scenario.parse(question.label, **question.fields)
    world = make_world(scenario, "test")
    usable = [option for option in world.options if option.usable]
    found: dict[str, Any] = {
        "scenario": question.label,
        "network": describe_traces(scenario.network, "test") if scenario.network not in NETWORKS else scenario.network,
        "quality_unit": world.ladder.quality_unit,
        "assumptions": find_assumptions(world),
        "turning_points": [],
    }
    if not any(option.is_generative for option in usable):
        why = "no unit of this device decodes a generative codec of this ladder in time"
        return found | _verdict("no", Estimate(0.0, 0.0, None), 0, why)
    if not any(not option.is_generative for option in usable):
        why = "this device decodes nothing but generative codecs, so that there is nothing to compare them with"
        return found | _verdict("unclear", Estimate(0.0, 0.0, None), 0, why)

    with_codecs, pixels = choose_best(question, WITH), choose_best(question, WITHOUT)
    turns_s = TURN_SHARE * question.left_s
    players = [with_codecs, pixels, IDLE]
    played: list[list[Record]] = [[] for _ in players]
    answer, gain = "unclear", Estimate(0.0, 0.0, None)
    least = LEAST_GAIN * 60.0 * scenario.qoe.quality * world.ladder.top_quality
    for look in LOOKS:
        before = len(played[0])
        began_s = time.monotonic()
        for own, more in zip(played, question.play(players, look - before, first=before), strict=True):
            own += more
        gain = gain_of(played[0], played[1])
        answer = judge(gain, len(played[0]), least)
        next_s = 2.0 * (time.monotonic() - began_s)  # twice as many sessions
        if answer != "unclear" or question.left_s - next_s < turns_s:
            break
    rows = {row.agent: row for row in summarize([one for own in played for one in own]).rows}
    shown = [describe(rows[own[0]["agent"]], own, world, battery_wh) for own in played]
    idle = gain_of(played[0], played[2])
    thin = idle.value <= 0.0
    found |= _verdict(answer, gain, len(played[0]), "", thin)
    return found | {
        "players": shown,
        "chosen": {"with": shown[0]["player"], "without": shown[1]["player"]},
        "turning_points": [turning_point(question, knob, with_codecs, pixels, gain.value) for knob in KNOBS],
    }


def choose_best(question: Question, contestants: Sequence[Variant]) -> Variant:
    """The contestant of the highest QoE on the validation split."""
    returns = [returns_and_minutes(each)[0].sum() for each in question.play(contestants, PILOT, "validation")]
    return contestants[int(np.argmax(returns))]


def gain_of(new: Sequence[Record], old: Sequence[Record]) -> Estimate:
    """The paired difference in QoE."""
    (returns, minutes), (others, _) = returns_and_minutes(new), returns_and_minutes(old)
    return ratio_estimate(returns - others, minutes)


def judge(gain: Estimate, sessions: int, least: float) -> str:
    """Whether a gain is clear.

    Args:
        gain: The gain.
        sessions: How many it is from.
        least: A gain that surely lies below it is none.

    Returns:
        "yes" where it is surely above 0, "no" where it is surely below `least`, else "unclear".
    """
    half = t_quantile(LOOK_LEVEL, sessions - 1) * gain.error
    if gain.value - half > 0.0:
        return "yes"
    return "no" if gain.value + half < least else "unclear"


def turning_point(
    question: Question, knob: str, with_codecs: Variant, pixels: Variant, usual_gain: float
) -> dict[str, Any]:
    """Where the sign of the gain turns along a knob.

    Args:
        question: What is asked.
        knob: Key of `KNOBS`.
        with_codecs: Who plays with generative codecs.
        pixels: Who plays without.
        usual_gain: The gain of the world as it is.

    Returns:
        "knob", "usual", "gains" (value and gain of each place that there was time for), and "between": the two values
        between which the sign turns, None where it does not on the way.
    """
    scenario = Scenario.parse(question.label, **question.fields)
    usual = scenario.qoe.energy if knob == "qoe.energy" else getattr(scenario, knob)
    gains = {float(usual): usual_gain}
    for step in KNOBS[knob]:
        if question.left_s <= 0.0:
            break
        value = usual + step if knob == "qoe.energy" else usual * step
        if any((value > usual) == (seen > usual) and gains[seen] * usual_gain < 0.0 for seen in gains if seen != usual):
            continue  # it has turned on this side already
        change = parse_settings([f"{knob}={value}"])
        try:
            Scenario.parse(question.label, **merged(question.fields, change))
        except ValueError:  # beyond what a world may have
            continue
        variants = [one._replace(overrides=change) for one in (with_codecs, pixels)]
        gains[float(value)] = gain_of(*question.play(variants, TURN_SESSIONS)).value
    order = sorted(gains)
    turns = [[low, high] for low, high in itertools.pairwise(order) if gains[low] * gains[high] < 0.0]
    return {
        "knob": knob,
        "usual": usual,
        "gains": [[value, gains[value]] for value in order],
        "between": min(turns, key=lambda pair: abs(pair[0] - usual)) if turns else None,
    }


def describe(row: Row, records: Sequence[Record], world: World, battery_wh: float) -> dict[str, Any]:
    """What an agent did in the world.

    Args:
        row: Its figures.
        records: Its sessions.
        world: The world.
        battery_wh: Of the device.

    Returns:
        Figures by name; "requests" is the share of each option among them.
    """
    options = len(world.options)
    asked = Counter((action - 1) % options for record in records for action in record["actions"] if action != WAIT)
    total = max(sum(asked.values()), 1)
    wh_per_hour = row.energy_j_per_min * MINUTES_AN_HOUR / J_PER_WH
    return {
        "player": NAMES.get(row.agent, row.agent if row.agent != IDLE.agent else "waits only"),
        "qoe": row.qoe,
        "qoe_ci95": row.qoe_ci95,
        "stall_ratio": row.stall_ratio,
        "waste_ratio": row.waste_ratio,
        "quality_mean": row.quality_mean,
        "energy_j_per_min": row.energy_j_per_min,
        "battery_per_hour": wh_per_hour / battery_wh,
        "requests": {world.options[option].name: count / total for option, count in asked.most_common()},
    }


def _verdict(answer: str, gain: Estimate, sessions: int, why: str, too_thin: bool = False) -> dict[str, Any]:
    if not why:
        words = {"yes": "they pay", "no": "they do not pay", "unclear": "it is not clear whether they pay"}[answer]
        why = f"{words}: {signed(gain.value, gain.ci95)} QoE a minute in {sessions} sessions"
    if too_thin:
        why += "; and the world is too thin to serve: waiting alone does no worse"
    return {
        "answer": answer,
        "gain_qoe": gain.value,
        "gain_ci95": gain.ci95,
        "sessions": sessions,
        "too_thin": too_thin,
        "words": f"Do generative codecs pay? {answer.capitalize()}: {why}.",
    }


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print what `find_answer` returns.

    Args:
        answer: The answer.
    """
    console = Console()
    console.print(f"{answer['scenario']}, network {answer['network']}", highlight=False)
    console.print(f"{answer['words']}\n", style="bold", highlight=False)
    if "players" in answer:
        print_table(
            "In the same sessions",
            ["player", "QoE/min", "stall", "waste", "quality", "J/min", "battery/h"],
            [
                [
                    one["player"],
                    f"{one['qoe']:.1f}",
                    f"{one['stall_ratio']:.1%}",
                    f"{one['waste_ratio']:.1%}",
                    f"{one['quality_mean']:.2f}",
                    f"{one['energy_j_per_min']:.0f}",
                    f"{one['battery_per_hour']:.0%}",
                ]
                for one in answer["players"]
            ],
        )
        for one in answer["players"][:2]:
            asked = ", ".join(f"{name} {share:.0%}" for name, share in list(one["requests"].items())[:4])
            console.print(f"{one['player']} requests {asked}", highlight=False)
    for turn in answer["turning_points"]:
        console.print(turn_in_words(turn), highlight=False)
    assumed = answer["assumptions"]
    console.print(f"\nThe answer rests on {len(assumed)} assumptions, such as:", highlight=False)
    for one in assumed[:3]:
        console.print(f"- {one}", highlight=False)


def turn_in_words(turn: Mapping[str, Any]) -> str:
    """A turning point as a sentence.

    Args:
        turn: What `turning_point` returns.

    Returns:
        The sentence.
    """
    knob, between, values = turn["knob"], turn["between"], [value for value, _ in turn["gains"]]
    if between is not None:
        return f"{knob} (here {turn['usual']:g}): the answer turns between {between[0]:g} and {between[1]:g}."
    if len(values) == 1:
        return f"{knob} (here {turn['usual']:g}): there was no time to look where the answer turns."
    return f"{knob} (here {turn['usual']:g}): the answer does not turn between {values[0]:g} and {values[-1]:g}."
