"""Each service alone: installed as its image installs it, started, and healthy over its whole life.

Needs the package index (or pip's cache), so plain `pytest` does not collect it: its name is no `test_*.py`.
`make test-isolated` runs it, with SERVICE=cache for one service alone.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.processes import MODULES, launch_service, wait_until_serving

ROOT = Path(__file__).parents[2]
CONTRACTS = {name: f"contentfactory.{name}.v1.{name.capitalize()}Service" for name in MODULES}
TOOLS = ("pytest", "mypy", "ruff", "grpc_tools", "hypothesis", "openai", "hatchling", "factory_cli", "typer")
SELECTED = [os.environ["SERVICE"]] if os.environ.get("SERVICE") else list(MODULES)

_INVENTORY = """
import importlib.metadata, importlib.util, json, re, sys
names = sorted(re.sub(r"[-_.]+", "-", each.name).lower() for each in importlib.metadata.distributions())
print(json.dumps([names, [name for name in sys.argv[1:] if importlib.util.find_spec(name)]]))
"""


def run(*command: str | Path) -> str:
    """Run a command from the repository's root and return what it prints."""
    done = subprocess.run(
        [*map(str, command)], check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def part_of_lock(*arguments: str) -> str:
    """Return a part of the lock, as the images take it."""
    return run(sys.executable, "tools/service_lock.py", *arguments)


@pytest.fixture(params=SELECTED)
def service(request: pytest.FixtureRequest) -> str:
    """Name one service after the other."""
    assert request.param in MODULES, f"SERVICE must be one of {', '.join(MODULES)}"
    return str(request.param)


@pytest.fixture
def python(service: str, tmp_path: Path) -> Path:
    """Install the service into its own environment by the steps of its Dockerfile; return its python."""
    local = ["protos", "services/common", f"services/{service}"]
    lock = tmp_path / "run.lock"
    lock.write_text(part_of_lock(*local))
    environment = tmp_path / "service"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    own = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q"]
    run(
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        tmp_path,
        *(f"./{each}" for each in local),
    )
    run(*pip, "--python", own, "install", "--no-deps", "--require-hashes", "-r", lock)
    run(*pip, "--python", own, "install", "--no-deps", "--no-index", *sorted(tmp_path.glob("*.whl")))
    run(*pip, "--python", own, "check")
    return own


class Watcher:
    """Follows a server's health from before it listens until it is gone."""

    def __init__(self, address: str, service: str) -> None:
        self.statuses: list[str] = []
        options = [("grpc.initial_reconnect_backoff_ms", 10), ("grpc.max_reconnect_backoff_ms", 10)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._service = service
        self.draining = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        request = health_pb2.HealthCheckRequest(service=self._service)
        name = health_pb2.HealthCheckResponse.ServingStatus.Name
        try:
            for each in health_pb2_grpc.HealthStub(self._channel).Watch(request, wait_for_ready=True):
                self.statuses.append(str(name(each.status)))
                if self.statuses[-2:] == ["SERVING", "NOT_SERVING"]:
                    self.draining.set()
        except grpc.RpcError as error:
            self.statuses.append(str(error.code().name))

    def finish(self) -> list[str]:
        """Wait until the server is gone and return everything it said."""
        self._thread.join(timeout=30)
        self._channel.close()
        return self.statuses


def free_port() -> int:
    """Return a port that is free now; the watcher must know it before the service does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.timeout(300)
def test_a_service_lives_with_its_own_dependencies_alone(service: str, python: Path, tmp_path: Path) -> None:
    """Nothing but its part of the lock is there; health: NOT_SERVING, SERVING, NOT_SERVING, gone; exit 0."""
    expect_own_dependencies_alone(service, python, tmp_path)
    port = free_port()
    watcher = Watcher(f"127.0.0.1:{port}", CONTRACTS[service])
    environ = {"PORT": str(port), "DRAIN_GRACE_S": "2"}
    process = launch_service(service, environ, directory=tmp_path / "state", python=str(python))
    try:
        process.port = port
        wait_until_serving(process)
        process.popen.terminate()
        assert watcher.draining.wait(10), process.log()
        assert process.popen.wait(30) == 0, process.log()
    finally:
        process.kill()
    *before, serving, draining, gone = watcher.finish()
    assert (serving, draining) == ("SERVING", "NOT_SERVING")
    assert set(before) <= {"NOT_SERVING", "SERVICE_UNKNOWN"}, "it was SERVING before it was ready"
    assert gone in ("UNAVAILABLE", "CANCELLED")


def expect_own_dependencies_alone(service: str, python: Path, tmp_path: Path) -> None:
    """Compare what is installed with the service's part of the lock, and look for what must not be there."""
    others = [module for name, module in MODULES.items() if name != service]
    installed, found = json.loads(run(python, "-c", _INVENTORY, *others, *TOOLS, MODULES[service]))
    pinned = [
        line.partition("==")[0].lower()
        for line in (tmp_path / "run.lock").read_text().splitlines()
        if "==" in line
    ]
    local = ["contentfactory-protos", "contentfactory-service-common", f"contentfactory-{service}"]
    expected: list[Any] = sorted([*pinned, *local])
    assert installed == expected
    assert found == [MODULES[service]]
