"""Two calls for a piece whose first is slow to begin: the first to write wins, the other is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from service_common.clock import Clock

from parallel_processor.jobs.piece import Usage
from parallel_processor.limits.lanes import Hold
from parallel_processor.model.failures import ModelFailure
from parallel_processor.model.requests import ModelRequest
from parallel_processor.running.calls import Answer, ModelCalls, OnText
from parallel_processor.running.hedges import Hedges

_Call: TypeAlias = "asyncio.Task[Answer]"
_FIRST = asyncio.FIRST_COMPLETED


@dataclass(frozen=True, slots=True)
class Spare:
    """What a second call needs beside its first.

    Attributes:
        room: Whether there is a slot for it at once; nobody is kept waiting for a second call.
        slot: Holds that slot.
        afford: Sees that both calls may be paid; raises ServiceError if not.
        lost: Is told what a call took that did not bring the answer.
    """

    room: Callable[[], bool]
    slot: Callable[[], AbstractAsyncContextManager[Hold]]
    afford: Callable[[], Awaitable[None]]
    lost: Callable[[Usage], None]


class _Race:
    """Calls of which one is heard.

    Its mutable state: the calls, which of them went out, which wrote first and when, and whose end is the
    caller's to account for.
    """

    def __init__(self, on_text: OnText, *, clock: Clock) -> None:
        self._on_text = on_text
        self._clock = clock
        self._started = clock.monotonic()
        self.calls: list[_Call] = []
        self.asked = [True, False]
        self.leader: int | None = None
        self.begun_s = 0.0
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.settled = 0

    def lane(self, number: int) -> OnText:
        """Return what hears a call: the first that writes ends the other, and is passed on."""

        def hear(text: str) -> None:
            if self.leader is None:
                self.leader = number
                self.begun_s = self._clock.monotonic() - self._started
                self.begun.set_result(None)
                for other, call in enumerate(self.calls):
                    if other != number:
                        call.cancel()
            if self.leader == number:
                self._on_text(text)

        return hear

    async def first_answer(self) -> Answer:
        """Return the first answer, or raise the last failure when there is none."""
        while True:
            await asyncio.wait(
                [call for call in self.calls if not call.done()] or self.calls, return_when=_FIRST
            )
            good = [number for number, call in enumerate(self.calls) if _answered(call)]
            if good or all(call.done() for call in self.calls):
                failed = [number for number, call in enumerate(self.calls) if _failure(call)]
                self.settled = (good or failed or [0])[-1]
                return self.calls[self.settled].result()

    async def end(self) -> None:
        """Cancel what is still out and wait for its end."""
        for call in self.calls:
            call.cancel()
        await asyncio.wait(self.calls)


class HedgedCalls:
    """Makes calls, and now and then a second one beside them."""

    def __init__(
        self, calls: ModelCalls, hedges: Hedges, *, clock: Clock, on_hedge: Callable[[bool], None]
    ) -> None:
        """Prepare to call.

        Args:
            calls: Makes one call.
            hedges: Decides on second ones.
            clock: Time.
            on_hedge: Is told of each second call whether it brought the answer.
        """
        self._calls = calls
        self._hedges = hedges
        self._clock = clock
        self._on_hedge = on_hedge

    async def call(self, request: ModelRequest, on_text: OnText, spare: Spare) -> Answer:
        """Ask for one completion, as `ModelCalls.call` does; text is heard of one call only.

        What is returned, raised or cut off by a cancellation is one call, which the caller accounts for as
        usual; what the other took goes to `spare.lost`.
        """
        self._hedges.called()
        race = _Race(on_text, clock=self._clock)
        race.calls.append(asyncio.create_task(self._calls.call(request, race.lane(0))))
        try:
            if await self._is_slow(request.model, race) and spare.room() and self._hedges.take():
                race.calls.append(asyncio.create_task(self._second(request, race, spare)))
            answer = await race.first_answer()
            self._learn(request.model, race, answer)
            return answer
        finally:
            await race.end()
            self._account(request, race, spare)

    async def _is_slow(self, model: str, race: _Race) -> bool:
        """Wait until the first call writes or ends, but no longer than is usual."""
        wait_s = self._hedges.wait_s(model)
        if wait_s is None:
            return False
        either: list[asyncio.Future[Any]] = [race.calls[0], race.begun]
        await asyncio.wait(either, timeout=wait_s, return_when=_FIRST)
        return not (race.calls[0].done() or race.begun.done())

    async def _second(self, request: ModelRequest, race: _Race, spare: Spare) -> Answer:
        async with spare.slot() as slot:
            await spare.afford()
            await slot.begin()
            race.asked[1] = True
            return await self._calls.call(request, race.lane(1))

    def _learn(self, model: str, race: _Race, answer: Answer) -> None:
        if answer.reply.first_token_s is not None:
            self._hedges.began(model, answer.reply.first_token_s)
        if race.settled == 1 and race.leader == 1:
            # The first would have taken longer still: leaving it out would make slow calls look rare.
            self._hedges.began(model, race.begun_s)

    def _account(self, request: ModelRequest, race: _Race, spare: Spare) -> None:
        """Tell of the call that is not the caller's, and of the second one's luck."""
        if len(race.calls) == 1:
            return
        if not race.asked[1]:
            self._hedges.give_back()
            return
        self._on_hedge(race.settled == 1 and _answered(race.calls[1]))
        other = race.calls[1 - race.settled]
        if failure := _failure(other):
            spare.lost(self._calls.spent_on(request, failure))
        elif other.cancelled():
            spare.lost(self._calls.uncertain(request))


def _answered(call: _Call) -> bool:
    return call.done() and not call.cancelled() and call.exception() is None


def _failure(call: _Call) -> ModelFailure | None:
    error = call.exception() if call.done() and not call.cancelled() else None
    return error if isinstance(error, ModelFailure) else None
