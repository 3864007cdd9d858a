"""Labelled pairs of prompts, made from phrasings and topics or by hand: one answer serves both, or does not.

A label is true by construction: two prompts are equivalent if they are phrasings of one family with the same
topic.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("semantic_pairs.toml")
POLARITY = frozenset({"negation", "antonym", "reversal", "number"})
"""Kinds of which not one answer may be reused."""
SAME = frozenset({"paraphrase", "by_hand", "extra"})
"""Kinds of which one answer serves both prompts."""
_SEED = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts, the first of which is cached.

    Attributes:
        cached: The first.
        asked: The second.
        cached_means: What the first asks for; prompts that ask for the same have the same text here.
        asked_means: What the second asks for.
        kind: `paraphrase`, `by_hand`, `extra`, `narrower`, or the kind of trap.
    """

    cached: str
    asked: str
    cached_means: str
    asked_means: str
    kind: str

    @property
    def same(self) -> bool:
        """Whether one answer serves both."""
        return self.cached_means == self.asked_means


def pairs() -> list[Pair]:
    """Return all pairs, each once, in an order that looks random and is always the same."""
    content = tomllib.loads(SOURCE.read_text("utf-8"))
    means = dict(_meanings(content))
    once: dict[tuple[str, str], Pair] = {}
    for cached, asked, kind in (
        *_paraphrases(content),
        *_traps(content),
        *_extras(content),
        *_by_hand(content),
    ):
        meant = means.get(_bare(cached), _bare(cached))
        other = meant if kind in SAME else means.get(_bare(asked), _bare(asked))
        once.setdefault((cached, asked), Pair(cached, asked, meant, other, kind))
    found = list(once.values())
    random.Random(_SEED).shuffle(found)
    return found


def _meanings(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for family, phrasing, topic in _phrased(content):
        yield _bare(_filled(phrasing, topic)), f"{family}: {topic}"


def _phrased(content: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, family in content["families"].items():
        for topic in content["topics"][family["topics"]]:
            for phrasing in family["phrasings"]:
                yield name, phrasing, topic


def _paraphrases(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for family in content["families"].values():
        first, *others = family["phrasings"]
        for topic in content["topics"][family["topics"]]:
            for other in others:
                yield _filled(first, topic), _filled(other, topic), "paraphrase"


def _traps(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for trap in content["traps"]:
        for topic in content["topics"][trap["topics"]]:
            for cached, asked in trap["pairs"]:
                yield _filled(cached, topic), _filled(asked, topic), trap["kind"]


def _extras(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for kind, label in (("same", "extra"), ("other", "narrower")):
        for number, topic in enumerate(content["topics"]["concepts"]):
            phrase = content["extras"][kind][number % len(content["extras"][kind])]
            yield _filled("Explain {x}.", topic), f"Explain {_filled(phrase, topic)}.", label


def _by_hand(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for kind, hand in content["hand"].items():
        for cached, asked in hand:
            yield cached, asked, "by_hand" if kind == "same" else kind


def _bare(prompt: str) -> str:
    return prompt.rstrip(" .?!").casefold()


def _filled(phrasing: str, topic: Any) -> str:
    one, other = (topic, "") if isinstance(topic, str) else topic
    return str(phrasing.replace("{x}", one).replace("{y}", other))
