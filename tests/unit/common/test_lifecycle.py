"""A service's life: order of closing, bounds, and a real process from NOT_SERVING to its exit."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from service_common.lifecycle import Lifecycle

PROGRAM = textwrap.dedent("""
    import asyncio, sys
    from service_common.config import CommonSettings
    from service_common.process import run_service
    from service_common.rpc.server import RpcServer

    def say(word):
        print(word, flush=True)

    async def drain():
        say("drain")
        if MODE == "stuck":
            await asyncio.sleep(600)
        await asyncio.to_thread(sys.stdin.readline)

    async def serve(settings, lifecycle):
        lifecycle.push("store", lambda: say("store closed"))
        lifecycle.on_drain("leases", drain, timeout_s=30)
        server = RpcServer(settings, lifecycle)
        await server.start()
        if MODE == "broken":
            raise RuntimeError("cannot start")
        if MODE == "slow":
            await asyncio.sleep(600)
        await asyncio.to_thread(sys.stdin.readline)
        await server.ready()
        say("ready")

    MODE = sys.argv.pop()
    sys.exit(run_service(CommonSettings, serve, name="probe", distribution="contentfactory-service-common"))
""")


@contextmanager
def process(tmp_path: Path, mode: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run the program."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, str(path), mode], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def read_serving(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the machine-readable line."""
    assert child.stderr is not None
    for line in child.stderr:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "serving":
            return event
    raise AssertionError("the process ended before it served")


def tell(child: subprocess.Popen[str]) -> None:
    """Let the program go on."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[str]) -> str:
    """Return what the program says next."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_health_over_a_processs_life(tmp_path: Path) -> None:
    """NOT_SERVING until ready, SERVING, NOT_SERVING while draining; stores close after; exit 0."""
    with process(tmp_path, "plain") as child:
        port = read_serving(child)["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def status() -> int:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
                return int(answer.status)

            assert status() == health_pb2.HealthCheckResponse.NOT_SERVING
            tell(child)
            assert hear(child) == "ready"
            assert status() == health_pb2.HealthCheckResponse.SERVING
            child.send_signal(signal.SIGTERM)
            assert hear(child) == "drain"
            assert status() == health_pb2.HealthCheckResponse.NOT_SERVING
        tell(child)
        assert hear(child) == "store closed"
        assert child.wait(10) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A drain that hangs is cut short by the next signal."""
    with process(tmp_path, "stuck") as child:
        read_serving(child)
        tell(child)
        assert hear(child) == "ready"
        child.send_signal(signal.SIGTERM)
        assert hear(child) == "drain"
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 128 + signal.SIGTERM


def test_a_signal_during_start_closes_what_was_opened(tmp_path: Path) -> None:
    """A start interrupted by a signal drains and closes like any other."""
    with process(tmp_path, "slow") as child:
        read_serving(child)
        child.send_signal(signal.SIGINT)
        assert hear(child) == "drain"
        tell(child)
        assert hear(child) == "store closed"
        assert child.wait(10) == 0


def test_a_failing_start_closes_and_says_so(tmp_path: Path) -> None:
    """What was opened is closed, the exit code is 1."""
    with process(tmp_path, "broken") as child:
        tell(child)
        assert hear(child) == "drain"
        assert hear(child) == "store closed"
        assert child.wait(10) == 1


def test_configuration_errors_exit_2(tmp_path: Path) -> None:
    """Every bad variable is on stderr, nothing else happens."""
    with process(tmp_path, "plain", PORT="x", HOST="0.0.0.0") as child:
        _, errors = child.communicate()
        assert child.returncode == 2
        assert all(word in errors for word in ("PORT", "TLS_CERT_FILE", "AUTH_TOKENS_FILE"))


def test_a_taken_port_is_a_configuration_error(tmp_path: Path) -> None:
    """The second process on a port says so and exits 2."""
    with process(tmp_path, "plain") as first:
        port = read_serving(first)["port"]
        with process(tmp_path, "plain", PORT=str(port)) as second:
            tell(second)
            tell(second)
            _, errors = second.communicate()
            assert second.returncode == 2
            assert "PORT" in errors


async def test_closers_run_last_in_first_out_whatever_fails() -> None:
    """Announce, then drain hooks, then closers in reverse; a failing or hanging one stops nobody."""
    said: list[str] = []
    lifecycle = Lifecycle()

    async def hang() -> None:
        said.append("hang")
        await asyncio.sleep(600)

    def fail() -> None:
        said.append("fail")
        raise RuntimeError("broken closer")

    lifecycle.push("first", lambda: said.append("first"))
    lifecycle.push("hang", hang, timeout_s=0.01)
    lifecycle.push("fail", fail)
    lifecycle.on_drain("drain", lambda: said.append("drain"))
    lifecycle.on_announce("announce", lambda: said.append("announce"))
    await lifecycle.close()
    await lifecycle.close()
    assert said == ["announce", "drain", "fail", "hang", "first"]


async def test_failing_background_work_stops_the_service() -> None:
    """A loop that dies is not a service that pretends to live."""
    lifecycle = Lifecycle()

    async def work() -> None:
        raise RuntimeError("died")

    lifecycle.spawn("loop", work())
    assert await asyncio.wait_for(lifecycle.stopped(), 5) == 1
    await lifecycle.close()


async def test_background_work_is_cancelled_in_its_turn() -> None:
    """Closing cancels the work and waits for its clean-up before what it stands on closes."""
    said: list[str] = []
    lifecycle = Lifecycle()
    lifecycle.push("store", lambda: said.append("store"))
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            said.append("work")

    lifecycle.spawn("loop", work())
    await begun.wait()
    await lifecycle.close()
    assert said == ["work", "store"]


@pytest.mark.parametrize("argument", ["--help", "--version", "--check-config"])
def test_the_arguments_of_every_service(argument: str) -> None:
    """Each answers and exits 0; help lists the variables."""
    source = PROGRAM.replace("MODE = sys.argv.pop()", "MODE = ''")
    done = subprocess.run(
        [sys.executable, "-c", source, argument],
        capture_output=True,
        text=True,
        env={},
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    assert argument != "--help" or "METRICS_PORT=0" in done.stdout
