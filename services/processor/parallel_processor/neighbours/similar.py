"""The cache's semantic tier as a neighbour: each prompt is asked where its own answer is kept."""

from __future__ import annotations

from collections.abc import Sequence

from contentfactory.cache.v1 import cache_pb2
from service_common.rpc.status import from_status

from parallel_processor.neighbours.cache import entry_of
from parallel_processor.neighbours.replicas import CacheReplicas
from parallel_processor.running.ports import Owner, Question, Similar, Source

_FIND_S = 2.0
"""Who asks holds a slot: neither a long wait nor a second try is worth what it could make meanwhile."""


class SimilarNeighbour:
    """Calls the semantic tier; see `SimilarPort`."""

    def __init__(self, replicas: CacheReplicas) -> None:
        self._replicas = replicas

    async def find(self, owner: Owner, questions: Sequence[Question]) -> list[Similar | Exception]:
        """Return what there is for each question."""

        async def ask(part: Sequence[Question]) -> list[Similar | Exception]:
            request = cache_pb2.BatchFindSimilarRequest(requests=map(_request, part))
            response = await self._replicas.call(
                owner,
                part[0].key,
                lambda stub: stub.BatchFindSimilar,
                request,
                timeout_s=_FIND_S,
                again=False,
            )
            return [_similar(each) for each in response.results]

        return await self._replicas.split([each.key for each in questions], questions, ask)

    async def learn(self, owner: Owner, tickets: Sequence[tuple[str, str]]) -> None:
        """End tickets, given as pairs of key and ticket, whose answers are stored."""

        async def ask(part: Sequence[tuple[str, str]]) -> list[None]:
            ends = [
                cache_pb2.BatchLearnSimilarRequest.LearnSimilarRequest(ticket=ticket) for _, ticket in part
            ]
            request = cache_pb2.BatchLearnSimilarRequest(requests=ends)
            await self._replicas.call(owner, part[0][0], lambda stub: stub.BatchLearnSimilar, request)
            return [None] * len(part)

        await self._replicas.split([key for key, _ in tickets], tickets, ask)


def _request(question: Question) -> cache_pb2.BatchFindSimilarRequest.FindSimilarRequest:
    return cache_pb2.BatchFindSimilarRequest.FindSimilarRequest(
        key=question.key,
        prompt=cache_pb2.SimilarPrompt(
            model=question.model,
            instructions=question.instructions,
            parameters=question.parameters,
            text=question.text,
        ),
    )


def _similar(result: cache_pb2.BatchFindSimilarResponse.Result) -> Similar | Exception:
    if result.HasField("error"):
        return from_status(result.error)
    found = result.value
    if found.outcome != cache_pb2.SIMILAR_OUTCOME_REUSE:
        return Similar(ticket=found.ticket)
    entry = entry_of(found.entry)
    return Similar(entry, Source(found.entry.key, found.similarity)) if entry else Similar()
