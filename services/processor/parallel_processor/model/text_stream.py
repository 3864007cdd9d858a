"""An answer that is being read as it comes: bytes in, text out, and what to make of its end. Pure."""

from __future__ import annotations

from collections.abc import Callable

from service_common.clock import Clock

from parallel_processor.model.event_stream import EventStream, EventTooLargeError
from parallel_processor.model.failures import Fate, ModelFailure
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.streamed_reply import StreamedReply
from parallel_processor.model.wire import decode_reply, malformed

_EVENT_BYTES = 1 << 20


class TextStream:
    """One streamed answer.

    Its mutable state: the event and the reply that are not whole yet, how much may still come, and when the
    first token came.
    """

    def __init__(
        self, request: ModelRequest, on_text: Callable[[str], None], *, clock: Clock, most_bytes: int
    ) -> None:
        """Begin, in the moment in which the request is sent.

        Args:
            request: What was asked.
            on_text: Called with each piece of the text.
            clock: Time, for latencies and for dates in headers.
            most_bytes: The largest answer that is read.
        """
        self._request = request
        self._on_text = on_text
        self._clock = clock
        self._left = most_bytes
        self._events = EventStream(most_bytes=_EVENT_BYTES)
        self._reply = StreamedReply(request)
        self._started = clock.monotonic()
        self._first_token_s: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self._reply.over

    def feed(self, chunk: bytes) -> None:
        """Take what came.

        Raises:
            ModelFailure: If it tells of an error, is no part of a completion, or is too much.
        """
        self._left -= len(chunk)
        if self._left < 0:
            raise malformed("its stream is larger than is read")
        try:
            events = self._events.feed(chunk)
        except EventTooLargeError as error:
            raise malformed(str(error)) from error
        for event in events:
            text = self._reply.take(event, now=self._clock.now())
            if self._first_token_s is None and self._reply.begun:
                self._first_token_s = self._elapsed_s()
            if text:
                self._on_text(text)

    def broken(self, failure: ModelFailure) -> ModelFailure | None:
        """Return what a connection that broke means; None when the text was whole by then."""
        if self._reply.finished:
            return None
        if failure.fate is not Fate.UNKNOWN:
            return failure
        return self._reply.cut(failure.failure_class, failure.message)

    def end(self) -> ModelReply:
        """Return the reply of a stream that is over.

        Raises:
            ModelFailure: If there is none.
        """
        return self._reply.end(latency_s=self._elapsed_s(), first_token_s=self._first_token_s)

    def whole(self, body: bytes) -> ModelReply:
        """Return the reply of an endpoint that does not stream.

        Raises:
            ModelFailure: If there is none.
        """
        reply = decode_reply(body, self._request, latency_s=self._elapsed_s())
        self._on_text(reply.text)
        return reply

    def _elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started
