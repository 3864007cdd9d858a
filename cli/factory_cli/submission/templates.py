"""Which variables the wanted templates take, as the optimizer says; checked before a job is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.failures import CommandError, from_service_error
from factory_cli.submission.topic import OUTLINE, STANDARD_TYPES, Topic

_TIMEOUT_S = 5.0
_SHOWN_PROBLEMS = 20
_UNANSWERED = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED})


@dataclass(frozen=True, slots=True)
class Declared:
    """The variables of a template's active version.

    Attributes:
        names: All of them.
        required: Those that must be given.
    """

    names: frozenset[str]
    required: frozenset[str]


async def look_up(optimizer: ClientPool[Any], content_types: Iterable[str]) -> dict[str, Declared]:
    """Ask for the templates of some content types.

    Returns:
        What each declares; nothing while the optimizer is away and only standard types are wanted.

    Raises:
        CommandError: If there is no such template, or the optimizer is away and cannot be done without.
    """
    found: dict[str, Declared] = {}
    wanted = sorted(set(content_types))
    for content_type in wanted:
        try:
            found[content_type] = await _declared(optimizer, content_type)
        except ServiceError as error:
            if error.kind in _UNANSWERED and set(wanted) <= set(STANDARD_TYPES):
                return {}
            if error.kind is ErrorKind.NOT_FOUND:
                raise CommandError(
                    f"there is no template {content_type!r} for content of that type"
                ) from error
            raise from_service_error(error, service="optimizer") from error
    return found


async def _declared(optimizer: ClientPool[Any], template_id: str) -> Declared:
    head: pb.GetTemplateResponse = await optimizer.call(
        lambda stub: stub.GetTemplate,
        pb.GetTemplateRequest(template_id=template_id),
        timeout_s=_TIMEOUT_S,
        idempotent=True,
    )
    request = pb.GetTemplateVersionRequest(template_id=template_id, version=head.template.active_version)
    answer: pb.GetTemplateVersionResponse = await optimizer.call(
        lambda stub: stub.GetTemplateVersion, request, timeout_s=_TIMEOUT_S, idempotent=True
    )
    variables = answer.version.source.variables
    return Declared(
        frozenset(each.name for each in variables),
        frozenset(each.name for each in variables if each.required),
    )


def check(topics: Sequence[Topic], declared: Mapping[str, Declared]) -> None:
    """Find what would fail once the job runs: variables that are missing, or that nothing uses.

    Raises:
        CommandError: Naming every topic at fault.
    """
    problems = [problem for topic in topics for problem in _problems(topic, declared)] if declared else []
    if problems:
        shown = problems[:_SHOWN_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"… and {len(problems) - len(shown)} more")
        raise CommandError("\n".join(["the topics do not fit the templates; nothing was submitted:", *shown]))


def _problems(topic: Topic, declared: Mapping[str, Declared]) -> Iterable[str]:
    given = {*topic.variables, "topic", OUTLINE}
    wanted = [each for each in topic.content_types if each in declared]
    for content_type in wanted:
        missing = sorted(declared[content_type].required - given)
        if missing:
            yield f"{topic.topic}: {content_type} needs the variable {', '.join(missing)}"
    used = frozenset[str]().union(*(declared[each].names for each in wanted))
    unused = sorted(set(topic.variables) - used)
    if wanted and unused:
        yield f"{topic.topic}: no wanted template has a variable {', '.join(unused)}"
