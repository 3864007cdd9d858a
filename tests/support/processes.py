"""Services as real processes on free ports: started, seen healthy, and gone when the context ends.

A process gets a small environment of its own, so that nobody's shell decides a test. Its log goes to a file;
when the context ends its tail is written to stderr, which pytest shows for failing tests only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

MODULES = {
    "cache": "content_cache",
    "optimizer": "prompt_optimizer",
    "processor": "parallel_processor",
    "tracker": "progress_tracker",
}
"""The package of each service; also the list of all services."""

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02
_TAIL_LINES = 60


@dataclass(slots=True)
class ServiceProcess:
    """A running service.

    Attributes:
        name: Which service.
        popen: Its process.
        log_file: Where its standard error goes, after that of earlier runs.
        log_start: Where in the file this run begins.
        port: Its RPC port on loopback.
        metrics_port: Its metrics port on loopback.
        asked_to_stop: Whether it was sent SIGTERM.
    """

    name: str
    popen: subprocess.Popen[bytes]
    log_file: Path
    log_start: int
    port: int = 0
    metrics_port: int = 0
    asked_to_stop: bool = False

    @property
    def address(self) -> str:
        """What to open a channel to."""
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.log_file.read_bytes()[self.log_start :].decode("utf-8", "replace")

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        lines = (line for line in self.log().splitlines() if line.startswith("{") and line.endswith("}"))
        return [each for each in map(json.loads, lines) if each.get("event") == event]

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once: a second one would end it at once, with nothing drained or flushed."""
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.popen.terminate()

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Ask it to stop with SIGTERM, unless it was, and wait.

        Returns:
            The exit code.

        Raises:
            subprocess.TimeoutExpired: If it does not end in time.
        """
        self.ask_to_stop()
        return self.popen.wait(timeout_s)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.popen.kill()
        self.popen.wait()


def start_service(
    name: str, env: Mapping[str, str] | None = None, *, directory: Path, python: str = sys.executable
) -> ServiceProcess:
    """Start a service and wait until it says SERVING; the caller ends it. Tests prefer `running_service`.

    Args:
        name: Which service.
        env: Its configuration; by default its store lies in the directory and its ports are free ones.
        directory: Its working directory; holds its log.
        python: The interpreter to run it with.

    Raises:
        RuntimeError: If it ends or is not SERVING in time; the message holds its log.
    """
    service = launch_service(name, env, directory=directory, python=python)
    try:
        wait_until_listening(service)
        wait_until_serving(service)
    except BaseException:
        service.kill()
        raise
    return service


def launch_service(
    name: str, env: Mapping[str, str] | None = None, *, directory: Path, python: str = sys.executable
) -> ServiceProcess:
    """Start a service without waiting for anything; arguments as of `start_service`."""
    directory.mkdir(parents=True, exist_ok=True)
    log_file = directory / f"{name}.log"
    own = {each: os.environ[each] for each in _INHERITED if each in os.environ}
    own |= {"PORT": "0", "METRICS_PORT": "0", "STORE_URL": f"sqlite:///{directory / name}.db"}
    with log_file.open("ab") as log:
        log_start = log.tell()
        popen = subprocess.Popen(
            [python, "-m", MODULES[name]],
            cwd=directory,
            env=own | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return ServiceProcess(name, popen, log_file, log_start)


def wait_until_listening(service: ServiceProcess, timeout_s: float = _START_TIMEOUT_S) -> None:
    """Wait for the log line `serving` and take the ports from it."""
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at and service.popen.poll() is None:
        serving = service.events("serving")
        if serving:
            service.port, service.metrics_port = serving[0]["port"], serving[0]["metrics_port"]
            return
        time.sleep(_POLL_S)
    raise _failed(service, "did not log `serving`")


def wait_until_serving(service: ServiceProcess, timeout_s: float = _START_TIMEOUT_S) -> None:
    """Wait until grpc.health.v1 says SERVING for the whole server."""
    ends_at = time.monotonic() + timeout_s
    with grpc.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < ends_at and service.popen.poll() is None:
            if health_of(stub) == "SERVING":
                return
            time.sleep(_POLL_S)
    raise _failed(service, "did not become SERVING")


def health_of(stub: Any, service: str = "") -> str:
    """Return what health says: the status's name, or the status code's name of a call that failed."""
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    except grpc.RpcError as error:
        return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@contextmanager
def running_service(
    name: str, env: Mapping[str, str] | None = None, *, directory: Path, python: str = sys.executable
) -> Iterator[ServiceProcess]:
    """Run a service for as long as the context lasts; arguments as of `start_service`.

    It may be stopped or killed inside the context; whatever still runs at the end is stopped, then killed.
    """
    service = start_service(name, env, directory=directory, python=python)
    try:
        yield service
    finally:
        end_service(service)


def end_service(service: ServiceProcess) -> None:
    """Stop a service, or kill it when it will not stop, and write the tail of its log to stderr."""
    try:
        service.stop()
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"{service.name} did not stop and is killed\n")
        service.kill()
    finally:
        tail = "\n".join(service.log().splitlines()[-_TAIL_LINES:])
        sys.stderr.write(f"--- log of {service.name}, exit code {service.popen.returncode}\n{tail}\n")


def _failed(service: ServiceProcess, what: str) -> RuntimeError:
    code = service.popen.poll()
    how = "is still running" if code is None else f"ended with exit code {code}"
    return RuntimeError(f"{service.name} {what} and {how}; its log:\n{service.log()}")
