"""Where a neighbour's replicas are: a fixed list, or a name that resolves to one address per replica."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service_common.clock import Clock

DNS_PREFIX = "dns:///"
_REFRESH_S = 5.0
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MAX_PORT = 65535

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Where to look for replicas.

    Attributes:
        addresses: `host:port` of each; for a name, the name's own.
        headless: Whether the one address is a name to resolve into its replicas.
    """

    addresses: tuple[str, ...]
    headless: bool = False


def parse_targets(text: str) -> TargetSpec:
    """Read `host:port,host:port` or `dns:///headless-name:port`.

    Raises:
        ValueError: Naming the part that is neither.
    """
    headless = text.startswith(DNS_PREFIX)
    parts = [part.strip() for part in text.removeprefix(DNS_PREFIX).split(",") if part.strip()]
    if not parts or (headless and len(parts) > 1):
        raise ValueError("write host:port,host:port or dns:///name:port")
    for part in parts:
        match = _ADDRESS.fullmatch(part)
        if match is None or not 0 < int(match[2]) <= _MAX_PORT:
            raise ValueError(f"{part!r} is not host:port")
    return TargetSpec(tuple(dict.fromkeys(parts)), headless)


async def resolve_host(host: str, port: int) -> list[str]:
    """Ask the system's resolver for every address of a host.

    Raises:
        OSError: If it has none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [f"[{each[4][0]}]:{port}" if ":" in str(each[4][0]) else f"{each[4][0]}:{port}" for each in found]


class TargetSet:
    """The replicas as last seen; a failing resolver leaves them as they were.

    Attributes:
        addresses: `host:port` of each, sorted.
    """

    def __init__(self, spec: TargetSpec, *, clock: Clock, resolve: Resolve = resolve_host) -> None:
        self._spec = spec
        self._clock = clock
        self._resolve = resolve
        self._due_at = float("-inf") if spec.headless else float("inf")
        self.addresses: tuple[str, ...] = () if spec.headless else spec.addresses

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock.monotonic() >= self._due_at

    async def refresh(self) -> None:
        """Look again; while one caller does, others go on with what is known."""
        self._due_at = self._clock.monotonic() + _REFRESH_S
        host, _, port = self._spec.addresses[0].rpartition(":")
        try:
            found = await self._resolve(host.strip("[]"), int(port))
        except OSError:
            self._due_at = self._clock.monotonic() + _REFRESH_S / 5
            return
        self.addresses = tuple(sorted(set(found)))
