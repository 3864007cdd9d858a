"""A job against its cap: two processors on one store, many calls at once, and processes that die."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.support.bill import Line, abandoned, bill, completed
from tests.support.factory import PROCESSOR, Factory, running_factory
from tests.support.factory_client import FactoryClient, raw_item

SECOND = "second"
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


@dataclass(slots=True)
class Outcome:
    """What a job against its cap came to.

    Attributes:
        cap: Its cap, in micros.
        billed: What the endpoint charged, calls whose client left at their full price.
        job: The job as it rests, with nothing of it out.
        most_in_flight: The most calls at a time, as the endpoint counted.
        used_at_rest: What was spent and reserved when it began to rest.
        settled_s: How long after the last restart nothing was reserved any more; 0 without a restart.
    """

    cap: int
    billed: int
    job: pb.Job
    most_in_flight: int
    used_at_rest: int
    settled_s: float = 0.0

    @property
    def overshoot(self) -> int:
        """What was charged beyond the cap."""
        return max(0, self.billed - self.cap)

    @property
    def early_refusals(self) -> float:
        """The share of items that were left while less than `NEAR` of the cap was spent or reserved."""
        counts = self.job.counts
        left = counts.total - counts.succeeded - counts.failed if self.used_at_rest < NEAR * self.cap else 0
        return left / max(1, counts.total)

    @property
    def used_share(self) -> float:
        """The share of the cap that was spent in the end."""
        return self.billed / self.cap


def environment(calls: int) -> Mapping[str, Mapping[str, str]]:
    """Return what lets one processor make so many calls at once."""
    return {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(calls)}}


def against_the_cap(directory: Path, *, calls: int, items: int) -> Outcome:
    """Run one job whose cap bears about six in ten of its items, on two processors, undisturbed."""
    with running_factory(
        directory,
        latency_ms=2_000,
        latency_sigma=0.3,
        text_characters=_CHARACTERS,
        env=environment(calls // 2),
    ) as factory:
        factory.add_processor(SECOND)
        client = factory.client()
        cap = items * _MEAN_MICROS * 6 // 10
        job_id = _start(client, items, cap=cap, about="undisturbed")
        used = _used_at_rest(client, job_id)
        job = client.wait_for_rest(job_id)
        most = factory.model.counts()["max_in_flight"]
        return Outcome(cap, _billed(factory.model_log()), job, most, used)


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
            job = factory.client().wait_for_rest(job_id, timeout_s=_GIVE_UP_S)
            outcome = Outcome(cap, _billed(factory.model_log()[seen:]), job, 0, _used(job))
            outcome.settled_s = time.monotonic() - restarted
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


def _used_at_rest(client: FactoryClient, job_id: str) -> int:
    """Return what is spent and reserved when a job begins to rest."""
    ends_at = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < ends_at:
        try:
            job = client.job(job_id)
        except grpc.RpcError:
            continue
        if job.state == pb.JOB_STATE_PAUSED:
            return _used(job)
        time.sleep(_POLL_S)
    raise RuntimeError(f"the job did not rest within {_GIVE_UP_S} s")


def _used(job: pb.Job) -> int:
    used: int = job.usage.cost_micros + job.usage.uncertain_spend_micros + job.reserved_micros
    return used


def _billed(lines: list[Line]) -> int:
    return bill(completed(lines)) + bill(abandoned(lines))
