"""The four services together, each a real process, around a mock model endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.mock_process import MockProcess, mock_endpoint
from tests.support.processes import ServiceProcess, running_service


@dataclass(frozen=True, slots=True)
class Fleet:
    """Four running services and the endpoint they call.

    Attributes:
        services: The processes by name.
        model: The mock model endpoint.
    """

    services: Mapping[str, ServiceProcess]
    model: MockProcess

    def address(self, name: str) -> str:
        """What to open a channel to."""
        return self.services[name].address


@contextmanager
def running_fleet(directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Fleet]:
    """Run all four for as long as the context lasts.

    Args:
        directory: Holds their stores and logs.
        env: Further configuration, the same for all.
    """
    with ExitStack() as stack:
        model = stack.enter_context(mock_endpoint())
        services = {
            name: stack.enter_context(running_service(name, env, directory=directory))
            for name in ("cache", "optimizer", "tracker")
        }
        targets = {f"{name.upper()}_TARGETS": each.address for name, each in services.items()}
        own = {**targets, "PROCESSOR_MODEL_URL": model.url, "PROCESSOR_MODEL": "mock", **(env or {})}
        services["processor"] = stack.enter_context(running_service("processor", own, directory=directory))
        yield Fleet(services, model)
