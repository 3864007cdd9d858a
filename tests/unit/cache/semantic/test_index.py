"""The index: exact neighbours in bounded memory, whatever comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from content_cache.semantic import index as module
from content_cache.semantic.guard import signature
from content_cache.semantic.index import Index, Prompt, Vector
from hypothesis import given, settings
from hypothesis import strategies as st

NOTHING = signature("")


def unit(seed: int, dimensions: int = 16) -> Vector:
    """Make a unit vector."""
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=120), st.integers(100, 200))
def test_it_finds_what_a_full_search_finds(steps: list[tuple[bool, int]], asked: int) -> None:
    """After any additions and removals the nearest are those of a plain search, to half precision."""
    index, held = Index(16), dict[int, Prompt]()
    for adding, seed in steps:
        if adding and seed not in held:
            held[seed] = Prompt(str(seed), 1, NOTHING)
            index.add(held[seed], unit(seed))
        elif not adding and seed in held:
            index.remove(held.pop(seed))
    found = [(prompt.key, similarity) for prompt, similarity in index.nearest(unit(asked), 4)]
    expected = sorted(((float(unit(seed) @ unit(asked)), str(seed)) for seed in held), reverse=True)[:4]
    assert len(index) == len(held)
    assert [key for key, similarity in found if similarity > 0] == [
        key for cosine, key in expected if cosine > 0
    ]
    assert [similarity for _, similarity in found] == pytest.approx(
        [max(0.0, cosine) for cosine, _ in expected][: len(found)], abs=0.003
    )


def test_a_full_partition_gives_up_the_longest_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its most rows a new prompt takes the place of the one not used for the longest time."""
    monkeypatch.setattr(module, "MOST_ROWS", 16)
    index = Index(16)
    prompts = [Prompt(str(seed), 1, NOTHING) for seed in range(17)]
    for seed, each in enumerate(prompts[:16]):
        assert index.add(each, unit(seed)) is None
    index.use(prompts[0])
    assert index.add(prompts[16], unit(16)) is prompts[1]
    assert prompts[1] not in index
    assert len(index) == 16
    assert index.size_bytes == 16 * 16 * 2
