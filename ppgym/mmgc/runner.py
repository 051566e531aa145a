"""Runs official solutions through a session, as the official runner does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppgym.core.state import I8
from ppgym.entries.player import Action, as_numbers, official_generators, reseed
from ppgym.entries.process import Entry
from ppgym.mmgc.dataset import MMGCDataset, Seeds
from ppgym.mmgc.kernel import RUNGS
from ppgym.mmgc.policies import Algorithm
from ppgym.mmgc.session import MMGCResult, MMGCSession, MMGCStep

MAX_STANDSTILL = 10_000  # decisions in a row in which no time passes, after which an algorithm counts as hung


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
        AssertionError: A sleep for a video outside the window.
        RuntimeError: The algorithm lets no time pass.
        EntryError: An entry has failed.
    """
    session = MMGCSession(dataset, trace_class, trace_index, seeds, carried_rungs=carried_rungs)
    play(algorithm, session)
    return session.result()


def play(algorithm: Algorithm, session: MMGCSession, actions: list[Action] | None = None) -> list[Action]:
    """Run an algorithm through a session that has not begun, to its end.

    NumPy's and Python's global generators are reseeded as by the official runner, for every video that enters the
    window, and put back afterwards.

    Args:
        algorithm: An official-style algorithm; it is initialized first.
        session: The session.
        actions: Filled with the actions, so that they are known where an error ends the session.

    Returns:
        The actions that it took: a sleep below 0 downloads, and the official runner does not judge it.

    Raises:
        ValueError: As of `run_solution`.
    """
    actions = [] if actions is None else actions
    reseed_one = algorithm.reseed if isinstance(algorithm, Entry) else reseed
    told: tuple[float, float, float, bool, int] = (0, 0, 0, False, 0)
    entered = standstill = 0
    with official_generators():
        algorithm.Initialize()
        while not session.done:
            for draw in session.draws(entered):
                reseed_one(*draw)
                entered += 1
            action = algorithm.run(*told, session.players(), not actions)
            try:
                taken = official_action(action, session, first=not actions)
                step = take(session, taken)
            except (AssertionError, OverflowError, TypeError, ValueError) as error:
                error.add_note(f"decision {len(actions)} of {type(algorithm).__name__} was {action!r}")
                raise
            actions.append(taken)
            told = official_told(step)
            standstill = 0 if step.delay_ms else standstill + 1
            if standstill == MAX_STANDSTILL:
                raise RuntimeError(
                    f"sleeps of less than 1 ms, {MAX_STANDSTILL} times in a row: the session stands still"
                )
    return actions


def official_told(step: MMGCStep) -> tuple[float, float, float, bool, int]:
    """What the official runner tells of a step, in its types: NumPy's only for a stall."""
    rebuffer_ms = np.float64(step.rebuffer_ms) if step.rebuffer_ms else 0
    size_bytes = float(step.chunk_bytes) if step.chunk_bytes else 0
    return step.delay_ms, rebuffer_ms, size_bytes, step.end_of_video, step.playing_video


def official_action(action: Any, session: MMGCSession, first: bool) -> Action:
    """An algorithm's action in plain numbers.

    Raises:
        AssertionError: A sleep that the official runner refuses.
        TypeError: Not three numbers.
        ValueError: Not three.
    """
    video, rung, sleep_ms = as_numbers(action)
    if not sleep_ms > 0:
        # Quirk: the runner judges a download only where the sleep is 0, and downloads where it is not above it.
        return video, rung, 0.0 if sleep_ms == 0 else -1.0  # type: ignore[return-value]  # others see
    last = session.playing_video + len(session.players()) - 1
    if not session.playing_video <= video <= last:
        raise AssertionError(
            f"a sleep for video {video!r}, which is outside the window: legal are {session.playing_video} to {last}"
        )
    if first and not 0 <= rung < RUNGS:
        raise AssertionError(f"a sleep with rung {rung!r} as the first action: legal are 0 to {RUNGS - 1}")
    return session.playing_video, 0, float(sleep_ms)


def take(session: MMGCSession, action: Sequence[Any]) -> MMGCStep:
    """Take an action as `official_action` returns it; raises as `MMGCSession.step`."""
    video, rung, sleep_ms = action
    return session.step(video, rung, max(sleep_ms, 0.0), judged=sleep_ms >= 0)
