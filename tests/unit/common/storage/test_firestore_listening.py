"""What a feed makes of a listen stream: what was told first, resets, tokens, ends and streams that hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from random import Random
from typing import Any

import pytest
from google.api_core.exceptions import from_grpc_status
from google.cloud.firestore_v1.types import firestore as rpc
from grpc import StatusCode
from service_common.storage.feed import DocumentFeed
from service_common.storage.firestore.connection import connect
from service_common.storage.firestore.listening import Listener

Response: Any = rpc.ListenResponse.pb()
Change = rpc.TargetChange.TargetChangeType
NAME = "projects/p/databases/d/documents/tenants/_/things/a"


def target(kind: Any, token: bytes = b"") -> Any:
    """Make an answer about the target."""
    answer = Response()
    answer.target_change.target_change_type = kind
    answer.target_change.resume_token = token
    return answer


def document(what: str) -> Any:
    """Make an answer about a document."""
    answer = Response()
    getattr(answer, what).SetInParent()
    return answer


def lost() -> Exception:
    """Make the error of a stream that was cut."""
    error: Exception = from_grpc_status(StatusCode.UNAVAILABLE, "lost")  # type: ignore[no-untyped-call]
    return error


class Wire:
    """Answers what the test says; None ends a stream, an exception breaks it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(self, request: Any) -> AsyncGenerator[Any, None]:
        """Yield the answers."""
        self.requests.append(request)
        while (answer := await self.answers.get()) is not None:
            if isinstance(answer, Exception):
                raise answer
            yield answer

    async def say(self, *answers: Any) -> None:
        """Answer, and let it be heard."""
        for each in answers:
            self.answers.put_nowait(each)
        for _ in range(20):
            await asyncio.sleep(0)

    def token(self) -> bytes:
        """Return the token that the last stream resumes from."""
        return bytes(self.requests[-1].add_target.resume_token)

    async def opened(self, streams: int) -> None:
        """Wait until there have been so many streams."""
        async with asyncio.timeout(10):
            while len(self.requests) < streams:  # noqa: ASYNC110 - the listener announces nothing
                await asyncio.sleep(0.001)


@pytest.fixture
def wire() -> Wire:
    """A scripted wire."""
    return Wire()


@pytest.fixture
async def feed(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DocumentFeed]:
    """A feed over it; waits between streams are short."""
    monkeypatch.setattr("service_common.storage.firestore.listening._BASE_S", 0.001)
    feed = DocumentFeed()
    with listening(feed, wire):
        await wire.opened(1)
        yield feed


@contextmanager
def listening(feed: DocumentFeed, wire: Any, opening_s: float = 60) -> Iterator[None]:
    """Drive the feed meanwhile."""
    listener = Listener(
        feed, "projects/p/databases/d", NAME, connection=wire, rng=Random(7), opening_s=opening_s
    )
    task = asyncio.create_task(listener.run())
    try:
        yield
    finally:
        task.cancel()


async def pending(feed: DocumentFeed) -> bool:
    """Take a signal if there is one."""
    try:
        async with asyncio.timeout(0):
            await feed.changed()
    except TimeoutError:
        return False
    return True


async def test_what_is_told_before_current_is_one_signal(wire: Wire, feed: DocumentFeed) -> None:
    """The stream asks for the one document; how it stands is no change, that it is known is the signal."""
    assert list(wire.requests[0].add_target.documents.documents) == [NAME]
    await wire.say(target(Change.ADD), document("document_change"))
    assert (feed.is_live, await pending(feed)) == (False, False)
    await wire.say(target(Change.CURRENT), target(Change.NO_CHANGE, b"one"))
    assert (feed.is_live, await pending(feed)) == (True, True)


@pytest.mark.parametrize("what", ["document_change", "document_delete", "document_remove", "filter"])
async def test_whatever_happens_to_the_document_is_a_signal(
    wire: Wire, feed: DocumentFeed, what: str
) -> None:
    """Changed, deleted, gone from view, or counted otherwise: look now. New tokens alone are none."""
    await wire.say(target(Change.CURRENT))
    await pending(feed)
    await wire.say(target(Change.NO_CHANGE, b"two"))
    assert not await pending(feed)
    await wire.say(document(what))
    assert await pending(feed)


async def test_a_reset_is_not_live_until_it_is_current_again(wire: Wire, feed: DocumentFeed) -> None:
    """A reset may have lost changes: the next CURRENT signals, and its token is not used."""
    await wire.say(target(Change.CURRENT, b"one"), target(Change.RESET, b"two"))
    assert not feed.is_live
    await pending(feed)
    await wire.say(target(Change.CURRENT))
    assert (feed.is_live, await pending(feed)) == (True, True)
    await wire.say(None)
    await wire.opened(2)
    assert wire.token() == b""


@pytest.mark.parametrize("end", [None, lost(), target(Change.REMOVE)])
async def test_a_stream_that_ends_is_resumed(wire: Wire, feed: DocumentFeed, end: Any) -> None:
    """However it ends, the next resumes where it was, is live when it is current, and signals."""
    await wire.say(target(Change.CURRENT, b"one"), target(Change.NO_CHANGE, b"two"))
    await pending(feed)
    await wire.say(end)
    await wire.opened(2)
    assert (feed.is_live, await pending(feed), wire.token()) == (False, False, b"two")
    await wire.say(target(Change.CURRENT))
    assert (feed.is_live, await pending(feed)) == (True, True)


async def test_a_token_that_is_refused_is_dropped(wire: Wire, feed: DocumentFeed) -> None:
    """A stream that never becomes current is not resumed from the same place for ever."""
    await wire.say(target(Change.CURRENT, b"one"), None)
    await wire.opened(2)
    assert wire.token() == b"one"
    await wire.say(lost())
    await wire.opened(3)
    assert wire.token() == b""


async def test_a_stream_that_does_not_become_current_is_given_up(wire: Wire) -> None:
    """One that hangs from the start, or after a reset, is replaced; one that is current may be silent."""
    feed = DocumentFeed()
    with listening(feed, wire, opening_s=0.05):
        await wire.opened(2)
        await wire.say(target(Change.CURRENT))
        streams = len(wire.requests)
        await asyncio.sleep(0.2)
        assert (feed.is_live, len(wire.requests)) == (True, streams)
        await wire.say(target(Change.RESET))
        await wire.opened(streams + 1)


async def test_it_ends_when_the_store_is_closed(wire: Wire, feed: DocumentFeed) -> None:
    """No stream is opened for a closed feed."""
    feed.close()
    await wire.say(lost())
    await asyncio.sleep(0.02)
    assert len(wire.requests) == 1


class Call:
    """A call of the transport that answers once, and knows whether it was cancelled."""

    def __init__(self, answer: Any) -> None:
        self.is_cancelled = False
        self.written: list[Any] = []
        self._answer = answer

    async def write(self, request: Any) -> None:
        """Take the request."""
        self.written.append(request)

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield self._answer
        await asyncio.Event().wait()

    def cancel(self) -> None:
        """End."""
        self.is_cancelled = True


async def test_a_stream_that_is_left_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call names the database, as Firestore demands, and ends in the moment nobody listens any more."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    connection, call = await connect(), Call(rpc.ListenResponse())
    told: list[Any] = []

    def listen(*, metadata: Any) -> Call:
        told.extend(metadata)
        return call

    monkeypatch.setattr(type(connection._client.transport), "listen", property(lambda _: listen))
    async with aclosing(
        connection.listen(rpc.ListenRequest.pb()(database="projects/p/databases/d"))
    ) as answers:
        await anext(answers)
        assert not call.is_cancelled
    assert call.is_cancelled
    assert ("google-cloud-resource-prefix", "projects/p/databases/d") in told
    assert len(call.written) == 1
    await connection.close()


async def test_an_answer_that_cannot_be_read_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch, feed: DocumentFeed
) -> None:
    """One gRPC logs and hands on as None: the listener takes it for a failure and opens the next stream."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    connection, calls = await connect(), list[Call]()

    def listen(*, metadata: Any) -> Call:
        calls.append(Call(None if not calls else rpc.ListenResponse()))
        return calls[-1]

    monkeypatch.setattr(type(connection._client.transport), "listen", property(lambda _: listen))
    with listening(feed, connection):
        async with asyncio.timeout(5):
            while len(calls) < 2:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.01)
    assert calls[0].is_cancelled
    await connection.close()
