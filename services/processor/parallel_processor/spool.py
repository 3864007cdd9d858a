"""Text on its way from a model that writes to someone who reads at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

_FRAME_CHARACTERS = 8_192


@dataclass(frozen=True, slots=True)
class Text:
    """A frame of text.

    Attributes:
        text: The text.
        anew: Whether the text begins with it, and all before it is void.
    """

    text: str
    anew: bool = False


class Spool:
    """Holds what was written and not taken yet.

    What was taken since the last frame that begins anew is always the beginning of what the present writer
    has written. The writer is never held up: a model call occupies a slot, and a slow reader must not.

    Its mutable state: what the present writer has written, taken and not, and whether what was taken is void.
    """

    def __init__(self) -> None:
        self._taken: list[str] = []
        self._left: list[str] = []
        self._void = False
        self._closed = False
        self._news = asyncio.Event()

    def begin(self) -> Callable[[str], None]:
        """Let a writer begin; what the one before it has written is void. Returns what hears its text."""
        self._left.clear()
        self._void = bool(self._taken)
        return self._hear

    def close(self) -> None:
        """Let `texts` end once everything is taken."""
        self._closed = True
        self._news.set()

    async def texts(self) -> AsyncIterator[Text]:
        """Yield what is written as it comes, until it is closed."""
        while True:
            while frame := self._take():
                yield frame
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def rest(self, content: str) -> Iterator[Text]:
        """Yield what the reader lacks of the content that came of it all."""
        taken = "".join(self._taken)
        if self._void or not content.startswith(taken):
            self._void = bool(taken)
            self._left = [content]
        else:
            self._left = [content[len(taken) :]]
        while frame := self._take():
            yield frame

    def _hear(self, text: str) -> None:
        self._left.append(text)
        self._news.set()

    def _take(self) -> Text | None:
        """Take a frame of bounded size, if there is any text."""
        text = "".join(self._left)
        part, left = text[:_FRAME_CHARACTERS], text[_FRAME_CHARACTERS:]
        self._left = [left] if left else []
        if not part:
            return None
        anew, self._void = self._void, False
        if anew:
            self._taken.clear()
        self._taken.append(part)
        return Text(part, anew=anew)
