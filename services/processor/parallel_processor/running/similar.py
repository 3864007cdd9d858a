"""Answers to other prompts that say the same: asked for before a call, told of after it.

Which parts of a prompt must be equal and which may differ in words is decided here; whether two texts say the
same, and how sure that is, by the cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import structlog
from service_common.clock import Clock
from service_common.errors import ServiceError

from parallel_processor.running.batching import Batcher, by_size
from parallel_processor.running.order import Order
from parallel_processor.running.outages import is_outage
from parallel_processor.running.ports import Owner, Question, Similar, SimilarPort

_log = structlog.get_logger("parallel_processor.running.similar")
_MAX_BATCH = 100
_MAX_TEXT_BYTES, _MAX_INSTRUCTIONS_BYTES, _MAX_PARAMETERS_BYTES = 32 << 10, 256 << 10, 4 << 10
_MAX_REQUEST_BYTES = 2_000_000
_OFF_S = 60.0
"""So long a cache whose semantic tier is off is not asked again."""
_NOTHING = Similar()


class SimilarAnswers:
    """Asks for similar prompts' answers. Its mutable state: until when the tier is taken to be off."""

    def __init__(self, cache: SimilarPort, *, clock: Clock) -> None:
        """Prepare to ask.

        Args:
            cache: The cache's semantic tier.
            clock: Decides when a tier that was off is asked again.
        """
        self._cache = cache
        self._clock = clock
        self._off_until = float("-inf")
        self._finding = Batcher[Owner, Question, Similar](self._send_find, max_batch=_MAX_BATCH)
        self._learning = Batcher[Owner, tuple[str, str], None](
            self._send_learn, max_batch=_MAX_BATCH, patient=True
        )

    async def find(self, owner: Owner, order: Order) -> Similar:
        """Return what there is instead of a call; nothing while the tier is off or away."""
        question = question_of(order)
        if question is None or self._clock.monotonic() < self._off_until:
            return _NOTHING
        return await self._finding.submit(owner, question)

    def learn(self, owner: Owner, key: str, ticket: str) -> None:
        """Tell soon that the answer to a question is stored; lost without harm while the cache is away."""
        self._learning.post(owner, (key, ticket))

    async def flushed(self) -> None:
        """Wait until everything to be told is sent."""
        await self._learning.flushed()

    def _pass(self, error: ServiceError) -> None:
        if error.reason == "SEMANTIC_OFF":
            self._off_until = self._clock.monotonic() + _OFF_S
            _log.warning("similar_answers_are_off", advice="run the cache with CACHE_SEMANTIC=on")
        elif not is_outage(error):
            _log.warning("cache_refused", call="find_similar", reason=error.reason, message=error.message)

    async def _send_find(self, owner: Owner, questions: list[Question]) -> Sequence[Similar]:
        found: list[Similar] = []
        for part in by_size(questions, _size, most=_MAX_REQUEST_BYTES):
            found += await self._ask(owner, part)
        return found

    async def _ask(self, owner: Owner, questions: list[Question]) -> list[Similar]:
        try:
            found = await self._cache.find(owner, questions)
        except ServiceError as error:
            self._pass(error)
            return [_NOTHING] * len(questions)
        # One that failed alone, for its entry did not fit into the response, is made as if there were none.
        return [_NOTHING if isinstance(each, Exception) else each for each in found]

    async def _send_learn(self, owner: Owner, tickets: list[tuple[str, str]]) -> Sequence[None]:
        try:
            await self._cache.learn(owner, tickets)
        except ServiceError as error:
            self._pass(error)
        return [None] * len(tickets)


def question_of(order: Order) -> Question | None:
    """Take an order apart; None when it says too much to be compared, or nothing.

    Of a template the text is its variables, and the template with its version is the instructions. Of a raw
    prompt the text is the last message, and those before it are the instructions.
    """
    request, spec = order.request, order.spec
    instructions: list[object]
    if spec.raw is None:
        instructions = [order.prompt.template_id, order.prompt.template_version]
        # Names between the values: words that move from one variable to the next are not the same text.
        text = "\n".join(f"{name}: {spec.variables[name]}" for name in sorted(spec.variables))
    else:
        *before, last = request.messages
        instructions = [*((each.role, each.content) for each in before), last.role]
        text = last.content
    sampling = (request.max_tokens, request.temperature, request.top_p, request.seed, request.stop)
    question = Question(
        order.key,
        request.model,
        json.dumps(instructions, ensure_ascii=False),
        json.dumps([*sampling, spec.variation], ensure_ascii=False),
        text.strip(),
    )
    return question if _fits(question) else None


def _size(question: Question) -> int:
    return sum(len(each.encode()) for each in (question.text, question.instructions, question.parameters))


def _fits(question: Question) -> bool:
    return (
        0 < len(question.text.encode()) <= _MAX_TEXT_BYTES
        and len(question.instructions.encode()) <= _MAX_INSTRUCTIONS_BYTES
        and len(question.parameters.encode()) <= _MAX_PARAMETERS_BYTES
    )
