"""What a handler is: a function from one text to another, a coroutine or a blocking one, with a name."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Subject:
    """What a handler may know about the text it gets.

    Attributes:
        content_type: For example `faq`.
        model: The model that wrote it.
        template_id: Empty for a raw prompt.
        template_version: 0 for a raw prompt.
    """

    content_type: str
    model: str
    template_id: str
    template_version: int


class CoroutineFunction(Protocol):
    """A handler that runs on the event loop and must not block it."""

    def __call__(self, text: str, subject: Subject, /) -> Awaitable[str]:
        """Return the text that takes the given one's place; whatever is raised fails the item."""
        ...


class BlockingFunction(Protocol):
    """A handler that runs in a thread of its own and may block it; several may run at a time."""

    def __call__(self, text: str, subject: Subject, /) -> str:
        """Return the text that takes the given one's place; whatever is raised fails the item."""
        ...


class RefusedOutputError(Exception):
    """Raised by a handler that will not take a text; its words are shown to whoever asked for it."""


@dataclass(frozen=True, slots=True)
class Coroutine:
    """A registered coroutine.

    Attributes:
        name: Its name.
        function: What it does.
        timeout_s: The longest it may take.
    """

    name: str
    function: CoroutineFunction
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Blocking:
    """A registered blocking function.

    Attributes:
        name: Its name.
        function: What it does.
        timeout_s: The longest it may take.
        light_up_to: Texts of up to so many characters are handled on the event loop, where the work is less
            than going to a thread and back. 0 for work of unknown weight.
    """

    name: str
    function: BlockingFunction
    timeout_s: float
    light_up_to: int = 0
