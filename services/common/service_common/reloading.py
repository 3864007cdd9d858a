"""A value parsed from a file, and again when the file changes; a bad new file leaves the old in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from service_common.clock import Clock

T = TypeVar("T")
_CHECK_EVERY_S = 1.0
_log = structlog.get_logger("service_common.reloading")


class ReloadingFile(Generic[T]):
    """The current meaning of a file.

    The file is looked at when the value is asked for, at most once a second, and read only when its
    identity, size or time of change differ (an atomically swapped symlink, as Kubernetes does it, counts).
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], *, clock: Clock) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._fingerprint = self._look()
        self._value = parse(path.read_bytes())
        self._checked_at = clock.monotonic()

    def get(self) -> T:
        """Return the value of the newest content that could be parsed."""
        now = self._clock.monotonic()
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = now
            self._reload()
        return self._value

    def _look(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _reload(self) -> None:
        try:
            fingerprint = self._look()
            if fingerprint == self._fingerprint:
                return
            self._fingerprint = fingerprint
            self._value = self._parse(self._path.read_bytes())
        except (OSError, ValueError) as error:
            _log.error("reload_failed", path=str(self._path), error=str(error), kept="previous content")
        else:
            _log.info("reloaded", path=str(self._path))
