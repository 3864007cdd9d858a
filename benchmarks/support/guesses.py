"""Jobs of many kinds, each estimated before it is run, against an endpoint whose outputs vary."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contentfactory.processor.v1 import processor_pb2 as pb

from tests.support.bill import price_table
from tests.support.factory import MODEL, PROCESSOR, running_factory
from tests.support.factory_client import DERIVED, FactoryClient

_OTHER_MODEL = "mock-model-large"
_KINDS = ("glossary", "press_release", "summary", "dialogue")
_SIGMA = 0.5
_CHARACTERS = 1_200
_SMALLEST, _LARGEST = 5, 150
_JOB_S = 120.0


@dataclass(frozen=True, slots=True)
class Guess:
    """What was said of a job, and what it came to.

    Attributes:
        items: Items it had.
        low: The lower end of what it was said to cost, in micros.
        expected: What it was expected to cost.
        high: The upper end.
        spent: What it cost.
        forecast_s: The ends of how long it was said to take; None when nothing was known.
        took_s: How long it took.
    """

    items: int
    low: int
    expected: int
    high: int
    spent: int
    forecast_s: tuple[float, float] | None
    took_s: float

    @property
    def inside(self) -> bool:
        """Whether the cost is within the interval."""
        return self.low <= self.spent <= self.high

    @property
    def in_time(self) -> bool:
        """Whether the duration is within its interval."""
        return self.forecast_s is not None and self.forecast_s[0] <= self.took_s <= self.forecast_s[1]

    @property
    def width(self) -> float:
        """The interval's width as a share of the cost."""
        return (self.high - self.low) / self.spent


def estimated_and_run(directory: Path, *, jobs: int, rng: random.Random) -> list[Guess]:
    """Estimate and run so many jobs, one after another."""
    prices = directory / "two-prices.json"
    prices.write_text(json.dumps(price_table(MODEL, _OTHER_MODEL)))
    env = {PROCESSOR: {"PROCESSOR_PRICES_FILE": str(prices)}}
    with running_factory(
        directory,
        latency_ms=30,
        latency_sigma=0.4,
        text_characters=_CHARACTERS,
        text_sigma=_SIGMA,
        env=env,
    ) as factory:
        client = factory.client()
        return [_guess(client, _job(number, rng)) for number in range(jobs)]


def _guess(client: FactoryClient, items: list[pb.JobItem]) -> Guess:
    job_id = client.draft(items)
    said = client.processor.EstimateJob(pb.EstimateJobRequest(job_id=job_id)).estimate
    client.start(job_id)
    job = client.wait(job_id, timeout_s=_JOB_S)
    forecast = None
    if said.HasField("duration"):
        forecast = said.duration.low.ToTimedelta(), said.duration.high.ToTimedelta()
    took = job.finish_time.ToDatetime() - job.start_time.ToDatetime()
    return Guess(
        items=len(items),
        low=said.cost.low_micros,
        expected=said.cost.expected_micros,
        high=said.cost.high_micros,
        spent=job.usage.cost_micros,
        forecast_s=None if forecast is None else (forecast[0].total_seconds(), forecast[1].total_seconds()),
        took_s=took.total_seconds(),
    )


def _job(number: int, rng: random.Random) -> list[pb.JobItem]:
    """Return one job's items: groups round outlines, single pieces, prompts of one's own, or a mixture."""
    size = round(_SMALLEST * (_LARGEST / _SMALLEST) ** rng.random())
    makers = rng.sample([_groups, _singles, _prompts], k=rng.choice([1, 1, 2]))
    model = rng.choice(["", "", _OTHER_MODEL])
    limit = rng.choice([0, 0, 0, 150, 400])
    items: list[pb.JobItem] = []
    for maker in makers:
        items += maker(f"{number}", max(1, size // len(makers)), rng)
    for each in items:
        each.spec.model = model
        if each.spec.WhichOneof("prompt") == "template_id":
            each.spec.max_tokens = limit
    return items


Maker = Callable[[str, int, random.Random], list[pb.JobItem]]


def _subject(name: str, rng: random.Random) -> str:
    """Return a subject: a fresh one most of the time, else one that other items and jobs have too."""
    if rng.random() < 0.15:
        return f"common subject {rng.randrange(12)}"
    return f"subject {name} {'in some detail ' * rng.randrange(6)}"


def _groups(name: str, size: int, rng: random.Random) -> list[pb.JobItem]:
    items: list[pb.JobItem] = []
    derived = rng.sample(DERIVED, k=rng.randint(1, len(DERIVED)))
    for group in range(max(1, size // (len(derived) + 1))):
        variables = {"topic": _subject(f"{name}-{group}", rng)}
        outline = f"g{group}/outline"
        items.append(
            pb.JobItem(item_id=outline, spec=pb.PieceSpec(template_id="outline", variables=variables))
        )
        for each in derived:
            item = pb.JobItem(
                item_id=f"g{group}/{each}", spec=pb.PieceSpec(template_id=each, variables=variables)
            )
            item.depends_on.add(item_id=outline, variable="outline")
            items.append(item)
    return items


def _singles(name: str, size: int, rng: random.Random) -> list[pb.JobItem]:
    kinds = rng.sample(("outline", *DERIVED), k=rng.randint(1, 4))
    return [
        pb.JobItem(
            item_id=f"s{number}",
            spec=pb.PieceSpec(
                template_id=rng.choice(kinds), variables={"topic": _subject(f"{name}-{number}", rng)}
            ),
        )
        for number in range(size)
    ]


def _prompts(name: str, size: int, rng: random.Random) -> list[pb.JobItem]:
    items: list[pb.JobItem] = []
    kind = rng.choice(_KINDS)
    for number in range(size):
        item = pb.JobItem(item_id=f"p{number}", spec=pb.PieceSpec(content_type=kind))
        system = f"You write a {kind} of what you are given, and nothing else but that {kind}."
        item.spec.raw.max_tokens = 1_500
        item.spec.raw.messages.add(role=pb.ChatMessage.ROLE_SYSTEM, content=system)
        text = f"{_subject(f'{name}-{number}', rng)} {'more of it ' * rng.randrange(40)}"
        item.spec.raw.messages.add(role=pb.ChatMessage.ROLE_USER, content=text)
        items.append(item)
    return items
