"""Rendering a version: what goes in, what is refused, and that nothing is added."""

from __future__ import annotations

import pytest
from prompt_optimizer.templates.compiled import CompiledVersion
from prompt_optimizer.templates.source import (
    Message,
    Role,
    Sampling,
    TemplateSource,
    TemplateVersion,
    Variable,
)
from service_common.errors import ErrorKind, ServiceError
from service_common.templating import compile_template

SOURCE = TemplateSource(
    messages=(
        Message(Role.SYSTEM, "Be brief.\n"),
        Message(Role.USER, "About {{ topic }}{% if tone %}, {{ tone }}{% endif %}."),
    ),
    variables=(Variable("topic", required=True, max_bytes=8), Variable("tone", default="calm")),
    sampling=Sampling(max_tokens=10),
)
COMPILED = CompiledVersion(TemplateVersion("t", 1, "text", SOURCE))


def refused(variables: dict[str, str]) -> dict[str, str]:
    """Render what must be refused and return the violations by field."""
    with pytest.raises(ServiceError) as caught:
        COMPILED.render(variables)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.reason == "INVALID_VARIABLE"
    return {each.field: each.description for each in caught.value.violations}


def test_messages_are_the_sources_rendered_and_nothing_else() -> None:
    """Whoever renders the sources with the same values and defaults gets the same bytes."""
    values = {"tone": "calm", "topic": "bees"}
    expected = [compile_template(each.content).render(values) for each in SOURCE.messages]
    assert expected == [each.content for each in COMPILED.render({"topic": "bees"})]


def test_a_given_value_replaces_the_default_even_when_empty() -> None:
    """An empty text is a value."""
    assert COMPILED.render({"topic": "bees", "tone": ""})[1].content == "About bees."


def test_every_bad_variable_is_named_at_once() -> None:
    """Missing and unknown variables are told in one answer."""
    assert set(refused({"tpoic": "bees"})) == {"variables.topic", "variables.tpoic"}


@pytest.mark.parametrize("value", ["123456789", "ééééé", "😀😀😀"])
def test_length_is_counted_in_bytes(value: str) -> None:
    """Characters of several bytes count as many."""
    assert refused({"topic": value}) == {"variables.topic": "must be at most 8 bytes"}


def test_a_value_of_exactly_the_most_bytes_passes() -> None:
    """The bound is inclusive, also for characters of several bytes."""
    assert COMPILED.render({"topic": "éééé"})[1].content == "About éééé, calm."


def test_values_are_not_read_as_template() -> None:
    """What a caller gives is inserted, never run."""
    assert COMPILED.render({"topic": "{{ x }}"})[1].content == "About {{ x }}, calm."


def test_a_value_the_template_cannot_use_is_the_callers_error() -> None:
    """A template that needs a number and gets a text refuses the variable, with the contract's reason."""
    source = TemplateSource(
        (Message(Role.USER, "{{ n | int + 1 }}"),), (Variable("n", required=True),), Sampling(1)
    )
    compiled = CompiledVersion(TemplateVersion("t", 1, "text", source))
    with pytest.raises(ServiceError) as caught:
        compiled.render({"n": "many"})
    assert caught.value.reason == "INVALID_VARIABLE"
