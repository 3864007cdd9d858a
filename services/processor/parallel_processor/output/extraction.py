"""The wanted text within what a model said: without a fence around it, without prose before and after."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

_FENCE = re.compile(r"(`{3,}|~{3,})\s*([\w+.-]*)$")
_MARKDOWN = frozenset({"markdown", "md"})
_OPENING = re.compile(r"[\[{]")
_BRACKET = re.compile(r"[\[\]{}]")
_BEGINS_LIKE_JSON = re.compile(r'\{\s*["}]|\[\s*["{\[\d\-]')
_MAX_FENCES = 8
_MAX_OPENINGS = 32
_BYTE_ORDER_MARK = "\ufeff"


def bare(text: str) -> str:
    """Return a text without white space and marks around it."""
    return text.strip().removeprefix(_BYTE_ORDER_MARK).strip()


def unfenced(text: str) -> str:
    """Return a text without the code fence around the whole of it, if there is one.

    A fence that says it holds Markdown may have others within.
    """
    whole = bare(text)
    first, *rest = whole.split("\n")
    opening = _FENCE.match(first.strip())
    if opening is None or not rest or rest[-1].strip() != opening[1]:
        return whole
    within = rest[:-1]
    if opening[2].lower() not in _MARKDOWN and any(each.strip() == opening[1] for each in within):
        return whole
    return "\n".join(within).strip()


def json_in(text: str) -> tuple[str, Any] | None:
    """Return the JSON that a text is or holds, as it stands there, and its value; None if there is none.

    A text that is JSON is taken as it is; else the first fence that holds JSON and nothing else; else the
    longest object or list within the prose.
    """
    whole = bare(text)
    for candidate in (whole, *_fences(whole), *_within_prose(whole)):
        try:
            return candidate, orjson.loads(candidate)
        except ValueError:
            continue
    return None


def json_problem(text: str) -> str:
    """Say why a text is no JSON."""
    try:
        json.loads(bare(text), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return "it holds what JSON cannot"


def _fences(text: str) -> Iterator[str]:
    """Yield what code fences hold, of the first few."""
    mark, held, count = "", list[str](), 0
    for line in text.split("\n"):
        opening = _FENCE.match(line.strip())
        if not mark:
            mark, held = (opening[1], []) if opening else ("", [])
        elif line.strip() != mark:
            held.append(line)
        else:
            yield "\n".join(held).strip()
            mark, count = "", count + 1
            if count == _MAX_FENCES:
                return


def _within_prose(text: str) -> list[str]:
    """Return the longest object or list within prose, in a list that is empty if there is none.

    A part of something broken is never taken for the whole: what begins like JSON must end like it, and no
    bracket may close behind it that was not opened.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    best, position = "", 0
    for _ in range(_MAX_OPENINGS):
        opening = _OPENING.search(text, position)
        if opening is None:
            break
        start = opening.start()
        try:
            _, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if _BEGINS_LIKE_JSON.match(text, start):
                return []
            position = start + 1
            continue
        following = _BRACKET.search(text, position)
        if following and following[0] in "]}":
            return []
        best = max(best, text[start:position], key=len)
    return [best] if best else []


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
