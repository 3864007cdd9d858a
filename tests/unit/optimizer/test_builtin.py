"""The built-in templates: valid, within the embedded model's context, and what the processor relies on."""

from __future__ import annotations

import pytest
from factory_cli.embedded_model import OUTPUT_TOKENS, SLOT_TOKENS, SOURCE_BYTES
from prompt_optimizer import validation
from prompt_optimizer.builtin.loading import load_built_in
from prompt_optimizer.decisions.tokens import estimate_tokens
from prompt_optimizer.templates.compiled import CompiledVersion

BUILT_IN = load_built_in()
DERIVATIVES = sorted(set(BUILT_IN) - {"outline"})
CHARACTERS_PER_TOKEN = 4


def prompt(template_id: str, **variables: str) -> list[str]:
    """Return the contents of a template's messages."""
    return [each.content for each in CompiledVersion(BUILT_IN[template_id][1]).render(variables)]


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_it_obeys_the_rules_for_everybodys_templates(template_id: str) -> None:
    """A tenant could have created it."""
    assert list(validation.source("source", BUILT_IN[template_id][1].source)) == []


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_the_topic_alone_makes_a_prompt(template_id: str) -> None:
    """Everything else has a default; the topic stands in the last message."""
    assert "Bees and their dances" in prompt(template_id, topic="Bees and their dances")[-1]


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_prompt_and_output_fit_the_embedded_models_context(template_id: str) -> None:
    """Also with the most that it may be given of everything: its own outline, a document, a long topic."""
    source = BUILT_IN[template_id][1].source
    longest = {each.name: each.max_bytes for each in source.variables}
    longest |= {"outline": OUTPUT_TOKENS * CHARACTERS_PER_TOKEN, "source": SOURCE_BYTES}
    texts = {each.name: "word " * (longest[each.name] // 5) for each in source.variables}
    output = min(source.sampling.max_tokens, OUTPUT_TOKENS)
    assert estimate_tokens(prompt(template_id, **texts)) + output < SLOT_TOKENS


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_of_long_texts_only_the_beginning_is_used(template_id: str) -> None:
    """A source has 6,000 characters of the prompt, an outline 2,000, however long they are."""
    names = {each.name for each in BUILT_IN[template_id][1].source.variables}
    marks = {"source": ("§", 6_000), "outline": ("¶", 2_000)}
    texts = {name: mark * 30_000 for name, (mark, _) in marks.items() if name in names}
    whole = "".join(prompt(template_id, topic="Bees", **texts))
    for name in texts:
        mark, most = marks[name]
        assert 0.99 * most < whole.count(mark) <= most


@pytest.mark.parametrize("template_id", DERIVATIVES)
def test_a_derivative_uses_the_outline(template_id: str) -> None:
    """Its content is part of the prompt when given, and leaves no trace when not."""
    outline = "1. The hive: Bees live together."
    assert outline in "".join(prompt(template_id, topic="Bees", outline=outline))
    assert prompt(template_id, topic="Bees", outline="") == prompt(template_id, topic="Bees")


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_audience_source_and_language_are_used(template_id: str) -> None:
    """Each shows in the prompt, the language only when it is not the default."""
    given = {"audience": "pilots", "source": "A bee has six legs.", "language": "Czech"}
    whole = "".join(prompt(template_id, topic="Bees", **given))
    assert all(each in whole for each in given.values())
    assert "English" not in "".join(prompt(template_id, topic="Bees"))


def test_prompts_of_different_types_differ() -> None:
    """Eight pieces of one topic are eight prompts."""
    assert len({tuple(prompt(each, topic="Bees")) for each in BUILT_IN}) == len(BUILT_IN)
