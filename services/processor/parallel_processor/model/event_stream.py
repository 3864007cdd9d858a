"""Server-sent events, as bytes come in: the data of each event once it is whole. Pure, and of bounded memory.

The format is that of the HTML standard's section "Server-sent events"; names, ids and retry times of events
are of no use here and are passed over, as are comments, which endpoints send to keep a connection alive.
"""

from __future__ import annotations

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = (b"\n", b"\r")


class EventTooLargeError(ValueError):
    """An event is larger than is read."""


class EventStream:
    """Cuts a stream into events; characters and lines may be split anywhere between two pieces of it.

    Its mutable state: the line that is not whole yet, and the data lines of the event that is not.
    """

    def __init__(self, *, most_bytes: int) -> None:
        """Begin a stream.

        Args:
            most_bytes: The largest event that is read.
        """
        self._most = most_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what came and return the data of the events that it makes whole.

        Raises:
            EventTooLargeError: If an event grows beyond the limit; the stream cannot be read on.
        """
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a line's end that was split
            self._after_return = False
        whole: list[bytes] = []
        for part in chunk.splitlines(keepends=True):
            self._line += part
            if self._size + len(self._line) > self._most:
                raise EventTooLargeError(f"an event is larger than {self._most} bytes")
            self._after_return = part.endswith(b"\r")
            if part.endswith(_LINE_ENDS):
                event = self._end_line()
                if event is not None:
                    whole.append(event)
        return whole

    def _end_line(self) -> bytes | None:
        line = bytes(self._line).rstrip(b"\r\n")
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._end_event()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value[1:] if value[:1] == b" " else value)
            self._size += len(value) + 1
        return None

    def _end_event(self) -> bytes | None:
        if not self._data:
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return event
