"""The tier: who may meet whom, what a ticket does once, and what is forgotten."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from content_cache.semantic import tier as module
from content_cache.semantic.guard import signature
from content_cache.semantic.port import Outcome
from content_cache.semantic.scope import Scope, scope_of
from content_cache.semantic.tier import Asked, Found, SemanticTier
from hypothesis import given, settings
from hypothesis import strategies as st

SAME_VECTOR = np.array([1.0, 0.0], dtype=np.float32)
SCOPE = scope_of("t", "m", instructions="", parameters="")


class World:
    """A tier over answers that are versions under keys; `luck` is what the tier draws."""

    def __init__(self, **settings_: Any) -> None:
        numbers = itertools.count()
        self.luck = 0.5
        self.stored: dict[str, int] = {}
        given_: dict[str, Any] = {"error": 0.05, "max_prompts": 100, "dimensions": 2} | settings_
        self.tier = SemanticTier(random=lambda: self.luck, new_ticket=lambda: str(next(numbers)), **given_)

    def find(self, key: str, prompt: str, scope: Scope = SCOPE) -> Found:
        """Look a prompt up."""
        asked = Asked(scope, key, signature(prompt), SAME_VECTOR)
        return self.tier.find(asked, self.stored.get, now_s=0.0)

    def add(self, key: str, prompt: str, scope: Scope = SCOPE, *, same: bool | None = None) -> Found:
        """Look a prompt up, store its answer and end the ticket."""
        found = self.find(key, prompt, scope)
        self.stored[key] = self.stored.get(key, 0) + 1
        self.tier.learn(found.ticket, self.stored[key], same=same)
        return found

    def trust(self, scope: Scope = SCOPE) -> None:
        """Let the tier see so many right comparisons that it reuses what the guard allows."""
        self.add("first", "explain kelp", scope)
        for number in range(150):
            self.luck = 0.0
            self.add(f"k{number}", "what is kelp?", scope, same=True)
        self.luck = 0.5


def test_a_prompt_is_found_compared_and_in_the_end_reused() -> None:
    """First nothing, then a candidate to verify, then reuse once enough was right; nothing is kept twice."""
    world = World()
    assert world.add("a", "explain kelp").outcome is Outcome.NONE
    found = world.find("b", "what is kelp?")
    assert (found.outcome, found.key) == (Outcome.COMPARE, "a")
    world.trust()
    reused = world.find("z", "please describe kelp")
    assert reused.outcome is Outcome.REUSE
    assert reused.ticket == ""
    assert world.tier.counts.reused == 1


def test_what_the_guard_vetoes_is_never_reused() -> None:
    """Equal vectors and a pool that trusts them do not outweigh a `not`."""
    world = World()
    world.trust()
    assert world.find("x", "explain kelp").outcome is Outcome.REUSE
    for trap in ("why not kelp?", "explain 2 kelp", "explain moss", "who invented kelp?"):
        assert world.find("x", trap).outcome is Outcome.NONE
    assert world.tier.counts.vetoed == 4


@settings(max_examples=200, deadline=None)
@given(*[st.sampled_from(["", "a", "ab", "b", "tenant", "a\x00b", "\u00e4"])] * 4, st.integers(0, 3))
def test_scopes_never_meet(tenant: str, model: str, instructions: str, parameters: str, other: int) -> None:
    """Another tenant, model, system prompt or parameters: another scope, wherever a border is moved."""
    parts = [tenant, model, instructions, parameters]
    changed = [each + "b" * (place == other) for place, each in enumerate(parts)]
    moved = "\n".join(parts).replace("\na", "a\n").replace("b\n", "\nb").split("\n")
    own = scope_of(tenant, model, instructions=instructions, parameters=parameters)
    for foreign in (changed, moved):
        if foreign != parts:
            assert scope_of(foreign[0], foreign[1], instructions=foreign[2], parameters=foreign[3]) != own


@pytest.mark.parametrize(
    "foreign",
    [
        scope_of("u", "m", instructions="", parameters=""),
        scope_of("t", "n", instructions="", parameters=""),
        scope_of("t", "m", instructions="Be brief.", parameters=""),
        scope_of("t", "m", instructions="", parameters="temperature=1"),
    ],
)
def test_another_scope_finds_and_learns_nothing(foreign: Scope) -> None:
    """The same words, vector and key elsewhere are a miss, and trust earned here is not trusted there."""
    world = World()
    world.trust()
    assert world.find("x", "explain kelp", foreign).outcome is Outcome.NONE
    world.add("y", "explain kelp", foreign)
    assert world.find("x", "explain kelp", foreign).outcome is Outcome.COMPARE


def test_an_answer_that_changed_or_left_is_not_offered() -> None:
    """Comparisons were about one answer: when another is stored, or none, the prompt is forgotten."""
    world = World()
    world.add("a", "explain kelp")
    world.stored["a"] += 1
    assert world.find("b", "what is kelp?").outcome is Outcome.NONE
    assert len(world.tier) == 0
    world.add("c", "explain moss")
    del world.stored["c"]
    assert world.find("d", "what is moss?").outcome is Outcome.NONE


def test_tickets_belong_to_a_tenant_and_end() -> None:
    """Another tenant's call and a late one find no ticket; beyond the limit the oldest are forgotten."""
    world = World()
    token = world.find("a", "explain kelp").ticket
    assert world.tier.ticket("u", token, now_s=0.0) is None
    assert world.tier.ticket("t", token, now_s=module.TICKET_S) is None
    assert world.tier.ticket("t", token, now_s=module.TICKET_S - 1) is not None
    world.tier.learn(token, 1, same=None)
    assert world.tier.ticket("t", token, now_s=0.0) is None
    first = world.find("b", "explain moss").ticket
    for number in range(module.MOST_TICKETS):
        world.find(f"c{number}", "explain moss")
    assert world.tier.ticket("t", first, now_s=0.0) is None


def test_prompts_stay_within_their_limit() -> None:
    """Whatever tenants add, no more prompts than allowed are held; those of unused partitions leave."""
    world = World(max_prompts=10)
    topics = ["kelp", "moss", "fern", "pine", "oak", "elm", "ash", "yew", "fir", "rye", "oat", "pea"]
    for number, topic in enumerate(topics):
        scope = scope_of(f"t{number % 3}", "m", instructions="", parameters="")
        world.add(f"{topic}", f"explain {topic}", scope)
        assert len(world.tier) == min(number + 1, 10)
    assert world.tier.counts.prompts == 10


def test_a_candidate_of_equal_answer_stands_for_both() -> None:
    """Where the answers agree only the first prompt is held; where they differ both are."""
    world = World()
    world.add("a", "explain kelp")
    world.luck = 0.0
    world.add("b", "what is kelp?", same=True)
    assert len(world.tier) == 1
    world.add("c", "define kelp", same=False)
    assert len(world.tier) == 2
