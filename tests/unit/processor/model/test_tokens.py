"""Bounding and guessing tokens."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.requests import Message
from parallel_processor.model.tokens import (
    CONVERSATION_OVERHEAD,
    MESSAGE_OVERHEAD,
    estimate_tokens,
    prompt_tokens_upper_bound,
)

texts = st.text(st.characters(codec="utf-8"))


@given(st.lists(texts, max_size=4))
def test_the_bound_covers_every_byte_of_every_message(contents: list[str]) -> None:
    """No tokenizer that makes one token per byte, composing characters or not, exceeds the bound."""
    bound = prompt_tokens_upper_bound(Message("user", each) for each in contents)

    for form in (str, lambda text: unicodedata.normalize("NFC", text)):
        bytes_of_all = sum(len(form(each).encode()) for each in contents)
        assert bound >= CONVERSATION_OVERHEAD + MESSAGE_OVERHEAD * len(contents) + bytes_of_all


def test_normal_forms_that_grow_are_bounded_by_what_they_grow_to() -> None:
    """A character that composes into more bytes counts as those."""
    grows = "\u0958"

    plain, grown = (prompt_tokens_upper_bound([Message("user", each)]) for each in ("\u4e00", grows))

    assert grown - plain == len(unicodedata.normalize("NFC", grows).encode()) - 3


def test_the_estimate_is_one_token_for_four_characters_begun() -> None:
    """Estimates round up, and nothing is nothing."""
    assert [estimate_tokens(each) for each in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
