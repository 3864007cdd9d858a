"""The mock endpoint is a witness in other tests, so its own counts and faults are proved here."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.mock_behaviour import Behaviour, Call, Rule
from tests.support.mock_process import MockProcess, mock_endpoint


@pytest.fixture
def endpoint() -> Iterator[MockProcess]:
    """A fresh endpoint."""
    with mock_endpoint() as running:
        yield running


def _body(text: str, **more: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more})


async def _ask(
    session: aiohttp.ClientSession, endpoint: MockProcess, text: str, **more: Any
) -> dict[str, Any]:
    async with session.post(f"{endpoint.url}/chat/completions", data=_body(text, **more)) as response:
        answer: dict[str, Any] = orjson.loads(await response.read())
        return answer


def _text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


async def test_equal_messages_get_equal_text_and_others_another(endpoint: MockProcess) -> None:
    """Text is a function of the messages alone."""
    async with aiohttp.ClientSession() as session:
        first, again, other = [_text(await _ask(session, endpoint, each)) for each in ("a", "a", "b")]

    assert first == again
    assert first != other


async def test_counts_equal_what_was_answered(endpoint: MockProcess) -> None:
    """Totals are the sums of the usage that clients saw, per model and over all."""
    async with aiohttp.ClientSession() as session:
        answers = [await _ask(session, endpoint, str(number)) for number in range(5)]
        answers.append(await _ask(session, endpoint, "x", model="n"))

    counts = endpoint.counts()
    assert (counts["requests"], counts["completions"], counts["in_flight"]) == (6, 6, 0)
    for name in ("prompt_tokens", "completion_tokens"):
        total = sum(answer["usage"][name] for answer in answers)
        assert counts[name.replace("completion", "output")] == total
    assert {name: each["completions"] for name, each in counts["models"].items()} == {"m": 5, "n": 1}


async def test_the_log_has_one_line_per_answer(tmp_path: Path) -> None:
    """The log can be read beside the running process, and agrees with the counts."""
    log = tmp_path / "log.jsonl"
    with mock_endpoint(log=log, rules=[{"fault": "server_error", "contains": "bad"}]) as endpoint:
        async with aiohttp.ClientSession() as session:
            for text in ("good", "bad", "good"):
                await _ask(session, endpoint, text)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        counts = endpoint.counts()

    assert [line["status"] for line in lines] == [200, 500, 200]
    assert lines[0]["hash"] == lines[2]["hash"] != lines[1]["hash"]
    assert sum(line["output_tokens"] for line in lines) == counts["output_tokens"]
    assert counts["statuses"] == {"200": 2, "500": 1}


async def test_max_tokens_cuts(endpoint: MockProcess) -> None:
    """An output longer than max_tokens is cut to it, and says so."""
    async with aiohttp.ClientSession() as session:
        answer = await _ask(session, endpoint, "long", max_tokens=5)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


async def test_requests_in_pieces_and_in_a_row_are_understood(endpoint: MockProcess) -> None:
    """A request may come byte by byte, and two may come at once; answers keep their order."""
    one, two = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for body in (_body("one"), _body("two"))
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    for start in range(len(one)):
        writer.write(one[start : start + 1])
        await writer.drain()
    writer.write(one + two)
    texts = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        texts.append(_text(orjson.loads(await reader.readexactly(length))))
    writer.close()

    assert texts[0] == texts[1] != texts[2]


async def test_concurrency_is_counted() -> None:
    """The most calls that were in flight at a time are remembered."""
    with mock_endpoint(latency_ms=50) as endpoint:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(_ask(session, endpoint, str(number)) for number in range(7)))

        counts = endpoint.counts()
    assert (counts["max_in_flight"], counts["in_flight"]) == (7, 0)


def _struck(rule: Rule, calls: int = 8) -> list[int]:
    made = (Call.read(number, _body(f"call {number}")) for number in range(1, calls + 1))
    return [call.number for call in made if rule.strikes(call)]


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        (Rule("reset"), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Rule("reset", first=3, last=5), [3, 4, 5]),
        (Rule("reset", every=3), [3, 6]),
        (Rule("reset", every=2, times=2), [2, 4]),
        (Rule("reset", contains="call 7"), [7]),
        (Rule("reset", model="other"), []),
    ],
)
def test_rules_strike_when_they_say(rule: Rule, numbers: list[int]) -> None:
    """Each condition of a rule is honoured, alone and together."""
    assert _struck(rule) == numbers


def test_an_unknown_fault_is_refused() -> None:
    """A misspelt fault would make a test of nothing."""
    with pytest.raises(ValueError, match="no fault 'rset'"):
        Rule("rset")


def test_latencies_are_drawn_by_the_seed() -> None:
    """The same seed gives the same latencies, spread around the median."""
    call = Call.read(1, _body("x"))

    def draw(seed: int) -> list[float]:
        behaviour = Behaviour(latency_ms=100, latency_sigma=0.5, seed=seed)
        return sorted(behaviour.answer(call)[1] for _ in range(501))

    assert draw(1) == draw(1) != draw(2)
    assert draw(1)[250] == pytest.approx(0.1, rel=0.15)
    assert draw(1)[0] < 0.05
    assert draw(1)[-1] > 0.2
