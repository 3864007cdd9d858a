"""A run that takes over announced calls, and is itself stopped before it knows what became of them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from parallel_processor.jobs.job import started
from parallel_processor.jobs.life import cancelled
from parallel_processor.running.content import Content
from parallel_processor.running.journal import Journal, Pace
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.shard_run import ShardRun
from parallel_processor.running.versions import ActiveVersions
from parallel_processor.running.workshop import Workshop
from service_common.clock import ManualClock

from tests.unit.processor.running.fakes import FakeCache, FakeOptimizer, purse, settle
from tests.unit.processor.running.test_degradation import Shelf, Watch
from tests.unit.processor.running.test_journal import Bench
from tests.unit.processor.samples import LEASE, NOW, item, job


def a_run(bench: Bench) -> ShardRun:
    """Return a run whose items wait for an optimizer that is away."""
    clock, rng = ManualClock(), random.Random(1)
    held = replace(bench.ledger.shard, intents={0: 500})
    bench.ledger.shard = held
    journal = Journal(
        held,
        bench.ledger,
        clock=clock,
        rng=rng,
        lease=LEASE,
        pace=Pace(0.0),
        purse=purse(),
        on_commit=lambda _shard, _outcomes: None,
    )
    versions = ActiveVersions(Shelf(), Watch(), all_tenants=True)
    workshop = Workshop(
        prompts=Prompts(FakeOptimizer(away=True), versions, rng=rng),
        content=Content(FakeCache()),
        making=None,  # type: ignore[arg-type]  # nothing gets so far
        post_processing=None,  # type: ignore[arg-type]  # as above
        default_model="m",
        max_output_tokens=None,
        clock=clock,
        patience_s=1.0,
        urgent_patience_s=1.0,
    )
    begun = started(job(3), shard_count=1, now=NOW, traceparent=None)
    return ShardRun(begun, [item(f"i{n}") for n in range(3)], journal, workshop, epoch=held.epoch)


@pytest.mark.parametrize(("how", "uncertain"), [("drain", 0), ("cancel", 500)])
async def test_what_was_announced_before_is_never_forgotten(how: str, uncertain: int) -> None:
    """A drained run leaves the announcement to the next, a cancelled one counts it."""
    bench = Bench(3)
    bench.running.cancel()
    run = a_run(bench)
    running = asyncio.create_task(run.run([]))
    await settle()
    await (run.drain(0.0) if how == "drain" else run.adopt(cancelled(run.job, NOW)))
    await running
    after = bench.ledger.shard
    assert dict(after.intents) == ({0: 500} if how == "drain" else {})
    assert after.usage.uncertain_spend_micros == uncertain
    assert after.counts.cancelled == (3 if how == "cancel" else 0)
