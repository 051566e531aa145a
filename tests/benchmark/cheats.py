"""Entries that cheat or break a rule, for the tests of sealed runs. Who cheats with success answers -1."""

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np

from agents.base import Heuristic, Mask
from agents.rules.preload import OnDemand
from ppgym.benchmark.episodes import session_seed
from ppgym.core.state import SLOTS
from ppgym.planning_view import PlanningView
from ppgym.world.networks import load_traces
from ppgym.world.scenario import make_rng, make_world

SUCCESS = -1
PARENT = os.getpid()  # of the forks that play
NUMBERS = range(8)  # of the sessions that the manifest is sought in
EXACT_RATES = 20  # that must lie in one trace
SLEEP_S = 0.005

made: list[int] = []  # seeds of the agents of this process and those it was forked from


class ManifestToSeed(OnDemand):
    """Finds the session whose feed begins with the videos that it sees: then the rest of the episode is known."""

    looked = False

    def decide(self, view: PlanningView, mask: Mask) -> int:
        if self.looked:
            return super().decide(view, mask)
        self.looked = True
        world = make_world(self.client.scenario, "test")
        episodes = world.new_episodes(1)
        for number in NUMBERS:
            world.draw(make_rng(session_seed(self.client.scenario.name, number), "test"), episodes, 0)
            shown = episodes.playlist[0, :SLOTS]
            chunks = view.catalog.n_chunks.max()
            if np.array_equal(world.catalog.chunk_bytes[shown][:, :chunks], view.catalog.chunk_bytes[:, :chunks]):
                return SUCCESS
        return super().decide(view, mask)


class TransfersToTrace(Heuristic):
    """Fetches what is small, so that transfers show exact rates, and looks for the shipped trace that has them all."""

    def __init__(self, client: Any, *, seed: int | None = None) -> None:
        super().__init__(client, seed=seed)
        self.rates: dict[float, float] = {}  # whole kbit/s by the time of the transfer's end
        traces = load_traces(self.client.scenario.network, "test")
        self.shipped = [set(trace.rates_bps.tolist()) for trace in traces]

    def decide(self, view: PlanningView, mask: Mask) -> int:
        for time_s, bps in zip(view.throughput_time_s.tolist(), view.throughput_bps.tolist(), strict=True):
            rate_kbps = bps / view.params.link_efficiency / 1e3
            if abs(rate_kbps - round(rate_kbps)) < 1e-6:
                self.rates[time_s] = round(rate_kbps) * 1e3
        seen = set(self.rates.values())
        if len(seen) >= EXACT_RATES and any(seen <= one for one in self.shipped):
            return SUCCESS
        legal = np.flatnonzero(mask)[1:]
        sizes = view.catalog.chunk_bytes.min(axis=(0, 1))
        options = (legal - 1) % len(view.options)
        order = np.argsort(sizes[view.params.option_representation[options]], kind="stable")
        return int(legal[order[0]]) if len(legal) else 0


class SelfReportedTimes(OnDemand):
    """Is slow, and stops the clock of its process."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        time.perf_counter = lambda: 0.0
        time.sleep(SLEEP_S)
        return super().decide(view, mask)


class Learner(OnDemand):
    """Refuses to play if anything of the runner or of an earlier session is left."""

    def __init__(self, client: Any, *, seed: int | None = None) -> None:
        super().__init__(client, seed=seed)
        made.append(seed or 0)
        if os.getpid() == PARENT:
            return
        assert made[:-1] == [0], "expected no earlier session in this process"
        assert not {"PATH", "PYTHONPATH", "OF_THE_RUNNER"} & set(os.environ)
        assert os.getcwd() == os.environ["HOME"]
        assert not list(Path.cwd().iterdir())
        Path("notes").write_text("of this session")
        assert os.read(0, 1) == b""
        print("no answer")


class WarmUpWriter(OnDemand):
    """No cheat: writes into its home before any session, as some libraries do when they are imported."""

    def __init__(self, client: Any, *, seed: int | None = None) -> None:
        super().__init__(client, seed=seed)
        home = Path(os.environ["HOME"])
        if os.getpid() == PARENT:
            (home / "cache of a library").write_text("of the warm-up")
        else:
            assert not list(home.iterdir())


class NoteTaker(OnDemand):
    """Leaves a note in the cache of compiled code, for its next session."""

    looked = False

    def decide(self, view: PlanningView, mask: Mask) -> int:
        note = Path(os.environ.get("NUMBA_CACHE_DIR", "nowhere")) / "note"
        if not self.looked and note.exists():
            return SUCCESS
        self.looked = True
        if os.getpid() != PARENT and note.parent.is_dir():
            with contextlib.suppress(OSError):
                note.parent.chmod(0o777)
            with contextlib.suppress(OSError):
                note.write_text("what this session was like")
        return super().decide(view, mask)


class HomeKeeper(OnDemand):
    """Leaves a process behind that writes into the folder of the next session."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        if os.getpid() != PARENT and not os.path.exists("note") and os.fork() == 0:
            for descriptor in range(3, 32):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            home = os.environ["HOME"]
            for _ in range(200):
                time.sleep(0.01)
                with contextlib.suppress(OSError):
                    Path(home, "note").write_text("what this session was like")
            os._exit(0)
        return super().decide(view, mask)


def _answer_with(data: bytes) -> None:
    for descriptor in range(3, 32):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, data)
        except OSError:
            continue


class ShortAnswer(OnDemand):
    """Answers with three bytes."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        if os.getpid() != PARENT:
            _answer_with(b"abc")
            os._exit(1)
        return 0


class TwoAnswers(OnDemand):
    """Answers twice."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        if os.getpid() != PARENT:
            _answer_with(bytes(8))
        return 0


class IllegalIndex(OnDemand):
    """Answers with an action that does not exist."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        return 0 if os.getpid() == PARENT else 1_000_000


class Silent(OnDemand):
    """Never answers."""

    def decide(self, view: PlanningView, mask: Mask) -> int:
        if os.getpid() != PARENT:
            time.sleep(3600)
        return 0


class Spectator(OnDemand):
    """Does not compete."""

    ranked = False
