"""Preloading by fixed rules: on demand, NextOne, Douyin's SDK, S-i-j, Fixed-Preload and No-Save.

A rule names the video to request from; a bitrate rule (`bitrate.py`) names the representation. Rules that are tuned
have a variant that may request prompts as well.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np

from agents.base import Mask
from agents.rules.bitrate import choose_by_mpc, choose_by_quality, choose_by_throughput, ladder_quality, robust_bps
from agents.rules.forecast import Forecast, Situation, make_forecast, observe
from agents.rules.parameters import Between, OneOf, Space
from agents.rules.rule import Rule
from ppgym.client import Client
from ppgym.core.actions import WAIT
from ppgym.core.content import survival
from ppgym.core.state import LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.files import suggest
from ppgym.planning_view import PlanningView

BITRATE_RULES = ("top", "buffer", "throughput", "mpc")

LEVELS_ABOVE_S = (1.0, 2.0)  # buffered seconds above which the middle and the top bitrate come; as in Fixed-Preload
MPC_STALL_WEIGHT = 4.3  # per second, of RobustMPC; as in No-Save


class PreloadParameters(NamedTuple):
    """Of `OnDemand`."""

    bitrate: str = "throughput"  # one of `BITRATE_RULES`
    stall_weight: float = MPC_STALL_WEIGHT  # of RobustMPC, per second


class Preload(Rule):
    """A rule that names the video to request from; a bitrate rule chooses the representation of its next chunk.

    Each bitrate rule considers all legal representations, decoded by the unit that would be done first:

    * "top": the top quality.
    * "buffer": the lowest quality; the middle one if more than 1 s of the video are buffered, the top one above 2 s.
    * "throughput": the best quality that is decoded before the buffered seconds have played, or within those of a
      chunk.
    * "mpc": RobustMPC over the next 5 chunks.

    Where several representations have that quality or a better one, the rule takes the smallest that is decoded in
    time. So a prompt replaces pixels where it is no worse and not too late.
    """

    parameters: Any = PreloadParameters()

    def __init__(self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, **params: Any) -> None:
        """Make the agent; see `Rule`.

        Raises:
            ValueError: An unknown bitrate rule.
        """
        super().__init__(client, seed=seed, **params)
        bitrate = self.parameters.bitrate
        if bitrate not in BITRATE_RULES:
            raise ValueError(f"bitrate: unknown rule {bitrate!r}; {suggest(bitrate, BITRATE_RULES)}")

    @abstractmethod
    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """The video to request from.

        Args:
            view: What a client may know.
            forecast: What is expected.

        Returns:
            Slot with a next chunk; None to wait.
        """

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        situation = observe(view, mask, self.representations)
        forecast = make_forecast(*situation[:4], situation.bps)
        slot = self.target(view, forecast)
        if slot is None or not situation.legal[slot].any():
            return WAIT
        return 1 + slot * LOOKAHEAD * len(view.options) + self._option(view, situation, forecast, slot)

    def _option(self, view: PlanningView, situation: Situation, forecast: Forecast, slot: int) -> int:
        bitrate = self.parameters.bitrate
        if bitrate == "mpc":
            situation = situation._replace(bps=robust_bps(view.throughput_bps, situation.bps))
            stall_weight = getattr(self.parameters, "stall_weight", MPC_STALL_WEIGHT)
            return choose_by_mpc(situation, forecast, slot, stall_weight)
        if bitrate == "throughput":
            return choose_by_throughput(situation, forecast, slot)
        level = 1.0
        if bitrate == "buffer":
            level = float(np.mean(forecast.buffered_s[slot] > np.array(LEVELS_ABOVE_S)))
        quality = ladder_quality(situation, slot, int(forecast.next_chunk[slot]), level)
        return choose_by_quality(situation, forecast, slot, quality)


def preloaded_bytes(view: PlanningView, slot: int, chunk: int) -> float:
    """Bytes requested so far of a later video.

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
    """Requests only the current video, to its end, as a player without preloading does.

    It knows the manifest of the current video and the past throughputs.
    """

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        return 0 if forecast.next_chunk[0] != NO_ENTRY else None


class NextOneParameters(NamedTuple):
    """Of `NextOne`."""

    bitrate: str = "top"  # one of `BITRATE_RULES`


class NextOne(Preload):
    """NextOne: the current video first, then only the next one, always at the top bitrate.

    It knows the manifests alone. A baseline of Dashlet (NSDI'23, arXiv 2204.12954).
    """

    parameters = NextOneParameters()

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        return next((slot for slot in (0, 1) if forecast.next_chunk[slot] != NO_ENTRY), None)


class DouyinParameters(NamedTuple):
    """Of `Douyin`."""

    ahead_s: float = 20.0  # of the current video, before others are preloaded
    videos: int = 3  # how many are preloaded
    preload_bytes: float = 800e3  # of each
    bitrate: str = "throughput"  # one of `BITRATE_RULES`


class Douyin(Preload):
    """Douyin's SDK: once the current video is complete or 20 s ahead, 800 kB of each of the next 3 videos.

    After these it continues with the current video. The SDK cancels its preloads on a swipe; here the scenario's
    `cancel_on_swipe` decides. Source: volcengine.com/docs/4/65780, which does not state bitrates. It knows the
    manifests and the past throughputs.
    """

    parameters = DouyinParameters()
    SEARCH_SPACE: ClassVar[Space] = {
        "ahead_s": Between(1.0, 20.0, by_ratio=True),
        "videos": OneOf((1, 2, 3, 4)),
        "preload_bytes": Between(5e4, 8e5, by_ratio=True),
        "bitrate": OneOf(BITRATE_RULES),
    }

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        current_is_done = forecast.next_chunk[0] == NO_ENTRY
        if not current_is_done and forecast.buffered_s[0] <= self.parameters.ahead_s:
            return 0
        for slot in range(1, min(self.parameters.videos + 1, SLOTS)):
            chunk = int(forecast.next_chunk[slot])
            if chunk != NO_ENTRY and preloaded_bytes(view, slot, chunk) < self.parameters.preload_bytes:
                return slot
        return None if current_is_done else 0


class StaticParameters(NamedTuple):
    """Of `Static`."""

    current: int = 5  # i, chunks of the current video that are requested and have not begun
    each: int = 2  # j, chunks of each later video
    bitrate: str = "throughput"  # one of `BITRATE_RULES`


class Static(Preload):
    """S-i-j: keeps i chunks of the current video ahead, then j chunks of each visible video after it.

    It is the simplest rule with both limits. That i is for the current video and j for later ones is our reading of
    its name. It knows the manifests and the past throughputs.
    """

    parameters = StaticParameters()
    SEARCH_SPACE: ClassVar[Space] = {
        "current": OneOf((1, 2, 3, 4, 5, 6, 8)),
        "each": OneOf((0, 1, 2, 3, 4, 5)),
        "bitrate": OneOf(BITRATE_RULES),
    }

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        for slot in range(SLOTS):
            limit_s = (self.parameters.current if slot == 0 else self.parameters.each) * view.params.chunk_s
            if forecast.next_chunk[slot] != NO_ENTRY and forecast.buffered_s[slot] < limit_s:
                return slot
        return None


class FixedPreloadParameters(NamedTuple):
    """Of `FixedPreload`."""

    chunks: int = 4  # of each later video, at most
    least_survival: float = 0.65  # P(a chunk is played, given that its video is) above which the chunk is likely
    bitrate: str = "buffer"  # one of `BITRATE_RULES`


class FixedPreload(Preload):
    """Fixed-Preload: the current video first, then up to four likely chunks of each video after it.

    A chunk is likely where S(chunk) / S(position) > 0.65. The bitrate is the lowest up to 1 s of buffer, the middle one
    up to 2 s, else the top one. A baseline of the ACM MM 2022 Grand Challenge
    (github.com/AItransCompetition/Short-Video-Streaming-Challenge). It knows the manifests and the retention curves.
    """

    parameters = FixedPreloadParameters()
    SEARCH_SPACE: ClassVar[Space] = {
        "chunks": OneOf((1, 2, 3, 4, 5)),
        "least_survival": Between(0.3, 0.95),
        "bitrate": OneOf(BITRATE_RULES),
    }

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        for slot in range(SLOTS):
            chunk = int(forecast.next_chunk[slot])
            begin_s, catalog = chunk * view.params.chunk_s, view.catalog
            reached = survival(catalog.retention[slot], catalog.duration_s[slot], begin_s) if chunk > 0 else 1.0
            likely = chunk < self.parameters.chunks and reached > self.parameters.least_survival
            if chunk != NO_ENTRY and (slot == 0 or likely):
                return slot
        return None


class NoSaveParameters(NamedTuple):
    """Of `NoSave`."""

    preload_bytes: float = 800e3  # of each video in a round
    bitrate: str = "mpc"  # one of `BITRATE_RULES`
    stall_weight: float = MPC_STALL_WEIGHT  # of RobustMPC, per second


class NoSave(Preload):
    """No-Save: the current video first, then 800 kB more of each later video in turn, at RobustMPC's bitrate.

    A baseline of the ACM MM 2022 Grand Challenge (github.com/AItransCompetition/Short-Video-Streaming-Challenge). The
    official code has two faults: it runs its estimator twice a decision, and its search carries bitrates over from one
    sequence to the next. `ppgym.mmgc.policies.NoSave` reproduces them; this class is the rule without them. It knows
    the manifests and the past throughputs.
    """

    parameters = NoSaveParameters()
    SEARCH_SPACE: ClassVar[Space] = {
        "preload_bytes": Between(5e4, 1.6e6, by_ratio=True),
        "stall_weight": Between(1.0, 20.0, by_ratio=True),
        "bitrate": OneOf(BITRATE_RULES),
    }

    def target(self, view: PlanningView, forecast: Forecast) -> int | None:
        """Choose; see `Preload.target`."""
        if forecast.next_chunk[0] != NO_ENTRY:
            return 0
        unfinished = [slot for slot in range(1, SLOTS) if forecast.next_chunk[slot] != NO_ENTRY]

        def rounds(slot: int) -> float:
            return preloaded_bytes(view, slot, int(forecast.next_chunk[slot])) // self.parameters.preload_bytes

        return min(unfinished, key=rounds, default=None)


class PromptDouyin(Douyin):
    """Douyin's rule with prompts."""

    PROMPTS = True


class PromptStatic(Static):
    """S-i-j with prompts."""

    PROMPTS = True


class PromptFixedPreload(FixedPreload):
    """Fixed-Preload with prompts."""

    PROMPTS = True


class PromptNoSave(NoSave):
    """No-Save with prompts."""

    PROMPTS = True
