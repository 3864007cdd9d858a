"""grpc.health.v1: NOT_SERVING until the service says it is ready, and again from the moment it drains."""

from __future__ import annotations

from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of a server as a whole (the empty name) and of each service it serves.

    Attributes:
        servicer: What answers grpc.health.v1.
    """

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # exported at run time
        self._names: tuple[str, ...] = ("",)

    async def declare(self, services: Iterable[str]) -> None:
        """Name the services, all NOT_SERVING; must come before the server listens."""
        self._names = ("", *services)
        await self._set_all(_NOT_SERVING)

    async def ready(self) -> None:
        """Say SERVING, unless draining has begun."""
        await self._set_all(_SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()

    async def _set_all(self, status: int) -> None:
        for name in self._names:
            await self.servicer.set(name, status)
