"""One job on three processors, struck again and again; what came of it, as a history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from contentfactory.processor.v1 import processor_pb2 as pb

from benchmarks.chaos.evidence import history_of, read_calls, read_store, received, seen, told
from benchmarks.chaos.faults import Fault, Mix
from benchmarks.chaos.following import Follower, Patience
from benchmarks.chaos.history import History, Received, Seen, Told
from benchmarks.chaos.strikes import Strikes
from tests.support.factory import PROCESSOR, Factory, running_factory
from tests.support.factory_client import DERIVED
from tests.support.mock_process import MockProcess, mock_endpoint

PROCESSORS = (PROCESSOR, "second", "third")
LEASE_S = 2.5
STALL_S = 2.2 * LEASE_S
SLOTS = 24
LATENCY_MS = 400.0
LATENCY_SIGMA = 0.4
REPEATED_EVERY = 25
"""Each so-manieth topic is one that came before, in another shard."""

_CAP_PER_ITEM = 100_000
"""Never reached: but so that what workers reserve, and leave reserved when they die, is accounted for."""

_LOOK_S = 0.2
_PER_TOPIC = len(DERIVED) + 1
_QUIET_S = 25.0
"""No call for so long: either the job is over, or it never will be."""

_UNFENCED = Path(__file__).parent / "unfenced"
_SETTINGS: Mapping[str, str] = {
    "PROCESSOR_LEASE_S": str(LEASE_S),
    "PROCESSOR_MAX_CONCURRENCY": str(SLOTS),
    "PROCESSOR_COMMIT_INTERVAL_S": "0.25",
    "PROCESSOR_SETTLE_INTERVAL_S": "1",
    "PROCESSOR_POLL_S": "0.5",
}

FULL = Mix(
    PROCESSORS,
    kills={"cache": 3, "optimizer": 3, "tracker": 3},
    stalls=4,
    processor_kills=5,
    neighbour_stalls=2,
    lease_s=LEASE_S,
    stall_s=STALL_S,
)
QUICK = Mix(
    PROCESSORS,
    kills={"cache": 1, "tracker": 1},
    stalls=2,
    processor_kills=1,
    neighbour_stalls=0,
    lease_s=LEASE_S,
    stall_s=STALL_S,
)


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a run.

    Attributes:
        history: What the witnesses say.
        seconds: From the start of the job to its end.
        strikes: How many faults fell.
    """

    history: History
    seconds: float
    strikes: int


def chaos_items(count: int) -> list[pb.JobItem]:
    """Return the eight pieces of each topic, some topics twice."""
    items: list[pb.JobItem] = []
    for number in range(-(-count // _PER_TOPIC)):
        repeats = number >= REPEATED_EVERY and number % REPEATED_EVERY == 0
        about = number - REPEATED_EVERY + 1 if repeats else number
        for template in ("outline", *DERIVED):
            spec = pb.PieceSpec(template_id=template, variables={"topic": f"subject number {about}"})
            item = pb.JobItem(item_id=f"t{number}/{template}", spec=spec)
            if template != "outline":
                item.depends_on.add(item_id=f"t{number}/outline", variable="outline")
            items.append(item)
    return items[:count]


def run(
    directory: Path,
    items: Sequence[pb.JobItem],
    faults: Sequence[Fault],
    *,
    fenced: bool,
    say: Callable[[str], None],
) -> Came:
    """Run a job of items under faults.

    Args:
        directory: Where stores and logs go.
        items: What to make.
        faults: What happens meanwhile.
        fenced: Whether the processors check epochs.
        say: Hears what happens.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _factory(directory, fenced=fenced) as (factory, endpoints):
        heard, strikes = _disturbed(factory, endpoints, items, faults, say)
        for each in PROCESSORS:
            factory.stop(each)
    history = history_of(
        asyncio.run(read_store(directory / f"{PROCESSOR}.db")),
        got=heard.got,
        watched=heard.watched,
        last=heard.last,
        calls=[call for each in PROCESSORS for call in read_calls(each, directory / f"{each}-model.log")],
        blows=[each for each in strikes.blows if each.target in PROCESSORS],
    )
    return Came(history, heard.seconds, len(strikes.blows))


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was heard of a job while it ran: by a client, by a watcher, from the tracker at the end."""

    got: Sequence[Received]
    watched: Sequence[Seen]
    last: Told
    seconds: float


def _disturbed(
    factory: Factory,
    endpoints: Mapping[str, MockProcess],
    items: Sequence[pb.JobItem],
    faults: Sequence[Fault],
    say: Callable[[str], None],
) -> tuple[_Heard, Strikes]:
    """Run the job to its end, or until nothing moves any more, and strike meanwhile."""
    clients = [factory.client(each) for each in PROCESSORS]
    job_id = clients[0].draft(items, max_cost_micros=len(items) * _CAP_PER_ITEM)
    patience = Patience(lambda: _completions(endpoints.values()), quiet_s=_QUIET_S)
    follower = Follower(clients, job_id, patience)
    strikes = Strikes(factory, faults, say)
    with ThreadPoolExecutor(5) as following:
        events = following.submit(follower.events)
        clients[0].start(job_id)
        began = time.monotonic()
        results = following.submit(follower.results)
        finished = following.submit(lambda: (follower.finished(), time.monotonic()))
        last = following.submit(lambda: follower.progress(finished.result()[0].usage))
        striking = following.submit(
            strikes.run, lambda: _completions(endpoints.values()) / len(items), finished.done
        )
        while not (events.done() and results.done() and last.done()):
            patience.look()
            time.sleep(_LOOK_S)
        striking.result()
    seconds = finished.result()[1] - began
    return _Heard(received(results.result()), seen(events.result()), told(last.result()), seconds), strikes


def _completions(endpoints: Iterable[MockProcess]) -> int:
    return sum(each.counts()["completions"] for each in endpoints)


@contextmanager
def _factory(directory: Path, *, fenced: bool) -> Iterator[tuple[Factory, dict[str, MockProcess]]]:
    """Run three processors, each with an endpoint of its own, so that the logs tell who called."""
    settings = {**_SETTINGS} if fenced else {**_SETTINGS, "PYTHONPATH": str(_UNFENCED)}
    with ExitStack() as stack:
        endpoints = {
            each: stack.enter_context(
                mock_endpoint(
                    latency_ms=LATENCY_MS, latency_sigma=LATENCY_SIGMA, log=directory / f"{each}-model.log"
                )
            )
            for each in PROCESSORS
        }
        settings["PROCESSOR_MODEL_URL"] = endpoints[PROCESSOR].url
        factory = stack.enter_context(running_factory(directory, env={PROCESSOR: settings}))
        for each in PROCESSORS[1:]:
            factory.add_processor(each, PROCESSOR_MODEL_URL=endpoints[each].url)
        yield factory, endpoints
