"""Requests through the semantic tier, or against a static threshold; counts hits and errors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from content_cache.semantic.embedding import DIMENSIONS
from content_cache.semantic.guard import Signature, compare
from content_cache.semantic.index import Vector
from content_cache.semantic.port import Outcome
from content_cache.semantic.scope import scope_of
from content_cache.semantic.tier import NEIGHBOURS, Asked, SemanticTier

from benchmarks.support.semantic_pairs import POLARITY, Pair

SCOPE = scope_of("benchmark", "model", instructions="", parameters="")
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt in the stream; `means` is equal for prompts that one answer serves."""

    prompt: str
    means: str
    kind: str


@dataclass(slots=True)
class Result:
    """What a stream came to."""

    requests: int = 0
    could_hit: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def hit_count(self) -> int:
        """Answers reused."""
        return self.hits.total()

    @property
    def wrong_count(self) -> int:
        """Answers reused that were for another question."""
        return self.wrong.total()

    @property
    def wrong_polarity(self) -> int:
        """Of those, answers to the opposite."""
        return sum(self.wrong[kind] for kind in POLARITY)


def requests(pairs: Sequence[Pair], seed: int) -> list[Request]:
    """Return each prompt once, the pairs shuffled by a seed, a pair's first before its second."""
    order = list(pairs)
    random.Random(seed).shuffle(order)
    found: dict[str, Request] = {}
    for pair in order:
        found.setdefault(pair.cached, Request(pair.cached, pair.cached_means, pair.kind))
        found.setdefault(pair.asked, Request(pair.asked, pair.asked_means, pair.kind))
    return list(found.values())


def through_tier(
    stream: Sequence[Request],
    vectors: Mapping[str, Vector],
    signatures: Mapping[str, Signature],
    *,
    error: float,
    seed: int,
) -> Result:
    """Ask each request of a real tier; a comparison is answered by the labels."""
    numbers = iter(range(10**9))
    tier = SemanticTier(
        error=error,
        max_prompts=_ROWS,
        dimensions=DIMENSIONS,
        random=random.Random(seed).random,
        new_ticket=lambda: str(next(numbers)),
    )
    means = {each.prompt: each.means for each in stream}
    stored: dict[str, str] = {}
    result = Result()
    for each, possible in _with_possible(stream):
        asked = Asked(SCOPE, each.prompt, signatures[each.prompt], vectors[each.prompt])
        found = tier.find(asked, stored.get, now_s=0.0)
        _count(
            result, each, possible=possible, hit=means[found.key] if found.outcome is Outcome.REUSE else None
        )
        if found.outcome is Outcome.REUSE:
            continue
        stored[each.prompt] = each.prompt
        same = means[found.key] == each.means if found.outcome is Outcome.COMPARE else None
        tier.learn(found.ticket, each.prompt, same=same)
    return result


def through_threshold(
    stream: Sequence[Request],
    vectors: Mapping[str, Vector],
    *,
    threshold: float,
    signatures: Mapping[str, Signature] | None = None,
) -> Result:
    """Reuse what is similar enough; with signatures, the first of the nearest that the guard allows."""
    matrix = np.zeros((len(stream), DIMENSIONS), dtype=np.float32)
    cached: list[Request] = []
    result = Result()
    for each, possible in _with_possible(stream):
        similarities = matrix[: len(cached)] @ vectors[each.prompt]
        best = np.argsort(-similarities)[: NEIGHBOURS if signatures else 1]
        hit = next(
            (
                cached[row].means
                for row in best
                if similarities[row] >= threshold
                and not (signatures and _vetoed(signatures, each, cached[row]))
            ),
            None,
        )
        _count(result, each, possible=possible, hit=hit)
        if hit is None:
            matrix[len(cached)] = vectors[each.prompt]
            cached.append(each)
    return result


def _vetoed(signatures: Mapping[str, Signature], one: Request, other: Request) -> bool:
    return compare(signatures[one.prompt], signatures[other.prompt]).is_veto


def _with_possible(stream: Sequence[Request]) -> Iterator[tuple[Request, bool]]:
    """Yield each request and whether one that means the same came before."""
    seen: set[str] = set()
    for each in stream:
        yield each, each.means in seen
        seen.add(each.means)


def _count(result: Result, request: Request, *, possible: bool, hit: str | None) -> None:
    result.requests += 1
    result.could_hit += possible
    if hit is not None:
        result.hits[request.kind] += 1
        result.wrong[request.kind] += hit != request.means
