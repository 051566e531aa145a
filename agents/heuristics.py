"""Policies by rule: random, on demand and NextOne.

They decide from the planning view, that is from public facts and what has happened, and fetch pixels only. A rule that
weighs pixels against prompts is `greedy.py`.
"""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.state import (
    BEGUN,
    CHUNK_S,
    F8,
    IN_FLIGHT,
    LOOKAHEAD,
    NO_ENTRY,
    SLOTS,
    UNIT_NAMES,
)
from ppgym.env import PromptPreamEnv
from ppgym.view import PlanningView

Mask = npt.NDArray[Any]

THROUGHPUTS = 5  # samples that an estimate rests on
FIRST_BPS = 1e6  # an estimate before the first transfer has ended; an assumption


def expected_bps(view: PlanningView) -> float:
    """Harmonic mean of the last throughputs.

    Args:
        view: The planning view.

    Returns:
        Bits per second of one transfer; `FIRST_BPS` before the first has ended.
    """
    seen = view.throughput_bps[-THROUGHPUTS:]
    return len(seen) / float((1.0 / seen).sum()) if len(seen) else FIRST_BPS


class Heuristic(ABC):
    """An agent that decides from the planning view and the mask alone."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int | None = None) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Seeds what the agent draws itself; most draw nothing.
        """
        self.env: PromptPreamEnv = env.unwrapped  # type: ignore[assignment]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Mask | None = None,
    ) -> tuple[int, Any]:
        """Decide; see `agents.Agent`. The observation is not read: the planning view says the same in full."""
        view = self.env.planning_view()
        return self.decide(view, view.action_mask if action_masks is None else action_masks), state

    @abstractmethod
    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose an action.

        Args:
            view: What a client may know.
            mask: [1 + S * L * O], true where an action is legal.

        Returns:
            A legal action.
        """


class RandomLegal(Heuristic):
    """Draws uniformly from the legal actions. Knows the mask alone."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int | None = None) -> None:
        """Make the agent; see `Heuristic`."""
        super().__init__(env, seed=seed)
        self._rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Mask | None = None,
    ) -> tuple[int, Any]:
        """Draw; see `agents.Agent`. It draws even if asked to be deterministic, for it has no better."""
        return self._draw(self.env.action_masks() if action_masks is None else action_masks), state

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Draw; see `Heuristic.decide`."""
        return self._draw(mask)

    def _draw(self, mask: Mask) -> int:
        legal = np.flatnonzero(mask)
        return int(legal[self._rng.integers(len(legal))])


class PixelHeuristic(Heuristic):
    """A rule over the rungs of the pixel ladder; a chunk goes to the unit that is expected to have it decoded first."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int | None = None) -> None:
        """Make the agent; see `Heuristic`.

        Raises:
            ValueError: The device decodes no pixels.
        """
        super().__init__(env, seed=seed)
        options = [(i, option) for i, option in enumerate(self.env.options) if option.codec != "prompt"]
        rungs = sorted({option.representation for _, option in options if option.usable})
        if not rungs:
            raise ValueError(f"{type(self).__name__}: expected a device that decodes pixels; this one has no such unit")
        # Of each rung, from the lowest: its representation and the options that the device has for it
        self._rungs = [(r, [i for i, o in options if o.representation == r and o.usable]) for r in rungs]
        self._unit = [UNIT_NAMES.index(option.unit) for option in self.env.options]

    @property
    def top_rung(self) -> int:
        """Index of the highest rung."""
        return len(self._rungs) - 1

    def rung_within(self, view: PlanningView, slot: int, bits: float) -> int:
        """The highest rung whose next chunk is no larger than so many bits, or the lowest.

        Args:
            view: The planning view.
            slot: Slot with a candidate.
            bits: The limit.
        """
        sizes = 8.0 * view.catalog.chunk_bytes[slot, view.candidates[slot, 0]]
        return max((rung for rung, (r, _) in enumerate(self._rungs) if sizes[r] <= bits), default=0)

    def request(self, view: PlanningView, mask: Mask, slot: int, rung: int) -> int:
        """The action that fetches the slot's next chunk.

        Args:
            view: The planning view.
            mask: The legality mask.
            slot: Visible slot.
            rung: Index of a rung.

        Returns:
            Action; `WAIT` where the slot has no candidate or memory has no room for it.
        """
        first = 1 + slot * LOOKAHEAD * len(self._unit)
        legal = [option for option in self._rungs[rung][1] if mask[first + option]]
        if not legal:
            return WAIT
        backlog_s = backlogs_s(view)
        return first + min(legal, key=lambda o: backlog_s[self._unit[o]] + view.params.option_decode_s[o])


def backlogs_s(view: PlanningView) -> F8:
    """Expected seconds until each unit has finished its job and its queue.

    Args:
        view: The planning view.

    Returns:
        [U] seconds.
    """
    state = view.state
    running_s = np.maximum(state.job_expected_s - (state.time_s - state.job_start_s), 0.0)
    busy: F8 = np.where(state.job_video != NO_ENTRY, running_s, 0.0) + state.queued_s
    return busy


def buffered_s(view: PlanningView, slot: int) -> float:
    """Content seconds of a slot that are requested and have not played.

    Args:
        view: The planning view.
        slot: Visible slot.

    Returns:
        Seconds, the rest of the chunk that plays included.
    """
    state = view.state
    status = state.chunk_status[(state.video + slot) % SLOTS]
    chunks = np.count_nonzero((status >= IN_FLIGHT) & (status < BEGUN))
    playing_s = CHUNK_S - (state.time_s - state.playback_since_s) if slot == 0 and state.playing else 0.0
    return chunks * CHUNK_S + float(playing_s)


class OnDemand(PixelHeuristic):
    """Plays on demand, as a player without preloading does: only the current video, on to its end.

    Rung by throughput and buffer: the chunk shall arrive in the time that is buffered, one second at least. Knows the
    manifest of the current video and the past throughputs.
    """

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        if view.candidates[0, 0] == NO_ENTRY:
            return WAIT
        time_s = max(buffered_s(view, 0), CHUNK_S)
        return self.request(view, mask, 0, self.rung_within(view, 0, time_s * expected_bps(view)))


class NextOne(PixelHeuristic):
    """NextOne: the current video first, then only the next one, always at the top rate.

    Knows nothing but the manifests. A baseline of Dashlet (NSDI'23, arXiv 2204.12954).
    """

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        return self.request(view, mask, 0, self.top_rung) or self.request(view, mask, 1, self.top_rung)
