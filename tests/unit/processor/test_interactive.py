"""A piece that is sent as it is written: a reader who is slow or gone, and what is held meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.handlers.registry import Registry
from parallel_processor.interactive import Interactive
from parallel_processor.jobs.piece import Piece, PieceSpec
from parallel_processor.model.failures import FailureClass, Fate
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.running.ports import Owner, Prompt
from parallel_processor.running.workshop import Workshop
from parallel_processor.spool import Text
from service_common.errors import ServiceError

from tests.unit.processor.running.fakes import FakeEndpoint, failure, interactive_purse, prompt, until
from tests.unit.processor.running.test_making import Bench
from tests.unit.processor.samples import OWNER, raw_spec

WORDS = ["word "] * 10_000


@dataclass
class Writing(FakeEndpoint):
    """An endpoint that writes ten thousand words, or one and then nothing.

    Attributes:
        hangs: Whether nothing comes after the first word.
        left: How many calls were cancelled.
    """

    hangs: bool = False
    left: int = 0

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Write."""
        self.asked.append(request)
        if self.script:
            raise cast("Exception", self.script.pop(0))
        try:
            for word in WORDS:
                on_text(word)
                await asyncio.sleep(60 if self.hangs else 0)
        except asyncio.CancelledError:
            self.left += 1
            raise
        return ModelReply("".join(WORDS), request.model, False, 10, 10_000, 1.0, first_token_s=0.1)


class _Prompts:
    """Prompts without an optimizer."""

    async def prepare(self, _owner: Owner, specs: Sequence[PieceSpec], *, patient: bool) -> list[Prompt]:
        """Return one each."""
        return [prompt() for _ in specs]


@dataclass
class Room:
    """Interactive pieces with a bench behind them."""

    endpoint: Writing = field(default_factory=Writing)

    def __post_init__(self) -> None:
        self.bench = Bench(endpoint=self.endpoint)
        shop = Workshop(
            prompts=cast("Any", _Prompts()),
            content=self.bench.content,
            making=self.bench.making,
            post_processing=PostProcessing(
                Registry(timeout_s=1.0), threads=1, clock=self.bench.clock, observe=lambda *_: None
            ),
            default_model="m",
            max_output_tokens=None,
            clock=self.bench.clock,
            patience_s=1.0,
            urgent_patience_s=1.0,
        )
        self.interactive = Interactive(
            shop,
            calls=self.bench.calls,
            requests=cast("Any", None),
            purse=interactive_purse(),
            clock=self.bench.clock,
        )

    def stream(self) -> Any:
        """Ask for a piece."""
        return self.interactive.stream(OWNER, raw_spec(), request_id="", body=b"", max_cost_micros=0)


async def test_a_reader_who_stalls_holds_no_slot_and_no_lease() -> None:
    """The call ends at the pace of the model and gives all back; the rest is there when the reader comes."""
    room = Room()
    async with aclosing(room.stream()) as frames:
        text = (await anext(frames)).text
        await until(lambda: bool(room.bench.cache.fills))
        assert (room.bench.slots.active, room.bench.cache.leases) == (0, {})
        rest = [frame async for frame in frames]

    assert text + "".join(frame.text for frame in rest[:-1]) == "".join(WORDS)
    assert len(rest) < 20
    assert isinstance(rest[-1], Piece)
    assert rest[-1].model == "m"


async def test_a_reader_who_leaves_ends_the_call() -> None:
    """By then the call is over, its slot and lease are back, and it counts as of unknown fate."""
    room = Room(Writing(hangs=True))
    async with aclosing(room.stream()) as frames:
        assert await anext(frames) == Text("word ")

    await room.bench.content.flushed()
    assert room.endpoint.left == 1
    assert (room.bench.slots.active, room.bench.cache.leases, room.bench.cache.fills) == (0, {}, [])
    assert [each.uncertain_calls for each in room.bench.spent] == [1]


async def test_a_failure_ends_the_stream() -> None:
    """What cannot be made is raised, as for a piece that comes whole."""
    room = Room()
    room.endpoint.script = [failure(FailureClass.INVALID_REQUEST, Fate.NOT_BILLED)]
    with pytest.raises(ServiceError) as caught:
        [frame async for frame in room.stream()]
    assert caught.value.reason == "MODEL_REFUSED"
