"""Ports in a row for programs that count up from a base port, kept apart between tests that run at once."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FIRST, _LAST = 20_000, 32_000
"""Below the range from which the system takes ports for outgoing connections."""


@contextmanager
def port_block(count: int) -> Iterator[int]:
    """Yield the first of `count` ports in a row that are free, and that no other test takes meanwhile.

    Raises:
        RuntimeError: If there is none.
    """
    for base in range(_FIRST, _LAST, count):
        with (Path(tempfile.gettempdir()) / f"contentfactory-ports-{base}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if all(map(_is_free, range(base, base + count))):
                yield base
                return
    raise RuntimeError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
