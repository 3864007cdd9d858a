"""One result per request of a batch: its answer, or the error in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from service_common.errors import ServiceError, resource_exhausted
from service_common.rpc.status import to_status

from content_cache.answers import wire

ResponseT = TypeVar("ResponseT")


def answer_each(
    requests: Iterable[Any], response: ResponseT, answer: Callable[[str, Any, Any], None]
) -> ResponseT:
    """Add one result per request: what `answer` puts there, or the error it raises."""
    results: Any = response.results  # type: ignore[attr-defined]  # every batch response has them
    for field, each in numbered(requests):
        result = results.add()
        try:
            answer(field, each, result)
        except ServiceError as error:
            result.error.CopyFrom(to_status(error))
    return response


def numbered(requests: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    """Yield requests with the beginning of their fields' names."""
    return ((f"requests[{index}].", each) for index, each in enumerate(requests))


def fitting(encoded: bytes, results: wire.BatchResults) -> bytes:
    """Return an entry as it is sent.

    Raises:
        ServiceError: RESPONSE_TOO_LARGE if they do not fit into the response any more.
    """
    if not results.has_room(encoded):
        raise no_room()
    return encoded


def no_room() -> ServiceError:
    """Make the error of an entry that does not fit into a response."""
    return resource_exhausted(
        "RESPONSE_TOO_LARGE", "the entry does not fit into this response any more; ask for fewer at once"
    )
