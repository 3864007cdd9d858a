"""The mock endpoint's capacity judges the limiter, so it is proved by itself, and its streams too."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.mock_capacity import Capacity, Plan, duration
from tests.support.mock_process import MockProcess, mock_endpoint


def _body(text: str, **more: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more})


async def _status(session: aiohttp.ClientSession, endpoint: MockProcess, text: str) -> tuple[int, Any]:
    async with session.post(f"{endpoint.url}/chat/completions", data=_body(text)) as response:
        await response.read()
        return response.status, response.headers


async def _events(session: aiohttp.ClientSession, endpoint: MockProcess, text: str, **more: Any) -> list[Any]:
    url = f"{endpoint.url}/chat/completions"
    async with session.post(url, data=_body(text, stream=True, **more)) as response:
        body = await response.read()
    events = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert events.pop() == b"[DONE]"
    return [orjson.loads(each) for each in events]


async def test_what_exceeds_a_fixed_capacity_is_refused() -> None:
    """Of ten calls at once, three are answered and seven refused; the places are free again afterwards."""
    with mock_endpoint(capacity=[{"concurrent": 3, "retry_after": "2"}], latency_ms=100) as endpoint:
        async with aiohttp.ClientSession() as session:
            answers = await asyncio.gather(*(_status(session, endpoint, str(n)) for n in range(10)))
            again = await _status(session, endpoint, "again")

    assert Counter(status for status, _ in answers) == {200: 3, 429: 7}
    assert {headers["Retry-After"] for status, headers in answers if status == 429} == {"2"}
    assert again[0] == 200


async def test_what_exceeds_it_waits_in_silence() -> None:
    """With `queue` all are answered, so many at a time: nine calls of 50 ms at three take three rounds."""
    with mock_endpoint(capacity=[{"concurrent": 3, "over": "queue"}], latency_ms=50) as endpoint:
        async with aiohttp.ClientSession() as session:
            began = time.monotonic()
            answers = await asyncio.gather(*(_status(session, endpoint, str(n)) for n in range(9)))
            took = time.monotonic() - began

    assert {status for status, _ in answers} == {200}
    assert took >= 0.150


async def test_a_client_that_leaves_the_queue_takes_no_place() -> None:
    """Whoever leaves while waiting is skipped, and whoever leaves while served frees the place."""
    with mock_endpoint(capacity=[{"concurrent": 1, "over": "queue"}], latency_ms=150) as endpoint:
        async with aiohttp.ClientSession() as session:
            served, waits, last = (
                asyncio.create_task(_status(session, endpoint, name)) for name in ("a", "b", "c")
            )
            await asyncio.sleep(0.05)
            served.cancel()
            waits.cancel()
            assert (await last)[0] == 200
        assert endpoint.counts()["abandoned"] == 2


async def test_a_new_capacity_lets_waiting_calls_go() -> None:
    """A plan replaces the one before, for calls that wait too."""
    with mock_endpoint(capacity=[{"concurrent": 0, "over": "queue"}]) as endpoint:
        async with aiohttp.ClientSession() as session:
            call = asyncio.create_task(_status(session, endpoint, "a"))
            await asyncio.sleep(0.05)
            assert not call.done()
            await asyncio.to_thread(endpoint.bear)
            assert (await call)[0] == 200


async def test_a_step_lets_waiting_calls_go() -> None:
    """A step is taken in its time, without a call that comes."""
    plan = {"concurrent": 0, "over": "queue", "steps": [[0.2, 1]]}
    with mock_endpoint(capacity=[plan]) as endpoint:
        async with aiohttp.ClientSession() as session:
            assert (await _status(session, endpoint, "a"))[0] == 200


@pytest.mark.parametrize(("at_s", "expected"), [(0.0, 4), (9.9, 4), (10.0, 8), (25.0, 2)])
def test_steps_replace_each_other(at_s: float, expected: int) -> None:
    """The latest step that has come rules."""
    assert Plan(concurrent=4, steps=((10.0, 8), (20.0, 2))).concurrent_at(at_s) == expected


def test_sharing_slows_all_down() -> None:
    """Twice as many calls as the capacity take twice as long."""
    capacity = Capacity(Plan(concurrent=2, over="share"), now=0.0)
    slowdowns = []
    for _ in range(4):
        assert capacity.admit(1, 0.0) == "begin"
        slowdowns.append(capacity.slowdown(0.0))
    assert slowdowns == [1.0, 1.0, 1.5, 2.0]


def test_rates_refuse_and_tell() -> None:
    """A bucket gives out a burst, then its rate; the headers say what is left and when it is full."""
    plan = Plan(requests_per_minute=60, burst_s=10, headers="openai", retry_after="true")
    capacity = Capacity(plan, now=0.0)

    assert [capacity.admit(1, 0.0) for _ in range(11)] == ["begin"] * 10 + ["refuse"]
    assert capacity.headers(4.0) == (
        "x-ratelimit-limit-requests: 60",
        "x-ratelimit-remaining-requests: 4",
        "x-ratelimit-reset-requests: 6s",
    )
    assert [capacity.admit(1, 4.0) for _ in range(5)] == ["begin"] * 4 + ["refuse"]
    assert "Retry-After: 1.000" in capacity.refusal(1, 4.0).headers


def test_tokens_are_a_rate_of_their_own() -> None:
    """A call larger than what is left is refused, a smaller one is not; Anthropic's names are spelled so."""
    capacity = Capacity(Plan(tokens_per_minute=600, burst_s=10, headers="anthropic"), now=0.0)

    assert [capacity.admit(tokens, 0.0) for tokens in (60, 60, 40)] == ["begin", "refuse", "begin"]
    assert "anthropic-ratelimit-tokens-remaining: 0" in capacity.headers(0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(360, "6m0s"), (0.02, "20ms"), (1, "1s"), (61.5, "1m1.5s"), (20, "20s")]
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    """Minutes, seconds, or milliseconds below one."""
    assert duration(seconds) == text


async def test_a_stream_says_what_the_whole_answer_says() -> None:
    """The deltas of a stream are the text; the last event has the same usage."""
    with mock_endpoint() as endpoint:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{endpoint.url}/chat/completions", data=_body("a")) as response:
                whole = orjson.loads(await response.read())
            events = await _events(session, endpoint, "a", stream_options={"include_usage": True})
            plain = await _events(session, endpoint, "a")

    deltas = [each["choices"][0]["delta"].get("content", "") for each in events[:-1]]
    assert "".join(deltas) == whole["choices"][0]["message"]["content"]
    assert (events[-1]["usage"], events[-1]["choices"]) == (whole["usage"], [])
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert len(plain) == len(events) - 1


async def test_tokens_come_at_their_pace_and_leaving_stops_them(tmp_path: Path) -> None:
    """Each token takes its time, and the log says how many a client that left had got."""
    log = tmp_path / "log"
    with mock_endpoint(token_ms=20, text_characters=400, log=log) as endpoint:
        async with aiohttp.ClientSession() as session:
            url = f"{endpoint.url}/chat/completions"
            response = await session.post(url, data=_body("a", stream=True))
            await response.content.readany()
            await asyncio.sleep(0.2)
            response.close()
        while not (lines := log.read_text().splitlines()):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)

    line = orjson.loads(lines[0])
    assert line["status"] == 499
    assert 1 <= line["output_tokens"] < 60


async def test_a_reset_breaks_a_stream_half_way() -> None:
    """The fault `reset` strikes in the middle of a stream."""
    with mock_endpoint(rules=[{"fault": "reset"}]) as endpoint:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await _events(session, endpoint, "a")


async def test_refusals_are_no_streams() -> None:
    """A refused stream gets an ordinary answer with its status."""
    with mock_endpoint(capacity=[{"concurrent": 0, "status": 529}]) as endpoint:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{endpoint.url}/chat/completions", data=_body("a", stream=True)) as response,
        ):
            error = await response.json()
    assert (response.status, error["error"]["code"]) == (529, "overloaded_error")
