"""Reads topics from JSONL; every bad line is reported with its number and what is wrong, all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from factory_cli.submission.demands import contract_of, handlers_of
from factory_cli.submission.topic import STANDARD_TYPES, Topic

_FIELDS = {
    *("topic", "audience", "language", "content_types", "variables", "id"),
    *("prompt", "max_tokens", "output_contract", "handlers"),
}
_ONLY_WITH_A_TOPIC = ("topic", "audience", "language", "variables")
_TEMPLATE_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAX_TOPIC_BYTES = 1024
_MAX_VALUE_BYTES = 65_536
_DEFAULT_MAX_TOKENS = 512
_MOST_TOKENS = 131_072


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no topic.

    Attributes:
        number: Counted from 1.
        problem: What is wrong with it.
    """

    number: int
    problem: str


def parse_topics(lines: Iterable[str]) -> tuple[list[Topic], list[BadLine]]:
    """Read one JSON object per line; empty lines are skipped.

    Returns:
        The topics, and the lines that are none.
    """
    topics: list[Topic] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix("\ufeff").strip() if number == 1 else line.strip()
        if not text:
            continue
        problems: list[str] = []
        topic = _parse_line(text, problems)
        if topic is not None and not problems:
            topics.append(topic)
        else:
            bad.append(BadLine(number, "; ".join(problems)))
    return topics, bad


def _parse_line(text: str, problems: list[str]) -> Topic | None:
    try:
        row = json.loads(text)
    except ValueError as error:
        problems.append(f"not JSON: {error}")
        return None
    if not isinstance(row, dict):
        problems.append('not an object; write {"topic": "…"}')
        return None
    unknown = sorted(set(row) - _FIELDS)
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        problems.append(f"unknown field {', '.join(map(repr, unknown))} (known: {known})")
    if "prompt" in row:
        return _parse_prompt(row, problems)
    if "max_tokens" in row:
        problems.append("max_tokens goes with a prompt; a template says its own")
    topic = _text(row, "topic", problems, limit=_MAX_TOPIC_BYTES)
    if not topic and "topic" not in " ".join(problems):
        problems.append("topic is missing or empty")
    return Topic(
        topic=topic,
        content_types=_content_types(row, problems),
        variables=_variables(row, problems),
        topic_id=_text(row, "id", problems, limit=_MAX_TOPIC_BYTES),
        output_contract=contract_of(row, problems),
        handlers=handlers_of(row, problems),
    )


def _parse_prompt(row: dict[str, Any], problems: list[str]) -> Topic:
    """Read a line that asks the model literally."""
    problems.extend(
        f"{name} goes with a template, not with a prompt" for name in _ONLY_WITH_A_TOPIC if name in row
    )
    prompt = _text(row, "prompt", problems, limit=_MAX_VALUE_BYTES)
    if not prompt and not problems:
        problems.append("prompt is empty")
    tokens = row.get("max_tokens", _DEFAULT_MAX_TOKENS)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 1 <= tokens <= _MOST_TOKENS:
        problems.append(f"max_tokens must be a number, 1 to {_MOST_TOKENS:,}")
        tokens = 1
    content_types = _content_types(row, problems) if "content_types" in row else ("text",)
    if len(content_types) > 1:
        problems.append("content_types: a prompt makes content of one type")
    return Topic(
        topic=prompt.split("\n", 1)[0],
        content_types=content_types[:1],
        topic_id=_text(row, "id", problems, limit=_MAX_TOPIC_BYTES),
        prompt=prompt,
        max_tokens=tokens,
        output_contract=contract_of(row, problems),
        handlers=handlers_of(row, problems),
    )


def _text(row: dict[str, Any], name: str, problems: list[str], *, limit: int) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and name == "id":
        return str(value)
    if not isinstance(value, str):
        problems.append(f"{name} must be a text, not {_kind(value)}")
        return ""
    if not _encodable(value):
        problems.append(f"{name} holds half a surrogate pair, which is no text")
        return ""
    if len(value.encode()) > limit:
        problems.append(f"{name} is longer than {limit:,} bytes")
    return value.strip()


def _content_types(row: dict[str, Any], problems: list[str]) -> tuple[str, ...]:
    value = row.get("content_types")
    if value is None:
        return STANDARD_TYPES
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        problems.append("content_types must be a list of one or more template names")
        return STANDARD_TYPES
    problems.extend(
        f"content_types: {each!r} is no template name (lower-case letters, digits, _)"
        for each in value
        if not _TEMPLATE_ID.fullmatch(each)
    )
    return tuple(dict.fromkeys(value))


def _variables(row: dict[str, Any], problems: list[str]) -> dict[str, str]:
    value = row.get("variables")
    found: dict[str, str] = {}
    if value is not None and not isinstance(value, dict):
        problems.append(f"variables must be an object of texts, not {_kind(value)}")
    elif value:
        problems.extend(
            f"variables: {name!r} is no variable name (lower-case letters, digits, _)"
            for name in value
            if not _VARIABLE.fullmatch(name)
        )
        found = {name: _text(value, name, problems, limit=_MAX_VALUE_BYTES) for name in value}
    for name in ("audience", "language"):
        given = _text(row, name, problems, limit=_MAX_TOPIC_BYTES)
        if given:
            found[name] = given
    filled_in = [name for name in ("topic", "outline") if name in found]
    problems.extend(f"variables: {name} is filled in by the factory" for name in filled_in)
    return found


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else "something else")
