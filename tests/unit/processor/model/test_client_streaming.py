"""The streaming client against a real endpoint in another process, well-behaved and not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from parallel_processor.model.client import ModelClient
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import Message, ModelRequest

from tests.support.mock_process import MockProcess, mock_endpoint

REQUEST = ModelRequest("mock", (Message("user", "the private prompt"),), 500)
PATIENCE_S = 10
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'


@pytest.fixture(scope="module")
def endpoint() -> Iterator[MockProcess]:
    """One mock endpoint for all tests here; a token takes two milliseconds."""
    with mock_endpoint(keep=1, token_ms=2) as running:
        yield running


@pytest.fixture
async def client(endpoint: MockProcess) -> AsyncIterator[ModelClient]:
    """A client of a well-behaved endpoint."""
    endpoint.script()
    async with ModelClient(endpoint.url, api_key="sk-secret", connections=1) as made:
        yield made


async def _failure(client: ModelClient, texts: list[str], *, timeout_s: float = PATIENCE_S) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await client.stream(REQUEST, texts.append, timeout_s=timeout_s)
    return caught.value


async def _until(endpoint: MockProcess, name: str, value: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while endpoint.counts()[name] != value:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.01)


async def test_a_stream_is_the_completion_in_pieces(client: ModelClient, endpoint: MockProcess) -> None:
    """Many pieces add up to the text that the same request gets whole, with the endpoint's own bill."""
    texts: list[str] = []
    before = endpoint.counts()
    streamed = await client.stream(REQUEST, texts.append, traceparent="00-a-b-01", request_id="item-7")
    after = endpoint.counts()
    whole = await client.generate(REQUEST)

    assert len(texts) > 10
    assert "".join(texts) == streamed.text == whole.text
    assert (streamed.prompt_tokens, streamed.output_tokens) == (whole.prompt_tokens, whole.output_tokens)
    assert after["output_tokens"] - before["output_tokens"] == streamed.output_tokens
    assert streamed.first_token_s is not None
    assert streamed.first_token_s < streamed.latency_s / 2
    assert whole.first_token_s is None


async def test_what_is_sent(client: ModelClient, endpoint: MockProcess) -> None:
    """A streamed call asks for its usage and carries what every call carries."""
    await client.stream(REQUEST, lambda _text: None, request_id="item-7", traceparent="00-a-b-01")

    sent = endpoint.requests()[-1]
    assert sent["body"]["stream"] is True
    assert sent["body"]["stream_options"] == {"include_usage": True}
    assert sent["headers"] == {
        "authorization": "Bearer sk-secret",
        "x-client-request-id": "item-7",
        "traceparent": "00-a-b-01",
    }


FAULTS: list[tuple[dict[str, Any], FailureClass, Fate]] = [
    ({"fault": "rate_limited"}, FailureClass.RATE_LIMITED, Fate.NOT_BILLED),
    ({"fault": "overloaded"}, FailureClass.OVERLOADED, Fate.NOT_BILLED),
    ({"fault": "server_error"}, FailureClass.SERVER_ERROR, Fate.UNKNOWN),
    ({"fault": "filtered_output"}, FailureClass.CONTENT_FILTERED, Fate.BILLED),
    ({"fault": "malformed"}, FailureClass.MALFORMED, Fate.UNKNOWN),
    ({"fault": "reset"}, FailureClass.NETWORK, Fate.UNKNOWN),
]


@pytest.mark.parametrize(("rule", "kind", "fate"), FAULTS, ids=[rule["fault"] for rule, _, _ in FAULTS])
async def test_each_fault_is_told_apart(
    client: ModelClient, endpoint: MockProcess, *, rule: dict[str, Any], kind: FailureClass, fate: Fate
) -> None:
    """Each way to fail has the class and fate it has without a stream, and the next call succeeds."""
    endpoint.script({**rule, "times": 1})

    failure = await _failure(client, [])

    assert (failure.failure_class, failure.fate) == (kind, fate)
    assert (await client.stream(REQUEST, lambda _text: None)).text


async def test_a_stream_that_hangs_times_out(client: ModelClient, endpoint: MockProcess) -> None:
    """The limit holds to the end of the text; its cost is unknown, and the connection is closed."""
    endpoint.script({"fault": "hang"})
    gone = endpoint.counts()["abandoned"]
    texts: list[str] = []

    failure = await _failure(client, texts, timeout_s=0.5)

    assert texts
    assert (failure.failure_class, failure.fate) == (FailureClass.TIMEOUT, Fate.UNKNOWN)
    await _until(endpoint, "abandoned", gone + 1)


async def test_cancelling_closes_the_upstream_request(client: ModelClient, endpoint: MockProcess) -> None:
    """A stream that is cancelled within its text ends at the endpoint too."""
    gone = endpoint.counts()["abandoned"]
    first = asyncio.Event()
    call = asyncio.create_task(client.stream(REQUEST, lambda _text: first.set()))
    await first.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await _until(endpoint, "abandoned", gone + 1)


async def _serve(handler: Any) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def test_the_connection_is_kept() -> None:
    """The next call goes over the connection of the stream before it, without a new handshake."""
    peers = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(CHUNK + b"data: [DONE]\n\n")
        await asyncio.sleep(0.005)  # the end comes after the last event
        return response

    runner, url = await _serve(answer)
    try:
        async with ModelClient(url) as client:
            for _ in range(3):
                assert (await client.stream(REQUEST, lambda _text: None)).text == "Hi"
    finally:
        await runner.cleanup()
    assert len(peers) == 1


async def test_an_end_that_does_not_come_is_not_waited_for() -> None:
    """After its last event a stream is over, whether or not the endpoint ends its answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(CHUNK + b"data: [DONE]\n\n")
        await asyncio.sleep(PATIENCE_S)
        return response

    runner, url = await _serve(answer)
    try:
        async with ModelClient(url) as client, asyncio.timeout(PATIENCE_S / 2):
            assert (await client.stream(REQUEST, lambda _text: None)).text == "Hi"
    finally:
        await runner.cleanup()


async def test_a_flood_is_cut_off() -> None:
    """A stream without end is refused at the bound, whatever it is made of."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(CHUNK * 1000)

    runner, url = await _serve(answer)
    texts: list[str] = []
    try:
        async with ModelClient(url, max_response_bytes=1 << 18) as client:
            failure = await _failure(client, texts)
    finally:
        await runner.cleanup()
    assert (failure.failure_class, failure.fate) == (FailureClass.MALFORMED, Fate.UNKNOWN)
    assert len(texts) <= (1 << 18) / len(CHUNK)


async def test_an_endpoint_that_does_not_stream() -> None:
    """One that answers whole although it was asked for a stream is read as it answers."""

    async def answer(_request: web.Request) -> web.Response:
        body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    runner, url = await _serve(answer)
    texts: list[str] = []
    try:
        async with ModelClient(url) as client:
            reply = await client.stream(REQUEST, texts.append)
    finally:
        await runner.cleanup()
    assert (reply.text, texts, reply.first_token_s) == ("Hi", ["Hi"], None)
