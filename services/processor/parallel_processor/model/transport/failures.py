"""How an exchange fails before there is a whole answer."""

from __future__ import annotations


class ExchangeError(Exception):
    """An exchange without a whole answer.

    Attributes:
        sent: Whether the request was handed to a connection, so that it may have been worked on.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class UnreachableError(ExchangeError):
    """There is no connection, so nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(why, sent=False)


class BrokenError(ExchangeError):
    """The connection broke, or what came over it is no HTTP."""

    def __init__(self, why: str) -> None:
        super().__init__(why, sent=True)


class TooLargeError(ExchangeError):
    """The answer is larger than its reader takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it is larger than {limit} bytes", sent=True)
        self.limit = limit
