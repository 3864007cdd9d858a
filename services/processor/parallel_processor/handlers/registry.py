"""The handlers there are, by name: those built in, and those a deployment registers at the start."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from inspect import iscoroutinefunction

from parallel_processor.handlers.handler import Blocking, BlockingFunction, Coroutine, CoroutineFunction

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class HandlersError(Exception):
    """Handlers that cannot be registered, and why."""


class Registry:
    """Handlers by name. Filled at the start, then only read."""

    def __init__(self, *, timeout_s: float) -> None:
        """Begin empty.

        Args:
            timeout_s: The longest a handler may take that is registered without a time of its own.
        """
        self._timeout_s = timeout_s
        self._handlers: dict[str, Coroutine | Blocking] = {}

    def coroutine(self, name: str, function: CoroutineFunction, *, timeout_s: float | None = None) -> None:
        """Register a coroutine.

        Raises:
            HandlersError: If the name is taken or is none, or the function is not one of `async def`.
        """
        if not iscoroutinefunction(function):
            raise HandlersError(
                f"handler {name!r} is registered as a coroutine and is no `async def` function"
            )
        self._register(Coroutine(name, function, timeout_s or self._timeout_s))

    def blocking(
        self, name: str, function: BlockingFunction, *, timeout_s: float | None = None, light_up_to: int = 0
    ) -> None:
        """Register a blocking function.

        Args:
            name: Lower-case letters, digits and underscores, starting with a letter.
            function: What it does.
            timeout_s: The longest it may take; the thread of one that takes longer is lost until it returns.
            light_up_to: Texts of up to so many characters are handled on the event loop.

        Raises:
            HandlersError: If the name is taken or is none, or the function is a coroutine's.
        """
        if iscoroutinefunction(function):
            raise HandlersError(f"handler {name!r} is registered as blocking and is an `async def` function")
        self._register(Blocking(name, function, timeout_s or self._timeout_s, light_up_to))

    def _register(self, handler: Coroutine | Blocking) -> None:
        if not _NAME.fullmatch(handler.name):
            raise HandlersError(f"handler {handler.name!r}: a name is lower-case letters, digits and _")
        if handler.name in self._handlers:
            raise HandlersError(f"there is a handler {handler.name!r} already")
        self._handlers[handler.name] = handler

    def found(self, names: Iterable[str]) -> list[Coroutine | Blocking]:
        """Return the handlers of these names, in order; those there are."""
        return [self._handlers[name] for name in names if name in self._handlers]

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return the names under which there is no handler."""
        return [name for name in names if name not in self._handlers]

    @property
    def names(self) -> frozenset[str]:
        """The names of all handlers."""
        return frozenset(self._handlers)


def load(registry: Registry, places: str) -> None:
    """Let a deployment's own modules register their handlers.

    Args:
        registry: Given to each function.
        places: `package.module:function`, separated by commas.

    Raises:
        HandlersError: Naming the place at fault.
    """
    for place in filter(None, (each.strip() for each in places.split(","))):
        if not _PLACE.fullmatch(place):
            raise HandlersError(f"{place!r} is not package.module:function")
        module, _, function = place.partition(":")
        try:
            register = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise HandlersError(f"{place}: {error}") from error
        try:
            register(registry)
        except Exception as error:
            raise HandlersError(f"{place}: {error}") from error
