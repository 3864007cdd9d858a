"""How much work one rendering may do: counted in steps, not seconds, so the answer is the same anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service_common.errors import ErrorKind, ServiceError

MAX_OUTPUT_CHARS = 2 * 1024 * 1024
MAX_COST = 1_000_000
_CHARS_PER_STEP = 64


def limit_error(text: str) -> ServiceError:
    """Make the error of a template or its values that ask for too much."""
    return ServiceError(ErrorKind.INVALID_ARGUMENT, "TEMPLATE_LIMIT", text)


class Budget:
    """What is left of one rendering's work."""

    __slots__ = ("_left",)

    def __init__(self, steps: int = MAX_COST) -> None:
        self._left = steps

    def charge(self, steps: int) -> None:
        """Take steps.

        Raises:
            ServiceError: INVALID_ARGUMENT when they are used up.
        """
        self._left -= steps
        if self._left < 0:
            raise limit_error(f"rendering takes more than {MAX_COST} steps")

    def charge_for(self, *values: object) -> None:
        """Take what looking at the values costs."""
        self.charge(1 + sum(map(size_of, values)) // _CHARS_PER_STEP)

    def loop(self, items: Iterable[Any], weight: int) -> Iterator[Any]:
        """Yield the items, each charged with the weight of the loop's body."""
        for item in items:
            self.charge(1 + weight)
            yield item


def size_of(value: object) -> int:
    """Return the characters in a value, those of its parts included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(key) + size_of(each) for key, each in value.items()) + 1
    if isinstance(value, Sequence):
        return sum(map(size_of, value)) + len(value)
    return 8


def checked_size(characters: int) -> None:
    """Refuse to make a text longer than any output may be.

    Raises:
        ServiceError: INVALID_ARGUMENT.
    """
    if characters > MAX_OUTPUT_CHARS:
        raise limit_error(f"the text would be longer than {MAX_OUTPUT_CHARS} characters")
