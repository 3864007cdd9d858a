"""The promises a job must have kept, however it was disturbed; each check returns what broke them.

The approach: record a history under faults, then search it for what no right execution could have produced
(Kingsbury, "Jepsen"; Kingsbury and Alvaro, "Elle", 2020).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

from parallel_processor.jobs.item import ItemCounts, ItemState
from parallel_processor.jobs.job import is_settled
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import ShardPhase

from benchmarks.chaos.history import History, Violation, digest_of


def check_results(history: History) -> Iterator[Violation]:
    """Every item ended, once, and where it was."""
    ended: Counter[str] = Counter()
    for number, index, outcome in history.outcomes():
        ended[outcome.item_id] += 1
        known = history.items[number]
        if index >= len(known) or known[index] != outcome.item_id:
            yield Violation("misplaced", f"{outcome.item_id} is not item {index} of shard {number}")
    everything = [item for items in history.items.values() for item in items]
    yield from (Violation("lost", f"{each} has no result") for each in everything if not ended[each])
    for item, times in ended.items():
        if times > 1:
            yield Violation("two results", f"{item} has {times}")


def check_stream(history: History) -> Iterator[Violation]:
    """The client received each result that is stored, once and unchanged."""
    stored = Counter((each.item_id, each.state.name, digest_of(each)) for _, _, each in history.outcomes())
    received = Counter((each.item_id, each.state, each.digest) for each in history.received)
    for (item, state, _), times in (stored - received).items():
        yield Violation("not received", f"{item} is stored as {state}, {times} times more than received")
    for (item, state, _), times in (received - stored).items():
        yield Violation("received too much", f"{item} as {state}, {times} times more than stored")


def check_fencing(history: History) -> Iterator[Violation]:
    """No epoch committed after a later one had; what was not committed left nothing behind."""
    shown: Counter[str] = Counter()
    for shard in history.shards:
        latest = (0, 0)
        for chunk in shard.result_chunks:
            shown[chunk] += 1
            epoch, commit = _epoch_and_commit(chunk)
            if (epoch, commit) < latest or commit < latest[1] or epoch > shard.epoch:
                words = f"commit {commit} of epoch {epoch} came after commit {latest[1]} of epoch {latest[0]}"
                yield Violation("stale commit", f"shard {shard.number}: {words}")
            latest = max(latest, (epoch, commit))
            if chunk not in history.chunks:
                yield Violation("results gone", f"shard {shard.number} shows {chunk}, which is not there")
    for chunk in history.chunks:
        if shown[chunk] != 1:
            yield Violation("stray results", f"{chunk} is shown {shown[chunk]} times")


def _epoch_and_commit(chunk: str) -> tuple[int, int]:
    _job, _shard, epoch, commit, _part = chunk.rsplit(".", 4)
    return int(epoch), int(commit)


def check_shards(history: History) -> Iterator[Violation]:
    """Every shard is finished, says of its items what their results say, and has nothing left open."""
    states: defaultdict[int, dict[int, ItemState]] = defaultdict(dict)
    taken: defaultdict[int, Usage] = defaultdict(Usage)
    for number, index, outcome in history.outcomes():
        states[number][index] = outcome.state
        taken[number] += outcome.usage
    for shard in history.shards:
        if shard.phase is not ShardPhase.SETTLED or shard.claimable_at is not None:
            yield Violation("unfinished", f"shard {shard.number} is {shard.phase.value}")
        if shard.intents:
            yield Violation("open announcement", f"shard {shard.number}: items {sorted(shard.intents)}")
        said = {index: ItemState(state) for index, state in enumerate(shard.states)}
        if said != states[shard.number]:
            yield Violation("states differ", f"shard {shard.number} says otherwise than its results")
        if _less(shard.usage, taken[shard.number]):
            yield Violation("usage missing", f"shard {shard.number} counts less than its items took")


def _less(one: Usage, other: Usage) -> bool:
    return any(getattr(one, each) < getattr(other, each) for each in Usage.__slots__)


def check_totals(history: History) -> Iterator[Violation]:
    """The job is over, and counts what its shards count, each once."""
    job = history.job
    if not job.state.terminal or job.finish_time is None:
        yield Violation("unfinished", f"the job is {job.state.value}")
    missing = [each.number for each in history.shards if not is_settled(job, each.number)]
    if missing:
        yield Violation("unsettled", f"shards {missing} are not in the job's totals")
    if job.granted:
        yield Violation("reserved for ever", f"{job.granted} micros of the cap are held by nobody")
    counts = sum((each.counts for each in history.shards), ItemCounts())
    usage = sum((each.usage for each in history.shards), Usage())
    if job.counts != counts:
        yield Violation("counts differ", f"the job says {job.counts}, its shards {counts}")
    if job.usage != usage:
        yield Violation("usage differs", f"the job says {job.usage}, its shards {usage}")


def check_watcher(history: History) -> Iterator[Violation]:
    """Whoever watched from the start saw each number once and each item's end once, as it is stored."""
    for place, event in enumerate(history.seen, start=1):
        if event.sequence != place:
            yield Violation("gap", f"event {event.sequence} came where {place} was due")
            break
    if history.seen and history.seen[-1].sequence != history.told.last_sequence:
        yield Violation("gap", f"the last event of {history.told.last_sequence} was never seen")
    stored = Counter((each.item_id, each.state.name) for _, _, each in history.outcomes())
    seen = Counter((each.item_id, each.state) for each in history.seen if each.item_id)
    for (item, state), times in (stored - seen).items():
        yield Violation("unseen", f"{item} ended as {state}, {times} times more than was seen")
    for (item, state), times in (seen - stored).items():
        yield Violation("seen too often", f"{item} as {state}, {times} times more than is stored")


def check_tracker(history: History) -> Iterator[Violation]:
    """The tracker's last word is the store's."""
    job, told = history.job, history.told
    counts = job.counts
    stored = (job.state.value, counts.succeeded, counts.failed + counts.skipped + counts.cancelled)
    if stored != (told.state, told.succeeded, told.failed):
        yield Violation("told otherwise", f"the store says {stored}, the tracker {told}")
    for name in ("prompt_tokens", "output_tokens", "cost_micros", "uncertain_spend_micros"):
        ours, theirs = getattr(job.usage, name), getattr(told.usage, name)
        if ours != theirs:
            yield Violation("told otherwise", f"{name}: the store says {ours}, the tracker {theirs}")


def check_outcome_usage(history: History) -> Iterator[Violation]:
    """An item that a call was made for counts it, and one that was served without counts none."""
    for _, _, outcome in history.outcomes():
        made = outcome.piece is not None and not outcome.piece.cached
        if made and not outcome.usage.model_calls:
            yield Violation("free lunch", f"{outcome.item_id} has content that nobody called for")


def slowest_takeover_s(history: History) -> float:
    """Return the longest time in which no item of a shard ended between one epoch and the next."""
    slowest = 0.0
    for shard in history.shards:
        latest: tuple[int, datetime] | None = None
        for chunk in shard.result_chunks:
            epoch = _epoch_and_commit(chunk)[0]
            ends = [outcome.finish_time for _, outcome in history.chunks.get(chunk, ())]
            if latest is not None and epoch > latest[0] and ends:
                slowest = max(slowest, (min(ends) - latest[1]).total_seconds())
            if ends:
                latest = epoch, max(ends)
    return slowest
