"""Which trace files the sessions of some records had: what an interval over other traces needs to know."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from ppgym.benchmark.estimates import LEAST_CLUSTERS
from ppgym.benchmark.records import Record
from ppgym.benchmark.replay import replay
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario


class Traces(NamedTuple):
    """The traces of n sessions."""

    files: int | None = None  # how many there are to draw from; None where traces are generated
    clusters: npt.NDArray[Any] | None = None  # [n] trace of each session, where there are enough files

    @property
    def note(self) -> str:
        """Ends the title of a table whose intervals say nothing of other traces; else empty."""
        return "" if self.files is None or self.clusters is not None else f", given these {self.files} traces"


def find_traces(records: Sequence[Record]) -> Traces:
    """The traces of sessions, which a replay tells where they are files.

    Args:
        records: Of one agent in one world, at least one.

    Returns:
        With the trace of each session from `LEAST_CLUSTERS` files on: then intervals are over traces.
    """
    first = records[0]
    if Scenario.parse(first["scenario"], **first.get("overrides", {})).network in NETWORKS:
        return Traces()
    totals = replay(records).totals
    count = int(totals["file_traces"][0])
    return Traces(count, totals["trace"] if count >= LEAST_CLUSTERS else None)
