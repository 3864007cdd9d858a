"""A job against its cap: two processors on one store, many calls at once, and processes that die."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.support.bill import Line, abandoned, bill, completed
from tests.support.factory import PROCESSOR, Factory, running_factory
from tests.support.factory_client import TERMINAL, FactoryClient, raw_item

SECOND = "second"
EXHAUSTED = "BUDGET_EXHAUSTED"
NEAR = 0.95
"""From this share of the cap on a refusal is no surprise."""

_MAX_TOKENS = 256
_CHARACTERS = 400
_MEAN_MICROS = 1_530
"""About what the mock charges for one of these items: 100 tokens of output and a short prompt."""

_PIECES = 3
_PLENTY = 10**12
_POLL_S = 0.2
_GIVE_UP_S = 180.0
GRACE_S = 60.0
"""Within this time after a restart nothing may be reserved for calls that nobody makes any more."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was spent and reserved at a time."""

    at: float
    used: int


@dataclass(slots=True)
class Outcome:
    """What a job against its cap came to.

    Attributes:
        cap: Its cap, in micros.
        billed: What the endpoint charged, calls whose client left at their full price.
        job: The job at its end.
        most_in_flight: The most calls at a time, as the endpoint counted.
        refusals: When items were refused for the budget.
        samples: What was spent and reserved meanwhile.
        settled_s: How long after the last restart nothing was reserved any more; 0 without a restart.
    """

    cap: int
    billed: int
    job: pb.Job
    most_in_flight: int
    refusals: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    settled_s: float = 0.0

    @property
    def overshoot(self) -> int:
        """What was charged beyond the cap."""
        return max(0, self.billed - self.cap)

    @property
    def early_refusals(self) -> float:
        """The share of items that were refused while less than `NEAR` of the cap was spent or reserved."""
        early = sum(self._used_at(at) < NEAR * self.cap for at in self.refusals)
        return early / max(1, self.job.counts.total)

    @property
    def used_share(self) -> float:
        """The share of the cap that was spent in the end."""
        return self.billed / self.cap

    def _used_at(self, at: float) -> int:
        """Return the least that may have been used then: the sample before."""
        return max((each.used for each in self.samples if each.at <= at), default=0)


def environment(calls: int) -> Mapping[str, Mapping[str, str]]:
    """Return what lets one processor make so many calls at once."""
    return {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(calls)}}


def against_the_cap(directory: Path, *, calls: int, items: int) -> Outcome:
    """Run one job whose cap bears about six in ten of its items, on two processors, undisturbed."""
    with running_factory(
        directory, latency_ms=800, latency_sigma=0.3, text_characters=_CHARACTERS, env=environment(calls // 2)
    ) as factory:
        factory.add_processor(SECOND)
        client = factory.client()
        cap = items * _MEAN_MICROS * 6 // 10
        job_id = _start(client, items, cap=cap, about="undisturbed")
        samples = _follow(client, job_id)
        return _outcome(factory, client, job_id, cap=cap, samples=samples)


@dataclass(frozen=True, slots=True)
class TenantBooks:
    """What a tenant's budget says after everything, beside the endpoint's bill.

    Attributes:
        billed: What the endpoint charged for all the tenant's jobs and pieces.
        spent: What the budget calls spent.
        uncertain: What it calls uncertain.
        settled_s: How long after the last restart it held nothing any more, or `GRACE_S` and more.
    """

    billed: int
    spent: int
    uncertain: int
    settled_s: float


def through_kills(
    directory: Path, *, calls: int, items: int, kills: int, rng: random.Random
) -> tuple[list[Outcome], TenantBooks]:
    """Run one job after another against its cap; kill processors at a random moment of each.

    Meanwhile single pieces are made, and all of it counts towards the tenant's budget.
    """
    outcomes: list[Outcome] = []
    restarted = 0.0
    with running_factory(
        directory, latency_ms=400, latency_sigma=0.3, text_characters=_CHARACTERS, env=environment(calls // 2)
    ) as factory:
        factory.add_processor(SECOND)
        budget = pb.SetTenantBudgetRequest(max_cost_micros=_PLENTY)
        factory.client().processor.SetTenantBudget(budget)
        for number in range(kills):
            client = factory.client()
            _pieces(factory, number)
            seen = len(factory.model_log())
            cap = items * _MEAN_MICROS * 6 // 10
            job_id = _start(client, items, cap=cap, about=f"kill {number}")
            time.sleep(rng.uniform(0.3, 4.0))
            victims = rng.choice([(PROCESSOR,), (SECOND,), (PROCESSOR, SECOND)])
            for each in victims:
                factory.kill(each)
            for each in victims:
                factory.restart(each)
            restarted = time.monotonic()
            job = factory.client().wait(job_id, timeout_s=_GIVE_UP_S)
            outcome = Outcome(cap, _billed(factory.model_log()[seen:]), job, 0)
            outcome.settled_s = time.monotonic() - restarted if not job.reserved_micros else _GIVE_UP_S
            outcomes.append(outcome)
        return outcomes, _tenant_books(factory, restarted)


def _pieces(factory: Factory, number: int) -> None:
    """Make a few single pieces with each processor; what they leave held is there when it is killed."""
    for name in (PROCESSOR, SECOND):
        for piece in range(_PIECES):
            item = raw_item("", f"piece {number} {piece} of {name}", max_tokens=_MAX_TOKENS)
            factory.client(name).processor.Generate(pb.GenerateRequest(spec=item.spec))


def _tenant_books(factory: Factory, restarted: float) -> TenantBooks:
    """Wait until the tenant's budget holds nothing any more, and return it."""
    client = factory.client()
    while True:
        budget = client.processor.GetTenantBudget(pb.GetTenantBudgetRequest()).budget
        since = time.monotonic() - restarted
        if not budget.reserved_micros or since > GRACE_S:
            break
        time.sleep(_POLL_S)
    return TenantBooks(
        billed=_billed(factory.model_log()),
        spent=budget.spent_micros,
        uncertain=budget.uncertain_spend_micros,
        settled_s=since,
    )


def _start(client: FactoryClient, items: int, *, cap: int, about: str) -> str:
    request = pb.CreateJobRequest(display_name=about, terms=pb.JobTerms(max_cost_micros=cap))
    job_id: str = client.processor.CreateJob(request).job.job_id
    batch = [
        raw_item(f"item-{number}", f"{about} {number}", max_tokens=_MAX_TOKENS) for number in range(items)
    ]
    for start in range(0, items, 1_000):
        client.processor.BatchAddItems(
            pb.BatchAddItemsRequest(job_id=job_id, items=batch[start : start + 1_000])
        )
    client.start(job_id)
    return job_id


def _follow(client: FactoryClient, job_id: str) -> list[Sample]:
    """Note what is spent and reserved until the job is over, or paused because its budget is used up."""
    samples: list[Sample] = []
    ends_at = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < ends_at:
        at = time.time()
        try:
            job = client.job(job_id)
        except grpc.RpcError:
            continue
        used = job.usage.cost_micros + job.usage.uncertain_spend_micros + job.reserved_micros
        samples.append(Sample(at, used))
        if job.state in TERMINAL and job.HasField("finish_time"):
            return samples
        time.sleep(_POLL_S)
    raise RuntimeError(f"the job did not end within {_GIVE_UP_S} s")


def _outcome(
    factory: Factory, client: FactoryClient, job_id: str, *, cap: int, samples: list[Sample]
) -> Outcome:
    job = client.job(job_id)
    refusals = [
        each.finish_time.ToMicroseconds() / 1e6
        for each in client.results(job_id)
        if each.error.reason == EXHAUSTED
    ]
    most = factory.model.counts()["max_in_flight"]
    return Outcome(cap, _billed(factory.model_log()), job, most, refusals, samples)


def _billed(lines: list[Line]) -> int:
    return bill(completed(lines)) + bill(abandoned(lines))
