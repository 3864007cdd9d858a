"""The handlers that every processor has."""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

import orjson

from parallel_processor.handlers.handler import BlockingFunction, RefusedOutputError, Subject
from parallel_processor.handlers.registry import Registry
from parallel_processor.output.extraction import json_in, json_problem, unfenced

_LIGHT_CHARACTERS = 16_384
"""Up to here a built-in handler takes well under a millisecond."""

_TRAILING = re.compile(r"[ \t\f\v\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_ODD_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\u200b-\u200d\u2060\ufeff]")
_LINK = re.compile(
    r"!?\[([^\[\]\n]{0,1000})\]"
    r"\(\s{0,8}<?((?:[^()\s<>]|\([^()\s<>]{0,200}\)){0,2048})>?(?:\s{1,8}[\"'][^\"'\n]{0,500}[\"'])?\s{0,8}\)"
)
_FENCE_LINE = re.compile(r"^ {0,3}(?:`{3,}|~{3,}).*\n?", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$", re.MULTILINE)
_RULE = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$\n?", re.MULTILINE)
_QUOTE = re.compile(r"^ {0,3}(?:>[ \t]?)+", re.MULTILINE)
_STRONG = re.compile(r"(?<!\\)(\*\*\*|\*\*|__|~~)(?=\S)([^\n]{0,500}?[^\s\\])\1")
_EMPHASIS = re.compile(r"(?<![\w*\\])([*_])(?=[^\s*_])([^\n*_]{1,500})(?<![\s\\])\1(?![\w*])")
_CODE = re.compile(r"`([^`\n]{1,1000})`")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def strip_markdown_fences(text: str, _subject: Subject) -> str:
    """Take off the code fence around the whole of a text."""
    return unfenced(text)


def normalize_whitespace(text: str, _subject: Subject) -> str:
    """Leave plain spaces, no invisible characters, nothing at line ends, no two blank lines together."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    plain = _INVISIBLE.sub("", _ODD_SPACES.sub(" ", lines))
    return _BLANK_LINES.sub("\n\n", _TRAILING.sub("", plain)).strip()


def json_compact(text: str, _subject: Subject) -> str:
    """Write JSON without white space; what is around it is taken off."""
    return orjson.dumps(_json(text)).decode()


def json_pretty(text: str, _subject: Subject) -> str:
    """Write JSON on lines of their own, two spaces to a level; what is around it is taken off."""
    return orjson.dumps(_json(text), option=orjson.OPT_INDENT_2).decode()


def markdown_to_text(text: str, _subject: Subject) -> str:
    """Take Markdown's marks away; headings, emphasis, code, quotes and links keep their words."""
    plain = _FENCE_LINE.sub("", unfenced(text))
    plain = _QUOTE.sub("", _HEADING.sub(r"\1", _RULE.sub("", plain)))
    plain = _CODE.sub(r"\1", _LINK.sub(r"\1", plain))
    plain = _EMPHASIS.sub(r"\2", _STRONG.sub(r"\2", _STRONG.sub(r"\2", plain)))
    return _BLANK_LINES.sub("\n\n", html.unescape(_ESCAPE.sub(r"\1", plain))).strip()


def check_links(text: str, _subject: Subject) -> str:
    """Refuse a text with a link that leads nowhere: empty, or neither http(s), mailto nor within it."""
    for found in _LINK.finditer(text):
        if not _leads_somewhere(found[2]):
            raise RefusedOutputError(f"the link {found[0][:100]!r} leads nowhere")
    return text


def register(registry: Registry) -> None:
    """Register them all."""
    functions: tuple[BlockingFunction, ...] = (
        strip_markdown_fences,
        normalize_whitespace,
        json_compact,
        json_pretty,
        markdown_to_text,
        check_links,
    )
    for function in functions:
        name = function.__name__  # type: ignore[attr-defined]  # a function has a name
        registry.blocking(name, function, light_up_to=_LIGHT_CHARACTERS)


def _json(text: str) -> object:
    found = json_in(text)
    if found is None:
        raise RefusedOutputError(f"the text is not JSON: {json_problem(text)}")
    return found[1]


def _leads_somewhere(target: str) -> bool:
    try:
        parts = urlsplit(target)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(host) and "." in str(host).strip(".")
    if parts.scheme == "mailto":
        return "@" in parts.path
    return not parts.scheme and not parts.netloc and bool(target.removeprefix("#"))
