"""The handlers every processor has: each does what its name says, twice is once, and none takes long."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.handlers import builtin
from parallel_processor.handlers.handler import BlockingFunction, RefusedOutputError, Subject

SUBJECT = Subject("faq", "m", "faq", 1)
TEXTS = st.text(alphabet="ab *_`#>-~[]()!.\n\t\r\u00a0\u200b&;\\", max_size=120)
ON_TEXT = [builtin.strip_markdown_fences, builtin.normalize_whitespace, builtin.markdown_to_text]


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("# Title #\n\nText", "Title\n\nText"),
        ("**bold** and *soft* and __b__ and _s_", "bold and soft and b and s"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("[words](https://x.example/a) ![alt](i.png)", "words alt"),
        ("> quoted\n>> twice", "quoted\ntwice"),
        ("a\n\n---\n\nb", "a\n\nb"),
        ("use `code` here", "use code here"),
        ("```python\nprint()\n```\nafter", "print()\nafter"),
        (r"\*not emphasis\* &amp; more", "*not emphasis* & more"),
        ("- item\n- item", "- item\n- item"),
    ],
)
def test_markdown_becomes_plain_text(said: str, plain: str) -> None:
    """Marks go, words stay; lists and names with underscores are left alone."""
    assert builtin.markdown_to_text(said, SUBJECT) == plain


def test_whitespace_is_made_plain() -> None:
    """Odd spaces, invisible characters, line ends of other systems and runs of blank lines go."""
    said = "a\u00a0b \r\n\r\n\r\n\r\n\u200bc\u2003d\t\n"
    assert builtin.normalize_whitespace(said, SUBJECT) == "a b\n\nc d"


def test_json_is_written_small_and_readable() -> None:
    """Both forms hold the same value, in the order it was written in, without what was around it."""
    said = 'Here: {"b": [1, 2],\n "a": "ü"} .'
    assert builtin.json_compact(said, SUBJECT) == '{"b":[1,2],"a":"ü"}'
    assert json.loads(builtin.json_pretty(said, SUBJECT)) == {"b": [1, 2], "a": "ü"}
    assert "\n  " in builtin.json_pretty(said, SUBJECT)


@pytest.mark.parametrize("function", [builtin.json_compact, builtin.json_pretty])
def test_what_is_no_json_is_refused(function: BlockingFunction) -> None:
    """A text without JSON is not passed on as if it were some."""
    with pytest.raises(RefusedOutputError, match="not JSON"):
        function("no json", SUBJECT)


@pytest.mark.parametrize(
    "target", ["https://example.org/a?b#c", "mailto:a@b.example", "#part", "page.md", "/x"]
)
def test_links_that_lead_somewhere_pass(target: str) -> None:
    """Addresses of the web and of mail, and places within the text or beside it, are fine."""
    said = f"see [this]({target}) and ![that](<{target}> 'title')"
    assert builtin.check_links(said, SUBJECT) == said


@pytest.mark.parametrize(
    "target", ["", "#", "javascript:alert(1)", "https://", "http://nohost", "//x.example", "http://[::"]
)
def test_links_that_lead_nowhere_are_refused(target: str) -> None:
    """Empty ones, ones without a host and other schemes are refused, and the words name the link."""
    with pytest.raises(RefusedOutputError, match=r"the link"):
        builtin.check_links(f"see [this]({target})", SUBJECT)


@given(TEXTS)
def test_whitespace_made_plain_twice_is_made_plain_once(said: str) -> None:
    """Nothing is left to do, and no visible character is lost."""
    once = builtin.normalize_whitespace(said, SUBJECT)
    assert builtin.normalize_whitespace(once, SUBJECT) == once
    assert "".join(once.split()) == "".join(said.replace("\u200b", "").split())


@given(TEXTS)
def test_no_text_breaks_a_handler(said: str) -> None:
    """Every text comes through those that refuse none."""
    for function in ON_TEXT:
        assert isinstance(function(said, SUBJECT), str)


@pytest.mark.parametrize(
    "seed", ["*", "_", "**a", "[", "[a](", "`", "> ", "#", "\u00a0", "\n\n\n", "[a](b ", "- "]
)
def test_hostile_texts_take_time_in_proportion_to_their_length(seed: str) -> None:
    """Eight times the text takes well under 64 times the time: no pattern runs away."""
    short, long = seed * (4_000 // len(seed)), seed * (32_000 // len(seed))

    def seconds(text: str) -> float:
        began = time.process_time()
        for function in (*ON_TEXT, _tolerant):
            function(text, SUBJECT)
        return time.process_time() - began

    assert seconds(long) < 32 * max(seconds(short), 0.002)


def _tolerant(said: str, subject: Subject) -> str:
    try:
        return builtin.check_links(said, subject)
    except RefusedOutputError:
        return said
