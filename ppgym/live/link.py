"""The law of the shaped link: a trace's rate, equal shares, a round trip before each transfer's first byte.

It is the law of `ppgym.core.transfers` for a server that asks, at whatever moment it wakes up, how many bytes of each
transfer may have left by now. Nothing here knows sockets or reads a clock.
"""

from dataclasses import dataclass, field

from ppgym.core.link import bits_at, place_after
from ppgym.core.state import F8, NEVER_S


@dataclass(eq=False)
class Flow:
    """A transfer on the link.

    Attributes:
        start_s: When its round trip ends and bytes begin to flow.
        size_bytes: Payload.
        carried_bytes: Of it, up to the time at which the link was settled.
    """

    start_s: float
    size_bytes: float
    carried_bytes: float = 0.0

    @property
    def left_bytes(self) -> float:
        """What has not been carried."""
        return self.size_bytes - self.carried_bytes


@dataclass(eq=False)
class SharedLink:
    """A trace that repeats, shared equally by the open transfers whose round trip has passed.

    Attributes:
        time_s: [T + 1] edges of the trace's intervals, from 0.
        bits: [T + 1] bits that the trace carries up to each edge.
        offset_s: Place in the trace at time 0.
        efficiency: Share of the trace's rate that carries payload.
        rtt_s: From a request to its first byte.
        settled_s: Up to when bytes are counted; times passed to the methods never lie before it.
        flows: The open transfers.
    """

    time_s: F8
    bits: F8
    offset_s: float
    efficiency: float
    rtt_s: float
    settled_s: float = 0.0
    flows: list[Flow] = field(default_factory=list)

    def open(self, now_s: float, size_bytes: int) -> Flow:
        """Request a transfer.

        Args:
            now_s: Time of the request.
            size_bytes: Payload, above 0.

        Returns:
            The transfer, which counts among the shares until `close`.
        """
        self.settle(now_s)
        flow = Flow(now_s + self.rtt_s, float(size_bytes))
        self.flows.append(flow)
        return flow

    def close(self, flow: Flow, now_s: float) -> None:
        """End a transfer, whether all of it was carried or not; its share goes to the others.

        Args:
            flow: One of `flows`.
            now_s: When.
        """
        self.settle(now_s)
        self.flows.remove(flow)

    def settle(self, now_s: float) -> None:
        """Count the bytes carried up to a time.

        Args:
            now_s: Until when.
        """
        while self.settled_s < now_s:
            flowing = self._flowing()
            start_s = min((flow.start_s for flow in self.flows if flow.start_s > self.settled_s), default=NEVER_S)
            first = min(flowing, key=lambda flow: flow.left_bytes, default=None)
            end_s = NEVER_S if first is None else self.end_s(first)
            until_s = max(min(now_s, start_s, end_s), self.settled_s)
            if first is not None:
                share_bytes = self._carried_bytes(self.settled_s, until_s) / len(flowing)
                for flow in flowing:
                    flow.carried_bytes = min(flow.carried_bytes + share_bytes, flow.size_bytes)
                if end_s <= until_s:  # whatever rounding leaves of it
                    first.carried_bytes = first.size_bytes
            self.settled_s = until_s

    def end_s(self, flow: Flow) -> float:
        """When a transfer's last byte leaves, if the flowing transfers stay these.

        Args:
            flow: One of `flows`, with the link settled.

        Returns:
            Time; that of the settling where nothing is left.
        """
        if flow.left_bytes <= 0:
            return self.settled_s
        sharing = max(len(self._flowing()), 1)
        return self._time_after(max(self.settled_s, flow.start_s), flow.left_bytes * sharing)

    def _flowing(self) -> list[Flow]:
        return [flow for flow in self.flows if flow.start_s <= self.settled_s and flow.left_bytes > 0]

    def _carried_bytes(self, since_s: float, until_s: float) -> float:
        first, last = (bits_at(self.time_s, self.bits, self.offset_s + at_s) for at_s in (since_s, until_s))
        return float((last - first) * self.efficiency / 8)

    def _time_after(self, since_s: float, amount_bytes: float) -> float:
        bits = amount_bytes * 8 / self.efficiency
        return float(place_after(self.time_s, self.bits, self.offset_s + since_s, bits)) - self.offset_s
