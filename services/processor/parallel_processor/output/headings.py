"""The headings of a Markdown text, as lines that begin with one to six `#`, and how they compare."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+(.*))?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NUMBERING = re.compile(r"^(?:\d{1,4}(?:\.\d{1,4}){0,5}[.):]?|[ivxlc]{1,8}[.)])\s+")
_MARKS = str.maketrans("", "", "*_`")


def headings_of(text: str) -> list[str]:
    """Return the headings of a text, in order; lines within code fences are none."""
    found: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(line):
            found.append(heading[1] or "")
    return found


def plain(heading: str) -> str:
    """Return a heading as it is compared: without case, numbering, emphasis, closing marks and colon."""
    words = " ".join(heading.strip().rstrip("#").translate(_MARKS).casefold().split())
    return _NUMBERING.sub("", words).rstrip(":").rstrip()


def missing(required: Sequence[str], present: Sequence[str]) -> list[str]:
    """Return the required headings that are not there, or not in their order."""
    there = [plain(each) for each in present]
    absent: list[str] = []
    position = 0
    for heading in required:
        try:
            position = there.index(plain(heading), position) + 1
        except ValueError:
            absent.append(heading)
    return absent
