"""What is told about a finished call: a counter, a histogram and at most one log line."""

from __future__ import annotations

import logging

import grpc
import structlog

from service_common.telemetry.metrics import LATENCY_BUCKETS_S, REGISTRY
from service_common.telemetry.tallies import Count, CounterTally, HistogramTally

SLOW_CALL_S = 1.0
"""An OK unary call that took longer is logged at info instead of debug."""

HANDLED = CounterTally(
    "grpc_server_handled_total",
    "Calls finished, by outcome.",
    ["grpc_service", "grpc_method", "grpc_code"],
    registry=REGISTRY,
)
HANDLING_SECONDS = HistogramTally(
    "grpc_server_handling_seconds",
    "Seconds from a call's arrival to its end; streams count their whole life.",
    ["grpc_service", "grpc_method"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)

_ALARMING = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_log = structlog.get_logger("service_common.rpc")


class MethodObserver:
    """Tells about one method's calls; label lookups are made once."""

    __slots__ = ("_by_code", "_labels", "_observe", "_silent_below_s", "_streams", "_succeeded")

    def __init__(self, service: str, method: str, *, streams: bool) -> None:
        self._labels = (service, method)
        self._streams = streams
        self._observe = HANDLING_SECONDS.labels(service, method).observe
        self._by_code: dict[grpc.StatusCode, Count] = {}
        self._succeeded = self._count(grpc.StatusCode.OK)
        # Most calls have no line: that is known before one is made up.
        told = streams or _log.is_enabled_for(logging.DEBUG)
        self._silent_below_s = 0.0 if told else SLOW_CALL_S

    def succeeded(self, seconds: float, request_id: str) -> None:
        """Record the end of a call that was OK."""
        self._succeeded.value += 1
        self._observe(seconds)
        if seconds >= self._silent_below_s:
            self._log(grpc.StatusCode.OK, seconds, request_id=request_id, reason="", failure=None)

    def failed(
        self,
        code: grpc.StatusCode,
        seconds: float,
        *,
        request_id: str,
        reason: str = "",
        failure: BaseException | None = None,
    ) -> None:
        """Record the end of a call that was not.

        Args:
            code: Its outcome.
            seconds: Its duration.
            request_id: Names the call.
            reason: The error's reason, when the handler gave one.
            failure: An unexpected exception; its detail goes here and nowhere else.
        """
        self._count(code).value += 1
        self._observe(seconds)
        self._log(code, seconds, request_id=request_id, reason=reason, failure=failure)

    def _count(self, code: grpc.StatusCode) -> Count:
        found = self._by_code.get(code)
        if found is None:
            found = self._by_code[code] = HANDLED.labels(*self._labels, code.name)
        return found

    def _log(
        self,
        code: grpc.StatusCode,
        seconds: float,
        *,
        request_id: str,
        reason: str,
        failure: BaseException | None,
    ) -> None:
        quiet = code is grpc.StatusCode.OK and not self._streams and seconds < SLOW_CALL_S
        write = _log.error if code in _ALARMING else _log.debug if quiet else _log.info
        write(
            "call",
            grpc_service=self._labels[0],
            grpc_method=self._labels[1],
            code=code.name,
            request_id=request_id,
            reason=reason,
            ms=round(seconds * 1000, 3),
            exc_info=failure,
        )
