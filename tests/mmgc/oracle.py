"""A slow second writing of the MMGC 2022 rules, in plain Python objects, for tests to compare with."""

import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATES = [750, 1200, 1850]


def write_dataset(
    root: Path,
    sizes: Sequence[Sequence[Sequence[int]]],
    curves: Sequence[Sequence[tuple[float, float]]],
    traces: dict[str, Sequence[Sequence[tuple[float, float]]]],
) -> Path:
    """Write the official layout: sizes [video][rung][chunk], curves of (s, share), traces of (s, Mbit/s) per class."""
    for video, (rungs, curve) in enumerate(zip(sizes, curves, strict=True)):
        folder = root / "short_video_size" / f"{video + 1}_clip"
        folder.mkdir(parents=True)
        for rung, chunks in enumerate(rungs):
            (folder / f"video_size_{rung}").write_text("".join(f"{size}\n" for size in chunks))
        (root / "user_ret").mkdir(exist_ok=True)
        (root / "user_ret" / folder.name).write_text("\n".join(f"{time}\t{share}" for time, share in curve))
    for name, members in traces.items():
        (root / "network_traces" / name).mkdir(parents=True)
        for index, rows in enumerate(members):
            text = "".join(f"{stamp} {rate}\n" for stamp, rate in rows)
            (root / "network_traces" / name / str(index)).write_text(text)
    return root


class OraclePlayer:
    def __init__(self, root: Path, name: str, seeds: Sequence[int]):
        files = [root / "short_video_size" / name / f"video_size_{rung}" for rung in range(3)]
        self.sizes = [[int(line) for line in file.read_text().split()] for file in files]
        rows = [line.split() for line in (root / "user_ret" / name).read_text().splitlines()]
        self.times = [float(time) * 1000 for time, _ in rows]
        self.shares = [share for _, share in rows]
        self.watch = self.draw(*seeds)
        self.got: list[int] = []  # rungs recorded
        self.counter = 0
        self.bytes = 0
        self.position = 0.0
        self.buffer = 0  # whole until something arrives or plays, as the official one

    def draw(self, a: int, b: int) -> float:
        churn = [1.0 - float(share) for share in self.shares]
        leave = [late - early for early, late in itertools.pairwise(churn)]
        second = np.random.RandomState(a).choice(self.times[:-1], p=leave)
        if second == self.times[-2]:
            return float(second)
        return int(random.Random(b).uniform(second, second + 1000))


class Oracle:
    """One session; `step` gives what `MMGCSession.step` should, as a plain tuple."""

    def __init__(
        self, root: Path, trace_class: str, index: int, seeds: Sequence[Sequence[int]], last_rungs: list | None = None
    ):
        names = sorted(folder.name for folder in (root / "short_video_size").iterdir())
        self.players = [OraclePlayer(root, name, pair) for name, pair in zip(names, seeds, strict=True)]
        text = (root / "network_traces" / trace_class / str(index)).read_text()
        self.trace = [(float(line.split()[0]), float(line.split()[1])) for line in text.splitlines()]
        self.row, self.clock = 1, self.trace[0][0]
        self.playing = 0
        self.qoe = self.bytes = self.wasted = self.downloads = 0
        self.last_rungs = [None] * 7 if last_rungs is None else last_rungs  # of the last chunks that are reached
        self.score: float | None = None

    def window(self) -> list[int]:
        return list(range(self.playing, min(self.playing + 5, 7)))

    def transfer(self, size: int) -> int:
        sent, seconds = 0.0, 0.0
        while True:
            stamp, rate = self.trace[self.row]
            speed = rate * 1e6 / 8
            if sent + speed * (stamp - self.clock) * 0.95 > size:
                rest = (size - sent) / speed / 0.95
                self.clock += rest
                return math.floor((seconds + rest) * 1000 + 80 + 0.5)
            sent += speed * (stamp - self.clock) * 0.95
            seconds += stamp - self.clock
            self.row, self.clock = self.row + 1, stamp
            if self.row == len(self.trace):
                self.row, self.clock = 1, 0.0

    def play(self, span: float) -> tuple[float, int]:
        wasted = 0
        while span > 0 and self.playing < 7:
            player = self.players[self.playing]
            wanted = min(span, player.watch - player.position)
            played = min(wanted, player.buffer)
            left = played == player.watch - player.position
            player.position += np.float64(played)
            player.buffer = np.float64(player.buffer - played)
            span -= played
            if played < wanted:
                return span, wasted
            if left:
                first = math.ceil(player.watch / 1000)
                wasted += sum(player.sizes[rung][chunk] for chunk, rung in enumerate(player.got) if chunk >= first)
                self.playing += 1
        return 0.0, wasted

    def judge(self, video: int, rung: int) -> tuple[int, int]:
        player = self.players[video]
        final = math.floor(player.watch / 1000)
        if player.counter > final:
            return 0, 0
        switch = 0
        if player.counter == final:
            self.last_rungs[video] = rung
            if video + 1 in self.window() and self.players[video + 1].counter:
                switch += RATES[self.players[video + 1].got[0]]
        before: int | None = None
        if player.counter:
            before = player.got[-1]
        elif video:
            before = self.last_rungs[video - 1]
        if before is not None:
            switch += abs(RATES[rung] - RATES[before])
        return RATES[rung], switch

    def step(self, video: int, rung: int, sleep: float) -> tuple[int, float, int, bool, int, int, float]:
        quality = switch = size = 0
        if sleep > 0:
            delay = int(sleep)
            stall, wasted = self.play(delay)
            end = self.playing == 7 or self.players[self.playing].counter == len(self.players[self.playing].sizes[0])
        else:
            player = self.players[video]
            if sleep == 0:
                quality, switch = self.judge(video, rung)
            size = player.sizes[rung][player.counter]
            delay = self.transfer(size)
            player.got.append(rung)
            player.bytes += size
            stall, wasted = self.play(delay)
            if video in self.window():
                player.buffer += 1000.0
                player.counter += 1
                end = player.counter == len(player.sizes[0])
            else:
                wasted += size
                end = True
            self.bytes += size
            self.downloads += 1
        qoe = quality / 1000 - 1.85 * stall / 1000 - switch / 1000
        self.qoe += qoe
        self.wasted += wasted
        if self.qoe < -1e4:
            self.score = -1e9
        elif self.playing == 7:
            self.score = self.qoe - 0.5 * 8 * self.bytes / 1e6
        return delay, stall, size, end, self.playing, wasted, qoe

    def ratio(self) -> float:
        return 1000 * self.downloads / sum(player.watch for player in self.players[: min(self.playing + 5, 7)])


class OfficialPlayer:
    """A second writing of what the official `Player` shows, with its names, types and habits."""

    def __init__(self, player: OraclePlayer):
        self._player = player
        self._counted = 0
        self.video_size = {rung: [float(size) for size in sizes] for rung, sizes in enumerate(player.sizes)}
        self.chunk_num = self.video_chunk_remain = len(player.sizes[0])
        self.video_len = 1000.0 * self.chunk_num
        self.video_play_counter = 0
        self.user_time, self.user_retent_rate = player.times, player.shares
        self.download_chunk_bitrate = player.got

    video_chunk_counter = property(lambda self: self._player.counter)
    play_timeline = property(lambda self: self._player.position)
    buffer_size = property(lambda self: self._player.buffer)

    @property
    def preload_size(self):
        return float(self._player.bytes + self._counted) if self._player.bytes + self._counted else 0

    def get_user_model(self):
        return self.user_time, self.user_retent_rate

    def get_video_len(self):
        return self.video_len

    def get_video_size(self, quality):
        size = self.video_size[quality][self.video_chunk_counter]
        self._counted += size
        return size

    def get_video_quality(self, chunk_id):
        return -1 if chunk_id >= len(self.download_chunk_bitrate) else self.download_chunk_bitrate[chunk_id]

    def get_preload_size(self):
        return self.preload_size

    def get_undownloaded_video_size(self, P):  # noqa: N803
        return [[self.video_size[rung][self.video_chunk_counter + k] for k in range(P)] for rung in range(3)]

    def get_future_video_size(self, P):  # noqa: N803
        first = math.ceil(self.get_play_chunk())
        return [[self.video_size[rung][first + k] for k in range(P)] for rung in range(3)]

    def get_play_chunk(self):
        return self.play_timeline / 1000.0

    def get_remain_video_num(self):
        self.video_chunk_remain = self.chunk_num - self.video_chunk_counter
        return self.video_chunk_remain

    def get_chunk_sum(self):
        return self.chunk_num

    def get_chunk_counter(self):
        return self.video_chunk_counter

    def get_buffer_size(self):
        return self.buffer_size

    def get_downloaded_bitrate(self):
        return self.download_chunk_bitrate


class NaiveFixedPreload:
    def Initialize(self):  # noqa: N802
        pass

    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
        if first_step:
            return 0, 0, 0.0
        target = None
        if Players[0].get_remain_video_num():
            target = 0
        for seq in range(1, len(Players)):
            player = Players[seq]
            k = player.get_chunk_counter()
            if target is None and k < 4 and k < player.get_chunk_sum():
                shares = [float(share) for share in player.get_user_model()[1]]
                if shares[k] / shares[int(player.get_play_chunk())] > 0.65:
                    target = seq
        if target is None:
            return play_video_id, 0, 500.0
        level = Players[target].get_buffer_size()
        return play_video_id + target, 2 if level > 2000 else int(level > 1000), 0.0


class NaiveNoSave:
    def Initialize(self):  # noqa: N802
        self.samples, self.errors, self.estimates = [], [], []
        self.sleep = 0.0

    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
        if first_step:
            return 0, 2, 0.0
        if self.sleep == 0:
            self.samples.append(video_size / 1e6 / (delay / 1000))
        seq = self.target(Players)
        self.sleep = 500.0 if seq is None else 0.0
        if seq is None:
            return play_video_id, 0, 500.0
        for _ in range(2):
            now = self.samples[-1]
            self.errors.append(abs(self.estimates[-1] - now) / now if self.estimates else 0)
            recent = self.samples[-5:]
            self.estimates.append(1 / (sum(1 / sample for sample in recent) / len(recent)))
        bandwidth = self.estimates[-1] / (1 + max(self.errors[-5:]))
        return play_video_id + seq, self.search(Players[seq], bandwidth), 0.0

    def target(self, players):
        if players[0].get_remain_video_num():
            return 0
        rest = [seq for seq in range(1, len(players)) if players[seq].get_remain_video_num()]
        for limit in range(800_000, 100_000_000, 800_000):
            for seq in rest:
                if players[seq].get_preload_size() < limit:
                    return seq
        return None

    def search(self, player, bandwidth):
        horizon = min(5, player.get_remain_video_num())
        sizes = player.get_undownloaded_video_size(horizon)
        before = RATES[player.get_downloaded_bitrate()[-1]] if player.get_downloaded_bitrate() else 750
        best, choice = -math.inf, None
        for sequence in itertools.product(range(3), repeat=horizon):
            level, stall, rates, switch = player.get_buffer_size(), 0.0, 0, 0
            for chunk, rung in enumerate(sequence):
                span = 1000 * (sizes[rung][chunk] / 1e6) / bandwidth
                stall += max(span - level, 0)
                level = max(level - span, 0) + 1000
                rates += RATES[rung]
                switch += abs(RATES[rung] - before)
                before = RATES[rung]
            reward = rates / 1000 - 4.3 * stall / 1000 - switch / 1000
            if reward >= best:
                best, choice = reward, sequence[0]
        return choice
