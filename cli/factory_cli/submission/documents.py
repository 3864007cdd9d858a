"""Reads a folder of Markdown and text files: each becomes a topic with its text as the source."""

from __future__ import annotations

import re
from pathlib import Path

from factory_cli.submission.topic import Topic

SUFFIXES = frozenset({".md", ".markdown", ".txt"})
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_MAX_TITLE = 200
_SENTENCE_ENDS = ("\n\n", ". ", "! ", "? ", ".\n", "\n", " ")


def document_files(folder: Path) -> list[Path]:
    """Return the folder's documents, also those in sub-folders, by path; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def parse_document(text: str, *, name: str, limit_bytes: int) -> Topic:
    """Make a topic of a document.

    Args:
        text: What it says.
        name: Its file name without suffix: the topic when it has no heading.
        limit_bytes: The most bytes of it to use.

    Raises:
        ValueError: If it says nothing.
    """
    body = text.removeprefix("\ufeff").strip()
    if not body:
        raise ValueError("the file is empty")
    heading = _HEADING.search(body)
    title = heading[1] if heading else name.replace("_", " ").replace("-", " ").strip()
    source = cut(body, limit_bytes)
    notes = () if source == body else (f"cut to {len(source):,} of {len(body):,} characters",)
    return Topic(topic=title[:_MAX_TITLE], variables={"source": source}, topic_id=name, notes=notes)


def cut(text: str, limit_bytes: int) -> str:
    """Return the beginning of a text that fits, ended at a sentence where one ends, with a note about it."""
    if len(text.encode()) <= limit_bytes:
        return text
    note = f"\n\n[The source goes on; {len(text):,} characters in all.]"
    room = max(0, limit_bytes - len(note.encode()))
    kept = text.encode()[:room].decode("utf-8", "ignore")
    for end in _SENTENCE_ENDS:
        at = kept.rfind(end)
        if at > len(kept) // 2:
            kept = kept[: at + len(end)]
            break
    return kept.rstrip() + note
