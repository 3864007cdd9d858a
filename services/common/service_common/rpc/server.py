"""A gRPC server as every service runs it: limits, TLS, health, reflection and the fused call layer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service_common.clock import Clock, SystemClock
from service_common.config import CommonSettings, ConfigError, Problem
from service_common.lifecycle import Lifecycle
from service_common.rpc.auth import Authenticator
from service_common.rpc.health import Health
from service_common.rpc.interceptor import CallLayer
from service_common.rpc.tls import server_credentials
from service_common.telemetry.metrics import MetricsEndpoint

_log = structlog.get_logger("service_common.rpc.server")
_KEEPALIVE_MS = 60_000
_LEAST_PING_INTERVAL_MS = 10_000
_MAX_METADATA_BYTES = 16 * 1024


class _Registrar:
    """What generated `add_…Servicer_to_server` takes for a server: wraps each handler on its way in.

    Handlers are found by name when a call comes. Registered ones cost every call of every method: for each of
    them grpc.aio keeps a task, and waits for all of these tasks anew after each call.
    """

    def __init__(self, server: grpc.aio.Server, layer: CallLayer) -> None:
        self._server = server
        self._layer = layer
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore this form: the same handlers follow by name, as the layer can take them."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Wrap a service's handlers and add them."""
        self.services.append(service)
        wrapped = {method: self._layer.wrap(service, method, each) for method, each in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))


class _Unregistered:
    """Adds handlers to a server as they are, found by name."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Ignore this form: the same handlers came before it."""


class RpcServer:
    """One listening server.

    Order: construct, `add` each servicer, `start`, `ready`; the lifecycle it is given does the rest:
    NOT_SERVING first, then the service's drain hooks, then `stop` within DRAIN_GRACE_S.

    Attributes:
        health: What it says of itself.
        port: The port bound; 0 before `start`.
        metrics_port: The port of the metrics endpoint; 0 before `start`.
        health_port: The port that answers health alone; 0 when there is none.
    """

    def __init__(self, settings: CommonSettings, lifecycle: Lifecycle, *, clock: Clock | None = None) -> None:
        """Prepare a server.

        Args:
            settings: Addresses, limits and files.
            lifecycle: Closes what `start` opens.
            clock: Times calls.

        Raises:
            ConfigError: If the tokens file or a TLS file cannot be used.
        """
        clock = clock or SystemClock()
        self._settings = settings
        self._lifecycle = lifecycle
        self._credentials = server_credentials(settings, clock=clock)
        self._server = grpc.aio.server(options=_options(settings))
        layer = CallLayer(
            _authenticator(settings, clock),
            clock=clock,
            max_unary=settings.max_concurrent_rpcs,
            max_streams=settings.max_concurrent_streams,
        )
        self._registrar = _Registrar(self._server, layer)
        self.health = Health()
        self.port = 0
        self.metrics_port = 0
        self.health_port = 0

    def add(self, add_to_server: Callable[[Any, Any], None], servicer: object) -> None:
        """Serve a servicer, through generated `add_…Servicer_to_server`."""
        add_to_server(servicer, self._registrar)

    async def start(self) -> int:
        """Listen, NOT_SERVING, and log the line `serving` with the ports bound.

        Returns:
            The port.

        Raises:
            ConfigError: If an address cannot be bound.
        """
        await self.health.declare(self._registrar.services)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, _Unregistered(self._server))
        if self._settings.reflection_enabled:
            names = (
                *self._registrar.services,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            )
            reflection.enable_server_reflection(names, self._server)
        self.port = self._bind()
        self._open_metrics()
        await self._open_health()
        await self._server.start()
        self._lifecycle.on_announce("health", self.health.drain)
        self._lifecycle.push("server", self.stop, timeout_s=self._settings.drain_grace_s + 2)
        _log.warning("serving", host=self._settings.host, port=self.port, metrics_port=self.metrics_port)
        return self.port

    async def ready(self) -> None:
        """Say SERVING."""
        await self.health.ready()

    async def stop(self) -> None:
        """Refuse new calls, wait DRAIN_GRACE_S for those in flight, cancel the rest."""
        await self._server.stop(self._settings.drain_grace_s)

    def _bind(self) -> int:
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            if self._credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise ConfigError([Problem("PORT", f"cannot bind {address}: in use or not allowed")]) from error

    async def _open_health(self) -> None:
        """Answer health in plaintext where asked to: Kubernetes' own probes speak no TLS."""
        port = self._settings.health_port
        if port is None:
            return
        probed = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, probed)
        address = f"{self._settings.host}:{port}"
        try:
            self.health_port = probed.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(
                [Problem("HEALTH_PORT", f"cannot bind {address}: in use or not allowed")]
            ) from error
        await probed.start()
        self._lifecycle.push("health_port", lambda: probed.stop(None))

    def _open_metrics(self) -> None:
        host, port = self._settings.host, self._settings.metrics_port
        try:
            endpoint = MetricsEndpoint(host, port)
        except OSError as error:
            raise ConfigError([Problem("METRICS_PORT", f"cannot bind {host}:{port}: {error}")]) from error
        self.metrics_port = endpoint.port
        self._lifecycle.push("metrics", lambda: asyncio.to_thread(endpoint.close))


def _authenticator(settings: CommonSettings, clock: Clock) -> Authenticator:
    try:
        return Authenticator(settings.auth_tokens_file, clock=clock)
    except (OSError, ValueError) as error:
        raise ConfigError([Problem("AUTH_TOKENS_FILE", str(error))]) from error


def _options(settings: CommonSettings) -> list[tuple[str, Any]]:
    age_ms = int(settings.max_connection_age_s * 1000)
    # What waits to be taken up is counted by us, with a time to come back, and not refused by lot.
    most_waiting = settings.max_concurrent_rpcs + settings.max_concurrent_streams
    return [
        ("grpc.server.max_pending_requests", most_waiting),
        ("grpc.server.max_pending_requests_hard_limit", most_waiting),
        ("grpc.so_reuseport", 0),  # two servers on one port would silently share its calls
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", age_ms),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MS),
    ]
