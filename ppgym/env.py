"""The Gymnasium shell around the kernel, and the reference documentation of the decision process.

No physics is here: the kernel moves the state (`ppgym.core`), the scenario says what the world is
(`ppgym.world.scenario`). The class's docstring is the specification that users read.
"""

import hashlib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ppgym.action_index import as_index
from ppgym.client import Client, make_client
from ppgym.core.actions import action_count
from ppgym.core.bound import Bound
from ppgym.core.episodes import Episodes, Sims, drawn_watch_s
from ppgym.core.events import EventLog, new_log
from ppgym.core.observation import describe_observation, observation_fields
from ppgym.core.state import UNIT_NAMES, new_states
from ppgym.core.step import BLANK, RESTART, STEP, new_results, step_many
from ppgym.files import suggest
from ppgym.planning_view import PlanningView, ViewMaker, frozen
from ppgym.rendering import Timeline, render_ansi, render_rgb
from ppgym.world.networks import SPLITS
from ppgym.world.options import Option
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario, World, make_rng, make_world

Observation = npt.NDArray[np.float32]

EVENTS_A_STEP = 4096  # more than one step can bring forth


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The exact situation of an environment: what has happened, what is hidden, and the source of randomness.

    `PromptPreamEnv.get_state` makes one and `set_state` takes it; it can be pickled, and shares no memory. What it
    holds is for the kernel, which trusts it: one that somebody has changed is refused.
    """

    world: str  # `World.digest`
    checksum: str  # of all the rest
    state: bytes
    episode: Episodes
    observation: Observation
    mask: npt.NDArray[np.int8]
    info: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int32]
    rng: dict[str, Any]
    running: bool
    earned: float  # rewards since reset

    def computed_checksum(self) -> str:
        """SHA-256 of every field but `checksum` itself, types, shapes and bytes of arrays included."""
        parts = [getattr(self, name) for name in self.__dataclass_fields__ if name not in ("checksum", "episode")]
        shown = [
            (part.dtype.str, part.shape, part.tobytes()) if isinstance(part, np.ndarray) else part
            for part in (*parts, *self.episode)
        ]
        return hashlib.sha256(repr(shown).encode()).hexdigest()


class PromptPreamEnv(gymnasium.Env[Observation, np.int64]):
    """A client preloads a feed of short videos, as pixels over the link or in codecs that it decodes by a network.

    ## Description

    A viewer watches a feed of at most 20 short videos and swipes on whenever they like. The client sees the manifests
    of the current video and of the four after it. A video is cut into chunks of `chunk_s` content seconds, a constant
    of the ladder (1 by default); the last chunk may be shorter. Each chunk exists in R representations, in any mix of
    pixel codecs (many bytes, next to no computation) and generative codecs (few bytes, decoded by a network; a prompt
    is one such codec). Every representation brings `audio_bps` of sound along. Whenever the link is free the client
    chooses which video, which chunk, which representation and which compute unit.

    *Link.* A request waits `rtt_s`, then its bytes flow at 0.95 times the rate of a network trace that repeats. With
    `parallel_downloads` above 1 the transfers whose RTT has passed share the rate equally, those of videos already
    left included; ends are computed anew when that set changes. A transfer within a millionth of a bit of its end
    has arrived.

    *Compute units.* `cpu`, `gpu`, `npu` and `vdec` (fixed-function video decoder) each serve one job at a time, first
    in first out, all in parallel. A job starts when its chunk has fully arrived and its unit is free. It takes the
    device profile's seconds for a second of content, times the chunk's content seconds, times a hidden factor of that
    chunk, times a contention factor fixed at its start. With `throttle` above 1 a unit that was busy is slower: the
    factor grows with its busy share of the last 60 s. The first job of a codec on a unit takes the profile's `load_s`
    more. Chunks that arrive together queue in the order of their requests. Jobs start after all arrivals and ends of
    decode of an instant, and again after a swipe's aborts, in the order of the units.

    *Energy.* The device draws its idle power all the time, and each busy unit that of the codec in addition. The radio
    draws power from a request to the end of the last open transfer, more for each Mbit/s, and for a tail after it.
    What the device's profile has no figure for counts 0.

    *Memory.* From its request until it is played or dropped a chunk reserves width x height x 1.5 x fps bytes of
    `decoded_buffer_bytes` for each of its content seconds. The playhead's chunk (the one playing or waited for) may
    always be requested.

    *Playback.* The current video plays while its next chunk is decoded, else it stalls; start-up counts as stall. The
    viewer leaves the video after its hidden watch time, or when one stall has lasted their patience with this video
    without playing starting at that instant. The law of patience is public: `patience`, by default that published for
    start-up on the web. With `patience_same` a video has the session's draw instead of one of its own. A stall ends
    with its video. A chunk begins only if watch time is left. On leaving, what was fetched for the video and not begun
    is waste, its jobs are dropped, and a transfer in flight goes on as waste unless `cancel_on_swipe` ends it. After
    each video, however it was left, the viewer ends the session with the viewer's `leave_p`.

    *Simultaneous events*, within 1e-9 s of the earliest, are one instant, settled in this order until nothing changes:
    arrival, end of decode, starts of jobs, playback and chunk boundary, swipe. Then the client decides.

    ## Action Space

    `Discrete(1 + 5 * 4 * O)`, with O = 15 options in the default ladder (301 actions):

    - 0: `WAIT` until the next arrival, end of decode, chunk boundary, start or end of a stall, or swipe, at most
      `wait_s`. Always legal. The end of an RTT does not end it.
    - 1 + (slot * 4 + lookahead) * O + option: request the `lookahead`-th chunk not yet requested of the slot's video
      (0 is the current one), from its playhead on and within 64 chunks of it, with that option. `options` lists the
      options: pairs of representation and unit, pixels on `cpu` and `vdec`, generative codecs on `cpu`, `gpu` and
      `npu`. They depend on the ladder alone. Pairs that the device lacks, or that take more than `max_decode_s` for a
      second of content, are illegal.

    `info["action_mask"]` and `action_masks()` say what is legal. An illegal action, or an index outside the space, acts
    as `WAIT` and sets `info["invalid_action"]`. After a download the next decision comes when a transfer slot is free;
    while one remains free, at once. With `charge_thinking_s` that time passes first, without ending the step at an
    event; the action is resolved before, and acts as `WAIT` if its video is left meanwhile.

    ## Observation Space

    `Box(-1, 1, (N,), float32)`. Every value is in [0, 1]. Bytes, rates, qualities and prices are relative to the
    scenario's own ladder: q is its top quality, B its reference rate. "Half h" shows a value x from 0 on as
    x / (x + h), which never saturates. Nothing hidden is in it: of a running transfer or job it holds what was expected
    at its start. For the default ladder:

    {observation}

    ## Starting State

    Nothing is requested, and the first video waits for its first chunk. Playlist, trace and the place in it, watch
    times, where the session ends, patience and decode factors are drawn at reset.

    ## Rewards

    The sum of five signed terms of what happened since the last decision, each in `info`: the quality of the content
    played (quality x seconds), minus weighted stall seconds (and a charge for each video left out of impatience),
    quality switches (|difference| to the chunk played before, charged when a chunk begins; the first costs nothing),
    wasted megabits (and, by weight, downloaded ones), and joules.

    The default weights are relative to the ladder. With q its top quality and B its reference rate in Mbit/s, a second
    of stall costs q, an abandoned video 10 q, a wasted Mbit q / B, and a joule nothing. On the default ladder q = 1.85
    and B = 1.85.

    ## Episode End

    Terminated when the viewer leaves the session or the last video: open transfers stop, and all that was received
    and not begun is waste. Truncated at 60 s plus 5 times the feed's seconds (or `max_wall_s`): the step is cut there,
    after that instant's events; if those end the session it is terminated and not truncated. Truncation charges nothing
    more. A trace's end ends nothing.

    ## Information

    The same keys on reset and on every step. Totals of the episode: `time_s`, `played_s`, `rebuffer_s`, `quality`,
    `switch`, `downloaded_bytes`, `wasted_bytes`, `decode_busy_s`, `energy_j`, `videos_watched` (videos left, however),
    `videos_abandoned` (of them, those left out of impatience). Of this step: `elapsed_s`, `reward_quality`,
    `reward_rebuffer`, `reward_switch`, `reward_waste`, `reward_energy` (which sum to the reward), `invalid_action`; and
    `action_mask` (int8, 1 = legal).

    ## Arguments

    ```python
    import gymnasium
    import ppgym

    gymnasium.make("PromptPream-v0", scenario="low/snapdragon-8-elite/typical", split="train", parallel_downloads=2)
    ```

    `scenario` is `network/device/viewer` or `network/device/viewer/ladder`, or the path of a YAML or JSON file of a
    scenario's fields. `split` is "train", "validation" or "test" (which share no trace, no video and no stream of
    seeds), and any field of `ppgym.world.scenario.Scenario` overrides.

    ## References

    PromptPream (arXiv 2602.09484). Which quality, which weights, which chunk length it used is not public: those here
    are ppgym's own.

    ## Version History

    - v0: first release.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        scenario: str | Mapping[str, Any] | Scenario | World = DEFAULT_SCENARIO,
        split: str = "train",
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        """Make an environment.

        Args:
            scenario: Name of a scenario, its fields as JSON holds them, one ready made, or a whole world.
            split: "train", "validation" or "test"; a world has its own.
            render_mode: None, "ansi" or "rgb_array".
            **overrides: Fields of `ppgym.world.scenario.Scenario`, as JSON would hold them.

        Raises:
            ValueError: Unknown name, field, split or render mode, or a value out of range.
            FileNotFoundError: A file that the scenario names is missing.
        """
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode: expected None, 'ansi' or 'rgb_array', got {render_mode!r}")
        if split not in SPLITS:
            raise ValueError(f"unknown split {reprlib.repr(split)}; {suggest(str(split), SPLITS)}")
        if not isinstance(scenario, str | Mapping | Scenario | World):
            raise ValueError(f"scenario: expected a name, fields or a Scenario, got {reprlib.repr(scenario)}")
        if overrides and not isinstance(scenario, str):
            raise ValueError(
                f"overrides {sorted(overrides)} go with a scenario's name, not with a {type(scenario).__name__}"
            )
        if isinstance(scenario, str):
            scenario = Scenario.parse(scenario, **overrides)
        elif isinstance(scenario, Mapping):
            scenario = Scenario.of(scenario)
        self.render_mode = render_mode
        self.world: World = make_world(scenario, split) if isinstance(scenario, Scenario) else scenario
        size, options = self.world.features.layout.size, len(self.world.options)
        actions = action_count(options)
        self.action_space: spaces.Discrete = spaces.Discrete(actions)
        self.observation_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

        self._views = ViewMaker()
        self._states = new_states(1)
        self._episodes = self.world.new_episodes(1)
        self._results = new_results(1, size, options)
        self._todo = np.full(1, STEP, np.uint8)
        self._action = np.zeros(1, np.int64)
        self._action_count = actions
        self._seeded_rng = np.random.Generator(np.random.PCG64())
        self._running = False  # False before reset and after the end
        self._log: EventLog | None = None if render_mode is None else new_log(EVENTS_A_STEP)
        self._timeline: Timeline | None = None
        self._return = 0.0
        self._bind(self.world.sims(self._episodes))

    @property
    def options(self) -> tuple[Option, ...]:
        """The option table: [O] pairs of representation and compute unit, in the order of the action index."""
        return self.world.options

    @property
    def timeline(self) -> Timeline | None:
        """What has happened since the last reset, lane by lane; None without a render mode, or before a reset."""
        return self._timeline

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw an episode and start it.

        Args:
            seed: Seeds the source of randomness, together with the split; None goes on with it.
            options: Not used.

        Returns:
            Observation and info.
        """
        super().reset(seed=seed)
        if seed is not None:
            # A generator that is new costs Numba more than the seeding
            self._seeded_rng.bit_generator.state = make_rng(seed, self.world.split).bit_generator.state
            self._np_random = self._seeded_rng
        self.world.draw(self.np_random, self._episodes, 0)
        self._running = True
        self._return = 0.0
        if self.render_mode is not None:
            self._timeline = self._new_timeline()
        self._move(RESTART, 0)
        return self._results.observation[0].copy(), self._info()

    def step(self, action: int | np.integer[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act, and go on to the next decision.

        Args:
            action: Index of an action.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: The episode has not begun, or has ended.
            TypeError: The action is no integer.
        """
        index = as_index(action)
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode has not begun or has ended: call reset() before step()")
        self._move(STEP, index)
        results = self._results
        reward, terminated, truncated = results.reward.item(), results.terminated.item(), results.truncated.item()
        self._running = not (terminated or truncated)
        self._return += reward
        return results.observation[0].copy(), reward, terminated, truncated, self._info()

    def render(self) -> str | npt.NDArray[np.uint8] | None:
        """Draw the timeline of link, compute units and screen up to now.

        Returns:
            Text, a picture [H, W, 3], or None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render mode: give render_mode='ansi' or 'rgb_array' to make()")
            return None
        if self._timeline is None:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        info = self._info() | {"return": self._return}
        draw = render_ansi if self.render_mode == "ansi" else render_rgb
        return draw(self._timeline, info["time_s"], info)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What is legal now, bool [1 + S * L * O]."""
        mask: npt.NDArray[np.bool_] = self._results.mask[0].astype(np.bool_)
        return mask

    def planning_view(self) -> PlanningView:
        """A read-only copy of what a client may know now."""
        return self._view(self._views)

    @property
    def client(self) -> Client:
        """What an agent is handed: a new one at every access, so that agents share nothing."""
        views = ViewMaker()
        return make_client(self.world, lambda: frozen(self.action_masks()), lambda: self._view(views))

    def drawn_watch_s(self) -> float:
        """Content seconds that the viewer would watch in this episode, whatever the client does.

        This is hidden from a client: it is the denominator of a benchmark's QoE, and not for agents.

        Returns:
            Sum of the drawn watch times up to the video after which the viewer ends the session.
        """
        return float(drawn_watch_s(self._episodes)[0])

    def get_state(self) -> Snapshot:
        """The exact situation, source of randomness included. Pictures are not part of it."""
        results = self._results
        snapshot = Snapshot(
            world=self.world.digest,
            checksum="",
            state=self._states.tobytes(),
            episode=Episodes(*[array.copy() for array in self._episodes]),  # type: ignore[arg-type]
            observation=results.observation[0].copy(),
            mask=results.mask[0].copy(),
            info=results.info[0].copy(),
            candidates=results.candidates.copy(),
            rng=dict(self.np_random.bit_generator.state),
            running=self._running,
            earned=self._return,
        )
        return replace(snapshot, checksum=snapshot.computed_checksum())

    def set_state(self, snapshot: Snapshot) -> None:
        """Go back, or over, to a situation of the same world. Where it is refused, nothing changes.

        Args:
            snapshot: From `get_state`, of this environment or another.

        Raises:
            TypeError: No snapshot.
            ValueError: It comes from another world, or is not as `get_state` made it.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"set_state: expected a Snapshot, got {type(snapshot).__name__}")
        if snapshot.world != self.world.digest:
            raise ValueError(
                f"the snapshot is of another world than {self.world.scenario.name!r}, split {self.world.split!r}, with "
                "its files and settings as they are here"
            )
        if snapshot.checksum != snapshot.computed_checksum():
            raise ValueError("the snapshot is not as get_state() made it: its checksum differs")
        self._states[:] = np.frombuffer(snapshot.state, self._states.dtype)
        for array, saved in zip(self._episodes, snapshot.episode, strict=True):
            np.copyto(array, saved)  # type: ignore[arg-type]
        self._results.observation[0] = snapshot.observation
        self._results.mask[0] = snapshot.mask
        self._results.info[0] = snapshot.info
        self._results.candidates[:] = snapshot.candidates
        self._results.shown[:] = BLANK
        self.np_random.bit_generator.state = snapshot.rng
        self._running = snapshot.running
        self._return = snapshot.earned
        if self._timeline is not None:
            self._timeline = self._new_timeline()

    def _view(self, views: ViewMaker) -> PlanningView:
        results, playlist = self._results, self._episodes.playlist[0]
        return views.make(self.world, playlist, self._states[0], results.candidates, results.mask[0])

    def _bind(self, sims: Sims) -> None:
        self._sims = sims
        here = self._states, self._todo, self._action, self._results, self._log
        self._advance = Bound(step_many, sims, self.world.features, *here)

    def _move(self, todo: int, action: int) -> None:
        self._todo[0] = todo
        self._action[0] = action if 0 <= action < self._action_count else -1
        self._advance()
        if self._log is not None and self._timeline is not None:
            self._timeline.extend(self._log.rows[: self._log.used[0]])
            self._log.used[0] = 0

    def _info(self) -> dict[str, Any]:
        # Written out: a dictionary from pairs takes a tenth of a step longer
        (
            time_s,
            played_s,
            rebuffer_s,
            quality,
            switch,
            downloaded_bytes,
            wasted_bytes,
            decode_busy_s,
            energy_j,
            videos_watched,
            videos_abandoned,
            elapsed_s,
            reward_quality,
            reward_rebuffer,
            reward_switch,
            reward_waste,
            reward_energy,
            invalid_action,
        ) = self._results.info[0].tolist()
        return {
            "time_s": time_s,
            "played_s": played_s,
            "rebuffer_s": rebuffer_s,
            "quality": quality,
            "switch": switch,
            "downloaded_bytes": downloaded_bytes,
            "wasted_bytes": wasted_bytes,
            "decode_busy_s": decode_busy_s,
            "energy_j": energy_j,
            "videos_watched": int(videos_watched),
            "videos_abandoned": videos_abandoned,
            "elapsed_s": elapsed_s,
            "reward_quality": reward_quality,
            "reward_rebuffer": reward_rebuffer,
            "reward_switch": reward_switch,
            "reward_waste": reward_waste,
            "reward_energy": reward_energy,
            "invalid_action": invalid_action != 0.0,
            "action_mask": self._results.mask[0].copy(),
        }

    def _new_timeline(self) -> Timeline:
        world = self.world
        return Timeline(
            option_representations=world.params.option_representation.tolist(),
            option_units=world.params.option_unit.tolist(),
            representation_names=[r.name for r in world.representations],
            unit_names=UNIT_NAMES,
            units_present=[unit in world.profile.units for unit in UNIT_NAMES],
        )


# The rows of the observation come from its one table
PromptPreamEnv.__doc__ = (PromptPreamEnv.__doc__ or "").replace(
    "{observation}", describe_observation(observation_fields(6, 15)).replace("\n", "\n    ")
)
