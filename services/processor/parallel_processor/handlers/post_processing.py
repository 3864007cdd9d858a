"""The way of a finished output through its handlers, one after the other, each within its time.

What is cached is the output before its handlers: the key says nothing of them, so that every item that takes
an entry sends it through its own.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from service_common.clock import Clock

from parallel_processor.handlers.complexity import estimated_tokens
from parallel_processor.handlers.handler import Blocking, Coroutine, RefusedOutputError, Subject
from parallel_processor.handlers.registry import Registry
from parallel_processor.handlers.threads import Threads, ThreadsLostError
from parallel_processor.jobs.piece import Piece, PieceError
from parallel_processor.model.requests import ModelRequest

MAX_CONTENT_BYTES = 600_000
"""The largest result; it must fit one document."""

_MAX_WORDS = 500

_AHEAD = 8
"""How many pieces may be in post-processing for each thread before others wait to be generated."""


class PostProcessing:
    """Sends pieces through handlers. Its mutable state: how many are on their way.

    Attributes:
        under_way: Pieces in post-processing, waiting for a thread among them.
    """

    def __init__(
        self, registry: Registry, *, threads: int, clock: Clock, observe: Callable[[str, str, float], None]
    ) -> None:
        """Prepare to work.

        Args:
            registry: The handlers there are.
            threads: How many blocking handlers may run at a time.
            clock: Time.
            observe: Is told a handler's name, its kind and the seconds it took.
        """
        self._registry = registry
        self._threads = Threads(threads)
        self._limit = threads * _AHEAD
        self._clock = clock
        self._observe = observe
        self._room = asyncio.Event()
        self._room.set()
        self.under_way = 0

    @property
    def names(self) -> frozenset[str]:
        """The names of the handlers there are."""
        return self._registry.names

    def refusal(self, handlers: Sequence[str]) -> PieceError | None:
        """Say why a piece with these handlers can never be finished here, before anything is paid for it."""
        unknown = self._registry.unknown(handlers)
        if not unknown:
            return None
        return PieceError("HANDLER_UNKNOWN", f"this processor has no handler {unknown[0]!r}")

    def complexity(
        self, request: ModelRequest, handlers: Sequence[str], *, output_tokens: int | None = None
    ) -> int:
        """Estimate how much a piece takes, in tokens; see `estimated_tokens`."""
        return estimated_tokens(request, self._registry.found(handlers), output_tokens=output_tokens)

    async def room(self, handlers: Sequence[str]) -> None:
        """Wait until a piece with these handlers may be generated: not while others pile up for threads."""
        if any(_is_heavy(each) for each in self._registry.found(handlers)):
            await self._room.wait()

    async def process(self, piece: Piece, handlers: Sequence[str]) -> Piece | PieceError:
        """Return a piece with its final content, or why there is none."""
        subject = Subject(piece.content_type, piece.model, piece.template_id, piece.template_version)
        self._count(1)
        try:
            text = piece.content
            if refusal := self.refusal(handlers):
                return refusal
            for handler in self._registry.found(handlers):
                handled = await self._handled(handler, text, subject)
                if isinstance(handled, PieceError):
                    return handled
                text = handled
        finally:
            self._count(-1)
        return replace(piece, content=text)

    def _count(self, by: int) -> None:
        self.under_way += by
        if self.under_way < self._limit:
            self._room.set()
        else:
            self._room.clear()

    async def _handled(self, handler: Coroutine | Blocking, text: str, subject: Subject) -> str | PieceError:
        began = self._clock.monotonic()
        try:
            handled = await self._call(handler, text, subject)
        except TimeoutError:
            return _failed(handler, f"took longer than {handler.timeout_s:g} s")
        except ThreadsLostError:
            return _failed(handler, "found no thread: all are held by handlers that are out of time")
        except RefusedOutputError as error:
            return _failed(handler, f"refused the output: {_words_of(error)}")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return _failed(handler, "cancelled itself")
        except Exception as error:  # noqa: BLE001 - a stranger's code: it fails its item and nothing else
            return _failed(handler, f"raised {type(error).__name__}{_place_of(error)}")
        finally:
            kind = "blocking" if isinstance(handler, Blocking) else "coroutine"
            self._observe(handler.name, kind, self._clock.monotonic() - began)
        return handled if (problem := _problem(handled)) is None else _failed(handler, problem)

    async def _call(self, handler: Coroutine | Blocking, text: str, subject: Subject) -> str:
        if isinstance(handler, Coroutine):
            async with asyncio.timeout(handler.timeout_s):
                return await handler.function(text, subject)
        if len(text) <= handler.light_up_to:
            return handler.function(text, subject)
        return await self._threads.run(lambda: handler.function(text, subject), timeout_s=handler.timeout_s)


def _is_heavy(handler: Coroutine | Blocking) -> bool:
    return isinstance(handler, Blocking) and not handler.light_up_to


def _problem(text: object) -> str | None:
    """Say what is wrong with what a handler returned."""
    if not isinstance(text, str):
        return f"returned {type(text).__name__} instead of a text"
    if not text.strip():
        return "left nothing of the output"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "returned half a surrogate pair, which is no text"
    return f"made the output larger than {MAX_CONTENT_BYTES} bytes" if size > MAX_CONTENT_BYTES else None


def _words_of(error: RefusedOutputError) -> str:
    """Return a handler's words as they may be stored: not endless, and text."""
    return str(error)[:_MAX_WORDS].encode(errors="replace").decode()


def _place_of(error: Exception) -> str:
    """Say where an error was raised; its words may hold content, which is nobody else's."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _failed(handler: Coroutine | Blocking, how: str) -> PieceError:
    return PieceError("HANDLER_FAILED", f"handler {handler.name!r} {how}")
