"""The one way out to the model endpoint: an OpenAI-compatible chat-completions client.

Every call ends in a reply or a `ModelFailure`, or is cancelled; a cancelled call closes its connection, so
that the endpoint stops generating. Nothing is retried here, redirects are not followed, no proxy is taken
from the environment, and neither prompts nor keys are logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Self
from urllib.parse import SplitResult, urlsplit

from service_common.clock import Clock, SystemClock

from parallel_processor.model.classify import classify
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.rate_headers import RateHints, rate_hints
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.text_stream import TextStream
from parallel_processor.model.transport.failures import BrokenError, ExchangeError, TooLargeError
from parallel_processor.model.transport.pool import Exchange, Origin, Pool
from parallel_processor.model.wire import (
    MaxTokensField,
    decode_models,
    decode_reply,
    encode_request,
    malformed,
)

_SUCCESS = 200
_EVENTS = "text/event-stream"
# A stream's end follows its last event at once; a connection whose end does not come is not worth keeping.
_END_S = 0.05
_ERROR_BODY_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}
# Shorter than the 5 s after which uvicorn (vLLM and many others) closes an idle connection: a request that
# meets the close would have an unknown fate.
_KEEP_ALIVE_S = 4.0

OnRates = Callable[[str, RateHints, float], None]
"""Called with a model, what an answer's headers say of its rates, and when its call was made."""


def _unheard(_model: str, _hints: RateHints, _asked_at: float) -> None:
    return


class ModelClient:
    """A pool of connections to one endpoint. Make it inside a running loop; its owner closes it."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        connect_s: float = 5.0,
        total_s: float = 120.0,
        max_response_bytes: int = 8 << 20,
        connections: int = 256,
        max_tokens_field: MaxTokensField = "max_tokens",
        clock: Clock | None = None,
        on_rates: OnRates = _unheard,
    ) -> None:
        """Prepare the client; connects with the first call.

        Args:
            base_url: Where the API begins, such as `http://127.0.0.1:8000/v1`; a query is kept on every call.
            api_key: Sent as bearer token; None sends none.
            connect_s: The longest to wait for a connection.
            total_s: The longest a call may take when it does not say.
            max_response_bytes: The largest answer that is read, decompressed.
            connections: The most connections, and so calls, at a time; further calls wait.
            max_tokens_field: What the endpoint calls the limit on output tokens.
            clock: Time, for latencies and for dates in headers.
            on_rates: Is told what every answer's headers say of a model's rates, before what it answered.

        Raises:
            ValueError: If base_url is not an http(s) URL without credentials.
        """
        base = _base(base_url)
        origin = Origin(base.hostname or "", base.port or _PORTS[base.scheme], base.scheme == "https")
        self._completions = _head("POST", base, "/chat/completions", host=origin.authority, api_key=api_key)
        self._streamed = self._completions.replace("Accept: application/json", f"Accept: {_EVENTS}", 1)
        self._models = _head("GET", base, "/models", host=origin.authority, api_key=api_key)
        self._total_s = total_s
        self._max_response_bytes = max_response_bytes
        self._max_tokens_field = max_tokens_field
        self._clock = clock or SystemClock()
        self._on_rates = on_rates
        self._pool = Pool(origin, limit=connections, connect_s=connect_s, keep_alive_s=_KEEP_ALIVE_S)

    async def generate(
        self,
        request: ModelRequest,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> ModelReply:
        """Ask for one completion.

        Args:
            request: What to ask.
            timeout_s: The longest to wait, for a connection too. Default: the client's total_s.
            request_id: Sent as X-Client-Request-Id, to find the call in the endpoint's logs.
            traceparent: W3C trace context to send on.

        Raises:
            ModelFailure: If there is no content; its fate says whether the call may have cost money.
        """
        headers = _call_headers(request_id, traceparent)
        body = encode_request(request, max_tokens_field=self._max_tokens_field)
        started = self._clock.monotonic()
        answer = await self._answer(
            _request(self._completions, headers, body), timeout_s=timeout_s, model=request.model
        )
        return decode_reply(answer, request, latency_s=self._clock.monotonic() - started)

    async def stream(
        self,
        request: ModelRequest,
        on_text: Callable[[str], None],
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> ModelReply:
        """Ask for one completion and pass its text on as it comes.

        An endpoint that answers whole although it was asked for a stream is taken at its word.

        Args:
            request: What to ask.
            on_text: Called with each piece of the text, in order; it must not block. What it was called with
                is void if the call fails.
            timeout_s: As for `generate`, until the end of the text.
            request_id: As for `generate`.
            traceparent: As for `generate`.

        Raises:
            ModelFailure: As for `generate`; a stream that was cut has an unknown fate unless its usage came.
        """
        headers = _call_headers(request_id, traceparent)
        body = encode_request(request, max_tokens_field=self._max_tokens_field, streamed=True)
        total_s = self._total_s if timeout_s is None else timeout_s
        stream = TextStream(request, on_text, clock=self._clock, most_bytes=self._max_response_bytes)
        asked_at = self._clock.monotonic()
        exchange = self._pool.exchange(_request(self._streamed, headers, body), total_s=total_s)
        broken: ModelFailure | None = None
        try:
            async with exchange:
                self._hear(request.model, exchange.headers, asked_at)
                if exchange.status != _SUCCESS:
                    refusal = await _read_start(exchange)
                    raise classify(exchange.status, exchange.headers, refusal, now=self._clock.now())
                if not exchange.headers.get("content-type", "").startswith(_EVENTS):
                    return stream.whole(await exchange.read(self._max_response_bytes))
                await _follow(exchange, stream)
        except TimeoutError:
            broken = stream.broken(_timed_out(total_s, sent=exchange.sent))
        except TooLargeError as error:
            raise malformed(str(error)) from error
        except ExchangeError as error:
            broken = stream.broken(_network_failure(error))
        if broken is not None:
            raise broken
        return stream.end()

    async def check(self, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Ask which models there are; costs nothing.

        Raises:
            ModelFailure: If the endpoint cannot be reached or does not say.
        """
        return decode_models(await self._answer(_request(self._models, {}, b""), timeout_s=timeout_s))

    async def close(self) -> None:
        """Close all connections; calls in flight fail as NETWORK."""
        self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _hear(self, model: str, headers: Mapping[str, str], asked_at: float) -> None:
        """Tell what an answer's headers say of rates."""
        if hints := rate_hints(headers, now=self._clock.now()):
            self._on_rates(model, hints, asked_at)

    async def _answer(self, request: bytes, *, timeout_s: float | None, model: str = "") -> bytes:
        """Exchange one request for the body of a successful answer."""
        total_s = self._total_s if timeout_s is None else timeout_s
        asked_at = self._clock.monotonic()
        exchange = self._pool.exchange(request, total_s=total_s)
        try:
            async with exchange:
                self._hear(model, exchange.headers, asked_at)
                if exchange.status == _SUCCESS:
                    return await exchange.read(self._max_response_bytes)
                refusal = await _read_start(exchange)
                raise classify(exchange.status, exchange.headers, refusal, now=self._clock.now())
        except TimeoutError as error:
            raise _timed_out(total_s, sent=exchange.sent) from error
        except TooLargeError as error:
            raise malformed(str(error)) from error
        except ExchangeError as error:
            raise _network_failure(error) from error


def _base(base_url: str) -> SplitResult:
    base = urlsplit(base_url.rstrip("/"))
    if base.scheme not in _PORTS or not base.hostname:
        raise ValueError("must be an http:// or https:// URL")
    if base.username or base.password:
        raise ValueError("must not hold a credential; give it as the API key")
    if any(not " " < character < "\x7f" for character in base_url):
        raise ValueError("must be made of printable ASCII characters")
    return base


def _head(method: str, base: SplitResult, path: str, *, host: str, api_key: str | None) -> str:
    """Write what all requests of one kind begin with."""
    query = f"?{base.query}" if base.query else ""
    lines = [
        f"{method} {base.path}{path}{query} HTTP/1.1",
        f"Host: {host}",
        "Accept: application/json",
        "Content-Type: application/json",
    ]
    if api_key:
        if not api_key.isascii() or not api_key.isprintable():
            raise ValueError("the API key must be made of printable ASCII characters")
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join(lines)


def _request(head: str, headers: Mapping[str, str], body: bytes) -> bytes:
    more = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
    return f"{head}{more}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def _call_headers(request_id: str | None, traceparent: str | None) -> dict[str, str]:
    headers = {}
    if request_id is not None:
        headers["X-Client-Request-Id"] = request_id
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return headers


async def _follow(exchange: Exchange, stream: TextStream) -> None:
    """Read to the end of the text, then a moment for the end of the answer, to keep the connection."""
    chunks = exchange.chunks()
    async for chunk in chunks:
        stream.feed(chunk)
        if stream.over:
            break
    try:
        async with asyncio.timeout(_END_S):
            await anext(chunks, b"")
    except TimeoutError:
        pass


async def _read_start(exchange: Exchange) -> bytes:
    """Read as much of an error's body as is worth reading; the status alone says enough if that fails."""
    start = bytearray()
    try:
        async for chunk in exchange.chunks():
            start += chunk
            if len(start) >= _ERROR_BODY_BYTES:
                break
    except (BrokenError, TimeoutError):
        pass
    return bytes(start)


def _timed_out(total_s: float, *, sent: bool) -> ModelFailure:
    words = f"no answer from the model endpoint within {total_s:g} s"
    if not sent:
        words = "no connection to the model endpoint in time"
    return ModelFailure(FailureClass.TIMEOUT, words, fate=_fate(sent=sent))


def _network_failure(error: ExchangeError) -> ModelFailure:
    words = (
        "the connection to the model endpoint broke" if error.sent else "the model endpoint cannot be reached"
    )
    return ModelFailure(FailureClass.NETWORK, f"{words} ({error})", fate=_fate(sent=error.sent))


def _fate(*, sent: bool) -> Fate:
    """What a failure without an answer means for the money."""
    return Fate.UNKNOWN if sent else Fate.NOT_BILLED
