"""The replicas of one neighbour: their connections and breakers, and which of them a call may go to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import grpc
import structlog
from prometheus_client import Gauge

from service_common.clock import Clock
from service_common.errors import unavailable
from service_common.resilience.breaker import BreakerPolicy, CircuitBreaker, StateChanged
from service_common.resilience.retry import CIRCUIT_OPEN
from service_common.rpc.rendezvous import choose_target
from service_common.rpc.targets import TargetSet
from service_common.telemetry.metrics import REGISTRY

StubT = TypeVar("StubT")

BREAKER_STATE = Gauge(
    "circuit_breaker_state",
    "0 closed, 1 half-open, 2 open; one series for each replica called.",
    ["neighbour", "target"],
    registry=REGISTRY,
)
_log = structlog.get_logger("service_common.rpc.client")


@dataclass(frozen=True, slots=True)
class Replica(Generic[StubT]):
    """One replica: how to call it, and whether to.

    Attributes:
        address: `host:port`.
        channel: Its connection.
        stub: Generated stub over it.
        breaker: Whether to call it.
    """

    address: str
    channel: grpc.aio.Channel
    stub: StubT
    breaker: CircuitBreaker


class Replicas(Generic[StubT]):
    """Opens connections as replicas are first called, and closes those of replicas that went away.

    Attributes:
        opened: The replicas called so far, by address.
    """

    def __init__(
        self,
        name: str,
        targets: TargetSet,
        connect: Callable[[str], tuple[grpc.aio.Channel, StubT]],
        *,
        policy: BreakerPolicy,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._targets = targets
        self._connect = connect
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self.opened: dict[str, Replica[StubT]] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """The replicas as last seen."""
        return self._targets.addresses

    def owner_of(self, key: bytes) -> str:
        """Return the address of the replica a key belongs to.

        Raises:
            ServiceError: UNAVAILABLE while no replica is known.
        """
        return choose_target(key, self._known())

    async def admit(self, key: bytes | None) -> tuple[Replica[StubT], int]:
        """Choose the replica for a call and get its breaker's ticket.

        Args:
            key: Goes to its own replica; None goes to any that is up, at random.

        Raises:
            ServiceError: UNAVAILABLE: no replica is known, or its breaker is open (CIRCUIT_OPEN).
        """
        if self._targets.due:
            await self._refresh()
        if key is not None:
            return self._first_admitted((self.owner_of(key),))
        known = self._known()
        return self._first_admitted(self._rng.sample(known, len(known)) if len(known) > 1 else known)

    async def close(self) -> None:
        """Close every connection; calls in flight are cancelled."""
        await self._drop(tuple(self.opened))

    def _known(self) -> Sequence[str]:
        if not self.addresses:
            raise unavailable("NO_TARGETS", f"no replica of {self._name} is known")
        return self.addresses

    def _first_admitted(self, candidates: Sequence[str]) -> tuple[Replica[StubT], int]:
        for address in candidates:
            replica = self.opened.get(address) or self._open(address)
            ticket = replica.breaker.admit()
            if ticket is not None:
                return replica, ticket
        wait_s = min(self.opened[address].breaker.retry_in_s() for address in candidates)
        raise unavailable(
            CIRCUIT_OPEN,
            f"calls to {self._name} are suspended after repeated failures",
            retry_after=timedelta(seconds=wait_s) if wait_s < float("inf") else None,
        )

    def _open(self, address: str) -> Replica[StubT]:
        channel, stub = self._connect(address)
        gauge = BREAKER_STATE.labels(self._name, address)
        gauge.set(0)

        def tell(event: StateChanged) -> None:
            gauge.set(event.after.value)
            _log.warning(
                "breaker",
                neighbour=self._name,
                target=address,
                before=event.before.name,
                after=event.after.name,
                open_for_s=round(event.open_for_s, 3),
            )

        breaker = CircuitBreaker(
            f"{self._name}/{address}", self._policy, clock=self._clock, rng=self._rng, hooks=(tell,)
        )
        replica = self.opened[address] = Replica(address, channel, stub, breaker)
        return replica

    async def _refresh(self) -> None:
        await self._targets.refresh()
        await self._drop(tuple(each for each in self.opened if each not in self.addresses))

    async def _drop(self, addresses: Sequence[str]) -> None:
        dropped = [self.opened.pop(address) for address in addresses]
        for each in dropped:
            BREAKER_STATE.remove(self._name, each.address)
            await each.channel.close(None)
