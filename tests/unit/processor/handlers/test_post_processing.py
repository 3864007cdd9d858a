"""The way through handlers: in order, in time, off the loop; no stranger's fault reaches anything else."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parallel_processor.handlers import builtin
from parallel_processor.handlers.complexity import BLOCKING_TOKENS, COROUTINE_TOKENS, estimated_tokens
from parallel_processor.handlers.handler import RefusedOutputError, Subject
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.handlers.registry import HandlersError, Registry, load
from parallel_processor.jobs.piece import Piece, PieceError
from parallel_processor.model.requests import Message, ModelRequest
from service_common.clock import SystemClock

from tests.unit.processor.samples import piece

Observed = list[tuple[str, str, float]]
_HOG_S = 0.2


def way(registry: Registry, *, threads: int = 2, observed: Observed | None = None) -> PostProcessing:
    """Return the way through a registry's handlers."""
    notes: Observed = [] if observed is None else observed
    return PostProcessing(
        registry, threads=threads, clock=SystemClock(), observe=lambda *each: notes.append(each)
    )


def registry(timeout_s: float = 5.0, **blocking: Callable[[str, Subject], str]) -> Registry:
    """Return a registry with these blocking handlers."""
    made = Registry(timeout_s=timeout_s)
    for name, function in blocking.items():
        made.blocking(name, function)
    return made


async def greet(text: str, subject: Subject) -> str:
    """Greet, after a moment."""
    await asyncio.sleep(0)
    return f"{subject.content_type}: {text}"


def sleepy(seconds: float) -> Callable[[str, Subject], str]:
    """Return a handler that blocks its thread."""

    def sleep(text: str, _subject: Subject) -> str:
        time.sleep(seconds)
        return text

    return sleep


def spinning(seconds: float) -> Callable[[str, Subject], str]:
    """Return a handler that burns the CPU."""

    def spin(text: str, _subject: Subject) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return text

    return spin


def raising(error: BaseException) -> Callable[[str, Subject], str]:
    """Return a handler that raises."""

    def fail(_text: str, _subject: Subject) -> str:
        raise error

    return fail


def message(made: Piece | PieceError) -> str:
    """Return why there is no piece."""
    assert isinstance(made, PieceError)
    assert made.reason == "HANDLER_FAILED"
    return made.message


async def test_handlers_run_in_order_on_each_others_texts() -> None:
    """Each gets what the one before made, coroutine or blocking; the rest of the piece is as it was."""
    handlers = registry(shout=lambda text, _subject: text.upper())
    handlers.coroutine("greet", greet)
    observed: Observed = []
    before = piece("hi")
    made = await way(handlers, observed=observed).process(before, ["greet", "shout", "greet"])
    assert isinstance(made, Piece)
    assert made.content == "faq: FAQ: HI"
    assert (made.cost_micros, made.cache_key) == (before.cost_micros, before.cache_key)
    assert [each[:2] for each in observed] == [
        ("greet", "coroutine"),
        ("shout", "blocking"),
        ("greet", "coroutine"),
    ]


@pytest.mark.parametrize("work", [sleepy, spinning])
async def test_blocking_handlers_do_not_stall_the_loop(work: Callable[[float], Any]) -> None:
    """While handlers of 200 ms sleep or burn the CPU, the loop goes on turning many times to each of them."""
    usual = sys.getswitchinterval()
    handlers = way(registry(hog=work(_HOG_S)), threads=2)
    working = asyncio.gather(*(handlers.process(piece(), ["hog"]) for _ in range(4)))
    gaps, last = [], time.monotonic()
    while not working.done():
        await asyncio.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
    assert all(isinstance(each, Piece) for each in working.result())
    assert sorted(gaps)[len(gaps) // 2] < _HOG_S / 4
    assert len(gaps) > 8
    assert sys.getswitchinterval() == usual


async def test_no_more_threads_than_there_may_be() -> None:
    """Ten pieces with two threads are two at a time."""
    now, most, lock = 0, 0, threading.Lock()

    def counting(text: str, _subject: Subject) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return text

    handlers = way(registry(count=counting), threads=2)
    await asyncio.gather(*(handlers.process(piece(), ["count"]) for _ in range(10)))
    assert most == 2


async def test_pieces_wait_to_be_generated_while_others_pile_up_for_threads() -> None:
    """A piece with a heavy handler waits outside until there is room; one without is not kept waiting."""
    open_gate = threading.Event()

    def gate(text: str, _subject: Subject) -> str:
        open_gate.wait(10)
        return text

    made = registry(gate=gate)
    builtin.register(made)
    handlers = way(made, threads=1)
    crowd = [asyncio.create_task(handlers.process(piece(), ["gate"])) for _ in range(8)]
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(handlers.room(["gate"]))
    await handlers.room(["json_pretty"])
    await asyncio.sleep(0.01)
    assert not waiting.done()
    open_gate.set()
    await asyncio.gather(*crowd)
    await waiting
    assert handlers.under_way == 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raising(ValueError("secret content")), "raised ValueError at test_post_processing.py:"),
        (raising(StopIteration()), "raised RuntimeError"),
        (raising(SystemExit(1)), "raised RuntimeError"),
        (raising(RefusedOutputError("no verbs in it")), "refused the output: no verbs in it"),
        (raising(RefusedOutputError("\ud800" + "x" * 900)), "refused the output: ?xxx"),
        (lambda _text, _subject: 7, "returned int instead of a text"),
        (lambda _text, _subject: " \n", "left nothing of the output"),
        (lambda _text, _subject: "x" * 600_001, "larger than 600000 bytes"),
        (lambda _text, _subject: "\ud800", "no text"),
    ],
)
async def test_a_fault_fails_the_piece_and_names_the_handler(function: Any, words: str) -> None:
    """Whatever a handler does wrong is told with its name, never with the content; others go on after it."""
    handlers = way(registry(bad=function, good=lambda text, _subject: text), threads=1)
    said = message(await handlers.process(piece(), ["good", "bad", "good"]))
    assert "handler 'bad'" in said
    assert words in said
    assert "secret" not in said
    assert len(said.encode()) < 600
    assert isinstance(await handlers.process(piece(), ["good"]), Piece)


async def test_a_coroutine_that_cancels_itself_fails_its_piece_alone() -> None:
    """Its cancellation is not taken for the item's."""

    async def cancel(_text: str, _subject: Subject) -> str:
        raise asyncio.CancelledError

    handlers = Registry(timeout_s=1.0)
    handlers.coroutine("cancel", cancel)
    assert "cancelled itself" in message(await way(handlers).process(piece(), ["cancel"]))


async def test_cancelling_a_piece_cancels_its_coroutine() -> None:
    """Whoever gives a piece up is not kept waiting by its handler."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(text: str, _subject: Subject) -> str:
        begun.set()
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()
        return text

    handlers = Registry(timeout_s=200.0)
    handlers.coroutine("wait", wait)
    processing = way(handlers)
    task = asyncio.create_task(processing.process(piece(), ["wait"]))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert processing.under_way == 0


async def test_a_handler_out_of_time_fails_its_piece() -> None:
    """Coroutines and blocking functions have a time each, of their own or the general one."""
    handlers = registry(0.05, slow=sleepy(0.3))

    async def lazy(text: str, _subject: Subject) -> str:
        await asyncio.sleep(10)
        return text

    handlers.coroutine("lazy", lazy, timeout_s=0.01)
    processing = way(handlers, threads=1)
    assert "took longer than 0.05 s" in message(await processing.process(piece(), ["slow"]))
    assert "took longer than 0.01 s" in message(await processing.process(piece(), ["lazy"]))


async def test_lost_threads_are_said_to_be_lost_and_serve_again_when_they_return() -> None:
    """With every thread out of time, pieces fail instead of waiting; later the thread is used again."""
    release = threading.Event()

    def stuck(text: str, _subject: Subject) -> str:
        release.wait(10)
        return text

    handlers = registry(0.02, stuck=stuck, fine=lambda text, _subject: text)
    processing = way(handlers, threads=1)
    assert "took longer" in message(await processing.process(piece(), ["stuck"]))
    assert "found no thread" in message(await processing.process(piece(), ["fine"]))
    release.set()
    while True:
        made = await processing.process(piece(), ["fine"])
        if isinstance(made, Piece):
            break
        await asyncio.sleep(0.01)


async def test_an_unknown_handler_is_told() -> None:
    """A name nobody registered fails the piece with a reason of its own."""
    made = await way(registry()).process(piece(), ["nobody"])
    assert isinstance(made, PieceError)
    assert (made.reason, "'nobody'" in made.message) == ("HANDLER_UNKNOWN", True)


def test_a_registry_refuses_what_it_cannot_run() -> None:
    """Names are checked and taken once, and each kind of function is registered as what it is."""
    made = registry(one=lambda text, _subject: text)
    wrongs: tuple[Callable[[], None], ...] = (
        lambda: made.blocking("one", sleepy(0)),
        lambda: made.blocking("Not A Name", sleepy(0)),
        lambda: made.blocking("greet", greet),  # type: ignore[arg-type]  # the mistake this is about
        lambda: made.coroutine("calm", sleepy(0)),  # type: ignore[arg-type]  # likewise
    )
    for wrong in wrongs:
        with pytest.raises(HandlersError):
            wrong()
    assert made.names == {"one"}
    assert made.unknown(["one", "two"]) == ["two"]


def test_a_deployments_own_handlers_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place named is called with the registry; one that cannot be is named, with why."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ours_a.py").write_text(
        "def register(registry):\n    registry.blocking('ours', lambda text, subject: text)\n"
        "def broken(registry):\n    raise RuntimeError('no dictionary')\n"
    )
    made = registry()
    load(made, " ours_a:register , ")
    assert made.names == {"ours"}
    for places, words in (
        ("ours_a", "package.module:function"),
        ("not_there:register", "not_there"),
        ("ours_a:missing", "missing"),
        ("ours_a:broken", "no dictionary"),
        ("ours_a:register", "already"),
    ):
        with pytest.raises(HandlersError, match=words):
            load(made, places)
    sys.modules.pop("ours_a")


def test_complexity_counts_tokens_and_what_handlers_hold_up() -> None:
    """Prompt and output count, a known length instead of the limit, and heavy handlers weigh the most."""
    request = ModelRequest("m", (Message("user", "x" * 400),), 1000)
    made = registry(heavy=sleepy(0))
    builtin.register(made)
    made.coroutine("greet", greet)
    found = made.found(["heavy", "greet", "json_pretty"])
    assert estimated_tokens(request) == 1100
    assert estimated_tokens(request, output_tokens=200) == 300
    assert estimated_tokens(request, output_tokens=5000) == 1100
    assert estimated_tokens(request, found) == 1100 + BLOCKING_TOKENS + COROUTINE_TOKENS
    names = ["heavy", "greet", "json_pretty", "nobody"]
    assert way(made).complexity(request, names, output_tokens=200) == 300 + BLOCKING_TOKENS + COROUTINE_TOKENS
