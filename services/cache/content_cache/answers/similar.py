"""The contract's side of the semantic tier: message → lookup or report → message, within its room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from contentfactory.cache.v1 import cache_pb2
from service_common.errors import ServiceError, failed_precondition, resource_exhausted
from service_common.rpc.status import to_status

from content_cache import validation
from content_cache.cache import ContentCache
from content_cache.compression.opening import Opening
from content_cache.entry import Entry
from content_cache.semantic.port import LearnOutcome, Lookup, Match, Outcome, Report, Semantic

_OUTCOMES = {
    Outcome.REUSE: cache_pb2.SIMILAR_OUTCOME_REUSE,
    Outcome.COMPARE: cache_pb2.SIMILAR_OUTCOME_COMPARE,
    Outcome.NONE: cache_pb2.SIMILAR_OUTCOME_NONE,
}
_LEARNED = {
    LearnOutcome.LEARNED: cache_pb2.LEARN_SIMILAR_OUTCOME_LEARNED,
    LearnOutcome.TICKET_UNKNOWN: cache_pb2.LEARN_SIMILAR_OUTCOME_TICKET_UNKNOWN,
    LearnOutcome.NOT_STORED: cache_pb2.LEARN_SIMILAR_OUTCOME_NOT_STORED,
}
_SAME = {
    cache_pb2.ANSWER_EQUIVALENCE_UNSPECIFIED: None,
    cache_pb2.ANSWER_EQUIVALENCE_SAME: True,
    cache_pb2.ANSWER_EQUIVALENCE_DIFFERENT: False,
}


async def find_similar(
    semantic: Semantic | None,
    request: cache_pb2.BatchFindSimilarRequest,
    *,
    tenant: str,
    room: int,
    opened: Callable[[Match], Match],
) -> cache_pb2.BatchFindSimilarResponse:
    """Answer BatchFindSimilar.

    Args:
        semantic: The tier; None while it is off.
        request: What is asked.
        tenant: By whom.
        room: Most bytes of entries.
        opened: Returns a match with its entry as it is sent.

    Raises:
        ServiceError: SEMANTIC_OFF, or INVALID_ARGUMENT for a batch of no or too many prompts.
    """
    tier = _on(semantic)
    validation.check_similar_batch(request.requests)
    response = cache_pb2.BatchFindSimilarResponse()
    for index, each in enumerate(request.requests):
        result = response.results.add()
        try:
            validation.check_similar(f"requests[{index}].", each)
            (match,) = await tier.find(tenant, (_lookup(each),))
            room -= _put(opened(match), result.value, room)
        except ServiceError as error:
            result.error.CopyFrom(to_status(error))
    return response


async def learn_similar(
    semantic: Semantic | None, request: cache_pb2.BatchLearnSimilarRequest, *, tenant: str
) -> cache_pb2.BatchLearnSimilarResponse:
    """Answer BatchLearnSimilar.

    Raises:
        ServiceError: SEMANTIC_OFF, or INVALID_ARGUMENT for a batch of no or too many tickets.
    """
    tier = _on(semantic)
    validation.check_similar_batch(request.requests)
    response = cache_pb2.BatchLearnSimilarResponse()
    for index, each in enumerate(request.requests):
        result = response.results.add()
        try:
            validation.check_learned(f"requests[{index}].", each)
            (outcome,) = await tier.learn(tenant, (Report(each.ticket, _SAME[each.equivalence]),))
            result.value = _LEARNED[outcome]
        except ServiceError as error:
            result.error.CopyFrom(to_status(error))
    return response


def opened(match: Match, cache: ContentCache, opening: Opening) -> Match:
    """Return a match with its entry as it is sent; one whose entry does not come back is none."""
    entry = match.entry
    if entry is None or not entry.packing:
        return match
    reused = match.outcome is Outcome.REUSE
    encoded = opening.sent(cache, entry) if reused else opening.peeked(entry)
    if encoded is None:
        return Match(Outcome.NONE, ticket=match.ticket)
    return replace(match, entry=replace(entry, encoded=encoded, packing=""))


def values_by(opening: Opening) -> Callable[[Entry], bytes | None]:
    """Return what takes the content out of an entry; None if it does not come back."""

    def value_of(entry: Entry) -> bytes | None:
        encoded = opening.peeked(entry)
        return None if encoded is None else cache_pb2.Entry.FromString(encoded).value

    return value_of


def _on(semantic: Semantic | None) -> Semantic:
    if semantic is None:
        raise failed_precondition(
            "SEMANTIC_OFF", "the semantic tier is off; start the cache with CACHE_SEMANTIC=on"
        )
    return semantic


def _lookup(request: cache_pb2.BatchFindSimilarRequest.FindSimilarRequest) -> Lookup:
    prompt = request.prompt
    return Lookup(request.key, prompt.model, prompt.instructions, prompt.parameters, prompt.text)


def _put(match: Match, similar: cache_pb2.BatchFindSimilarResponse.Similar, room: int) -> int:
    """Write a match into its message; returns the bytes its entry takes."""
    encoded = match.entry.encoded if match.entry is not None else b""
    if len(encoded) > room:
        raise resource_exhausted(
            "RESPONSE_TOO_LARGE", "the entry does not fit into this response any more; ask for fewer at once"
        )
    similar.outcome = _OUTCOMES[match.outcome]
    similar.similarity = match.similarity
    similar.ticket = match.ticket
    if match.entry is not None:
        similar.entry.ParseFromString(encoded)
    return len(encoded)
