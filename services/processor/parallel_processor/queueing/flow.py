"""One party in the queue, and the order among parties: start-time fair queueing.

A flow's start tag is where its next piece of work begins in virtual time; work of a number of tokens moves it
on by tokens/weight, and the flow with the smallest tag is served next. Virtual time is the start tag of what
was served last, and a flow that comes, or comes back, begins there: it has no credit for the time it was away
(Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996; with many served at a time: Jin, Chase, Kaur:
"Interposed Proportional Sharing for a Storage Service Utility", SIGMETRICS 2004).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

BRIEF_S = 1.0
"""A tenant that has had nothing in line for no longer than this was not away: its items were on their way."""

URGENT_LEAD = 200_000.0
"""Tokens, per unit of its weight, by which urgent work may take its tenant beyond its share."""

IDLE_KEPT = 256
"""Flows that may be remembered though nothing of them is here."""


@dataclass(slots=True, eq=False, repr=False)
class Flow:
    """What tenants and jobs have in common.

    Attributes:
        name: The tenant, or the job.
        weight: Its share.
        floor: Virtual time when it came, or came back.
        finish: Where the work that it was served ends in virtual time.
        tag: The start tag of its next work, while it has any.
        waiting: Pieces of work that wait.
        active: Pieces of work that are being done.
        stamp: Counts its placements; an entry of an order with an earlier stamp means nothing.
    """

    name: str
    weight: float = 1.0
    floor: float = 0.0
    finish: float = 0.0
    tag: float = 0.0
    waiting: int = 0
    active: int = 0
    stamp: int = 0

    def come(self, time: float) -> None:
        """Begin, or begin again, at a virtual time: what it was served before may still count against it."""
        self.floor = time
        self.tag = max(time, self.finish)

    def served(self, tokens: float) -> None:
        """Charge what its next work will probably take."""
        self.finish = self.tag
        self.corrected(tokens)

    def corrected(self, tokens: float) -> None:
        """Charge so many tokens more, or fewer; what is given back is no credit from before it came."""
        self.finish += tokens / self.weight
        self.tag = max(self.floor, self.finish)


FlowT = TypeVar("FlowT", bound=Flow)


_STALE_KEPT = 256


class FairOrder(Generic[FlowT]):
    """Flows by their tags. Its mutable state: a heap in which earlier placements stay until they come up.

    Before they are more than half of it they are dropped, in case what comes up first is not taken for long.

    Attributes:
        time: Virtual time.
    """

    __slots__ = ("_heap", "_placed", "_roomy", "time")

    def __init__(self) -> None:
        self.time = 0.0
        self._placed = 0
        self._roomy = _STALE_KEPT
        self._heap: list[tuple[float, float, int, int, FlowT]] = []

    @property
    def size(self) -> int:
        """Placements kept, earlier ones that mean nothing among them."""
        return len(self._heap)

    def place(self, flow: FlowT, tie: float) -> None:
        """Put a flow where its tag says; of equal tags the smaller tie goes first, then who came first."""
        self._placed += 1
        if len(self._heap) >= self._roomy:
            self._heap = [each for each in self._heap if each[3] == each[4].stamp and each[4].waiting]
            heapq.heapify(self._heap)
            self._roomy = 2 * len(self._heap) + _STALE_KEPT
        heapq.heappush(self._heap, (flow.tag, tie, self._placed, flow.stamp, flow))

    def first(self) -> FlowT | None:
        """Return the flow whose turn it is."""
        heap = self._heap
        while heap:
            _, _, _, stamp, flow = heap[0]
            if stamp == flow.stamp and flow.waiting:
                return flow
            heapq.heappop(heap)
        return None

    def in_order(self) -> list[FlowT]:
        """Return all flows in the order of their turns."""
        return [each[4] for each in sorted(self._heap) if each[3] == each[4].stamp and each[4].waiting]
