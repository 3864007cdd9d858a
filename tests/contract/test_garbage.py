"""Garbage in every RPC of every contract: a canonical error that says what is wrong, and a server unharmed.

Cases come from the descriptors (see `garbage`), so that a new RPC or field is covered by itself. The services
are real processes that can reach each other, so that garbage gets as deep as it can.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from contentfactory.optimizer.v1 import optimizer_pb2, optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2, processor_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc

from tests.contract.answers import RAW, UNARY_TIMEOUT_S, call, complaints, reasons
from tests.contract.contracts import SERVICES, Rpc, is_map, rpcs, service_descriptor
from tests.contract.garbage import KNOWN_ID, invalid_utf8, plausible, scrambled, spoiled
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import health_of

pytestmark = [pytest.mark.xdist_group("garbage"), pytest.mark.timeout(300)]

ALL = [rpc for service in SERVICES for rpc in rpcs(service)]
VALID_CALL = {
    "cache": "GetStats",
    "optimizer": "ListTemplates",
    "processor": "ListJobs",
    "tracker": "ListProgress",
}
NO_MESSAGES = (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x00\x00\x00", b"\x0a\x05abc", b"\x08" + b"\xff" * 11)
OVERSIZE = 4 * 1024 * 1024 + 1
RANDOM_CASES = 60


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run the services, logging only what goes wrong."""
    with running_fleet(
        tmp_path_factory.mktemp("garbage"), {"DRAIN_GRACE_S": "1", "LOG_LEVEL": "warning"}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def channels(fleet: Fleet) -> Iterator[Mapping[str, grpc.Channel]]:
    """Open a channel to each service, which may send more than the server takes."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20)]
    opened = {name: grpc.insecure_channel(fleet.address(name), options) for name in SERVICES}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture(scope="module")
def known(channels: Mapping[str, grpc.Channel]) -> Mapping[str, str]:
    """Make things that exist, so that garbage beside a good id gets past NOT_FOUND; by field name."""
    source = plausible(optimizer_pb2.CreateTemplateRequest()).source
    source.ClearField("variables")
    source.messages[0].content = "Say something."
    optimizer = optimizer_pb2_grpc.OptimizerServiceStub(channels["optimizer"])
    optimizer.CreateTemplate(optimizer_pb2.CreateTemplateRequest(template_id=KNOWN_ID, source=source))
    processor = processor_pb2_grpc.ProcessorServiceStub(channels["processor"])
    job = processor.CreateJob(processor_pb2.CreateJobRequest()).job
    return {"job_id": job.job_id}


def cases(rpc: Rpc, known: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield every garbage request of a method, and what is garbage about it."""
    yield "empty", b""
    for number, each in enumerate(NO_MESSAGES):
        yield f"no message, {number}", each
    for name, each in invalid_utf8(rpc.method.input_type):
        yield f"{name}: no UTF-8", each
    for name, request in spoiled(rpc.request_class):
        yield name, _with_known(request, known).SerializeToString()
    dice = random.Random(str(rpc))
    for number in range(RANDOM_CASES):
        yield (
            f"random, {number}",
            _with_known(scrambled(rpc.request_class(), dice), known).SerializeToString(),
        )


def _with_known(message: Any, known: Mapping[str, str]) -> Any:
    """Put the names of things that exist where the plausible name stands."""
    for field, value in message.ListFields():
        if field.message_type is not None and not is_map(field):
            for each in value if field.is_repeated else (value,):
                _with_known(each, known)
        elif value == KNOWN_ID and field.name in known:
            setattr(message, field.name, known[field.name])
    return message


def expect_unharmed(fleet: Fleet, channel: grpc.Channel, service: str) -> None:
    """The service still answers a valid call and says SERVING."""
    assert fleet.services[service].popen.poll() is None
    path = f"/{service_descriptor(service).full_name}/{VALID_CALL[service]}"
    channel.unary_unary(path, *RAW)(b"", timeout=UNARY_TIMEOUT_S)
    assert health_of(health_pb2_grpc.HealthStub(channel), service_descriptor(service).full_name) == "SERVING"


@pytest.mark.parametrize("rpc", ALL, ids=str)
def test_garbage_gets_an_error_that_says_why(
    rpc: Rpc, fleet: Fleet, channels: Mapping[str, grpc.Channel], known: Mapping[str, str]
) -> None:
    """Whatever is wrong with a request, the code is one a caller can act on, and details name the reason."""
    channel = channels[rpc.service]
    named = list(cases(rpc, known))
    with ThreadPoolExecutor(16 if rpc.method.server_streaming else 4) as pool:
        answers = list(pool.map(lambda case: call(channel, rpc, case[1]), named))
    wrong = [
        f"{name}: {complaint}"
        for (name, _), answer in zip(named, answers, strict=True)
        for complaint in complaints(rpc, answer)
    ]
    assert not wrong, "\n".join(wrong)
    expect_unharmed(fleet, channel, rpc.service)


@pytest.mark.parametrize("rpc", ALL, ids=str)
def test_bytes_that_are_no_message_are_refused(rpc: Rpc, channels: Mapping[str, grpc.Channel]) -> None:
    """Truncated bytes and text that is no UTF-8 are INVALID_ARGUMENT with the reason MALFORMED_REQUEST."""
    broken = [NO_MESSAGES[1], *(each for _, each in invalid_utf8(rpc.method.input_type))]
    for each in broken:
        answer = call(channels[rpc.service], rpc, each)
        assert answer.code == "INVALID_ARGUMENT"
        assert answer.status is not None
        info = error_details_pb2.ErrorInfo()
        assert answer.status.details[0].Unpack(info)
        assert info.reason == "MALFORMED_REQUEST"


@pytest.mark.parametrize("rpc", ALL, ids=str)
def test_an_oversize_message_is_refused_by_its_size(
    rpc: Rpc, fleet: Fleet, channels: Mapping[str, grpc.Channel]
) -> None:
    """A message above the limit is RESOURCE_EXHAUSTED before anyone looks at it, and the server goes on."""
    assert call(channels[rpc.service], rpc, b"\x00" * OVERSIZE).code == "RESOURCE_EXHAUSTED"
    expect_unharmed(fleet, channels[rpc.service], rpc.service)


TOKENS = [
    (rpc, field.name)
    for rpc in ALL
    for field in rpc.method.input_type.fields
    if field.name in ("page_token", "resume_token")
]


@pytest.mark.parametrize(("rpc", "token"), TOKENS, ids=str)
def test_a_token_of_nobody_is_refused(
    rpc: Rpc, token: str, channels: Mapping[str, grpc.Channel], known: Mapping[str, str]
) -> None:
    """A page or resume token that this service did not make is never taken for the beginning."""
    for text in ("no-such-token", "AAAA", "e30=", "\x00", "x" * 10_000):
        request = rpc.request_class(**{token: text})
        for field in request.DESCRIPTOR.fields:
            if field.name.endswith("_id"):
                setattr(request, field.name, known.get(field.name, KNOWN_ID))
        if "mode" in request.DESCRIPTOR.fields_by_name:
            request.mode = 1
        assert call(channels[rpc.service], rpc, request.SerializeToString()).code in (
            "INVALID_ARGUMENT",
            "NOT_FOUND",
        )


def test_dependencies_that_go_in_a_circle_are_refused_item_by_item(
    channels: Mapping[str, grpc.Channel],
) -> None:
    """Of a circle of two, an item on itself and a good one, only the good one is added."""
    (rpc,) = (each for each in ALL if str(each) == "processor.BatchAddItems")
    processor = processor_pb2_grpc.ProcessorServiceStub(channels["processor"])
    job = processor.CreateJob(processor_pb2.CreateJobRequest()).job
    request = rpc.request_class(job_id=job.job_id)
    for item, needed in (("a", "b"), ("b", "a"), ("self", "self"), ("good", None)):
        added = request.items.add(item_id=item)
        added.spec.template_id = KNOWN_ID
        if needed:
            added.depends_on.add(item_id=needed, variable="topic")
    answer = call(channels["processor"], rpc, request.SerializeToString())
    assert reasons(answer, rpc.response_class) == ["DEPENDENCY_CYCLE"] * 3


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("optimizer.Optimize", {"template_id": "outline", "variables": {"no_such": "x"}}, "INVALID_VARIABLE"),
        ("optimizer.Optimize", {"template_id": "outline"}, "INVALID_VARIABLE"),
        ("processor.Generate", {"spec": {"template_id": "faq"}, "max_cost_micros": -1}, "INVALID_FIELD"),
    ],
    ids=["unknown variable", "missing variable", "negative budget"],
)
def test_well_formed_nonsense_is_refused_by_its_reason(
    name: str, values: dict[str, Any], reason: str, channels: Mapping[str, grpc.Channel]
) -> None:
    """A request that parses and means nothing is refused, saying what about it."""
    (rpc,) = (each for each in ALL if str(each) == name)
    answer = call(channels[rpc.service], rpc, rpc.request_class(**values).SerializeToString())
    assert (answer.code, reasons(answer, rpc.response_class)) == ("INVALID_ARGUMENT", [reason])
