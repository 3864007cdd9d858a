"""The limiter against simulated endpoints, in simulated time, and its promises under any course of events."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.limiter import (
    FIRST_LIMIT,
    PAUSE_CAP_S,
    RETRY_AFTER_CAP_S,
    Limiter,
    Ticket,
)

from tests.unit.processor.limits.simulation import Endpoint, Simulation


def steps(*marks: tuple[float, int]) -> Callable[[float], int]:
    """Return a capacity that becomes another at each mark."""

    def capacity(now: float) -> int:
        return [number for at, number in marks if now >= at][-1]

    return capacity


def varied(latency_s: float) -> Callable[[random.Random], tuple[float, int]]:
    """Return a service of outputs of lognormal length; most of a call's time goes by its tokens."""

    def service(rng: random.Random) -> tuple[float, int]:
        tokens = max(5, int(rng.lognormvariate(math.log(100), 0.5)))
        return latency_s * (0.3 + 0.7 * tokens / 100), tokens

    return service


MEAN_OF_VARIED = 0.3 + 0.7 * math.exp(0.125)


@pytest.mark.parametrize("number", [8, 16, 20, 64])
@pytest.mark.parametrize("latency_s", [0.2, 0.5])
@pytest.mark.parametrize("same", [True, False])
def test_a_fixed_capacity_is_used(number: int, latency_s: float, same: bool) -> None:  # noqa: FBT001 - a case
    """0.95 of what an oracle would get, and at most 1 % refused after ten seconds."""
    mean_s = latency_s if same else latency_s * MEAN_OF_VARIED
    service = (lambda _rng: (latency_s, 100)) if same else varied(latency_s)
    run = Simulation(Endpoint(steps((0, number)), service))
    run.run(60)

    assert run.rate(0, 60) * mean_s / number >= 0.95
    assert run.refused_share(10, 60) <= 0.01


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_small_capacity_is_used(number: int) -> None:
    """The smallest limit is one call at a time; few answers pay for refusals then, and those stay few."""
    run = Simulation(Endpoint(steps((0, number))))
    run.run(70)

    assert run.rate(10, 70) * 0.2 / number >= 0.95
    assert run.refused(10, 70) <= 8
    assert run.limiter.limit <= number + 1


@pytest.mark.parametrize("latency_s", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("queues", [False, True])
def test_a_new_capacity_is_found(latency_s: float, queues: bool) -> None:  # noqa: FBT001 - a case
    """90 % of a capacity that has grown fourfold is used within 30 s, by refusals or by latency."""
    endpoint = Endpoint(steps((0, 16), (40, 64)), lambda _rng: (latency_s, 100), queues=queues)
    run = Simulation(endpoint)
    run.run(90)

    assert run.rate(70, 90) * latency_s / 64 >= 0.9
    if not queues:
        assert run.refused_share(10, 40) <= 0.01


@pytest.mark.parametrize("latency_s", [0.2, 1.0])
def test_a_lost_capacity_is_given_up(latency_s: float) -> None:
    """When the capacity sinks, refusals end within ten seconds, and what is left is used."""
    run = Simulation(Endpoint(steps((0, 64), (40, 8)), lambda _rng: (latency_s, 100)))
    run.run(80)

    assert run.rate(55, 80) * latency_s / 8 >= 0.95
    assert run.refused(50, 80) <= 4


@pytest.mark.parametrize("number", [8, 16, 64])
@pytest.mark.parametrize("same", [True, False])
def test_a_silent_queue_stays_short(number: int, same: bool) -> None:  # noqa: FBT001 - a case
    """An endpoint that never refuses is kept busy, and calls take at most twice as long as on an idle one."""
    mean_s = 0.5 if same else 0.5 * MEAN_OF_VARIED
    service = (lambda _rng: (0.5, 100)) if same else varied(0.5)
    run = Simulation(Endpoint(steps((0, number)), service, queues=True))
    run.run(90)

    assert run.rate(0, 90) * mean_s / number >= 0.95
    assert run.latency_s(60, 90) <= 2 * mean_s
    assert run.limiter.holding.cause in (Cause.QUEUEING, Cause.GROWING)


def test_a_silent_queue_that_appears_is_drained() -> None:
    """Calls that take longer because the capacity has sunk bring the limit down, though nobody refuses."""
    run = Simulation(Endpoint(steps((0, 64), (40, 8)), queues=True))
    run.run(100)

    assert run.latency_s(80, 100) <= 0.2 * 2
    assert run.rate(80, 100) * 0.2 / 8 >= 0.95


def test_an_endpoint_that_is_slower_by_itself_is_not_blamed() -> None:
    """Latency that does not sink with the limit is no queue: the limit comes back."""
    run = Simulation(Endpoint(steps((0, 200)), queues=True), most=64)
    run.endpoint.service = lambda _rng: (0.5 if run.now < 30 else 2.5, 100)
    run.run(120)

    assert run.limiter.limit == 64
    assert run.rate(60, 120) * 2.5 / 64 >= 0.9


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_chance_does_not_make_a_slower_endpoint_look_like_a_queue(seed: int) -> None:
    """Though no two of its rounds take equally long, the limit is back within seconds."""
    run = Simulation(Endpoint(steps((0, 200)), queues=True), most=64, seed=seed)
    run.endpoint.service = lambda rng: ((0.5 if run.now < 30 else 2.5) * rng.uniform(0.95, 1.05), 100)
    run.run(60)

    assert run.rate(40, 60) * 2.5 / 64 >= 0.9


def test_a_single_call_waits_for_no_other_of_ours() -> None:
    """An endpoint slower than it was when the limit is one call already: that is its pace, and it grows."""
    run = Simulation(Endpoint(steps((0, 64), (20, 1), (40, 64))))
    run.endpoint.service = lambda _rng: (0.2 if run.now < 40 else 0.8, 100)
    run.run(40)
    assert run.limiter.limit <= 2
    run.run(80)

    assert run.rate(70, 80) * 0.8 / 64 >= 0.9


def test_long_outputs_are_not_misread() -> None:
    """A backlog that turns to outputs ten times as long does not look like a queue."""
    run = Simulation(Endpoint(steps((0, 200)), queues=True), most=32)

    def service(rng: random.Random) -> tuple[float, int]:
        tokens = int(rng.uniform(20, 60) if run.now < 30 else rng.uniform(200, 600))
        return 0.1 + tokens * 0.01, tokens

    run.endpoint.service = service
    run.run(90)

    assert min(limit for at, limit in run.limits if at > 30) == 32


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
def test_an_outage_is_probed_and_outlived(retry_after_s: float | None) -> None:
    """While all is refused calls ask at a bounded rate and never stop; ten seconds after it all is well."""
    endpoint = Endpoint(steps((0, 16), (30, 0), (60, 16)), retry_after_s=retry_after_s)
    run = Simulation(endpoint)
    run.run(90)

    assert 4 <= run.refused(40, 60) <= 15
    asked = [each.at for each in run.fates if 40 <= each.at < 60]
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 1.1 * PAUSE_CAP_S
    assert run.rate(70, 90) * 0.2 / 16 >= 0.95
    assert run.rate(60, 70) * 0.2 / 16 >= 0.5


def test_calls_begun_together_lower_it_once() -> None:
    """Refusals of calls that began before the limit was lowered lower it no further."""
    limiter = Limiter(most=64, now=0.0, rng=random.Random(1))
    tickets = [limiter.begin(number) for number in range(1, FIRST_LIMIT + 1)]
    limiter.refused(tickets[-1], 1.0, status=429, retry_after_s=None)
    once = limiter.limit

    for ticket in tickets[:-1]:
        limiter.refused(ticket, 1.0, status=429, retry_after_s=None)

    assert limiter.limit == once == FIRST_LIMIT - 1
    assert (limiter.holding.cause, limiter.holding.status) == (Cause.REFUSED, 429)


def test_slots_given_out_too_many_are_no_news() -> None:
    """Calls that begin later, in slots that were taken before the limit was lowered, lower it no further."""
    limiter = Limiter(most=64, now=0.0, rng=random.Random(1))
    tickets = [limiter.begin(number) for number in range(1, FIRST_LIMIT + 1)]
    limiter.refused(tickets[-1], 1.0, status=429, retry_after_s=None)
    once = limiter.limit

    for _ in range(5):
        limiter.refused(limiter.begin(FIRST_LIMIT), 1.0, status=429, retry_after_s=None)
    assert limiter.limit == once
    limiter.refused(limiter.begin(once), 1.0, status=429, retry_after_s=None)
    assert limiter.limit < once


def test_it_does_not_grow_unless_it_binds() -> None:
    """Calls that leave slots free say nothing about a higher limit."""
    limiter = Limiter(most=64, now=0.0, rng=random.Random(1))
    for _ in range(500):
        limiter.answered(limiter.begin(0), 1.0, latency_s=0.2, output_tokens=100)

    assert limiter.limit == FIRST_LIMIT


def test_timeouts_lower_it() -> None:
    """A call that was not answered in time may mean that there are too many."""
    limiter = Limiter(most=64, now=0.0, rng=random.Random(1))
    limiter.timed_out(limiter.begin(8), 1.0)

    assert (limiter.limit, limiter.holding.cause) == (FIRST_LIMIT - 1, Cause.TIMEOUTS)


def test_retry_after_is_a_floor_but_for_one_probe() -> None:
    """A pause is as long as the endpoint asks; only its longest hints are cut: nothing stalls for a day."""
    for asked_s in (30.0, 86_400.0):
        limiter = Limiter(most=1, now=0.0, rng=random.Random(1))
        limiter.refused(limiter.begin(1), 10.0, status=429, retry_after_s=asked_s)
        until = 10.0 + min(asked_s, RETRY_AFTER_CAP_S)
        assert limiter.allowed(until - 0.01) == 0
        assert limiter.allowed(until) == 1


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "answer", "refuse", "time out", "end", "wait"]),
        st.integers(0, 1 << 16),
        st.floats(0.0, 30.0),
    ),
    max_size=300,
)


@given(events=EVENTS, most=st.integers(1, 40), seed=st.integers(0, 100))
def test_whatever_happens_it_stays_within_its_bounds(
    events: list[tuple[str, int, float]], most: int, seed: int
) -> None:
    """The limit is 1 to the most; calls under way are counted; and a pause always ends."""
    limiter, now = Limiter(most=most, now=0.0, rng=random.Random(seed)), 0.0
    out: list[Ticket] = []
    for what, number, amount in events:
        if what == "wait":
            now += amount
        elif what == "begin" and len(out) < limiter.allowed(now):
            out.append(limiter.begin(len(out) + 1))
        elif out and what != "begin":
            ticket = out.pop(number % len(out))
            if what == "answer":
                limiter.answered(ticket, now, latency_s=amount, output_tokens=number % 1000)
            elif what == "refuse":
                limiter.refused(ticket, now, status=429, retry_after_s=amount if number % 2 else None)
            elif what == "time out":
                limiter.timed_out(ticket, now)
            else:
                limiter.ended(ticket)
        assert 1 <= limiter.limit <= most
        assert limiter.in_flight == len(out)
        assert limiter.paused_until <= now + max(PAUSE_CAP_S, RETRY_AFTER_CAP_S)
        assert limiter.allowed(limiter.paused_until) == limiter.limit
