"""Accounts: over several queues whoever was served least goes next, and nobody comes with old credit."""

from __future__ import annotations

from parallel_processor.queueing.accounts import MOST_BEHIND, Accounts
from parallel_processor.queueing.flow import FairOrder, Flow


def _anybody(_tenant: str) -> bool:
    return True


def _serve(accounts: Accounts, tenant: str, tokens: float, *, now: float = 0.0) -> None:
    """Give a tenant that goes on waiting one turn."""
    accounts.joined(tenant, now=now)
    accounts.left(tenant, now=now)
    accounts.served(tenant, tokens)
    accounts.over(tenant, 0.0)


def test_whoever_was_served_least_for_its_weight_goes_next() -> None:
    """Tokens by weight decide, of those whose work can go."""
    accounts = Accounts({"heavy": 4.0})
    for tenant in ("heavy", "light"):
        accounts.joined(tenant, now=0.0)
    _serve(accounts, "heavy", 300)
    _serve(accounts, "light", 100)
    assert accounts.next(_anybody) == "heavy"
    assert accounts.next(lambda tenant: tenant != "heavy") == "light"
    assert accounts.next(lambda _: False) is None
    _serve(accounts, "heavy", 200)
    assert accounts.next(_anybody) == "light"


def test_a_newcomer_has_no_credit_for_the_time_before() -> None:
    """Who comes late, or comes back, begins where those are that stayed."""
    accounts = Accounts({})
    accounts.joined("old", now=0.0)
    for _ in range(100):
        assert accounts.next(_anybody) == "old"
        _serve(accounts, "old", 1_000)
    accounts.joined("new", now=1_000.0)
    turns = []
    for _ in range(10):
        turns.append(tenant := accounts.next(_anybody))
        assert tenant is not None
        _serve(accounts, tenant, 1_000)
    assert 4 <= turns.count("new") <= 6


def test_what_was_held_up_catches_up_within_a_bound() -> None:
    """A tenant whose model was closed for long does not keep the others out for as long again."""
    accounts = Accounts({})
    for tenant in ("held", "free"):
        accounts.joined(tenant, now=0.0)
    for _ in range(1_000):
        assert accounts.next(lambda tenant: tenant == "free") == "free"
        _serve(accounts, "free", 1_000)
    in_a_row = 0
    while accounts.next(_anybody) == "held":
        _serve(accounts, "held", 1_000)
        in_a_row += 1
    assert in_a_row * 1_000 <= MOST_BEHIND + 2_000


def test_urgent_work_may_lead_by_so_much_and_no_more() -> None:
    """Beyond the bound its tenant waits for the others."""
    accounts = Accounts({})
    for tenant in ("urgent", "other"):
        accounts.joined(tenant, now=0.0)
    assert accounts.lead_of("urgent") == 0.0
    _serve(accounts, "urgent", 1_000_000)
    assert accounts.next(_anybody) == "other"
    assert accounts.lead_of("urgent") == float("inf")


def test_an_order_whose_first_is_never_taken_does_not_grow() -> None:
    """What was placed before is dropped, also when it never comes up."""
    order: FairOrder[Flow] = FairOrder()
    still, busy = Flow("still", waiting=1), Flow("busy", waiting=1)
    order.place(still, 0.0)
    for _ in range(10_000):
        busy.stamp += 1
        busy.tag += 1.0
        order.place(busy, 0.0)
    assert [each.name for each in order.in_order()] == ["still", "busy"]
    assert order.size < 1_000
