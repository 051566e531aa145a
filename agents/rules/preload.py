"""Preloading by fixed rules: on demand, NextOne, Douyin's SDK, S-i-j, Fixed-Preload and No-Save.

A rule names the video to request from; a rung rule (`rungs.py`) names the rung. Those that are tuned are here twice,
over pixels alone and with prompts among the rungs.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium
import numpy as np

from agents.base import Heuristic, Mask, expected_bps
from agents.rules.bitrate import choose_by_mpc, choose_by_quality, choose_by_throughput, ladder_quality, robust_bps
from agents.rules.forecast import Legal, Outlook, foresee, legal_options, usable_representations
from agents.rules.parameters import Between, OneOf, Space
from ppgym.core.actions import WAIT
from ppgym.core.state import CHUNK_S, LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.files import suggest
from ppgym.planning_view import PlanningView

RUNG_RULES = ("top", "buffer", "throughput", "mpc")

LEVELS_ABOVE_S = (1.0, 2.0)  # seconds buffered above which the middle and the top rung are due (Fixed-Preload)


class Preload(Heuristic):
    """A rule that names the video to request from; its next chunk comes at the rung of a rung rule.

    Rung rules, each over all representations at hand, with the time that the earliest unit would be done with decoding:

    * "top": the top quality.
    * "buffer": the lowest, the middle or the top quality, by whether more than 1 s and more than 2 s of the video are
      buffered.
    * "throughput": the best quality that is decoded in the time that is buffered, one second at least.
    * "mpc": RobustMPC over the next 5 chunks, with a weight of 4.3 on stalls as in No-Save.

    Where several representations have the quality, the smallest that is decoded in time comes; so a prompt takes the
    place of pixels where it is no worse and not too late.
    """

    PROMPTS = False

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        rungs: str = "throughput",
        stall_weight: float = 4.3,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            rungs: One of `RUNG_RULES`.
            stall_weight: Of RobustMPC, per second.

        Raises:
            ValueError: An unknown rung rule, or a device that decodes none of the rungs.
        """
        super().__init__(env, seed=seed)
        if rungs not in RUNG_RULES:
            raise ValueError(f"unknown rung rule {rungs!r}; {suggest(rungs, RUNG_RULES)}")
        self.rungs, self.stall_weight = rungs, float(stall_weight)
        self.representations = usable_representations(self.env.options, self.PROMPTS)

    @abstractmethod
    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """The video to request from.

        Args:
            view: What a client may know.
            outlook: What is foreseen from it.

        Returns:
            Slot with a next chunk; None to wait.
        """

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        bps = expected_bps(view)
        outlook = foresee(view.params, view.catalog, view.state, view.candidates, bps)
        slot = self.target(view, outlook)
        if slot is None:
            return WAIT
        legal = legal_options(view, mask, self.representations)[slot]
        if not legal.any():
            return WAIT
        return 1 + slot * LOOKAHEAD * len(legal) + self._option(view, outlook, legal, slot, bps)

    def _option(self, view: PlanningView, outlook: Outlook, legal: Legal, slot: int, bps: float) -> int:
        world = view.params, view.catalog, outlook, legal, slot
        if self.rungs == "mpc":
            return choose_by_mpc(*world, robust_bps(view.throughput_bps, bps), self.stall_weight)
        if self.rungs == "throughput":
            return choose_by_throughput(*world, bps)
        level = 1.0
        if self.rungs == "buffer":
            level = float(np.mean(outlook.buffered_s[slot] > np.array(LEVELS_ABOVE_S)))
        chunk = int(outlook.next_chunk[slot])
        return choose_by_quality(*world, bps, ladder_quality(view, slot, chunk, legal, level))


def preloaded_bytes(view: PlanningView, slot: int, chunk: int) -> float:
    """Bytes requested of a video to come.

    Args:
        view: The planning view.
        slot: Visible slot, not 0.
        chunk: Its next chunk.

    Returns:
        Size of the chunks before it.
    """
    options = view.state.chunk_option[(view.state.video + slot) % SLOTS, :chunk]
    chunks = np.arange(chunk)
    return float(view.catalog.chunk_bytes[slot, chunks, view.params.option_representation[options]].sum())


class OnDemand(Preload):
    """Plays on demand, as a player without preloading does: only the current video, on to its end.

    Knows the manifest of the current video and the past throughputs.
    """

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        return 0 if outlook.next_chunk[0] != NO_ENTRY else None


class NextOne(Preload):
    """NextOne: the current video first, then only the next one, always at the top rate.

    Knows nothing but the manifests. A baseline of Dashlet (NSDI'23, arXiv 2204.12954).
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int | None = None, rungs: str = "top") -> None:
        """Make the agent; see `Preload`.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            rungs: One of `RUNG_RULES`.
        """
        super().__init__(env, seed=seed, rungs=rungs)

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        return next((slot for slot in (0, 1) if outlook.next_chunk[slot] != NO_ENTRY), None)


class Douyin(Preload):
    """Douyin's SDK: once the current video is complete or 20 s ahead, 800 kB of each of the next 3 videos.

    After these it goes on with the current video. The SDK cancels its preloads on a swipe; here `cancel_on_swipe` is
    the world's. Source: volcengine.com/docs/4/65780. Rungs are not stated there. Knows the manifests and the past
    throughputs.
    """

    SEARCH_SPACE: ClassVar[Space] = {
        "ahead_s": Between(1.0, 20.0, by_ratio=True),
        "videos": OneOf((1, 2, 3, 4)),
        "preload_bytes": Between(5e4, 8e5, by_ratio=True),
        "rungs": OneOf(RUNG_RULES),
    }

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        ahead_s: float = 20.0,
        videos: int = 3,
        preload_bytes: float = 800e3,
        rungs: str = "throughput",
    ) -> None:
        """Make the agent; see `Preload`.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            ahead_s: Of the current video, before others are preloaded.
            videos: How many are preloaded.
            preload_bytes: Of each.
            rungs: One of `RUNG_RULES`.
        """
        super().__init__(env, seed=seed, rungs=rungs)
        self.ahead_s, self.videos, self.preload_bytes = ahead_s, videos, preload_bytes

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        current_is_done = outlook.next_chunk[0] == NO_ENTRY
        if not current_is_done and outlook.buffered_s[0] <= self.ahead_s:
            return 0
        for slot in range(1, min(self.videos + 1, SLOTS)):
            chunk = int(outlook.next_chunk[slot])
            if chunk != NO_ENTRY and preloaded_bytes(view, slot, chunk) < self.preload_bytes:
                return slot
        return None if current_is_done else 0


class Static(Preload):
    """S-i-j: keeps i chunks of the current video ahead, then j chunks of each visible video after it.

    The plainest rule with a limit on both. That i counts the current video and j those to come is our reading of its
    name. Knows the manifests and the past throughputs.
    """

    SEARCH_SPACE: ClassVar[Space] = {
        "current": OneOf((1, 2, 3, 4, 5, 6, 8)),
        "each": OneOf((0, 1, 2, 3, 4, 5)),
        "rungs": OneOf(RUNG_RULES),
    }

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        current: int = 5,
        each: int = 2,
        rungs: str = "throughput",
    ) -> None:
        """Make the agent; see `Preload`.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            current: i, chunks of the current video that are requested and have not begun.
            each: j, chunks of each video to come.
            rungs: One of `RUNG_RULES`.
        """
        super().__init__(env, seed=seed, rungs=rungs)
        self.current, self.each = current, each

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        for slot in range(SLOTS):
            limit_s = (self.current if slot == 0 else self.each) * CHUNK_S
            if outlook.next_chunk[slot] != NO_ENTRY and outlook.buffered_s[slot] < limit_s:
                return slot
        return None


class FixedPreload(Preload):
    """Fixed-Preload: the current video first, then up to four likely chunks of each video after it.

    A chunk is likely where S(chunk) / S(position) > 0.65. The rung follows from what is buffered of the video: the
    lowest up to 1 s, the middle one up to 2 s, else the top. Baseline of the ACM MM 2022 Grand Challenge
    (github.com/AItransCompetition/Short-Video-Streaming-Challenge). Knows the manifests and the retention curves.
    """

    SEARCH_SPACE: ClassVar[Space] = {
        "chunks": OneOf((1, 2, 3, 4, 5)),
        "least_survival": Between(0.3, 0.95),
        "rungs": OneOf(RUNG_RULES),
    }

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        chunks: int = 4,
        least_survival: float = 0.65,
        rungs: str = "buffer",
    ) -> None:
        """Make the agent; see `Preload`.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            chunks: Of each video to come, at most.
            least_survival: P(a chunk is played), given that its video is, above which it is likely.
            rungs: One of `RUNG_RULES`.
        """
        super().__init__(env, seed=seed, rungs=rungs)
        self.chunks, self.least_survival = chunks, least_survival

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        for slot in range(SLOTS):
            chunk, survival = outlook.next_chunk[slot], view.catalog.retention[slot]
            likely = chunk < self.chunks and survival[chunk] > self.least_survival * survival[0]
            if chunk != NO_ENTRY and (slot == 0 or likely):
                return slot
        return None


class NoSave(Preload):
    """No-Save: the current video first, then 800 kB more of each video after it in turn, rungs by RobustMPC.

    Baseline of the ACM MM 2022 Grand Challenge (github.com/AItransCompetition/Short-Video-Streaming-Challenge). The
    official one runs its estimator twice a decision and carries rungs over from sequence to sequence of its search
    (`ppgym.mmgc.policies.NoSave` does); this one is the rule that it means. Knows the manifests and the past
    throughputs.
    """

    SEARCH_SPACE: ClassVar[Space] = {
        "preload_bytes": Between(5e4, 1.6e6, by_ratio=True),
        "stall_weight": Between(1.0, 20.0, by_ratio=True),
        "rungs": OneOf(RUNG_RULES),
    }

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        preload_bytes: float = 800e3,
        rungs: str = "mpc",
        stall_weight: float = 4.3,
    ) -> None:
        """Make the agent; see `Preload`.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            preload_bytes: Of each video in a round.
            rungs: One of `RUNG_RULES`.
            stall_weight: Of RobustMPC, per second.
        """
        super().__init__(env, seed=seed, rungs=rungs, stall_weight=stall_weight)
        self.preload_bytes = preload_bytes

    def target(self, view: PlanningView, outlook: Outlook) -> int | None:
        """Choose; see `Preload.target`."""
        if outlook.next_chunk[0] != NO_ENTRY:
            return 0
        unfinished = [slot for slot in range(1, SLOTS) if outlook.next_chunk[slot] != NO_ENTRY]

        def rounds(slot: int) -> float:
            return preloaded_bytes(view, slot, int(outlook.next_chunk[slot])) // self.preload_bytes

        return min(unfinished, key=rounds, default=None)


class PromptDouyin(Douyin):
    """Douyin's rule with prompts among the rungs."""

    PROMPTS = True


class PromptStatic(Static):
    """S-i-j with prompts among the rungs."""

    PROMPTS = True


class PromptFixedPreload(FixedPreload):
    """Fixed-Preload with prompts among the rungs."""

    PROMPTS = True


class PromptNoSave(NoSave):
    """No-Save with prompts among the rungs."""

    PROMPTS = True
