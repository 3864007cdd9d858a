"""Real processors: one with all its neighbours for most tests, others as a test needs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.processor.v1 import processor_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from service_common.errors import ServiceError
from service_common.rpc.status import from_rpc_error

from tests.integration.conftest import NewDatabase
from tests.support.backends import Database
from tests.support.mock_process import MockProcess, mock_endpoint
from tests.support.processes import ServiceProcess, running_service

NOWHERE = "127.0.0.1:1"
MODEL = "priced-model"
TOKENS = [
    {"token": "acme-secret", "tenant": "acme", "user": "ann"},
    {"token": "umbrella-secret", "tenant": "umbrella", "user": "uma"},
    {"token": "service-secret", "tenant": "service", "user": "processor", "roles": ["act_as"]},
]
FALLBACK = "dearer-model"
RESTING = "resting-model"
"""For what closes a model's lane for longer than a test lasts."""

PRICES = {
    MODEL: {"prompt_micros_per_million": 1_000_000, "output_micros_per_million": 2_000_000},
    RESTING: {"prompt_micros_per_million": 1_000_000, "output_micros_per_million": 2_000_000},
    FALLBACK: {"prompt_micros_per_million": 3_000_000, "output_micros_per_million": 5_000_000},
}
QUICK = {
    "PROCESSOR_POLL_S": "0.05",
    "PROCESSOR_COMMIT_INTERVAL_S": "0.02",
    "PROCESSOR_SETTLE_INTERVAL_S": "0.05",
    "PROCESSOR_LEASE_S": "1",
    "PROCESSOR_URGENT_PATIENCE_S": "1",
    "PROCESSOR_CPU_WAIT_HIGH": "1",  # how busy this machine is decides no test
    "DRAIN_GRACE_S": "2",
}


class Client:
    """Calls a processor as one tenant; every RPC is an attribute."""

    def __init__(self, address: str, *, tenant: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self._stub = processor_pb2_grpc.ProcessorServiceStub(self.channel)
        self._metadata = (("authorization", f"Bearer {tenant}-secret"),)

    def __getattr__(self, rpc: str) -> Callable[..., Any]:
        """Return an RPC that carries the tenant's credential and does not wait for ever."""
        method = getattr(self._stub, rpc)
        return lambda request, timeout=30: method(request, metadata=self._metadata, timeout=timeout)

    def new_job(self, items: Iterable[pb.JobItem] = (), **fields: Any) -> str:
        """Create a job with these items, which must all be accepted; returns its id."""
        job_id: str = self.CreateJob(pb.CreateJobRequest(**fields)).job.job_id
        batch = list(items)
        for start in range(0, len(batch), 1000):
            request = pb.BatchAddItemsRequest(job_id=job_id, items=batch[start : start + 1000])
            for each in self.BatchAddItems(request).results:
                assert each.HasField("value"), each.error
        return job_id

    def start(self, job_id: str) -> pb.Job:
        """Start a job."""
        job: pb.Job = self.StartJob(pb.StartJobRequest(job_id=job_id)).job
        return job

    def job(self, job_id: str) -> pb.Job:
        """Return a job."""
        job: pb.Job = self.GetJob(pb.GetJobRequest(job_id=job_id)).job
        return job

    def finish(self, job_id: str) -> dict[str, pb.ItemResult]:
        """Wait for the end of a started job; returns its results by item, each of which came once."""
        return self.finish_from(job_id, "")

    def finish_from(self, job_id: str, token: str) -> dict[str, pb.ItemResult]:
        """Wait for the end of a started job; returns the results after a resume token."""
        results: dict[str, pb.ItemResult] = {}
        request = pb.StreamResultsRequest(job_id=job_id, resume_token=token)
        for frame in self.StreamResults(request, timeout=60):
            for each in frame.results:
                assert each.item_id not in results
                results[each.item_id] = each
        return results

    def run(self, items: Iterable[pb.JobItem], **fields: Any) -> tuple[pb.Job, dict[str, pb.ItemResult]]:
        """Run a job to its end."""
        job_id = self.new_job(items, **fields)
        self.start(job_id)
        results = self.finish(job_id)
        return self.job(job_id), results


@dataclass(frozen=True)
class Factory:
    """A processor with a mock endpoint, and perhaps its neighbours, by name."""

    processor: ServiceProcess
    mock: MockProcess
    stack: ExitStack
    neighbours: Mapping[str, ServiceProcess]

    def client(self, tenant: str = "acme") -> Client:
        """Return a client that calls as this tenant."""
        client = Client(self.processor.address, tenant=tenant)
        self.stack.enter_context(client.channel)
        return client


def configured(
    directory: Path, mock: MockProcess, *, neighbours: dict[str, ServiceProcess] | None = None
) -> dict[str, str]:
    """Return a processor's environment; neighbours that are not given are out of reach."""
    directory.mkdir(parents=True, exist_ok=True)
    prices = directory / "prices.json"
    prices.write_text(json.dumps(PRICES))
    found = {name: service.address for name, service in (neighbours or {}).items()}
    return {
        **QUICK,
        "AUTH_TOKENS_FILE": str(tokens_file(directory)),
        "SERVICE_TOKEN": "service-secret",
        "PROCESSOR_MODEL_URL": mock.url,
        "PROCESSOR_MODEL": MODEL,
        "PROCESSOR_PRICES_FILE": str(prices),
        "CACHE_TARGETS": found.get("cache", NOWHERE),
        "OPTIMIZER_TARGETS": found.get("optimizer", NOWHERE),
        "TRACKER_TARGETS": found.get("tracker", NOWHERE),
    }


def tokens_file(directory: Path) -> Path:
    """Write the file of credentials."""
    file = directory / "tokens.json"
    file.write_text(json.dumps(TOKENS))
    return file


@contextmanager
def a_factory(database: Database, *names: str, **environment: str) -> Iterator[Factory]:
    """Run a processor with these neighbours; what the environment says of the cache is for the cache, too."""
    directory = database.directory
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint(keep=50))
        auth = {"AUTH_TOKENS_FILE": str(tokens_file(directory)), "DRAIN_GRACE_S": "1"}
        auth |= {name: value for name, value in environment.items() if name.startswith("CACHE_")}
        neighbours = {
            name: stack.enter_context(running_service(name, auth | database.env(name), directory=directory))
            for name in names
        }
        env = configured(directory, mock, neighbours=neighbours) | database.env("processor") | environment
        processor = stack.enter_context(running_service("processor", env, directory=directory))
        yield Factory(processor, mock, stack, neighbours)


@pytest.fixture(scope="session")
def factory(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A processor with cache, optimizer and tracker."""
    database = new_database(tmp_path_factory.mktemp("factory"))
    with a_factory(database, "cache", "optimizer", "tracker") as running:
        yield running


@pytest.fixture(scope="session")
def lone(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A processor none of whose neighbours is there."""
    with a_factory(new_database(tmp_path_factory.mktemp("lone"))) as running:
        yield running


@pytest.fixture
def client(factory: Factory) -> Client:
    """Call the processor that has its neighbours, as tenant acme."""
    return factory.client()


def raw(text: str, *, max_tokens: int = 128, **fields: Any) -> pb.PieceSpec:
    """Return the spec of a raw prompt."""
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=text)
    return pb.PieceSpec(raw=pb.RawPrompt(messages=[message], max_tokens=max_tokens), **fields)


def raw_item(item_id: str, text: str = "", **fields: Any) -> pb.JobItem:
    """Return an item of a raw prompt; by default its id is the text."""
    return pb.JobItem(item_id=item_id, spec=raw(text or item_id, **fields))


def piece_of(template: str, topic: str = "volcanoes", *needs: str, **fields: Any) -> pb.JobItem:
    """Return an item of a built-in template; what it needs feeds its outline."""
    spec = pb.PieceSpec(template_id=template, variables={"topic": topic}, **fields)
    depends_on = [pb.JobItem.Dependency(item_id=each, variable="outline") for each in needs]
    return pb.JobItem(item_id=f"{topic}/{template}", spec=spec, depends_on=depends_on)


def error_of(call: Callable[..., Any], request: Any) -> ServiceError:
    """Make a call that must fail and return its error."""

    def exhaust() -> None:
        answer = call(request)
        if hasattr(answer, "__iter__"):
            list(answer)

    with pytest.raises(grpc.RpcError) as caught:
        exhaust()
    return from_rpc_error(caught.value)  # type: ignore[arg-type]  # a sync error has the same face


def kind_and_reason(error: ServiceError) -> tuple[str, str]:
    """Return what a client decides by."""
    return error.kind.value, error.reason


def scraped(factory: Factory, name: str, **labels: str) -> float:
    """Return a metric of the processor as Prometheus would scrape it; 0 if it has no such labels yet."""
    return scraped_from(factory.processor, name, **labels)


def scraped_from(service: ServiceProcess, name: str, **labels: str) -> float:
    """Return a metric of any service likewise."""
    url = f"http://127.0.0.1:{service.metrics_port}/metrics"
    with urlopen(url, timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    values = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(values)


@pytest.fixture
def metric() -> Callable[..., float]:
    """Read metrics of the processor."""
    return scraped
