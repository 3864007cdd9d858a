"""Server-sent events out of bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.event_stream import EventStream, EventTooLargeError

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def _fed(stream: EventStream, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [event for start, end in pairwise(edges) for event in stream.feed(data[start:end])]


@given(
    events=st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5),
    end=ENDS,
    cuts=st.lists(st.integers(0, 1000), max_size=30),
)
def test_cuts_do_not_matter(events: list[list[str]], end: str, cuts: list[int]) -> None:
    """Cut anywhere, between the bytes of a character too, the same events come out, with any line ends."""
    written = "".join("".join(f"data: {line}{end}" for line in event) + end for event in events)

    read = _fed(EventStream(most_bytes=1 << 16), written.encode(), cuts)

    assert read == ["\n".join(event).encode() for event in events]


def test_what_is_no_data_is_passed_over() -> None:
    """Comments that keep a connection alive, names, ids and empty events bring nothing."""
    stream = EventStream(most_bytes=100)

    events = stream.feed(b": ping\n\nevent: x\nid: 7\nretry: 5\ndata\n\n\xef\xbb\xbf\ndata:no space\n\n")

    assert events == [b"", b"no space"]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """A stream may begin with a mark."""
    assert EventStream(most_bytes=100).feed(b"\xef\xbb\xbfdata: x\n\n") == [b"x"]


@pytest.mark.parametrize("flood", [b"x", b"data: x\n"])
def test_memory_is_bounded(flood: bytes) -> None:
    """A line without end, or an event without end, is refused."""
    stream = EventStream(most_bytes=1000)
    for _ in range(1000 // len(flood)):
        stream.feed(flood)

    with pytest.raises(EventTooLargeError):
        _fed(stream, flood * 1000, [*range(8000)])


def test_comments_without_end_are_forgotten() -> None:
    """What keeps a connection alive for hours takes no memory."""
    assert EventStream(most_bytes=10).feed(b": x\n" * 10_000) == []
