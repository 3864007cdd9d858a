"""Slugs: names for folders and item ids that every file system and the contract accept."""

import re

from factory_cli.submission.topic import Topic, slugify, unique_slugs
from hypothesis import given
from hypothesis import strategies as st


def test_words_become_a_slug() -> None:
    """Letters and digits stay, accents go, everything else becomes one hyphen."""
    assert slugify("Café culture: Vienna, 1900!") == "cafe-culture-vienna-1900"


def test_another_script_gets_a_stable_name_of_its_own() -> None:
    """Topics that leave nothing in ASCII still differ, and keep their name from run to run."""
    assert slugify("潮汐") == slugify("潮汐") != slugify("印刷")


def test_a_long_topic_is_cut_at_a_word() -> None:
    """A slug ends with a whole word."""
    assert slugify("word " * 40).endswith("-word")


@given(st.text(min_size=1))
def test_a_slug_is_always_a_safe_name(text: str) -> None:
    """Whatever the topic, the slug is 1 to 60 lower-case letters, digits and hyphens."""
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?", slugify(text))


@given(st.lists(st.sampled_from(["a", "a 2", "A!", "b", "a-2"])))
def test_slugs_of_one_input_never_collide(names: list[str]) -> None:
    """Repeated topics get different slugs, also when a number is part of a topic's own name."""
    slugs = unique_slugs([Topic(each) for each in names])
    assert len(set(slugs)) == len(names)


def test_the_authors_id_names_the_topic() -> None:
    """A topic's own id wins over its words."""
    assert unique_slugs([Topic("Tides", topic_id="Lesson 1")]) == ["lesson-1"]
