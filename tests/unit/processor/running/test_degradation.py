"""When a neighbour is away: prompts fall back, outcomes wait, cache lookups miss, waiters ask again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.jobs.template import TemplateVariable, TemplateVersion
from parallel_processor.running import outcomes as outcomes_module
from parallel_processor.running.awaiting import Awaiter
from parallel_processor.running.content import Content
from parallel_processor.running.outages import is_outage
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.ports import Acquired, Entry, Fill, OutcomeReport, Owner, Prompt
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.versions import ActiveVersions, VersionsChanged
from service_common.errors import ServiceError, invalid_field, unavailable

from tests.unit.processor.running.fakes import AWAY, FakeCache, FakeOptimizer, settle, until
from tests.unit.processor.samples import OWNER, raw_spec

FAQ = TemplateVersion(
    "",
    "faq",
    3,
    "faq",
    (("user", "About {{ topic }}"),),
    (TemplateVariable("topic", required=True),),
    Sampling(9),
)
ENTRY = Entry("text", "text/plain", 5)


class Shelf:
    """Where versions are kept."""

    def __init__(self, *kept: TemplateVersion) -> None:
        self.kept = {(each.tenant, each.template_id): each for each in kept}

    async def load(self) -> list[TemplateVersion]:
        """Return what is kept."""
        return list(self.kept.values())

    async def keep(self, version: TemplateVersion) -> None:
        """Keep one."""
        self.kept[version.tenant, version.template_id] = version

    async def forget(self, tenant: str, template_id: str) -> None:
        """Forget one."""
        del self.kept[tenant, template_id]


class Watch:
    """A watch that says what it was given, then breaks."""

    def __init__(self, *changes: VersionsChanged) -> None:
        self.changes = changes

    async def watch_active_versions(self, *, all_tenants: bool) -> AsyncIterator[VersionsChanged]:
        """Yield the changes."""
        for each in self.changes:
            yield each
        raise AWAY


async def versions(*kept: TemplateVersion, changes: tuple[VersionsChanged, ...] = ()) -> ActiveVersions:
    """Return versions as loaded from the shelf, after these changes."""
    active = ActiveVersions(Shelf(*kept), Watch(*changes), all_tenants=True)
    await active.load()
    following = asyncio.create_task(active.follow(random.Random(1)))
    await settle()
    following.cancel()
    return active


def spec(template: str = "faq", *, version: int = 0, **variables: str) -> PieceSpec:
    """Return a spec of a template."""
    return PieceSpec(template_id=template, template_version=version, variables=variables)


async def prompts(optimizer: FakeOptimizer, *kept: TemplateVersion) -> Prompts:
    """Return prompts with these versions at hand."""
    return Prompts(optimizer, await versions(*kept), rng=random.Random(1))


async def test_without_the_optimizer_the_active_version_is_rendered() -> None:
    """Known templates and raw prompts go on; a bad variable is refused here as there."""
    ready = await prompts(FakeOptimizer(away=True), FAQ)
    asked = [spec(topic="bees"), raw_spec("hi"), spec(nothing="x"), spec(version=3, topic="ants")]
    good, plain, bad, pinned = await ready.prepare(OWNER, asked)
    assert isinstance(good, Prompt)
    assert (good.messages, good.template_version, good.decision_id) == ((("user", "About bees"),), 3, "")
    assert isinstance(plain, Prompt)
    assert plain.messages == (("user", "hi"),)
    assert isinstance(bad, ServiceError)
    assert bad.reason == "INVALID_VARIABLE"
    assert isinstance(pinned, Prompt)


async def test_a_tenants_own_template_goes_before_the_built_in_one() -> None:
    """And never reaches another tenant."""
    mine = replace(FAQ, tenant="acme", version=8, messages=(("user", "Mine: {{ topic }}"),))
    ready = await prompts(FakeOptimizer(away=True), FAQ, mine)
    (own,) = await ready.prepare(OWNER, [spec(topic="x")])
    (others,) = await ready.prepare(Owner("umbrella", "uma"), [spec(topic="x")])
    assert isinstance(own, Prompt)
    assert isinstance(others, Prompt)
    assert (own.template_version, others.template_version) == (8, 3)


async def test_what_is_not_known_here_waits_or_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An impatient caller gets the outage; a patient one waits until the optimizer is back."""
    optimizer = FakeOptimizer(away=True)
    ready = await prompts(optimizer, FAQ)
    (error,) = await ready.prepare(OWNER, [spec(version=1, topic="x")], patient=False)
    assert error is AWAY
    real_sleep = asyncio.sleep
    monkeypatch.setattr("parallel_processor.running.prompts.asyncio.sleep", lambda _seconds: real_sleep(0))
    waiting = asyncio.create_task(ready.prepare(OWNER, [spec("unknown"), spec(topic="x")]))
    await settle()
    assert not waiting.done()
    optimizer.away = False
    assert [type(each) for each in await waiting] == [Prompt, Prompt]


async def test_one_bad_spec_does_not_harm_its_neighbours() -> None:
    """The optimizer's refusal of one spec is that spec's alone."""
    refusal = invalid_field("variables.x", "no")
    ready = await prompts(FakeOptimizer(answers={"bad": refusal}))
    answers = await ready.prepare(OWNER, [spec(), spec("bad"), spec()])
    assert [answers[0], answers[2]] == [answers[0]] * 2
    assert answers[1] is refusal


async def test_requests_stay_below_the_largest_message() -> None:
    """Specs are sent in parts bounded in number and in bytes, as UTF-8 counts them."""
    optimizer = FakeOptimizer()
    ready = await prompts(optimizer)
    await ready.prepare(OWNER, [spec(topic="x")] * 450)
    assert optimizer.batches == [200, 200, 50]
    optimizer.batches.clear()
    await ready.prepare(OWNER, [spec(topic="川" * 200_000)] * 6)
    assert max(optimizer.batches) * 600_000 <= 2_400_000


async def test_versions_follow_the_optimizer_and_survive_it() -> None:
    """Activations and deletions are kept; what the first whole picture does not hold is gone."""
    newer = replace(FAQ, version=4)
    gone, old = replace(FAQ, template_id="gone"), replace(FAQ, template_id="old")
    active = await versions(
        FAQ,
        gone,
        old,
        changes=(
            VersionsChanged((newer,), (), synchronized=False),
            VersionsChanged((replace(gone, version=5),), (), synchronized=True),
            VersionsChanged((), (("", "gone"),), synchronized=True),
        ),
    )
    assert active.active("acme", "faq") == newer
    assert (active.active("acme", "gone"), active.active("acme", "old")) == (None, None)


async def test_an_interrupted_picture_deletes_nothing() -> None:
    """A stream that breaks before it was complete leaves what is kept."""
    active = await versions(FAQ, changes=(VersionsChanged((), (), synchronized=False),))
    assert active.active("acme", "faq") == FAQ


def outcome_report(decision_id: str = "d1", output: str = "text") -> OutcomeReport:
    """Return an outcome."""
    return OutcomeReport(
        decision_id,
        spec(topic="x"),
        succeeded=True,
        truncated=False,
        output=output,
        subjects=(),
        prompt_tokens=1,
        output_tokens=1,
        cost_micros=1,
        latency_s=1.0,
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backlog be tried again at once."""
    monkeypatch.setattr(outcomes_module, "_RETRY_S", 0.0)


async def deliver(reports: Outcomes) -> None:
    """Deliver the backlog for a while."""
    task = asyncio.create_task(reports.deliver_backlog())
    await settle()
    task.cancel()


@pytest.mark.usefixtures("quick")
async def test_outcomes_wait_for_the_optimizer_under_one_id() -> None:
    """An outage costs the score; the outcome is delivered later, and a repeat carries the same batch id."""
    optimizer = FakeOptimizer(away=True)
    reports = Outcomes(optimizer, score_wait_s=5.0)
    assert await reports.score(OWNER, outcome_report()) is None
    await deliver(reports)
    optimizer.away = False
    await deliver(reports)
    assert [[each.output for each in batch] for _, batch in optimizer.recorded] == [["text"]]
    assert await reports.score(OWNER, outcome_report()) == 0.5
    assert len({batch_id for batch_id, _ in optimizer.recorded}) == 2


@pytest.mark.usefixtures("quick")
async def test_only_a_batch_that_was_never_sent_says_it_is_the_first() -> None:
    """One that timed out may have arrived; one that waited for its decision was not sent yet."""
    gate = asyncio.Event()
    optimizer = FakeOptimizer(gate=gate.wait)
    reports = Outcomes(optimizer, score_wait_s=0.01)
    await reports.score(OWNER, outcome_report())
    gate.set()
    await deliver(reports)
    assert optimizer.attempts == [1, 2]
    optimizer.away = True
    await reports.score(OWNER, outcome_report(""))
    optimizer.away = False
    await deliver(reports)
    assert optimizer.attempts == [1, 2, 1]


@pytest.mark.usefixtures("quick")
async def test_a_slow_score_is_not_waited_for() -> None:
    """The piece goes on without; the outcome is recorded all the same."""
    gate = asyncio.Event()
    optimizer = FakeOptimizer(gate=gate.wait)
    reports = Outcomes(optimizer, score_wait_s=0.01)
    assert await reports.score(OWNER, outcome_report()) is None
    gate.set()
    await deliver(reports)
    assert len(optimizer.recorded) == 1


@pytest.mark.usefixtures("quick")
async def test_outcomes_made_without_the_optimizer_get_their_decision_later() -> None:
    """A report without a decision asks for it before it is recorded."""
    optimizer = FakeOptimizer(away=True)
    reports = Outcomes(optimizer, score_wait_s=5.0)
    await reports.score(OWNER, outcome_report(""))
    optimizer.away = False
    await deliver(reports)
    assert [each.decision_id for _, batch in optimizer.recorded for each in batch] == ["d1"]


async def test_the_backlog_is_bounded_and_says_what_it_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest outcomes go first, and are counted."""
    monkeypatch.setattr(outcomes_module, "_BACKLOG_BATCHES", 3)
    reports = Outcomes(FakeOptimizer(away=True), score_wait_s=5.0)
    for _ in range(5):
        await reports.score(OWNER, outcome_report())
    assert reports.dropped == 2


async def test_large_outputs_are_reported_in_parts() -> None:
    """Outcomes that would not fit one message together travel apart, and each gets its score."""
    optimizer = FakeOptimizer()
    reports = Outcomes(optimizer, score_wait_s=5.0)
    big = outcome_report(output="x" * 600_000)
    assert await asyncio.gather(*(reports.score(OWNER, big) for _ in range(10))) == [0.5] * 10
    assert max(len(batch) for _, batch in optimizer.recorded) <= 3


@pytest.mark.usefixtures("quick")
async def test_outcomes_that_are_refused_do_not_hold_up_others() -> None:
    """A refusal, unlike an outage, is final."""
    optimizer = FakeOptimizer(away=True)
    reports = Outcomes(optimizer, score_wait_s=5.0)
    await reports.score(OWNER, outcome_report())
    optimizer.away, optimizer.refusing = False, invalid_field("outcomes", "no")
    await deliver(reports)
    optimizer.refusing = None
    await deliver(reports)
    assert optimizer.recorded == []


async def test_a_cache_that_is_away_is_an_empty_one() -> None:
    """Lookups miss, leases are not needed, fills and releases are lost without harm."""
    cache = FakeCache(entries={"k": ENTRY}, away=True)
    content = Content(cache)
    assert await content.lookup(OWNER, ["k"]) == {}
    acquisition = await content.acquire(OWNER, "h", 1, "k")
    assert (acquisition.outcome, acquisition.lease_token) == (Acquired.LEASED, "")
    content.release(OWNER, "k", "token")
    await content.flushed()


async def test_lookups_are_bounded_and_complete() -> None:
    """Many keys are asked for in parts, and every entry that is there is found."""
    keys = [f"k{n}" for n in range(450)]
    cache = FakeCache(entries=dict.fromkeys(keys[::2], ENTRY))
    assert await Content(cache).lookup(OWNER, keys) == cache.entries
    assert max(map(len, cache.asked)) == 200


async def test_fills_stay_below_the_largest_message() -> None:
    """They are sent in parts bounded in bytes, as UTF-8 counts them: four bytes a character at the most."""
    cache = FakeCache()
    sizes: list[int] = []
    fill = cache.fill

    async def noting(owner: Owner, fills: Sequence[Fill]) -> None:
        sizes.append(sum(len(each.entry.value.encode()) for each in fills))
        await fill(owner, fills)

    cache.fill = noting  # type: ignore[method-assign]  # what the fake does, and a look beside it
    content = Content(cache)
    long = Entry("川" * 150_000, "text/plain", 1)
    for number in range(12):
        content.fill(OWNER, Fill(f"k{number}", long, ()))
    await content.flushed()
    assert len(cache.entries) == 12
    assert max(sizes) <= 2_000_000


async def test_keys_awaited_together_share_a_stream_per_replica() -> None:
    """Two waiters for one key, and keys of one replica, make one stream; each is answered by itself."""
    cache = FakeCache()
    awaiter = Awaiter(cache)
    waiting = {key: asyncio.create_task(awaiter.wait(OWNER, key)) for key in ("a1", "a2", "b1")}
    twin = asyncio.create_task(awaiter.wait(OWNER, "a1"))
    await until(lambda: len(cache.streams) == 2)
    assert sorted(map(tuple, cache.streams)) == [("a1", "a2"), ("b1",)]
    cache.news.put_nowait(("a1", ENTRY))
    assert await waiting["a1"] == await twin == ENTRY
    assert not waiting["a2"].done()
    for key in ("a2", "b1"):
        waiting[key].cancel()


async def test_when_the_stream_breaks_everyone_asks_again() -> None:
    """An outage while waiting answers None, which means: ask for the lease again."""
    cache = FakeCache(away=True)
    assert await Awaiter(cache).wait(OWNER, "k") is None


async def test_a_cancelled_waiter_takes_nothing_from_its_twin() -> None:
    """One waiter that leaves does not end the wait of another for the same key."""
    cache = FakeCache()
    awaiter = Awaiter(cache)
    gone, stays = (asyncio.create_task(awaiter.wait(OWNER, "k")) for _ in range(2))
    await until(lambda: bool(cache.streams))
    gone.cancel()
    cache.news.put_nowait(("k", ENTRY))
    assert await stays == ENTRY


def test_outages_are_told_from_refusals() -> None:
    """Nothing that says something about the request passes for an outage."""
    assert is_outage(unavailable("X", "x"))
    assert not is_outage(invalid_field("x", "y"))
    assert not is_outage(ValueError())
