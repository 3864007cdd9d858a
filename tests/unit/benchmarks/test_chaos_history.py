"""The checker of chaos runs passes a right history and finds what is wrong with a broken one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Commit, Shard, claimed, committed, settled

from benchmarks.chaos.checking import slowest_takeover_s
from benchmarks.chaos.faults import How, Mix, schedule
from benchmarks.chaos.history import Blow, Call, History, Received, Seen, Told, digest_of
from benchmarks.chaos.promises import violations
from tests.support.bill import Line
from tests.support.mock_endpoint import CLIENT_LEFT
from tests.unit.processor.samples import LEASE, NOW, job, piece, shard

SHARDS, ITEMS = 2, 3
SPENT = Usage(10, 20, 1, 330)
"""One call, at the prices of `tests.support.bill`."""

WORST = 900
BLOW_AT = 100.0


def item_id(number: int, index: int) -> str:
    """Return an item's id."""
    return f"i{number}{index}"


def an_outcome(number: int, index: int) -> Outcome:
    """Return what an item came to by one call."""
    name = item_id(number, index)
    made = replace(piece(f"d-{name} and some words"), cost_micros=SPENT.cost_micros)
    return Outcome(name, ItemState.SUCCEEDED, NOW, made, attempts=1, usage=SPENT)


def chunk_id(number: int, epoch: int, commit: int) -> str:
    """Return the id of a commit's results."""
    return f"job.{number}.{epoch}.{commit}.0"


def a_shard(number: int) -> Shard:
    """Return a shard whose first worker died during its second call; another one finished it."""
    now = NOW
    begun = claimed(shard(ITEMS, number=number, now=now), owner="a", now=now, lease=LEASE)
    until = now + LEASE
    first = {0: an_outcome(number, 0)}
    begun = committed(
        begun,
        Commit(1, 1, until, outcomes=first, result_chunks=(chunk_id(number, 1, 1),), intents={1: WORST}),
    )
    taken = claimed(begun, owner="b", now=until + timedelta(seconds=1), lease=LEASE)
    rest = {index: an_outcome(number, index) for index in (1, 2)}
    lost = Usage(uncertain_calls=1, uncertain_spend_micros=WORST)
    taken = committed(
        taken, Commit(2, 2, until, outcomes=rest, result_chunks=(chunk_id(number, 2, 2),), uncertain=lost)
    )
    return settled(taken, reported=True)


def the_calls() -> list[Call]:
    """Return every item's call, and of each shard one whose worker died."""
    calls: list[Call] = []
    for number in range(SHARDS):
        for index in range(ITEMS):
            line = Line("m", f"d-{item_id(number, index)}", 200, SPENT.prompt_tokens, SPENT.output_tokens)
            calls.append(Call("b", line, BLOW_AT + 5, BLOW_AT + 6))
        line = Line("m", f"d-{item_id(number, 1)}", CLIENT_LEFT, SPENT.prompt_tokens, SPENT.output_tokens)
        calls.append(Call("a", line, BLOW_AT - 1, BLOW_AT))
    return calls


def the_job(shards: list[Shard]) -> Job:
    """Return the job with its shards' totals."""
    return job(
        SHARDS * ITEMS,
        state=JobState.SUCCEEDED,
        shard_count=SHARDS,
        settled=bytes([0b11]),
        counts=sum((each.counts for each in shards), ItemCounts()),
        usage=sum((each.usage for each in shards), Usage()),
        finish_time=NOW,
    )


def a_history() -> History:
    """Return a history in which every promise is kept, though a worker died."""
    shards = [a_shard(number) for number in range(SHARDS)]
    whole = the_job(shards)
    chunks: dict[str, list[tuple[int, Outcome]]] = {}
    for number in range(SHARDS):
        chunks[chunk_id(number, 1, 1)] = [(0, an_outcome(number, 0))]
        chunks[chunk_id(number, 2, 2)] = [(index, an_outcome(number, index)) for index in (1, 2)]
    outcomes = [each for chunk in chunks.values() for _, each in chunk]
    seen = [Seen(place, each.item_id, "SUCCEEDED") for place, each in enumerate(outcomes, start=2)]
    return History(
        items={number: [item_id(number, index) for index in range(ITEMS)] for number in range(SHARDS)},
        job=whole,
        shards=shards,
        chunks=chunks,
        received=[Received(each.item_id, "SUCCEEDED", digest_of(each)) for each in outcomes],
        seen=[Seen(1), *seen],
        told=Told("SUCCEEDED", SHARDS * ITEMS, 0, replace(whole.usage, uncertain_calls=0), len(seen) + 1),
        calls=the_calls(),
        blows=[Blow("a", BLOW_AT)],
    )


def with_shard(history: History, changed: Shard) -> History:
    """Return the history with one shard changed, and its job with it."""
    shards = [changed if each.number == changed.number else each for each in history.shards]
    return replace(history, shards=shards, job=the_job(shards))


def with_usage(history: History, usage: Usage) -> History:
    """Return the history with another usage of the first shard, believed by all who sum up."""
    after = with_shard(history, replace(history.shards[0], usage=usage))
    return replace(after, told=replace(after.told, usage=after.job.usage))


def lost_item(history: History) -> History:
    """An item's result is nowhere."""
    first = chunk_id(0, 2, 2)
    return replace(history, chunks={**history.chunks, first: history.chunks[first][:1]})


def two_results(history: History) -> History:
    """A late worker's result of an item was taken too."""
    first = chunk_id(0, 2, 2)
    chunks = {**history.chunks, first: [*history.chunks[first], (0, an_outcome(0, 0))]}
    return replace(history, chunks=chunks)


def a_stale_commit(history: History) -> History:
    """The first worker was heard after the second one."""
    before = history.shards[0]
    return with_shard(history, replace(before, result_chunks=before.result_chunks[::-1]))


def a_stray_result(history: History) -> History:
    """A commit that was refused has left its results behind."""
    return replace(history, chunks={**history.chunks, chunk_id(0, 1, 2): [(1, an_outcome(0, 1))]})


def a_secret_call(history: History) -> History:
    """A call was made and nobody says so."""
    return replace(history, calls=[*history.calls, history.calls[0]])


def hidden_uncertainty(history: History) -> History:
    """The dead worker's call is not reported as uncertain."""
    usage = history.shards[0].usage
    return with_usage(history, replace(usage, uncertain_calls=0, uncertain_spend_micros=0))


def an_underestimate(history: History) -> History:
    """The dead worker's call is reported, for less than the endpoint may charge."""
    return with_usage(history, replace(history.shards[0].usage, uncertain_spend_micros=1))


def an_invented_call(history: History) -> History:
    """A call is counted that the endpoint knows nothing of."""
    return replace(history, calls=history.calls[1:])


def invented_tokens(history: History) -> History:
    """More tokens are counted than the endpoint has sent."""
    usage = history.shards[0].usage
    return with_usage(history, replace(usage, output_tokens=usage.output_tokens + 1))


def missing_usage(history: History) -> History:
    """A shard counts less than its items."""
    return with_usage(history, replace(history.shards[0].usage, prompt_tokens=1))


def too_much_uncertainty(history: History) -> History:
    """What is uncertain was not in flight when a worker died."""
    return replace(history, blows=[])


def an_open_announcement(history: History) -> History:
    """A call was announced and never accounted for."""
    return with_shard(history, replace(history.shards[0], intents={1: WORST}))


def an_unsettled_shard(history: History) -> History:
    """A shard's totals are not in its job's."""
    return replace(history, job=replace(history.job, settled=bytes([0b01])))


def money_held_for_ever(history: History) -> History:
    """What a shard was given of the cap is not given back."""
    return replace(history, job=replace(history.job, granted=5))


def counted_twice(history: History) -> History:
    """A shard's totals are twice in its job's."""
    return replace(history, job=replace(history.job, counts=history.job.counts + history.shards[0].counts))


def a_gap(history: History) -> History:
    """The watcher missed an event."""
    return replace(history, seen=[*history.seen[:2], *history.seen[3:]])


def an_early_end(history: History) -> History:
    """The watcher's stream ended before the last event."""
    return replace(history, seen=history.seen[:-1])


def a_repeated_event(history: History) -> History:
    """An item's end was told under two numbers."""
    again = replace(history.seen[-1], sequence=len(history.seen) + 1)
    told = replace(history.told, last_sequence=again.sequence)
    return replace(history, seen=[*history.seen, again], told=told)


def a_cut_stream(history: History) -> History:
    """The client never got a result."""
    return replace(history, received=history.received[1:])


def a_repeated_result(history: History) -> History:
    """The client got a result again."""
    return replace(history, received=[*history.received, history.received[0]])


def a_forgetful_tracker(history: History) -> History:
    """The tracker was never told of the last cent."""
    return replace(history, told=replace(history.told, usage=Usage()))


BROKEN: dict[Callable[[History], History], str] = {
    lost_item: "lost",
    two_results: "two results",
    a_stale_commit: "stale commit",
    a_stray_result: "stray results",
    a_secret_call: "paid in secret",
    hidden_uncertainty: "paid in secret",
    an_underestimate: "paid in secret",
    an_invented_call: "never generated",
    invented_tokens: "tokens differ",
    missing_usage: "usage missing",
    too_much_uncertainty: "too uncertain",
    an_open_announcement: "open announcement",
    an_unsettled_shard: "unsettled",
    counted_twice: "counts differ",
    money_held_for_ever: "reserved for ever",
    a_gap: "gap",
    an_early_end: "gap",
    a_repeated_event: "seen too often",
    a_cut_stream: "not received",
    a_repeated_result: "received too much",
    a_forgetful_tracker: "told otherwise",
}


def test_a_right_history_breaks_no_promise() -> None:
    """A worker's death alone is nobody's fault: its calls are uncertain, and all is done by another."""
    assert violations(a_history()) == []


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda each: each.__name__)
def test_a_broken_history_is_found_out(breaks: Callable[[History], History]) -> None:
    """Each way to go wrong is named."""
    assert BROKEN[breaks] in {each.rule for each in violations(breaks(a_history()))}


def test_a_takeover_lasts_from_the_last_end_to_the_next() -> None:
    """How long a dead worker's shard stood still is read from when its items ended."""
    history = a_history()
    late = [
        (each, replace(outcome, finish_time=NOW + timedelta(seconds=7)))
        for each, outcome in history.chunks[chunk_id(1, 2, 2)]
    ]
    slow = replace(history, chunks={**history.chunks, chunk_id(1, 2, 2): late})
    assert (slowest_takeover_s(history), slowest_takeover_s(slow)) == (0.0, 7.0)


MIX = Mix(
    ("one", "two"),
    kills={"cache": 2, "tracker": 1},
    stalls=2,
    processor_kills=3,
    neighbour_stalls=1,
    lease_s=2.0,
    stall_s=4.0,
)


def test_a_seed_repeats_its_schedule() -> None:
    """The same seed strikes the same processes at the same points; another one does not."""
    assert schedule(MIX, 7) == schedule(MIX, 7)
    assert schedule(MIX, 7) != schedule(MIX, 8)


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_has_what_was_asked_for(seed: int) -> None:
    """All faults in the order of their moments; whoever is stalled loses its leases."""
    faults = schedule(MIX, seed)
    assert len(faults) == MIX.count == 9
    assert [each.at for each in faults] == sorted(each.at for each in faults)
    assert sum(each.how is How.STALL and each.target in MIX.processors for each in faults) == 2
    assert all(each.away_s > MIX.lease_s for each in faults if each.how is How.STALL)
