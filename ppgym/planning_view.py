"""What a planner may know: the planning view, a copy of what has happened and of the public facts, and nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import Mask
from ppgym.core.episodes import EpisodeDistribution
from ppgym.core.state import (
    F8,
    HISTORY,
    I4,
    MAX_TRANSFERS,
    NO_ENTRY,
    SLOTS,
    CatalogArrays,
    Episode,
    Params,
    StateRecord,
    new_states,
)
from ppgym.world.devices import DeviceProfile
from ppgym.world.scenario import Option, World

UNKNOWN_S = np.nan  # an end that has not happened yet


@dataclass(frozen=True, eq=False)
class PlanningView:
    """A frozen copy of all that a client can know at a decision. Agents of other people depend on it.

    Slot s of the catalog is feed position ``state.video + s``; the state's rings are indexed by feed position % S.

    Attributes:
        state: Record of `STATE_DTYPE`. The scheduled ends of the transfers, jobs and playback that are under way
            (`transfer_end_s`, `job_end_s`, `playback_end_s`) are hidden from a client and NaN here; their starts,
            received bytes and expected durations are there.
        params: The scenario's constants.
        catalog: The manifests of the visible videos: `n_chunks` [S] (0 where the feed has ended), `chunk_bytes` and
            `quality` [S, C, R], `memory_bytes` [R], `retention` [S, C + 1] (P(watched at least c seconds)).
        distribution: How likely the viewer is to leave after a video, the range of patience, the spread of decode
            times.
        device: The device profile.
        options: [O], the option table.
        representations: [R], their names.
        transfer_bytes: [P] size of each open transfer, that of a video already left included; 0 past the open ones.
        throughput_bps: [n <= 8] bits per second of the last completed transfers after their RTT, oldest first.
        throughput_time_s: [n] when they ended.
        candidates: [S, L] chunk that each (slot, look-ahead) stands for; -1 where there is none.
        action_mask: int8 [1 + S * L * O], 1 = legal.
        videos_left: Videos of the feed after the current one.
    """

    state: StateRecord
    params: Params
    catalog: CatalogArrays
    distribution: EpisodeDistribution
    device: DeviceProfile
    options: tuple[Option, ...]
    representations: tuple[str, ...]
    transfer_bytes: F8
    throughput_bps: F8
    throughput_time_s: F8
    candidates: I4
    action_mask: Mask
    videos_left: int

    @property
    def time_s(self) -> float:
        """Seconds since reset."""
        return float(self.state.time_s)


def public_state(state: StateRecord) -> StateRecord:
    """A copy of a state without what its client cannot know.

    Args:
        state: Record of `STATE_DTYPE`.

    Returns:
        The copy; the ends of what is under way are `UNKNOWN_S`.
    """
    copies = new_states(1)
    copies[0] = state
    copy = copies[0]
    if not state.terminated:
        copy.playback_end_s = UNKNOWN_S
    copy.transfer_end_s[np.arange(MAX_TRANSFERS) < state.transfers] = UNKNOWN_S
    copy.job_end_s[state.job_video != NO_ENTRY] = UNKNOWN_S
    return copy


def visible_catalog(catalog: CatalogArrays, playlist: npt.NDArray[np.int32], video: int) -> CatalogArrays:
    """The manifests of the visible videos.

    Args:
        catalog: The catalog.
        playlist: [V] catalog index of each feed position.
        video: Feed position of the current video.

    Returns:
        Copies, by slot; `n_chunks` is 0 and the rest repeats the last visible video where the feed has ended.
    """
    videos = np.arange(video, video + SLOTS)
    index = playlist[np.minimum(videos, len(playlist) - 1)]
    return CatalogArrays(
        n_chunks=np.where(videos < len(playlist), catalog.n_chunks[index], 0).astype(np.int32),
        chunk_bytes=catalog.chunk_bytes[index],
        quality=catalog.quality[index],
        memory_bytes=catalog.memory_bytes.copy(),
        retention=catalog.retention[index],
    )


def make_view(world: World, episode: Episode, state: StateRecord, candidates: I4, mask: Mask) -> PlanningView:
    """The planning view of a state.

    Args:
        world: The world.
        episode: Its playlist gives the visible videos; nothing else of it is read.
        state: Record of `STATE_DTYPE`.
        candidates: [S, L] as `actions.find_candidates` fills it.
        mask: The legality mask.

    Returns:
        The view; it shares no memory with the environment.
    """
    transfer_bytes = np.zeros(MAX_TRANSFERS)
    for i in range(state.transfers):
        representation = world.params.option_representation[state.transfer_option[i]]
        index = episode.playlist[state.transfer_video[i]]
        transfer_bytes[i] = world.catalog.chunk_bytes[index, state.transfer_chunk[i], representation]
    seen = int(state.throughputs)
    places = np.arange(max(seen - HISTORY, 0), seen) % HISTORY
    parameters: Any = [value.copy() if isinstance(value, np.ndarray) else value for value in world.params]
    return PlanningView(
        state=public_state(state),
        params=Params(*parameters),
        catalog=visible_catalog(world.catalog, episode.playlist, int(state.video)),
        distribution=world.distribution,
        device=world.profile,
        options=world.options,
        representations=tuple(r.name for r in world.representations),
        transfer_bytes=transfer_bytes,
        throughput_bps=state.throughput_bps[places],
        throughput_time_s=state.throughput_time_s[places],
        candidates=candidates.copy(),
        action_mask=mask.copy(),
        videos_left=max(len(episode.playlist) - 1 - int(state.video), 0),
    )
