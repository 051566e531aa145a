"""What a client of the official simulator can know, in ppgym's terms: state, observation, mask and planning view.

All of it comes from what the official runner hands to a solution. So an agent sees the same in ppgym's environment and
in the official evaluator. Nothing that a session hides may enter this file.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.client import Client, make_client
from ppgym.core.actions import WAIT, Mask, action_count, fill_mask, find_candidates
from ppgym.core.dynamics import reset_state
from ppgym.core.episodes import EpisodeDistribution, Links
from ppgym.core.jit import njit
from ppgym.core.observation import Features, make_features, observe
from ppgym.core.state import (
    ABSENT,
    BEGUN,
    DECODED,
    F4,
    F8,
    HISTORY,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    RING,
    SLOTS,
    UNIT_NAMES,
    CatalogArrays,
    Episode,
    Sim,
    new_states,
)
from ppgym.entries.player import Action, MMGCPlayer
from ppgym.mmgc.kernel import CHUNK_MS, PAYLOAD_SHARE, RATES_KBPS, RTT_MS, RUNGS, VIDEOS
from ppgym.planning_view import PlanningView, ViewMaker, frozen
from ppgym.world.devices import NO_CONTENTION, DecodeRow, DeviceProfile
from ppgym.world.ladders import published_ladder
from ppgym.world.options import make_options
from ppgym.world.qoe_weights import QoEWeights
from ppgym.world.scenario import Scenario, World, make_params

WAIT_MS = 500.0  # the sleep that stands for WAIT, as in the official policies
LEAST_FLOW_MS = 0.5  # a delay of the round trip alone, in whole ms, hides a flow shorter than this

DEVICE = DeviceProfile(
    name="mmgc2022",
    description="The official simulator knows no decoding: a chunk can play when it has arrived.",
    provenance="Assumption that stands for the absence of decoding.",
    rows=(
        DecodeRow(
            codec="h264",
            unit="vdec",
            seconds=1e-12,  # a profile asks for more than 0; this is far within one instant of ppgym's kernel
            provenance="assumption",
            source="The official simulator knows no decoding.",
            formula="as good as 0",
        ),
    ),
    jitter_sigma=0.0,
    jitter_provenance="assumption",
    jitter_source="The official simulator knows no decoding.",
    **NO_CONTENTION,
)
SCENARIO = Scenario(
    network="mmgc2022",
    device="mmgc2022",
    viewer="mmgc2022",
    n_videos=VIDEOS,
    rtt_s=RTT_MS / 1000,
    link_efficiency=PAYLOAD_SHARE,
    decoded_buffer_bytes=2.0**50,  # the official simulator knows no memory: as good as without limit
    wait_s=WAIT_MS / 1000,
    qoe=QoEWeights.of("mmgc2022"),
    patience="none",
    leave_p=0.0,
    jitter_sigma=0.0,
)
LADDER = published_ladder()
CHUNK_S = CHUNK_MS / 1000
REPRESENTATIONS = LADDER.representations
OPTIONS = make_options(REPRESENTATIONS, DEVICE, SCENARIO.max_decode_s)
OPTION_OF_RUNG = np.array([index for index, option in enumerate(OPTIONS) if option.usable], dtype=np.uint8)
QUALITY_OF_RUNG = tuple(rate / 1000 for rate in RATES_KBPS)  # Mbit/s
assert [OPTIONS[index].representation for index in OPTION_OF_RUNG] == list(range(RUNGS)), (
    "the rungs are the first representations of ppgym's ladder"
)

# The feed is the catalog in order. The observation reads the playlist alone. The rest of an episode is hidden, and left
# blank here.
FEED = Episode(
    playlist=np.arange(VIDEOS, dtype=np.int32),
    watch_s=np.zeros(VIDEOS),
    leaves=np.zeros(VIDEOS, dtype=np.uint8),
    patience_s=np.full(VIDEOS, math.inf),
    jitter=np.ones((VIDEOS, 1)),
    link_time_s=np.zeros(1),
    link_bits=np.zeros(1),
    link_offset_s=0.0,
    max_wall_s=math.inf,
)

_PARAMS = make_params(SCENARIO, LADDER, DEVICE, OPTIONS)
_DISTRIBUTION = EpisodeDistribution(
    leave_p=0.0,
    patience_at_s=np.zeros(0),
    patience_share=np.zeros(0),
    patience_same=0.0,
    jitter_sigma=0.0,
    wall_base_s=math.inf,
    wall_per_feed_s=0.0,
)


class Manifest(NamedTuple):
    """One video as its player describes it."""

    chunk_bytes: F8  # [C, rungs]
    survival: F8  # [C + 1], P(watched at least c seconds)


def read_manifest(player: MMGCPlayer) -> Manifest:
    """The manifest of a video of which nothing is downloaded yet.

    Args:
        player: The video. Its `get_video_size` is left alone, for the official one counts a download at every call.
    """
    chunks = player.get_chunk_sum()
    times_ms, shares = player.get_user_model()
    survival = np.interp(np.arange(chunks + 1) * CHUNK_MS, times_ms, np.array(shares).astype(np.float64))
    sizes = np.array(player.get_undownloaded_video_size(chunks), dtype=np.float64)
    return Manifest(sizes.T, survival / survival[0])


def make_world(manifests: Mapping[int, Manifest]) -> World:
    """What is public and constant, as ppgym describes a world. It has no traces: those of a session are hidden.

    Args:
        manifests: By place in the feed, those of the videos that have been in the window.

    Returns:
        The world; a video that has not been in the window has no chunks there.
    """
    longest = max((len(manifest.chunk_bytes) for manifest in manifests.values()), default=0)
    shape = (VIDEOS, longest, len(REPRESENTATIONS))
    catalog = CatalogArrays(
        n_chunks=np.zeros(VIDEOS, dtype=np.int32),
        chunk_bytes=np.zeros(shape),
        quality=np.zeros(shape),
        duration_s=np.ones(VIDEOS),
        memory_bytes_per_s=np.array([one.memory_bytes_per_s for one in REPRESENTATIONS]),
        retention=np.zeros((VIDEOS, longest + 1)),
    )
    for video, manifest in manifests.items():
        chunks = len(manifest.chunk_bytes)
        catalog.n_chunks[video] = chunks
        catalog.duration_s[video] = chunks * CHUNK_S
        catalog.chunk_bytes[video, :chunks] = [one.bitrate_bps * CHUNK_S / 8 for one in REPRESENTATIONS]
        catalog.chunk_bytes[video, :chunks, :RUNGS] = manifest.chunk_bytes
        catalog.quality[video, :chunks] = [one.quality for one in REPRESENTATIONS]
        catalog.retention[video, : chunks + 1] = manifest.survival
    return World(
        scenario=SCENARIO,
        split="test",
        profile=DEVICE,
        ladder=LADDER,
        options=OPTIONS,
        n_videos=VIDEOS,
        params=_PARAMS,
        catalog=catalog,
        links=Links(time_s=np.zeros(0), bits=np.zeros(0), first=np.zeros(1, dtype=np.int32)),
        distribution=_DISTRIBUTION,
        features=make_features(
            _PARAMS,
            catalog,
            _DISTRIBUTION,
            unit_present=[unit in DEVICE.units for unit in UNIT_NAMES],
        ),
    )


@njit
def fill_outputs(
    sim: Sim,
    states: np.ndarray,
    features: Features,
    candidates: I4,
    mask: Mask,
    observation: F4,
) -> None:
    """Fill candidates, mask and observation.

    Args:
        sim: The constants, the manifests by place in the feed, and `FEED`.
        states: [1] of ppgym's `STATE_DTYPE`.
        features: What of the observation is constant.
        candidates: Output [S, L].
        mask: Output int8 [1 + S * L * O].
        observation: Output float32 [size].
    """
    find_candidates(sim, states[0], candidates)
    candidates[:, 1:] = NO_ENTRY  # a video is downloaded chunk by chunk, in order
    fill_mask(sim, states[0], candidates, mask)
    observe(sim, states[0], features, candidates, observation)


class Follower:
    """Follows one session from what the official runner tells.

    Totals that the runner keeps to itself (`quality`, `switch`, `wasted_bytes`) stay 0 in the state.

    Attributes:
        world: What is public and constant so far; it grows as videos enter the window.
        states: [1] of ppgym's `STATE_DTYPE`.
        candidates: [S, L].
        mask: int8 [1 + S * L * O].
        observation: float32 [size].
    """

    def __init__(self) -> None:
        """Before any session: nothing is seen, and only WAIT is legal."""
        self._views = ViewMaker()
        self.states = new_states(1)
        self.candidates = np.full((SLOTS, LOOKAHEAD), NO_ENTRY, dtype=np.int32)
        self.mask = np.zeros(action_count(len(OPTIONS)), dtype=np.int8)
        self.mask[WAIT] = 1
        self.world = make_world({})
        self.observation = np.zeros(self.world.features.layout.size, dtype=np.float32)

    def start(self, players: Sequence[MMGCPlayer]) -> None:
        """Begin a session.

        Args:
            players: Videos of the window, the playing one first.
        """
        reset_state(Sim(self.world.params, self.world.catalog, FEED), self.states[0])
        self._manifests: dict[int, Manifest] = {}
        self._video = 0
        self._time_ms = 0.0
        self._rebuffer_ms = 0.0
        self._stall_since_ms = 0.0
        self._begun_before = 0  # chunks begun of videos left, as far as was seen at decisions
        self._begun = 0  # of the current video
        self._see(players)

    def update(
        self,
        delay_ms: float,
        rebuffer_ms: float,
        chunk_bytes: float,
        playing_video: int,
        players: Sequence[MMGCPlayer],
        over: bool = False,
    ) -> None:
        """Take in what a step brought.

        Args:
            delay_ms: Milliseconds that it took.
            rebuffer_ms: Milliseconds of rebuffering in it.
            chunk_bytes: Bytes that it downloaded, 0 for a sleep.
            playing_video: Video playing now.
            players: Videos of the window, the playing one first.
            over: Whether the session is over.
        """
        states = self.states
        self._time_ms += delay_ms
        self._rebuffer_ms += rebuffer_ms
        if rebuffer_ms < delay_ms or playing_video != self._video:
            self._stall_since_ms = self._time_ms - rebuffer_ms  # a stall lasts up to the end of its step
        if playing_video != self._video:
            self._begun_before += self._begun
            self._begun = 0
            self._video = playing_video
        if chunk_bytes > 0:
            seen = states["throughputs"].item()
            flow_s = max(delay_ms - RTT_MS, LEAST_FLOW_MS) / 1000
            states["throughput_bps"][0, seen % HISTORY] = 8 * chunk_bytes / flow_s
            states["throughput_time_s"][0, seen % HISTORY] = self._time_ms / 1000
            states["throughputs"] = seen + 1
            states["downloaded_bytes"] += chunk_bytes
        states["time_s"] = self._time_ms / 1000
        states["rebuffer_s"] = self._rebuffer_ms / 1000
        states["played_s"] = (self._time_ms - self._rebuffer_ms) / 1000
        states["video"] = playing_video
        states["terminated"] = over
        self._see(players)

    def resolve(self, action: Any) -> Action:
        """What an action means to the official simulator.

        Args:
            action: Index of an action, as an agent gives it.

        Returns:
            Video, rung and 0, or a sleep of `WAIT_MS` where the action is WAIT or illegal; the latter is noted in the
            state's `invalid_action`.
        """
        index = int(np.asarray(action).item())
        legal = 0 <= index < len(self.mask) and bool(self.mask[index])
        self.states["invalid_action"] = not legal
        if not legal or index == WAIT:
            return self._video, 0, WAIT_MS
        place, option = divmod(index - 1, len(OPTIONS))
        return self._video + place // LOOKAHEAD, OPTIONS[option].representation, 0.0

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What is legal now, bool [1 + S * L * O]."""
        return self.mask.astype(np.bool_)

    def planning_view(self) -> PlanningView:
        """A read-only copy of what a client may know now."""
        return self._view(self._views)

    @property
    def client(self) -> Client:
        """What an agent is handed: a new one at every access, so that agents share nothing."""
        views = ViewMaker()
        return make_client(self.world, lambda: frozen(self.action_masks()), lambda: self._view(views))

    def _view(self, views: ViewMaker) -> PlanningView:
        return views.make(self.world, FEED.playlist, self.states[0], self.candidates, self.mask)

    def _see(self, players: Sequence[MMGCPlayer]) -> None:
        fresh = {
            video: read_manifest(player)
            for video, player in enumerate(players, self._video)
            if video not in self._manifests
        }
        if fresh:
            self._manifests |= fresh
            self.world = make_world(self._manifests)
        self._show_chunks(players)
        sim = Sim(self.world.params, self.world.catalog, FEED)
        fill_outputs(sim, self.states, self.world.features, self.candidates, self.mask, self.observation)

    def _show_chunks(self, players: Sequence[MMGCPlayer]) -> None:
        """Write what is downloaded, and where playback stands."""
        states = self.states
        playhead, playing, into_s = 0, False, 0.0
        status, options = states["chunk_status"][0], states["chunk_option"][0]  # [S, RING]
        status[:] = ABSENT
        options[:] = 0
        kept_chunks = 0
        for slot, player in enumerate(players):
            chunks = player.get_chunk_counter()
            if chunks == 0:
                continue
            rungs, begin = player.get_downloaded_bitrate(), 0
            if slot == 0:
                # Position and buffer add up to the chunks downloaded; the chunk that plays is still in the buffer.
                buffer_chunks = float(player.get_buffer_size()) / CHUNK_MS
                begin = playhead = chunks - math.ceil(buffer_chunks)
                playing = buffer_chunks > 0
                into_s = (math.ceil(buffer_chunks) - buffer_chunks) * CHUNK_S
                self._begun = playhead + playing
                states["begun_quality"] = QUALITY_OF_RUNG[rungs[self._begun - 1]]
            row, columns = (self._video + slot) % SLOTS, np.arange(begin, chunks) % RING
            status[row, columns] = DECODED
            options[row, columns] = OPTION_OF_RUNG[rungs[begin:chunks]]
            kept_chunks += chunks - begin
        if playing:
            status[self._video % SLOTS, playhead % RING] = BEGUN
        states["playing"] = playing
        states["playhead"] = playhead
        states["playback_since_s"] = self._time_ms / 1000 - into_s if playing else self._stall_since_ms / 1000
        states["chunks_begun"] = self._begun_before + self._begun
        states["reserved_bytes"] = kept_chunks * REPRESENTATIONS[0].memory_bytes_per_s * CHUNK_S
