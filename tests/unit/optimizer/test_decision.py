"""Decision ids: deterministic, bound to the tenant, impossible to make up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_optimizer.decisions.decision import Decision, DecisionIds, sticky_unit
from prompt_optimizer.templates.template import Family
from service_common.errors import ServiceError

IDS = DecisionIds(b"k" * 32)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
DECISIONS = st.builds(
    Decision,
    family=st.builds(Family, st.one_of(st.just(""), NAMES), st.integers(0, 10**12 - 1)),
    version=st.integers(0, 10**9 - 1),
    content_type=NAMES,
    unit=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
)


@given(DECISIONS)
def test_what_is_written_is_read_back(decision: Decision) -> None:
    """Every decision survives, in at most 256 bytes."""
    text = IDS.write("acme", decision)
    assert len(text.encode()) <= 256
    assert IDS.read("acme", text) == decision


@given(DECISIONS, st.data())
def test_a_changed_id_is_refused(decision: Decision, data: st.DataObject) -> None:
    """Any changed character makes it nobody's."""
    text = IDS.write("acme", decision)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda each: each != text[at]))
    with pytest.raises(ServiceError) as caught:
        IDS.read("acme", text[:at] + other + text[at + 1 :])
    assert caught.value.reason == "INVALID_DECISION"


def test_another_tenants_id_is_refused() -> None:
    """An id leaked to another tenant books nothing there."""
    text = IDS.write("acme", Decision(Family("faq"), 1, "faq", "0" * 16))
    with pytest.raises(ServiceError):
        IDS.read("umbrella", text)


@given(st.text(max_size=300))
def test_garbage_is_refused_cleanly(text: str) -> None:
    """No text makes anything but the one error."""
    with pytest.raises(ServiceError) as caught:
        IDS.read("acme", text)
    assert caught.value.reason == "INVALID_DECISION"


def test_the_unit_depends_on_tenant_template_and_variables_only() -> None:
    """Equal work has an equal unit; order does not matter, boundaries between texts do."""
    unit = sticky_unit("t", "faq", {"a": "1", "b": "2"})
    assert unit == sticky_unit("t", "faq", {"b": "2", "a": "1"})
    others = [
        ("u", "faq", {"a": "1", "b": "2"}),
        ("t", "faqs", {"a": "1", "b": "2"}),
        ("t", "faq", {"a": "1b", "": "2"}),
    ]
    assert unit not in {sticky_unit(*each) for each in others}
