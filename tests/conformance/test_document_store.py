"""The sentences of `DocumentStore`'s contract on documents and writes, each against every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import (
    MAX_COMMIT_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_WRITES,
    Create,
    Decision,
    Delete,
    Document,
    DocumentStore,
    Key,
    Set,
    Update,
    Value,
    Write,
)

A = Key("things", "acme", "a")
B = Key("things", "acme", "b")
LEASE = Key("leases", "acme", "one")


async def kind_of(awaitable: object) -> ErrorKind:
    """Return the kind of error the call ends in."""
    with pytest.raises(ServiceError) as caught:
        await awaitable  # type: ignore[misc]  # any of the store's coroutines
    return caught.value.kind


async def data_of(store: DocumentStore, key: Key) -> dict[str, Value] | None:
    """Return the fields of a document, None if absent."""
    document = await store.get(key)
    return None if document is None else dict(document.data)


async def version_of(store: DocumentStore, key: Key) -> str:
    """Return the version of a document that exists."""
    document = await store.get(key)
    assert document is not None
    return document.version


async def test_absent_is_none(store: DocumentStore) -> None:
    """What was never written is None."""
    assert await store.get(A) is None


async def test_get_many_keeps_order_and_repeats(store: DocumentStore) -> None:
    """One entry per key, in the order of the keys, None where absent, repeats repeated."""
    await store.commit([Create(A, {"n": 1}), Create(B, {"n": 2})])
    missing = Key("things", "acme", "missing")
    found = await store.get_many([B, missing, A, B])
    assert [each and each.key for each in found] == [B, None, A, B]
    assert await store.get_many([]) == []


async def test_get_many_of_more_than_one_statement(store: DocumentStore) -> None:
    """Asking for more keys than a backend fetches at once answers all of them."""
    keys = [Key("things", "acme", f"{n:04}") for n in range(1200)]
    for start in range(0, 1200, MAX_WRITES):
        await store.commit([Create(key, {"id": key.id}) for key in keys[start : start + MAX_WRITES]])
    assert [each and each.data["id"] for each in await store.get_many(keys)] == [key.id for key in keys]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**63), 2**63 - 1, 0.1, -0.0, float("inf"), "", "ü\0x", b"", b"\0\xff",
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        [], {}, [1, "two", {"three": [3]}], {"a": {"b": None}},
    ],
)  # fmt: skip
async def test_values_return_equal_and_of_the_same_type(store: DocumentStore, value: Value) -> None:
    """Every storable value comes back as it went in."""
    await store.commit([Set(A, {"value": value})])
    data = await data_of(store, A)
    assert data == {"value": value}
    assert type(data["value"]) is type(value)


async def test_tuples_return_as_lists_and_times_as_utc(store: DocumentStore) -> None:
    """The two conversions the contract names."""
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    await store.commit([Set(A, {"pair": (1, 2), "at": moment})])
    data = await data_of(store, A)
    assert data == {"pair": [1, 2], "at": moment}
    assert isinstance(data["at"], datetime)
    assert data["at"].tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        float("nan"),
        datetime(2026, 1, 1),  # noqa: DTZ001 - a naive datetime is the point
        "\ud800",
        [[1]],
        {"": 1},
        {"__x__": 1},
        {1: 2},
        {1},
        object(),
    ],
)
async def test_refused_values_name_their_field(store: DocumentStore, value: Value) -> None:
    """What some backend could not keep is INVALID_ARGUMENT naming the field, and nothing is written."""
    with pytest.raises(ServiceError) as caught:
        await store.commit([Set(B, {}), Set(A, {"outer": {"inner": value}})])
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.violations[0].field.startswith("data.outer.inner")
    assert await store.get(B) is None


async def test_nesting_is_bounded(store: DocumentStore) -> None:
    """Twenty levels are kept, one more is refused."""
    deep: Value = 1
    for _ in range(19):
        deep = {"d": deep}
    await store.commit([Set(A, {"d": deep})])
    assert await kind_of(store.commit([Set(A, {"d": {"d": deep}})])) is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("part", ["", "x" * 701, "ü" * 351, "a\0b", "\ud800", "a/b", "/", ".", "..", "__x__"])
def test_refused_keys(part: str) -> None:
    """Keys no backend could address do not come into being."""
    for parts in (("things", "acme", part), ("things", part, "a")):
        with pytest.raises(ServiceError) as caught:
            Key(*parts)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_keys_hold_any_other_text(store: DocumentStore) -> None:
    """Separators and reserved looks of one backend or another are plain text in a key."""
    keys = [Key("things", "a.b", each) for each in ("...", "__x", "_", "~", "a b", "ü" * 350, "%2F", "\x01")]
    await store.commit([Create(key, {"id": key.id}) for key in keys])
    assert [each and each.key for each in await store.get_many(keys)] == keys


async def test_tenants_never_meet(store: DocumentStore) -> None:
    """The same id of another tenant is another document."""
    await store.commit([Create(A, {"n": 1})])
    other = Key("things", "other", "a")
    assert await store.get(other) is None
    await store.commit([Create(other, {"n": 2})])
    assert await data_of(store, A) == {"n": 1}


async def test_documents_are_copies(store: DocumentStore) -> None:
    """Changing what was passed in or returned changes nothing stored."""
    given: dict[str, Value] = {"list": [1]}
    await store.commit([Set(A, given)])
    given["list"] = [2]
    read = await data_of(store, A)
    assert read == {"list": [1]}
    assert isinstance(read["list"], list)
    read["list"].append(3)
    assert await data_of(store, A) == {"list": [1]}


async def test_create_refuses_what_exists(store: DocumentStore) -> None:
    """Create is ALREADY_EXISTS for a present document, and leaves it."""
    await store.commit([Create(A, {"n": 1})])
    assert await kind_of(store.commit([Create(A, {"n": 2})])) is ErrorKind.ALREADY_EXISTS
    assert await data_of(store, A) == {"n": 1}


async def test_set_replaces_and_update_merges(store: DocumentStore) -> None:
    """Set drops the other fields; Update replaces the named ones whole and keeps the others."""
    await store.commit([Set(A, {"a": 1, "m": {"x": 1, "y": 2}})])
    await store.commit([Update(A, {"m": {"z": 3}, "b": 2})])
    assert await data_of(store, A) == {"a": 1, "m": {"z": 3}, "b": 2}
    await store.commit([Set(A, {"c": 3})])
    assert await data_of(store, A) == {"c": 3}


async def test_update_needs_a_document(store: DocumentStore) -> None:
    """Update of an absent document is NOT_FOUND."""
    assert await kind_of(store.commit([Update(A, {"n": 1})])) is ErrorKind.NOT_FOUND


async def test_delete_of_absent_is_fine(store: DocumentStore) -> None:
    """Delete removes, and is content with nothing to remove."""
    await store.commit([Create(A, {})])
    await store.commit([Delete(A), Delete(B)])
    assert await store.get_many([A, B]) == [None, None]


@pytest.mark.parametrize(
    "write", [Set(A, {}, "0"), Update(A, {}, "0"), Delete(A, "0"), Set(A, {}, ""), Delete(A, "x")]
)
async def test_version_mismatch_is_aborted(store: DocumentStore, write: Write) -> None:
    """A condition on another version is ABORTED and writes nothing."""
    await store.commit([Create(A, {"n": 1})])
    assert await kind_of(store.commit([write])) is ErrorKind.ABORTED
    assert await data_of(store, A) == {"n": 1}


async def test_conditions_hold_at_the_current_version(store: DocumentStore) -> None:
    """Set, Update and Delete go through at the version that was read."""
    await store.commit([Create(A, {"n": 1})])
    await store.commit([Set(A, {"n": 2}, await version_of(store, A))])
    await store.commit([Update(A, {"m": 3}, await version_of(store, A))])
    assert await data_of(store, A) == {"n": 2, "m": 3}
    await store.commit([Delete(A, await version_of(store, A))])
    assert await kind_of(store.commit([Delete(A, "1")])) is ErrorKind.ABORTED
    assert await kind_of(store.commit([Set(A, {}, "1")])) is ErrorKind.ABORTED
    assert await kind_of(store.commit([Set(A, {}, "")])) is ErrorKind.ABORTED


async def test_versions_change_on_every_write_and_are_never_reused(store: DocumentStore) -> None:
    """Even an equal write, and a re-creation after deletion, has a new version."""
    seen: list[str] = []
    for write in (Create(A, {}), Set(A, {}), Update(A, {}), Delete(A), Create(A, {})):
        await store.commit([write])
        if not isinstance(write, Delete):
            seen.append(await version_of(store, A))
    assert len(set(seen)) == 4
    assert await version_of(store, A) == await version_of(store, A)


async def test_commit_is_atomic_and_ordered(store: DocumentStore) -> None:
    """Later writes see earlier ones of the same commit; if one fails, none happened."""
    await store.commit([Create(A, {"n": 1}), Update(A, {"m": 2}), Delete(A), Create(A, {"k": 3})])
    assert await data_of(store, A) == {"k": 3}
    assert (
        await kind_of(store.commit([Set(A, {"k": 4}), Create(B, {}), Create(B, {})]))
        is ErrorKind.ALREADY_EXISTS
    )
    assert await data_of(store, A) == {"k": 3}
    assert await store.get(B) is None


async def test_limits_of_a_commit(store: DocumentStore) -> None:
    """Too many writes, too large a document or too much together is refused; the limits themselves fit."""
    keys = [Key("things", "acme", str(n)) for n in range(MAX_WRITES + 1)]
    await store.commit([Set(key, {}) for key in keys[:-1]])
    assert await kind_of(store.commit([Set(key, {}) for key in keys])) is ErrorKind.INVALID_ARGUMENT
    largest = b"x" * (MAX_DOCUMENT_BYTES - len(b"\x81\xa1b\xc6...."))
    await store.commit([Set(A, {"b": largest})])
    assert await kind_of(store.commit([Set(A, {"b": largest + b"x"})])) is ErrorKind.INVALID_ARGUMENT
    assert await kind_of(store.commit([Update(A, {"c": 1})])) is ErrorKind.INVALID_ARGUMENT
    too_much = [Set(key, {"b": largest}) for key in keys[:11]]
    assert await kind_of(store.commit(too_much)) is ErrorKind.INVALID_ARGUMENT
    share = b"x" * (MAX_COMMIT_BYTES // MAX_WRITES - len(b"\x81\xa1b\xc5.."))
    await store.commit([Set(key, {"b": share}) for key in keys[:-1]])
    await store.commit([])


async def test_undeclared_collection_is_the_services_fault(store: DocumentStore) -> None:
    """INTERNAL, for reads, writes and transactions."""
    key = Key("elsewhere", "acme", "a")
    assert await kind_of(store.get(key)) is ErrorKind.INTERNAL
    assert await kind_of(store.commit([Delete(key)])) is ErrorKind.INTERNAL
    assert await kind_of(store.transact([key], lambda _: Decision(None))) is ErrorKind.INTERNAL


async def test_transact_reads_decides_and_writes(store: DocumentStore) -> None:
    """The decision sees the documents in the order of the keys; its result returns, its writes are stored."""
    await store.commit([Create(A, {"n": 1})])

    def decide(found: Sequence[Document | None]) -> Decision[str]:
        assert [each and each.key for each in found] == [None, A]
        return Decision("done", [Create(B, {"from": found[1].version if found[1] else None}), Delete(A)])

    version = await version_of(store, A)
    assert await store.transact([B, A], decide) == "done"
    assert await data_of(store, B) == {"from": version}
    assert await store.get(A) is None


@pytest.mark.parametrize("error", [KeyError("mine"), StopIteration("odd")])
async def test_transact_that_raises_writes_nothing(store: DocumentStore, error: Exception) -> None:
    """What it raises reaches the caller; asyncio turns StopIteration around."""

    def decide(_: Sequence[Document | None]) -> Decision[None]:
        raise error

    with pytest.raises((type(error), RuntimeError)):
        await store.transact([A], decide)
    await store.commit([Create(A, {})])


async def test_transact_with_a_failing_write_writes_nothing(store: DocumentStore) -> None:
    """The decision's writes are all or none, and their conditions' errors are as of commit."""
    await store.commit([Create(A, {"n": 1})])
    calls = store.transact([A], lambda _: Decision(None, [Set(B, {}), Create(A, {})]))
    assert await kind_of(calls) is ErrorKind.ALREADY_EXISTS
    assert await store.get(B) is None


async def test_transactions_are_serialisable(store: DocumentStore) -> None:
    """Of many concurrent increments none is lost, and each saw another value."""

    def increment(found: Sequence[Document | None]) -> Decision[int]:
        count = found[0].data["n"] if found[0] else 0
        assert isinstance(count, int)
        return Decision(count, [Set(A, {"n": count + 1})])

    seen = await asyncio.gather(*(store.transact([A], increment) for _ in range(300)))
    assert sorted(seen) == list(range(300))
    assert await data_of(store, A) == {"n": 300}


async def test_a_failing_neighbour_fails_alone(store: DocumentStore) -> None:
    """Concurrent operations fail or succeed each by itself, in the order they were made."""
    keys = [Key("things", "acme", str(n)) for n in range(50)]
    creations = [store.commit([Create(key, {"n": n})]) for n in range(2) for key in keys]
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None)] * 50 + [ServiceError] * 50
    assert all(each and each.data == {"n": 0} for each in await store.get_many(keys))


async def test_cancellation_harms_nobody_else(store: DocumentStore) -> None:
    """Cancelled callers leave a working store and whole documents behind."""
    keys = [Key("things", "acme", str(n)) for n in range(40)]
    tasks = [asyncio.create_task(store.commit([Set(key, {"x": 1}), Set(A, {"by": key.id})])) for key in keys]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(await store.get_many(keys[1::2]))
    await store.commit([Set(A, {"n": 1})])
    assert await data_of(store, A) == {"n": 1}


async def test_expired_is_absent_everywhere(store: DocumentStore, clock: ManualClock) -> None:
    """From its expiry on, a document is absent for get, transactions and conditions, before any sweep."""
    await store.commit([Create(LEASE, {"expire_time": clock.now() + timedelta(seconds=5), "owner": "me"})])
    version = await version_of(store, LEASE)
    clock.advance(4.999999)
    assert await store.get(LEASE) is not None
    clock.advance(0.000001)
    assert await store.get(LEASE) is None
    assert await store.transact([LEASE], lambda found: Decision(found[0])) is None
    assert await kind_of(store.commit([Update(LEASE, {"x": 1})])) is ErrorKind.NOT_FOUND
    assert await kind_of(store.commit([Set(LEASE, {}, version)])) is ErrorKind.ABORTED
    await store.commit([Create(LEASE, {"owner": "you"})])
    assert await data_of(store, LEASE) == {"owner": "you"}
    assert await version_of(store, LEASE) != version


async def test_expiry_must_be_a_time(store: DocumentStore) -> None:
    """The ttl field holds a datetime, None or nothing; the latter two never expire."""
    assert await kind_of(store.commit([Create(LEASE, {"expire_time": 5})])) is ErrorKind.INVALID_ARGUMENT
    await store.commit([Create(LEASE, {"expire_time": None})])
    assert await store.get(LEASE) is not None


async def test_sweep_is_bounded_and_spares_the_living(
    store: DocumentStore, clock: ManualClock, backend: str
) -> None:
    """At most `limit` at a time, only what is expired, until nothing is left; Firestore does it itself."""
    for n in range(7):
        moment = clock.now() + timedelta(seconds=1 if n < 5 else 100)
        await store.commit([Create(Key("leases", "acme", str(n)), {"expire_time": moment, "owner": "me"})])
    assert await store.sweep_expired() == 0
    clock.advance(1)
    removed = [0, 0, 0] if backend == "firestore" else [3, 2, 0]
    assert [await store.sweep_expired(3) for _ in range(3)] == removed
    left = await store.get_many([Key("leases", "acme", str(n)) for n in range(7)])
    assert [each is not None for each in left] == [False] * 5 + [True] * 2


async def test_sweep_spares_what_was_renewed(store: DocumentStore, clock: ManualClock) -> None:
    """A document re-created in the same breath as the sweep stays."""
    await store.commit([Create(LEASE, {"expire_time": clock.now()})])
    renewed = clock.now() + timedelta(seconds=1)
    await asyncio.gather(store.commit([Set(LEASE, {"expire_time": renewed})]), store.sweep_expired())
    assert await data_of(store, LEASE) == {"expire_time": renewed}


async def test_close_finishes_what_was_accepted(store: DocumentStore) -> None:
    """Writes under way are answered; afterwards everything is UNAVAILABLE, and closing again is fine."""
    await store.ping()
    tasks = [asyncio.create_task(store.commit([Set(Key("things", "acme", str(n)), {})])) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    await store.close()
    for call in (store.get(A), store.commit([Delete(A)]), store.ping(), store.sweep_expired()):
        assert await kind_of(call) is ErrorKind.UNAVAILABLE
