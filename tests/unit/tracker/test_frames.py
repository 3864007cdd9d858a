"""Frames made by joining bytes are the messages protobuf would have made."""

from __future__ import annotations

import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from progress_tracker.frame_ring import FrameRing
from progress_tracker.frames import MAX_FRAME_BYTES, fitting, join_events, split_events, with_token

SIZES = st.lists(st.integers(0, 40_000), max_size=12)


def encoded(sizes: list[int]) -> list[bytes]:
    """Return events whose item messages have these sizes."""
    return [
        pb.ProgressEvent(sequence=number, item=pb.ItemUpdate(error_message="x" * size)).SerializeToString()
        for number, size in enumerate(sizes, 1)
    ]


@given(sizes=SIZES, token=st.text(st.characters(codec="ascii"), max_size=300))
def test_a_joined_frame_parses_as_the_response(sizes: list[int], token: str) -> None:
    """Events and token come out of the bytes as they went in."""
    events = encoded(sizes)
    frame = pb.WatchProgressResponse.FromString(with_token(join_events(events), token))
    assert events == [each.SerializeToString() for each in frame.events]
    assert token == frame.resume_token


@given(sizes=SIZES)
def test_splitting_undoes_joining(sizes: list[int]) -> None:
    """A stored chunk gives back its events."""
    events = encoded(sizes)
    assert events == split_events(join_events(events))


@pytest.mark.parametrize("damaged", [b"\x12\x01x", b"\x0a\x05x", b"\x0a", b"\x0a\x80"])
def test_a_damaged_body_is_refused(damaged: bytes) -> None:
    """What `join_events` did not make does not pass as events."""
    with pytest.raises(ValueError, match="event"):
        split_events(damaged)


@given(sizes=SIZES)
def test_frames_are_bounded_and_progress(sizes: list[int]) -> None:
    """Frames of what fits cover everything, and only a single event may exceed the bound."""
    events = encoded(sizes)
    start = 0
    while start < len(events):
        count = fitting(events, start)
        assert count == 1 or len(join_events(events[start : start + count])) <= MAX_FRAME_BYTES
        start += count
    assert start == len(events)


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60_000)), max_size=40), ask=st.integers(0, 50)
)
def test_a_ring_gives_the_right_events_or_none(steps: list[tuple[int, int]], ask: int) -> None:
    """What a ring hands out are exactly the events after the number, whatever gaps and trims there were."""
    ring = FrameRing()
    last = 0
    for gap, size in steps:
        first = last + 1 + (gap if gap == 3 else 0)
        ring.add(first, encoded([0] * (first - 1) + [size])[-1:])
        last = first
    frame = ring.frame_after(ask, str)
    if frame is None:
        assert ask >= last or ask + 1 < ring.first
        return
    numbers = [each.sequence for each in pb.WatchProgressResponse.FromString(frame.payload).events]
    assert list(range(ask + 1, frame.last + 1)) == numbers
    assert ring.frame_after(ask, str) is frame
