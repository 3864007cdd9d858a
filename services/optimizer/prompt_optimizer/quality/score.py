"""The score of an output: the weighted mean of its aspects, in which a failing aspect weighs more.

A text that loops is not saved by being long and on its subject: an aspect's share grows as its own score
falls, by up to about eight times. Still, raising any aspect never lowers the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from service_common.frozen import dataclass

from prompt_optimizer.quality import aspects
from prompt_optimizer.quality.findings import Finding
from prompt_optimizer.quality.structure import structure
from prompt_optimizer.quality.text import Text

_SHARES = {"length": 0.15, "structure": 0.3, "relevance": 0.2, "variety": 0.2, "completeness": 0.15}
_SOFTNESS = 0.15


@dataclass(frozen=True, slots=True)
class Component:
    """One aspect of quality.

    Attributes:
        name: Which.
        score: 0 to 1.
        weight: Its share in the overall score; those of all components make 1.
        explanation: What was found, for people.
    """

    name: str
    score: float
    weight: float
    explanation: str


@dataclass(frozen=True, slots=True)
class QualityScore:
    """How good an output looks.

    Attributes:
        overall: 0 (unusable) to 1: the weighted mean of the components.
        components: What it is made of; empty when there was nothing to score.
    """

    overall: float
    components: tuple[Component, ...]


def score(content: str, content_type: str, *, subjects: Sequence[str] = ()) -> QualityScore:
    """Score an output.

    Args:
        content: The output.
        content_type: What it was to be; of a type not built in no structure is asked.
        subjects: Texts it should keep to; without any, relevance is not judged.
    """
    text = Text(content)
    if not text.words:
        return _weighted({"length": Finding(0.0, "there are no words in it")})
    findings = {
        "length": aspects.length(text, content_type),
        "structure": structure(text, content_type),
        "relevance": aspects.relevance(text, subjects),
        "variety": aspects.variety(text),
        "completeness": aspects.completeness(text),
    }
    return _weighted({name: each for name, each in findings.items() if each is not None})


def _weighted(findings: dict[str, Finding]) -> QualityScore:
    pulls = [_SHARES[name] / (_SOFTNESS + each.score) for name, each in findings.items()]
    total = sum(pulls)
    components = tuple(
        Component(name, each.score, pull / total, each.explanation)
        for (name, each), pull in zip(findings.items(), pulls, strict=True)
    )
    overall = sum([each.score * each.weight for each in components])
    return QualityScore(min(1.0, overall), components)
