"""The client pool against real servers: replicas, breakers, deadlines, retries, and what calls carry."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from service_common.call import CallContext, Principal, call_scope
from service_common.clock import SystemClock
from service_common.config import ConfigError
from service_common.errors import ErrorKind, ServiceError, unavailable
from service_common.resilience.breaker import BreakerPolicy, BreakerState
from service_common.rpc.channel import Credentials
from service_common.rpc.client import ClientPool
from service_common.rpc.targets import parse_targets

QUICK = BreakerPolicy(min_calls=2, open_s=0.2, open_cap_s=0.4, half_open_calls=1)
CLOSED_PORT = "127.0.0.1:1"


def unary(stub: Any) -> Any:
    """Pick the unary method."""
    return stub.Unary


def text(value: str) -> StringValue:
    """Make a message."""
    return StringValue(value=value)


async def failure(call: Any) -> ServiceError:
    """Return the error a call ends with."""
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value


async def test_calls_carry_credential_trace_and_deadline(running: Any, echo_stub: Any) -> None:
    """The neighbour sees the caller's trace, request id, tenant acted for, and no more time than it has."""
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    clock = SystemClock()
    caller = CallContext(Principal("t", "u"), "request-1", clock.monotonic() + 3, trace)
    credentials = Credentials(token=lambda: "secret")
    async with ClientPool(echo_stub, targets=running.address, name="n", credentials=credentials) as pool:
        with call_scope(caller):
            answer = await pool.call(unary, text("a"), timeout_s=60, act_as=("acme", "ann"))
    seen = running.echo.calls[-1]
    assert answer.value == "a"
    assert (seen.principal.tenant, seen.principal.user) == ("acme", "ann")
    assert (seen.request_id, seen.traceparent) == ("request-1", trace)
    assert caller.deadline is not None
    assert seen.deadline <= caller.deadline + 0.1


async def test_errors_arrive_as_the_neighbour_meant_them(running: Any, echo_stub: Any) -> None:
    """Reason and violations survive; the caller's own faults never open the breaker."""
    async with ClientPool(echo_stub, targets=running.address, name="n", breaker=QUICK) as pool:
        for _ in range(5):
            error = await failure(pool.call(unary, text("bad"), timeout_s=5))
            assert (error.kind, error.reason) == (ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD")
        assert pool.breaker_states() == {running.address: BreakerState.CLOSED}


async def test_a_dead_replica_opens_its_breaker_and_a_live_one_closes_it(serve: Any, echo_stub: Any) -> None:
    """Failures open it, then no call is made, and after a restart it closes by itself."""
    async with serve() as first:
        address, port = first.address, first.port
    async with ClientPool(echo_stub, targets=address, name="n", breaker=QUICK) as pool:
        for _ in range(2):
            assert (await failure(pool.call(unary, text("a"), timeout_s=5))).kind is ErrorKind.UNAVAILABLE
        error = await failure(pool.call(unary, text("a"), timeout_s=5))
        assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "CIRCUIT_OPEN")
        assert error.retry_after is not None
        async with serve(port=port), asyncio.timeout(20):
            while pool.breaker_states()[address] is not BreakerState.CLOSED:
                try:
                    await pool.call(unary, text("a"), timeout_s=5)
                except ServiceError:
                    await asyncio.sleep(0.02)


async def test_only_idempotent_calls_are_repeated(running: Any, echo_stub: Any, monkeypatch: Any) -> None:
    """One refusal is repeated for an idempotent call, and is final for any other."""
    refusals = [unavailable("DOWN", "x")] * 2

    async def act(word: str) -> str:
        if refusals:
            raise refusals.pop()
        return word

    monkeypatch.setattr(running.echo, "_act", act)
    async with ClientPool(echo_stub, targets=running.address, name="n") as pool:
        assert (await failure(pool.call(unary, text("a"), timeout_s=5))).reason == "DOWN"
        assert (await pool.call(unary, text("a"), timeout_s=5, idempotent=True)).value == "a"


async def test_keys_stay_with_their_replica_and_others_avoid_the_dead(running: Any, echo_stub: Any) -> None:
    """A key of a dead replica is not moved; a call without key finds the live one once the breaker opened."""
    targets = f"{running.address},{CLOSED_PORT}"
    async with ClientPool(
        echo_stub, targets=targets, name="n", breaker=BreakerPolicy(min_calls=1), rng=random.Random(1)
    ) as pool:
        dead_key = next(k for k in (str(n).encode() for n in range(99)) if pool.target_for(k) == CLOSED_PORT)
        live_key = next(k for k in (str(n).encode() for n in range(99)) if pool.target_for(k) != CLOSED_PORT)
        assert (await failure(pool.call(unary, text("a"), timeout_s=5, key=dead_key))).kind is (
            ErrorKind.UNAVAILABLE
        )
        assert (
            await failure(pool.call(unary, text("a"), timeout_s=5, key=dead_key))
        ).reason == "CIRCUIT_OPEN"
        for _ in range(8):
            assert (await pool.call(unary, text("a"), timeout_s=5)).value == "a"
        assert (await pool.call(unary, text("a"), timeout_s=5, key=live_key)).value == "a"


async def test_no_time_left_means_no_call(running: Any, echo_stub: Any) -> None:
    """A caller whose deadline has passed gets DEADLINE_EXCEEDED and the neighbour is spared."""
    caller = CallContext(Principal("t", "u"), "r", SystemClock().monotonic() - 1)
    async with ClientPool(echo_stub, targets=running.address, name="n") as pool:
        with call_scope(caller):
            error = await failure(pool.call(unary, text("a"), timeout_s=5))
    assert (error.kind, error.reason) == (ErrorKind.DEADLINE_EXCEEDED, "NO_TIME_LEFT")
    assert running.echo.calls == []


async def test_a_callers_impatience_is_not_the_neighbours_fault(running: Any, echo_stub: Any) -> None:
    """A deadline cut by the caller does not count against the replica; the pool's own limit does."""
    async with ClientPool(
        echo_stub, targets=running.address, name="n", breaker=BreakerPolicy(min_calls=1)
    ) as pool:
        caller = CallContext(Principal("t", "u"), "r", SystemClock().monotonic() + 0.1)
        with call_scope(caller):
            await failure(pool.call(unary, text("wait"), timeout_s=5))
        assert pool.breaker_states()[running.address] is BreakerState.CLOSED
        await failure(pool.call(unary, text("wait"), timeout_s=0.1))
        assert pool.breaker_states()[running.address] is BreakerState.OPEN


async def test_streams_translate_errors_and_cancel_when_left(running: Any, echo_stub: Any) -> None:
    """Messages arrive, an error arrives as ServiceError, and leaving cancels the handler."""
    async with ClientPool(echo_stub, targets=running.address, name="n") as pool:

        def down(word: str) -> Any:
            return pool.stream(lambda stub: stub.Down, text(word))

        assert [each.value async for each in down("a b")] == ["a", "b", "end"]
        with pytest.raises(ServiceError, match="is bad"):
            [each async for each in down("a bad")]
        running.echo.closed.clear()
        async with aclosing(down("a wait")) as answers:
            assert (await anext(answers)).value == "a"
        await asyncio.wait_for(running.echo.closed.wait(), 5)


async def test_a_headless_name_is_followed(running: Any, echo_stub: Any) -> None:
    """Targets come from the resolver; with none known the call is UNAVAILABLE, not lost."""
    answers: list[list[str]] = [[], [running.address]]

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("neighbour", 50051)
        found = answers.pop(0)
        if not found:
            raise OSError("no such name")
        return found

    clock = SystemClock()
    pool = ClientPool(echo_stub, targets="dns:///neighbour:50051", name="n", resolve=resolve, clock=clock)
    async with pool:
        assert (await failure(pool.call(unary, text("a"), timeout_s=5))).reason == "NO_TARGETS"
        pool._replicas._targets._due_at = 0
        assert (await pool.call(unary, text("a"), timeout_s=5)).value == "a"
        assert pool.targets == (running.address,)


async def test_a_token_never_crosses_a_network_in_plaintext(echo_stub: Any) -> None:
    """A token for a non-loopback target without TLS is refused before anything is sent."""
    async with ClientPool(
        echo_stub, targets="192.0.2.1:50051", name="n", credentials=Credentials(token=lambda: "t")
    ) as pool:
        with pytest.raises(ConfigError, match="TLS_CA_FILE"):
            await pool.call(unary, text("a"), timeout_s=1)


@pytest.mark.parametrize("bad", ["", "host", "host:0", "host:99999", "a:1,b", "dns:///a:1,b:2", "a b:1"])
def test_targets_that_are_none_are_refused(bad: str) -> None:
    """A wrong list of targets is found when it is read."""
    with pytest.raises(ValueError, match=r"host:port"):
        parse_targets(bad)
