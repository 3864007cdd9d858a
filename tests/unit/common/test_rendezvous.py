"""Keys and their replicas."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from service_common.rpc.rendezvous import choose_target

TARGETS = st.lists(st.text("abcdef0123", min_size=1, max_size=6), min_size=2, max_size=8, unique=True)


@given(st.binary(max_size=40), TARGETS, st.randoms())
def test_order_does_not_matter(key: bytes, targets: list[str], rng: object) -> None:
    """Clients that list the targets differently agree."""
    assert choose_target(key, targets) == choose_target(key, sorted(targets))


@given(st.binary(max_size=40), TARGETS)
def test_removing_a_target_moves_only_its_keys(key: bytes, targets: list[str]) -> None:
    """A key moves only when its own target goes."""
    owner = choose_target(key, targets)
    for gone in targets:
        left = [each for each in targets if each != gone]
        assert gone == owner or choose_target(key, left) == owner


def test_keys_spread_evenly() -> None:
    """No target of four gets less than half or more than twice its share."""
    counts = Counter(choose_target(str(n).encode(), ["a:1", "b:1", "c:1", "d:1"]) for n in range(4000))
    assert min(counts.values()) > 500
    assert max(counts.values()) < 2000
