"""Reading topics from JSONL: what is meant is read, what is wrong is named, nothing in between."""

import json

import pytest
from factory_cli.submission.jsonl import parse_topics
from factory_cli.submission.topic import STANDARD_TYPES
from hypothesis import given
from hypothesis import strategies as st


def test_a_topic_alone_wants_every_standard_type() -> None:
    """Only the topic is required; without content types, all eight are wanted."""
    topics, bad = parse_topics(['{"topic": " Tides "}'])
    assert (topics[0].topic, topics[0].content_types, bad) == ("Tides", STANDARD_TYPES, [])


def test_every_field_reaches_the_topic() -> None:
    """Audience and language become variables beside the given ones; the id and the order of types stay."""
    row = {
        "topic": "Tides",
        "audience": "sailors",
        "language": "German",
        "content_types": ["faq", "outline", "faq"],
        "variables": {"level": "hard"},
        "id": 7,
    }
    topics, bad = parse_topics([json.dumps(row)])
    assert not bad
    assert topics[0].content_types == ("faq", "outline")
    assert topics[0].variables == {"audience": "sailors", "language": "German", "level": "hard"}
    assert topics[0].topic_id == "7"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{topic: x}", "not JSON"),
        ('["Tides"]', "not an object"),
        ("{}", "topic is missing"),
        ('{"topic": "  "}', "topic is missing"),
        ('{"topic": 3}', "topic must be a text, not a number"),
        ('{"topic": "\\ud800"}', "surrogate"),
        ('{"topic": "x", "audiance": "y"}', "unknown field 'audiance'"),
        ('{"topic": "x", "content_types": []}', "content_types must be a list"),
        ('{"topic": "x", "content_types": ["Bad Name"]}', "'Bad Name' is no template name"),
        ('{"topic": "x", "variables": ["a"]}', "variables must be an object"),
        ('{"topic": "x", "variables": {"a": 1}}', "a must be a text"),
        ('{"topic": "x", "variables": {"outline": "o"}}', "outline is filled in by the factory"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: str, said: str) -> None:
    """Each kind of mistake is named in words, and makes no topic."""
    topics, bad = parse_topics([line])
    assert not topics
    assert said in bad[0].problem


def test_all_bad_lines_are_reported_with_their_numbers() -> None:
    """One pass finds every bad line, counted as an editor counts; blank lines count but are not bad."""
    topics, bad = parse_topics(['{"topic": "a"}', "", "oops", '{"topic": "b"}', "{}"])
    assert [each.topic for each in topics] == ["a", "b"]
    assert [each.number for each in bad] == [3, 5]


def test_several_mistakes_of_one_line_are_said_together() -> None:
    """A line with two mistakes needs one correction, not two."""
    _, bad = parse_topics(['{"topic": 1, "x": 2}'])
    assert "unknown field" in bad[0].problem
    assert "topic must be a text" in bad[0].problem


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Files from editors that begin with a byte order mark are read."""
    assert parse_topics(['\ufeff{"topic": "a"}'])[1] == []


@given(st.lists(st.text()))
def test_garbage_never_raises(lines: list[str]) -> None:
    """Whatever the lines hold, each is a topic, bad or blank."""
    topics, bad = parse_topics(lines)
    assert len(topics) + len(bad) <= len(lines)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: (
            st.dictionaries(st.sampled_from(["topic", "id", "variables", "content_types", "audience"]), s)
            | st.lists(s)
        ),
    )
)
def test_any_json_is_judged(value: object) -> None:
    """Any JSON value is either a topic with words in it, or a named problem."""
    topics, bad = parse_topics([json.dumps(value)])
    assert all(each.topic for each in topics)
    assert all(each.problem for each in bad)
    assert len(topics) + len(bad) == 1
