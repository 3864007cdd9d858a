"""grpcurl without any .proto file: it lists, describes and calls through reflection."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.contracts import SERVICES, rpcs, service_descriptor
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import running_service
from tests.support.real_parts import program

ADVICE = "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"
pytestmark = pytest.mark.xdist_group("clients")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run grpcurl in plaintext."""
    command = [program("grpcurl", ADVICE), "-plaintext", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def grpcurl(*arguments: str) -> str:
    """Run grpcurl and return what it prints."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run the four services."""
    with running_fleet(
        tmp_path_factory.mktemp("grpcurl"), {"LOG_LEVEL": "warning", "DRAIN_GRACE_S": "1"}
    ) as running:
        yield running


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_listed_and_described(service: str, fleet: Fleet) -> None:
    """The list names the contract and health; the description names every method and its messages."""
    name = service_descriptor(service).full_name
    assert {name, "grpc.health.v1.Health"} <= set(grpcurl(fleet.address(service), "list").split())
    assert grpcurl(fleet.address(service), "list", name).split() == sorted(
        f"{name}.{rpc.method.name}" for rpc in rpcs(service)
    )
    described = grpcurl(fleet.address(service), "describe", name)
    for rpc in rpcs(service):
        assert f"rpc {rpc.method.name} (" in described
        assert rpc.method.input_type.full_name in described


def test_calls_go_through(fleet: Fleet) -> None:
    """JSON goes in, JSON comes out: a template is rendered, an entry is stored and found."""
    request = json.dumps({"template_id": "outline", "variables": {"topic": "volcanoes"}})
    method = "contentfactory.optimizer.v1.OptimizerService/Optimize"
    answer = json.loads(grpcurl("-d", request, fleet.address("optimizer"), method))
    assert any("volcanoes" in each["content"] for each in answer["messages"])
    cache = "contentfactory.cache.v1.CacheService"
    entry = json.dumps({"key": "k", "content": {"value": "aGVsbG8="}})
    grpcurl("-d", entry, fleet.address("cache"), f"{cache}/Set")
    found = json.loads(grpcurl("-d", '{"key": "k"}', fleet.address("cache"), f"{cache}/Get"))
    assert found["entry"]["value"] == "aGVsbG8="


def test_an_error_shows_its_reason(fleet: Fleet) -> None:
    """A refused call shows the code, the reason and the field to a person at a terminal."""
    method = "contentfactory.cache.v1.CacheService/Get"
    done = run("-d", '{"key": ""}', fleet.address("cache"), method)
    assert done.returncode != 0
    assert "InvalidArgument" in done.stderr
    assert "INVALID_FIELD" in done.stderr
    assert '"field": "key"' in done.stderr


def test_health_is_served_to_anyone(fleet: Fleet) -> None:
    """Health answers for the server and for the service by name."""
    for service in SERVICES:
        for name in ("", service_descriptor(service).full_name):
            request = json.dumps({"service": name})
            answer = grpcurl("-d", request, fleet.address(service), "grpc.health.v1.Health/Check")
            assert json.loads(answer) == {"status": "SERVING"}


def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    """With REFLECTION=off nothing is listed."""
    with running_service("cache", {"REFLECTION": "off"}, directory=tmp_path) as cache:
        done = run(cache.address, "list")
    assert done.returncode != 0
    assert "does not support the reflection API" in done.stderr
