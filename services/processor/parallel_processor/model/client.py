"""The one way out to the model endpoint: an OpenAI-compatible chat-completions client over aiohttp.

Every call ends in a reply or a `ModelFailure`, or is cancelled; a cancelled call closes its connection, so
that the endpoint stops generating. Nothing is retried here, redirects are not followed, no proxy is taken
from the environment, and neither prompts nor keys are logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from service_common.clock import Clock, SystemClock
from yarl import URL

from parallel_processor.model.classify import classify
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.rate_headers import RateHints, rate_hints
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.wire import (
    MaxTokensField,
    decode_models,
    decode_reply,
    encode_request,
    malformed,
)

_SUCCESS = 200
_READ_BUFFER_BYTES = 1 << 18
_ERROR_BODY_BYTES = 1 << 16
_DNS_TTL_S = 60
# Shorter than the 5 s after which uvicorn (vLLM and many others) closes an idle connection: a request that
# meets the close would have an unknown fate.
_KEEP_ALIVE_S = 4.0

OnRates = Callable[[str, RateHints], None]


def _unheard(_model: str, _hints: RateHints) -> None:
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
        self._completions = base.joinpath("chat", "completions").with_query(base.query)
        self._models = base.joinpath("models").with_query(base.query)
        self._connect_s = connect_s
        self._total_s = total_s
        self._max_response_bytes = max_response_bytes
        self._max_tokens_field = max_tokens_field
        self._clock = clock or SystemClock()
        self._on_rates = on_rates
        self._session = _session(api_key, connections)

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
        headers = {}
        if request_id is not None:
            headers["X-Client-Request-Id"] = request_id
        if traceparent is not None:
            headers["traceparent"] = traceparent
        body = _Body(encode_request(request, max_tokens_field=self._max_tokens_field))
        started = self._clock.monotonic()
        answer = await self._answer(
            "POST", self._completions, headers=headers, body=body, timeout_s=timeout_s, model=request.model
        )
        return decode_reply(answer, request, latency_s=self._clock.monotonic() - started)

    async def check(self, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Ask which models there are; costs nothing.

        Raises:
            ModelFailure: If the endpoint cannot be reached or does not say.
        """
        return decode_models(
            await self._answer("GET", self._models, headers={}, body=_Body(b""), timeout_s=timeout_s)
        )

    async def close(self) -> None:
        """Close all connections; calls in flight fail as NETWORK."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(
        self,
        method: str,
        url: URL,
        *,
        headers: dict[str, str],
        body: _Body,
        timeout_s: float | None,
        model: str = "",
    ) -> bytes:
        """Exchange one request for the body of a successful answer."""
        total_s = self._total_s if timeout_s is None else timeout_s
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=self._connect_s)
        data = body if method == "POST" else None
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                self._hear(model, response.headers)
                if response.status == _SUCCESS:
                    return await _read(response, self._max_response_bytes)
                refusal = await _read_start(response)
                raise classify(response.status, response.headers, refusal, now=self._clock.now())
        except TimeoutError as error:
            raise _timed_out(body, total_s) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _network_failure(body, error) from error

    def _hear(self, model: str, headers: Mapping[str, str]) -> None:
        """Tell what an answer's headers say of rates."""
        if hints := rate_hints(headers, now=self._clock.now()):
            self._on_rates(model, hints)


class _Body(BytesPayload):
    """A request's body that knows whether it was handed to a connection: until then nothing can be billed."""

    sent = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body."""
        self.sent = True
        await super().write_with_length(writer, content_length)

    @property
    def fate(self) -> Fate:
        """What a failure without an answer means for the money."""
        return Fate.UNKNOWN if self.sent else Fate.NOT_BILLED


def _base(base_url: str) -> URL:
    base = URL(base_url.rstrip("/"))
    if base.scheme not in {"http", "https"} or not base.host:
        raise ValueError("must be an http:// or https:// URL")
    if base.user or base.password:
        raise ValueError("must not hold a credential; give it as the API key")
    return base


def _session(api_key: str | None, connections: int) -> aiohttp.ClientSession:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, ttl_dns_cache=_DNS_TTL_S, keepalive_timeout=_KEEP_ALIVE_S
        ),
        headers=headers,
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_BUFFER_BYTES,
        trust_env=False,
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a whole body of bounded size."""
    length = response.content_length
    if length is not None and length <= limit and "Content-Encoding" not in response.headers:
        return await response.read()
    chunks = bytearray()
    while chunk := await response.content.readany():
        chunks += chunk
        if len(chunks) > limit:
            raise malformed(f"it is larger than {limit} bytes")
    return bytes(chunks)


async def _read_start(response: aiohttp.ClientResponse) -> bytes:
    """Read as much of an error's body as is worth reading; the status alone says enough if that fails."""
    chunks = bytearray()
    try:
        while len(chunks) < _ERROR_BODY_BYTES and (chunk := await response.content.readany()):
            chunks += chunk
    except (aiohttp.ClientError, TimeoutError):
        pass
    return bytes(chunks)


def _timed_out(body: _Body, total_s: float) -> ModelFailure:
    words = f"no answer from the model endpoint within {total_s:g} s"
    if not body.sent:
        words = "no connection to the model endpoint in time"
    return ModelFailure(FailureClass.TIMEOUT, words, fate=body.fate)


def _network_failure(body: _Body, error: Exception) -> ModelFailure:
    words = (
        "the connection to the model endpoint broke" if body.sent else "the model endpoint cannot be reached"
    )
    return ModelFailure(FailureClass.NETWORK, f"{words} ({type(error).__name__})", fate=body.fate)
