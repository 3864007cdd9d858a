"""Reports of outcomes: each is counted, in batches of any size, and each once."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

from prompt_optimizer.decisions.decision import KEY_BYTES, Decision, DecisionIds
from prompt_optimizer.outcomes.experience import Experience
from prompt_optimizer.outcomes.outcome import Outcome, Status
from prompt_optimizer.outcomes.record import QualityRecord
from prompt_optimizer.outcomes.recorder import Recorder
from prompt_optimizer.outcomes.write_behind import WriteBehind
from prompt_optimizer.repository import OutcomeRepository
from service_common.clock import ManualClock
from service_common.storage import DocumentStore

from tests.unit.optimizer.samples import version_of

IDS = DecisionIds(b"k" * KEY_BYTES)


def process(
    store: DocumentStore, clock: ManualClock, heard: list[QualityRecord]
) -> tuple[Recorder, WriteBehind]:
    """Return a process that takes reports, and what it keeps them in."""
    numbers = count()
    counted = WriteBehind(
        OutcomeRepository(store, retention=timedelta(days=90)),
        clock=clock,
        new_id=lambda: f"{next(numbers):016x}",
        interval_s=60,
        most=10_000,
        on_refused=lambda _: None,
    )
    experience = Experience(counted, clock=clock, capacity=10)
    return Recorder(counted, experience, ids=IDS, clock=clock, on_counted=heard.append), counted


def outcome(version: int) -> Outcome:
    """Return a failed generation of a version, which takes no scoring."""
    key = version_of(version)
    decision = Decision(key.family, key.version, "haiku", "0" * 16)
    return Outcome(IDS.write("acme", decision), Status.FAILED)


async def test_a_batch_too_large_for_one_transaction_is_counted_whole_and_once(
    store: DocumentStore, clock: ManualClock
) -> None:
    """1,000 outcomes of 991 versions: each counts once, also when sent again after a restart."""
    heard: list[QualityRecord] = []
    numbers = [number if number % 100 else 0 for number in range(1000)]
    outcomes = list(map(outcome, numbers))
    versions = list(map(version_of, dict.fromkeys(numbers)))
    expected = [10] + [1] * 990
    for first in (True, False):
        recorder, counted = process(store, clock, heard)
        await recorder.record("acme", "b", outcomes, first=first)
        assert [each.outcomes for each in await counted.get("acme", versions)] == expected
        await counted.flush()
        assert [each.outcomes for each in await counted.get("acme", versions)] == expected
    assert [each.version for each in heard] == list(map(version_of, numbers))


async def test_the_sums_of_a_batch_are_those_of_its_outcomes(
    store: DocumentStore, clock: ManualClock
) -> None:
    """What is added up at once is what adding one by one gives."""
    recorder, counted = process(store, clock, [])
    ones = [Outcome(outcome(1).decision_id, status, "Some words.", (), 7, 5, 2**62 + 1) for status in Status]
    for number, each in enumerate(ones):
        await recorder.record("acme", f"one {number}", [each], first=True)
    one_by_one = (await counted.get("acme", [version_of(1)]))[0]
    recorder, counted = process(store, clock, [])
    await recorder.record("acme", "all", ones, first=True)
    assert (await counted.get("acme", [version_of(1)]))[0] == one_by_one
    assert (one_by_one.outcomes, one_by_one.cost_micros) == (4, 2**63 - 1)
