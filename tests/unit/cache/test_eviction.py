"""Each policy against a simple model of it, under random histories."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import pytest
from content_cache.entry import Address
from content_cache.eviction import POLICIES, EvictionPolicy, Gdsf, Lru, Sieve, make_policy
from content_cache.eviction.gdsf import PRECISION_BITS, rounded
from content_cache.eviction.sieve import MOST_SPARED
from hypothesis import given, settings
from hypothesis import strategies as st

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "evict", "remove"]),
        st.integers(0, 12),
        st.integers(1, 50_000),
        st.integers(0, 2_000_000),
    ),
    max_size=120,
)


@dataclass(frozen=True, slots=True)
class Item:
    """What a policy may know of an entry."""

    address: Address
    size_bytes: int
    cost_micros: int


class Model(Protocol):
    """A policy told in a few lines."""

    def ask(self, item: Item, *, known: bool) -> None:
        """Serve it, or store it."""
        ...

    def remove(self, address: Address) -> None:
        """Forget it."""
        ...

    def check(self, victim: Address) -> None:
        """Assert that this one may leave."""
        ...


class LruModel:
    """A list, the least recently used first."""

    def __init__(self) -> None:
        self.order: list[Address] = []

    def ask(self, item: Item, *, known: bool) -> None:
        """Go to the end."""
        if known:
            self.order.remove(item.address)
        self.order.append(item.address)

    def remove(self, address: Address) -> None:
        """Forget it."""
        self.order.remove(address)

    def check(self, victim: Address) -> None:
        """Only the first."""
        assert victim == self.order[0]


class SieveModel:
    """The paper's algorithm 1 on a list, head first: the hand goes from the tail to the head and around."""

    def __init__(self) -> None:
        self.queue: list[Address] = []
        self.visited: dict[Address, bool] = {}
        self.hand: Address | None = None

    def ask(self, item: Item, *, known: bool) -> None:
        """A hit sets the bit; what is new goes to the head."""
        self.visited[item.address] = known
        if not known:
            self.queue.insert(0, item.address)

    def remove(self, address: Address) -> None:
        """The hand goes on towards the head."""
        if self.hand == address:
            self.hand = self.towards_head(address)
        self.queue.remove(address)

    def towards_head(self, address: Address) -> Address | None:
        """Return the one before it in the queue; None at the head."""
        position = self.queue.index(address)
        return self.queue[position - 1] if position else None

    def check(self, victim: Address) -> None:
        """Spare those visited, taking their bit."""
        hand = self.hand or self.queue[-1]
        while self.visited[hand]:
            self.visited[hand] = False
            hand = self.towards_head(hand) or self.queue[-1]
        self.hand = hand
        assert victim == hand


class GdsfModel:
    """H = L + frequency · cost / size, exact and with rounded ratios; a search for the least."""

    def __init__(self) -> None:
        self.frequency: dict[Address, int] = {}
        self.worth: dict[Address, int] = {}
        self.exact: dict[Address, int] = {}
        self.rounded: dict[Address, int] = {}
        self.inflation = 0

    def ask(self, item: Item, *, known: bool) -> None:
        """Rank it at the present L."""
        address = item.address
        if not known:
            self.frequency[address] = 0
            self.worth[address] = (max(item.cost_micros, 1) << 24) // item.size_bytes
        self.frequency[address] += 1
        ratio = self.frequency[address] * self.worth[address]
        self.exact[address] = self.inflation + ratio
        self.rounded[address] = self.inflation + rounded(ratio)

    def remove(self, address: Address) -> None:
        """Forget it."""
        for each in (self.frequency, self.worth, self.exact, self.rounded):
            del each[address]

    def check(self, victim: Address) -> None:
        """It has the least rounded H, and no more than the rounding above the least exact one."""
        least = min(self.rounded.values())
        assert self.rounded[victim] == least
        self.inflation = least
        assert self.exact[victim] <= min(self.exact.values()) * (1 + 2 ** (1 - PRECISION_BITS))


@pytest.mark.parametrize(
    ("policy", "model"),
    [(Lru, LruModel), (Sieve, SieveModel), (Gdsf, GdsfModel)],
    ids=["lru", "sieve", "gdsf"],
)
@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_victims_are_the_models(
    policy: Callable[[], EvictionPolicy], model: Callable[[], Model], steps: list[tuple[str, int, int, int]]
) -> None:
    """Under any history every victim is the model's; asking twice changes nothing."""
    ours, theirs = policy(), model()
    known: set[Address] = set()
    for action, number, size, cost in steps:
        address = Address("a", str(number))
        if action == "ask":
            item = Item(address, size, cost)
            theirs.ask(item, known=address in known)
            if address in known:
                ours.used(address)
            else:
                ours.added(item)
            known.add(address)
            continue
        if action == "evict" and known:
            address = ours.victim()
            assert ours.victim() == address
            theirs.check(address)
        if address in known:
            ours.removed(address)
            theirs.remove(address)
            known.remove(address)
    while known:
        victim = ours.victim()
        theirs.check(victim)
        ours.removed(victim)
        theirs.remove(victim)
        known.remove(victim)
    with pytest.raises(LookupError):
        ours.victim()


@given(ratio=st.integers(0, 2**80))
def test_rounding_is_bounded(ratio: int) -> None:
    """Rounding takes less than the stated part of a ratio and keeps its leading bits."""
    assert rounded(ratio) <= ratio < rounded(ratio) * (1 + 2 ** (1 - PRECISION_BITS)) + (ratio == 0)


def test_gdsf_keeps_few_queues() -> None:
    """However many ratios there are, queues are few: 16 for each power of two between the extremes."""
    policy = Gdsf()
    for number in range(20_000):
        policy.added(Item(Address("a", str(number)), 1 + number % 997, number))
    assert len(policy._heap) == len(policy._queues) < 16 * (20_000 << 24).bit_length()


def test_gdsf_prefers_dollars_per_byte() -> None:
    """The one that saves least per byte leaves, though it was used last; use counts."""
    policy = Gdsf()
    policy.added(Item(Address("a", "dear"), 1000, 5000))
    policy.added(Item(Address("a", "large"), 10_000, 5000))
    policy.added(Item(Address("a", "cheap"), 1000, 1000))
    assert policy.victim().key == "large"
    for _ in range(3):
        policy.used(Address("a", "large"))
    assert policy.victim().key == "cheap"


def test_gdsf_forgets_old_fame() -> None:
    """What was used often long ago leaves before what is used now and then: L rises."""
    policy = Gdsf()
    old = Address("a", "old")
    policy.added(Item(old, 1000, 1000))
    for _ in range(50):
        policy.used(old)
    left = []
    numbers = count()
    for _ in range(2000):
        policy.added(Item(Address("a", str(next(numbers))), 1000, 1000))
        left.append(policy.victim())
        policy.removed(left[-1])
    assert old in left


def test_sieve_search_is_bounded() -> None:
    """When all were used, one search spares a bounded number and the next one leaves all the same."""
    policy = Sieve()
    addresses = [Address("a", str(number)) for number in range(MOST_SPARED + 10)]
    for address in addresses:
        policy.added(Item(address, 1, 1))
        policy.used(address)
    assert policy.victim() == policy.victim() == addresses[MOST_SPARED]


def test_uses_that_wait_to_be_put_in_order_are_few_and_none_is_lost() -> None:
    """After any number of uses, alone and together, entries leave in the order of their last one."""
    chance, policy = random.Random(5), Lru()
    addresses = [Address("a", str(number)) for number in range(50)]
    for address in addresses:
        policy.added(Item(address, 1, 1))
    order = [*addresses]
    for _ in range(3_000):
        used = chance.choices(addresses, k=chance.randrange(1, 4))
        policy.used(used[0]) if len(used) == 1 else policy.used_all(used)
        for address in used:
            order.remove(address)
            order.append(address)
        assert len(policy._used) < 2_048
    for expected in order:
        assert policy.victim() == expected
        policy.removed(expected)


def test_policies_are_chosen_by_name() -> None:
    """Each name makes its policy, empty."""
    assert {name: type(make_policy(name)) for name in POLICIES} == {"lru": Lru, "sieve": Sieve, "gdsf": Gdsf}
    with pytest.raises(KeyError):
        make_policy("random")
