"""How many calls are served at once; what is beyond is refused at once with a time to come back."""

from __future__ import annotations

from datetime import timedelta

from service_common.errors import ServiceError, resource_exhausted


class Admission:
    """A count with a ceiling, minded by whoever lets calls in: every call passes here.

    Attributes:
        active: Calls inside.
        limit: The most.
    """

    __slots__ = ("_what", "active", "limit")

    def __init__(self, limit: int, what: str) -> None:
        self.limit = limit
        self._what = what
        self.active = 0

    def refusal(self) -> ServiceError:
        """Make what a caller gets for whom there is no place."""
        return resource_exhausted(
            "TOO_MANY_CALLS",
            f"the server is serving its limit of {self.limit} {self._what}",
            retry_after=timedelta(milliseconds=200),
        )
