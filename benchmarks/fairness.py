"""Who is served how much, and how soon urgent work begins, by the endpoint's own log.

Real processes on two cores: four services, the mock model endpoint and the client; the processor's store is
SQLite. All ask for one model, and two tenants once more for one of their own each: then the processor's own
ceiling is what they share. Whose a call is, its messages' hash tells.
Run it from the repository's root: `python -m benchmarks.fairness`, or with `--quick`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import orjson
from contentfactory.processor.v1 import processor_pb2 as pb

from benchmarks.support.report import Report
from tests.support.factory import PROCESSOR, Factory, running_factory
from tests.support.mock_behaviour import digest_of

CORES = 2
SLOTS = 32
SMALL_TOKENS = 30
TIMES_LARGER = 50
TIMES_MORE = 100
FEW, MANY = 300, 300 * TIMES_MORE
WEIGHTS = (1.0, 2.0, 3.0, 1.0, 5.0, 1.0, 2.0, 4.0, 1.0, 2.0)
QUEUED = 100_000
QUEUED_JOBS = 200
URGENT_JOBS = 40
MOST_UNEQUAL = 1.1
LEAST_JAIN = 0.98
MOST_TO_START_S = 1.0
_SETTLING_S = 2.0
"""Until so long after the last start the shares are not looked at: the queue is being filled."""

_URGENT = "urgent"
_whose: dict[str, str] = {}
"""By the hash of its messages, whom a call is made for."""

_SERVED = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered call, by the endpoint's log."""

    time: float
    whose: str
    tokens: int


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the backlog, without bars")
    quick: bool = parser.parse_args().quick
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    report = Report(judging=not quick)
    report.machine()
    for own_models in (False, True):
        _two_tenants(
            report, own_models=own_models, seconds=6.0 if quick else 30.0, many=MANY // (10 if quick else 1)
        )
    _ten_tenants(report, seconds=6.0 if quick else 20.0, items=300 if quick else 2_000)
    _urgent_jobs(report, QUEUED // (10 if quick else 1), jobs=10 if quick else URGENT_JOBS)
    return int(report.short)


def _two_tenants(report: Report, *, own_models: bool, seconds: float, many: int) -> None:
    """One has a hundred times the items, the other's are fifty times as large."""
    names = ("many", "few")
    what = "two_models" if own_models else "two_tenants"
    with _factory(names, latency_ms=200, text_characters=4 * SMALL_TOKENS * TIMES_LARGER) as factory:
        _start(factory, "many", many, tokens=SMALL_TOKENS, model="of-many" if own_models else "")
        _start(factory, "few", FEW, tokens=SMALL_TOKENS * TIMES_LARGER, model="of-few" if own_models else "")
        served = _served(factory, names, seconds=seconds)
    report.figure(f"fairness_{what}_few_tokens", served["few"], "tokens")
    report.figure(f"fairness_{what}_many_tokens", served["many"], "tokens")
    ratio = max(served.values()) / max(1.0, min(served.values()))
    report.figure(f"fairness_{what}_max_to_min", ratio, "ratio", at_most=MOST_UNEQUAL)


def _ten_tenants(report: Report, *, seconds: float, items: int) -> None:
    """Ten tenants of mixed weights, with items of mixed sizes."""
    weights = {f"tenant-{number}": weight for number, weight in enumerate(WEIGHTS)}
    with _factory(tuple(weights), latency_ms=100, text_characters=2_000, weights=weights) as factory:
        for number, name in enumerate(weights):
            _start(factory, name, items, tokens=50 * (1 + number % 5))
        served = _served(factory, tuple(weights), seconds=seconds)
    shares = [served[name] / weight for name, weight in weights.items()]
    jain = sum(shares) ** 2 / (len(shares) * sum(each * each for each in shares))
    report.figure("fairness_ten_tenants_jain", jain, "index", at_least=LEAST_JAIN)
    report.figure("fairness_ten_tenants_max_to_min", max(shares) / max(1.0, min(shares)), "ratio")


def _urgent_jobs(report: Report, queued: int, *, jobs: int) -> None:
    """An urgent job at a time, of the tenant that has everything queued, and of another."""
    latency_s = 0.2
    names = ("busy", "other")
    with _factory(names, latency_ms=latency_s * 1_000, text_characters=400) as factory:
        for _ in range(QUEUED_JOBS):
            _start(factory, "busy", queued // QUEUED_JOBS, tokens=100)
        time.sleep(_SETTLING_S)
        began: dict[str, float] = {}
        for number in range(jobs):
            name = f"{_URGENT}-{number}"
            client = factory.client(token=names[number % 2])
            job_id = client.draft([_item(name, 0, tokens=100)], priority=pb.JOB_PRIORITY_URGENT)
            began[name] = time.time()
            client.start(job_id)
            client.wait(job_id)
        answered = {each.whose: each.time for each in _answers(factory)}
        waited = [answered[name] - latency_s - at for name, at in began.items()]
        left = queued - sum(each.whose == "busy" for each in _answers(factory))
    report.remark(
        f"{left} of {queued} items in {QUEUED_JOBS} jobs were still queued behind the last urgent job"
    )
    cuts = quantiles(waited, n=20)
    report.figure("fairness_urgent_start_p50", cuts[9], "s")
    report.figure("fairness_urgent_start_p95", cuts[18], "s", at_most=MOST_TO_START_S)
    report.figure("fairness_urgent_start_max", max(waited), "s")


@contextmanager
def _factory(
    tenants: tuple[str, ...],
    *,
    latency_ms: float,
    text_characters: int,
    weights: Mapping[str, float] | None = None,
) -> Iterator[Factory]:
    with TemporaryDirectory(prefix="fairness-") as name:
        directory = Path(name)
        env = {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS), "PROCESSOR_PRICES_FILE": ""}
        if weights:
            env["PROCESSOR_TENANT_WEIGHTS"] = ",".join(f"{each}={weights[each]:g}" for each in weights)
        tokens = [{"token": each, "tenant": each, "user": "bench", "roles": []} for each in tenants]
        with running_factory(
            directory,
            tokens=tokens,
            env={PROCESSOR: env},
            latency_ms=latency_ms,
            text_characters=text_characters,
        ) as factory:
            yield factory


def _item(whose: str, number: int, *, tokens: int, model: str = "") -> pb.JobItem:
    item = pb.JobItem(item_id=f"item-{number}")
    item.spec.model = model
    item.spec.raw.max_tokens = tokens
    content = f"{whose} {number}"
    item.spec.raw.messages.add(role=pb.ChatMessage.ROLE_USER, content=content)
    _whose[digest_of([{"role": "user", "content": content}])] = whose
    item.spec.cache_policy = pb.CACHE_POLICY_BYPASS
    return item


def _start(factory: Factory, tenant: str, items: int, *, tokens: int, model: str = "") -> None:
    """Start a job of a tenant whose items have an output of so many tokens."""
    client = factory.client(token=tenant)
    client.submit([_item(tenant, number, tokens=tokens, model=model) for number in range(items)])


def _served(factory: Factory, names: tuple[str, ...], *, seconds: float) -> Counter[str]:
    """Return the tokens of each tenant in a time in which all of them have a backlog."""
    time.sleep(_SETTLING_S)
    begins_at = time.time()
    time.sleep(seconds)
    ends_at = time.time()
    with ThreadPoolExecutor(1) as reader:
        answers = reader.submit(_answers, factory).result()
    served: Counter[str] = Counter(dict.fromkeys(names, 0))
    last: dict[str, float] = {}
    for each in answers:
        last[each.whose] = each.time
        if begins_at <= each.time < ends_at:
            served[each.whose] += each.tokens
    short = [name for name in names if last.get(name, 0.0) < ends_at - 1.0]
    if short:
        raise RuntimeError(f"no backlog was left of {', '.join(short)}: nothing was measured")
    return served


def _answers(factory: Factory) -> list[Answer]:
    lines = map(orjson.loads, (factory.directory / "model.log").read_bytes().splitlines())
    return [
        Answer(each["time"], _whose[each["hash"]], each["prompt_tokens"] + each["output_tokens"])
        for each in lines
        if each["status"] == _SERVED
    ]


if __name__ == "__main__":
    sys.exit(main())
