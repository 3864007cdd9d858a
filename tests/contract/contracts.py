"""The contracts as the tests walk them: every service, every method, from the descriptors alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor

SERVICES = ("cache", "optimizer", "processor", "tracker")


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of one contract.

    Attributes:
        service: The service's short name.
        method: Its descriptor.
    """

    service: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        """What goes over the wire as its name."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def request_class(self) -> type[Any]:
        """The class of its requests."""
        return message_factory.GetMessageClass(self.method.input_type)

    @property
    def response_class(self) -> type[Any]:
        """The class of its responses."""
        return message_factory.GetMessageClass(self.method.output_type)

    def __str__(self) -> str:
        return f"{self.service}.{self.method.name}"


def service_descriptor(service: str) -> ServiceDescriptor:
    """Return a service's descriptor."""
    module = import_module(f"contentfactory.{service}.v1.{service}_pb2")
    (descriptor,) = module.DESCRIPTOR.services_by_name.values()
    return descriptor  # type: ignore[no-any-return]  # generated modules are found by name


def rpcs(service: str) -> list[Rpc]:
    """Return every method of a service."""
    return [Rpc(service, method) for method in service_descriptor(service).methods]


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry
