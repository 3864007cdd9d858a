"""A start waits for a store that is away, and for nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError, failed_precondition, unavailable
from service_common.storage import Schema, reached
from service_common.storage.memory import MemoryStore
from structlog.testing import capture_logs

AWAY = unavailable("STORE_UNAVAILABLE", "projects/p/databases/d cannot be reached")
WRONG = failed_precondition("STORE_NOT_READY", "projects/p/databases/d does not exist")


class _Flaky(MemoryStore):
    """A store whose first pings fail."""

    def __init__(self, errors: Iterable[ServiceError]) -> None:
        super().__init__(Schema((), ()), ManualClock())
        self.errors = list(errors)

    async def ping(self) -> None:
        """Fail while there are errors left."""
        if self.errors:
            raise self.errors.pop(0)


class _NoWait(random.Random):
    """Draws waits of no time."""

    def uniform(self, a: float, b: float) -> float:
        """Return the least."""
        return a


async def test_a_store_that_is_away_is_waited_for() -> None:
    """Each try is logged with the store and the variable that leads to it."""
    store = _Flaky([AWAY, AWAY, AWAY])
    with capture_logs() as logs:
        await reached(store, rng=_NoWait())
    assert not store.errors
    assert [each["event"] for each in logs] == ["store_away"] * 3
    assert "projects/p/databases/d" in logs[0]["error"]
    assert "STORE_URL" in logs[0]["advice"]


async def test_a_store_that_cannot_be_used_ends_the_wait() -> None:
    """What waiting does not mend is the caller's at once."""
    with pytest.raises(ServiceError) as caught:
        await reached(_Flaky([AWAY, WRONG, AWAY]), rng=_NoWait())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
