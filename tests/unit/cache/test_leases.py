"""Leases: one holder per key, epochs inherit, time ends them; random histories against a simple model."""

from __future__ import annotations

from itertools import count

import pytest
from content_cache.entry import Address
from content_cache.leasing.leases import FILLED_TOKENS_KEPT, Lease, LeaseTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from service_common.errors import ServiceError

K = Address("a", "k")


@pytest.fixture
def table() -> LeaseTable:
    """An empty table whose tokens are numbers."""
    tokens = count(1)
    return LeaseTable(lambda: f"t{next(tokens)}")


def acquire(table: LeaseTable, holder: str, epoch: int = 0, *, ttl_s: float = 30, now: float = 0) -> Lease:
    """Acquire the one key."""
    table.expire(now)
    return table.acquire(K, holder=holder, epoch=epoch, ttl_s=ttl_s, now=now)


def test_one_holder_and_the_others_see_whose_it_is(table: LeaseTable) -> None:
    """The first acquirer holds the lease; others are shown it."""
    mine = acquire(table, "h1")
    assert acquire(table, "h2") == mine
    assert mine.holder == "h1"


def test_repeating_returns_the_same_lease(table: LeaseTable) -> None:
    """A retry with the same holder and epoch gets the same token, and never a shorter lease."""
    first = acquire(table, "h", now=0)
    again = acquire(table, "h", now=10)
    assert (again.token, again.expires_at) == (first.token, 40)
    assert acquire(table, "h", ttl_s=1, now=20).expires_at == 40


def test_higher_epoch_inherits_under_a_new_token(table: LeaseTable) -> None:
    """A restarted holder never waits for its dead self, and the dead self's token is worthless."""
    old = acquire(table, "h", 1)
    new = acquire(table, "h", 2)
    assert (new.holder, new.epoch) == ("h", 2)
    assert new.token != old.token
    assert not table.release(K, old.token)
    with pytest.raises(ServiceError) as lost:
        table.renew(K, old.token, ttl_s=30, now=0)
    assert lost.value.reason == "LEASE_LOST"
    assert table.count("a") == 1


def test_lower_epoch_is_stale(table: LeaseTable) -> None:
    """The dead self of a restarted holder is told so."""
    acquire(table, "h", 2)
    with pytest.raises(ServiceError) as stale:
        acquire(table, "h", 1)
    assert stale.value.reason == "STALE_EPOCH"


def test_renewal_moves_the_end_either_way(table: LeaseTable) -> None:
    """A renewal counts from now: it may lengthen or shorten, and the alarm rings in time for both."""
    lease = acquire(table, "h")
    assert table.renew(K, lease.token, ttl_s=60, now=10).expires_at == 70
    assert table.expire(69.9) == []
    assert table.renew(K, lease.token, ttl_s=1, now=69.9).expires_at == 70.9
    assert table.expire(70.9) == [K]
    assert table.expire(1000) == []


def test_alarms_stay_few(table: LeaseTable) -> None:
    """Leases that end early do not pile up alarms."""
    for _ in range(20_000):
        lease = acquire(table, "h", ttl_s=600)
        assert table.release(K, lease.token)
    assert len(table.alarms) < 2_000


def test_remembered_fills_are_bounded(table: LeaseTable) -> None:
    """The oldest filled tokens are forgotten first."""
    for number in range(FILLED_TOKENS_KEPT + 1):
        table.fulfil(K, str(number))
    assert not table.was_fulfilled(K, "0")
    assert table.was_fulfilled(K, str(FILLED_TOKENS_KEPT))


class LeaseHistory(RuleBasedStateMachine):
    """A table beside a dictionary of (holder, epoch, token, end)."""

    keys = st.sampled_from([Address("a", "k"), Address("a", "l"), Address("b", "k")])
    holders = st.sampled_from(["h1", "h2"])
    lengths = st.integers(1, 40)

    def __init__(self) -> None:
        super().__init__()
        tokens = count(1)
        self.table = LeaseTable(lambda: f"t{next(tokens)}")
        self.model: dict[Address, tuple[str, int, str, float]] = {}
        self.tokens: list[str] = ["never"]
        self.now = 0.0

    @rule(seconds=st.integers(0, 30))
    def time_passes(self, seconds: int) -> None:
        """Exactly the leases whose end is reached are ended, each once."""
        self.now += seconds
        due = {key for key, lease in self.model.items() if lease[3] <= self.now}
        ended = self.table.expire(self.now)
        assert len(ended) == len(set(ended))
        assert set(ended) == due
        for key in due:
            del self.model[key]

    @rule(key=keys, holder=holders, epoch=st.integers(0, 3), ttl_s=lengths)
    def acquire(self, key: Address, holder: str, epoch: int, ttl_s: int) -> None:
        """The free key is leased; the same holder keeps, inherits or is stale; others see the present one."""
        present = self.model.get(key)
        if present and present[0] == holder and epoch < present[1]:
            with pytest.raises(ServiceError):
                self.table.acquire(key, holder=holder, epoch=epoch, ttl_s=ttl_s, now=self.now)
            return
        lease = self.table.acquire(key, holder=holder, epoch=epoch, ttl_s=ttl_s, now=self.now)
        if present and present[0] != holder:
            assert (lease.holder, lease.epoch, lease.token, lease.expires_at) == present
            return
        if present and epoch == present[1]:
            expected = (holder, epoch, present[2], max(present[3], self.now + ttl_s))
        else:
            assert lease.token not in self.tokens
            expected = (holder, epoch, lease.token, self.now + ttl_s)
        assert (lease.holder, lease.epoch, lease.token, lease.expires_at) == expected
        self.model[key] = expected
        self.tokens.append(lease.token)

    @rule(key=keys, data=st.data(), ttl_s=lengths)
    def renew(self, key: Address, data: st.DataObject, ttl_s: int) -> None:
        """Only the present token renews."""
        token = data.draw(st.sampled_from(self.tokens))
        present = self.model.get(key)
        if present is None or present[2] != token:
            with pytest.raises(ServiceError):
                self.table.renew(key, token, ttl_s=ttl_s, now=self.now)
            return
        self.table.renew(key, token, ttl_s=ttl_s, now=self.now)
        self.model[key] = (*present[:3], self.now + ttl_s)

    @rule(key=keys, data=st.data())
    def release(self, key: Address, data: st.DataObject) -> None:
        """Only the present token releases."""
        token = data.draw(st.sampled_from(self.tokens))
        held = key in self.model and self.model[key][2] == token
        assert self.table.release(key, token) is held
        if held:
            del self.model[key]

    @invariant()
    def same_leases(self) -> None:
        """The same leases, counted per tenant; the alarm rings no later than the first end."""
        assert len(self.table) == len(self.model)
        for key, lease in self.model.items():
            found = self.table.get(key)
            assert found is not None
            assert (found.holder, found.epoch, found.token, found.expires_at) == lease
        assert self.table.count("b") == sum(key.tenant == "b" for key in self.model)
        alarm = self.table.next_alarm()
        assert (alarm is None) == (not self.model)
        if alarm is not None:
            assert alarm <= min(lease[3] for lease in self.model.values())


TestLeaseHistory = LeaseHistory.TestCase
TestLeaseHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
