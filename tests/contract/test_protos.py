"""The contracts are well made: linted, generated afresh, commented throughout; lists paged, batches alike."""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

from tests.contract.contracts import SERVICES, Rpc, rpcs

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BATCHES = [rpc for service in SERVICES for rpc in rpcs(service) if rpc.method.name.startswith("Batch")]
LISTS = [rpc for service in SERVICES for rpc in rpcs(service) if rpc.method.name.startswith("List")]

# Where messages, fields, enums, values, services and methods are in google.protobuf.FileDescriptorProto.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE, _SERVICE_METHOD = 2, 2


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment from the repository's root."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    return subprocess.run(command, check=False, cwd=ROOT, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Compile the contracts with their comments."""
    out = tmp_path_factory.mktemp("descriptors") / "contracts.binpb"
    contracts = [
        str(each.relative_to(PROTOS)) for each in sorted((PROTOS / "contentfactory").rglob("*.proto"))
    ]
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    includes = [f"-I{each}" for each in (PROTOS, PROTOS / "third_party", well_known)]
    arguments = [*includes, "--include_source_info", f"--descriptor_set_out={out}", *contracts]
    done = run(sys.executable, "-m", "grpc_tools.protoc", *arguments)
    assert done.returncode == 0, done.stderr
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return {each.package.split(".")[1]: each for each in compiled.file}


def test_buf_finds_nothing() -> None:
    """`buf lint` is clean."""
    done = run("buf", "lint")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_generated_code_is_what_the_contracts_say() -> None:
    """protos/gen is fresh."""
    done = run(sys.executable, "protos/generate.py", "--check")
    assert done.returncode == 0, done.stderr


def commented(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[int, ...]]:
    """Return the paths of everything that has a comment above it."""
    return {
        tuple(location.path)
        for location in file.source_code_info.location
        if location.leading_comments.strip()
    }


def elements(file: Any) -> dict[tuple[int, ...], str]:
    """Return everything that must have a comment: names by path."""
    found: dict[tuple[int, ...], str] = {}
    for number, service in enumerate(file.service):
        found[_FILE_SERVICE, number] = service.name
        for index, method in enumerate(service.method):
            found[_FILE_SERVICE, number, _SERVICE_METHOD, index] = f"{service.name}.{method.name}"
    for number, enum in enumerate(file.enum_type):
        found |= _enum((_FILE_ENUM, number), enum, "")
    for number, message in enumerate(file.message_type):
        found |= _message((_FILE_MESSAGE, number), message, "")
    return found


def _enum(path: tuple[int, ...], enum: Any, prefix: str) -> dict[tuple[int, ...], str]:
    values = {
        (*path, _ENUM_VALUE, index): f"{prefix}{enum.name}.{each.name}"
        for index, each in enumerate(enum.value)
    }
    return {path: f"{prefix}{enum.name}", **values}


def _message(path: tuple[int, ...], message: Any, prefix: str) -> dict[tuple[int, ...], str]:
    if message.options.map_entry:
        return {}
    name = f"{prefix}{message.name}"
    found = {path: name}
    found |= {
        (*path, _MESSAGE_FIELD, index): f"{name}.{each.name}" for index, each in enumerate(message.field)
    }
    synthetic = {each.oneof_index for each in message.field if each.proto3_optional}
    for index, oneof in enumerate(message.oneof_decl):
        if index not in synthetic:
            found[*path, _MESSAGE_ONEOF, index] = f"{name}.{oneof.name}"
    for index, enum in enumerate(message.enum_type):
        found |= _enum((*path, _MESSAGE_ENUM, index), enum, f"{name}.")
    for index, inner in enumerate(message.nested_type):
        found |= _message((*path, _MESSAGE_NESTED, index), inner, f"{name}.")
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_everything_has_a_comment(service: str, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Every service, method, message, field, oneof, enum and enum value says what it is."""
    known = commented(files[service])
    silent = [name for path, name in elements(files[service]).items() if path not in known]
    assert silent == []


@pytest.mark.parametrize("rpc", BATCHES, ids=str)
def test_a_batch_answers_each_request_by_itself(rpc: Rpc) -> None:
    """A batch's response is one result per request, each a value or a google.rpc.Status."""
    results: Any = rpc.method.output_type.fields_by_name["results"]
    assert results.is_repeated
    (outcome,) = results.message_type.oneofs
    assert [field.name for field in outcome.fields] == ["value", "error"]
    assert outcome.fields[1].message_type.full_name == "google.rpc.Status"


@pytest.mark.parametrize("rpc", LISTS, ids=str)
def test_a_list_comes_in_pages(rpc: Rpc) -> None:
    """Every list takes page_size and page_token and answers next_page_token."""
    asked, answered = rpc.method.input_type.fields_by_name, rpc.method.output_type.fields_by_name
    assert asked["page_size"].type == FieldDescriptor.TYPE_INT32
    assert asked["page_token"].type == FieldDescriptor.TYPE_STRING
    assert answered["next_page_token"].type == FieldDescriptor.TYPE_STRING
