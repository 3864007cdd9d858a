"""A mock model endpoint: OpenAI's chat completions over HTTP/1.1, fast, scripted, and counting for itself.

Its counts and its log are the independent witness that tests compare with what the services report. From the
repository's root, `python -m tests.support.mock_endpoint --port 0` prints one line of JSON with its port.

    POST /v1/chat/completions   the completion, by `mock_behaviour`
    GET  /v1/models             one model
    GET  /__counts              what was counted since the start
    GET  /__requests            the latest requests, with --keep N
    POST /__rules               replaces the rules: a JSON list of `Rule` objects
    POST /__capacity            replaces what it can bear: a `Plan` of `mock_capacity`, or a list of them

With `"stream": true` in the request the completion comes as server-sent events.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import orjson

from tests.support.mock_behaviour import Answer, Behaviour, Call, Delivery, Rule
from tests.support.mock_capacity import Capacities, Capacity, Plan, read_plans
from tests.support.mock_connection import Connection

CLIENT_LEFT = 499
_AFTER_A_STEP_S = 0.001  # so that the step has been taken, whatever the clock's grain
_KEPT_HEADERS = ("traceparent", "x-client-request-id", "authorization")


class Counts:
    """What was asked and answered. Completions and tokens are those of whole answers to live connections."""

    def __init__(self) -> None:
        self.requests = 0
        self.abandoned = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.statuses: Counter[str] = Counter()
        self.models: dict[str, Counter[str]] = {}

    def arrived(self, model: str) -> None:
        """Count a request."""
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.models.setdefault(model, Counter())["requests"] += 1

    def answered(self, model: str, answer: Answer) -> None:
        """Count an answer."""
        self.in_flight -= 1
        self.statuses[str(answer.status) if answer.delivery is Delivery.SEND else answer.delivery.value] += 1
        if answer.delivery is Delivery.SEND and answer.status == 200:
            of_model = self.models[model]
            of_model["completions"] += 1
            of_model["prompt_tokens"] += answer.prompt_tokens
            of_model["output_tokens"] += answer.output_tokens

    def left(self) -> None:
        """Count a client that went away before its answer."""
        self.in_flight -= 1
        self.abandoned += 1

    def report(self) -> dict[str, Any]:
        """Return all counts; totals are the sums over the models."""
        names = ("completions", "prompt_tokens", "output_tokens")
        return {
            "requests": self.requests,
            **{name: sum(each[name] for each in self.models.values()) for name in names},
            "abandoned": self.abandoned,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "statuses": self.statuses,
            "models": self.models,
        }


class MockEndpoint:
    """The endpoint behind all connections of one process.

    Args:
        behaviour: Decides the answers.
        capacity: What it can bear, from when it listens; anything unless given.
        log: Gets one JSON line per answered request, and one with status `CLIENT_LEFT` per request whose
            client went away.
        keep: How many of the latest requests to remember.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        capacity: Iterable[Plan] = (),
        log: IO[bytes] | None = None,
        keep: int = 0,
    ) -> None:
        self.behaviour = behaviour
        self.capacities = Capacities((), 0.0)
        self._first_plans = list(capacity)
        self.counts = Counts()
        self.kept: deque[dict[str, Any]] = deque(maxlen=keep)
        self._log = log

    def arrive(self, body: bytes, head: bytes) -> Call:
        """Take a request in."""
        call = Call.read(self.counts.requests + 1, body)
        self.counts.arrived(call.model)
        if self.kept.maxlen:
            self.kept.append({"body": orjson.loads(body), "headers": _kept_headers(head)})
        return call

    def answered(self, call: Call, answer: Answer) -> None:
        """Take note of an answer."""
        self.counts.answered(call.model, answer)
        self._note(call, answer, answer.status if answer.delivery is Delivery.SEND else 0)

    def left(self, call: Call, answer: Answer, *, output_tokens: int | None = None) -> None:
        """Take note of a client that went away before its answer; a real endpoint may charge for it.

        Args:
            call: What it had asked.
            answer: What it would have got.
            output_tokens: What it got of a stream; None when it was to be answered whole.
        """
        self.counts.left()
        if output_tokens is not None:
            answer = replace(answer, output_tokens=output_tokens)
        self._note(call, answer, CLIENT_LEFT)

    def bear(self, plans: Iterable[Plan]) -> None:
        """Set what it can bear from now on; calls that are under way count no more."""
        loop = asyncio.get_running_loop()
        before, self.capacities = self.capacities, Capacities(plans, loop.time())
        for old in before.all:
            old.release()
        for capacity in self.capacities.all:
            for step_s in capacity.steps_at_s:
                loop.call_later(step_s + _AFTER_A_STEP_S, _pump, capacity, loop)

    def _note(self, call: Call, answer: Answer, status: int) -> None:
        if self._log is None:
            return
        line = {
            "arrived": call.arrived,
            "time": time.time(),
            "model": call.model,
            "hash": call.digest,
            "status": status,
            "prompt_tokens": answer.prompt_tokens,
            "output_tokens": answer.output_tokens,
        }
        self._log.write(orjson.dumps(line) + b"\n")

    def page(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        """Answer everything that is no completion."""
        if path == b"/__counts":
            return 200, orjson.dumps(self.counts.report())
        if path == b"/__requests":
            return 200, orjson.dumps(list(self.kept))
        if path == b"/__rules":
            self.behaviour.rules = [Rule(**each) for each in orjson.loads(body)]
            return 200, b"{}"
        if path == b"/__capacity":
            self.bear(read_plans(body))
            return 200, b"{}"
        if path == b"/v1/models":
            return 200, orjson.dumps({"object": "list", "data": [{"id": "mock", "object": "model"}]})
        return 404, orjson.dumps({"error": {"message": "no such path", "type": "not_found", "code": 404}})

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Serve on loopback; 0 picks a free port."""
        loop = asyncio.get_running_loop()
        self.bear(self._first_plans)
        return await loop.create_server(lambda: Connection(self, loop), "127.0.0.1", port, backlog=1024)


def _pump(capacity: Capacity, loop: asyncio.AbstractEventLoop) -> None:
    capacity.pump(loop.time())


def _kept_headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.lower(): value for name, _, value in pairs if name.lower() in _KEPT_HEADERS}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A mock model endpoint on loopback.")
    parser.add_argument("--port", type=int, default=0, help="port; 0 picks a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="median latency of an answer")
    parser.add_argument(
        "--latency-sigma", type=float, default=0.0, help="spread of a lognormal latency; 0: fixed"
    )
    parser.add_argument("--token-ms", type=float, default=0.0, help="further time per token of output")
    parser.add_argument("--capacity", default="[]", help="JSON list of plans of what it can bear")
    parser.add_argument("--seed", type=int, default=1, help="seed of the latencies")
    parser.add_argument("--text-characters", type=int, default=400, help="length of the generated texts")
    parser.add_argument("--text-sigma", type=float, default=0.0, help="spread of that length")
    parser.add_argument("--rules", default="[]", help="JSON list of fault rules")
    parser.add_argument("--log", type=Path, help="file that gets one JSON line per answered request")
    parser.add_argument("--keep", type=int, default=0, help="how many requests /__requests remembers")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    behaviour = Behaviour(
        [Rule(**each) for each in orjson.loads(arguments.rules)],
        text_characters=arguments.text_characters,
        text_sigma=arguments.text_sigma,
        latency_ms=arguments.latency_ms,
        latency_sigma=arguments.latency_sigma,
        token_ms=arguments.token_ms,
        seed=arguments.seed,
    )
    # Unbuffered: a reader beside the running process sees every line.
    log = arguments.log.open("ab", buffering=0) if arguments.log else None
    endpoint = MockEndpoint(
        behaviour, capacity=read_plans(arguments.capacity.encode()), log=log, keep=arguments.keep
    )
    server = await endpoint.listen(arguments.port)
    sys.stdout.write(orjson.dumps({"port": server.sockets[0].getsockname()[1]}).decode() + "\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - it is optional here
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(_arguments()))
