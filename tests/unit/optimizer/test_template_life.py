"""A template's life: activation, the way back, and what is remembered of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_optimizer.templates import template as lives
from prompt_optimizer.templates.template import KEPT_ACTIVATIONS, Template
from service_common.errors import ServiceError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make(versions: int = 1) -> Template:
    """Return a template with so many versions, the first active."""
    template = lives.create("faq", "faq", display_name="FAQ", born=1, now=NOW, user="ann")
    for revision in range(2, versions + 1):
        template = lives.add_version(template, revision=revision, now=NOW)
    return template


def activate(template: Template, version: int) -> Template:
    """Activate a version."""
    return lives.activate(template, version, revision=99, now=NOW, user="ann")


def roll_back(template: Template) -> Template:
    """Roll back once."""
    return lives.roll_back(template, revision=99, now=NOW, user="ann")


def test_a_new_version_is_not_active() -> None:
    """Adding a version changes the latest one only."""
    template = make(versions=3)
    assert (template.active_version, template.latest_version) == (1, 3)


def test_activating_the_active_version_changes_nothing() -> None:
    """It is the same state, so nothing is written and nobody is told."""
    template = make(versions=2)
    assert activate(template, 1) is template


def test_a_version_that_does_not_exist_cannot_be_activated() -> None:
    """NOT_FOUND below 1 and above the latest."""
    for version in (0, 3):
        with pytest.raises(ServiceError) as caught:
            activate(make(versions=2), version)
        assert caught.value.reason == "VERSION_NOT_FOUND"


def test_rolling_back_repeatedly_goes_further_back() -> None:
    """It does not swing between the last two; what was rolled back is not returned to."""
    template = activate(activate(make(versions=3), 2), 3)
    template = roll_back(template)
    assert template.active_version == 2
    template = roll_back(template)
    assert template.active_version == 1
    assert [each.version for each in template.activations] == [1, 2, 3, 2, 1]
    with pytest.raises(ServiceError) as caught:
        roll_back(template)
    assert caught.value.reason == "NOTHING_TO_ROLL_BACK"


def test_activating_after_a_rollback_starts_from_there() -> None:
    """The way back leads over what was active at the time, not over what was undone."""
    template = activate(roll_back(activate(activate(make(versions=4), 2), 3)), 4)
    assert roll_back(template).active_version == 2


@given(st.lists(st.integers(0, 5), max_size=250))
def test_history_and_way_back_agree_with_a_stack(steps: list[int]) -> None:
    """Against a plain stack: any order of activations and rollbacks leaves its top active."""
    template, stack = make(versions=5), [1]
    for step in steps:
        if step and step != stack[-1]:
            stack.append(step)
            template = activate(template, step)
        elif not step and len(stack) > 1 and len(template.trail) > 1:
            stack.pop()
            template = roll_back(template)
        assert template.active_version == stack[-1] == template.activations[-1].version
    assert len(template.activations) <= KEPT_ACTIVATIONS
    assert len(template.trail) <= KEPT_ACTIVATIONS
