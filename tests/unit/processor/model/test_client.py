"""The client against a real endpoint in another process, well-behaved and not."""

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from parallel_processor.model.client import ModelClient
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.rate_headers import RateHints
from parallel_processor.model.requests import Message, ModelRequest, TokenUsage
from service_common.clock import ManualClock

from tests.support.mock_process import MockProcess, mock_endpoint

KEY = "sk-very-secret"
PROMPT = "the private prompt"
REQUEST = ModelRequest("mock", (Message("user", PROMPT),), 500)
PATIENCE_S = 10


@pytest.fixture(scope="module")
def endpoint() -> Iterator[MockProcess]:
    """One mock endpoint for all tests here."""
    with mock_endpoint(keep=1) as running:
        yield running


@pytest.fixture
async def client(endpoint: MockProcess) -> AsyncIterator[ModelClient]:
    """A client of a well-behaved endpoint."""
    endpoint.script()
    async with ModelClient(endpoint.url, api_key=KEY, max_response_bytes=1 << 20) as made:
        yield made


async def _failure(client: ModelClient, *, timeout_s: float = PATIENCE_S) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await client.generate(REQUEST, timeout_s=timeout_s)
    return caught.value


async def _until(endpoint: MockProcess, name: str, value: int) -> None:
    """Wait until the endpoint has counted so many."""
    async with asyncio.timeout(PATIENCE_S):
        while endpoint.counts()[name] != value:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.01)


async def test_a_completion(client: ModelClient, endpoint: MockProcess) -> None:
    """A reply carries the endpoint's text and its own count of tokens."""
    before = endpoint.counts()
    reply = await client.generate(REQUEST)
    after = endpoint.counts()

    assert reply.text
    assert (reply.model, reply.truncated, reply.usage_estimated) == ("mock", False, False)
    assert after["prompt_tokens"] - before["prompt_tokens"] == reply.prompt_tokens
    assert after["output_tokens"] - before["output_tokens"] == reply.output_tokens
    assert reply.latency_s > 0


async def test_every_answer_tells_of_rates() -> None:
    """Headers are heard of answers and of refusals, with the model they are about and when it was asked."""
    plan = {"requests_per_minute": 60, "burst_s": 1, "headers": "openai"}
    heard: list[tuple[str, float]] = []
    clock = ManualClock()
    clock.advance(7.0)

    def hear(model: str, hints: RateHints, asked_at: float) -> None:
        assert hints.requests is not None
        assert asked_at == 7.0
        heard.append((model, hints.requests.remaining))

    with mock_endpoint(capacity=[plan]) as narrow:
        async with ModelClient(narrow.url, clock=clock, on_rates=hear) as client:
            await client.generate(REQUEST)
            with pytest.raises(ModelFailure):
                await client.generate(REQUEST)

    assert heard == [("mock", 0), ("mock", 0)]


async def test_what_is_sent(client: ModelClient, endpoint: MockProcess) -> None:
    """Key, request id and trace context go out as headers."""
    await client.generate(REQUEST, request_id="item-7", traceparent="00-a-b-01")

    assert endpoint.requests()[-1]["headers"] == {
        "authorization": f"Bearer {KEY}",
        "x-client-request-id": "item-7",
        "traceparent": "00-a-b-01",
    }


async def test_models_are_checked(client: ModelClient) -> None:
    """The check lists the endpoint's models."""
    assert await client.check() == ("mock",)


async def test_truncation_is_told(client: ModelClient, endpoint: MockProcess) -> None:
    """A reply that met its limit says so."""
    endpoint.script({"fault": "truncated"})

    assert (await client.generate(REQUEST)).truncated


async def test_estimated_usage_is_told(client: ModelClient, endpoint: MockProcess) -> None:
    """A reply without usage is counted by estimate, and says so."""
    endpoint.script({"fault": "without_usage"})

    assert (await client.generate(REQUEST)).usage_estimated


FAULTS: list[tuple[dict[str, Any], FailureClass, Fate]] = [
    ({"fault": "rate_limited"}, FailureClass.RATE_LIMITED, Fate.NOT_BILLED),
    ({"fault": "quota_exhausted"}, FailureClass.QUOTA_EXHAUSTED, Fate.NOT_BILLED),
    ({"fault": "overloaded"}, FailureClass.OVERLOADED, Fate.NOT_BILLED),
    ({"fault": "server_error"}, FailureClass.SERVER_ERROR, Fate.UNKNOWN),
    ({"fault": "invalid"}, FailureClass.INVALID_REQUEST, Fate.NOT_BILLED),
    ({"fault": "unauthenticated"}, FailureClass.UNAUTHENTICATED, Fate.NOT_BILLED),
    ({"fault": "filtered_prompt"}, FailureClass.CONTENT_FILTERED, Fate.NOT_BILLED),
    ({"fault": "filtered_output"}, FailureClass.CONTENT_FILTERED, Fate.BILLED),
    ({"fault": "malformed"}, FailureClass.MALFORMED, Fate.UNKNOWN),
    ({"fault": "huge"}, FailureClass.MALFORMED, Fate.UNKNOWN),
    ({"fault": "reset"}, FailureClass.NETWORK, Fate.UNKNOWN),
    ({"fault": "status", "status": 302}, FailureClass.INVALID_REQUEST, Fate.NOT_BILLED),
]


@pytest.mark.parametrize(("rule", "kind", "fate"), FAULTS, ids=[rule["fault"] for rule, _, _ in FAULTS])
async def test_each_fault_is_told_apart(
    client: ModelClient,
    endpoint: MockProcess,
    caplog: pytest.LogCaptureFixture,
    *,
    rule: dict[str, Any],
    kind: FailureClass,
    fate: Fate,
) -> None:
    """Each way to fail has its class and fate, keeps prompt and key to itself, and the next call succeeds."""
    caplog.set_level(logging.DEBUG)
    endpoint.script({**rule, "times": 1})

    failure = await _failure(client)

    assert (failure.failure_class, failure.fate) == (kind, fate)
    for secret in (KEY, PROMPT):
        assert secret not in f"{failure!s}{failure!r}{caplog.text}"
    assert (await client.generate(REQUEST)).text


async def test_the_bill_of_a_filtered_output_is_the_endpoints(
    client: ModelClient, endpoint: MockProcess
) -> None:
    """What was billed without content is known to the token."""
    endpoint.script({"fault": "filtered_output"})
    before = endpoint.counts()

    failure = await _failure(client)

    after = endpoint.counts()
    assert failure.usage == TokenUsage(
        after["prompt_tokens"] - before["prompt_tokens"], after["output_tokens"] - before["output_tokens"]
    )


async def test_retry_after_is_passed_on(client: ModelClient, endpoint: MockProcess) -> None:
    """The wait the endpoint asks for reaches the caller."""
    endpoint.script({"fault": "rate_limited", "retry_after": "17"})

    assert (await _failure(client)).retry_after_s == 17


async def test_a_timeout_after_sending_may_have_cost(client: ModelClient, endpoint: MockProcess) -> None:
    """No answer in time ends the call, closes its connection, and leaves its cost unknown."""
    endpoint.script({"fault": "hang"})
    gone = endpoint.counts()["abandoned"]

    failure = await _failure(client, timeout_s=0.1)

    assert (failure.failure_class, failure.fate) == (FailureClass.TIMEOUT, Fate.UNKNOWN)
    await _until(endpoint, "abandoned", gone + 1)


async def test_a_timeout_before_sending_cost_nothing(endpoint: MockProcess) -> None:
    """A call that never got a connection was not billed."""
    endpoint.script({"fault": "hang"})
    async with ModelClient(endpoint.url, connections=1) as client:
        asked = endpoint.counts()["requests"]
        first = asyncio.create_task(client.generate(REQUEST))
        await _until(endpoint, "requests", asked + 1)

        failure = await _failure(client, timeout_s=0.1)

        assert (failure.failure_class, failure.fate) == (FailureClass.TIMEOUT, Fate.NOT_BILLED)
        assert endpoint.counts()["requests"] == asked + 1
        first.cancel()
        await asyncio.wait([first])


async def test_cancelling_closes_the_upstream_request(client: ModelClient, endpoint: MockProcess) -> None:
    """A cancelled call raises CancelledError, and the endpoint sees its connection close."""
    endpoint.script({"fault": "hang"})
    before = endpoint.counts()
    call = asyncio.create_task(client.generate(REQUEST))
    await _until(endpoint, "requests", before["requests"] + 1)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await _until(endpoint, "abandoned", before["abandoned"] + 1)


async def test_a_refused_connection_cost_nothing() -> None:
    """Nobody listening is a network failure that provably cost nothing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with ModelClient(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1") as client:
            failure = await _failure(client)

    assert (failure.failure_class, failure.fate) == (FailureClass.NETWORK, Fate.NOT_BILLED)


async def test_connections_are_kept_and_bounded(endpoint: MockProcess) -> None:
    """No more calls are at the endpoint at a time than there are connections."""
    with mock_endpoint(latency_ms=5) as fresh:
        async with ModelClient(fresh.url, connections=4) as client:
            await asyncio.gather(*(client.generate(REQUEST) for _ in range(32)))

        counts = fresh.counts()
    assert (counts["completions"], counts["max_in_flight"]) == (32, 4)


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://x/v1", "http://user:word@x/v1"])
async def test_a_bad_url_is_refused_at_once(url: str) -> None:
    """What cannot be an endpoint, or holds a credential, is refused when the client is made."""
    with pytest.raises(ValueError, match="must"):
        ModelClient(url)


async def _serve(handler: Any) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def test_compressed_answers_are_bounded_by_what_they_unpack_to() -> None:
    """A small answer that unpacks to a huge one is refused; a modest one is read."""
    body = orjson.dumps({"choices": [{"message": {"content": "x" * 1000}}]})

    async def answer(request: web.Request) -> web.Response:
        padding = b" " * int(request.query["padding"])
        packed = gzip.compress(body + padding)
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    runner, url = await _serve(answer)
    try:
        async with ModelClient(f"{url}?padding=0", max_response_bytes=1 << 16) as client:
            assert len((await client.generate(REQUEST)).text) == 1000
        async with ModelClient(f"{url}?padding={32 << 20}", max_response_bytes=1 << 16) as client:
            assert (await _failure(client)).failure_class is FailureClass.MALFORMED
    finally:
        await runner.cleanup()


async def test_a_connection_that_breaks_within_an_answer_may_have_cost() -> None:
    """Half an answer is a network failure of unknown cost."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices"')
        assert request.transport is not None
        request.transport.abort()
        return response

    runner, url = await _serve(answer)
    try:
        async with ModelClient(url) as client:
            failure = await _failure(client)
    finally:
        await runner.cleanup()

    assert (failure.failure_class, failure.fate) == (FailureClass.NETWORK, Fate.UNKNOWN)


async def test_redirects_are_not_followed() -> None:
    """Neither prompt nor key goes where an answer points; the failure says what is wrong."""
    followed = []

    async def answer(request: web.Request) -> web.Response:
        if "again" in request.query:
            followed.append(request.path_qs)
        raise web.HTTPTemporaryRedirect(f"{request.path}?again=1")

    runner, url = await _serve(answer)
    try:
        async with ModelClient(url, api_key=KEY) as client:
            failure = await _failure(client)
    finally:
        await runner.cleanup()

    assert failure.failure_class is FailureClass.INVALID_REQUEST
    assert "redirects" in failure.message
    assert followed == []
