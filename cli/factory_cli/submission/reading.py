"""From a path on the command line to topics; refuses the whole input when a part of it is bad."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from factory_cli.failures import CommandError
from factory_cli.submission.documents import SUFFIXES, document_files, parse_document
from factory_cli.submission.jsonl import parse_topics
from factory_cli.submission.topic import Topic

_SHOWN_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Input:
    """What was read.

    Attributes:
        topics: At least one.
        warnings: What the author should know, a line each.
    """

    topics: list[Topic]
    warnings: list[str]


def read_input(path: Path, *, skip_bad_lines: bool, source_limit_bytes: int) -> Input:
    """Read a JSONL file (`-` for standard input), a document, or a folder of documents.

    Args:
        path: What the person named.
        skip_bad_lines: Leave bad lines or files out, with a warning, instead of refusing everything.
        source_limit_bytes: The most bytes of a document to use.

    Raises:
        CommandError: If nothing can be used, or something is bad and is not to be skipped.
    """
    topics, problems, notes = _read(path, source_limit_bytes)
    if problems and not skip_bad_lines:
        shown = problems[:_SHOWN_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"… and {len(problems) - len(shown)} more")
        raise CommandError(
            "\n".join([f"{path}: nothing was submitted; --skip-bad-lines leaves these out:", *shown])
        )
    if not topics:
        raise CommandError("\n".join([f"{path}: there is no topic in it", *problems[:_SHOWN_PROBLEMS]]))
    return Input(topics, [*(f"left out: {each}" for each in problems), *notes])


def _read(path: Path, limit_bytes: int) -> tuple[list[Topic], list[str], list[str]]:
    if path == Path("-"):
        return _from_jsonl(sys.stdin.read())
    try:
        if path.is_dir():
            return _from_documents(document_files(path), folder=path, limit_bytes=limit_bytes)
        if path.suffix.lower() in SUFFIXES:
            return _from_documents([path], folder=path.parent, limit_bytes=limit_bytes)
        return _from_jsonl(path.read_text("utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 text (byte {error.start:,})") from error


def _from_jsonl(text: str) -> tuple[list[Topic], list[str], list[str]]:
    topics, bad = parse_topics(text.split("\n"))  # other line separators may stand inside JSON texts
    return topics, [f"line {each.number}: {each.problem}" for each in bad], []


def _from_documents(
    files: list[Path], *, folder: Path, limit_bytes: int
) -> tuple[list[Topic], list[str], list[str]]:
    topics: list[Topic] = []
    problems: list[str] = []
    notes: list[str] = []
    for path in files:
        name = path.relative_to(folder)
        try:
            topic = parse_document(path.read_text("utf-8"), name=path.stem, limit_bytes=limit_bytes)
        except UnicodeDecodeError as error:
            problems.append(f"{name}: not UTF-8 text (byte {error.start:,})")
        except ValueError as error:
            problems.append(f"{name}: {error}")
        else:
            topics.append(topic)
            notes.extend(f"{name}: {note}" for note in topic.notes)
    return topics, problems, notes
