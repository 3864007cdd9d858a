"""Calls to a neighbour: the right replica, behind a breaker, in the caller's time, errors as `ServiceError`.

Every call carries the deadline, the trace and the credential. A call marked idempotent is repeated when the
neighbour is UNAVAILABLE; no other is. A key always goes to its own replica, also while that one is down:
moving it would split what the key keeps together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, Self, TypeVar

import grpc

from service_common.call import REQUEST_ID, current_call_or_none
from service_common.clock import Clock, SystemClock
from service_common.errors import ErrorKind, ServiceError
from service_common.frozen import dataclass
from service_common.resilience.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from service_common.resilience.deadline import outgoing_timeout_s
from service_common.resilience.retry import RetryPolicy, retry_delay_s
from service_common.rpc.auth import ACT_AS_TENANT, ACT_AS_USER, AUTHORIZATION
from service_common.rpc.channel import Credentials, open_channel
from service_common.rpc.replicas import Replicas
from service_common.rpc.status import from_rpc_error
from service_common.rpc.targets import Resolve, TargetSet, parse_targets, resolve_host
from service_common.telemetry.tracing import TRACEPARENT, current_traceparent

StubT = TypeVar("StubT")
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_BROKEN = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL, ErrorKind.DEADLINE_EXCEEDED})


@dataclass(frozen=True, slots=True)
class _Budget:
    """The time a call has.

    Attributes:
        ends_at: Monotonic seconds.
        own: Whether the call's own limit ends it; else the caller's impatience does, which is no fault
            of the neighbour's.
    """

    ends_at: float
    own: bool


class ClientPool(Generic[StubT]):
    """All replicas of one neighbour; whoever made it closes it.

    Attributes:
        name: Names the neighbour in errors, metrics and logs.
    """

    def __init__(
        self,
        stub_class: Callable[[grpc.aio.Channel], StubT],
        *,
        targets: str,
        name: str,
        credentials: Credentials | None = None,
        clock: Clock | None = None,
        breaker: BreakerPolicy | None = None,
        retry: RetryPolicy | None = None,
        rng: random.Random | None = None,
        resolve: Resolve = resolve_host,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """Prepare a pool; nothing connects before the first call.

        Args:
            stub_class: Generated stub.
            targets: `host:port,host:port` or `dns:///headless-name:port`.
            name: Names the neighbour in errors, metrics and logs.
            credentials: What calls carry.
            clock: Times breakers and deadlines.
            breaker: When a replica counts as down.
            retry: How idempotent calls are repeated.
            rng: Where jitter comes from.
            resolve: Resolves a headless name.
            max_message_bytes: Largest message either way.

        Raises:
            ValueError: If the targets cannot be read.
        """
        self.name = name
        self._stub_class = stub_class
        self._credentials = credentials or Credentials()
        self._clock = clock or SystemClock()
        self._retry_policy = retry or RetryPolicy()
        self._rng = rng or random.Random()
        self._max_message_bytes = max_message_bytes
        spec = parse_targets(targets)
        self._server_name = spec.addresses[0].rpartition(":")[0] if spec.headless else None
        self._replicas = Replicas(
            name,
            TargetSet(spec, clock=self._clock, resolve=resolve),
            self._connect,
            policy=breaker or BreakerPolicy(),
            clock=self._clock,
            rng=self._rng,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def targets(self) -> tuple[str, ...]:
        """The replicas as last seen."""
        return self._replicas.addresses

    def target_for(self, key: bytes) -> str:
        """Return the replica a key belongs to; callers group a batch's keys by it.

        Raises:
            ServiceError: UNAVAILABLE while no replica is known.
        """
        return self._replicas.owner_of(key)

    def breaker_states(self) -> dict[str, BreakerState]:
        """Return the state of each replica called so far."""
        return {address: each.breaker.state for address, each in self._replicas.opened.items()}

    async def call(
        self,
        method: Callable[[StubT], Any],
        request: Any,
        *,
        timeout_s: float,
        key: bytes | None = None,
        act_as: tuple[str, str] | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Make a unary call.

        Args:
            method: Picks the method, as `lambda stub: stub.BatchGet`.
            request: The message.
            timeout_s: The call's own limit over all attempts; the caller's deadline may cut it.
            key: Decides the replica; None takes any that is up.
            act_as: Tenant and user to act as, which needs the role.
            idempotent: Whether repeating it is harmless.

        Returns:
            The response message.

        Raises:
            ServiceError: As the neighbour answered; UNAVAILABLE with reason CIRCUIT_OPEN without any call
                while the replica's breaker is open; DEADLINE_EXCEEDED when no time is left.
        """
        budget = self._budget(timeout_s)
        for attempt in range(1, self._retry_policy.max_attempts + 1):
            try:
                return await self._attempt(method, request, budget, key=key, act_as=act_as)
            except ServiceError as error:
                delay = retry_delay_s(
                    error,
                    attempt,
                    policy=self._retry_policy,
                    idempotent=idempotent,
                    remaining_s=budget.ends_at - self._clock.monotonic(),
                    rng=self._rng,
                )
                if delay is None:
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    async def stream(
        self,
        method: Callable[[StubT], Any],
        request: Any,
        *,
        timeout_s: float | None = None,
        key: bytes | None = None,
        act_as: tuple[str, str] | None = None,
    ) -> AsyncGenerator[Any]:
        """Make a server-streaming call; leaving the loop (with `aclosing`) cancels it.

        Args:
            method: Picks the method.
            request: The message.
            timeout_s: Limit of the whole stream; None for none. The caller's deadline is not applied.
            key: Decides the replica; None takes any that is up.
            act_as: Tenant and user to act as, which needs the role.

        Yields:
            The response messages.

        Raises:
            ServiceError: As for `call`; never retried, as only the caller knows where to resume.
        """
        replica, ticket = await self._replicas.admit(key)
        call = method(replica.stub)(request, timeout=timeout_s, metadata=self._metadata(act_as))
        settled = False
        try:
            async for message in call:
                if not settled:
                    settled = True
                    replica.breaker.succeeded(ticket)
                yield message
            if not settled:
                settled = True
                replica.breaker.succeeded(ticket)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if not settled:
                settled = True
                _tell(replica.breaker, ticket, broken=failure.kind in _BROKEN)
            raise failure from error
        finally:
            call.cancel()
            if not settled:
                replica.breaker.abandoned(ticket)

    async def close(self) -> None:
        """Close every connection; calls in flight are cancelled."""
        await self._replicas.close()

    async def _attempt(
        self,
        method: Callable[[StubT], Any],
        request: Any,
        budget: _Budget,
        *,
        key: bytes | None,
        act_as: tuple[str, str] | None,
    ) -> Any:
        remaining_s = self._remaining_s(budget)
        replica, ticket = await self._replicas.admit(key)
        try:
            answer = await method(replica.stub)(request, timeout=remaining_s, metadata=self._metadata(act_as))
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if failure.kind is ErrorKind.DEADLINE_EXCEEDED and not budget.own:
                replica.breaker.abandoned(ticket)
            else:
                _tell(replica.breaker, ticket, broken=failure.kind in _BROKEN)
            raise failure from error
        except BaseException:
            replica.breaker.abandoned(ticket)
            raise
        replica.breaker.succeeded(ticket)
        return answer

    def _budget(self, timeout_s: float) -> _Budget:
        now = self._clock.monotonic()
        call = current_call_or_none()
        allowed_s = outgoing_timeout_s(timeout_s, deadline=call.deadline if call else None, now=now)
        return _Budget(now + allowed_s, own=allowed_s >= timeout_s)

    def _remaining_s(self, budget: _Budget) -> float:
        remaining_s = budget.ends_at - self._clock.monotonic()
        if remaining_s <= 0:
            raise ServiceError(
                ErrorKind.DEADLINE_EXCEEDED, "NO_TIME_LEFT", f"no time is left to call {self.name}"
            )
        return remaining_s

    def _metadata(self, act_as: tuple[str, str] | None) -> tuple[tuple[str, str], ...]:
        pairs: list[tuple[str, str]] = []
        token = self._credentials.token()
        if token is not None:
            pairs.append((AUTHORIZATION, f"Bearer {token}"))
        if act_as is not None:
            pairs += ((ACT_AS_TENANT, act_as[0]), (ACT_AS_USER, act_as[1]))
        traceparent = current_traceparent()
        if traceparent is not None:
            pairs.append((TRACEPARENT, traceparent))
        call = current_call_or_none()
        if call is not None:
            pairs.append((REQUEST_ID, call.request_id))
        return tuple(pairs)

    def _connect(self, address: str) -> tuple[grpc.aio.Channel, StubT]:
        channel = open_channel(
            address,
            self._credentials,
            server_name=self._server_name,
            max_message_bytes=self._max_message_bytes,
        )
        return channel, self._stub_class(channel)


def _tell(breaker: CircuitBreaker, ticket: int, *, broken: bool) -> None:
    if broken:
        breaker.failed(ticket)
    else:
        breaker.succeeded(ticket)
