"""Keeps the garbage collector away from the entries: what survived a full collection is not looked at again.

A full collection follows every reference of every object it knows: at a million entries it stops the process
for a fifth of a second, and finds nothing, for entries are never part of a cycle. So whatever is alive after
a full collection is frozen (`gc.freeze`): still freed the moment nobody refers to it, but not traversed. The
next one then looks at what came since, some ten thousand objects. Cycles that were frozen alive and died
later are found by `thaw`, which takes the long way once.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

_FULL = 2


def keep_collections_short() -> None:
    """Freeze what is alive now, and from here on what each full collection leaves."""
    if _freeze_survivors not in gc.callbacks:
        gc.callbacks.append(_freeze_survivors)
    gc.collect()


def stop() -> None:
    """Let full collections look at everything again."""
    if _freeze_survivors in gc.callbacks:
        gc.callbacks.remove(_freeze_survivors)
    gc.unfreeze()


def thaw() -> int:
    """Find every cycle there is, once; return how many unreachable objects there were."""
    gc.unfreeze()
    return gc.collect()


def _freeze_survivors(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _FULL:
        gc.freeze()
