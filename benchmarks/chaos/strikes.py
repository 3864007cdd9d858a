"""Strikes the processes of a factory by schedule, and puts them back on their feet as a cluster would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from benchmarks.chaos.faults import Fault, How
from benchmarks.chaos.history import Blow
from tests.support.factory import Factory

_LOOK_S = 0.05


class Strikes:
    """Carries a schedule out. Its mutable state: who is away and comes back when.

    Attributes:
        blows: What fell, in order.
    """

    def __init__(self, factory: Factory, faults: Sequence[Fault], say: Callable[[str], None]) -> None:
        self.blows: list[Blow] = []
        self._factory = factory
        self._faults = faults
        self._say = say
        self._away: dict[str, Future[None]] = {}

    def run(self, progress: Callable[[], float], over: Callable[[], bool]) -> None:
        """Strike until the schedule is through; whoever is away then comes back first.

        Args:
            progress: The share of the work that is done.
            over: Whether the work has ended, so that nothing can be disturbed any more.
        """
        with ThreadPoolExecutor(len(self._factory.services)) as helping:
            for fault in self._faults:
                while not over() and (progress() < fault.at or self._is_away(fault.target)):
                    time.sleep(_LOOK_S)
                if over():
                    break
                self._strike(fault)
                self._away[fault.target] = helping.submit(self._bring_back, fault)
        for each in self._away.values():
            each.result()

    def _is_away(self, target: str) -> bool:
        back = self._away.get(target)
        return back is not None and not back.done()

    def _strike(self, fault: Fault) -> None:
        if fault.how is How.KILL:
            self._factory.kill(fault.target)
        else:
            self._factory.pause(fault.target)
        self.blows.append(Blow(fault.target, time.time()))
        self._say(str(fault))

    def _bring_back(self, fault: Fault) -> None:
        time.sleep(fault.away_s)
        if fault.how is How.KILL:
            self._factory.restart(fault.target)
        else:
            self._factory.resume(fault.target)
