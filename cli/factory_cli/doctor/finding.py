"""What one check found: fine, worth knowing or broken; and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from factory_cli import exit_codes


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        level: How bad it is.
        subject: What was looked at.
        text: What was found.
        advice: What to do; empty when there is nothing to do.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Make a finding that is fine."""
    return Finding(Level.OK, subject, text)


def note(subject: str, text: str, advice: str = "") -> Finding:
    """Make a finding worth knowing."""
    return Finding(Level.NOTE, subject, text, advice)


def bad(subject: str, text: str, advice: str) -> Finding:
    """Make a finding that keeps something from working."""
    return Finding(Level.BAD, subject, text, advice)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 when nothing is broken."""
    return exit_codes.UNREACHABLE if any(each.level is Level.BAD for each in findings) else exit_codes.OK
