"""What is told about a finished call: a counter, a histogram and at most one log line."""

from __future__ import annotations

import grpc
import structlog
from prometheus_client import Counter, Histogram

from service_common.telemetry.metrics import LATENCY_BUCKETS_S, REGISTRY

SLOW_CALL_S = 1.0
"""An OK unary call that took longer is logged at info instead of debug."""

HANDLED = Counter(
    "grpc_server_handled_total",
    "Calls finished, by outcome.",
    ["grpc_service", "grpc_method", "grpc_code"],
    registry=REGISTRY,
)
HANDLING_SECONDS = Histogram(
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

    __slots__ = ("_by_code", "_labels", "_seconds", "_streams")

    def __init__(self, service: str, method: str, *, streams: bool) -> None:
        self._labels = (service, method)
        self._streams = streams
        self._seconds = HANDLING_SECONDS.labels(service, method)
        self._by_code: dict[grpc.StatusCode, Counter] = {}

    def finished(
        self,
        code: grpc.StatusCode,
        seconds: float,
        *,
        request_id: str,
        reason: str = "",
        failure: BaseException | None = None,
    ) -> None:
        """Record one call's end.

        Args:
            code: Its outcome.
            seconds: Its duration.
            request_id: Names the call.
            reason: The error's reason, when the handler gave one.
            failure: An unexpected exception; its detail goes here and nowhere else.
        """
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = HANDLED.labels(*self._labels, code.name)
        counter.inc()
        self._seconds.observe(seconds)
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
