"""A handle on a mock model endpoint in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class MockProcess:
    """A running mock endpoint.

    Attributes:
        pid: Its process.
        port: Its port on loopback.
    """

    pid: int
    port: int

    @property
    def url(self) -> str:
        """What to configure as the model endpoint's URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> dict[str, Any]:
        """Return what it counted since its start."""
        counts: dict[str, Any] = self._exchange("/__counts", None)
        return counts

    def requests(self) -> list[dict[str, Any]]:
        """Return the latest requests; needs `keep`."""
        requests: list[dict[str, Any]] = self._exchange("/__requests", None)
        return requests

    def script(self, *rules: Mapping[str, Any]) -> None:
        """Replace its rules; call numbers go on counting."""
        self._exchange("/__rules", orjson.dumps(rules))

    def bear(self, *plans: Mapping[str, Any]) -> None:
        """Replace what it can bear, by plans of `mock_capacity`; their steps begin to count now."""
        self._exchange("/__capacity", orjson.dumps(plans))

    def _exchange(self, path: str, body: bytes | None) -> Any:
        with urlopen(
            Request(f"http://127.0.0.1:{self.port}{path}", data=body), timeout=_TIMEOUT_S
        ) as response:
            return orjson.loads(response.read())


@contextmanager
def mock_endpoint(
    *,
    rules: Iterable[Mapping[str, Any]] = (),
    latency_ms: float = 0.0,
    latency_sigma: float = 0.0,
    token_ms: float = 0.0,
    capacity: Iterable[Mapping[str, Any]] = (),
    text_characters: int = 400,
    text_sigma: float = 0.0,
    log: Path | None = None,
    keep: int = 0,
    port: int = 0,
) -> Iterator[MockProcess]:
    """Run a mock endpoint for as long as the context lasts; the arguments are those of its command line."""
    command = [sys.executable, "-m", "tests.support.mock_endpoint", "--port", str(port)]
    command += ["--rules", orjson.dumps(list(rules)).decode(), "--keep", str(keep)]
    command += ["--latency-ms", str(latency_ms), "--latency-sigma", str(latency_sigma)]
    command += ["--token-ms", str(token_ms), "--capacity", orjson.dumps(list(capacity)).decode()]
    command += ["--text-characters", str(text_characters), "--text-sigma", str(text_sigma)]
    if log is not None:
        command += ["--log", str(log)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield MockProcess(process.pid, orjson.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
            process.wait(_TIMEOUT_S)
