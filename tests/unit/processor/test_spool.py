"""Text between a model that writes and someone who reads: nothing is lost, held up or kept though void."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.spool import Spool, Text

WORDS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)


def _after(read: str, frames: list[Text]) -> str:
    for frame in frames:
        read = frame.text if frame.anew else read + frame.text
    return read


async def _read(spool: Spool) -> list[Text]:
    return [frame async for frame in spool.texts()]


@given(tries=st.lists(st.tuples(WORDS, st.integers(0, 5)), min_size=1, max_size=4), mended=st.booleans())
def test_the_reader_ends_up_with_the_content(tries: list[tuple[list[str], int]], mended: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
    """However often the text begins anew, wherever the reader is then, the frames add up to the content."""

    async def run() -> None:
        spool = Spool()
        frames: list[Text] = []
        content = ""

        async def read() -> None:
            frames.extend([frame async for frame in spool.texts()])

        reader = asyncio.create_task(read())
        for words, turns in tries:
            hear = spool.begin()
            for word in words:
                hear(word)
                for _ in range(turns):
                    await asyncio.sleep(0)
            content = "".join(words)
        spool.close()
        await reader
        if mended:
            content = f"mended {content}"
        assert _after("", [*frames, *spool.rest(content)]) == content

    asyncio.run(run())


async def test_text_comes_as_it_is_written() -> None:
    """A reader who waits gets each piece by itself, and a second begin is not anew when nothing was read."""
    spool = Spool()
    texts = aiter(spool.texts())
    spool.begin()("void, unread")
    hear = spool.begin()
    for word in ("one ", "two"):
        hear(word)
        assert await anext(texts) == Text(word)


async def test_what_was_read_of_a_text_that_broke_off_is_void() -> None:
    """The next writer's first frame says so, also when it writes the same; further ones do not."""
    spool = Spool()
    texts = aiter(spool.texts())
    spool.begin()("one ")
    await anext(texts)
    hear = spool.begin()
    hear("one ")
    assert await anext(texts) == Text("one ", anew=True)
    hear("two")
    assert await anext(texts) == Text("two")


async def test_a_slow_reader_gets_larger_frames_of_bounded_size() -> None:
    """What piled up comes together, and a large text in parts."""
    spool = Spool()
    hear = spool.begin()
    for _ in range(10_000):
        hear("word")
    spool.close()

    frames = await _read(spool)

    assert len(frames) == 5
    assert _after("", frames) == "word" * 10_000


async def test_content_that_nobody_wrote_here_comes_in_frames() -> None:
    """A piece out of the cache is streamed too."""
    spool = Spool()
    spool.close()
    assert await _read(spool) == []

    frames = [*spool.rest("x" * 20_000)]

    assert [len(frame.text) for frame in frames] == [8_192, 8_192, 3_616]
    assert not any(frame.anew for frame in frames)
