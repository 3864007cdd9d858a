"""One Prometheus registry per process, and the HTTP endpoint that shows it.

Services declare their metrics in their own `metrics.py` with `registry=REGISTRY`. Labels are bounded:
never an identifier, a key or a user.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)

# They add a series to each counter, of no use to rates.
disable_created_metrics()  # type: ignore[no-untyped-call]  # published without types
REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

BUILD_INFO = Gauge(
    "build_info", "Always 1; the labels say what runs.", ["service", "version"], registry=REGISTRY
)

_READINGS = 10
_POLL_S = 0.05  # how soon a close is noticed

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds, in seconds, of every latency histogram, so that they can be compared."""


def show(gauge: Gauge, read: Callable[[], float]) -> None:
    """Let a gauge be read when it is scraped.

    A scrape has a thread of its own: a collection that changes while it is read says so, and is read again.
    """

    def reading() -> float:
        for _ in range(_READINGS):
            try:
                return read()
            except RuntimeError:  # it changed while it was read
                continue
        return read()

    gauge.set_function(reading)


class _QuietHandler(WSGIRequestHandler):
    """A scrape is not worth a log line."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Write nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """Answers scrapes beside each other, and never keeps the process alive."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class MetricsEndpoint:
    """The running HTTP endpoint.

    Attributes:
        port: The port bound.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be bound.
        """
        kind = _Server6 if ":" in host else _Server
        app = make_wsgi_app(REGISTRY)
        self._server = make_server(host.strip("[]"), port, app, kind, handler_class=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)
