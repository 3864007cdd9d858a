"""Keeps answers within one message: what does not fit waits for a smaller batch or the next page."""

from __future__ import annotations

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from service_common.errors import resource_exhausted
from service_common.rpc.status import to_status

_RESERVED_BYTES = 16 * 1024
_FRAME_BYTES = 8

Result = pb.BatchOptimizeResponse.Result


class BatchBudget:
    """The bytes left in one response."""

    __slots__ = ("_left",)

    def __init__(self, max_message_bytes: int) -> None:
        self._left = max_message_bytes - _RESERVED_BYTES

    def take(self, size: int) -> bool:
        """Take the bytes of one part; False, and nothing taken, if they are not there."""
        if size + _FRAME_BYTES > self._left:
            return False
        self._left -= size + _FRAME_BYTES
        return True

    def fit(self, result: Result) -> None:
        """Leave a result of the response as it is, or make it the error that the response is full."""
        if self.take(result.ByteSize()):
            return
        full = resource_exhausted(
            "RESPONSE_TOO_LARGE", "the response is full; ask for this piece in a smaller batch"
        )
        result.error.CopyFrom(to_status(full))
