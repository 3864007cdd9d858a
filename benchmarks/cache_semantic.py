"""What the semantic tier reuses and how often that is wrong, on labelled pairs, beside static thresholds.

The real model embeds every prompt; the real tier decides, in the order of a shuffled stream; labels answer
its comparisons. An error is an answer reused for a prompt that asks for something else. Its bound is
one-sided, exact (Clopper and Pearson) and for reused answers alone, which is stricter than for all answers.
Run it from the repository's root: `python -m benchmarks.cache_semantic`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence

from content_cache.semantic.embedding import DIMENSIONS, MiniLm
from content_cache.semantic.guard import Signature, compare, signature
from content_cache.semantic.index import MOST_ROWS, Index, Prompt, Vector

from benchmarks.support.report import Report
from benchmarks.support.semantic_pairs import POLARITY, Pair, pairs
from benchmarks.support.semantic_stream import Request, Result, requests, through_threshold, through_tier

ERRORS = (0.01, 0.02)
SEEDS = 3
CONFIDENCE = 0.95
LEAST_PAIRS = 2000
THRESHOLDS = (0.85, 0.9, 0.95, 0.97, 0.98, 0.99)
_SEARCHES = 50


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    report = Report()
    report.machine()
    labelled = pairs()
    prompts = list(dict.fromkeys(text for each in labelled for text in (each.cached, each.asked)))
    started = time.process_time()
    vectors = _embedded(prompts)
    report.figure(
        "semantic/embed", 1000 * (time.process_time() - started) / len(prompts), "ms_cpu_per_prompt"
    )
    signatures = {each: signature(each) for each in prompts}
    _describe(report, labelled)
    _polarity(report, labelled, signatures)
    for error in ERRORS:
        _streams(report, labelled, vectors, signatures, error=error)
    _thresholds(report, requests(labelled, 0), vectors, signatures)
    _search(report, vectors)
    return int(report.short)


def _embedded(prompts: Sequence[str]) -> dict[str, Vector]:
    found = zip(prompts, MiniLm().embed(prompts), strict=True)
    return {prompt: vector for prompt, vector in found if vector is not None}


def _describe(report: Report, labelled: Sequence[Pair]) -> None:
    report.figure("semantic/pairs", len(labelled), "pairs", at_least=LEAST_PAIRS)
    report.figure("semantic/pairs_same", sum(each.same for each in labelled), "pairs")
    report.figure("semantic/pairs_polarity", sum(each.kind in POLARITY for each in labelled), "pairs")


def _polarity(report: Report, labelled: Sequence[Pair], signatures: Mapping[str, Signature]) -> None:
    """Count the traps the guard lets through by itself, were the bound to allow everything."""
    passed = [
        each
        for each in labelled
        if each.kind in POLARITY and not compare(signatures[each.cached], signatures[each.asked]).is_veto
    ]
    for each in passed:
        report.remark(f"let through: {each.cached} | {each.asked}")
    report.figure("semantic/polarity_past_the_guard", len(passed), "pairs", at_most=0)


def _streams(
    report: Report,
    labelled: Sequence[Pair],
    vectors: Mapping[str, Vector],
    signatures: Mapping[str, Signature],
    *,
    error: float,
) -> None:
    results = [
        through_tier(requests(labelled, seed), vectors, signatures, error=error, seed=seed)
        for seed in range(SEEDS)
    ]
    name = f"semantic/error_{error:g}"
    worst = max(results, key=lambda each: upper_bound(each.wrong_count, each.hit_count))
    report.remark(f"error {error:g}, {SEEDS} streams: {'; '.join(map(_told, results))}")
    report.figure(
        f"{name}/wrong_of_reused", worst.wrong_count / max(1, worst.hit_count), "share", at_most=error
    )
    bound = upper_bound(worst.wrong_count, worst.hit_count)
    report.figure(f"{name}/wrong_of_reused_upper_95", bound, "share", at_most=error)
    report.figure(
        f"{name}/polarity_wrong", sum(each.wrong_polarity for each in results), "answers", at_most=0
    )
    hits = min(each.hit_count / each.could_hit for each in results)
    report.figure(f"{name}/hit_rate", hits, "of_requests_asked_before_in_other_words")


def _told(result: Result) -> str:
    return f"{result.wrong_count} wrong of {result.hit_count} reused, {result.could_hit} possible"


def _thresholds(
    report: Report,
    stream: Sequence[Request],
    vectors: Mapping[str, Vector],
    signatures: Mapping[str, Signature],
) -> None:
    """Print the best a static threshold does within each error, chosen in hindsight, guarded or not."""
    for guarded in (False, True):
        results = {
            threshold: through_threshold(
                stream, vectors, threshold=threshold, signatures=signatures if guarded else None
            )
            for threshold in THRESHOLDS
        }
        kind = "threshold_and_guard" if guarded else "threshold"
        for error in ERRORS:
            within = [each for each in results.values() if each.wrong_count <= error * each.hit_count]
            rate = max((each.hit_count / each.could_hit for each in within), default=0.0)
            report.figure(f"semantic/{kind}_within_{error:g}/hit_rate", rate, "of_the_same_requests")
        least = min(results.values(), key=lambda each: each.wrong_count / max(1, each.hit_count))
        report.remark(f"{kind} with the smallest error: {_told(least)}")


def _search(report: Report, vectors: Mapping[str, Vector]) -> None:
    """Time a search of a full partition."""
    index, known = Index(DIMENSIONS), list(vectors.values())
    for number in range(MOST_ROWS):
        index.add(Prompt(str(number), 0, signature("")), known[number % len(known)])
    started = time.process_time()
    for number in range(_SEARCHES):
        list(index.nearest(known[number], 8))
    spent = 1000 * (time.process_time() - started) / _SEARCHES
    report.figure(f"semantic/search_of_{MOST_ROWS}", spent, "ms_cpu")
    report.figure("semantic/vector_bytes", index.size_bytes / MOST_ROWS, "bytes_per_prompt")


def upper_bound(wrong: int, of: int) -> float:
    """Return the greatest error rate that so few wrong ones do not refute, at 95 % confidence."""
    if not of:
        return 1.0
    low, high = wrong / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(wrong, of, middle) > 1 - CONFIDENCE else (low, middle)
    return high


def _at_most(wrong: int, of: int, rate: float) -> float:
    """Return the probability of at most so many wrong ones; 0 < rate < 1, or none wrong."""
    if not 0 < rate < 1:
        return float(rate <= 0)
    logs = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(rate)
        + (of - k) * math.log1p(-rate)
        for k in range(wrong + 1)
    )
    return sum(map(math.exp, logs))


if __name__ == "__main__":
    sys.exit(main())
