"""The guard: what is not known to be harmless must be the same; polarity, numbers, names and order decide."""

from __future__ import annotations

import pytest
from content_cache.semantic.guard import Verdict, compare, signature
from content_cache.semantic.words import BINDING, TO_BE
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

TOPIC = st.text("bcdfghjklmpqrtvwxz", min_size=5, max_size=9)  # no word of any list


def verdict(one: str, other: str) -> Verdict:
    """Compare two prompts both ways; the answer must not depend on which comes first."""
    there, back = compare(signature(one), signature(other)), compare(signature(other), signature(one))
    assert there is back
    return there


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain photosynthesis.", "Can you tell me what photosynthesis is?"),
        ("Explain photosynthesis.", "Give me an explanation of photosynthesis, please"),
        ("What are the advantages of solar power?", "List the benefits of solar power"),
        ("How do mitosis and meiosis differ?", "What is the difference between mitosis and meiosis?"),
        ("Write 5 quiz questions about DNA", "Please create a quiz with five questions on DNA."),
        ("What is the capital of France?", "What's France's capital?"),
        ("What are the causes of inflation?", "Why does inflation happen?"),
        ("Who invented the telephone?", "Who was the inventor of the telephone?"),
        ("How do I boil an egg?", "How to boil an egg?"),
    ],
)
def test_other_words_for_the_same_are_the_same(one: str, other: str) -> None:
    """Politeness, articles and listed synonyms change nothing."""
    assert verdict(one, other) is Verdict.SAME


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Why is inflation bad?", "Why is inflation not bad?", Verdict.BINDING),
        ("Can dogs eat grapes?", "Can't dogs eat grapes?", Verdict.BINDING),
        ("Recipes with nuts", "Recipes without nuts", Verdict.BINDING),
        ("Turn on the alarm", "Turn off the alarm", Verdict.BINDING),
        ("Who is the president?", "Who was the president?", Verdict.BINDING),
        ("How do I gain weight?", "How do I lose weight?", Verdict.WORDS),
        ("What are the pros of X?", "What are the cons of X?", Verdict.INTENT),
        ("What causes stress?", "What does stress cause?", Verdict.ORDER),
        ("Did Germany invade France?", "Did France invade Germany?", Verdict.ORDER),
        ("Why is tea better than coffee?", "Why is coffee better than tea?", Verdict.ORDER),
        ("Flights from Oslo to Rome", "Flights from Rome to Oslo", Verdict.ORDER),
        ("Stress is caused by noise", "Stress causes noise", Verdict.BINDING),
        ("Write 5 questions on DNA", "Write fifteen questions on DNA", Verdict.NUMBERS),
        ("Is -5 whole?", "Is 5 whole?", Verdict.NUMBERS),
        ("What is 1,000 + 1?", "What is 100 + 1?", Verdict.NUMBERS),
        ("Solve 2x = y", "Solve x = 2y", Verdict.ORDER),
        ("Solve x + 2", "Solve x - 2", Verdict.WORDS),
        ("What is (a+b)*c?", "What is a+(b*c)?", Verdict.ORDER),
        ("Explain World War I", "Explain World War II", Verdict.BINDING),
        ("What is vitamin A?", "What is vitamin?", Verdict.BINDING),
        ("Explain IT security", "Explain security", Verdict.BINDING),
        ("What does a nurse do?", "What is a nurse?", Verdict.BINDING),
        ("Do cows eat?", "What do cows eat?", Verdict.INTENT),
        ("Who invented it?", "When was it invented?", Verdict.BINDING),
        ("capital of france", "capital of spain", Verdict.WORDS),
        ("Who was attacked in 1941?", "Who attacked in 1941?", Verdict.BINDING),
        ("What was attacked?", "What attacked?", Verdict.INTENT),
        ("Can you swim?", "Swim", Verdict.BINDING),
        ("Would you kill for me?", "Would you kill?", Verdict.BINDING),
        ("Is it at 5 a.m.?", "Is it at 5 p.m.?", Verdict.WORDS),
        ("Explain what it is", "Explain what", Verdict.WORDS),
        ("Why do I need to sleep?", "Why do I want to sleep?", Verdict.WORDS),
        ("Name a moon of Jupiter", "Name moons of Jupiter", Verdict.WORDS),
        ("history of mathematics", "mathematics of history", Verdict.INTENT),
        ("解释通货膨胀", "解释通货紧缩", Verdict.WORDS),
        ("Ist das gesund?", "Ist das nicht gesund?", Verdict.BINDING),
        ("Onko se terveellistä?", "Onko se todella terveellistä?", Verdict.EXTENDED),
    ],
)
def test_what_turns_the_meaning_is_seen(one: str, other: str, expected: Verdict) -> None:
    """Negation, antonyms, reversed roles, numbers, names, questions: each has its verdict.

    The last one is a limit: of a language it does not know, a word more is just that, whatever it means.
    """
    assert verdict(one, other) is expected


@settings(deadline=None)
@given(st.lists(TOPIC, min_size=2, max_size=6, unique=True), st.data())
def test_swapped_or_replaced_words_are_vetoed(words: list[str], data: st.DataObject) -> None:
    """Any two words exchanged, and any one word replaced by another, forbid reuse."""
    first, second = sorted(data.draw(st.sets(st.integers(0, len(words) - 1), min_size=2, max_size=2)))
    swapped = list(words)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assert verdict(" ".join(words), " ".join(swapped)) is Verdict.ORDER
    replaced = list(words)
    replaced[first] = data.draw(TOPIC.filter(lambda each: each not in words))
    assert verdict(" ".join(words), " ".join(replaced)) is Verdict.WORDS


@settings(deadline=None)
@given(
    st.lists(TOPIC, min_size=1, max_size=5), st.integers(0, 5), st.sampled_from(sorted(BINDING - {"being"}))
)
def test_a_binding_word_more_is_vetoed(words: list[str], place: int, binding: str) -> None:
    """Wherever a word that turns meanings is put in, reuse is forbidden."""
    changed = [*words[:place], binding, *words[place:]]
    before, after = f"explain {' '.join(words)}", f"explain {' '.join(changed)}"
    assume(signature(before) != signature(after))
    assume(changed[-1] not in TO_BE)  # there it is the question's own, as in `explain what tides are`
    assert verdict(before, after).is_veto


@settings(deadline=None)
@given(st.text(max_size=80))
@example("\x00 ² ½ ١٢ \uff41 İ ﬁ")
def test_any_text_has_a_signature_and_equals_itself(text: str) -> None:
    """No text breaks the guard; what says something says the same as itself, what says nothing is vetoed."""
    assert verdict(text, text) is (Verdict.SAME if signature(text).words else Verdict.WORDS)


@settings(deadline=None)
@given(
    st.lists(TOPIC, min_size=2, max_size=4, unique=True), st.lists(TOPIC, min_size=1, max_size=4, unique=True)
)
def test_few_plain_words_more_are_for_the_bound_to_decide(words: list[str], extra: list[str]) -> None:
    """One or two words more are an extension; more of them, or a name, are vetoed."""
    assume(not set(words) & set(extra))
    expected = Verdict.EXTENDED if len(extra) <= 2 else Verdict.WORDS
    assert verdict(" ".join(words), " ".join([*words, *extra])) is expected
    named = [words[0], extra[0].capitalize(), *words[1:]]
    assert verdict(" ".join(words), " ".join(named)) is Verdict.WORDS
