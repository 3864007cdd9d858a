"""The transport against servers that send whatever a test says, in pieces of any size."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.model.transport.failures import BrokenError, TooLargeError, UnreachableError
from parallel_processor.model.transport.pool import Origin, Pool

from tests.support.certificates import write_pair

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
PATIENCE_S = 10
BODY = b"the body, some of it twice: the body" * 20
ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: 1\r\nx-a: 2\r\n\r\n%s" % (len(BODY), BODY),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x;ext=1\r\n%s\r\n0\r\n\r\n"
    % (100, BODY[:100], len(BODY) - 100, BODY[100:]),
    "informed": b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    % (len(BODY), BODY),
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
}

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _pool(port: int, *, limit: int = 4) -> Pool:
    return Pool(Origin("127.0.0.1", port, tls=False), limit=limit, connect_s=PATIENCE_S, keep_alive_s=60)


def _says(*parts: bytes) -> Talk:
    """Answer every request with these pieces."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)

    return talk


async def _read(pool: Pool, limit: int = 1 << 20) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(PATIENCE_S), pool.exchange(REQUEST, total_s=PATIENCE_S) as answer:
        return answer.status, dict(answer.headers), await answer.read(limit)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(ANSWERS)), cuts=st.sets(st.integers(1, 900), max_size=8), whole=st.booleans()
)
async def test_an_answer_is_the_same_however_it_is_cut(kind: str, cuts: set[int], *, whole: bool) -> None:
    """Wherever the network cuts an answer, what is read is the same, whole or chunk by chunk, twice over."""
    answer = ANSWERS[kind]
    edges = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    pieces = [answer[start:stop] for start, stop in pairwise(edges)]
    async with _server(_says(*pieces)) as port:
        pool = _pool(port)
        for _ in range(2):
            if whole:
                status, _, body = await _read(pool)
            else:
                async with pool.exchange(REQUEST, total_s=PATIENCE_S) as exchange:
                    status, body = exchange.status, b"".join([each async for each in exchange.chunks()])
            assert (204 if kind == "empty" else 200, b"" if kind == "empty" else BODY) == (status, body)
        pool.close()


async def test_repeated_headers_are_joined() -> None:
    """Names of headers do not tell case apart, and values of one name come together."""
    async with _server(_says(ANSWERS["length"])) as port:
        _, headers, _ = await _read(_pool(port))

    assert headers["x-a"] == "1, 2"


async def test_a_connection_is_used_again_and_only_while_it_is_sound() -> None:
    """A connection is used again unless it is to close, or brings bytes nobody asked for."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWERS["length"])
        await reader.readuntil(b"\r\n\r\n")
        if connections == 1:
            writer.write(ANSWERS["length"].replace(b"X-A: 1", b"Connection: close"))
            await reader.read()
        else:
            writer.write(ANSWERS["length"] + b"HTTP/1.1 200 OK\r\n")
            await reader.read()

    async with _server(talk) as port:
        pool = _pool(port)
        counted = []
        for _ in range(5):
            assert (await _read(pool))[2] == BODY
            counted.append(connections)
    assert counted == [1, 1, 2, 2, 3]


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """A body of no stated length is whole when the connection closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)

    async with _server(talk) as port:
        assert (await _read(_pool(port)))[2] == BODY


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
async def test_what_is_no_whole_answer_is_broken(said: bytes) -> None:
    """Half an answer, another protocol, a head without end and a broken packing all end as BrokenError."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with _server(talk) as port:
        pool = _pool(port)
        with pytest.raises(BrokenError):
            await _read(pool)


async def test_a_body_beyond_the_limit_is_not_kept() -> None:
    """An answer larger than its reader takes is given up while it comes."""
    async with _server(_says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", *[BODY] * 100)) as port:
        with pytest.raises(TooLargeError):
            await _read(_pool(port), limit=10_000)


async def test_a_slow_reader_slows_the_sender() -> None:
    """Chunk by chunk, no more is taken in than is wanted; nothing is lost."""
    sent = 0
    total = 64 << 20
    block = b"x" * (1 << 16)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(block)
            sent += len(block)
            await writer.drain()

    async with _server(talk) as port, _pool(port).exchange(REQUEST, total_s=PATIENCE_S) as answer:
        chunks = answer.chunks()
        got = len(await anext(chunks))
        before = -1
        while before != sent:  # until the sender stands still
            before = sent
            await asyncio.sleep(0.05)
        assert sent < total / 2
        async for chunk in chunks:
            got += len(chunk)
    assert got == total


async def test_exchanges_wait_their_turn() -> None:
    """Never more connections than the limit, and a reader that leaves early makes room."""
    async with _server(_says(ANSWERS["length"])) as port:
        pool = _pool(port, limit=1)
        async with pool.exchange(REQUEST, total_s=PATIENCE_S):
            waiting = asyncio.create_task(_read(pool))
            await asyncio.sleep(0.02)
            assert not waiting.done()
        assert (await waiting)[2] == BODY


async def test_each_exchange_is_given_up_at_its_own_time() -> None:
    """Those that are not answered end in the order of their deadlines; another goes on and is answered."""
    answered = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await answered.wait()
            writer.write(ANSWERS["length"])

    ended: list[float] = []

    async def give_up(pool: Pool, total_s: float) -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with pool.exchange(REQUEST, total_s=total_s) as answer:
                await answer.read(1 << 20)
        assert asyncio.get_running_loop().time() - began >= total_s
        ended.append(total_s)

    async with _server(talk) as port:
        pool = _pool(port)
        patient = asyncio.create_task(_read(pool))
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(give_up(pool, total_s) for total_s in (0.3, 0.1, 0.2)))
        answered.set()
        assert ended == [0.1, 0.2, 0.3]
        assert (await patient)[2] == (await _read(pool))[2] == BODY
        pool.close()


async def test_waiting_for_a_connection_counts() -> None:
    """The time to the deadline runs while others have all connections, too."""
    async with _server(_says(ANSWERS["length"])) as port:
        pool = _pool(port, limit=1)
        async with pool.exchange(REQUEST, total_s=PATIENCE_S):
            with pytest.raises(TimeoutError):
                await pool.exchange(REQUEST, total_s=0.05).__aenter__()
        assert (await _read(pool))[2] == BODY


async def test_nobody_there() -> None:
    """A refused connection is told apart: nothing was sent."""
    async with _server(_says()) as port:
        pass
    with pytest.raises(UnreachableError) as caught:
        await _read(_pool(port))
    assert not caught.value.sent


async def test_a_stranger_behind_tls_is_not_spoken_to(tmp_path: Path) -> None:
    """With TLS the other side must prove its name: trusted, the exchange works; else nothing is sent."""
    certificate, key = write_pair(tmp_path, "endpoint")
    trusted = ssl.create_default_context(cafile=certificate)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    async with _server(_says(ANSWERS["length"]), server_side) as port:
        pool = Pool(Origin("127.0.0.1", port, tls=True), limit=1, connect_s=PATIENCE_S, keep_alive_s=60)
        with pytest.raises(UnreachableError):
            await _read(pool)
        pool = Pool(
            Origin("127.0.0.1", port, tls=True),
            limit=1,
            connect_s=PATIENCE_S,
            keep_alive_s=60,
            trust=trusted,
        )
        assert (await _read(pool))[2] == BODY
        pool.close()
