"""Outputs against contracts: what fits is taken clean, what does not is named, no part is the whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.requests import Message, ModelRequest
from parallel_processor.output.asking_again import asked_again
from parallel_processor.output.checking import MAX_FINDINGS, check
from parallel_processor.output.extraction import json_in, unfenced
from parallel_processor.output.headings import headings_of, missing
from service_common.output_contract import Bounds, OutputContract

CARDS = OutputContract(
    json_schema=json.dumps(
        {
            "type": "object",
            "required": ["cards"],
            "properties": {"cards": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        }
    )
)
GOOD = '{"cards": ["a"]}'
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "said",
    [
        GOOD,
        f"\ufeff  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"~~~\n{GOOD}\n~~~",
        f"Sure! Here is the JSON you asked for:\n\n```json\n{GOOD}\n```\nLet me know if it helps.",
        f"Here you are: {GOOD} Enjoy [really]!",
        f"I use {{braces}} and see [1]. {GOOD}",
        f"```json\n{GOOD}",
    ],
)
def test_json_is_taken_out_of_what_surrounds_it(said: str) -> None:
    """Fences and prose around the JSON are taken off, and what is left is the JSON as it stood there."""
    checked = check(said, CARDS)
    assert (checked.content, checked.findings) == (GOOD, ())


@pytest.mark.parametrize(
    "broken",
    [
        '{"cards": [{"cards": ["a"]}, {"cards": ["b"]},]}',
        '{"cards": [{"cards": ["a"]}',
        '{cards: [{"cards": ["a"]}]}',
        '[{"cards": ["a"]}, nonsense]',
        '"text" {"cards": ["a"]}]',
    ],
)
def test_a_part_of_something_broken_is_never_taken_for_the_whole(broken: str) -> None:
    """An object that would fit, inside a text that is broken JSON, is not the output."""
    checked = check(broken, CARDS)
    assert checked.findings
    assert "not JSON" in checked.findings[0]


@pytest.mark.parametrize(
    "nothing", ["", "no JSON at all", "NaN", '{"cards": NaN}', "[" * 100_000, "{" * 100_000]
)
def test_what_is_no_json_is_said_to_be_none(nothing: str) -> None:
    """Text without JSON, constants JSON has not, and endless nesting are found, soon."""
    assert "it is not JSON" in check(nothing, CARDS).findings[0]


def test_findings_name_what_is_wrong() -> None:
    """A value that does not fit is told where and how."""
    assert check('{"cards": [7]}', CARDS).findings == ('$.cards[0]: 7 is not of type "string"',)
    assert check("{}", CARDS).findings == ('$: "cards" is a required property',)


def test_a_truncated_output_is_never_right() -> None:
    """An output that ended at max_tokens breaks its contract even if what is there would do."""
    assert "cut off" in check(GOOD, CARDS, truncated=True).findings[0]


def test_findings_are_few() -> None:
    """However much is wrong, a handful is told."""
    assert len(check(json.dumps({"cards": [7] * 100}), CARDS).findings) == MAX_FINDINGS


@given(VALUES.filter(lambda value: isinstance(value, list | dict)), st.text("abc xyz.\n", max_size=30))
def test_json_in_prose_is_found_as_it_was_written(value: object, prose: str) -> None:
    """Whatever object or list stands between words, it comes out unchanged."""
    said = f"{prose} {json.dumps(value)} {prose}"
    found = json_in(said)
    assert found is not None
    assert found[1] == value


@given(st.text(alphabet='{}[]",:`~\n ab1#', max_size=80))
def test_no_output_breaks_a_check(said: str) -> None:
    """Whatever a model says is taken or complained of; what is taken is JSON that was said."""
    checked = check(said, CARDS)
    assert checked.findings or json.loads(checked.content)
    assert checked.content in said
    assert isinstance(check(said, OutputContract(markdown=True, headings=("a",))).content, str)


REPORT = OutputContract(markdown=True, headings=("Summary", "Next steps"), sections=Bounds(2, 4))


@pytest.mark.parametrize(
    "said",
    [
        "# Summary\ntext\n# Next steps\ntext",
        "## 1. **Summary**:\n\n### Details\n\n## 2) next   STEPS ##\n",
        "```markdown\n# Summary\n```python\n# Next\n```\n# Next steps\n```",
    ],
)
def test_headings_are_found_as_people_write_them(said: str) -> None:
    """Level, case, numbering, emphasis and a colon make no difference; others may stand between."""
    assert check(said, REPORT).findings == ()


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        ("# Next steps\n# Summary", "the heading 'Next steps' is missing or not in its place"),
        ("# Summary\n```\n# Next steps\n```\n# More", "the heading 'Next steps' is missing"),
        ("# Summary\n# a\n# b\n# c\n# Next steps", "it has 5 headings; 2 to 4 are wanted"),
        ("Summary\nNext steps", "the heading 'Summary' is missing"),
    ],
)
def test_headings_that_are_missing_are_named(said: str, finding: str) -> None:
    """Order counts, and what stands in a code fence is no heading."""
    assert any(finding in each for each in check(said, REPORT).findings)


@given(st.lists(st.sampled_from("abcd"), max_size=6), st.lists(st.sampled_from("abcd"), max_size=4))
def test_headings_in_order_are_a_subsequence(present: list[str], required: list[str]) -> None:
    """Nothing is missing exactly if the required ones can be read off the present ones, left to right."""
    rest = iter(present)
    assert (missing(required, present) == []) == all(each in rest for each in required)


@pytest.mark.parametrize(
    ("contract", "said", "finding"),
    [
        (OutputContract(words=Bounds(3, 0)), "two words", "it has 2 words; at least 3 are wanted"),
        (OutputContract(words=Bounds(0, 1)), "two words", "it has 2 words; at most 1 are wanted"),
        (OutputContract(characters=Bounds(1, 3)), " four ", "it has 4 characters; 1 to 3 are wanted"),
        (OutputContract(items=Bounds(2)), "- one\ntwo\n", "it has 1 items; at least 2 are wanted"),
        (OutputContract(items=Bounds(0, 1)), "1. one\n 2) two", "it has 2 items; at most 1 are wanted"),
        (OutputContract(json_schema="{}", items=Bounds(2)), "[1]", "it has 1 items; at least 2 are wanted"),
        (OutputContract(json_schema="{}", characters=Bounds(0, 2)), "x {} y", ""),
    ],
)
def test_lengths_are_counted(contract: OutputContract, said: str, finding: str) -> None:
    """Words, characters and items of the clean text are compared with their bounds, ends included."""
    assert check(said, contract).findings == ((finding,) if finding else ())


def test_a_fence_within_stays() -> None:
    """Only a fence around the whole is taken off, never the two ends of different ones."""
    twice = "```\na\n```\nb\n```\nc\n```"
    assert unfenced(twice) == twice
    assert unfenced("```\na\n```") == "a"
    assert headings_of("```\n# no\n````\n# yes") == ["yes"]


def test_the_second_question_is_the_conversation_so_far_and_what_was_wrong() -> None:
    """It quotes the output within bounds and names findings and demands; all else is as before."""
    request = ModelRequest("m", (Message("user", "Cards, please."),), 50, temperature=0.5)
    again = asked_again(request, "x" * 100_000, findings=["one", "two"], contract=CARDS)
    assert again.messages[:1] == request.messages
    assert [each.role for each in again.messages] == ["user", "assistant", "user"]
    assert len(again.messages[1].content) < 17_000
    assert "- one\n- two" in again.messages[2].content
    assert str(CARDS.json_schema) in again.messages[2].content
    assert (again.model, again.max_tokens, again.temperature) == ("m", 50, 0.5)
    assert (
        "- Summary\n- Next steps"
        in asked_again(request, "", findings=[], contract=REPORT).messages[2].content
    )
