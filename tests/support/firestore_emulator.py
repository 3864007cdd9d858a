"""The real Firestore emulator as a process: found, started on a free port, and gone when the context ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from tests.support.ports import port_block
from tests.support.real_parts import missing

_IN_SDK = Path("platform/cloud-firestore-emulator/cloud_firestore_emulator")
_SDKS = (Path("/usr/lib/google-cloud-sdk"), Path("/usr/share/google-cloud-sdk"))
_START_TIMEOUT_S = 60.0
_EXPORT = "export"
_POLL_S = 0.05


class EmulatorMissing(Exception):  # noqa: N818 - says what is
    """There is no emulator on this machine; the message says what to install."""


@dataclass(slots=True)
class Emulator:
    """A running emulator. It keeps everything in memory.

    Attributes:
        host: What FIRESTORE_EMULATOR_HOST should be.
        process: The process, which leads a group; None for one that somebody else started.
    """

    host: str
    process: subprocess.Popen[bytes] | None

    def export(self, project: str, directory: Path) -> Path:
        """Write a project's database into a folder, and return the file that names it all.

        Args:
            project: Whose database `(default)` is written.
            directory: An existing folder.
        """
        body = {
            "database": f"projects/{project}/databases/(default)",
            "export_directory": str(directory),
            "export_name": _EXPORT,
        }
        url = f"http://{self.host}/emulator/v1/projects/{project}:export"
        request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=_START_TIMEOUT_S):
            return directory / _EXPORT / f"{_EXPORT}.overall_export_metadata"

    def kill(self) -> None:
        """End it at once, with all it holds."""
        self._signal(signal.SIGKILL)
        self._own().wait()

    def start_again(self, exported: Path) -> None:
        """Start it on its port, once it is dead, with what was exported.

        The contents are as before, in every project; the versions (`update_time`) of documents are all new,
        which a real database would never do.
        """
        self.process = _start(int(self.host.rpartition(":")[2]), f"--seed_from_export={exported}")

    def stall(self) -> None:
        """Freeze it: connections stay, answers do not come."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._own().pid, number)

    def _own(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("only an emulator started here can be stopped")
        return self.process


@contextmanager
def firestore_emulator() -> Iterator[Emulator]:
    """Yield the emulator at FIRESTORE_EMULATOR_HOST, else one of our own.

    Raises:
        EmulatorMissing: If there is none to start.
    """
    given = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if given:
        yield Emulator(given, None)
        return
    with own_emulator() as emulator:
        yield emulator


@contextmanager
def or_skipped(emulator: AbstractContextManager[Emulator]) -> Iterator[Emulator]:
    """Yield an emulator; without one skip the test, or fail it where nothing may be missing."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(emulator)
        except EmulatorMissing as error:
            missing(f"no Firestore emulator: {error}")
        yield running


@contextmanager
def own_emulator() -> Iterator[Emulator]:
    """Yield an emulator that nobody else uses.

    Raises:
        EmulatorMissing: If there is none to start.
    """
    with port_block(1) as port:
        emulator = Emulator(f"127.0.0.1:{port}", _start(port))
        try:
            yield emulator
        finally:
            if emulator.process is not None and emulator.process.poll() is None:
                emulator.kill()


def _start(port: int, *options: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [_program(), "start", "--host=127.0.0.1", f"--port={port}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_open(process, port)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process


def _program() -> str:
    if shutil.which("java") is None:
        raise EmulatorMissing("the Firestore emulator needs Java 17 on PATH")
    given = os.environ.get("CLOUDSDK_ROOT")
    candidates = [root / _IN_SDK for root in ([Path(given)] if given else []) + list(_SDKS)]
    found = next((str(each) for each in candidates if each.exists()), None)
    found = found or shutil.which("cloud_firestore_emulator")
    if found is None:
        raise EmulatorMissing("none found; install cloud-firestore-emulator of the Google Cloud SDK")
    return found


def _wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the Firestore emulator ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)
    raise RuntimeError("the Firestore emulator did not start in time")
