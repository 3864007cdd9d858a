"""How many calls are served at once; what is beyond is refused at once with a time to come back."""

from __future__ import annotations

from datetime import timedelta

from service_common.errors import ServiceError, resource_exhausted


class Admission:
    """A count with a ceiling.

    Attributes:
        active: Calls inside.
    """

    __slots__ = ("_limit", "_what", "active")

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self.active = 0

    def enter(self) -> None:
        """Take a place; each success is paired with one `leave`.

        Raises:
            ServiceError: RESOURCE_EXHAUSTED when there is none.
        """
        if self.active >= self._limit:
            raise self._refusal()
        self.active += 1

    def leave(self) -> None:
        """Give the place back."""
        self.active -= 1

    def _refusal(self) -> ServiceError:
        return resource_exhausted(
            "TOO_MANY_CALLS",
            f"the server is serving its limit of {self._limit} {self._what}",
            retry_after=timedelta(milliseconds=200),
        )
