"""A prompt rendered here is the optimizer's, to the letter: that is why an outage re-pays nothing (law 4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.jobs.template import (
    DEFAULT_MAX_VARIABLE_BYTES,
    TemplateVariable,
    TemplateVersion,
)
from parallel_processor.running.ports import Prompt
from parallel_processor.running.rendering import raw_prompt, render
from prompt_optimizer.builtin.loading import load_built_in
from prompt_optimizer.decisions.optimizer import _limited
from prompt_optimizer.templates.compiled import CompiledVersion
from prompt_optimizer.templates.source import TemplateVersion as OptimizerVersion
from service_common.errors import ServiceError

from tests.unit.processor.samples import raw_spec

BUILT_IN = {template_id: version for template_id, (_, version) in load_built_in().items()}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", "{{ topic }}", "{% if x %}", "a\nb", "x" * 3000, "x" * 70_000, "English", "é🌊"]
)


def told(version: OptimizerVersion) -> TemplateVersion:
    """Return a version as the optimizer tells it to processors."""
    sampling = version.source.sampling
    return TemplateVersion(
        tenant="",
        template_id=version.template_id,
        version=version.version,
        content_type=version.content_type,
        messages=tuple((each.role.value, each.content) for each in version.source.messages),
        variables=tuple(
            TemplateVariable(
                each.name, each.required, each.default, each.max_bytes or DEFAULT_MAX_VARIABLE_BYTES
            )
            for each in version.source.variables
        ),
        sampling=Sampling(
            sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.seed, tuple(sampling.stop)
        ),
        model=version.source.model,
    )


def theirs(version: OptimizerVersion, spec: PieceSpec) -> tuple[object, ...] | str:
    """Return the messages and the limit that the optimizer gives, or the reason why it gives none."""
    try:
        messages = CompiledVersion(version).render(spec.variables)
    except ServiceError as error:
        return error.reason
    limit = _limited(version.source.sampling, spec.max_tokens).max_tokens
    return (*((each.role.value, each.content) for each in messages), limit)


def ours(version: OptimizerVersion, spec: PieceSpec) -> tuple[object, ...] | str:
    """Return the same of the processor."""
    try:
        prompt = render(told(version), spec)
    except ServiceError as error:
        return error.reason
    return (*prompt.messages, prompt.sampling.max_tokens)


@pytest.mark.parametrize("template_id", BUILT_IN)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_built_in_template_renders_as_the_optimizer_does(template_id: str, data: st.DataObject) -> None:
    """For any variables, known or not, given or not, both give the same messages or the same refusal."""
    version = BUILT_IN[template_id]
    names = [each.name for each in version.source.variables]
    variables = data.draw(st.dictionaries(st.sampled_from([*names, "unknown"]), TEXT))
    limit = data.draw(st.integers(0, 2000))
    spec = PieceSpec(template_id=template_id, variables=variables, max_tokens=limit)
    assert ours(version, spec) == theirs(version, spec)


@pytest.mark.parametrize("template_id", BUILT_IN)
def test_what_is_asked_for_reaches_the_prompt(template_id: str) -> None:
    """With the required variable alone every built-in template renders, with the topic in it."""
    version = BUILT_IN[template_id]
    required = {each.name: "tidal pools" for each in version.source.variables if each.required}
    prompt = render(told(version), PieceSpec(template_id=template_id, variables=required))
    assert "tidal pools" in prompt.messages[-1][1]
    assert (prompt.template_version, prompt.content_type) == (version.version, version.content_type)
    assert prompt.decision_id == ""


def test_a_specs_own_wishes_go_before_the_templates() -> None:
    """Model and content type are the spec's when it names them; max_tokens only ever gets smaller."""
    version = told(BUILT_IN["faq"])
    most = version.sampling.max_tokens
    spec = PieceSpec(
        template_id="faq", variables={"topic": "x"}, model="m", content_type="t", max_tokens=most + 1
    )
    prompt = render(version, spec)
    assert (prompt.model, prompt.content_type, prompt.sampling.max_tokens) == ("m", "t", most)


def test_raw_prompts_need_no_optimizer() -> None:
    """A raw prompt is taken literally, template syntax included."""
    prompt = raw_prompt(raw_spec("{{ not a variable }}", max_tokens=9))
    assert prompt == Prompt((("user", "{{ not a variable }}"),), Sampling(9), "", "", 0, "text")
