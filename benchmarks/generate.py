"""What an interactive piece costs beside the bare minimum, in one run: a cached one, and the first token.

A cached `Generate` is three calls on the wire (the caller's, the optimizer's, the cache's), so it is compared
with three bare grpc.aio echoes one after the other. `StreamGenerate` is compared with a direct call to the
same endpoint, by the time to the first token. Both sides are asked in turns. Run it from the repository's
root: `python -m benchmarks.generate`, or with `--quick`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import grpc
import orjson
import uvloop
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.processor.v1 import processor_pb2_grpc

from benchmarks import rpc
from benchmarks.support.factory import four_services
from benchmarks.support.report import Report
from benchmarks.support.sent import MODEL
from tests.support.mock_process import MockProcess, mock_endpoint

ROUNDS, QUICK_ROUNDS = 400, 50
STREAMS, QUICK_STREAMS = 40, 8
TOKEN_MS = 10.0
FIRST_TOKENS_MS = (100.0, 20.0)
HIT_OVER_ECHOES_MS = 1.5
FIRST_TOKEN_RATIO = 1.2
WARM_UP = 20
GIVE_UP_S = 10
_numbers = count()

Call = Callable[[], Awaitable[object]]


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no judgement")
    quick = parser.parse_args().quick
    report = Report(judging=not quick)
    report.machine()
    with (
        mock_endpoint(text_characters=100) as mock,  # a text that is cut at its limit is not kept
        TemporaryDirectory(prefix="generate-") as directory,
        _echo() as echo,
        four_services(mock.url, Path(directory)) as services,
    ):
        address = services["processor"].address
        uvloop.run(_hits(report, address, echo, rounds=QUICK_ROUNDS if quick else ROUNDS))
    for first_ms in FIRST_TOKENS_MS:
        streams = QUICK_STREAMS if quick else STREAMS
        with (
            mock_endpoint(latency_ms=first_ms, token_ms=TOKEN_MS) as mock,
            TemporaryDirectory(prefix="generate-") as directory,
            four_services(mock.url, Path(directory)) as services,
        ):
            uvloop.run(
                _streams(report, services["processor"].address, mock, first_ms=first_ms, streams=streams)
            )
    return int(report.short)


@contextmanager
def _echo() -> Iterator[str]:
    """Run the bare echo server."""
    process, address = rpc.spawn("-m", "benchmarks.rpc")
    try:
        yield address
    finally:
        process.kill()
        process.communicate()


async def _hits(report: Report, address: str, echo: str, *, rounds: int) -> None:
    """Compare cached pieces with three echoes."""
    async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(echo) as bare:
        stub: Any = processor_pb2_grpc.ProcessorServiceStub(channel)
        any_bare: Any = bare  # the stubs demand (de)serialisers
        ask = any_bare.unary_unary(f"{rpc.SERVICE}/Get")

        async def echoes() -> None:
            for _ in range(3):
                await ask(b"")

        calls: dict[str, Call] = {"echoes": echoes}
        for name, spec in (("template", _from_template("tides")), ("raw", _raw("tides"))):
            request = pb.GenerateRequest(spec=spec)
            await stub.Generate(request)
            calls[f"hit_{name}"] = partial(stub.Generate, request)
            stream = pb.StreamGenerateRequest(spec=spec)
            calls[f"streamed_hit_{name}"] = partial(_drained, stub, stream)
        taken = await _in_turns(calls, rounds)
        if not (await stub.Generate(pb.GenerateRequest(spec=_raw("tides")))).piece.cached:
            raise RuntimeError("what was measured was no hit")
    floor = taken.pop("echoes")
    report.figure("generate_three_echoes", floor, "ms")
    for name, took in taken.items():
        report.figure(f"generate_{name}", took, "ms")
        bar = HIT_OVER_ECHOES_MS if name.startswith("hit") else None
        report.figure(f"generate_{name}_over_echoes", took - floor, "ms", at_most=bar)


async def _in_turns(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return each call's median milliseconds."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + WARM_UP):
        for name, call in calls.items():
            started = time.perf_counter()
            await call()
            if number >= WARM_UP:
                taken[name].append((time.perf_counter() - started) * 1_000)
    return {name: median(times) for name, times in taken.items()}


async def _drained(stub: Any, request: pb.StreamGenerateRequest) -> None:
    async for _ in stub.StreamGenerate(request):
        pass


async def _streams(report: Report, address: str, mock: MockProcess, *, first_ms: float, streams: int) -> None:
    """Compare the time to the first token with that of direct calls, and see a cancel reach the endpoint."""
    async with grpc.aio.insecure_channel(address) as channel, aiohttp.ClientSession() as session:
        stub: Any = processor_pb2_grpc.ProcessorServiceStub(channel)
        taken: dict[str, list[float]] = {"direct": [], "template": [], "raw": []}
        for number in range(streams + 3):
            firsts = {
                "direct": await _direct(session, mock.url),
                "template": await _first_frame(stub, _from_template(f"subject {next(_numbers)}")),
                "raw": await _first_frame(stub, _raw(f"subject {next(_numbers)}")),
            }
            for name, first in firsts.items():
                if number > 2:  # connections are open by then
                    taken[name].append(first)
        left = mock.counts()["abandoned"]
        report.figure(
            f"stream_{first_ms:.0f}ms_cancel_reaches_endpoint", await _cancel(stub, mock, left), "ms"
        )
    direct = median(taken["direct"])
    report.figure(f"stream_{first_ms:.0f}ms_first_token_direct", direct, "ms")
    for name in ("template", "raw"):
        report.figure(f"stream_{first_ms:.0f}ms_first_token_{name}", median(taken[name]), "ms")
        ratio = median(taken[name]) / direct
        bar = FIRST_TOKEN_RATIO if first_ms >= max(FIRST_TOKENS_MS) else None
        report.figure(f"stream_{first_ms:.0f}ms_{name}_to_direct", ratio, "ratio", at_most=bar)


async def _direct(session: aiohttp.ClientSession, url: str) -> float:
    """Return the milliseconds to the first token of a direct call; reads it to its end."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"subject {next(_numbers)}"}],
        "max_tokens": 30,
        "stream": True,
    }
    started, first = time.perf_counter(), 0.0
    async with session.post(f"{url}/chat/completions", data=orjson.dumps(body)) as response:
        async for line in response.content:
            if not first and b'"content":"' in line and b'"content":""' not in line:
                first = (time.perf_counter() - started) * 1_000
    return first


async def _first_frame(stub: Any, spec: pb.PieceSpec) -> float:
    """Return the milliseconds to the first text of a stream; reads it to its end."""
    started, first = time.perf_counter(), 0.0
    async for frame in stub.StreamGenerate(pb.StreamGenerateRequest(spec=spec)):
        if not first and frame.text:
            first = (time.perf_counter() - started) * 1_000
    return first


async def _cancel(stub: Any, mock: MockProcess, left: int) -> float:
    """Return the milliseconds from a cancel until the endpoint has seen its client leave."""
    call = stub.StreamGenerate(pb.StreamGenerateRequest(spec=_raw(f"subject {next(_numbers)}")))
    await call.read()
    started = time.perf_counter()
    call.cancel()
    while mock.counts()["abandoned"] == left:
        if time.perf_counter() - started > GIVE_UP_S:
            raise RuntimeError("the cancel did not reach the endpoint")
    return (time.perf_counter() - started) * 1_000


def _from_template(topic: str) -> pb.PieceSpec:
    return pb.PieceSpec(template_id="faq", variables={"topic": topic}, max_tokens=30)


def _raw(text: str) -> pb.PieceSpec:
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=text)
    return pb.PieceSpec(raw=pb.RawPrompt(messages=[message], max_tokens=30))


if __name__ == "__main__":
    sys.exit(main())
