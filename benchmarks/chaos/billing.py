"""The store's books held against the endpoint's log: each completion is accounted for, once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from benchmarks.chaos.history import History, Violation, digest_of
from tests.support.bill import Line, abandoned, bill, completed

MOST_UNCERTAIN = 0.001
"""Of all tokens, what may be uncertain beyond the calls in flight when their processor was struck."""


def check_calls(history: History) -> Iterator[Violation]:
    """No item counts a call that was not made, or one that another item counts."""
    made = Counter(each.digest for each in completed(_lines(history)))
    counted: Counter[str] = Counter()
    for _, _, outcome in history.outcomes():
        digest = digest_of(outcome)
        if outcome.piece is None:
            continue
        if not made[digest]:
            yield Violation("never generated", f"{outcome.item_id} has content no endpoint has sent")
        if not outcome.piece.cached:
            counted[digest] += 1
    for digest, times in counted.items():
        if times > made[digest]:
            yield Violation("counted twice", f"{times} items count the {made[digest]} calls of {digest}")


def check_shard_bills(history: History) -> Iterator[Violation]:
    """What was asked for the items of a shard alone is in that shard's books, as cost or as uncertain."""
    homes: defaultdict[str, set[int]] = defaultdict(set)
    for number, _, outcome in history.outcomes():
        homes[digest_of(outcome)].add(number)
    asked: defaultdict[int, list[Line]] = defaultdict(list)
    for line in _lines(history):
        if len(shards := homes.get(line.digest, ())) == 1:
            asked[next(iter(shards))].append(line)
    for shard in history.shards:
        charged = [*completed(asked[shard.number]), *abandoned(asked[shard.number])]
        unknown = len(charged) - shard.usage.model_calls
        if unknown > shard.usage.uncertain_calls:
            words = (
                f"{unknown} calls beyond those counted, {shard.usage.uncertain_calls} said to be uncertain"
            )
            yield Violation("paid in secret", f"shard {shard.number}: {words}")
        if bill(charged) > shard.usage.cost_micros + shard.usage.uncertain_spend_micros:
            yield Violation("paid in secret", f"shard {shard.number} was charged more than it admits")


def check_bill(history: History) -> Iterator[Violation]:
    """The job's books are borne out by the whole log: exactly, or within what is said to be uncertain."""
    usage = history.job.usage
    paid, cut_off = completed(_lines(history)), abandoned(_lines(history))
    tokens = sum(each.prompt_tokens for each in paid), sum(each.output_tokens for each in paid)
    if usage.model_calls > len(paid) or usage.cost_micros > bill(paid):
        yield Violation("never charged", f"{usage} counts more than the {len(paid)} calls of the log")
    if usage.prompt_tokens > tokens[0] or usage.output_tokens > tokens[1]:
        yield Violation("tokens differ", f"{usage} counts more tokens than the {tokens} of the log")
    if len(paid) + len(cut_off) > usage.model_calls + usage.uncertain_calls:
        yield Violation("paid in secret", f"{len(paid)} + {len(cut_off)} calls are more than {usage} admits")
    if bill(paid) + bill(cut_off) > usage.cost_micros + usage.uncertain_spend_micros:
        yield Violation(
            "paid in secret", f"{bill(paid)} + {bill(cut_off)} micros are more than {usage} admits"
        )
    if not usage.uncertain_calls and (usage.prompt_tokens, usage.output_tokens) != tokens:
        yield Violation("tokens differ", f"nothing is uncertain, yet {usage} is not the {tokens} of the log")


def check_uncertainty(history: History) -> Iterator[Violation]:
    """What is uncertain was in flight when a processor was struck, but for a bounded rest."""
    share = uncertain_share(history)
    if share > MOST_UNCERTAIN:
        words = f"{history.job.usage.uncertain_calls} calls, {history.in_flight_at_blows()} were in flight"
        yield Violation("too uncertain", f"{words}: {share:.2%} of the tokens beyond them")


def uncertain_share(history: History) -> float:
    """Return the share of all tokens that is uncertain without having been in flight at a blow."""
    beyond = history.job.usage.uncertain_calls - history.in_flight_at_blows()
    return max(0, beyond) / max(1, len(completed(_lines(history))))


def unknown_fate(history: History) -> int:
    """Return how many calls the endpoint has charged, or may charge, that nobody has counted as made."""
    paid, cut_off = completed(_lines(history)), abandoned(_lines(history))
    return len(paid) + len(cut_off) - history.job.usage.model_calls


def paid_again(history: History) -> int:
    """Return how many completions were charged for messages that had been answered before.

    Whatever was in flight in a worker that died is made again; and equal items are each made while the cache
    is away.
    """
    paid = completed(_lines(history))
    return len(paid) - len({each.digest for each in paid})


def _lines(history: History) -> list[Line]:
    return [each.line for each in history.calls]
