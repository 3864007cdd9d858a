"""The two outputs: what was asked for goes to stdout, everything said along the way to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console

_FILE_WIDTH = 120


def messages() -> Console:
    """Return the console for what is said along the way."""
    return Console(stderr=True, highlight=False)


def answers() -> Console:
    """Return the console for tables that were asked for."""
    # Where no terminal says how wide it is, tables are not squeezed to a guess.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def print_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Write one JSON value on one line to stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
