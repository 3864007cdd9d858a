"""A whole factory as real processes, to be killed and started again: four services, a mock model endpoint.

    with running_factory(directory, latency_ms=200) as factory:
        job_id = factory.client().submit(items)
        factory.kill("cache")

Everything listens on loopback. A restarted service keeps its port, so its neighbours find it again; prices
are set, so money is never zero. The intervals are short: a dead worker's shards are free after two seconds.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.support.bill import Line, price_table, read_lines
from tests.support.factory_client import FactoryClient
from tests.support.mock_process import MockProcess, mock_endpoint
from tests.support.processes import (
    MODULES,
    ServiceProcess,
    end_service,
    launch_service,
    wait_until_listening,
    wait_until_serving,
)

PROCESSOR = "processor"
NEIGHBOURS = ("cache", "optimizer", "tracker")
MODEL = "mock-model"
LEASE_S = 2.0
ValueT = TypeVar("ValueT")

_FAST: Mapping[str, str] = {
    "PROCESSOR_MODEL": MODEL,
    "PROCESSOR_LEASE_S": str(LEASE_S),
    "PROCESSOR_POLL_S": "0.1",
    "PROCESSOR_COMMIT_INTERVAL_S": "0.05",
    "PROCESSOR_SETTLE_INTERVAL_S": "0.1",
    "PROCESSOR_CPU_WAIT_HIGH": "1",  # how busy this machine is decides no test
}
_TIMEOUT_S = 60.0


class Factory:
    """A running factory; `running_factory` makes one and ends it.

    Attributes:
        directory: Holds stores and logs.
        model: The model endpoint, the independent witness of what was asked of it.
        services: The processes by name; further processors have names of their own.
    """

    def __init__(self, directory: Path, model: MockProcess, env: Mapping[str, Mapping[str, str]]) -> None:
        self.directory = directory
        self.model = model
        self.services: dict[str, ServiceProcess] = {}
        self._env = {name: {**env.get("*", {}), **env.get(name, {})} for name in MODULES}
        self._started_with: dict[str, dict[str, str]] = {}
        self._stack = ExitStack()

    def start(self) -> None:
        """Start everything: the neighbours side by side, then the processor."""
        for name in NEIGHBOURS:
            self._launch(name, self._env[name])
        for name in NEIGHBOURS:
            self._await_serving(name)
        self.add_processor(PROCESSOR)

    def close(self) -> None:
        """End all processes and close all channels."""
        self._stack.close()
        for each in self.services.values():
            if each.popen.poll() is None:
                each.popen.send_signal(signal.SIGCONT)  # a paused process cannot hear SIGTERM
                each.ask_to_stop()
        for each in self.services.values():
            end_service(each)

    def add_processor(self, name: str, **env: str) -> None:
        """Start a processor on the store that all processors share.

        Args:
            name: What to call it here.
            **env: Further variables for this process.
        """
        targets = {f"{each.upper()}_TARGETS": self.address(each) for each in NEIGHBOURS}
        store = f"sqlite:///{self.directory / PROCESSOR}.db"
        own = {**_FAST, "PROCESSOR_MODEL_URL": self.model.url, "STORE_URL": store}
        self._launch(name, {**own, **targets, **self._env[PROCESSOR], **env})
        self._await_serving(name)

    def address(self, name: str) -> str:
        """Return what to open a channel to."""
        return self.services[name].address

    def client(self, processor: str = PROCESSOR, *, token: str = "") -> FactoryClient:
        """Return a client of the factory.

        Args:
            processor: Which processor it talks to.
            token: The bearer token it presents.
        """
        addresses = {name: self.address(name) for name in NEIGHBOURS}
        client = FactoryClient({**addresses, PROCESSOR: self.address(processor)}, token=token)
        self._stack.callback(client.close)
        return client

    def kill(self, name: str) -> None:
        """End a service at once, as a crash does."""
        self.services[name].kill()

    def stop(self, name: str) -> int:
        """End a service with SIGTERM and return its exit code."""
        return self.services[name].stop()

    def pause(self, name: str) -> None:
        """Stop a service's time, as a stalled machine does."""
        self.services[name].popen.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.services[name].popen.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self, name: str) -> None:
        """Let a paused service go on."""
        self.services[name].popen.send_signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a service that has ended again, on its port, its store and its log."""
        before = self.services[name]
        ports = {"PORT": str(before.port), "METRICS_PORT": str(before.metrics_port)}
        self._launch(name, {**self._started_with[name], **ports})
        self._await_serving(name)

    def model_log(self) -> list[Line]:
        """Return what the model endpoint answered, and what it was about to answer when its client left."""
        return read_lines(self.directory / "model.log")

    def _launch(self, name: str, env: Mapping[str, str]) -> None:
        kind = name if name in MODULES else PROCESSOR
        directory = self.directory if name == kind else self.directory / name
        self._started_with[name] = dict(env)
        self.services[name] = launch_service(kind, env, directory=directory)

    def _await_serving(self, name: str) -> None:
        wait_until_listening(self.services[name])
        wait_until_serving(self.services[name])


@contextmanager
def running_factory(
    directory: Path,
    *,
    tokens: Iterable[Mapping[str, Any]] = (),
    env: Mapping[str, Mapping[str, str]] | None = None,
    **model: Any,
) -> Iterator[Factory]:
    """Run a factory for as long as the context lasts.

    Args:
        directory: Where its stores and logs go.
        tokens: The entries of the tokens file; with any, every service asks for tokens, and the processor has
            one with the role act_as.
        env: Further variables by service; those under `*` are for all.
        **model: The options of `mock_endpoint`.
    """
    variables = {name: dict(values) for name, values in (env or {}).items()}
    directory.mkdir(parents=True, exist_ok=True)
    prices = directory / "prices.json"
    prices.write_text(json.dumps(price_table(MODEL)))
    variables.setdefault(PROCESSOR, {}).setdefault("PROCESSOR_PRICES_FILE", str(prices))
    if entries := list(tokens):
        _demand_tokens(directory, entries, variables)
    with mock_endpoint(log=directory / "model.log", **model) as endpoint:
        factory = Factory(directory, endpoint, variables)
        try:
            factory.start()
            yield factory
        finally:
            factory.close()


def _demand_tokens(
    directory: Path, entries: list[Mapping[str, Any]], variables: dict[str, dict[str, str]]
) -> None:
    service = {"token": "processor-secret", "tenant": "system", "user": "processor", "roles": ["act_as"]}
    file = directory / "tokens.json"
    file.write_text(json.dumps([*entries, service]))
    variables.setdefault("*", {})["AUTH_TOKENS_FILE"] = str(file)
    variables[PROCESSOR]["SERVICE_TOKEN"] = "processor-secret"


def eventually(
    read: Callable[[], ValueT], holds: Callable[[ValueT], bool] = bool, *, timeout_s: float = _TIMEOUT_S
) -> ValueT:
    """Read a value until something holds of it, and return it.

    Raises:
        AssertionError: If it does not in time; the message holds the last value.
    """
    ends_at = time.monotonic() + timeout_s
    while not holds(value := read()):
        assert time.monotonic() < ends_at, f"not in {timeout_s} s; the last value is {value!r}"
        time.sleep(0.01)
    return value
