"""The simulated world once more, slowly: the oracle for the compiled kernel.

Plain lists, dictionaries and floats; no clever data structure, no NumPy arithmetic, and nothing shared with the kernel
but the constants and the types of `ppgym.core.state`. Where the kernel keeps rings, prefix sums and cached sums, this
file walks over the trace and counts again from the start.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ppgym.core import events
from ppgym.core import state as st
from ppgym.core.state import Episode, Params, Sim

BYTES_TO_MBIT = 8e-6
WAIT = 0
WARM_S = 60.0  # the busy share of so many seconds throttles a unit ...
MARK_S = 10.0  # ... and of the busy seconds of the past, those at every tenth second are remembered


@dataclass
class Chunk:
    """A chunk that was requested, and neither played to its end nor dropped."""

    video: int
    chunk: int
    option: int
    status: int


@dataclass(eq=False)
class Transfer:
    """An open download. Its video may have been left meanwhile."""

    video: int
    chunk: int
    option: int
    size_bytes: float
    request_s: float
    flow_s: float  # when its RTT ends
    flowing: bool = False
    received_bytes: float = 0.0
    end_s: float = math.inf


@dataclass
class Job:
    """A chunk being decoded."""

    video: int
    chunk: int
    option: int
    start_s: float
    load_s: float
    expected_s: float  # then
    end_s: float


@dataclass(frozen=True)
class Event:
    """One thing that happened; `kind` is one of the EVENT_ constants."""

    time_s: float
    kind: int
    video: int
    chunk: int = st.NO_ENTRY
    option: int = st.NO_ENTRY
    value: float = 0.0


class NaiveLink:
    """The trace, walked over interval by interval."""

    def __init__(self, params: Params, episode: Episode) -> None:
        self.edges = [float(edge) for edge in episode.link_time_s]
        bits = [float(total) for total in episode.link_bits]
        self.rates = [
            params.link_efficiency * (bits[i + 1] - bits[i]) / (self.edges[i + 1] - self.edges[i])
            for i in range(len(bits) - 1)
        ]
        self.offset_s = float(episode.link_offset_s)
        self.near_tie = False  # some transfer ended just where the link went dead

    def stretches(self, from_s: float) -> Iterator[tuple[float, float]]:
        """Yields (seconds, bits per second) of the stretches of equal rate from a time on, for ever."""
        place_s = (self.offset_s + from_s) % self.edges[-1]
        index = 0
        while self.edges[index + 1] <= place_s:
            index += 1
        yield self.edges[index + 1] - place_s, self.rates[index]
        while True:
            index = (index + 1) % len(self.rates)
            yield self.edges[index + 1] - self.edges[index], self.rates[index]

    def bytes_between(self, from_s: float, to_s: float) -> float:
        """Bytes that the link carries between two times."""
        left_s, carried_bits = to_s - from_s, 0.0
        for seconds, rate in self.stretches(from_s):
            if seconds >= left_s:
                return (carried_bits + rate * left_s) / 8
            carried_bits += rate * seconds
            left_s -= seconds
        raise AssertionError("a trace has no end")

    def time_to_carry(self, from_s: float, size_bytes: float) -> float:
        """The time at which the link has carried so many bytes since `from_s`.

        What is left over at the end of a stretch and would take less than an instant more counts as carried: else
        rounding could move an arrival from the start of a dead stretch to its end.
        """
        time_s, left_bits = from_s, size_bytes * 8
        stretches = self.stretches(from_s)
        seconds, rate = next(stretches)
        while True:
            next_seconds, next_rate = next(stretches)
            if left_bits <= rate * (seconds + st.SIMULTANEOUS_S):
                if next_rate == 0 and left_bits >= rate * (seconds - st.SIMULTANEOUS_S):
                    self.near_tie = True
                return time_s + (left_bits / rate if rate > 0 else 0.0)
            time_s += seconds
            left_bits -= rate * seconds
            seconds, rate = next_seconds, next_rate


class NaiveSimulator:
    """One session: `reset`, then `step` until `terminated` or `truncated`.

    Attributes:
        events: Everything that happened since the reset, in order.
    """

    def __init__(self, sim: Sim) -> None:
        self.params, self.catalog, self.episode = sim
        self.link = NaiveLink(self.params, self.episode)
        self.n_videos = len(self.episode.playlist)
        self.n_options = len(self.params.option_unit)
        self.reset()

    def reset(self) -> dict[str, Any]:
        """Starts the session: the viewer waits for the first chunk of the first video.

        Returns:
            What `observe` returns.
        """
        self.time_s = 0.0
        self.played_s = 0.0
        self.rebuffer_s = 0.0
        self.quality = 0.0
        self.switch = 0.0
        self.downloaded_bytes = 0.0
        self.wasted_bytes = 0.0
        self.worked: list[list[tuple[float, float]]] = [[] for _ in range(st.UNITS)]  # stretches (from, to)
        self.loaded: set[tuple[int, int]] = set()  # (unit, codec)
        self.energy_j = dict.fromkeys(("idle", "units", "radio", "bytes", "tail"), 0.0)
        self.last_closed_s = -math.inf  # when the last transfer was closed
        self.stalls_s: list[float] = []  # of the current video, the one that lasts included
        self.video = 0
        self.playhead = 0
        self.chunks_begun = 0
        self.abandoned = 0
        self.begun_quality = 0.0
        self.chunks: dict[tuple[int, int], Chunk] = {}
        self.transfers: list[Transfer] = []
        self.sharing: list[Transfer] = []  # those whose ends were computed together
        self.jobs: list[Job | None] = [None] * st.UNITS
        self.queues: list[list[tuple[int, int]]] = [[] for _ in range(st.UNITS)]
        self.throughputs: list[tuple[float, float]] = []
        self.invalid_action = False
        self.terminated = False
        self.truncated = False
        self.events: list[Event] = []
        self._play_or_stall()
        return self.observe()

    # Actions

    def candidates(self, slot: int) -> list[int]:
        """The chunks that a slot offers: the first not yet requested ones from its playhead on."""
        video = self.video + slot
        if video >= self.n_videos:
            return []
        first = self.playhead if slot == 0 else 0
        last = min(first + st.RING, int(self.catalog.n_chunks[self.episode.playlist[video]]))
        return [chunk for chunk in range(first, last) if (video, chunk) not in self.chunks][: st.LOOKAHEAD]

    def resolve(self, action: int) -> tuple[int, int, int] | None:
        """What an index asks for.

        Returns:
            (video, chunk, option), or None where there is no such candidate.
        """
        if not 1 <= action < 1 + st.SLOTS * st.LOOKAHEAD * self.n_options:
            return None
        place, option = divmod(action - 1, self.n_options)
        slot, lookahead = divmod(place, st.LOOKAHEAD)
        candidates = self.candidates(slot)
        if lookahead >= len(candidates):
            return None
        return self.video + slot, candidates[lookahead], option

    def may_request(self, video: int, chunk: int, option: int) -> bool:
        """Whether the device can decode it and the decoded buffer has room for it."""
        if not self.params.option_usable[option]:
            return False
        if (video, chunk) == (self.video, self.playhead):
            return True
        return self.reserved_bytes() + self._memory_bytes(video, chunk, option) <= self.params.decoded_buffer_bytes

    def legal_actions(self) -> list[int]:
        """All legal indices in rising order; WAIT is always among them, and alone after the end."""
        legal = [WAIT]
        if self.terminated or self.truncated:
            return legal
        for slot in range(st.SLOTS):
            for lookahead, chunk in enumerate(self.candidates(slot)):
                for option in range(self.n_options):
                    if self.may_request(self.video + slot, chunk, option):
                        legal.append(1 + (slot * st.LOOKAHEAD + lookahead) * self.n_options + option)
        return legal

    def step(self, action: int) -> dict[str, Any]:
        """Acts, and lets the world go on until the next decision.

        Args:
            action: An index; one that is not legal acts as WAIT.

        Returns:
            What `observe` returns, and the terms of this step's reward.
        """
        if self.terminated or self.truncated:
            raise RuntimeError("the session is over")
        before = self._totals()
        request = self.resolve(action)
        if request is not None and not self.may_request(*request):
            request = None
        self.invalid_action = request is None and action != WAIT

        if self.params.charge_thinking_s > 0:
            self._go_on(self.time_s + self.params.charge_thinking_s, lambda happened: False)
        if not (self.terminated or self.truncated):
            if request is not None and request[0] >= self.video:
                self._request(*request)
                if not self._slot_free():
                    self._go_on(math.inf, lambda happened: self._slot_free())
            else:
                self._go_on(self.time_s + self.params.wait_s, lambda happened: happened)
        return self.observe() | self._reward_terms(before)

    # What can be seen

    def reserved_bytes(self) -> float:
        """Bytes of the decoded buffer that are spoken for."""
        return sum((self._memory_bytes(chunk.video, chunk.chunk, chunk.option) for chunk in self.chunks.values()), 0.0)

    def observe(self) -> dict[str, Any]:
        """Everything that another simulator of this world must agree with."""
        return {
            "time_s": self.time_s,
            "played_s": self.played_s,
            "rebuffer_s": self.rebuffer_s,
            "quality": self.quality,
            "switch": self.switch,
            "downloaded_bytes": self.downloaded_bytes,
            "wasted_bytes": self.wasted_bytes,
            "busy_s": self.busy_s(),
            "energy_j": sum(self.energy_j.values()),
            "longest_stall_s": max(self.stalls_s, default=0.0),
            "loaded": sorted(self.loaded),
            "videos_watched": self.video,
            "abandoned": self.abandoned,
            "chunks_begun": self.chunks_begun,
            "begun_quality": self.begun_quality,
            "invalid_action": self.invalid_action,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "video": self.video,
            "playhead": self.playhead,
            "playing": self.playing,
            "playback_since_s": self.playback_since_s,
            "playback_end_s": self.playback_end_s,
            "reserved_bytes": self.reserved_bytes(),
            "chunks": {key: (chunk.status, chunk.option) for key, chunk in self.chunks.items()},
            "transfers": [(t.video, t.chunk, t.option, t.request_s) for t in self.transfers],
            "received_bytes": [t.received_bytes for t in self.transfers],
            "jobs": [
                job and (job.video, job.chunk, job.start_s, job.load_s, job.expected_s, job.end_s) for job in self.jobs
            ],
            "queues": [list(queue) for queue in self.queues],
            "queued_s": [
                sum((self._profile_s(*key, self.chunks[key].option) for key in queue), 0.0) for queue in self.queues
            ],
            "throughputs": list(self.throughputs),
        }

    def _totals(self) -> dict[str, Any]:
        return {
            "quality": self.quality,
            "rebuffer_s": self.rebuffer_s,
            "switch": self.switch,
            "downloaded_bytes": self.downloaded_bytes,
            "wasted_bytes": self.wasted_bytes,
            "energy_j": sum(self.energy_j.values()),
            "abandoned": self.abandoned,
        }

    def _reward_terms(self, before: dict[str, Any]) -> dict[str, float]:
        weights = self.params
        stall_s = self.rebuffer_s - before["rebuffer_s"]
        wasted_mbit = (self.wasted_bytes - before["wasted_bytes"]) * BYTES_TO_MBIT
        downloaded_mbit = (self.downloaded_bytes - before["downloaded_bytes"]) * BYTES_TO_MBIT
        terms = {
            "reward_quality": weights.weight_quality * (self.quality - before["quality"]),
            "reward_rebuffer": -weights.weight_rebuffer * stall_s
            - weights.weight_abandon * (self.abandoned - before["abandoned"]),
            "reward_switch": -weights.weight_switch * (self.switch - before["switch"]),
            "reward_waste": -(weights.weight_waste * wasted_mbit + weights.weight_download * downloaded_mbit),
            "reward_energy": -weights.weight_energy * (sum(self.energy_j.values()) - before["energy_j"]),
        }
        return terms | {"reward": sum(terms.values())}

    # Facts about a chunk

    def _size_bytes(self, video: int, chunk: int, option: int) -> float:
        representation = self.params.option_representation[option]
        return float(self.catalog.chunk_bytes[self.episode.playlist[video], chunk, representation])

    def _quality(self, video: int, chunk: int, option: int) -> float:
        representation = self.params.option_representation[option]
        return float(self.catalog.quality[self.episode.playlist[video], chunk, representation])

    def _content_s(self, video: int, chunk: int) -> float:
        """Content seconds of a chunk: the last one of a video has what the others leave."""
        index = self.episode.playlist[video]
        before_last = int(self.catalog.n_chunks[index]) - 1
        if chunk < before_last:
            return self.params.chunk_s
        return float(self.catalog.duration_s[index]) - before_last * self.params.chunk_s

    def _memory_bytes(self, video: int, chunk: int, option: int) -> float:
        representation = self.params.option_representation[option]
        return float(round(float(self.catalog.memory_bytes_per_s[representation]) * self._content_s(video, chunk)))

    def _profile_s(self, video: int, chunk: int, option: int) -> float:
        """Decode seconds by the device's profile, before all that makes a job longer."""
        return float(self.params.option_decode_s[option]) * self._content_s(video, chunk)

    def _slot_free(self) -> bool:
        return len(self.transfers) < self.params.parallel_downloads

    def _log(
        self, kind: int, video: int, chunk: int = st.NO_ENTRY, option: int = st.NO_ENTRY, value: float = 0.0
    ) -> None:
        self.events.append(Event(self.time_s, kind, video, chunk, option, value))

    # Time

    def _go_on(self, limit_s: float, enough: Callable[[bool], bool]) -> None:
        """Lets instants pass until a limit, until `enough(something happened)`, or until the session's end or cut."""
        limit_s = min(limit_s, self.episode.max_wall_s)
        while True:
            self._advance(self._next_instant(limit_s))
            happened = self._happen()
            if self.terminated:
                return
            if self.time_s + st.SIMULTANEOUS_S >= self.episode.max_wall_s:
                self.truncated = True
                return
            if self.time_s + st.SIMULTANEOUS_S >= limit_s or enough(happened):
                return

    def _next_instant(self, limit_s: float) -> float:
        ends = [limit_s, self.playback_end_s]
        ends += [transfer.end_s if transfer.flowing else transfer.flow_s for transfer in self.transfers]
        ends += [job.end_s for job in self.jobs if job is not None]
        return max(self.time_s, min(ends))

    def _advance(self, to_s: float) -> None:
        """Lets time pass in which nothing begins or ends."""
        elapsed_s = to_s - self.time_s
        self.energy_j["idle"] += self.params.idle_w * elapsed_s
        for unit, job in enumerate(self.jobs):
            if job is not None:
                self.worked[unit].append((self.time_s, to_s))
                self.energy_j["units"] += float(self.params.option_w[job.option]) * elapsed_s
        if self.transfers:
            self.energy_j["radio"] += self.params.radio_base_w * elapsed_s
        else:
            awake_s = min(to_s, self.last_closed_s + self.params.radio_tail_s) - self.time_s
            self.energy_j["tail"] += self.params.radio_tail_w * max(awake_s, 0.0)
        if self.playing:
            self.played_s += elapsed_s
            self.quality += elapsed_s * self.begun_quality
        else:
            self.rebuffer_s += elapsed_s
            self.stalls_s[-1] += elapsed_s
        flowing = [transfer for transfer in self.transfers if transfer.flowing]
        if flowing:
            share_bytes = self.link.bytes_between(self.time_s, to_s) / len(flowing)
            for transfer in flowing:
                self._receive(transfer, min(share_bytes, transfer.size_bytes - transfer.received_bytes))
        self.time_s = to_s

    def _receive(self, transfer: Transfer, received_bytes: float) -> None:
        transfer.received_bytes += received_bytes
        self.downloaded_bytes += received_bytes
        self.energy_j["bytes"] += self.params.radio_j_per_mbit * received_bytes * BYTES_TO_MBIT
        if transfer.video < self.video:
            self.wasted_bytes += received_bytes

    # What a unit has done

    def busy_s(self) -> list[float]:
        """Seconds that each unit has worked."""
        return [self._worked_s(unit, self.time_s) for unit in range(st.UNITS)]

    def _worked_s(self, unit: int, until_s: float) -> float:
        """Seconds that a unit had worked by a time that has passed."""
        return sum((max(min(to_s, until_s) - from_s, 0.0) for from_s, to_s in self.worked[unit]), 0.0)

    def _throttling(self, unit: int) -> float:
        """Factor on the decode seconds of a job that starts now.

        What a unit had done when the window began is read off between the marks before and after that time.
        """
        begin_s = self.time_s - WARM_S
        done_before_s = 0.0
        if begin_s > 0:
            mark_s = begin_s // MARK_S * MARK_S
            at_marks = [self._worked_s(unit, mark) for mark in (mark_s, mark_s + MARK_S)]
            share = (begin_s - mark_s) / MARK_S
            done_before_s = (1 - share) * at_marks[0] + share * at_marks[1]
        busy_share = (self._worked_s(unit, self.time_s) - done_before_s) / WARM_S
        return 1 + (self.params.throttle - 1) * busy_share

    # Events of one instant

    def _happen(self) -> bool:
        """Everything due by now, in the order of the rules; says whether anything but the end of an RTT happened."""
        due_s = self.time_s + st.SIMULTANEOUS_S
        for transfer in self.transfers:
            if transfer.flow_s <= due_s:
                transfer.flowing = True
        happened = False
        while not self.terminated:
            changed = self._arrivals(due_s)
            changed = self._ends_of_decode(due_s) or changed
            self._start_jobs()
            changed = self._playback(due_s) or changed
            if not changed:
                break
            happened = True
        self._share_link()
        return happened

    def _arrivals(self, due_s: float) -> bool:
        arrived = [transfer for transfer in self.transfers if transfer.end_s <= due_s]
        for transfer in arrived:
            self._close(transfer)
            self._receive(transfer, transfer.size_bytes - transfer.received_bytes)
            flow_s = self.time_s - transfer.request_s - self.params.rtt_s
            self.throughputs.append((self.time_s, transfer.size_bytes * 8 / flow_s))
            key = (transfer.video, transfer.chunk)
            self._log(events.EVENT_ARRIVAL, *key, transfer.option, transfer.size_bytes)
            if transfer.video >= self.video:
                self.chunks[key].status = st.QUEUED
                self.queues[self.params.option_unit[transfer.option]].append(key)
        return bool(arrived)

    def _ends_of_decode(self, due_s: float) -> bool:
        ended = False
        for unit, job in enumerate(self.jobs):
            if job is not None and job.end_s <= due_s:
                chunk = self.chunks[job.video, job.chunk]
                chunk.status = st.DECODED
                self.jobs[unit] = None
                self._log(events.EVENT_JOB_END, job.video, job.chunk, chunk.option)
                ended = True
        return ended

    def _start_jobs(self) -> None:
        for unit in range(st.UNITS):
            if self.jobs[unit] is not None or not self.queues[unit]:
                continue
            chunk = self.chunks[self.queues[unit].pop(0)]
            chunk.status = st.DECODING
            decoder = unit, int(self.params.option_codec[chunk.option])
            load_s = 0.0 if decoder in self.loaded else float(self.params.option_load_s[chunk.option])
            self.loaded.add(decoder)
            busy_units = 1 + sum(job is not None for job in self.jobs)
            expected_s = (
                self._profile_s(chunk.video, chunk.chunk, chunk.option)
                * float(self.params.contention[unit, busy_units])
                * self._throttling(unit)
            )
            seconds = load_s + expected_s * float(self.episode.jitter[chunk.video, chunk.chunk])
            end_s = self.time_s + seconds
            self.jobs[unit] = Job(chunk.video, chunk.chunk, chunk.option, self.time_s, load_s, expected_s, end_s)
            self._log(events.EVENT_JOB_START, chunk.video, chunk.chunk, chunk.option)

    def _playback(self, due_s: float) -> bool:
        """Chunk boundary, end of a stall, swipe."""
        if self.playing:
            if self.playback_end_s > due_s:
                return False
            chunk = self.chunks.pop((self.video, self.playhead))
            self._log(events.EVENT_PLAY_END, chunk.video, chunk.chunk, chunk.option)
            if self._watch_left_s(self.playhead + 1) > st.SIMULTANEOUS_S:
                self.playhead += 1
                self._play_or_stall()
            else:
                self._swipe(impatient=False)
            return True
        waited_for = self.chunks.get((self.video, self.playhead))
        if waited_for is not None and waited_for.status == st.DECODED:
            self._log(events.EVENT_STALL_END, self.video, self.playhead)
            self._play_or_stall()
            return True
        if self.playback_end_s <= due_s:
            self._log(events.EVENT_STALL_END, self.video, self.playhead)
            self._swipe(impatient=True)
            return True
        return False

    def _watch_left_s(self, chunk: int) -> float:
        """Content seconds that the viewer still wants at the start of a chunk of the current video."""
        return float(self.episode.watch_s[self.video]) - chunk * self.params.chunk_s

    def _play_or_stall(self) -> None:
        """The playhead's chunk begins now if it is decoded; else a stall begins now."""
        self.playback_since_s = self.time_s
        chunk = self.chunks.get((self.video, self.playhead))
        self.playing = chunk is not None and chunk.status == st.DECODED
        if chunk is not None and self.playing:
            quality = self._quality(chunk.video, chunk.chunk, chunk.option)
            if self.chunks_begun > 0:
                self.switch += abs(quality - self.begun_quality)
            self.begun_quality = quality
            self.chunks_begun += 1
            chunk.status = st.BEGUN
            self.playback_end_s = self.time_s + min(self.params.chunk_s, self._watch_left_s(self.playhead))
            self._log(events.EVENT_PLAY, chunk.video, chunk.chunk, chunk.option)
        else:
            self.playback_end_s = self.time_s + float(self.episode.patience_s[self.video])
            self.stalls_s.append(0.0)
            self._log(events.EVENT_STALL, self.video, self.playhead)

    def _swipe(self, impatient: bool) -> None:
        left = self.video
        self._log(events.EVENT_SWIPE, left, value=float(impatient))
        self.abandoned += impatient
        self._drop(lambda video: video == left, cancel=self.params.cancel_on_swipe)
        self.video += 1
        self.playhead = 0
        self.stalls_s = []
        if self.episode.leaves[left] or self.video == self.n_videos:
            self._drop(lambda video: True, cancel=True)
            self.playing = False
            self.playback_since_s = self.time_s
            self.playback_end_s = math.inf
            self.terminated = True
            self._log(events.EVENT_SESSION_END, left)
        else:
            self._start_jobs()
            self._play_or_stall()

    def _drop(self, which: Callable[[int], bool], cancel: bool) -> None:
        """Chunks of some videos are given up: what was received of them is waste, their jobs end, memory is free."""
        for unit in range(st.UNITS):
            self.queues[unit] = [key for key in self.queues[unit] if not which(key[0])]
            job = self.jobs[unit]
            if job is not None and which(job.video):
                self.jobs[unit] = None
                self._log(events.EVENT_JOB_ABORT, job.video, job.chunk, self.chunks[job.video, job.chunk].option)
        for key, chunk in list(self.chunks.items()):
            if which(chunk.video):
                del self.chunks[key]
                if chunk.status in (st.QUEUED, st.DECODING, st.DECODED):
                    self.wasted_bytes += self._size_bytes(chunk.video, chunk.chunk, chunk.option)
        for transfer in list(self.transfers):
            if which(transfer.video):
                if transfer.video >= self.video:  # else it was waste as it flowed
                    self.wasted_bytes += transfer.received_bytes
                if cancel:
                    self._close(transfer)
                    received = transfer.received_bytes
                    self._log(events.EVENT_CANCEL, transfer.video, transfer.chunk, transfer.option, received)

    # The link

    def _request(self, video: int, chunk: int, option: int) -> None:
        self._log(events.EVENT_REQUEST, video, chunk, option)
        self.chunks[video, chunk] = Chunk(video, chunk, option, st.IN_FLIGHT)
        size_bytes = self._size_bytes(video, chunk, option)
        flow_s = self.time_s + self.params.rtt_s
        self.transfers.append(Transfer(video, chunk, option, size_bytes, self.time_s, flow_s))

    def _close(self, transfer: Transfer) -> None:
        self.transfers.remove(transfer)
        self.last_closed_s = self.time_s

    def _share_link(self) -> None:
        """Computes the ends of all flowing transfers where their set has changed."""
        flowing = [transfer for transfer in self.transfers if transfer.flowing]
        if flowing == self.sharing:
            return
        self.sharing = flowing
        for transfer in flowing:
            # With n sharing equally, the link carries n bytes while this transfer receives one.
            left_bytes = (transfer.size_bytes - transfer.received_bytes) * len(flowing)
            transfer.end_s = self.link.time_to_carry(self.time_s, left_bytes)
