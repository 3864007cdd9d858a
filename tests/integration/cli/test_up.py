"""`factory up`, `down`, `run` and `doctor` with real processes: fake services, the real embedded model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from factory_cli.model.files import find

from tests.integration.cli.conftest import Run, spawn
from tests.integration.cli.fake_service import install
from tests.support.ports import port_block
from tests.support.real_parts import demanded

NAMES = ["cache", "model", "optimizer", "processor", "tracker"]

pytestmark = [
    pytest.mark.skipif(
        not find().complete and not demanded(),
        reason="the embedded model's wheels do not exist for this platform",
    ),
    pytest.mark.xdist_group("factory_up"),
]


@pytest.fixture
def base_port(tmp_path: Path, environ: dict[str, str]) -> Iterator[int]:
    """Put fake services first on the path and move every port; yields the first port."""
    environ["PYTHONPATH"] = install(tmp_path / "packages")
    with port_block(9) as port:
        environ["FACTORY_BASE_PORT"] = str(port)
        yield port


def _records(tmp_path: Path) -> dict[str, int]:
    rows = json.loads((tmp_path / "data" / "processes.json").read_text())
    return {row["name"]: row["pid"] for row in rows}


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return False


async def test_up_in_the_background_and_down(factory: Run, base_port: int, tmp_path: Path) -> None:
    """Detached, all serve when the command returns; a second one starts nothing; down leaves nothing."""
    up = await factory("up", "--detach")
    assert up.code == 0, up.err
    pids = _records(tmp_path)
    assert sorted(pids) == sorted([*NAMES, "supervisor"])
    again = await factory("up")
    assert "nothing to start" in again.err
    doctor = await factory("doctor", "--json")
    assert doctor.code == 0, doctor.out
    levels = {each["subject"]: each["level"] for each in doctor.json["findings"]}
    assert levels["model endpoint"] == levels["cache"] == levels["processor configuration"] == "ok"
    texts = {each["subject"]: each["text"] for each in doctor.json["findings"]}
    assert texts["calls to wide"] == "3 of 8 under way, 0 wait; growing since the start"
    assert (levels["calls to wide"], levels["calls to paused"]) == ("ok", "note")
    assert texts["calls to paused"] == "paused by 429s from http://m, 2 s ago"
    assert levels["processor to optimizer"] == "note", "the fake says that this breaker is open"
    down = await factory("down")
    assert down.err.startswith("stopped: ")
    assert not any(_runs(pid) for pid in pids.values())
    log = (tmp_path / "data" / "logs" / "up.log").read_text()
    stopped = [text.split()[0] for text in log.splitlines() if text.endswith(" stopped")]
    assert (stopped[0], stopped[-1]) == ("processor", "model")


async def test_what_dies_is_started_again(
    factory: Run, base_port: int, tmp_path: Path, environ: dict[str, str]
) -> None:
    """A killed service is reported and comes back under a new process; Ctrl-C then stops everything."""
    process = await spawn(("up",), tmp_path, environ)
    lines: list[str] = []

    async def read_until(said: str) -> None:
        assert process.stderr is not None
        while not (lines and said in lines[-1]):
            lines.append((await process.stderr.readline()).decode())
            assert lines[-1], lines

    async with asyncio.timeout(60):
        await read_until("ready; logs in")
        pids = _records(tmp_path)
        os.kill(pids["tracker"], signal.SIGKILL)
        await read_until("tracker serving")
        assert any("tracker restarting: killed by signal 9" in text for text in lines)
        assert _records(tmp_path)["tracker"] != pids["tracker"]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not (tmp_path / "data" / "processes.json").exists()


async def test_down_cleans_up_after_a_killed_supervisor(factory: Run, base_port: int, tmp_path: Path) -> None:
    """When the supervisor is killed outright, the model goes with it, and down still finds the services."""
    assert (await factory("up", "--detach")).code == 0
    pids = _records(tmp_path)
    os.kill(pids["supervisor"], signal.SIGKILL)
    down = await factory("down")
    assert "processor" in down.err
    async with asyncio.timeout(20):
        while any(_runs(pid) for pid in pids.values()):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


async def test_a_port_in_use_is_named_with_who_has_it(factory: Run, base_port: int, tmp_path: Path) -> None:
    """A foreign listener stops the start before anything runs; the message names port, holder and setting."""
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", base_port + 1))
        foreign.listen()
        ended = await factory("up")
    assert ended.code == 3
    assert f"port {base_port + 1} (optimizer) is in use by" in ended.err
    assert f"process {os.getpid()}" in ended.err
    assert "FACTORY_OPTIMIZER_PORT" in ended.err
    assert not (tmp_path / "data" / "processes.json").exists()


async def test_a_bad_configuration_stops_the_start_with_its_words(
    factory: Run, base_port: int, environ: dict[str, str], tmp_path: Path
) -> None:
    """A service that refuses its environment is not tried again: its message is shown, all others stop."""
    environ["LOG_LEVEL"] = "loud"
    ended = await factory("up")
    assert ended.code == 3
    assert "LOG_LEVEL" in ended.err
    assert "restarting" not in ended.err
    doctor = await factory("doctor", "--json")
    bad = {each["subject"]: each["text"] for each in doctor.json["findings"] if each["level"] == "bad"}
    assert "LOG_LEVEL" in bad["cache configuration"]


async def test_run_starts_works_and_leaves_nothing_behind(
    factory: Run, base_port: int, environ: dict[str, str], tmp_path: Path
) -> None:
    """One command from nothing to files: the services start, the job runs, everything stops."""
    ended = await factory("run", "-", "--json", stdin='{"topic": "Tides"}')
    assert ended.code == 0, ended.err
    assert ended.json["items"] == {
        "total": 8, "succeeded": 8, "failed": 0, "skipped": 0, "cancelled": 0, "cached": 0,
    }  # fmt: skip
    assert ended.json["files"] == len(list((tmp_path / "out" / "tides").glob("*.md"))) == 8
    assert not (tmp_path / "data" / "processes.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", base_port)) != 0
