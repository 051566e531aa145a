"""What a planner may know: the planning view, a copy of what has happened and of the public facts, and nothing else."""

import copy
from dataclasses import dataclass
from typing import Any, TypeVar

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
    STATE_DTYPE,
    CatalogArrays,
    Params,
    StateRecord,
)
from ppgym.world.devices import DeviceProfile
from ppgym.world.options import Option
from ppgym.world.scenario import World

UNKNOWN_S = np.nan  # an end that has not happened yet

Array = TypeVar("Array", bound=npt.NDArray[Any])
Fields = TypeVar("Fields", bound=tuple[Any, ...])


def frozen(array: Array) -> Array:
    """A copy that cannot be written, whatever its flags are set to: its memory is a bytes object."""
    copied: Array = np.ndarray(array.shape, array.dtype, array.tobytes())  # type: ignore[assignment]
    return copied


def frozen_fields(fields: Fields) -> Fields:
    """A named tuple with each of its arrays as a `frozen` copy."""
    return type(fields)(*(frozen(value) if isinstance(value, np.ndarray) else value for value in fields))


def writeable_fields(fields: Fields) -> Fields:
    """A named tuple with each of its arrays as a copy that can be written: the kernel is compiled for such alone."""
    return type(fields)(*(np.array(value) if isinstance(value, np.ndarray) else value for value in fields))


@dataclass(frozen=True, eq=False)
class PlanningView:
    """A frozen copy of all that a client can know at a decision. Agents of other people depend on it.

    Slot s of the catalog is feed position ``state.video + s``; the state's rings are indexed by feed position % S.
    Nothing in it can be written; `writeable_fields` copies `params` and `catalog` for a compiled function.

    Attributes:
        state: Record of `STATE_DTYPE`. The scheduled ends of the transfers, jobs and playback that are under way
            (`transfer_end_s`, `job_end_s`, `playback_end_s`) are hidden from a client and NaN here; their starts,
            received bytes and expected durations are there.
        params: The scenario's constants.
        catalog: The manifests of the visible videos: `n_chunks` [S] (0 where the feed has ended), `chunk_bytes` and
            `quality` [S, C, R], `duration_s` [S], `memory_bytes_per_s` [R], `retention` [S, D + 1] (see
            `ppgym.core.content.survival`).
        distribution: How likely the viewer is to leave after a video, the table of patience, the spread of decode
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
    copies = np.frombuffer(bytearray(state.tobytes()), STATE_DTYPE)  # by columns: a record's attributes are slow
    if not copies["terminated"][0]:
        copies["playback_end_s"] = UNKNOWN_S
    copies["transfer_end_s"][0, : copies["transfers"][0]] = UNKNOWN_S
    copies["job_end_s"][copies["job_video"] != NO_ENTRY] = UNKNOWN_S
    return copies[0]


class ViewMaker:
    """Makes the views of one client. Constants are copied once for a world, manifests once for the visible videos."""

    def __init__(self) -> None:
        """Before any view."""
        self._world: World | None = None
        self._window: Any = None  # of the manifests copied last

    def make(
        self, world: World, playlist: npt.NDArray[np.int32], state: StateRecord, candidates: I4, mask: Mask
    ) -> PlanningView:
        """The planning view of a state.

        Args:
            world: The world.
            playlist: [V] catalog index of each feed position; that of the visible videos alone is read.
            state: Record of `STATE_DTYPE`.
            candidates: [S, L] as `actions.find_candidates` fills it.
            mask: int8 [1 + S * L * O], the legality mask.

        Returns:
            The view; it shares no memory with the kernel.
        """
        if world is not self._world:
            self._world, self._window = world, None
            self._params, self._device = frozen_fields(world.params), copy.deepcopy(world.profile)
            self._distribution = frozen_fields(world.distribution)
            self._representations = tuple(representation.name for representation in world.representations)
        video, opened, seen = (int(state[key]) for key in ("video", "transfers", "throughputs"))
        self._show_manifests(world.catalog, playlist, video)
        index = playlist[state["transfer_video"][:opened]]
        representation = world.params.option_representation[state["transfer_option"][:opened]]
        transfer_bytes = np.zeros(MAX_TRANSFERS)
        transfer_bytes[:opened] = world.catalog.chunk_bytes[index, state["transfer_chunk"][:opened], representation]
        places = np.arange(max(seen - HISTORY, 0), seen) % HISTORY
        return PlanningView(
            state=np.ndarray((), STATE_DTYPE, public_state(state).tobytes())[()],
            params=self._params,
            catalog=self._catalog,
            distribution=self._distribution,
            device=self._device,
            options=world.options,
            representations=self._representations,
            transfer_bytes=frozen(transfer_bytes),
            throughput_bps=frozen(state["throughput_bps"][places]),
            throughput_time_s=frozen(state["throughput_time_s"][places]),
            candidates=frozen(candidates),
            action_mask=frozen(mask),
            videos_left=max(len(playlist) - 1 - video, 0),
        )

    def _show_manifests(self, catalog: CatalogArrays, playlist: npt.NDArray[np.int32], video: int) -> None:
        """Copy the manifests by slot: `n_chunks` is 0 and the rest repeats the last video where the feed has ended."""
        videos = np.arange(video, video + SLOTS)
        index, visible = playlist[np.minimum(videos, len(playlist) - 1)], videos < len(playlist)
        window = index.tobytes(), visible.tobytes()
        if window != self._window:
            self._window = window
            self._catalog = frozen_fields(
                CatalogArrays(
                    n_chunks=np.where(visible, catalog.n_chunks[index], 0).astype(np.int32),
                    chunk_bytes=catalog.chunk_bytes[index],
                    quality=catalog.quality[index],
                    duration_s=catalog.duration_s[index],
                    memory_bytes_per_s=catalog.memory_bytes_per_s,
                    retention=catalog.retention[index],
                )
            )
