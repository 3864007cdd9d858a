"""What the exit code of `factory` means; scripts rely on it."""

from __future__ import annotations

OK = 0
USAGE = 1
ITEMS_FAILED = 2
UNREACHABLE = 3
INTERRUPTED = 130

MEANING = (
    "Exit codes: 0 all succeeded, 1 wrong usage or configuration, 2 some items failed, "
    "3 something could not be reached or started, 130 interrupted."
)
