"""From topics to job items: an outline first, and what is made from it, which waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from factory_cli.submission.templates import Declared
from factory_cli.submission.topic import DERIVATIVES, OUTLINE, Topic, unique_slugs

_MAX_LABEL = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of content to make.

    Attributes:
        item_id: `<topic-slug>/<content type>`, unique in the job.
        content_type: What it is; also the template's id.
        variables: Values for the template.
        depends_on: The outline's item id; empty when it needs none.
        labels: Facts that come back with the result.
        prompt: What to ask literally, instead of a template.
        max_tokens: The most tokens of an answer to the prompt.
        output_contract: What the output must be like, as written; None if the template says.
        handlers: What the output goes through; empty if the template says.
    """

    item_id: str
    content_type: str
    variables: Mapping[str, str]
    depends_on: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    max_tokens: int = 0
    output_contract: Mapping[str, Any] | None = None
    handlers: tuple[str, ...] = ()


def make_groups(
    topics: Sequence[Topic], *, declared: Mapping[str, Declared] | None = None
) -> list[list[Item]]:
    """Make each topic's items, the outline first.

    A topic that wants a derivative gets its outline too, since the derivative is written from it.

    Args:
        topics: What to write about.
        declared: The variables of each template, as far as known: it is given only those, and waits for the
            outline only if it uses one.

    Returns:
        One group per topic.
    """
    own = declared or {}
    return [
        list(_group(topic, slug, own)) for topic, slug in zip(topics, unique_slugs(list(topics)), strict=True)
    ]


def _group(topic: Topic, slug: str, own: Mapping[str, Declared]) -> Iterable[Item]:
    if topic.prompt:
        yield _of_prompt(topic, slug)
        return
    outlined = [each for each in topic.content_types if _uses_outline(each, own)]
    wanted = [OUTLINE] if outlined else []
    wanted += [each for each in topic.content_types if each not in wanted]
    labels = {"topic": topic.topic[:_MAX_LABEL], "slug": slug}
    values = {**topic.variables, "topic": topic.topic}
    for content_type in wanted:
        known = own.get(content_type)
        yield Item(
            item_id=f"{slug}/{content_type}",
            content_type=content_type,
            variables=_only(values, known) if known else values,
            depends_on=f"{slug}/{OUTLINE}" if content_type in outlined and content_type != OUTLINE else "",
            labels=labels,
            output_contract=topic.output_contract if content_type in topic.content_types else None,
            handlers=topic.handlers if content_type in topic.content_types else (),
        )


def _of_prompt(topic: Topic, slug: str) -> Item:
    (content_type,) = topic.content_types
    return Item(
        item_id=f"{slug}/{content_type}",
        content_type=content_type,
        variables={},
        labels={"topic": topic.topic[:_MAX_LABEL], "slug": slug},
        prompt=topic.prompt,
        max_tokens=topic.max_tokens,
        output_contract=topic.output_contract,
        handlers=topic.handlers,
    )


def _uses_outline(content_type: str, own: Mapping[str, Declared]) -> bool:
    known = own.get(content_type)
    return OUTLINE in known.names if known else content_type in DERIVATIVES


def _only(values: Mapping[str, str], known: Declared) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in known.names}
