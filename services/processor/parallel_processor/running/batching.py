"""Requests that arrive together travel together: one RPC for many items, no waiting without load.

The first request of an idle lane goes out at once. While batches are under way further requests gather, and
go out together a little later, so batches grow with load and latency stays near that of one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

LaneT = TypeVar("LaneT", bound=Hashable)
RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Lane(Generic[RequestT, ResultT]):
    waiting: list[tuple[RequestT, asyncio.Future[ResultT]]] = field(default_factory=list)
    under_way: int = 0
    flush_planned: bool = False


class Batcher(Generic[LaneT, RequestT, ResultT]):
    """Gathers requests by lane and sends them in batches.

    A lane is what a batch must not mix, such as tenants.
    """

    def __init__(
        self,
        send: Callable[[LaneT, list[RequestT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        max_batch: int = 200,
        max_under_way: int = 2,
        linger_s: float = 0.008,
        patient: bool = False,
    ) -> None:
        """Prepare a batcher.

        Args:
            send: Sends a batch and returns one result per request, in order; an exception among them is
                raised to its own caller, one that it raises to all of the batch.
            max_batch: The most requests in a batch.
            max_under_way: The most batches of a lane at a time.
            linger_s: How long a loaded lane gathers before its next batch.
            patient: Whether it gathers that long after each batch too, and has one under way unless more
                than fill another wait. For what nothing scarce waits for: a call costs more than the
                requests in it, so fewer of them are worth a moment.
        """
        self._send = send
        self._max_batch = max_batch
        self._max_under_way = max_under_way
        self._linger_s = linger_s
        self._patient = patient
        self._lanes: dict[LaneT, _Lane[RequestT, ResultT]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: on CPython 3.11 every asking is a system call."""
        return asyncio.get_running_loop()

    async def submit(self, lane: LaneT, request: RequestT) -> ResultT:
        """Send a request with others of its lane and return its result."""
        return await self._enqueue(lane, request)

    def post(self, lane: LaneT, request: RequestT) -> asyncio.Future[ResultT]:
        """Send a request with others of its lane, whether or not anyone waits for what is returned."""
        future = self._enqueue(lane, request)
        future.add_done_callback(_forget)
        return future

    async def flushed(self) -> None:
        """Wait until everything is sent."""
        await asyncio.sleep(0)  # what was enqueued in this turn of the loop forms its batch
        while self._lanes:
            for lane, state in list(self._lanes.items()):
                self._flush(lane, state)
            if self._tasks:
                await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    def _enqueue(self, lane: LaneT, request: RequestT) -> asyncio.Future[ResultT]:
        future: asyncio.Future[ResultT] = self._loop.create_future()
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = _Lane()
        state.waiting.append((request, future))
        if len(state.waiting) >= self._max_batch:
            self._flush(lane, state)
        elif not state.flush_planned and state.under_way < (1 if self._patient else self._max_under_way):
            state.flush_planned = True
            if state.under_way:
                self._loop.call_later(self._linger_s, self._flush, lane, state)
            else:
                self._loop.call_soon(self._flush, lane, state)
        return future

    def _flush(self, lane: LaneT, state: _Lane[RequestT, ResultT]) -> None:
        state.flush_planned = False
        while state.waiting and state.under_way < self._max_under_way:
            batch = state.waiting[: self._max_batch]
            del state.waiting[: self._max_batch]
            batch = [each for each in batch if not each[1].done()]
            if not batch:
                continue
            state.under_way += 1
            task = self._loop.create_task(self._deliver(lane, state, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not state.waiting and not state.under_way and self._lanes.get(lane) is state:
            del self._lanes[lane]

    def _gather(self, lane: LaneT, state: _Lane[RequestT, ResultT]) -> None:
        """Send what has come while a batch was under way: at once, or when more has joined it."""
        if not self._patient or not 0 < len(state.waiting) < self._max_batch:
            self._flush(lane, state)
        elif not state.flush_planned and not state.under_way:
            state.flush_planned = True
            self._loop.call_later(self._linger_s, self._flush, lane, state)

    async def _deliver(
        self,
        lane: LaneT,
        state: _Lane[RequestT, ResultT],
        batch: list[tuple[RequestT, asyncio.Future[ResultT]]],
    ) -> None:
        try:
            results = await self._send(lane, [request for request, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                _resolve(future, result)
        except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
            for _, future in batch:
                _resolve(future, error)
        finally:
            for _, future in batch:
                future.cancel()  # only those that a cancelled delivery left undecided
            state.under_way -= 1
            self._gather(lane, state)


def by_size(
    requests: Iterable[RequestT], size: Callable[[RequestT], int], *, most: int
) -> Iterator[list[RequestT]]:
    """Cut requests into parts of so many bytes at most; one that is larger is a part of its own."""
    part: list[RequestT] = []
    total = 0
    for request in requests:
        if part and total + size(request) > most:
            yield part
            part, total = [], 0
        part.append(request)
        total += size(request)
    if part:
        yield part


def _forget(future: asyncio.Future[ResultT]) -> None:
    if not future.cancelled():
        future.exception()  # marks it as seen


def _resolve(future: asyncio.Future[ResultT], result: ResultT | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
