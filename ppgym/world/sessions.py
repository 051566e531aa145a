"""The sessions of a sealed suite as whole numbers: one trace, one set of videos and one seed each, drawn from a secret.

No shipped file helps with them. Whoever checks results reads the revealed numbers and never draws them again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ppgym.core.jit import code_of
from ppgym.core.state import MAX_VIDEOS
from ppgym.files import replacing
from ppgym.world import generators
from ppgym.world.generators import I8, SAMPLE_S, TRACE_SAMPLES, digest_of, generate_rates, generate_sizes, stream
from ppgym.world.networks import NetworkTrace
from ppgym.world.scenario import Scenario, World, make_session_world
from ppgym.world.videos import Video

KINDS = {"seed": 2, "rates": 3, "sizes": 4}  # first part of a stream's key; the public worlds have 0 and 1
SEED_BITS = 48


def generator_hash() -> str:
    """Hash of the code that turns a secret into sessions, comments and docstrings left out: 64 hex digits."""
    code = "".join(code_of(Path(file)) for file in (str(generators.__file__), __file__))
    return hashlib.sha256(code.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Sessions:
    """The sessions of some scenarios (K of them, N sessions each) with whole numbers alone.

    Attributes:
        scenarios: [K] names.
        seeds: int64 [K, N], of the hidden episodes; no two of a scenario are equal.
        edges_us: int64 [T + 1], edges of the intervals of every trace, in microseconds.
        rates_bps: int64 [K, N, T].
        chunks: int64 [K, N, V], chunks of each video.
        chunk_bytes: int64 [sum of chunks, P], sizes of all chunks of all videos in the P pixel representations of the
            default ladder, session by session.
    """

    scenarios: tuple[str, ...]
    seeds: I8
    edges_us: I8
    rates_bps: I8
    chunks: I8
    chunk_bytes: I8

    @classmethod
    def generate(cls, scenarios: Sequence[str], count: int, secret: int) -> Self:
        """Draw sessions.

        Args:
            scenarios: Names of generated networks; K of them.
            count: N.
            secret: What they are drawn from.

        Returns:
            The sessions. The same secret gives the same numbers on every machine.

        Raises:
            ValueError: A scenario that is unknown.
        """
        networks = [Scenario.parse(name).network for name in scenarios]
        places = [(k, n) for k in range(len(scenarios)) for n in range(count)]
        shape = len(scenarios), count
        seeds = [stream(secret, KINDS["seed"], *place).integers(2**SEED_BITS) for place in places]
        rates = [generate_rates(networks[k], stream(secret, KINDS["rates"], k, n)) for k, n in places]
        sizes = [
            generate_sizes(stream(secret, KINDS["sizes"], *place, v)) for place in places for v in range(MAX_VIDEOS)
        ]
        return cls(
            scenarios=tuple(scenarios),
            seeds=np.array(seeds, np.int64).reshape(shape),
            edges_us=np.arange(TRACE_SAMPLES + 1, dtype=np.int64) * round(SAMPLE_S * 1e6),
            rates_bps=np.array(rates).reshape(*shape, TRACE_SAMPLES),
            chunks=np.array([len(one) for one in sizes], np.int64).reshape(*shape, MAX_VIDEOS),
            chunk_bytes=np.concatenate(sizes),
        )

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: array for name, array in vars(self).items() if name != "scenarios"}

    @property
    def digest(self) -> str:
        """What is published before play: SHA-256 of the names of the scenarios and the digest of the arrays."""
        text = "\n".join((*self.scenarios, digest_of(self._arrays().values())))
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write a NumPy archive as a whole.

        Args:
            path: Ends in ".npz"; the folder is made where it is missing.
        """
        with replacing(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = self._arrays()
            np.savez_compressed(file, scenarios=np.array(self.scenarios), **arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; no object in it is unpickled.

        Args:
            path: The archive.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such an archive; names what was expected.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            names = tuple(arrays.pop("scenarios").tolist())
            sessions = cls(names, **arrays)
            shapes = sessions.rates_bps.shape, sessions.chunks.shape[:2], len(sessions.chunk_bytes)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged archive can raise anything
            raise ValueError(
                f"{path}: expected the sessions of a sealed suite: {type(error).__name__}: {error}"
            ) from None
        expected = (
            (*sessions.seeds.shape, len(sessions.edges_us) - 1),
            sessions.seeds.shape,
            int(sessions.chunks.sum()),
        )
        if shapes != expected or len(names) != len(sessions.seeds):
            raise ValueError(f"{path}: expected arrays that fit {len(names)} scenarios, {expected}; got {shapes}")
        return sessions

    def world(self, scenario: str, seed: int) -> World:
        """The world of one session.

        Args:
            scenario: Name.
            seed: Of the session.

        Returns:
            The world; `env.reset(seed=seed)` in it draws the episode.

        Raises:
            ValueError: No such session.
        """
        if scenario not in self.scenarios:
            raise ValueError(f"scenario {scenario!r}: expected one of the sealed suite, {', '.join(self.scenarios)}")
        k = self.scenarios.index(scenario)
        found = np.flatnonzero(self.seeds[k] == seed)
        if len(found) != 1:
            raise ValueError(f"{scenario}, seed {seed}: expected a session of the sealed suite, found {len(found)}")
        n = int(found[0])
        trace = NetworkTrace(f"sealed/{k}/{n}", self.edges_us / 1e6, self.rates_bps[k, n].astype(np.float64))
        chunks = self.chunks[k, n]
        first = int(self.chunks.reshape(-1, chunks.size)[: k * self.seeds.shape[1] + n].sum())
        sizes = np.split(self.chunk_bytes[first : first + chunks.sum()].astype(np.float64), np.cumsum(chunks)[:-1])
        videos = tuple(Video(f"sealed-{v}", one) for v, one in enumerate(sizes))
        return make_session_world(Scenario.parse(scenario), trace, videos)
