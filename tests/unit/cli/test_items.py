"""From topics to items and calls: the outline first, groups together, calls bounded."""

import pytest
from factory_cli.failures import CommandError
from factory_cli.submission.batches import in_batches, to_message
from factory_cli.submission.items import Item, make_groups
from factory_cli.submission.templates import Declared, check
from factory_cli.submission.topic import STANDARD_TYPES, Topic
from hypothesis import given
from hypothesis import strategies as st

QUIZ = {"quiz": Declared(frozenset({"topic", "level"}), frozenset({"topic", "level"}))}


def test_an_outline_and_seven_that_wait_for_it() -> None:
    """A topic makes eight items; the seven derivatives depend on its own outline."""
    (group,) = make_groups([Topic("Why the sea has tides")])
    assert [each.content_type for each in group] == list(STANDARD_TYPES)
    assert group[0].item_id == "why-the-sea-has-tides/outline"
    assert [each.depends_on for each in group] == ["", *["why-the-sea-has-tides/outline"] * 7]


def test_a_derivative_brings_its_outline_along() -> None:
    """Who asks for an FAQ alone gets the outline it is written from, first."""
    (group,) = make_groups([Topic("Tides", content_types=("faq",))])
    assert [each.item_id for each in group] == ["tides/outline", "tides/faq"]


def test_a_template_without_an_outline_stands_alone() -> None:
    """A template of one's own that uses no outline waits for none and gets only the variables it declares."""
    topic = Topic("Tides", content_types=("quiz",), variables={"level": "hard", "audience": "all"})
    (group,) = make_groups([topic], declared=QUIZ)
    assert [(each.item_id, each.depends_on) for each in group] == [("tides/quiz", "")]
    assert group[0].variables == {"topic": "Tides", "level": "hard"}


def test_repeated_topics_stay_apart() -> None:
    """The same topic twice makes sixteen different item ids."""
    groups = make_groups([Topic("Tides"), Topic("Tides")])
    assert len({item.item_id for group in groups for item in group}) == 16


def test_variables_are_checked_before_anything_is_submitted() -> None:
    """A required variable that is missing, and one that no template uses, are named with their topic."""
    topic = Topic("Tides", content_types=("quiz",), variables={"colour": "blue"})
    with pytest.raises(
        CommandError, match=r"(?s)quiz needs the variable level.*no wanted template has.*colour"
    ):
        check([topic], QUIZ)


def test_an_item_becomes_the_contracts_message() -> None:
    """The outline's content goes into the variable `outline`; the topic comes back as a label."""
    message = to_message(make_groups([Topic("Tides")])[0][1])
    assert message.spec.template_id == "podcast_script"
    assert [(each.item_id, each.variable) for each in message.depends_on] == [("tides/outline", "outline")]
    assert message.labels["topic"] == "Tides"


@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=9), max_size=12),
    st.integers(1, 10),
    st.integers(400, 900),
)
def test_calls_are_bounded_and_lose_nothing(sizes: list[list[int]], max_items: int, max_bytes: int) -> None:
    """Every item is sent once, in order; no call exceeds a bound; a group that fits is in one call."""
    groups = [
        [Item(f"{g}/{i}", "faq", {"topic": "x" * size}) for i, size in enumerate(group)]
        for g, group in enumerate(sizes)
    ]
    batches = list(in_batches(groups, max_items=max_items, max_bytes=max_bytes))
    sent = [item.item_id for batch in batches for item in batch]
    assert sent == [item.item_id for group in groups for item in group]
    for batch in batches:
        assert len(batch) <= max_items
        assert sum(item.ByteSize() for item in batch) <= max_bytes
    for group in groups:
        size = sum(to_message(item).ByteSize() + 8 for item in group)
        if len(group) <= max_items and size <= max_bytes:
            ids = {item.item_id for item in group}
            assert sum(bool(ids & {item.item_id for item in batch}) for batch in batches) == 1
