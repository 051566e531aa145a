"""The official simulator as a Gymnasium environment with the spaces of ppgym's own.

No physics is here (`kernel`), and nothing of what an agent sees is made here (`follower`).
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ppgym.action_index import as_index
from ppgym.client import Client
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS
from ppgym.files import suggest
from ppgym.mmgc.dataset import MMGCDataset, Seeds, viewer_seeds
from ppgym.mmgc.follower import OPTIONS, Follower
from ppgym.mmgc.kernel import BANDWIDTH_WEIGHT, REBUFFER_WEIGHT, VIDEOS
from ppgym.mmgc.session import ABORT_SCORE, MMGCResult, MMGCSession, MMGCStep
from ppgym.planning_view import PlanningView
from ppgym.world.options import Option

Observation = npt.NDArray[np.float32]

RESET_OPTIONS = ("trace_class", "trace_index", "seeds")

load_dataset = functools.lru_cache(maxsize=8)(MMGCDataset.load)


@dataclass(frozen=True)
class MMGCSnapshot:
    """The exact situation of an environment, as the recipe that leads there.

    Attributes:
        trace_class: Class of the trace.
        trace_index: Place in the class.
        seeds: Seven pairs, the viewer draw.
        actions: Actions taken.
        rng: State of the environment's source of randomness.
    """

    trace_class: str
    trace_index: int
    seeds: tuple[tuple[int, int], ...]
    actions: tuple[int, ...]
    rng: dict[str, Any]


class MMGCEnv(gymnasium.Env[Observation, np.int64]):
    """One viewer, one trace and seven videos of the ACM MM 2022 Grand Challenge, with the spaces of PromptPream-v0.

    ## Description

    The official simulator, bit for bit (`ppgym.mmgc`): chunks of a video are downloaded in order, at 750, 1200 or 1850
    kbit/s, from the playing video or one of the four after it; a chunk can play as soon as it has arrived. Agents made
    for PromptPream-v0 play here unchanged.

    ## Action Space

    That of PromptPream-v0, `Discrete(301)`: 0 sleeps 500 ms, and 1 + (slot * 4 + lookahead) * 15 + option downloads.
    Legal are look-ahead 0 and the options "h264-750k@vdec", "h264-1200k@vdec" and "h264-1850k@vdec". An illegal
    action, or an index outside the space, sleeps and sets `info["invalid_action"]`.

    ## Observation Space

    That of PromptPream-v0. It is made from what the official runner tells a solution, so that `as_solution` shows an
    agent the same.

    ## Starting State

    Nothing is downloaded. The trace (of one class) and the viewer are drawn at reset.

    ## Rewards

    They sum to the official score: quality, minus 1.85 per second of rebuffering, minus switches, minus 0.5 per megabit
    downloaded (`reward_waste`). The official runner judges a download's quality and switch at once, from how long the
    viewer is *going* to watch. Here both are paid when they have become public: once the viewer has watched the chunk
    to its end or has left the video. So no reward and no info gives the future away.

    ## Episode End

    Terminated when the viewer leaves the last video, or where the QoE falls below -1e4; the runner's score of -1e9 is
    then part of `reward_rebuffer`. Never truncated.

    ## Information

    The keys of PromptPream-v0. `quality` and `switch` (Mbit/s, over downloaded chunks) are those paid so far, and
    `wasted_bytes` counts as the official simulator does.

    ## Arguments

    ```python
    gymnasium.make("PromptPreamMMGC-v0", data="Short-Video-Streaming-Challenge/data", trace_class="low")
    env.reset(options={"trace_index": 3, "seeds": viewer_seeds(0)})
    ```

    ## Version History

    - v0: first release.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self, data: str | os.PathLike[str] | MMGCDataset, trace_class: str = "high", trace_index: int | None = None
    ) -> None:
        """Make an environment.

        Args:
            data: Folder in the official layout, or a dataset.
            trace_class: Class of the traces.
            trace_index: Place in the class; drawn at every reset where None.

        Raises:
            FileNotFoundError: A folder or file is missing.
            ValueError: A bad file, or no such class or trace.
        """
        self._follower = Follower()
        self.action_space: spaces.Discrete = spaces.Discrete(len(self._follower.mask))
        self.observation_space = spaces.Box(-1.0, 1.0, self._follower.observation.shape, np.float32)
        self._arguments = (data, trace_class, trace_index)
        self._dataset = data if isinstance(data, MMGCDataset) else load_dataset(os.fspath(data))
        self._dataset.trace(trace_class, trace_index or 0)
        self._session: MMGCSession | None = None

    @property
    def options(self) -> tuple[Option, ...]:
        """The option table: [O] pairs of representation and compute unit, in the order of the action index."""
        return OPTIONS

    @property
    def client(self) -> Client:
        """What an agent is handed: a new one at every access, so that agents share nothing."""
        return self._follower.client

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What is legal now, bool [1 + S * L * O]."""
        return self._follower.action_masks()

    def planning_view(self) -> PlanningView:
        """A read-only copy of what a client may know now."""
        return self._follower.planning_view()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a session and start it.

        Args:
            seed: Seeds the source of randomness; None goes on with it.
            options: `trace_class`, `trace_index` and `seeds` (seven pairs) in place of this environment's and of
                what is drawn.

        Returns:
            Observation and info.

        Raises:
            ValueError: An unknown option, no such class or trace, or bad seeds.
        """
        super().reset(seed=seed)
        options = options or {}
        for name in options:
            if name not in RESET_OPTIONS:
                raise ValueError(f"unknown reset option {name!r}; {suggest(name, RESET_OPTIONS)}")
        _, trace_class, trace_index = self._arguments
        trace_class = options.get("trace_class", trace_class)
        trace_index = options.get("trace_index", trace_index)
        # Both are drawn, whatever is given, so that the viewers of a seed do not depend on it.
        self._dataset.trace(trace_class, 0)
        drawn_index = int(self.np_random.integers(len(self._dataset.traces[trace_class])))
        drawn_seeds = viewer_seeds(self.np_random)
        self._begin(trace_class, drawn_index if trace_index is None else trace_index, options.get("seeds", drawn_seeds))
        return self._follower.observation.copy(), self._info(dict.fromkeys(REWARD_TERMS, 0.0), 0.0)

    def step(self, action: int | np.integer[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Download the next chunk of a video, or sleep.

        Args:
            action: Index of an action.

        Returns:
            Observation, reward, terminated, truncated (never), info.

        Raises:
            gymnasium.error.ResetNeeded: The episode has not begun, or has ended.
            TypeError: The action is no integer.
        """
        index, session = as_index(action), self._session
        if session is None or session.done:
            raise gymnasium.error.ResetNeeded("the episode has not begun or has ended: call reset() before step()")
        terms, elapsed_s = self._advance(session, index)
        info = self._info(terms, elapsed_s)
        return self._follower.observation.copy(), sum(terms.values()), session.done, False, info

    def result(self) -> MMGCResult:
        """The official five figures, of the session so far where it is not over. Not for agents.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self._session is None:
            raise gymnasium.error.ResetNeeded("call reset() before result()")
        return self._session.result()

    def get_state(self) -> MMGCSnapshot:
        """The exact situation, source of randomness included.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self._session is None:
            raise gymnasium.error.ResetNeeded("call reset() before get_state()")
        return MMGCSnapshot(*self._draw, tuple(self._actions), dict(self.np_random.bit_generator.state))

    def set_state(self, snapshot: MMGCSnapshot) -> None:
        """Go back, or over, to a situation, by taking its actions again: the cost grows with their number.

        Args:
            snapshot: From `get_state`, of this environment or another on the same data.

        Where it is refused, nothing changes.

        Raises:
            TypeError: No snapshot.
            ValueError: No such class, trace or viewers in this environment's data, or actions past the end.
        """
        if not isinstance(snapshot, MMGCSnapshot):
            raise TypeError(f"set_state: expected an MMGCSnapshot, got {type(snapshot).__name__}")
        for env in (MMGCEnv(*self._arguments), self):  # on a twin first: what is refused changes nothing here
            env._follow(snapshot)

    def _follow(self, snapshot: MMGCSnapshot) -> None:
        self.np_random.bit_generator.state = snapshot.rng
        self._begin(snapshot.trace_class, snapshot.trace_index, snapshot.seeds)
        assert self._session is not None, "just begun"
        for action in snapshot.actions:
            if self._session.done:
                raise ValueError(f"snapshot: its session ends before its {len(snapshot.actions)} actions do")
            self._advance(self._session, as_index(action))

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: the arguments, and the recipe of the situation."""
        kept = {name: getattr(self, name) for name in ("spec", "_np_random", "_np_random_seed")}
        snapshot = None if self._session is None else self.get_state()
        return {"arguments": self._arguments, "kept": kept, "snapshot": snapshot}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the environment anew and bring it to where it was."""
        MMGCEnv.__init__(self, *state["arguments"])
        vars(self).update(state["kept"])
        if state["snapshot"] is not None:
            self.set_state(state["snapshot"])

    def _begin(self, trace_class: str, trace_index: int, seeds: Seeds) -> None:
        self._session = MMGCSession(self._dataset, trace_class, trace_index, seeds)
        self._draw = (trace_class, int(trace_index), tuple((int(a), int(b)) for a, b in seeds))
        self._actions: list[int] = []
        # Per video, quality and switch of its downloads in order, and how many of them are paid. In whole kbit/s: in
        # floats, rounding would tell of sums that are still hidden.
        self._judged: list[list[tuple[int, int]]] = [[] for _ in range(VIDEOS)]
        self._paid_downloads = [0] * VIDEOS
        self._quality_kbps = 0  # paid since reset
        self._switch_kbps = 0
        self._follower.start(self._session.players())

    def _advance(self, session: MMGCSession, action: int) -> tuple[dict[str, float], float]:
        """Take an action; returns the terms of its reward and its seconds."""
        video, rung, sleep_ms = self._follower.resolve(action)
        before = session.judged_kbps()
        step = session.step(video, rung, sleep_ms)
        if not sleep_ms:
            after = session.judged_kbps()
            self._judged[video].append((after[0] - before[0], after[1] - before[1]))
        self._actions.append(action)
        terms = self._pay(session, step)
        self._follower.update(
            step.delay_ms, step.rebuffer_ms, step.chunk_bytes, step.playing_video, session.players(), session.done
        )
        return terms, step.delay_ms / 1000

    def _pay(self, session: MMGCSession, step: MMGCStep) -> dict[str, float]:
        """The terms of a step's reward."""
        quality_before_kbps, switch_before_kbps = self._quality_kbps, self._switch_kbps
        for video in range(VIDEOS if session.done else session.playing_video + 1):
            public = len(self._judged[video])
            if video == session.playing_video and not session.done:
                public = min(public, int(session.players()[0].get_play_chunk()))
            for quality, switch in self._judged[video][self._paid_downloads[video] : public]:
                self._quality_kbps += quality
                self._switch_kbps += switch
            self._paid_downloads[video] = public
        terms = {
            "quality": (self._quality_kbps - quality_before_kbps) / 1000,
            "rebuffer": -REBUFFER_WEIGHT * step.rebuffer_ms / 1000,
            "switch": -(self._switch_kbps - switch_before_kbps) / 1000,
            "waste": -BANDWIDTH_WEIGHT * step.chunk_bytes * MBIT_PER_BYTE,
            "energy": 0.0,
        }
        if session.done:
            result = session.result()
            if result.score == ABORT_SCORE:
                # With all paid, the rewards so far sum to this.
                earned = result.qoe - BANDWIDTH_WEIGHT * result.bandwidth_bytes * MBIT_PER_BYTE
                terms["rebuffer"] += ABORT_SCORE - earned
        return terms

    def _info(self, terms: Mapping[str, float], elapsed_s: float) -> dict[str, Any]:
        assert self._session is not None, "the episode has begun"
        totals = self._session.totals()
        return {
            **totals,
            "quality": self._quality_kbps / 1000,
            "switch": self._switch_kbps / 1000,
            "videos_watched": int(totals["videos_watched"]),
            "videos_abandoned": int(totals["videos_abandoned"]),
            "elapsed_s": elapsed_s,
            **{f"reward_{name}": term for name, term in terms.items()},
            "invalid_action": bool(self._follower.states["invalid_action"].item()),
            "action_mask": self._follower.mask.copy(),
        }
