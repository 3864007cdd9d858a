"""The cache as a neighbour: an answer too large for one message is asked for again, not paid for again."""

from __future__ import annotations

from typing import Any

import pytest
from contentfactory.cache.v1 import cache_pb2
from parallel_processor.neighbours.acting import Acting
from parallel_processor.neighbours.cache import CacheNeighbour
from parallel_processor.neighbours.replicas import CacheReplicas
from parallel_processor.running.ports import Acquired, Acquisition, Entry, Fill, Owner
from service_common.errors import resource_exhausted
from service_common.rpc.status import to_status

OWNER = Owner("acme", "ann")
KEYS = [f"key-{number}" for number in range(7)]
TOO_LARGE = to_status(resource_exhausted("RESPONSE_TOO_LARGE", "ask for fewer at once"))


class SmallMessages:
    """A pool of one cache that holds every key and fits two entries into a response; `giant` never fits."""

    targets = ("one",)

    def __init__(self, giant: str = "") -> None:
        self.calls = 0
        self._giant = giant

    async def call(self, method: Any, request: Any, **_options: Any) -> Any:
        """Answer BatchGet or BatchAcquire."""
        self.calls += 1
        fits = 2
        results = []
        for each in request.requests:
            entry = cache_pb2.Entry(key=each.key, value=each.key.encode())
            if fits and each.key != self._giant:
                fits -= 1
                results.append(self._found(request, entry))
            else:
                results.append({"error": TOO_LARGE})
        answer = type(request).__name__.replace("Request", "Response")
        return getattr(cache_pb2, answer)(results=results)

    def _found(self, request: Any, entry: cache_pb2.Entry) -> dict[str, Any]:
        if isinstance(request, cache_pb2.BatchGetRequest):
            return {"value": cache_pb2.GetResponse(entry=entry)}
        return {
            "value": cache_pb2.BatchAcquireResponse.Acquisition(
                outcome=cache_pb2.ACQUIRE_OUTCOME_HIT, entry=entry
            )
        }


def neighbour(pool: SmallMessages | OneAnswer) -> CacheNeighbour:
    """Return a neighbour over the pool."""
    acting = Acting(has_credential=False)
    return CacheNeighbour(CacheReplicas(pool, acting))  # type: ignore[arg-type]  # a pool's part that is used


async def test_a_cache_that_is_away_holds_up_no_slot() -> None:
    """A lease is asked for once, for a moment; entries are looked up and filled with more patience."""
    asked: dict[str, tuple[bool, float]] = {}

    class Recording(SmallMessages):
        async def call(self, method: Any, request: Any, **options: Any) -> Any:
            asked[type(request).__name__] = options["idempotent"], options["timeout_s"]
            return await super().call(method, request)

    cache = neighbour(Recording())
    await cache.acquire(OWNER, "job/0", 1, KEYS[:1])
    await cache.get(OWNER, KEYS[:1])
    (tried_again, at_most_s), (looked_up_again, patient_s) = asked.values()
    assert (tried_again, looked_up_again) == (False, True)
    assert at_most_s < patient_s


async def test_entries_that_do_not_fit_are_asked_for_again() -> None:
    """Every key comes back with its own entry, in order, however few fit into a response."""
    found = await neighbour(SmallMessages()).get(OWNER, KEYS)
    assert [each.value if each else None for each in found] == KEYS


async def test_hits_that_do_not_fit_are_hits() -> None:
    """What is cached is never taken for missing when leases are asked for."""
    found = await neighbour(SmallMessages()).acquire(OWNER, "job/0", 1, KEYS)
    hits = [each for each in found if isinstance(each, Acquisition) and each.outcome is Acquired.HIT]
    assert [each.entry.value for each in hits if each.entry] == KEYS


async def test_an_entry_that_never_fits_ends_the_asking() -> None:
    """What fits into no response is answered as not there, after a bounded number of calls."""
    pool = SmallMessages(giant=KEYS[3])
    found = await neighbour(pool).get(OWNER, KEYS)
    assert [each is None for each in found] == [key == KEYS[3] for key in KEYS]
    assert pool.calls <= len(KEYS)


class OneAnswer:
    """A pool that answers every call alike and keeps what it was asked."""

    targets = ("one",)

    def __init__(self, answer: Any) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    async def call(self, method: Any, request: Any, **_options: Any) -> Any:
        """Answer."""
        self.asked.append(request)
        return self._answer


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        (cache_pb2.Lease(token="t"), Acquisition(Acquired.LEASED, lease_token="t")),
        (None, Acquisition(Acquired.HIT, Entry("old", "", 0))),
    ],
)
async def test_what_is_stale_is_refreshed_by_one_and_used_by_the_others(
    lease: cache_pb2.Lease | None, expected: Acquisition
) -> None:
    """With the lease a stale entry is generated anew under it; without, it is a hit."""
    stale = cache_pb2.BatchAcquireResponse.Acquisition(
        outcome=cache_pb2.ACQUIRE_OUTCOME_STALE, entry=cache_pb2.Entry(key="k", value=b"old"), lease=lease
    )
    pool = OneAnswer(
        cache_pb2.BatchAcquireResponse(results=[cache_pb2.BatchAcquireResponse.Result(value=stale)])
    )
    assert await neighbour(pool).acquire(OWNER, "job/0", 1, ["k"]) == [expected]


async def test_what_is_not_to_be_kept_is_only_passed_on() -> None:
    """A fill tells the cache whether to store it."""
    pool = OneAnswer(cache_pb2.BatchFillResponse())
    fills = [Fill(f"k{keep}", Entry("text", "", 0), (), "t", keep) for keep in (True, False)]
    await neighbour(pool).fill(OWNER, fills)
    assert [each.pass_on_only for each in pool.asked[0].requests] == [False, True]
